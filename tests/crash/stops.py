"""Stops commands that do not want to end, and kills their owner, again and again: how long until nothing is left of them.

    python -m tests.crash.stops --rounds 200 --kills 60 [--within 1]

A round starts a bad child through `exec` (in the sandbox and without one; half of them handed over to the background),
stops it as the session does, by cancelling, and measures the time until no process is left. A kill starts one in a process of
its own, kills that with -9, and measures the same. Exit code 1 if anything took longer than the second that is promised.

Bounded: a fork bomb ends by itself after some 5 s and has fewer than 300 processes, others after 60 s; none uses the network.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import trio

from nanobot.config.schema import ExecConfig
from nanobot.messages import CallId
from nanobot.processes import lifeline, spawning
from nanobot.processes.running import Processes
from nanobot.processes.sandbox import Isolation, probe
from nanobot.tools.port import ToolTurn
from nanobot.tools.shell import Exec, exec_tool
from tests.fakes import processes
from tests.tools.kit import ENVIRON, NO_SANDBOX, make_turn

PROMISED_S = 1.0
GIVE_UP_S = 10.0
"""A round in which something is left is over then, and broken."""
DEAF = "trap '' TERM; sleep 60; true"
BOMB = """
trap '' TERM
f() {
    [ $1 -gt 0 ] && { f $(($1 - 1)) & f $(($1 - 1)) & }
    i=0
    while [ $i -lt 25 ]; do sleep 0.2; i=$((i + 1)); done
}
f 6
"""
CHILDREN = {
    "ignores TERM, setsid": (f'setsid sh -c "{DEAF}" & (setsid sh -c "{DEAF}" &); {DEAF}', 6),
    "fork bomb": (BOMB, 120),
}
"""What they run, and how many processes it has at least when it is in full swing."""


@attrs.frozen
class Round:
    child: str
    isolation: Isolation
    how: str
    """`call`: stopped while the call waits; `background`: when it was handed over; `kill`: its owner is killed."""

    def __str__(self) -> str:
        return f"{self.how:<11}{'sandbox' if self.isolation.sandboxed else 'bare':<9}{self.child}"


def rounds(hows: Sequence[str], isolations: Sequence[Isolation], count: int) -> Iterator[Round]:
    kinds = [Round(child, isolation, how) for how, isolation, child in itertools.product(hows, isolations, CHILDREN)]
    return itertools.islice(itertools.cycle(kinds), count)


# --- one child


@attrs.frozen
class Start:
    """A round's command, with a name to find its processes by."""

    round: Round
    turn: ToolTurn
    tag: str

    async def run(self, yield_time: float | None) -> None:
        config = ExecConfig(allowed_env_keys=(self.tag,))
        tool = exec_tool(config, ENVIRON | {self.tag: "1"}, 1000, isolation=self.round.isolation)
        await tool.run(Exec(CHILDREN[self.round.child][0], yield_time=yield_time), self.turn)

    @property
    def in_full_swing(self) -> bool:
        return len(processes.with_tag(self.tag)) >= CHILDREN[self.round.child][1]

    def left(self, family: set[int]) -> set[int]:
        """What lives of it: whatever has its tag, and of `family` (wrappers have none)."""
        return set(processes.with_tag(self.tag)) | (family & lifeline.processes().keys())


def prepared(one: Round, folder: Path, table: Processes) -> Start:
    turn = attrs.evolve(make_turn(folder), call=CallId(uuid.uuid4().hex))
    return Start(one, attrs.evolve(turn, processes=table.of("s", "me")), f"TAG_{uuid.uuid4().hex}")


async def stopped(one: Round, folder: Path, table: Processes) -> float:
    """Seconds from the stop until nothing is left."""
    start, before = prepared(one, folder, table), set(lifeline.descendants(os.getpid()))
    at = 0.0
    async with trio.open_nursery() as session:
        session.start_soon(_owned, start, table)
        await _until_in_full_swing(start)
        family = set(lifeline.descendants(os.getpid())) - before
        at = time.monotonic()
        session.cancel_scope.cancel()
    return _until_nothing_is_left(start, family, at)


