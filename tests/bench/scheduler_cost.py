"""What many jobs cost: while nothing is due, to find the next one, and when a thousand are due in the same second.

    python -m tests.bench.scheduler_cost [--jobs N] [--due N] [--idle SECONDS]

* the share of a core that a gateway with so many jobs takes while nothing is due, beside one with none (/proc/PID/stat);
* taking up the file of jobs, finding the next one, and planning one anew, in a scheduler of so many jobs and of a hundredth;
* so many due at once, in conversations of their own and in ten chats: until all are committed, and until all have begun
  (their turns are on disk), from the slot on.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import attrs
import trio

from nanobot.config.schema import CronConfig
from nanobot.messages import Reply
from nanobot.scheduler.agenda import Agenda
from nanobot.scheduler.jobs import Cron, Every, Job
from nanobot.scheduler.store import JobStore
from nanobot.session import events as ev
from nanobot.session.ports import Adopted, Progress
from nanobot.session.records import TurnStarted
from nanobot.session.state import Session, Turn
from tests.fakes import daemon
from tests.scheduler.scene import HOUR, T0, T0_MS, Running, Wall, job, scene
from tests.session.house_fakes import World

SETTLE_S = 6.0
"""Seconds that a gateway gets to come to rest."""
CHATS = 10
ANSWER_S = 20.0


def mixed(count: int, created_ms: int) -> tuple[Job, ...]:
    """Daily, on weekdays and in intervals, over ten hours; none of them due soon."""

    def schedule(n: int) -> Every | Cron:
        if n % 3 == 0:
            return Every(12 * HOUR * 1000 + n, created_ms)
        soon = time.gmtime(created_ms / 1000 + 2 * HOUR + n % 600 * 60)
        days, zone = ("*", "UTC") if n % 3 == 1 else ("1-5", "Europe/London")
        return Cron(f"{soon.tm_min} {soon.tm_hour} * * {days}", zone)

    return tuple(job(n, schedule(n), created_ms=created_ms, updated_ms=created_ms) for n in range(count))


# --- idle


def idle_share(count: int, seconds: float) -> float:
    """Of a core, taken by a gateway with so many jobs."""
    with tempfile.TemporaryDirectory() as folder:
        root, now = Path(folder), int(time.time() * 1000)
        JobStore(root / "cron" / "jobs.json", most=count).edit(lambda _: mixed(count, now))
        with daemon.running(root, {"gateway": {"heartbeat": {"enabled": False}}}) as gateway:
            time.sleep(SETTLE_S)
            before, began = _cpu_s(gateway.process.pid), time.monotonic()
            time.sleep(seconds)
            return (_cpu_s(gateway.process.pid) - before) / (time.monotonic() - began)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- the heap


def looking(count: int) -> dict[str, float]:
    """Microseconds a piece, but for the whole file."""
    with tempfile.TemporaryDirectory() as folder:
        store = JobStore(Path(folder) / "jobs.json", most=count)
        store.edit(lambda _: mixed(count, T0_MS))
        began = time.perf_counter()
        jobs = store.read()
        read_s = time.perf_counter() - began
    agenda, began = Agenda(), time.perf_counter()
    heads, _ = agenda.changes(jobs, T0_MS, T0_MS)
    agenda.load(jobs, heads, "UTC")
    load_s = time.perf_counter() - began
    next_s = _each(agenda.next, 100_000)
    began, done = time.perf_counter(), 0
    for _ in range(50):
        done += _commit_next(agenda)
    settle_s = (time.perf_counter() - began) / done
    return {"read ms": read_s * 1e3, "take up ms": load_s * 1e3, "next µs": next_s * 1e6, "settle a slot µs": settle_s * 1e6}


def _commit_next(agenda: Agenda) -> int:
    """How many were due then."""
    slot = agenda.next()
    assert slot is not None
    settled = agenda.due(slot, "UTC", CronConfig())
    agenda.committed(settled, "UTC")
    return len(settled)


def _each(work: Callable[[], object], times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - began) / times


# --- due at once


async def _slowly(_session: Session, turn: Turn) -> ev.ModelAnswered:
    """As models do: what is measured is how turns begin, not how they end meanwhile."""
    await trio.sleep(ANSWER_S)
    return ev.ModelAnswered(turn.number, turn.step, trio.current_time(), Reply("done"))


@attrs.define(eq=False)
class Watched(World):
    """Notes when the first turn of each session began."""

    wall: Wall = attrs.field(factory=Wall)
    started: dict[str, float] = attrs.field(factory=dict)

    def watch(self, progress: Progress) -> None:
        if isinstance(progress, Adopted) and any(isinstance(record, TurnStarted) for record in progress.records):
            self.started.setdefault(progress.session.key, self.wall())


async def begun(count: int, chats: int, root: Path) -> tuple[float, float]:
    """Seconds from the slot until all are committed, and until all that can have begun: one in each conversation."""
    slot, wall = T0_MS + 4000, Running(float(T0), 1.0)
    world = Watched(wall=wall)
    world.mind.thoughts = [_slowly] * count
    schedule = Every(HOUR * 1000, slot - HOUR * 1000)
    jobs = tuple(job(n, schedule, session=f"cli:chat{n % chats}" if chats else "") for n in range(count))
    JobStore(root / "cron" / "jobs.json", clock=Wall()).edit(lambda _: jobs)

    async with scene(root, CronConfig(), world=world, wall=wall, patience_s=60.0) as here:
        while not here.runs.open():  # noqa: ASYNC110
            await trio.sleep(0.01)
        committed = wall()
        while len(world.started) < (chats or count):  # noqa: ASYNC110
            await trio.sleep(0.01)
    return committed - slot / 1000, max(world.started.values()) - slot / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--due", type=int, default=1_000)
    parser.add_argument("--idle", type=float, default=20.0)
    given = parser.parse_args()
    for count in (given.jobs // 100, given.jobs):
        told = ", ".join(f"{name} {figure:.2f}" for name, figure in looking(count).items())
        print(f"{count} jobs: {told}", flush=True)
    for chats in (0, CHATS):
        with tempfile.TemporaryDirectory() as folder:
            committed_s, begun_s = trio.run(begun, given.due, chats, Path(folder))
        where = f"{chats} chats" if chats else "conversations of their own"
        print(f"{given.due} due at once in {where}: committed after {committed_s:.2f} s, {begun_s:.2f} s until begun", flush=True)
    for count in (0, given.jobs):
        print(f"a gateway with {count} jobs, idle: {idle_share(count, given.idle) * 100:.2f} % of a core", flush=True)


if __name__ == "__main__":
    main()
