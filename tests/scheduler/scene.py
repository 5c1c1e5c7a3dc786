"""A scheduler on real sessions, journals and files, with a mind that does what the test says and a wall clock that it sets."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from nanobot.config.schema import AgentDefaults, AgentsConfig, Config, CronConfig, GatewayConfig
from nanobot.journal.journal import Journals
from nanobot.journal.store import Store
from nanobot.journal.writers import open_writers
from nanobot.messages import Principal, SessionKey
from nanobot.scheduler.jobs import At, Every, Job, JobId, Outcome, Run, Schedule
from nanobot.scheduler.lines import Gates
from nanobot.scheduler.runs import Runs
from nanobot.scheduler.service import Earlier, Service
from nanobot.scheduler.store import JobStore
from nanobot.session.ports import Progress
from nanobot.session.registry import Registry
from nanobot.session.state import Session
from tests.session.house_fakes import World

T0 = 1_790_000_000
"""Seconds; a moment in September 2026."""
T0_MS = T0 * 1000
HOUR = 3600
ME = str(Principal("cli", "default", "direct", "user"))
PATIENCE_S = 20.0


@attrs.define
class Wall:
    """The clock on the wall: it stands still until somebody sets it."""

    at: float = float(T0)

    def __call__(self) -> float:
        return self.at


@attrs.define
class Running(Wall):
    """It runs, so many times as fast as ours."""

    rate: float = 1.0
    _since: float = attrs.field(factory=time.monotonic, init=False)

    def __call__(self) -> float:
        return self.at + (time.monotonic() - self._since) * self.rate


def job(number: int = 1, schedule: Schedule | None = None, **more: Any) -> Job:
    """Hourly, unless something else is said."""
    known: dict[str, Any] = {"created_ms": T0_MS, **more}
    name, principal = str(known.pop("name", f"job {number}")), str(known.pop("principal", ME))
    schedule = schedule or Every(HOUR * 1000, T0_MS)
    return Job(JobId(f"{number:08x}"), name, "say it", schedule, principal, **known)


def once(number: int = 1, *, after_s: int = HOUR, **more: Any) -> Job:
    return job(number, At(T0_MS + after_s * 1000), **more)


@attrs.define(eq=False)
class Scene:
    """What a test acts on and looks at."""

    world: World
    wall: Wall
    store: JobStore
    runs: Runs
    registry: Registry
    service: Service
    told: list[str]
    about: list[str]
    """The channels that it was about."""

    def put(self, *jobs: Job) -> None:
        """These are all jobs from now on."""
        self.store.edit(lambda _: jobs)
        self.service.changed()

    def set_clock(self, after_s: float) -> None:
        self.wall.at = T0 + after_s
        self.service.changed()

    def of(self, number: int = 1) -> list[Run]:
        """A job's runs, the oldest first."""
        return self.runs.of(f"{number:08x}", 10_000)[::-1]

    def outcomes(self, number: int = 1) -> list[Outcome]:
        return [run.outcome for run in self.of(number)]

    def session(self, key: str) -> Session:
        return self.registry.live()[str(SessionKey.parse(key))]

    def facts(self) -> dict[str, str]:
        return dict(self.service.facts())

    async def until(self, fact: Callable[[], bool]) -> None:
        await self.world.until(fact)

    async def ended(self, count: int, number: int = 1) -> list[Outcome]:
        """When so many of its runs are over."""
        await self.until(lambda: sum(outcome is not Outcome.RUNNING for outcome in self.outcomes(number)) >= count)
        return self.outcomes(number)

    async def taken_up(self, count: int) -> None:
        """When the service knows so many jobs."""
        await self.until(lambda: self.facts().get("jobs", "").startswith(str(count)))


@asynccontextmanager
async def scene(
    root: Path,
    cron: CronConfig | None = None,
    *,
    world: World | None = None,
    wall: Wall | None = None,
    gates: Gates | None = None,
    earlier: Earlier | None = None,
    zone: str = "UTC",
    patience_s: float = PATIENCE_S,
) -> AsyncIterator[Scene]:
    """For as long as the block lasts; leaving it is a crash, as nothing is put aside."""
    world, wall, told, about = world or World(), wall or Wall(), list[str](), list[str]()
    config = Config(agents=AgentsConfig(AgentDefaults(timezone=zone)), gateway=GatewayConfig(cron=cron or CronConfig()))
    store, runs = JobStore(root / "cron" / "jobs.json", clock=wall), Runs(root / "cron" / "runs.db")

    def watch(key: str, progress: Progress) -> None:
        service.watch(key, progress)
        world.watch(progress)

    def tell(text: str, channel: str) -> None:
        told.append(text)
        about.append(channel)

    async with open_writers() as writers:
        journals = Journals(str(root / "journals"))
        await writers.run("prepare", journals.prepare)
        registry = Registry(Store(journals, writers), world.services, world.limits, watch)
        service = Service(
            store,
            runs,
            registry,
            lambda: config,
            wall,
            tell,
            gates or Gates(),
            earlier or Earlier(),
        )
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(lambda task_status: registry.run(resume_all=True, task_status=task_status))
                await nursery.start(service.serve)
                with trio.fail_after(patience_s):
                    yield Scene(world, wall, store, runs, registry, service, told, about)
                nursery.cancel_scope.cancel()
        finally:
            runs.close()
