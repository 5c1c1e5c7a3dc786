"""SIGKILL at any moment, clocks that jump, edits in between: each due slot has one record, and each that ran one turn.

    python -m tests.scheduler.kills --rounds N [--seed S]

A round is a process of its own, forked: a scheduler on real files and sessions, with jobs of every kind, whose clock and timers
run `RATE` times as fast as ours. Somebody edits the jobs meanwhile; then it is killed, and the clock may be set.
At the end one more life, in which nothing new is due, finishes what is open, and the files are compared with the schedules.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from functools import partial
from pathlib import Path

import attrs
import trio
from loguru import logger
from trio.testing import MockClock

from nanobot.archive.reading import Reader
from nanobot.config.schema import CronConfig
from nanobot.messages import MessageId, Reply, Said
from nanobot.scheduler.books import RAN
from nanobot.scheduler.jobs import At, Cron, Every, Job, Outcome, Run
from nanobot.scheduler.runs import Runs
from nanobot.scheduler.slots import slots_between
from nanobot.scheduler.store import JobStore
from nanobot.session import events as ev
from nanobot.session.state import Session, Turn
from tests.scheduler.scene import T0, T0_MS, Running, Scene, job, scene
from tests.session.house_fakes import World

RATE = 4.0
LIFE_S = 0.35
"""Seconds of ours at most."""
JUMPS_S = (0.0, 0.0, 0.0, 2.0, 15.0, -2.0, -15.0)
"""Seconds by which the clock is set while nobody runs."""
CHAT = "cli:default:direct"
LAST_S = 120.0
"""Seconds of ours for the last life to finish what is open."""
CONFIG = CronConfig(catch_up="all", horizon_s=31_536_000.0, busy_s=86_400.0)


def jobs() -> tuple[Job, ...]:
    """Own conversations and one chat of several, all schedules, and one for once that leaves."""
    return (
        job(1, Every(1000, T0_MS)),
        job(2, Every(1700, T0_MS + 300), session=CHAT),
        job(3, Every(3000, T0_MS), session=CHAT),
        job(4, Cron("* * * * *")),
        job(5, Every(1000, T0_MS + 500), catch_up="once"),
        job(6, At(T0_MS + 2500), delete_after_run=True),
        job(7, At(T0_MS + 5300), session=CHAT),
    )


@attrs.define
class Mind:
    """Takes a moment, and answers."""

    draw: random.Random

    async def think(self, _session: Session, turn: Turn, _show: object) -> ev.ModelAnswered:
        await trio.sleep(self.draw.random() * 0.03 * RATE)
        return ev.ModelAnswered(turn.number, turn.step, trio.current_time(), Reply("done"))


# --- in the process that is killed


async def live(root: Path, now: float, seed: int, *, last: bool) -> None:
    world = World()
    world.mind = Mind(random.Random(seed))  # type: ignore[assignment]
    with trio.move_on_after(LAST_S * RATE) as patience:
        async with scene(root, CONFIG, world=world, wall=Running(now, RATE), patience_s=LAST_S * RATE) as here:
            await (_finished(here) if last else trio.Event().wait())
    assert not patience.cancelled_caught, "something never ends"


async def _finished(here: Scene) -> None:
    while await trio.to_thread.run_sync(here.runs.open):  # noqa: ASYNC110  # the database tells nobody
        await trio.sleep(0.2)


def forked(root: Path, now: float, seed: int, *, last: bool) -> int:
    """Begin a life; returns its process id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        trio.run(partial(live, root, now, seed, last=last), clock=MockClock(rate=RATE))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


# --- in the process that kills


@attrs.define
class Campaign:
    root: Path
    draw: random.Random
    now: float = float(T0)
    """What the clock shows."""
    newest: float = float(T0)
    """The latest that it has ever shown."""

    def run(self, rounds: int) -> None:
        store = JobStore(self.root / "cron" / "jobs.json", clock=lambda: T0)
        store.edit(lambda _: jobs())
        for number in range(rounds):
            self._round(store, number)
            self.now = max(T0, self.now + self.draw.choice(JUMPS_S))
        store.edit(lambda known: tuple(attrs.evolve(one, enabled=False) for one in known))
        pid = forked(self.root, self.newest + 1, rounds, last=True)
        status = os.waitpid(pid, 0)[1]
        assert os.waitstatus_to_exitcode(status) == 0, "the last life did not end well"

    def _round(self, store: JobStore, number: int) -> None:
        began = time.monotonic()
        pid = forked(self.root, self.now, self.draw.getrandbits(30), last=False)
        time.sleep(self.draw.random() * LIFE_S)
        if number % 3 == 0:
            store.edit(lambda known: tuple(attrs.evolve(one, name=f"edit {number}") for one in known))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        self.now += (time.monotonic() - began) * RATE
        self.newest = max(self.newest, self.now)


def check(root: Path) -> Counter[Outcome]:
    """Compare what is on disk with the schedules. Raises: AssertionError."""
    runs, outcomes = Runs(root / "cron" / "runs.db"), Counter[Outcome]()
    turns = _turns(root)
    for one in jobs():
        there = runs.of(one.id, 10**6)
        committed = runs.committed(one.id)
        assert committed is not None
        due = slots_between(one.schedule, T0_MS, max((run.slot for run in there), default=T0_MS), "UTC", 10**6)
        assert sorted(run.slot for run in there) == due[-len(there) :], f"{one.id}: a due slot without a record"
        assert len(there) == len(due) or len(there) >= 1000, f"{one.id}: {len(due)} slots, {len(there)} records"
        for run in there:
            _check_run(run, turns.pop(MessageId(f"job:{run.job}:{run.slot}"), 0))
            outcomes[run.outcome] += 1
    assert not turns, f"turns of slots without a record: {turns}"
    runs.close()
    return outcomes


def _check_run(run: Run, turns: int) -> None:
    assert run.outcome is not Outcome.RUNNING, f"{run} is not over"
    assert turns == (1 if run.outcome in RAN else 0), f"{run} has {turns} turns"


def _turns(root: Path) -> Counter[MessageId]:
    """How often each scheduled message stands in a conversation."""
    reader, found = Reader(str(root / "journals")), Counter[MessageId]()
    for seen in reader.sessions():
        there = reader.live(seen.key)
        assert there is not None
        session = there.session
        assert (session.inbox, session.turn) == ((), None), f"{seen.key} has not ended"
        found.update(entry.id for exchange in session.exchanges for entry in exchange.entries if isinstance(entry, Said))
    return found


def campaign(root: Path, rounds: int, seed: int) -> Counter[Outcome]:
    """So many rounds and the check. Raises: AssertionError."""
    Campaign(root, random.Random(seed)).run(rounds)
    return check(root)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    given = parser.parse_args()
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        print(f"seed {given.seed}", flush=True)
        outcomes = campaign(Path(folder), given.rounds, given.seed)
        told = ", ".join(f"{count} {outcome.value}" for outcome, count in sorted(outcomes.items()))
        print(f"{given.rounds} kills in {time.monotonic() - began:.0f} s: {sum(outcomes.values())} slots, {told}")


if __name__ == "__main__":
    main()
