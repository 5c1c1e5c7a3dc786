"""What the sandbox adds to the start of a command: `/bin/true` through `open_child`, bare and in bubblewrap, taking turns.

    python -m tests.bench.sandbox_cost [--runs N]

Medians of wall time from the start to the end of everything. The command line for a warm gateway is measured alone.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import trio

from nanobot.config.schema import ExecConfig
from nanobot.processes import sandbox
from nanobot.processes.children import clean_env, open_child

GOAL_MS = 15.0


async def started(argv: Sequence[str], folder: Path) -> float:
    """Milliseconds until it has ended."""
    begun = time.perf_counter()
    async with open_child(argv, cwd=folder, env=clean_env(ExecConfig(), os.environ)) as child:
        assert await child.wait() == 0
    return (time.perf_counter() - begun) * 1000


def command_line(folder: Path) -> list[str]:
    return sandbox.argv(
        ["/bin/true"],
        workspace=folder,
        cwd=folder,
        config=ExecConfig(),
        hidden=[folder.parent],
        readable=[],
        network=False,
        environ=os.environ,
    )


async def main(runs: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve() / "data" / "workspace"
        folder.mkdir(parents=True)
        found = await sandbox.probe(ExecConfig(), os.environ)
        assert found.sandboxed, found.reason
        bare, boxed, built = [], [], []
        for _ in range(runs):
            bare.append(await started(["/bin/true"], folder))
            begun = time.perf_counter()
            argv = command_line(folder)
            built.append((time.perf_counter() - begun) * 1000)
            boxed.append(await started(argv, folder))
    for title, taken in (("bare", bare), ("in bubblewrap", boxed), ("its command line", built)):
        print(f"{title:17} {statistics.median(taken):6.1f} ms  ({min(taken):.1f} to {max(taken):.1f})")
    added = statistics.median(boxed) + statistics.median(built) - statistics.median(bare)
    print(
        f"the sandbox adds {added:.1f} ms (goal: {GOAL_MS:g}), as {'root' if os.geteuid() == 0 else 'a user'}, median of {runs}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50)
    trio.run(main, parser.parse_args().runs)
