"""A conversation as text for a terminal, as Markdown, and as JSON. Pure.

What others wrote is shown as text: control characters, which could move a terminal's cursor or change its title, become
visible marks. Markdown and JSON are whole; the terminal's text shortens what tools gave back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from nanobot.archive.conversation import Archive, Past
from nanobot.archive.reading import short
from nanobot.cli.texts import plain, when
from nanobot.messages import Attachment, Call, Entry, Exchange, Note, Principal, Reply, Said, TurnEnd
from nanobot.session.state import Session
from nanobot.wire import Json, JsonObject

RESULT_LINES = 8
RESULT_CHARS = 800
"""Of a tool's result on the terminal: enough to see what came, little enough to go on reading."""


def _who(said: Said) -> str:
    if said.ours:
        return "nanobot"
    try:
        return Principal.parse(said.principal).user
    except ValueError:
        return said.principal or "somebody"


def _open_entries(session: Session) -> tuple[Entry, ...]:
    return () if session.turn is None else session.turn.entries


# --- for a terminal


def lines(archive: Archive, *, everything: bool) -> Iterator[str]:
    """The conversation, and what is open in it."""
    yield _heading(archive, everything=everything)
    for past in archive.past:
        if past.opens:
            yield from ("", "--- a new conversation ---")
        yield from _exchange_lines(past.exchange)
    for entry in _open_entries(archive.session):
        yield from ("", *_entry_lines(entry))
    yield from _open_ends(archive)


def _heading(archive: Archive, *, everything: bool) -> str:
    session = archive.session
    count = len(archive.past)
    text = f"{short(session.key)}: {count} {'exchange' if count == 1 else 'exchanges'}"
    if not everything:
        text += " in the prompt"
    if session.model:
        text += f", model {session.model}"
    return text if everything or session.base == 0 else f"{text}; {session.base} earlier: show them with --all"


def _exchange_lines(exchange: Exchange) -> Iterator[str]:
    if exchange.undone:
        yield from ("", "(taken out of the conversation:)")
    for entry in exchange.entries:
        yield from ("", *_entry_lines(entry))
    if exchange.answer:
        yield from ("", f"nanobot ({exchange.end}):", *_indented(exchange.answer))


def _entry_lines(entry: Entry) -> Iterator[str]:
    match entry:
        case Said(text=text, at=at, attachments=files):
            yield f"{_who(entry)}, {when(at)}:"
            yield from _indented("\n".join((text, *map(_file, files))))
        case Note(text=text):
            yield from ("nanobot:", *_indented(text))
        case Reply(text=text, calls=calls, model=model):
            yield f"assistant ({model}):" if model else "assistant:"
            yield from _indented(text)
            for call in calls:
                yield from _indented(f"{call.name} {call.arguments}: {_state(call)}")
                yield from _indented(_shortened(call.result), 4)


def _open_ends(archive: Archive) -> Iterator[str]:
    session = archive.session
    ends = [f"under way: turn {session.turn.number}"] if session.turn else []
    ends += [f"waiting: {said.text}" for said in session.inbox]
    ends += [f"not delivered yet: {p.outbound.text} ({p.error or 'no attempt has failed'})" for p in session.outbox]
    ends += [f"open: {errand.text}" for errand in session.errands]
    ends += [f"given up: {dead.outbound.text} ({dead.reason})" for dead in session.dead]
    ends += [f"not readable: {trouble}" for trouble in archive.troubles]
    if ends:
        yield ""
    yield from (_one_line(end) for end in ends)


def _file(attachment: Attachment) -> str:
    return f"[{attachment.name}, {attachment.mime}, {attachment.size} bytes: {attachment.path}]"


def _state(call: Call) -> str:
    return str(call.state).replace("_", " ")


def _indented(text: str, by: int = 2) -> list[str]:
    return [f"{' ' * by}{line}" for line in plain(text).split("\n")] if text else []


def _one_line(text: str) -> str:
    first = plain(text).replace("\n", " ")
    return first if len(first) <= 200 else f"{first[:199]}…"


