"""The heartbeat: a regular look at HEARTBEAT.md, and work on what is due there, without anybody having asked.

Every `gateway.heartbeat.intervalS`, the first time after one interval, the file is read. No model is asked while nothing in it
is active; nor while it is as it was when the model saw nothing to do, but for a few times a day (`AGAIN_S`, or when the model
said); nor in quiet hours; nor once the day's tokens are used up. Else one call decides: skip or run. What is to be done then is
a turn of scheduled work in the conversation `heartbeat:main`, which is empty before each. What comes of it is told only where
its answer says so by a line `TELL` of its own: whatever else it says, stays there.

What is under way, and what is to be told, is remembered before it is done, so that after a crash it goes on or is told once. What
fails is tried again after twice the time, up to a day, and the owner is told when it fails again and again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import NoReturn, Protocol
from zoneinfo import ZoneInfo

import attrs
import trio
from loguru import logger

from nanobot.config.schema import Config, HeartbeatConfig
from nanobot.errors import NanobotError
from nanobot.messages import MessageId, Origin, Principal, Reply, Said, SessionKey
from nanobot.scheduler import heartbeat_state as state
from nanobot.scheduler.following import Going, Standing
from nanobot.scheduler.heartbeat_file import NAME, Tasks, look
from nanobot.scheduler.heartbeat_state import Done, Held, Nothing, Remembered
from nanobot.scheduler.heartbeat_words import FAILS, WORK, WORKS, worth_telling
from nanobot.scheduler.jobs import JobId, Outcome, Run, Slot
from nanobot.scheduler.quiet import Quiet
from nanobot.scheduler.zones import BadSchedule, find, machine, wall
from nanobot.session import events as ev
from nanobot.session.ports import Adopted, Progress
from nanobot.session.state import Session

JOB = JobId("heartbeat")
KEY = SessionKey("heartbeat", "main")
OWNER = str(Principal("cli", "default", "heartbeat", "user"))
"""Who gave the order: the file is the owner's. Its rights are those of scheduled work."""
AGAIN_S = 6 * 3600.0
"""Seconds after which a file in which there was nothing to do is shown to the model again, if it has not said when: tasks may
depend on time. So four times a day at most."""
LONGEST_S = 86400.0
"""Seconds: a day without a look is the longest, after failures and by the model's word."""
STEP_S = 60.0
"""Seconds between two looks at whether the configuration has another interval, and at a session that says nothing."""
MOST_FAILURES = 3
"""In a row, after which the owner is told."""
SLACK_S = 3600.0
"""Seconds that a clock may have been put back before what was remembered counts for nothing."""


@attrs.frozen
class Decision:
    """What is to be done, empty for nothing. `again_s`: when to ask next while the file stays as it is; None: as usual."""

    tasks: str = ""
    again_s: float | None = None


class Decider(Protocol):
    """One model call, booked (agent/deciding.py)."""

    async def decide(self, tasks: str, done: tuple[Done, ...], zone: ZoneInfo) -> Decision:
        """Raises: NanobotError."""
        ...


class Budget(Protocol):
    """usage/meter.py."""

    def heartbeat_refusal(self) -> str: ...

    def heartbeat_tokens(self) -> int: ...

    def background_refusal(self, principal: str) -> str: ...


class Sessions(Protocol):
    """session/registry.py. Both raise InUse, JournalError, SessionFailed."""

    async def open(self, key: SessionKey) -> Session: ...

    async def deliver(self, key: SessionKey, event: ev.Event) -> None: ...


@attrs.frozen
class Surroundings:
    """What the heartbeat is given."""

    config: Callable[[], Config]
    """What is in force."""
    workspace: Path
    file: Path
    """Where it remembers (`Places.heartbeat`)."""
    taints: Callable[[Path], bool]
    decider: Decider
    budget: Budget
    sessions: Sessions
    owner_at: Callable[[], str]
    """Where the owner spoke last, a session's key; empty if nowhere."""
    tell: Callable[[str], None]
    """Tells the owner of the heartbeat itself."""
    clock: Callable[[], float]


class _Failed(NanobotError):
    """A look came to nothing; `str()` is a sentence."""


