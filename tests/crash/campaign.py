"""Kills the real process at drawn moments, again and again, and checks that what was acknowledged is there.

    python -m tests.crash.campaign --rounds 300 --seed 1 [--through house|cli] [--lanes 2] [--keep FOLDER]

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
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import get_args

import anthropic  # noqa: F401  # loaded here, so that no round pays for it
import attrs
import httpx2  # noqa: F401
import openai  # noqa: F401

from tests.crash import chat
from tests.crash.checks import broken
from tests.crash.plans import Aim, draw
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


@attrs.frozen
class Result:
    task: Task
    states: tuple[str, ...] = ()
    """What each kill met."""
    violations: tuple[str, ...] = ()
    folder: str = ""
    """The data directory, if it was kept."""


@attrs.frozen
class Report:
    results: tuple[Result, ...]
    seconds: float

    @property
    def met(self) -> Counter[str]:
        return Counter(state for result in self.results for state in result.states)

    @property
    def failed(self) -> list[Result]:
        return [result for result in self.results if result.violations]

    def __str__(self) -> str:
        kills = max(1, self.met.total())
        rows = [f"{state:<44}{count:>6}{100 * count / kills:>7.1f} %" for state, count in self.met.most_common()]
        each = self.seconds / max(1, len(self.results))
        summary = f"{len(self.results)} rounds, {self.met.total()} kills, {each:.2f} s a round, {len(self.failed)} rounds broken"
        return "\n".join([*rows, summary])


def run(rounds: int, seed: int, through: str, lanes: int, keep: Path) -> Report:
    """Play the rounds; what is broken is printed as it is found."""
    start = time.monotonic()
    results: list[Result] = []
    numbers = iter(range(rounds))
    with _lanes(min(lanes, rounds), through, keep) as free:
        busy: list[Connection] = []
        for lane in free:
            lane.send(_next(seed * SEEDS + next(numbers), results))
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
                    lane.send(_next(seed * SEEDS + number, results))
    return Report(tuple(results), time.monotonic() - start)


def _next(seed: int, results: list[Result]) -> Task:
    """Aim at the state that got least of its share, every other round at nothing."""
    met = Counter(state for result in results for state in result.states)
    rare = min(AIMS, key=lambda aim: met[AIMS[aim]])
    wanted = seed % 2 == 0 and met[AIMS[rare]] < SHARE * (met.total() + 1)
    return Task(seed, rare if wanted else "")


def _tell(result: Result) -> None:
    if result.violations:
        print(f"--- broken: --seed {result.task.seed} --aim '{result.task.aim}' --only, kept in {result.folder}")
        print(*(f"  {text}" for text in result.violations), trace(Path(result.folder)), sep="\n", flush=True)


# --- a lane


@contextmanager
def _lanes(count: int, through: str, keep: Path) -> Iterator[list[Connection]]:
    gc.collect()
    gc.freeze()
    forked = multiprocessing.get_context("fork")
    ours = []
    processes = []
    for number in range(count):
        mine, theirs = forked.Pipe()
        process = forked.Process(target=_lane, args=(theirs, through, keep / f"lane-{number}"))
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


def _lane(tasks: Connection, through: str, folder: Path) -> None:
    with model_service(folder) as (base, violations):
        while (task := tasks.recv()) is not None:
            violations.write_text("")
            tasks.send(_played(task, through, folder / str(task.seed), base, violations))


def _played(task: Task, through: str, folder: Path, base: str, violations: Path) -> Result:
    plan = draw(task.seed, task.aim)
    evidence = Evidence(folder)
    try:
        evidence = (chat.play if through == "cli" else play)(plan, folder, base)
        found = [*broken(evidence), *(f"illegal request: {line}" for line in violations.read_text().splitlines())]
    except Exception:  # what the tests themselves get wrong must not end the campaign
        found = [traceback.format_exc()]
    states = tuple(met.state for met in evidence.met)
    if found:
        return Result(task, states, tuple(found), str(folder))
    shutil.rmtree(folder)
    return Result(task, states)


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
    parser.add_argument("--through", choices=("house", "cli"), default="house")
    parser.add_argument("--lanes", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="Where data directories of broken rounds stay.")
    parser.add_argument("--only", action="store_true", help="Play the one round of this seed.")
    parser.add_argument("--aim", choices=get_args(Aim), default="")
    options = parser.parse_args()
    keep = options.keep or Path(tempfile.mkdtemp(prefix="nanobot-crash-"))
    if options.only:
        with model_service(keep) as (base, violations):
            violations.write_text("")
            result = _played(Task(options.seed, options.aim), options.through, keep / str(options.seed), base, violations)
        _tell(result)
        report = Report((result,), 0.0)
    else:
        print(f"seed {options.seed}", flush=True)
        report = run(options.rounds, options.seed, options.through, options.lanes, keep)
    print(report)
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
