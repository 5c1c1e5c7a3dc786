"""The gateway's own journal: messages that no session could take, what the owner is still to be told, where the owner speaks.

It lies under `<data>/gateway` and keeps the journal's promises (journal/journal.py): `write` returns when its records are on
disk, and the state is the fold of all that was written. A record that is booked twice changes nothing the second time, so
that one whose writing was given up, and which may be on disk all the same, does no harm.

Of a damaged journal what can be read is taken up: a session that has a message already does not take it again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import reduce
from pathlib import Path
from typing import TypeVar, assert_never

import attrs
import trio
from cattrs import Converter
from cattrs.errors import ForbiddenExtraKeysError
from cattrs.strategies import configure_tagged_union
from loguru import logger

from nanobot.errors import InUse, JournalDamaged, JournalError, JournalTooNew, JournalUnwritable
from nanobot.journal.journal import Journals
from nanobot.journal.segment import NOW, Owes
from nanobot.journal.store import Store
from nanobot.journal.writers import Writers
from nanobot.messages import Inbound, MessageId, SessionKey
from nanobot.session.ports import Log
from nanobot.supervise.status import Node
from nanobot.wire import Json

FOLDER = "gateway"
KEY = "gateway:backlog"
MOST_KEPT = 1000
MOST_CHARS = 10_000_000
"""Of text in all that is kept: it is held in memory, and a snapshot of it is written in one piece."""
AGAIN_S = 3600.0
"""Seconds in which the same words are told once, over restarts: what comes and goes should not ring every minute."""
CLOSE_S = 10.0
"""Seconds to write the farewell when the disk hangs; then the next start takes it for a crash, which costs a cut."""

T = TypeVar("T")


# --- records


@attrs.frozen
class Kept:
    """A message waits for its session."""

    ticket: int
    """Its place among all: messages that failed at once are kept in no particular order."""
    inbound: Inbound
    why: str
    at: float

    @property
    def session(self) -> str:
        return str(self.inbound.key)


@attrs.frozen
class Taken:
    """Its session has it."""

    session: str
    id: MessageId


@attrs.frozen
class Noticed:
    """The owner is to be told. `about`: the channel concerned, which is not the one to tell it on; empty: none."""

    id: str
    text: str
    about: str
    at: float


@attrs.frozen
class Told:
    """The session `to` has these notices."""

    ids: tuple[str, ...]
    to: str
    at: float


@attrs.frozen
class OwnerSpoke:
    session: str


Record = Kept | Taken | Noticed | Told | OwnerSpoke


# --- state


@attrs.frozen
class Notice:
    id: str
    text: str
    about: str
    at: float
    told_at: float | None = None


@attrs.frozen
class State:
    kept: tuple[Kept, ...] = ()
    """By ticket."""
    notices: tuple[Notice, ...] = ()
    """Those that are not told, and those told lately."""
    chats: tuple[str, ...] = ()
    """The last chat of the owner on each channel, the latest first."""

    @property
    def untold(self) -> tuple[Notice, ...]:
        return tuple(notice for notice in self.notices if notice.told_at is None)

    def pruned(self, now: float) -> State:
        """Without notices that were told long ago."""
        notices = tuple(n for n in self.notices if n.told_at is None or now - n.told_at < AGAIN_S)
        return self if len(notices) == len(self.notices) else attrs.evolve(self, notices=notices)


def apply(state: State, record: Record) -> State:
    """What the record says, booked."""
    match record:
        case Kept():
            if any(k.inbound.id == record.inbound.id and k.session == record.session for k in state.kept):
                return state
            return attrs.evolve(state, kept=tuple(sorted((*state.kept, record), key=lambda kept: kept.ticket)))
        case Taken(session, message):
            left = tuple(k for k in state.kept if k.inbound.id != message or k.session != session)
            return attrs.evolve(state, kept=left)
        case Noticed(id, text, about, at):
            if any(notice.id == id for notice in state.notices):
                return state
            return attrs.evolve(state, notices=(*state.notices, Notice(id, text, about, at)))
        case Told(ids, _, at):
            told = tuple(attrs.evolve(n, told_at=at) if n.id in ids else n for n in state.notices)
            return attrs.evolve(state, notices=told)
        case OwnerSpoke(session):
            channel = channel_of(session)
            others = (chat for chat in state.chats if channel_of(chat) != channel)
            return attrs.evolve(state, chats=(session, *others))
        case _ as never:
            assert_never(never)


def channel_of(session: str) -> str:
    return SessionKey.parse(session).channel


# --- as JSON


def _exactly(kind: type[T]) -> Callable[[object, object], T]:
    def check(found: object, _: object) -> T:
        if type(found) is not kind:
            raise TypeError(f"{found!r} is no {kind.__name__}")
        return found

    return check


def _converter() -> Converter:
    converter = Converter(detailed_validation=False, forbid_extra_keys=True, omit_if_default=True)
    for kind in (str, int, bool):
        converter.register_structure_hook(kind, _exactly(kind))
    configure_tagged_union(Record, converter, tag_name="t", tag_generator=lambda cls: cls.__name__.lower())
    return converter


_CONVERTER = _converter()


def encode(records: Iterable[Record]) -> list[Json]:
    return [_CONVERTER.unstructure(record, Record) for record in records]


def encode_state(state: State) -> Json:
    row: Json = _CONVERTER.unstructure(state)
    return row


def decode(snapshot: Json, rows: Iterable[Json]) -> State:
    """The fold of a journal. Raises: JournalTooNew for what this version does not know, and does not guess at."""
    try:
        state = State() if snapshot is None else _CONVERTER.structure(snapshot, State)
        records: list[Record] = [_CONVERTER.structure(row, Record) for row in rows]  # type: ignore[arg-type]  # a union
        return reduce(apply, records, state)
    except (ForbiddenExtraKeysError, KeyError, TypeError, ValueError, AttributeError) as exc:
        raise JournalTooNew(f"the journal of {KEY}", f"{type(exc).__name__}: {exc}") from exc


# --- on disk


@attrs.define(eq=False)
class Backlog:
    """The open journal and its state. Made by `open_backlog`."""

    state: State
    _log: Log
    _clock: Callable[[], float]
    opened_at: float
    damaged: JournalDamaged | None = None
    """What was lost of it, to be told."""
    _alone: trio.Lock = attrs.field(factory=trio.Lock, init=False)

    def first(self, session: str) -> Kept | None:
        """What is to be handed over next to a session."""
        return next((kept for kept in self.state.kept if kept.session == session), None)

    def has(self, inbound: Inbound) -> bool:
        key = str(inbound.key)
        return any(kept.inbound.id == inbound.id and kept.session == key for kept in self.state.kept)

    def room_for(self, inbound: Inbound) -> bool:
        chars = sum(len(kept.inbound.text) for kept in self.state.kept) + len(inbound.text)
        return len(self.state.kept) < MOST_KEPT and chars <= MOST_CHARS

    def nodes(self) -> tuple[Node, ...]:
        """What is kept, for the status tree."""
        kept = self.state.kept
        if not kept:
            return (Node("backlog", "service", "idle", self.opened_at),)
        facts = tuple(
            (SessionKey.parse(session).short, f"{count} kept: {first.why}")
            for session, count in Counter(item.session for item in kept).items()
            if (first := self.first(session)) is not None
        )
        return (Node("backlog", "service", "waiting", kept[0].at, waiting="sessions that can take nothing", facts=facts),)

    async def write(self, *records: Record) -> None:
        """On disk and booked when it returns. Cancelled while the disk hangs, it may be on disk. Raises: JournalError, InUse."""
        async with self._alone:
            after, at = reduce(apply, records, self.state), self._clock()
            pruned = after.pruned(at)
            await self._log.append(encode(records), owes=_owes(after), at=at, snapshot_after=lambda: encode_state(pruned))
            self.state = after
            if self._log.oversize:
                await self._cut(pruned, at)

    async def note_owner(self, session: str) -> None:
        """The owner spoke there last. Written if that is news; where it cannot be, the one before stands."""
        if session in self.state.chats[:1]:
            return
        try:
            await self.write(OwnerSpoke(session))
        except (JournalError, InUse) as exc:
            logger.warning("it cannot be written where the owner spoke last: {}", exc)

    async def _cut(self, pruned: State, at: float) -> None:
        """A refusal costs nothing: the next line cuts."""
        try:
            await self._log.cut(encode_state(pruned), owes=_owes(pruned), at=at)
        except JournalUnwritable:
            return
        self.state = pruned

    async def sleep(self) -> None:
        """A farewell, so that the next start is not taken for one after a crash."""
        try:
            await self._log.sleep(owes=_owes(self.state), at=self._clock())
        except (JournalError, InUse):
            pass  # it will be taken for one, which costs a cut


@asynccontextmanager
async def open_backlog(store: Store, clock: Callable[[], float]) -> AsyncIterator[Backlog]:
    """The backlog under the root of `store`, for as long as the block lasts. Raises: JournalError, InUse."""
    await store.writers.run("preparing the gateway's journal", store.journals.prepare)
    log, loaded = await store.open(KEY)
    try:
        backlog = Backlog(decode(loaded.snapshot, loaded.records), log, clock, clock(), loaded.damaged)
        if log.journal.must_cut and not loaded.created:
            state = encode_state(backlog.state)
            await log.cut(state, owes=_owes(backlog.state), at=clock(), accept_damage=loaded.damaged is not None)
        try:
            yield backlog
        finally:
            with trio.move_on_after(CLOSE_S, shield=True):
                await backlog.sleep()
    finally:
        with trio.move_on_after(CLOSE_S, shield=True):
            await log.close()


def store_in(data: Path, writers: Writers) -> Store:
    """Where the gateway's own journal lies, beside those of the sessions."""
    return Store(Journals(str(data / FOLDER)), writers)


def _owes(state: State) -> Owes:
    return NOW if state.kept or state.untold else None
