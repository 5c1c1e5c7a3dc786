"""What is written down of runs when they begin and end: first in their database, then told in the file of jobs.

Both are late on purpose: what begins and ends together is written together, and a big file seldom. Nothing hangs on it: what
became of a run is in its session until it is here. Trouble with the disk is said in `trouble` and tried again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import NoReturn

import attrs
import trio
from loguru import logger

from nanobot.errors import StoreUnusable
from nanobot.scheduler.jobs import At, Job, JobId, Outcome, Run, Slot
from nanobot.scheduler.runs import Runs
from nanobot.scheduler.shape import State
from nanobot.scheduler.store import JobStore, Stamp

TELL_S = 1.0
"""Seconds at least between two writes of the file of jobs."""
TELL_SHARE = 100
"""Times as long as a write took is the pause after it: a big file costs a hundredth of a core."""
RETRY_S = 10.0
RAN = (Outcome.OK, Outcome.FAILED, Outcome.CRASHED)


@attrs.define(eq=False)
class Books:
    """See the module. `run` must be live for anything to be written."""

    _runs: Runs
    _store: JobStore
    _wrote: Callable[[Stamp, Stamp], None]
    """Told of the file's stamps before and after a write that took no job out."""
    trouble: str = attrs.field(default="", init=False)
    _fresh: dict[tuple[JobId, Slot], tuple[Run, Job | None, Slot | None]] = attrs.field(factory=dict, init=False)
    _ended: dict[JobId, State] = attrs.field(factory=dict, init=False)
    """Of which the file is to tell."""
    _done: set[JobId] = attrs.field(factory=set, init=False)
    """Jobs that go."""
    _came: trio.Event = attrs.field(factory=trio.Event, init=False)
    _to_tell: trio.Event = attrs.field(factory=trio.Event, init=False)

    def note(self, run: Run, job: Job | None, following: Slot | None) -> None:
        """This is known of a run now. `following`: the next slot of its job."""
        self._fresh[run.job, run.slot] = run, job, following
        self._came.set()

    def told(self, run: Run, job: Job | None, following: Slot | None) -> None:
        """The database has it: the file follows."""
        if run.outcome is Outcome.RUNNING:
            return
        self._ended[run.job] = State(following, Slot(run.started_ms or run.due_ms), run.outcome, run.error)
        if done_with(run, job):
            self._done.add(run.job)
        self._to_tell.set()

    async def run(self) -> NoReturn:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell)
            while True:
                await self._came.wait()
                self._came = trio.Event()
                fresh, self._fresh = self._fresh, {}
                write = partial(self._runs.book, [run for run, _, _ in fresh.values()])
                while not await self._tried(write):  # noqa: ASYNC110  # a disk tells nobody when it takes again
                    await trio.sleep(RETRY_S)
                for known in fresh.values():
                    self.told(*known)

    async def _tell(self) -> NoReturn:
        while True:
            await self._to_tell.wait()
            await trio.sleep(TELL_S)
            self._to_tell = trio.Event()
            states, done = dict(self._ended), frozenset(self._done)
            began = time.perf_counter()
            if await self._tried(partial(self._write, states, done)):
                self._ended = {id: state for id, state in self._ended.items() if states.get(id) is not state}
                self._done -= done
                await trio.sleep(TELL_SHARE * (time.perf_counter() - began))
            else:
                await trio.sleep(RETRY_S)
                self._to_tell.set()

    def _write(self, states: dict[JobId, State], done: frozenset[JobId]) -> None:
        before, after = self._store.tell(states, done)
        if not done:
            trio.from_thread.run_sync(self._wrote, before, after)

    async def _tried(self, write: Callable[[], object]) -> bool:
        try:
            await trio.to_thread.run_sync(write)
        except StoreUnusable as exc:
            if str(exc) != self.trouble:
                logger.warning("what became of scheduled work cannot be written now: {}", exc)
            self.trouble = str(exc)
            return False
        self.trouble = ""
        return True


def done_with(run: Run, job: Job | None) -> bool:
    """The job was for once, and has run: one that was skipped stays, to be seen and run by hand."""
    return job is not None and job.delete_after_run and isinstance(job.schedule, At) and run.outcome in RAN
