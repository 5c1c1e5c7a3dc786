"""Tool calls in a line: what is called with what, and what came of it. Pure."""

from __future__ import annotations

import json

from nanobot.cli.chatting.stdio import printable
from nanobot.control.answers import exchange_of
from nanobot.messages import Call, CallId, CallState, MessageId, Reply, TurnEnd
from nanobot.session.state import Session

LONGEST = 60
"""Characters of the arguments: name, arguments and outcome stay on one line of a usual terminal."""
OUTCOMES = {
    CallState.DONE: "",
    CallState.FAILED: "failed",
    CallState.REFUSED: "refused",
    CallState.CUT: "cut while it ran",
    CallState.NOT_RUN: "not run",
    CallState.DEFERRED: "goes on by itself",
    CallState.UNKNOWN_AFTER_CRASH: "outcome unknown after a restart",
}


def named(call: Call) -> str:
    """`exec echo hi`: the tool and its arguments' values, shortened."""
    return f"{call.name} {_values(call.arguments)}".rstrip()


def outcome(call: Call) -> str:
    """The line that stays on the terminal."""
    how = "waits for the owner's word" if _asks(call) else OUTCOMES.get(call.state, call.state.value)
    return f"· {named(call)}{f': {how}' if how else ''}"


def _asks(call: Call) -> bool:
    return call.state is CallState.DEFERRED and call.approval is not None


def find(session: Session, wanted: CallId) -> Call | None:
    """The call in the turn under way or in the one that ended last."""
    turn = session.turn
    entries = (*(session.exchanges[-1].entries if session.exchanges else ()), *(turn.entries if turn else ()))
    calls = (call for entry in reversed(entries) if isinstance(entry, Reply) for call in entry.calls)
    return next((call for call in calls if call.id == wanted), None)


def by_model(session: Session, message: MessageId | None) -> bool:
    """Whether the answer to a message was written by the model, and not by us."""
    exchange = exchange_of(session, message)
    return exchange is not None and exchange.end is TurnEnd.ANSWERED and not exchange.answer


def _values(arguments: str) -> str:
    try:
        parsed = json.loads(arguments)
    except ValueError:
        parsed = arguments
    values = parsed.values() if isinstance(parsed, dict) else [parsed]
    text = " ".join(" ".join(printable(str(value)).split()) for value in values)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