@attrs.define(eq=False)
class Heartbeat:
    """See the module. `serve` is its life, `watch` must be given what the sessions show."""

    _around: Surroundings
    _kept: Remembered = attrs.field(factory=Remembered, init=False)
    _going: Going | None = attrs.field(default=None, init=False)
    _ended: Session | None = attrs.field(default=None, init=False)
    """Its session, when the run ended."""
    _failures: int = attrs.field(default=0, init=False)
    _error: str = attrs.field(default="", init=False)
    _note: str = attrs.field(default="no look yet", init=False)
    _next: float | None = attrs.field(default=None, init=False)
    """Time of the next look, in seconds since the epoch."""

    # --- for others

    def watch(self, key: str, progress: Progress) -> None:
        if self._going is not None and key == str(KEY) and isinstance(progress, Adopted):
            self._going.see(progress, self._now_ms())
            if self._going.over.is_set() and self._ended is None:
                self._ended = progress.session

    def facts(self) -> tuple[tuple[str, str], ...]:
        """Lines of its node."""
        facts = {
            "state": self._note if self._settings.enabled or self._going else "off (gateway.heartbeat.enabled)",
            "next look": "" if self._next is None else f"{wall(self._zone, self._next):%Y-%m-%d %H:%M}",
            "tokens today": f"{self._around.budget.heartbeat_tokens():,} of {self._settings.daily_tokens:,}",
            "to be told": str(len(self._kept.held)) if self._kept.held else "",
            "trouble": f"{self._error} ({self._failures} in a row)" if self._error else "",
        }
        return tuple((name, text) for name, text in facts.items() if text)

    # --- its life

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Until cancelled."""
        self._kept = await trio.to_thread.run_sync(state.load, self._around.file)
        looked_at = trio.current_time() - self._since_last()
        task_status.started()
        if self._kept.running is not None:
            await self._try(partial(self._finish, self._kept.running))
        while True:
            await self._until_due(looked_at)
            looked_at = trio.current_time()
            if self._settings.enabled:
                await self._try(self._look)

    def _since_last(self) -> float:
        """Seconds that count for the first look: so many starts within an interval must not put it off for ever."""
        interval, last = self._settings.interval_s, self._kept.looked_at
        since = self._around.clock() - last if last else 0.0
        return max(0.0, min(since, interval - min(interval, STEP_S)))

    async def _until_due(self, looked_at: float) -> None:
        while (left := looked_at + self._pause() - trio.current_time()) > 0:
            self._next = self._around.clock() + left if self._settings.enabled else None
            await trio.sleep(min(left, STEP_S))

    def _pause(self) -> float:
        """Seconds between two looks."""
        interval = self._settings.interval_s
        return max(interval, min(interval * 2.0**self._failures, LONGEST_S))

    async def _try(self, work: Callable[[], Awaitable[bool]]) -> None:
        """What goes wrong is seen, and tried again later. `work` says whether it proves that all is well."""
        try:
            well = await work()
        except (NanobotError, OSError) as exc:
            self._failures, self._error, self._note = self._failures + 1, str(exc), "the last look failed"
            logger.warning("the heartbeat failed: {}", exc)
            if self._failures == MOST_FAILURES:
                self._around.tell(FAILS.format(MOST_FAILURES, self._error))
            return
        if well:
            if self._failures >= MOST_FAILURES:
                self._around.tell(WORKS)
            self._failures, self._error = 0, ""

    # --- a look

    async def _look(self) -> bool:
        """Raises: NanobotError, OSError."""
        now = self._around.clock()
        if self._quiet():
            self._note = "quiet hours"
            return False
        await self._tell_held()
        tasks = await trio.to_thread.run_sync(look, self._around.workspace, self._around.taints)
        if tasks.trouble:
            raise _Failed(tasks.trouble)
        if not tasks.text:
            self._note = f"nothing is active in {NAME}"
            return True
        if self._as_before(tasks.digest, now):
            self._note = "nothing to do, and nothing has changed since"
            return False
        if why := self._around.budget.heartbeat_refusal() or self._around.budget.background_refusal(OWNER):
            self._note = why
            await self._say_budget(why, now)
            return False
        await self._decide(tasks, now)
        return True

    def _as_before(self, digest: str, now: float) -> bool:
        """Whether the model has seen these tasks lately, and nothing to do."""
        nothing = self._kept.nothing
        return nothing is not None and nothing.digest == digest and nothing.at - SLACK_S <= now < nothing.again_at

    async def _decide(self, tasks: Tasks, now: float) -> None:
        await self._remember(looked_at=now)
        decision = await self._around.decider.decide(tasks.text, self._kept.done, self._zone)
        if decision.tasks:
            await self._begin(decision.tasks, tainted=tasks.tainted or any(run.tainted for run in self._kept.done))
            return
        self._note = "nothing to do"
        again_s = AGAIN_S if decision.again_s is None else min(decision.again_s, LONGEST_S)
        again_s = max(again_s, self._settings.interval_s) - STEP_S  # a look that comes a moment early is that look
        await self._remember(nothing=Nothing(tasks.digest, now, now + again_s))

    async def _say_budget(self, why: str, now: float) -> None:
        today = f"{wall(self._zone, now):%Y-%m-%d}"
        if self._kept.budget_told != today:
            self._around.tell(why)
            await self._remember(budget_told=today)

    # --- a run

    async def _begin(self, tasks: str, *, tainted: bool) -> None:
        run = Done(self._now_ms(), tasks, tainted)
        session = await self._around.sessions.open(KEY)
        if session.exchanges:  # nothing of it is for memory, so it goes without
            await self._around.sessions.deliver(KEY, ev.Consolidated(self._around.clock(), session.end))
        await self._remember(running=run, nothing=None)
        text = WORK.format(tasks=tasks)
        said = Said(_message(run), text, self._around.clock(), OWNER, (), tainted, Origin.JOB, ours=True)
        await self._around.sessions.deliver(KEY, ev.Received(said))
        await self._finish(run)

    async def _finish(self, run: Done) -> bool:
        """Wait for its end, and see to what comes of it. It may have begun before nanobot was started."""
        self._note = "at work"
        going = Going(Run(JOB, Slot(run.slot), Outcome.RUNNING, run.slot), None, KEY)
        session = await self._over(going)
        if session is None:  # a crash came before it was said
            await self._remember(running=None)
            return False
        ok = going.run.outcome is Outcome.OK
        text = worth_telling(_answer(session, _message(run))) if ok else ""
        held = (*self._kept.held, Held(run.slot, text)) if text else self._kept.held
        await self._remember(running=None, done=(*self._kept.done, attrs.evolve(run, ok=ok)), held=held)
        if not ok:
            raise _Failed(f"the work ended as {going.run.outcome.value}: {going.run.error}")
        self._note = "the last work is told" if text else "the last work was not worth telling"
        await self._tell_held()
        return True

    async def _over(self, going: Going) -> Session | None:
        """The session at the end of the run, None if it never came there."""
        self._follow(going)
        try:
            while True:
                session = await self._around.sessions.open(KEY)
                if going.find(session, self._now_ms()) is Standing.NEW:
                    return None
                with trio.move_on_after(STEP_S):
                    await going.over.wait()
                if going.over.is_set():
                    return self._ended or session
        finally:
            self._follow(None)

    def _follow(self, going: Going | None) -> None:
        self._going, self._ended = going, None

    async def _tell_held(self) -> None:
        """Bring what is worth it to the owner; in quiet hours, and while it is not known where, it waits."""
        while self._kept.held and not self._quiet() and (target := self._target()) is not None:
            first, *left = self._kept.held
            handed = ev.Handed(f"heartbeat:{first.slot}", first.text, self._around.clock())
            await self._around.sessions.deliver(target, handed)
            await self._remember(held=tuple(left))

    def _target(self) -> SessionKey | None:
        """Raises: _Failed."""
        gateway = self._around.config().gateway
        where = gateway.heartbeat.chat or gateway.notify or self._around.owner_at()
        try:
            return SessionKey.parse(where) if where else None
        except ValueError as exc:
            raise _Failed(f"gateway.heartbeat.chat or gateway.notify: {exc}") from exc

    # --- small things

    async def _remember(self, **changes: object) -> None:
        """On disk when it returns. Raises: OSError."""
        self._kept = attrs.evolve(self._kept, **changes)  # type: ignore[arg-type]
        await trio.to_thread.run_sync(state.save, self._around.file, self._kept)

    def _quiet(self) -> bool:
        try:
            hours = Quiet.parse(self._settings.quiet)
        except ValueError:  # refused with the configuration
            return False
        return hours is not None and hours.at(wall(self._zone, self._around.clock()))

    def _now_ms(self) -> int:
        return int(self._around.clock() * 1000)

    @property
    def _settings(self) -> HeartbeatConfig:
        return self._around.config().gateway.heartbeat

    @property
    def _zone(self) -> ZoneInfo:
        try:
            return find(self._around.config().agents.defaults.timezone)
        except BadSchedule:  # refused with the configuration
            return machine()


def _message(run: Done) -> MessageId:
    return MessageId(f"job:{JOB}:{run.slot}")


def _answer(session: Session, message: MessageId) -> str:
    """What the turn of that message ended with."""
    for exchange in session.exchanges:
        if any(isinstance(entry, Said) and entry.id == message for entry in exchange.entries):
            return "".join(entry.text for entry in exchange.entries if isinstance(entry, Reply) and not entry.calls)
    return ""
