"""What the journals tell of model calls: how a ledger that is missing, damaged or behind is brought up to date. Blocks.

A journal holds the answers that joined a conversation, and what consolidation used. Calls that leave no record there (of
subagents, of the heartbeat's
decisions, and answers that were empty) stand in the ledger alone, and are lost with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from loguru import logger

from nanobot.archive.reading import Reader
from nanobot.errors import JournalDamaged, JournalError, JournalTooNew
from nanobot.journal import segment
from nanobot.journal.segment import Header, Line
from nanobot.messages import Usage
from nanobot.session import records as r
from nanobot.session.codec import UnknownFormat, decode, decode_session
from nanobot.session.fold import apply
from nanobot.session.state import ImpossibleEvent, Session
from nanobot.usage.ledger import Ledger
from nanobot.usage.spent import Kind, Spent, job_of

BATCH = 2000
"""Calls of one transaction."""


def catch_up(ledger: Ledger, reader: Reader) -> int:
    """Book what the ledger has not seen; returns how many sessions were read. Raises: StoreUnusable, JournalError."""
    known, behind = ledger.read_to(), 0
    for seen in reader.sessions():
        since = known.get(seen.key, 0.0)
        if seen.at is not None and seen.at <= since:
            continue
        behind += 1
        try:
            _book(ledger, reader, seen.key, since, seen.at)
        except (JournalError, OSError) as exc:
            logger.warning("the usage of {} cannot be read: {}", seen.key, exc)
    return behind


def _book(ledger: Ledger, reader: Reader, key: str, since: float, until: float | None) -> None:
    calls: list[Spent] = []
    for call in calls_of(key, reader, since):
        calls.append(call)
        if len(calls) >= BATCH:
            ledger.book(calls)
            calls.clear()
    ledger.book(calls, {} if until is None else {key: until})


def calls_of(key: str, reader: Reader, since: float) -> Iterator[Spent]:
    """The calls of a session whose lines are not older than `since`, in seconds since the epoch. Raises: JournalError."""
    session: Session | None = None
    for item in _lines(reader.segments(key, since)):
        try:
            if isinstance(item, Header):
                session = decode_session(item.snapshot)
            elif session is not None:
                session, calls = _of_line(session, decode(item.records), item.at)
                yield from calls if item.at >= since else ()
        except (UnknownFormat, ImpossibleEvent) as exc:
            logger.warning("the journal of {} cannot be understood, so what follows in a file of it is not counted: {}", key, exc)
            session = None


def of_memory(records: Sequence[r.Record], after: Session, at: float) -> Spent | None:
    """What the consolidations that ended with a line have used up. Its name is what the session had used when it was written."""
    ended = [one for one in records if isinstance(one, r.ErrandClosed | r.ConsolidationEnded) and one.usage != Usage()]
    if not ended:
        return None
    usage, whole = sum((one.usage for one in ended), Usage()), after.usage
    return Spent(after.key, whole.input, whole.output, at, ended[-1].model, usage, Kind.MEMORY)


def _of_line(session: Session, records: Sequence[r.Record], at: float) -> tuple[Session, list[Spent]]:
    """The session after a line, and the calls of it. Raises: ImpossibleEvent."""
    calls: list[Spent] = []
    for record in records:
        turn = session.turn
        if isinstance(record, r.Answered) and turn is not None:
            made, job = record.reply, job_of(turn.inputs)
            calls.append(Spent(session.key, turn.number, turn.step, at, made.model, made.usage, Kind.TURN, turn.principal, job))
        session = apply(session, record)
    memory = of_memory(records, session, at)
    return session, [*calls, memory] if memory else calls


def _lines(segments: dict[str, bytes]) -> Iterator[Header | Line]:
    """Headers and good lines, oldest first. A line that a later header calls a ghost was answered and paid for all the same."""
    for file, data in segments.items():
        first, *rest = data.split(b"\n")
        try:
            yield segment.read_header(first, file)
        except (JournalDamaged, JournalTooNew) as exc:
            logger.warning("usage cannot be read from {}", exc)
            continue
        yield from filter(None, map(segment.read_line, rest[:-1]))