def _shortened(text: str) -> str:
    shown = "\n".join(text.split("\n")[:RESULT_LINES])[:RESULT_CHARS]
    return text if len(shown) == len(text) else f"{shown}\n(… {len(text) - len(shown)} more characters)"


# --- as Markdown


def markdown(archive: Archive) -> str:
    """All of it, with what tools were asked and what they gave back."""
    parts = [f"# {plain(short(archive.session.key))}"]
    for past in archive.past:
        parts += ["---", "# A new conversation"] if past.opens else []
        parts += ["*Taken out of the conversation:*"] if past.exchange.undone else []
        parts += [part for entry in past.exchange.entries for part in _entry_markdown(entry)]
        parts += [f"## nanobot ({past.exchange.end})", past.exchange.answer] if past.exchange.answer else []
    parts += [part for entry in _open_entries(archive.session) for part in _entry_markdown(entry)]
    parts += [f"- {line}" for line in _open_ends(archive) if line]
    return "\n\n".join(map(plain, parts)) + "\n"


def _entry_markdown(entry: Entry) -> Iterator[str]:
    match entry:
        case Said(text=text, at=at, attachments=files):
            yield f"## {_who(entry)}, {when(at)}"
            yield "\n".join((text, *map(_file, files)))
        case Note(text=text):
            yield from ("## nanobot", text)
        case Reply(text=text, calls=calls, model=model):
            yield f"## assistant ({model})" if model else "## assistant"
            if text:
                yield text
            for call in calls:
                yield f"**{call.name}** ({_state(call)})"
                yield _fenced(call.arguments, "json")
                yield _fenced(call.result)


def _fenced(text: str, language: str = "") -> str:
    """A code block, its fence longer than any in the text."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


# --- as JSON


def as_json(archive: Archive) -> JsonObject:
    session = archive.session
    return {
        "key": session.key,
        "model": session.model,
        "tokens": {"read": session.usage.input, "cached": session.usage.cached, "written": session.usage.output},
        "exchanges": [_past_json(past) for past in archive.past],
        "underWay": None if session.turn is None else _entries_json(session.turn.entries),
        "waiting": _entries_json(session.inbox),
        "undelivered": [{"text": p.outbound.text, "error": p.error} for p in session.outbox],
        "open": [{"id": e.id, "kind": str(e.kind), "text": e.text} for e in session.errands],
        "givenUp": [{"text": d.outbound.text, "reason": d.reason, "at": d.at} for d in session.dead],
        "troubles": list(archive.troubles),
    }


def _past_json(past: Past) -> JsonObject:
    exchange = past.exchange
    answer = exchange.answer if exchange.answer or exchange.end is not TurnEnd.ANSWERED else None
    return {
        "ordinal": past.ordinal,
        "newConversation": past.opens,
        "inPrompt": past.in_prompt and not exchange.undone,
        "undone": exchange.undone,
        "end": str(exchange.end),
        "entries": _entries_json(exchange.entries),
        "note": answer,
    }


def _entries_json(entries: Sequence[Entry]) -> list[Json]:
    return [_entry_json(entry) for entry in entries]


def _entry_json(entry: Entry) -> JsonObject:
    match entry:
        case Said(text=text, ours=True):
            return {"by": "nanobot", "text": text}
        case Said(text=text, at=at, principal=principal, attachments=files):
            names: list[Json] = [{"name": f.name, "mime": f.mime, "size": f.size, "path": f.path} for f in files]
            return {"by": "user", "principal": principal, "at": at, "text": text, "attachments": names}
        case Note(text=text):
            return {"by": "nanobot", "text": text}
        case Reply(text=text, calls=calls, model=model):
            return {"by": "assistant", "model": model, "text": text, "calls": [_call_json(call) for call in calls]}


def _call_json(call: Call) -> JsonObject:
    return {
        "id": call.id,
        "name": call.name,
        "arguments": call.arguments,
        "state": str(call.state),
        "result": call.result,
        "full": call.full,
    }


def json_text(value: Json) -> str:
    """JSON that any encoder takes: half a surrogate pair is escaped, all else stays readable."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode()
