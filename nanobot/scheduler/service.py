"""The scheduler: what is due is committed, then brought to its session (lines.py).

Theory of operation. One loop sleeps until the next slot, an edit of the jobs, or `LOOK_S`, because clocks are set and files are
edited by hand. It takes up the file of jobs if that has changed, and commits what is due: all in one transaction, and before
anything is delivered. Only the database of runs decides what was due; the file of jobs is told of it later (books.py).

After a crash everything is found again: what is not over in the database takes its way anew, and what is due is what comes after
the last committed slot of each job. A clock that is set back makes nothing due twice, one that is set forward makes up for
what it has skipped, as each job wants it. Set back by more than a day it was wrong before: then what is due comes after what it
shows now, and what has run under the same time already does not run again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

import attrs
import trio
from loguru import logger

from nanobot.config.schema import Config, CronConfig
from nanobot.errors import NanobotError, StoreUnusable
from nanobot.messages import INTERNAL, SessionKey
from nanobot.scheduler.agenda import BACK_MS, Agenda
from nanobot.scheduler.books import Books
from nanobot.scheduler.catchup import Settled, Terms
from nanobot.scheduler.following import Going
from nanobot.scheduler.jobs import Job, JobId, Outcome, Run, Slot
from nanobot.scheduler.lines import Gates, Lines, Sessions, shown
from nanobot.scheduler.reports import Reports
from nanobot.scheduler.runs import Runs
from nanobot.scheduler.store import Found, JobsDamaged, JobStore, Stamp
from nanobot.session.ports import Progress
from nanobot.supervise.policy import ChildFailed

LOOK_S = 1.0
"""Seconds until clock and file are looked at in any case."""
SETTLE_S = 2.0
"""Seconds that a file may be gone or half-written while an editor saves it."""
RETRY_S = 5.0
"""Seconds until a disk that refuses is tried again."""
UP_S = 5.0
"""Seconds that somebody waits who wants a job run while the scheduler starts."""
SWEEP_S = 86400.0
NAMED = 5
"""Runs that the status names."""

_in_thread = trio.to_thread.run_sync


class UnknownJob(NanobotError):
    """There is none of that id."""


@attrs.frozen
class Earlier:
    """Where HKUDS/nanobot kept its jobs, which are taken over at the very first start."""

    file: Path | None = None
    suspect: Callable[[Path], bool] = lambda _path: False
    """Whether a file holds text of strangers."""


@attrs.define(eq=False, repr=False)  # whoever prints it would print the whole house
class Service:
    """See the module. `serve` is its life, `watch` must be given what the sessions show."""

    _store: JobStore
    _runs: Runs
    _sessions: Sessions
    _config: Callable[[], Config]
    """What is in force."""
    _clock: Callable[[], float]
    """Seconds since the epoch."""
    _tell: Callable[[str, str], None]
    """Tells the owner a text about a channel, or about none."""
    gates: Gates = attrs.field(factory=Gates)
    _earlier: Earlier = Earlier()
    _agenda: Agenda = attrs.field(factory=Agenda, init=False)
    _books: Books = attrs.field(init=False)
    _lines: Lines = attrs.field(init=False)
    _stirred: trio.Event = attrs.field(factory=trio.Event, init=False)
    _up: trio.Event = attrs.field(factory=trio.Event, init=False)
    _stamp: Stamp = attrs.field(default=None, init=False)
    """Of the file as it was taken up."""
    _under: tuple[str, int] | None = attrs.field(default=None, init=False)
    """Zone and number of jobs with which it was taken up; None: it was not."""
    _doubt: tuple[Stamp, float] | None = attrs.field(default=None, init=False)
    """A file that is damaged or gone, and when that was seen first."""
    _kept: tuple[str, ...] = attrs.field(default=(), init=False)
    _reports: Reports = attrs.field(init=False)
    _latest_ms: float = attrs.field(default=math.inf, init=False)
    """The latest that the clock has shown; at the start that is unknown."""
    _next: Slot | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._books = Books(self._runs, self._store, self._wrote)
        self._reports = Reports(self._tell, self.gates.reachable, lambda: self._zone)
        self._lines = Lines(
            self._sessions, self.gates, lambda: self._cron, lambda: self._zone, self._clock, self._begun, self._over
        )

    # --- for others

    def changed(self) -> None:
        """The jobs were edited: look at once."""
        self._stirred.set()

    async def run_now(self, job_id: str) -> Slot:
        """Run a job now, beside its schedule; returns the slot of its run, which is committed.

        Raises: UnknownJob, StoreUnusable.
        """
        with trio.move_on_after(UP_S):
            await self._up.wait()
        if self._lines.nursery is None or self._lines.closed:
            raise StoreUnusable("the scheduler does not run just now; nanobot status says why")
        job = (await _in_thread(self._store.look)).by_id.get(JobId(job_id))
        if job is None:
            raise UnknownJob(f"There is no job {job_id}. See: nanobot cron list")
        now = slot = self._now_ms()
        while not (fresh := await _in_thread(self._runs.commit, [_run(job, Slot(slot), now, by_hand=True)], {})):
            slot += 1
        self._lines.add(fresh[0], job)
        return fresh[0].slot

    def watch(self, key: str, progress: Progress) -> None:
        """Told of all sessions; does not block."""
        self._lines.watch(key, progress)

    def close(self) -> None:
        """From now on nothing is committed or brought to a session."""
        self._lines.closed = True

    def facts(self) -> tuple[tuple[str, str], ...]:
        """Lines of its node."""
        on = sum(job.enabled for job in self._agenda.jobs.values())
        off = len(self._agenda.jobs) - on
        going = list(self._lines)
        under_way = [one.name for one in going if one.turn is not None]
        more = f" and {len(under_way) - NAMED} more" if len(under_way) > NAMED else ""
        facts = {
            "jobs": f"{on}, and {off} switched off" if off else str(on),
            "next": "" if self._next is None else shown(self._next, self._zone),
            "under way": ", ".join(under_way[:NAMED]) + more,
            "waiting": str(len(going) - len(under_way)) if len(going) > len(under_way) else "",
            "trouble": "; ".join(filter(None, (*self._reports.troubles.values(), self._books.trouble))),
            "kept aside": ", ".join(self._kept),
        }
        return tuple((name, text) for name, text in facts.items() if text)

    # --- its life

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Until cancelled. Raises: ChildFailed where its files cannot be used."""
        self._agenda, self._under, self._doubt = Agenda(), None, None
        try:
            earlier = None if self._runs.path.exists() else self._earlier.file  # who has lost the file does not begin anew
            if said := await _in_thread(self._store.begin, earlier, self._earlier.suspect):
                self._tell(said, "")
            self._agenda.heads = await _in_thread(self._runs.heads)
            unfinished = await _in_thread(self._runs.open)
            await self._look_at_file()
            await self._tidy_up()
        except StoreUnusable as exc:
            raise ChildFailed(str(exc)) from exc
        try:
            async with trio.open_nursery() as nursery:
                self._lines.clear(nursery)
                for run in unfinished:
                    self._lines.add(run, self._agenda.jobs.get(run.job), resumed=True)
                nursery.start_soon(self._books.run)
                nursery.start_soon(self._sweep)
                task_status.started()
                self._up.set()
                await self._tick()
        finally:
            self._lines.nursery, self._up = None, trio.Event()

    async def _tick(self) -> NoReturn:
        while True:
            self._stirred = trio.Event()
            pause = LOOK_S
            try:
                await self._look_at_file()
                await self._look_at_clock()
                if not self._lines.closed and self._next is not None:
                    if self._next <= self._now_ms():
                        await self._commit_due()
                    pause = min(pause, max(0.0, (self._next or 0) / 1000 - self._clock())) if self._next else pause
                self._reports.troubles.pop("due", None)
            except StoreUnusable as exc:
                pause = RETRY_S
                self._reports.trouble("due", f"Scheduled work waits: {exc}")
            with trio.move_on_after(pause):
                await self._stirred.wait()

    async def _look_at_clock(self) -> None:
        """Raises: StoreUnusable."""
        now, before = self._now_ms(), self._latest_ms
        self._latest_ms = max(before, now) if now > before - BACK_MS else now
        if now > before - BACK_MS or not (heads := self._agenda.ahead(now)):
            return
        await _in_thread(self._runs.set_back, heads)
        await _in_thread(partial(self._agenda.load, tuple(self._agenda.jobs.values()), heads, self._zone))
        self._next = self._agenda.next()
        self._tell(f"The clock was set back. Scheduled work goes on by what it shows now: {shown(Slot(now), self._zone)}", "")

    async def _sweep(self) -> NoReturn:
        while True:
            try:
                await _in_thread(self._runs.sweep, self._now_ms())
            except StoreUnusable as exc:
                logger.warning("old records of scheduled work cannot be taken out: {}", exc)
            await trio.sleep(SWEEP_S)

    # --- jobs

    async def _look_at_file(self) -> None:
        """Take up what has changed in the file. Raises: StoreUnusable where the database cannot be used."""
        stamp, under = await _in_thread(self._store.stamp), (self._zone, self._cron.most_jobs)
        if stamp == self._stamp and under == self._under and self._doubt is None:
            return
        self._store.most = self._cron.most_jobs
        try:
            found = await _in_thread(self._store.look)
        except JobsDamaged as exc:
            if self._lasts(stamp):
                await self._put_aside(str(exc))
        except StoreUnusable as exc:
            self._reports.trouble("file", str(exc))
        else:
            if found.stamp is not None or not self._agenda.jobs or self._lasts(None):
                await self._take_up(found, under)

    async def _take_up(self, found: Found, under: tuple[str, int]) -> None:
        now, anew = self._now_ms(), under != self._under
        heads, gone = await _in_thread(self._agenda.changes, found.jobs, found.edited_ms, now)
        if heads or gone:
            heads = await _in_thread(self._runs.settle, heads, gone, now)
        await _in_thread(partial(self._agenda.load, found.jobs, heads, under[0], anew=anew))
        self._stamp, self._under, self._doubt, self._kept = found.stamp, under, None, found.kept
        self._next = self._agenda.next()
        self._reports.trouble("file", f"Some scheduled work is left out: {found.trouble}" if found.trouble else "")

    def _lasts(self, stamp: Stamp) -> bool:
        """Whether a file has been damaged or gone for longer than an editor takes to save it."""
        if self._doubt is None or self._doubt[0] != stamp:
            self._doubt = (stamp, trio.current_time())
        return trio.current_time() - self._doubt[1] >= SETTLE_S

    async def _put_aside(self, why: str) -> None:
        """Go on with the jobs that are known."""
        try:
            kept = await _in_thread(self._store.set_aside, tuple(self._agenda.jobs.values()))
        except StoreUnusable as exc:
            self._reports.trouble("file", str(exc))
            return
        self._doubt = self._under = None
        if kept is not None:
            known = len(self._agenda.jobs)
            logger.warning("{}", why)
            self._tell(f"The file of scheduled work was damaged and is kept as {kept}. The {known} jobs known before go on.", "")

    async def _tidy_up(self) -> None:
        """Jobs for once that have run, and were not taken out before the end of an earlier life."""
        done = {id: job for id, job in self._agenda.jobs.items() if job.delete_after_run and self._agenda.next_of(id) is None}
        for id, run in (await _in_thread(self._runs.last, list(done))).items():
            self._books.told(run, done[id], None)

    def _wrote(self, before: Stamp, after: Stamp) -> None:
        """We have written the file ourselves: if nobody else has, and no job went, there is nothing to read."""
        if before == self._stamp:
            self._stamp = after

    # --- what is due

    async def _commit_due(self) -> None:
        """Raises: StoreUnusable, with nothing committed."""
        now, zone = self._now_ms(), self._zone
        settled = await _in_thread(self._agenda.due, now, zone, self._cron)
        waiting = {going.run.job: going for going in self._lines if going.turn is None}
        due = ((self._agenda.jobs[id], fate) for id, fate in settled.items())
        runs = [run for job, fate in due for run in self._records(job, fate, waiting.get(job.id), now)]
        fresh = await _in_thread(self._runs.commit, runs, {id: fate.upto for id, fate in settled.items()})
        await _in_thread(self._agenda.committed, settled, zone)
        self._next = self._agenda.next()
        for run in fresh:
            job = self._agenda.jobs[run.job]
            if run.outcome is Outcome.RUNNING:
                self._lines.add(run, job)
            else:
                self._reports.ended(run, job)
                self._books.told(run, job, self._agenda.next_of(job.id))

    def _records(self, job: Job, fate: Settled, before: Going | None, now_ms: int) -> list[Run]:
        """Of all slots of a job that are settled now. `before`: a run of it that has not begun."""
        runs = [_run(job, slot, now_ms, Outcome.MISSED) for slot in fate.missed]
        if fate.older is not None:
            until = min((*fate.missed, *fate.run), default=fate.upto)
            error = f"and so were all others before {shown(until, self._zone)}"
            runs.append(_run(job, fate.older, now_ms, Outcome.MISSED, error))
        if before is None or Terms.of(job, self._cron).catch_up == "all":
            return runs + [_run(job, slot, now_ms) for slot in fate.run]
        error = f"its run of {shown(before.run.slot, self._zone)} still waits"
        return runs + [_run(job, slot, now_ms, Outcome.BUSY, error) for slot in fate.run]

    # --- what becomes of it

    def _begun(self, going: Going) -> None:
        self._books.note(going.run, going.job, self._agenda.next_of(going.run.job))

    def _over(self, going: Going) -> None:
        self._books.note(going.run, going.job, self._agenda.next_of(going.run.job))
        self._reports.ended(going.run, going.job, told=going.turn is not None and going.key.channel not in INTERNAL)

    # --- small things

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)

    @property
    def _cron(self) -> CronConfig:
        return self._config().gateway.cron

    @property
    def _zone(self) -> str:
        return self._config().agents.defaults.timezone or ""


def _run(job: Job, slot: Slot, now_ms: int, outcome: Outcome = Outcome.RUNNING, error: str = "", *, by_hand: bool = False) -> Run:
    ended, session = None if outcome is Outcome.RUNNING else now_ms, str(SessionKey.parse(job.key))
    return Run(job.id, slot, outcome, now_ms, ended_ms=ended, error=error, by_hand=by_hand, session=session)
