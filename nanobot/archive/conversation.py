"""The whole conversation of a session, put together again from all its segments. Pure; for people, never for a session.

A live segment holds what is still in the prompt; what has left it (memory, `/new`, length) stays in older segments. Every
exchange has an ordinal that is never given twice, so that segments, which overlap, join without doubles: of several states
of an exchange the last counts (it may have been undone since). Lines of an older segment at or above the next one's first
number are ghosts of appends that failed, and are left out.

What cannot be read is reported in `troubles`, and everything else is there all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import attrs

from nanobot.errors import JournalDamaged, JournalTooNew
from nanobot.journal import segment
from nanobot.journal.segment import Line
from nanobot.messages import Exchange
from nanobot.session import records as r
from nanobot.session.codec import UnknownFormat, decode, decode_session
from nanobot.session.fold import apply
from nanobot.session.state import ImpossibleEvent, Session


@attrs.frozen
class Past:
    """A closed exchange in its place."""

    ordinal: int
    exchange: Exchange
    opens: bool = False
    """A `/new` stands before it."""
    in_prompt: bool = False


@attrs.frozen
class Archive:
    """What was said, oldest first, and the session as its newest readable segment has it."""

    session: Session
    past: tuple[Past, ...] = ()
    troubles: tuple[str, ...] = ()


@attrs.frozen
class Piece:
    """What one segment tells, for who keeps what the older ones told: what it says of an exchange counts more than they do."""

    key: str
    forget: bool
    """The conversation before it was deleted."""
    count: int | None
    """How many exchanges there were when it began: what older segments say of later ones is a ghost. None: that is not known."""
    exchanges: Mapping[int, Exchange]
    """By ordinal, as they were in the end: also what a `/new` in it has put behind."""
    troubles: tuple[str, ...] = ()


@attrs.define
class _Found:
    """What the segments read so far have told."""

    exchanges: dict[int, Exchange] = attrs.field(factory=dict)
    opening: set[int] = attrs.field(factory=set)
    troubles: list[str] = attrs.field(factory=list)
    count: int | None = None
    """Exchanges when the segment began."""

    def keep(self, session: Session) -> None:
        self.exchanges.update(enumerate(session.exchanges, session.base))


def whole(key: str, segments: Mapping[str, bytes]) -> Archive:
    """The archive of `key` from the bytes of its segments, by file, oldest first."""
    found = _Found()
    session = Session(key)
    firsts = _first_numbers(segments)
    for place, (file, data) in enumerate(segments.items()):
        below = next((number for number in firsts[place + 1 :] if number is not None), None)
        session = _read(file, data, below, session, found)
    in_prompt = range(session.base, session.end)
    past = tuple(Past(n, e, n in found.opening, n in in_prompt) for n, e in sorted(found.exchanges.items()))
    return Archive(session, past, tuple(found.troubles))


def piece(file: str, data: bytes) -> Piece:
    """One segment alone. Lines that a later one will call ghosts are taken for true.

    Raises: JournalTooNew. JournalDamaged if not even its header can be read.
    """
    header = segment.read_header(data.partition(b"\n")[0], file)
    found = _Found()
    _read(file, data, None, Session(header.key), found)
    return Piece(header.key, header.forget, found.count, found.exchanges, tuple(found.troubles))


def current(session: Session) -> Archive:
    """What the next prompt would hold, and nothing older."""
    kept = enumerate(session.exchanges, session.base)
    return Archive(session, tuple(Past(n, exchange, in_prompt=True) for n, exchange in kept if not exchange.undone))


def _first_numbers(segments: Mapping[str, bytes]) -> Sequence[int | None]:
    numbers: list[int | None] = []
    for file, data in segments.items():
        try:
            numbers.append(segment.read_header(data.partition(b"\n")[0], file).n)
        except (JournalDamaged, JournalTooNew):
            numbers.append(None)
    return numbers


def _read(file: str, data: bytes, below: int | None, before: Session, found: _Found) -> Session:
    """The session after this segment; `before` where nothing of it can be read."""
    session = before
    try:
        header = segment.read_header(data.partition(b"\n")[0], file)
        session = decode_session(header.snapshot)
        found.keep(session)
        found.count = session.end
        for line in _lines(file, data, header.n, below, found):
            for record in decode(line.records):
                session = _booked(session, record, found)
    except (JournalDamaged, JournalTooNew) as exc:
        found.troubles.append(str(exc))
    except (UnknownFormat, ImpossibleEvent) as exc:
        found.troubles.append(f"{file}: only a part could be read: {exc}")
    return session


def _booked(session: Session, record: r.Record, found: _Found) -> Session:
    after = apply(session, record)
    if after.exchanges is not session.exchanges:
        found.keep(after)
    if isinstance(record, r.Cleared):
        found.opening.add(after.base)
    return after


def _lines(file: str, data: bytes, number: int, below: int | None, found: _Found) -> Iterator[Line]:
    """The good lines in a row behind the header, numbered after `number`; ghosts, marks of sleep and a torn end left out."""
    texts = data.split(b"\n")[1:-1]
    for place, text in enumerate(texts, 2):
        line = segment.read_line(text)
        number += 1
        if line is not None and (line.slept or (below is not None and line.n >= below)):
            return
        if line is None or line.n != number:
            if line is not None or any(map(segment.read_line, texts[place - 1 :])):
                found.troubles.append(f"{file}, line {place}: damaged; what follows in this file is left out")
            return
        yield line
