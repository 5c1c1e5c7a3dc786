"""What consolidation is shown of a conversation: a line for each message, `[time] ROLE [tools: …]: text`. Pure.

A *clean* view has nothing that strangers wrote, or that was written after reading them: each tainted message, answer and
result is replaced by words of ours that name what was left out, by its tool and not by its contents. Turns before the owner's
`/trust` are shown as they are. What was taken out by `/undo` is in no view.

Texts are cut to what memory needs of them, and their further lines are indented, so that no text can pass for a message.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime, tzinfo

import attrs

from nanobot.messages import Call, CallState, Entry, Exchange, Note, Principal, Reply, Said, TurnNumber

SAID_CHARS = 4000
REPLY_CHARS = 2500
RESULT_CHARS = 400
"""Of a tool's result: what matters of it stands in the answer, the whole is in the archive."""
ARGUMENT_CHARS = 160
RAN = (CallState.DONE, CallState.FAILED, CallState.DEFERRED, CallState.CUT, CallState.UNKNOWN_AFTER_CRASH)
_ODD = re.compile(r"[^\w.@+-]+")


@attrs.frozen
class Sight:
    """How a view is to be taken. `clean`: without strangers' text. `named`: each message says who sent it."""

    clean: bool = True
    named: bool = False
    trusted: TurnNumber = TurnNumber(0)
    zone: tzinfo | None = None


def lines(exchanges: Iterable[Exchange], sight: Sight) -> list[str]:
    """Oldest first."""
    return [line for exchange in exchanges for line in of_exchange(exchange, sight)]


def of_exchange(exchange: Exchange, sight: Sight) -> Iterator[str]:
    clean = sight.clean and exchange.turn >= sight.trusted
    at = 0.0
    for entry in exchange.shown:
        at = entry.at if isinstance(entry, Said | Note) and entry.at else at
        when = f"[{datetime.fromtimestamp(at, sight.zone):%Y-%m-%d %H:%M}]" if at else "[?]"
        yield from (f"{when} {line}" for line in _entry(entry, sight, clean=clean))


def messages(exchanges: Iterable[Exchange]) -> int:
    return sum(exchange.messages for exchange in exchanges)


def span_of(exchanges: Iterable[Exchange]) -> tuple[float, float] | None:
    """When the first and the last message with a time were said, None without any."""
    times = [e.at for one in exchanges for e in one.shown if isinstance(e, Said | Note) and e.at]
    return (min(times), max(times)) if times else None


def _entry(entry: Entry, sight: Sight, *, clean: bool) -> Iterator[str]:
    match entry:
        case Said():
            yield f"{_speaker(entry, sight)}: {_said(entry, clean=clean)}"
        case Note(text, _, tainted):
            yield f"NOTE: {'(left out: a note with text of strangers)' if clean and tainted else _short(text, REPLY_CHARS)}"
        case Reply():
            yield from _reply(entry, clean=clean)


def _said(said: Said, *, clean: bool) -> str:
    if not (clean and said.tainted):
        return _short(said.text, SAID_CHARS) + "".join(f" [file: {file.mime}]" for file in said.attachments)
    return "(left out: how a task of theirs ended)" if said.ours else "(left out: text that others wrote)"


def _reply(reply: Reply, *, clean: bool) -> Iterator[str]:
    names = [call.name for call in reply.calls if call.state in RAN or not reply.tainted]
    tools = f" [tools: {', '.join(_short(name, 60) for name in names)}]" if names else ""
    hidden = clean and reply.tainted
    text = "(left out: an answer given with text of strangers in sight)" if hidden else _short(reply.text, REPLY_CHARS)
    if text or tools:
        yield f"ASSISTANT{tools}: {text or '(no text)'}"
    for call in reply.calls:
        if call.state in RAN:
            yield f"TOOL {_short(call.name, 60)}{_result(call, hidden=hidden, clean=clean)}"


def _result(call: Call, *, hidden: bool, clean: bool) -> str:
    arguments = "" if hidden else f" {_short(call.arguments, ARGUMENT_CHARS)}"
    if clean and (call.tainted or hidden):
        return f"{arguments}: (left out: its result{', text of strangers' if call.tainted else ''})"
    return f"{arguments}: {_short(call.result, RESULT_CHARS)}"


def _speaker(said: Said, sight: Sight) -> str:
    if said.ours:
        return "NOTE"
    if not sight.named:
        return "USER"
    try:
        user = Principal.parse(said.principal).user
    except ValueError:
        user = ""
    return f"USER {_ODD.sub('_', user)[:40] or 'somebody'}"


def _short(text: str, most: int) -> str:
    """Cut in the middle; further lines are indented."""
    text = text.strip()
    if len(text) > most:
        text = f"{text[: most * 2 // 3].rstrip()} … {text[-most // 3 :].lstrip()}"
    return "\n    ".join(filter(None, (line.strip() for line in text.splitlines())))
