"""Kills the real process at drawn moments, again and again, and checks that what was acknowledged is there.

    python -m tests.crash.campaign --rounds 300 --seed 1 [--through house|cli|gateway] [--lanes 2] [--keep FOLDER]

Rounds run in lanes, processes forked from this one when everything is loaded, each with a model service of its own. The
table says which states the kills met; draws are steered so that none of the three that matter most is rare. A broken promise
is printed with the seed of its round, and its data directory stays. Exit code 0 if nothing was broken, 1 otherwise.

`python -m tests.crash.campaign --seed SEED --only` plays the one round of that seed again (with `--aim`, as it was printed).
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import get_args

import anthropic  # noqa: F401  # loaded here, so that no round pays for it
import attrs
import httpx2  # noqa: F401
import openai  # noqa: F401

from tests.crash import chat, gateway_checks, gateway_plans, gateway_rounds, plans
from tests.crash.checks import broken
from tests.crash.plans import Aim
from tests.crash.rounds import THINKING, WRITING, WRITTEN, Evidence, play, trace

SEEDS = 100_000
"""Rounds of a campaign: the round's seed is the campaign's, and its number in the last five digits."""
SHARE = 0.12
"""Of the kills, what each state that is aimed at must get; a tenth is asked for."""
AIMS: dict[Aim, str] = {"thinking": THINKING, "writing": WRITING, "shown": WRITTEN}
READY_S = 20.0


@attrs.frozen
class Task:
    seed: int
    aim: Aim
    through: str

    def __str__(self) -> str:
        """What plays it again."""
        aim = f" --aim {self.aim}" if self.aim else ""
        return f"--through {self.through} --seed {self.seed}{aim} --only"


@attrs.frozen
class Result:
    task: Task
    states: tuple[tuple[str, ...], ...] = ()
    """What each kill met; in a gateway that may be several things."""
    starts_s: tuple[float, ...] = ()
    """Seconds of each start after a kill, where that is measured."""
    violations: tuple[str, ...] = ()
    folder: str = ""
    """The data directory, if it was kept."""


@attrs.frozen
class Report:
    results: tuple[Result, ...]
    seconds: float

    @property
    def met(self) -> Counter[str]:
        return _met(self.results)

    @property
    def kills(self) -> int:
        return sum(len(result.states) for result in self.results)

    @property
    def failed(self) -> list[Result]:
        return [result for result in self.results if result.violations]

    def __str__(self) -> str:
        kills = max(1, self.kills)
        rows = [f"{state:<44}{count:>6}{100 * count / kills:>7.1f} %" for state, count in self.met.most_common()]
        each = self.seconds / max(1, len(self.results))
        summary = f"{len(self.results)} rounds, {self.kills} kills, {each:.2f} s a round, {len(self.failed)} rounds broken"
        starts = sorted((seconds, result.task.seed) for result in self.results for seconds in result.starts_s)
        if starts:
            middle, (longest, seed) = starts[len(starts) // 2][0], starts[-1]
            summary += f"\nup again after a kill: {middle:.2f} s in the middle, {longest:.2f} s at most (seed {seed})"
        return "\n".join([*rows, summary])


def _met(results: Iterable[Result]) -> Counter[str]:
    return Counter(state for result in results for states in result.states for state in states)


def run(rounds: int, seed: int, through: str, lanes: int, keep: Path) -> Report:
    """Play the rounds; what is broken is printed as it is found."""
    start = time.monotonic()
    results: list[Result] = []
    numbers = iter(range(rounds))
    with _lanes(min(lanes, rounds), keep) as free:
        busy: list[Connection] = []
        for lane in free:
            lane.send(_next(seed * SEEDS + next(numbers), through, results))
            busy.append(lane)
        while busy:
            for lane in [lane for lane in wait(busy) if isinstance(lane, Connection)]:
                result: Result = lane.recv()
                results.append(result)
                _tell(result)
                number = next(numbers, None)
                if number is None:
                    busy.remove(lane)
                else:
                    lane.send(_next(seed * SEEDS + number, through, results))
    return Report(tuple(results), time.monotonic() - start)


def _next(seed: int, through: str, results: list[Result]) -> Task:
    """Aim at the state that got least of its share, every other round at nothing."""
    met = _met(results)
    rare = min(AIMS, key=lambda aim: met[AIMS[aim]])
    wanted = through != "gateway" and seed % 2 == 0 and met[AIMS[rare]] < SHARE * (met.total() + 1)
    return Task(seed, rare if wanted else "", through)


def _tell(result: Result) -> None:
    if result.violations:
        print(f"--- broken: {result.task}, kept in {result.folder}")
        print(*(f"  {text}" for text in result.violations), trace(Path(result.folder)), sep="\n", flush=True)


# --- a lane


@contextmanager
def _lanes(count: int, keep: Path) -> Iterator[list[Connection]]:
    gc.collect()
    gc.freeze()
    forked = multiprocessing.get_context("fork")
    ours = []
    processes = []
    for number in range(count):
        mine, theirs = forked.Pipe()
        process = forked.Process(target=_lane, args=(theirs, keep / f"lane-{number}"))
        process.start()
        theirs.close()
        ours.append(mine)
        processes.append(process)
    try:
        yield ours
    finally:
        for lane in ours:
            lane.send(None)  # not the end of the pipe: later lanes have inherited our end of it
        for process in processes:
            process.join(READY_S)
            if process.is_alive():
                process.kill()


def _lane(tasks: Connection, folder: Path) -> None:
    with model_service(folder) as (base, violations):
        while (task := tasks.recv()) is not None:
            violations.write_text("")
            tasks.send(_played(task, folder / str(task.seed), base, violations))


def _played(task: Task, folder: Path, base: str, violations: Path) -> Result:
    try:
        result = PLAYERS[task.through](task, folder, base)
        illegal = [f"illegal request: {line}" for line in violations.read_text().splitlines()]
        result = attrs.evolve(result, violations=(*result.violations, *illegal))
    except Exception:  # what the tests themselves get wrong must not end the campaign
        result = Result(task, violations=(traceback.format_exc(),))
    if result.violations:
        return attrs.evolve(result, folder=str(folder))
    shutil.rmtree(folder)
    return result


def _of_one_session(player: Callable[[plans.Round, Path, str], Evidence], task: Task, folder: Path, base: str) -> Result:
    evidence = player(plans.draw(task.seed, task.aim), folder, base)
    return Result(task, tuple((met.state,) for met in evidence.met), violations=tuple(broken(evidence)))


def _of_a_gateway(task: Task, folder: Path, base: str) -> Result:
    seen = gateway_rounds.play(gateway_plans.draw(task.seed), folder, base)
    states = tuple(look.states for look in seen.looks if look.killed)
    return Result(task, states, tuple(seen.starts_s), tuple(gateway_checks.broken(seen)))


PLAYERS: dict[str, Callable[[Task, Path, str], Result]] = {
    "house": partial(_of_one_session, play),
    "cli": partial(_of_one_session, chat.play),
    "gateway": _of_a_gateway,
}


@contextmanager
def model_service(folder: Path) -> Iterator[tuple[str, Path]]:
    """The model service as a process: its base URL, and the file of what was illegal in requests."""
    folder.mkdir(parents=True, exist_ok=True)
    port_file, violations = folder / "port", folder / "violations"
    port_file.unlink(missing_ok=True)
    process = subprocess.Popen([sys.executable, "-m", "tests.crash.model", port_file, violations], stdin=subprocess.PIPE)
    try:
        until = time.monotonic() + READY_S
        while not port_file.exists():
            assert time.monotonic() < until, "the model service does not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port_file.read_text()}/v1", violations
    finally:
        process.kill()
        process.communicate()


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill the process at drawn moments, and check what is left.")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 10_000)
    parser.add_argument("--through", choices=tuple(PLAYERS), default="house")
    parser.add_argument("--lanes", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="Where data directories of broken rounds stay.")
    parser.add_argument("--only", action="store_true", help="Play the one round of this seed.")
    parser.add_argument("--aim", choices=get_args(Aim), default="")
    options = parser.parse_args()
    keep = options.keep or Path(tempfile.mkdtemp(prefix="nanobot-crash-"))
    if options.only:
        with model_service(keep) as (base, violations):
            violations.write_text("")
            result = _played(Task(options.seed, options.aim, options.through), keep / str(options.seed), base, violations)
        _tell(result)
        report = Report((result,), 0.0)
    else:
        print(f"seed {options.seed}", flush=True)
        report = run(options.rounds, options.seed, options.through, options.lanes, keep)
    print(report)
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
