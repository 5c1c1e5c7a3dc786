"""Runs that are committed, each on its way to its session and through it: a line per session, one run at a time in each.

Lines do not wait for each other. While its chat is busy, a run waits here and not in the chat's inbox, where nobody could take
it back; after `gateway.cron.busyS` it is skipped. Brought there it is a message with an id of its own, `job:ID:SLOT`, which a
session takes once, and gets a turn of its own. Its deadline and its tokens are watched here, and end the turn.

A run that was committed before a crash takes the same way: it is looked up in its session first, whoever it was that brought it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Protocol

import attrs
import trio
from loguru import logger

from nanobot.config.schema import CronConfig
from nanobot.errors import DiskFull, InUse, JournalError
from nanobot.messages import Origin, Said, SessionKey
from nanobot.scheduler import zones
from nanobot.scheduler.catchup import ON_TIME_MS, Terms
from nanobot.scheduler.following import Going, Standing, is_free
from nanobot.scheduler.jobs import Job, Outcome, Run
from nanobot.session import events as ev
from nanobot.session.ports import Adopted, Progress
from nanobot.session.registry import SessionFailed
from nanobot.session.state import Session, StopReason

RETRY_S = 5.0
"""Seconds until a session that cannot be opened is tried again."""
HOLD_S = 1.0
"""Seconds that a run holds one of the places in parallel: a session that is stuck leaves its place to others."""
END_S = 60.0
"""Seconds for a session to end a turn that was told to; then the line goes on without."""


class Sessions(Protocol):
    """session/registry.py."""

    async def open(self, key: SessionKey) -> Session:
        """Raises: InUse, JournalError, SessionFailed."""
        ...

    async def deliver(self, key: SessionKey, event: ev.Event) -> None:
        """Raises: InUse, JournalError, SessionFailed."""
        ...


async def _enough_space() -> None:
    pass


@attrs.define
class Gates:
    """What stands between a run and its session; whoever builds the service fills it. None may block."""

    may_run: Callable[[Job], str] = lambda _job: ""
    """Why there is no budget for a run now; empty: there is."""
    let_in: Callable[[str], str] = lambda _principal: ""
    """Why who made a job has no work done any more; empty: they have."""
    reachable: Callable[[str], str] = lambda _channel: ""
    """Why what is said on a channel reaches nobody, however long one waits; empty: it does."""
    check_space: Callable[[], Awaitable[None]] = _enough_space
    """Raises: DiskFull."""


@attrs.define(eq=False, repr=False)  # whoever prints it would print the whole house
class Lines:
    """See the module. All its tasks are in `nursery`, which is whoever's that serves the runs."""

    _sessions: Sessions
    _gates: Gates
    _config: Callable[[], CronConfig]
    _zone: Callable[[], str]
    _clock: Callable[[], float]
    """Seconds since the epoch."""
    _on_begun: Callable[[Going], None]
    _on_over: Callable[[Going], None]
    nursery: trio.Nursery | None = attrs.field(default=None, init=False)
    closed: bool = attrs.field(default=False, init=False)
    """Nothing is brought to a session any more."""
    _lines: dict[str, deque[Going]] = attrs.field(factory=dict, init=False)
    """By session; the first of each is being served."""
    _places: trio.Semaphore = attrs.field(factory=lambda: trio.Semaphore(1), init=False)
    _parallel: int = attrs.field(default=0, init=False)

    def clear(self, nursery: trio.Nursery) -> None:
        """A new life."""
        self.nursery, self._lines, self._parallel, self.closed = nursery, {}, 0, False

    def add(self, run: Run, job: Job | None, *, resumed: bool = False) -> None:
        """Put a run at the end of the line of its session. `resumed`: it was committed before this life."""
        assert self.nursery is not None
        tokens = self._config().tokens if job is None or job.tokens is None else job.tokens
        key = SessionKey.parse(run.session)
        line = self._lines.setdefault(str(key), deque())
        line.append(Going(run, job, key, resumed, tokens or math.inf))
        if len(line) == 1:
            self.nursery.start_soon(self._serve, line, name=f"scheduled work of {key}")

    def watch(self, key: str, progress: Progress) -> None:
        """Told of all sessions; does not block."""
        line = self._lines.get(key)
        if line and isinstance(progress, Adopted):
            going, waited = line[0], line[0].turn is None
            going.see(progress, self._now_ms())
            if waited and going.turn is not None:
                self._on_begun(going)

    def __iter__(self) -> Iterator[Going]:
        return (going for line in self._lines.values() for going in line)

    async def _serve(self, line: deque[Going]) -> None:
        while line:
            going = line[0]
            await self._bring(going)
            await self._follow(going)
            self._on_over(going)
            line.popleft()
            if not line:
                del self._lines[str(going.key)]

    async def _bring(self, going: Going) -> None:
        """To its session, once that is free: when this returns it is there, or over."""
        busy_s = self._config().busy_s
        until, came = trio.current_time() + busy_s, False
        while not came and not going.over.is_set():
            going.free = trio.Event()
            why, left = "", until - trio.current_time()
            try:
                async with self._place():
                    came = await self._brought(going)
            except (InUse, SessionFailed, DiskFull) as exc:
                why = str(exc)
            except JournalError as exc:
                self._end(going, Outcome.FAILED, str(exc))
            if came or going.over.is_set():
                continue
            if left <= 0 and why:
                self._end(going, Outcome.FAILED, why)
            elif left <= 0:
                self._end(going, Outcome.BUSY, f"its chat was not free for {busy_s:.0f} seconds (gateway.cron.busyS)")
            elif why:
                await trio.sleep(min(left, RETRY_S))
            else:
                with trio.move_on_after(left):
                    await going.free.wait()

    async def _brought(self, going: Going) -> bool:
        """Whether it is in its session. Raises: InUse, JournalError, SessionFailed, DiskFull."""
        await self._gates.check_space()
        session = await self._sessions.open(going.key)
        if going.find(session, self._now_ms()) is not Standing.NEW:
            return True
        if (refused := self._refused(going)) is not None:
            self._end(going, *refused)
        if going.job is None or going.over.is_set() or self.closed or not is_free(session):
            return False
        await self._sessions.deliver(going.key, ev.Received(self._said(going, going.job)))
        return True

    def _refused(self, going: Going) -> tuple[Outcome, str] | None:
        """Why a run that no session has yet must not begin."""
        job = going.job
        if job is None:
            return Outcome.FAILED, "its job was removed before it could begin"
        terms = Terms.of(job, self._config())
        if going.resumed and not going.run.by_hand and terms.too_late(going.run.slot, self._now_ms()):
            return Outcome.MISSED, "nanobot ended before it could begin"
        if why := self._gates.let_in(job.principal):
            return Outcome.BARRED, why
        if why := self._gates.reachable(going.key.channel):
            return Outcome.FAILED, why
        if why := self._gates.may_run(job):
            return Outcome.CAPPED, why
        return None

    async def _follow(self, going: Going) -> None:
        """To its end."""
        await going.begun.wait()
        job, deadline_s = going.job, self._config().deadline_s
        with trio.move_on_after(deadline_s if job is None or job.deadline_s is None else job.deadline_s):
            await going.bound.wait()
        if not going.over.is_set():
            with trio.move_on_after(END_S):
                await self._stop(going, StopReason.TOKENS if going.bound.is_set() else StopReason.RUN_DEADLINE)
                await going.over.wait()
        self._end(going, Outcome.FAILED, "it was to end, and its conversation did not end it")

    async def _stop(self, going: Going, why: StopReason) -> None:
        assert going.turn is not None
        try:
            await self._sessions.deliver(going.key, ev.DeadlinePassed(going.turn, self._clock(), why))
        except (InUse, JournalError, SessionFailed) as exc:
            logger.warning("the turn of {} cannot be ended: {}", going.message, exc)

    def _end(self, going: Going, outcome: Outcome, error: str) -> None:
        """Once: if it is over, it stays as it is."""
        going.end(outcome, self._now_ms(), error)

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """One of the places in parallel; it is given back after the block, or when that takes long."""
        assert self.nursery is not None
        if self._parallel != self._config().parallel:
            self._parallel = self._config().parallel
            self._places = trio.Semaphore(self._parallel)
        places, done = self._places, trio.Event()
        await places.acquire()
        self.nursery.start_soon(_give_back, places, done)
        try:
            yield
        finally:
            done.set()

    def _said(self, going: Going, job: Job) -> Said:
        run = going.run
        late = " It was missed then and is made up for now." if run.due_ms - run.slot > ON_TIME_MS else ""
        when = "somebody wants it done now" if run.by_hand else f"due {shown(run.slot, self._zone())}"
        name = " ".join(job.name.split())
        head = f'Scheduled work "{name}", {when}.{late} Nobody is there to answer questions: do it, and report.'
        text = f"{head}\n\n{job.message}"
        return Said(going.message, text, self._clock(), job.principal, tainted=job.tainted, origin=Origin.JOB)

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


async def _give_back(places: trio.Semaphore, done: trio.Event) -> None:
    with trio.move_on_after(HOLD_S):
        await done.wait()
    places.release()


def shown(slot: int, zone: str) -> str:
    """What the clock shows then, for people."""
    return zones.wall(zones.find(zone), slot / 1000).strftime("%Y-%m-%d %H:%M:%S").removesuffix(":00")
