"""The live sessions: an actor per chat, started on demand, put to sleep when idle, started again when it fails.

* `deliver` finds or starts the actor of a key and returns when the event is on disk.
* Sleep is a handshake. An actor whose mailbox is empty is taken out of the map without a checkpoint in between, so no
  message can land in an ended one; its successor waits until the journal is let go.
* Who owes something is woken: at its time, or when its channel is up (`wake`, `wake_channel`).
* An actor that fails (a bug, a damaged journal) is reported and opened again on demand; what it left unfinished is taken
  up at once, `MOST_FAILURES` times in `FAILURE_WINDOW_S`, then when that has passed or somebody speaks to it (`failing`).
  One failing session never touches another.

Raises to the caller of `deliver`: InUse, JournalError, SessionFailed.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from functools import partial

import attrs
import trio
from loguru import logger

from nanobot.errors import InUse, JournalDamaged, JournalError, JournalTooNew, NanobotError
from nanobot.journal.journal import Loaded
from nanobot.journal.segment import Owes
from nanobot.journal.store import OpenJournal, Store
from nanobot.messages import MessageId, SessionKey
from nanobot.session import events as ev
from nanobot.session import sentences
from nanobot.session.actor import Actor, ActorEnded, Job, owes
from nanobot.session.codec import UnknownFormat, decode, decode_session, encode_session
from nanobot.session.fold import apply_all
from nanobot.session.plan import Limits
from nanobot.session.ports import Progress, Services
from nanobot.session.starts import salvage
from nanobot.session.state import ImpossibleEvent, Pending, Session

IDLE_S = 300.0
"""Seconds a session stays awake after its last event: opening one costs milliseconds, a live one 40 KiB."""
SENDS_S = 0.5
"""Seconds in a drain for what is being sent to arrive, after everything else: who does not take it by then gets it later."""
CLOSE_S = 10.0
"""Seconds to let go of a journal when the disk hangs; then the process ends without."""
MOST_FAILURES = 3
FAILURE_WINDOW_S = 600.0
STOPPING = "nanobot is stopping"


class SessionFailed(NanobotError):
    """A session ended by a fault of ours before it wrote the event."""


Earlier = Callable[[SessionKey], Session | None]
"""What an earlier program left for a session that has no journal yet; None if nothing."""
Watch = Callable[[str, Progress], None]


@attrs.define(eq=False)
class _Place:
    """The place of a key in the map: one actor at a time, the next after the end of the last."""

    actor: Actor | None = None
    ready: trio.Event = attrs.field(factory=trio.Event)
    """Set when `actor` or `error` stands."""
    gone: trio.Event = attrs.field(factory=trio.Event)
    """Set when the journal is let go."""
    error: Exception | None = None
    callers: int = 0
    """Who has something to hand over: it does not retire before."""

    async def opened(self) -> Actor:
        """Raises: InUse, JournalError, SessionFailed."""
        await self.ready.wait()
        if self.error is not None:
            raise self.error
        if self.actor is None:  # cancelled while it was being opened
            raise SessionFailed(STOPPING)
        return self.actor


@attrs.frozen
class Failing:
    """What status says of a session that has failed of late."""

    why: str
    times: tuple[float, ...]
    """Seconds since the epoch, within the window."""
    until: float | None
    """When it is taken up again by itself; None: at once."""


@attrs.define(eq=False)
class Registry:
    """See the module. `run` must be live for anything else to work."""

    _store: Store
    _services: Services
    _limits: Limits
    _watch: Watch
    _earlier: Earlier = lambda _key: None
    _idle_s: float = IDLE_S
    _resume: bool = True
    """False: sessions open, but nothing resumes (too many unclean starts)."""
    _places: dict[str, _Place] = attrs.field(factory=dict, init=False)
    _leaving: dict[str, trio.Event] = attrs.field(factory=dict, init=False)
    _owing: dict[str, Owes] = attrs.field(factory=dict, init=False)
    _owing_changed: trio.Event = attrs.field(factory=trio.Event, init=False)
    _failures: dict[str, Failing] = attrs.field(factory=dict, init=False)
    _begin: Callable[[Job, str], None] | None = attrs.field(default=None, init=False)
    """Starts a task of `run`; None while that does not live."""
    _draining: bool = attrs.field(default=False, init=False)

    # --- for others

    async def deliver(self, key: SessionKey, event: ev.Event) -> None:
        """Returns when what follows from the event is on disk. Raises: InUse, JournalError, SessionFailed."""
        for _ in range(MOST_FAILURES + 1):
            place = self._start(str(key))
            place.callers += 1
            try:
                await (await place.opened()).deliver(event)
            except ActorEnded:
                await place.gone.wait()
            else:
                return
            finally:
                place.callers -= 1
        raise SessionFailed(f"session {key.short} fails again and again; the log says why")

    async def open(self, key: SessionKey) -> Session:
        """The session as it stands, with what was unfinished taken up. Raises: InUse, JournalError, SessionFailed."""
        return (await self._start(str(key)).opened()).session

    def live(self) -> dict[str, Session]:
        """The sessions that are awake."""
        return {key: place.actor.session for key, place in self._places.items() if place.actor is not None}

    def failing(self) -> dict[str, Failing]:
        """The sessions that have failed within the window, and what becomes of them."""
        return {key: f for key, f in self._failures.items() if self._services.clock() - f.times[-1] < FAILURE_WINDOW_S}

    async def outboxes(self, channel: str) -> tuple[tuple[SessionKey, tuple[Pending, ...]], ...]:
        """What has not arrived in the chats of a channel, all at one moment: when this returns.

        Who sleeps and owes is opened; who cannot be is in the log.
        """
        there = [key for key in (*self._places, *self._owing) if key.startswith(f"{channel}:")]
        found = {key: session for key in there if (session := await self._opened(key))}
        found |= {key: session for key, session in self.live().items() if key in found}
        return tuple((SessionKey.parse(key), session.outbox) for key, session in found.items() if session.outbox)

    async def find(self, wanted: Callable[[Session], bool]) -> SessionKey | None:
        """A session that is `wanted`, among those that are awake and those that wait for something."""
        for key in (*self._places, *self._owing):
            session = await self._opened(key)
            if session is not None and wanted(session):
                return SessionKey.parse(key)
        return None

    async def _opened(self, key: str) -> Session | None:
        """The session as it stands; None, with a line in the log, where it cannot be opened."""
        try:
            return await self.open(SessionKey.parse(key))
        except (InUse, JournalError, SessionFailed) as exc:
            logger.warning("session {} cannot be looked at: {}", key, exc)
            return None

    def wake_channel(self, channel: str, at: float) -> None:
        """Its channel is up: who waited for it sends now."""
        waiting = [key for key, owed in self._owing.items() if owed == f"channel:{channel}"]
        for key in [*waiting, *(key for key in self._places if key.startswith(f"{channel}:"))]:
            self.wake(SessionKey.parse(key), at)

    def wake(self, key: SessionKey, at: float) -> None:
        """Its chat can be reached: if it waited for that, it sends now."""
        place = self._places.get(str(key))
        if place is not None and place.actor is not None:
            place.actor.tell(ev.ChannelUp(at))
        elif str(key) in self._owing:
            self._start(str(key))

    def reconfigure(self, services: Services, limits: Limits) -> None:
        """What begins from now on, in whatever session, uses these."""
        self._services, self._limits = services, limits
        for place in self._places.values():
            if place.actor is not None:
                place.actor.reconfigure(services, limits)

    async def release(self, key: SessionKey) -> None:
        """Let go of its journal once nothing runs in it; the caller bounds the wait. It opens again when it is spoken to."""
        place = self._places.get(str(key))
        if place is not None:
            await self._end(place)
        elif (leaving := self._leaving.get(str(key))) is not None:
            await leaving.wait()

    # --- its life

    async def run(self, *, resume_all: bool, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled. `resume_all`: take up whatever any session has left unfinished."""
        context = contextvars.copy_context()  # a session belongs to nobody who speaks to it
        async with trio.open_nursery() as nursery:
            self._begin = lambda work, name: context.run(partial(nursery.start_soon, work, name=name))
            try:
                if resume_all:
                    self._owing.update({seen.key: seen.owes for seen in await self._store.owing() if seen.trouble is None})
                task_status.started()
                await self._wake_sleepers()
            finally:
                self._begin = None  # before the nursery closes, or who comes in between meets a closed one

    async def drain(self, at: float, within_s: float = 0.0) -> None:
        """Begin nothing any more: turns may end for `within_s` seconds, what is left is put aside. Returns when every actor
        has ended. The caller bounds it."""
        self._draining = True
        with trio.move_on_after(within_s):
            await self._end_all(ev.DrainAsked(at, aside=False))
        with trio.move_on_after(SENDS_S):
            await self._end_all(ev.DrainAsked(at))
        await self._end_all(unsent=True)

    async def _end_all(self, *last: ev.Event, unsent: bool = False) -> None:
        async with trio.open_nursery() as nursery:
            for place in list(self._places.values()):
                nursery.start_soon(partial(self._end, place, *last, unsent=unsent))

    async def _end(self, place: _Place, *last: ev.Event, unsent: bool = False) -> None:
        await place.ready.wait()
        if place.actor is not None:
            for event in last:
                place.actor.tell(event)
            place.actor.hurry(unsent=unsent)
        await place.gone.wait()

    async def _wake_sleepers(self) -> None:
        while True:
            now = self._services.clock()
            for key in [key for key, owed in self._owing.items() if owed == "now" or _due(owed, now)]:
                self._start(key)
            times = [owed for owed in self._owing.values() if isinstance(owed, float | int)]
            self._owing_changed = trio.Event()
            with trio.move_on_after(max(0.0, min(times, default=now + 3600.0) - now)):
                await self._owing_changed.wait()

    def _start(self, key: str) -> _Place:
        if key in self._places:
            return self._places[key]
        if self._begin is None:
            raise SessionFailed(STOPPING)
        self._owing.pop(key, None)
        place = self._places[key] = _Place()
        self._begin(partial(self._serve, key, place), f"session {key}")
        return place

    async def _serve(self, key: str, place: _Place) -> None:
        """One actor's life, and what its end means. Only here a fault of a session is caught."""
        try:
            with logger.contextualize(session=key):
                leaving = self._leaving.get(key)
                if leaving is not None:
                    await leaving.wait()
                await self._live(key, place)
        except* NanobotError as group:
            place.error = _first(group)
            logger.warning("session {} cannot be opened: {}", key, place.error)
        except* Exception as group:  # noqa: BLE001  # the supervisor of sessions: reported, opened again
            self._failed(key, place, group)
        finally:
            if self._places.get(key) is place:
                del self._places[key]
            if self._leaving.get(key) is place.gone:
                del self._leaving[key]
            place.ready.set()
            place.gone.set()
            self._owing_changed.set()

    async def _live(self, key: str, place: _Place) -> None:
        log, loaded = await self._store.open(key)
        try:
            session, notice = self._take_up(key, loaded)
            if log.journal.must_cut and not loaded.created:
                await log.cut(
                    encode_session(session),
                    owes=owes(session),
                    at=self._services.clock(),
                    accept_damage=loaded.damaged is not None,
                )
            actor = self._actor(key, place, session, log)
            place.actor = actor
            place.ready.set()
            if notice:
                actor.tell(notice)
            if self._draining:
                actor.tell(ev.DrainAsked(self._services.clock()))
                actor.hurry()
            crashed = not loaded.slept and not loaded.created
            await actor.run(ev.Opened(self._services.clock(), crashed, self._resume, self._services.keyed(key)))
            await log.sleep(owes=owes(actor.session), at=self._services.clock())
        finally:
            with trio.move_on_after(CLOSE_S, shield=True):
                await log.close()

    def _actor(self, key: str, place: _Place, session: Session, log: OpenJournal) -> Actor:
        def may_retire() -> bool:
            """In one step: out of the map, and on the list of who is to be woken."""
            if place.callers:
                return False
            del self._places[key]
            self._leaving[key] = place.gone
            owed = None if place.actor is None else owes(place.actor.session)
            if owed is not None and not self._draining:
                self._owing[key] = owed
                self._owing_changed.set()
            return True

        return Actor(
            session, log, self._services, self._limits, lambda progress: self._watch(key, progress), may_retire, self._idle_s
        )

    def _take_up(self, key: str, loaded: Loaded) -> tuple[Session, ev.Event | None]:
        """The state that a journal holds, and what must be said about it. Raises: JournalTooNew, JournalDamaged."""
        try:
            session = Session(key) if loaded.snapshot is None else decode_session(loaded.snapshot)
            session = apply_all(session, decode(loaded.records))
        except UnknownFormat as exc:
            raise JournalTooNew(f"the journal of {key}", str(exc)) from exc
        except ImpossibleEvent as exc:
            raise JournalDamaged(f"the journal of {key}", 0, str(exc)) from exc
        if loaded.created:
            return self._earlier(SessionKey.parse(key)) or session, None
        if loaded.damaged is None:
            return session, None
        at = self._services.clock()
        kept, open_ends = salvage(session, at)
        text = sentences.DAMAGED_NOTICE.format(loaded.damaged, open_ends)
        return kept, ev.Commanded(MessageId(f"damaged:{at}"), "", at, ev.Tell(text))

    def _failed(self, key: str, place: _Place, group: BaseExceptionGroup[Exception]) -> None:
        """A bug ended the actor: say so, and open it again if something is unfinished and it did not happen too often."""
        logger.opt(exception=group).error("session {} failed", key)
        place.error = SessionFailed(f"session {key} failed: {_first(group)}")
        now, before = self._services.clock(), self._failures.get(key)
        times = (*(t for t in (before.times if before else ()) if now - t < FAILURE_WINDOW_S), now)
        until = times[-1 - MOST_FAILURES] + FAILURE_WINDOW_S if len(times) > MOST_FAILURES else None
        self._failures[key] = Failing(str(place.error), times, until)
        if place.actor is not None and owes(place.actor.session) == "now":
            self._owing[key] = until or "now"


def _due(owed: Owes, now: float) -> bool:
    return isinstance(owed, float | int) and owed <= now


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    """One exception of a group, for a sentence; the log has them all."""
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
