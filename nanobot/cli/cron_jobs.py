"""The scheduled work of an instance as `nanobot cron` uses it: the store under its lock, what became of runs, and the gateway."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import attrs

from nanobot.cli.terminal import Opened, opened, tell, tell_warnings
from nanobot.control.client import NotAnswering, NotRunning, Refused, ask
from nanobot.errors import StoreUnusable
from nanobot.scheduler import wishes
from nanobot.scheduler.jobs import Job, JobId, Run
from nanobot.scheduler.runs import Runs
from nanobot.scheduler.shape import OWNER
from nanobot.scheduler.store import JobStore
from nanobot.scheduler.wishes import Here

NUDGE_S = 5.0
"""Seconds: a gateway that takes longer sees the file by itself."""
RUN_S = 65.0
NOT_RUNNING = "No gateway runs, so nothing is due until one does: nanobot gateway"


@attrs.frozen
class Jobs:
    """See the module."""

    instance: Opened
    store: JobStore
    runs: Runs | None
    """None: there were none yet."""
    now: float

    @property
    def here(self) -> Here:
        return Here(round(self.now * 1000), self.zone, OWNER)

    @property
    def zone(self) -> str:
        return self.instance.config.agents.defaults.timezone

    def all(self) -> tuple[Job, ...]:
        """In the order in which they were made. Raises: StoreUnusable."""
        jobs = self.store.read()
        if self.store.trouble:
            tell(f"warning: {self.store.trouble}")
        return tuple(sorted(jobs, key=lambda job: job.created_ms))

    def found(self, word: str) -> Job:
        """Raises: JobTrouble, StoreUnusable."""
        return wishes.found(self.all(), word)

    def history(self, job: JobId, most: int) -> list[Run]:
        if self.runs is None:
            return []
        with closing(self.runs):
            return self.runs.of(job, most)

    def lately(self, job: JobId, most: int) -> list[Run]:
        """As `history`; nothing, with a warning, where that cannot be read: the job is there all the same."""
        try:
            return self.history(job, most)
        except StoreUnusable as error:
            tell(f"warning: {error}")
            return []

    def newest(self, most: int) -> list[Run]:
        """Of all jobs, those that were removed too."""
        if self.runs is None:
            return []
        with closing(self.runs):
            return self.runs.newest(most)

    def last(self, jobs: Sequence[Job]) -> dict[JobId, Run]:
        if self.runs is None:
            return {}
        try:
            with closing(self.runs):
                return self.runs.last([job.id for job in jobs])
        except StoreUnusable as error:  # the jobs are there all the same
            tell(f"warning: {error}")
            return {}

    def change(self, word: str, one: Callable[[Job], Job | None]) -> Job:
        """What becomes of a job; None takes it away. The job as it is now, or was. Raises: JobTrouble, StoreUnusable."""
        touched: list[Job] = []

        def change(jobs: tuple[Job, ...]) -> tuple[Job, ...]:
            job = wishes.found(jobs, word)
            new = one(job)
            touched.append(new or job)
            return wishes.without(jobs, job) if new is None else wishes.replaced(jobs, new)

        self.store.edit(change)
        self.nudge()
        return touched[-1]

    def nudge(self) -> None:
        """A gateway that runs is told that the file is another."""
        try:
            ask(self.instance.places.data, {"do": "cron", "order": "changed"}, NUDGE_S)
        except NotRunning:
            tell(NOT_RUNNING)
        except (NotAnswering, Refused) as error:
            tell(f"warning: it is written down, but the gateway could not be told: {error}")


def jobs_of(option: Path | None) -> Jobs:
    """Raises: ConfigError."""
    instance = opened(option)
    tell_warnings(instance.warnings)
    places = instance.places
    runs = Runs(places.runs) if places.runs.exists() else None
    store = JobStore(places.jobs, instance.config.gateway.cron.most_jobs)
    return Jobs(instance, store, runs, time.time())
