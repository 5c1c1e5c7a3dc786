"""What can be found: exchanges of conversations and entries of HISTORY.md, as one kind of value. Pure.

A passage has a text for each role that spoke in it. Each is cut to its first characters (`MOST_CHARS`), which bounds the index:
what a tool brought is mostly long, and mostly not what is looked for. What searches have found is left out, or they would find
each other.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, tzinfo

import attrs

from nanobot.memory.port import ENTRY_TIME, MARKED
from nanobot.memory.words import clean
from nanobot.messages import Attachment, Call, Exchange, Note, Reply, Said, SessionKey
from nanobot.wire import Json


class Role(enum.StrEnum):
    """Whose words they are."""

    PERSON = "person"
    ASSISTANT = "assistant"
    TOOL = "tool"
    """What tools were asked for and brought, and notes of ours."""
    HISTORY = "history"
    """An entry of HISTORY.md."""


MOST_CHARS = {Role.PERSON: 8000, Role.ASSISTANT: 8000, Role.TOOL: 4000, Role.HISTORY: 8000}
"""Of an exchange that can be found."""
SEARCH = "search_history"
MESSAGE = "message"
_PARAGRAPHS = re.compile(r"\n[ \t]*\n\s*")
_FROM = re.compile(r"\[from ([^\],]+), ")


@attrs.frozen
class Passage:
    """See the module. Roles without a word are left out of `texts`."""

    at: float
    """Seconds since the epoch; 0 where nothing tells."""
    texts: Mapping[Role, str]
    strange: frozenset[Role] = frozenset()
    """Of those, which hold text of strangers."""
    speakers: tuple[str, ...] = ()
    """Principals who spoke."""


def of_exchange(exchange: Exchange) -> Passage | None:
    """None for one that was undone, or in which nothing was said."""
    if exchange.undone:
        return None
    parts: dict[Role, list[str]] = {}
    strange: set[Role] = set()
    for role, text, tainted in _parts(exchange):
        if text.strip():
            parts.setdefault(role, []).append(text)
            strange |= {role} if tainted else set()
    texts = {role: clean("\n".join(parts[role])[: MOST_CHARS[role]]) for role in Role if role in parts}
    people = dict.fromkeys(e.principal for e in exchange.entries if isinstance(e, Said) and not e.ours)
    return Passage(_time(exchange), texts, frozenset(strange), tuple(people) or (exchange.principal,)) if texts else None


def _parts(exchange: Exchange) -> Iterator[tuple[Role, str, bool]]:
    for entry in exchange.entries:
        match entry:
            case Said():
                yield Role.TOOL if entry.ours else Role.PERSON, _with_files(entry.text, entry.attachments), entry.tainted
            case Note():
                yield Role.TOOL, entry.text, entry.tainted
            case Reply():
                yield Role.ASSISTANT, entry.text, entry.tainted
                for call in entry.calls:
                    yield from _of_call(call, tainted=entry.tainted)
    yield Role.ASSISTANT, exchange.answer, False


def _of_call(call: Call, *, tainted: bool) -> Iterator[tuple[Role, str, bool]]:
    arguments = _object(call.arguments)
    if call.name == SEARCH:
        return
    if call.name == MESSAGE and isinstance(arguments, dict) and not arguments.get("to"):
        yield Role.ASSISTANT, " ".join(_words(arguments.get("text"))), tainted
        return
    asked = call.arguments if arguments is None else " ".join(_words(arguments))
    yield Role.TOOL, f"{call.name}: {asked}\n{call.result}", tainted or call.tainted


def _object(text: str) -> Json:
    try:
        value: Json = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value


def _words(value: Json) -> Iterator[str]:
    match value:
        case dict():
            for part in value.values():
                yield from _words(part)
        case list():
            for part in value:
                yield from _words(part)
        case str():
            yield value
        case int() | float() if not isinstance(value, bool):
            yield str(value)
        case _:
            pass


def _with_files(text: str, attachments: Iterable[Attachment]) -> str:
    return "\n".join([text, *(f"[file: {file.name}]" for file in attachments)])


def _time(exchange: Exchange) -> float:
    return next((e.at for e in exchange.entries if not isinstance(e, Reply) and e.at), 0.0)


# --- HISTORY.md


@attrs.frozen
class Entry:
    """Of HISTORY.md. `chat`: key of the session whose words it tells, where it is marked; empty: the owner's own."""

    passage: Passage
    chat: str
    start: int
    """Characters before it."""


def of_history(text: str, zone: tzinfo | None) -> Iterator[Entry]:
    """The entries of HISTORY.md in their order. A paragraph without a time belongs to the entry before it.

    zone: of the times in it; None is the machine's.
    """
    starts = [0, *(found.end() for found in _PARAGRAPHS.finditer(text))]
    begins = [start for start in starts if start == 0 or ENTRY_TIME.match(text, start)]
    for start, end in zip(begins, [*begins[1:], len(text)], strict=True):
        entry = text[start:end].strip()
        if entry:
            yield Entry(*_entry(entry, zone), start)


def _entry(text: str, zone: tzinfo | None) -> tuple[Passage, str]:
    time = ENTRY_TIME.match(text)
    mark = MARKED.match(text, time.end() + 1 if time else 0)
    source = _FROM.match(mark[0]) if mark else None
    at = _moment(time[1], zone) if time else 0.0
    strange = frozenset([Role.HISTORY]) if MARKED.search(text) else frozenset[Role]()
    kept = clean(text[: MOST_CHARS[Role.HISTORY]])
    return Passage(at, {Role.HISTORY: kept}, strange), _key(source[1]) if source else ""


def _key(text: str) -> str:
    try:
        return str(SessionKey.parse(text))
    except ValueError:
        return text


def _moment(text: str, zone: tzinfo | None) -> float:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()
    except (ValueError, OverflowError, OSError):
        return 0.0
