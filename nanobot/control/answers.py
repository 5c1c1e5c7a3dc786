"""What came of a message: the turn that answered it, its calls, what it cost. Pure.

What the tool `message` says in mid-turn answers it too, but is not the answer, unless the turn then ends without one of its
own: it does where it would say the same again, or nothing.
"""

from __future__ import annotations

from nanobot.messages import Call, Exchange, MessageId, Outbound, Reply, Said, Usage
from nanobot.session.state import Session
from nanobot.wire import JsonObject


def answers(reply: Outbound, message: MessageId | None) -> bool:
    """Whether `reply` is what was waited for."""
    return message is not None and message in (reply.reply_to, *reply.also_answers)


def last_said(session: Session, said: tuple[Outbound, ...], message: MessageId | None) -> Outbound | None:
    """Which of what was said in mid-turn is the answer; None as long as the turn, or a reply on its way, may be.

    `said`: what was said to `message` and is shown. It was asked in the turn, so that a turn without it is a later one.
    """
    on_their_way = (pending.outbound for pending in session.outbox if answers(pending.outbound, message))
    if not said or (session.turn and message in session.turn.inputs) or any(reply not in said for reply in on_their_way):
        return None
    exchange = exchange_of(session, message)
    last = exchange.entries[-1] if exchange else None
    words = last.text.split() if isinstance(last, Reply) else []
    return next((out for out in reversed(said) if out.text.split() == words), said[-1])


def with_files(reply: Outbound) -> str:
    """Its text, and where the files are that go with it."""
    return "\n".join((reply.text, *(f"· file: {file.path}" for file in reply.attachments)))


def exchange_of(session: Session, message: MessageId | None) -> Exchange | None:
    """The closed turn that a message was answered in."""
    for exchange in reversed(session.exchanges):
        if any(isinstance(entry, Said) and entry.id == message for entry in exchange.entries):
            return exchange
    return None


def told(session: Session, reply: Outbound, message: MessageId | None) -> JsonObject:
    """Text, whether it failed, tokens and calls, as `nanobot chat --json` prints them."""
    exchange = exchange_of(session, message)
    usage = _usage_of(exchange) if exchange else Usage()
    made = _calls_of(exchange) if exchange else ()
    return {
        "text": reply.text,
        "failed": reply.failed,
        "usage": {"input": usage.input, "output": usage.output, "cached": usage.cached},
        "tools": [{"name": call.name, "state": call.state.value} for call in made],
    }


def _usage_of(exchange: Exchange) -> Usage:
    return sum((entry.usage for entry in exchange.entries if isinstance(entry, Reply)), Usage())


def _calls_of(exchange: Exchange) -> tuple[Call, ...]:
    return tuple(call for entry in exchange.entries if isinstance(entry, Reply) for call in entry.calls)