async def _owned(start: Start, table: Processes) -> None:
    if start.round.how == "call":
        await start.run(None)
    else:
        await start.run(0.0)
        await table.outcome("s", start.turn.call)


async def _until_in_full_swing(start: Start) -> None:
    with trio.fail_after(20):
        while not start.in_full_swing:  # noqa: ASYNC110  # other processes set no event of ours
            await trio.sleep(0.01)


def _until_nothing_is_left(start: Start, family: set[int], since: float) -> float:
    while left := start.left(family):
        if time.monotonic() - since > GIVE_UP_S:
            print(f"left of {start.round}: {sorted(left)}", file=sys.stderr)
            return float("inf")
        time.sleep(0.005)
    return time.monotonic() - since


# --- kill -9 of the owner


def killed(one: Round, folder: Path) -> float:
    """Seconds from the kill until nothing is left. The owner is forked: a Trio run must not be under way."""
    start = prepared(one, folder, Processes())
    owner = multiprocessing.get_context("fork").Process(target=_own, args=(start,))
    owner.start()
    try:
        trio.run(_until_in_full_swing, start)
        family = set(lifeline.descendants(owner.pid or 0))
    finally:
        at = time.monotonic()
        os.kill(owner.pid or 0, signal.SIGKILL)
    owner.join()
    return _until_nothing_is_left(start, family, at)


def _own(start: Start) -> None:
    async def own() -> None:
        table = Processes()
        turn = attrs.evolve(start.turn, processes=table.of("s", "me"))
        async with trio.open_nursery() as house:
            await house.start(table.run)
            house.start_soon(_owned, attrs.evolve(start, turn=turn, round=attrs.evolve(start.round, how="background")), table)

    trio.run(own)


# --- the campaign


@attrs.frozen
class Report:
    seconds: dict[str, list[float]]
    within: float

    @property
    def broken(self) -> int:
        return sum(s > self.within for times in self.seconds.values() for s in times)

    def __str__(self) -> str:
        rows = [f"{'':<43}rounds  middle     p99     max"]
        everything = sorted(itertools.chain(*self.seconds.values()))
        for name, times in [*self.seconds.items(), ("all", everything)]:
            at = sorted(times)
            figures = (at[len(at) // 2], at[min(len(at) - 1, len(at) * 99 // 100)], at[-1])
            rows.append(f"{name:<43}{len(at):>6}" + "".join(f"{1000 * figure:>6.0f}ms" for figure in figures))
        return "\n".join([*rows, f"{len(everything) - self.broken} of {len(everything)} within {self.within:g} s"])


def play(count: int, kills: int, within: float) -> Report:
    seconds: dict[str, list[float]] = defaultdict(list)

    async def stops(isolations: Sequence[Isolation], folder: Path) -> None:
        table = Processes()
        async with trio.open_nursery() as house:
            await house.start(table.run)
            await spawning.ready()  # it stays, and is no part of a round
            for one in rounds(["call", "background"], isolations, count):
                seconds[str(one)].append(await stopped(one, folder, table))
            house.cancel_scope.cancel()

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        found = trio.run(probe, ExecConfig(), ENVIRON)
        isolations = [NO_SANDBOX, found] if found.sandboxed else [NO_SANDBOX]
        trio.run(stops, isolations, folder)
        for one in rounds(["kill"], isolations, kills):
            seconds[str(one)].append(killed(one, folder))
    return Report(seconds, within)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--within", type=float, default=PROMISED_S)
    given = parser.parse_args()
    report = play(given.rounds, given.kills, given.within)
    print(report)
    return 1 if report.broken else 0


if __name__ == "__main__":
    sys.exit(main())
