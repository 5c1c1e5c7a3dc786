"""What a child costs its owner beyond the command itself: milliseconds from start to end, and memory while it lives.

    python -m tests.bench.child_cost [--children N]

Times are means over N starts of `/bin/true`, one after the other, the ways taking turns. Memory is what the processes between
owner and command have for themselves (Private_Clean and Private_Dirty), and what the owner grew by, with N children alive. The
way of old, a whole Python as the wrapper of each child, is measured beside.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path

import trio

from nanobot.processes import spawning
from nanobot.processes.children import open_child

ENV = {"PATH": "/usr/bin:/bin"}
TRUE = ["/bin/true"]
WAITS = ["/bin/sleep", "1000"]
PYTHON = [sys.executable, "-I", "-S", "-c"]
WRAPPER = "import ctypes, os, select, signal, sys, time"
"""What the wrapper of old imported."""


def bare() -> None:
    os.waitpid(os.posix_spawn(TRUE[0], TRUE, ENV), 0)


def python_each() -> None:
    subprocess.run([*PYTHON, f"{WRAPPER}; os.waitpid(os.posix_spawn({TRUE[0]!r}, {TRUE}, {{}}), 0)"], env=ENV, check=True)


async def ours() -> None:
    async with open_child(TRUE, cwd=Path("/"), env=ENV) as child:
        await child.wait()


def own_kib(pid: int) -> int:
    rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(row.split()[1]) for row in rows if row.startswith("Private_"))


def mib(kib: Iterable[int]) -> float:
    return sum(kib) / 1024


async def times(number: int) -> None:
    taken: dict[str, list[float]] = {"bare posix_spawn": [], "ours": [], "a Python each": []}
    await ours()
    for _ in range(number):
        start = time.perf_counter()
        bare()
        taken["bare posix_spawn"].append(time.perf_counter() - start)
        start = time.perf_counter()
        await ours()
        taken["ours"].append(time.perf_counter() - start)
        start = time.perf_counter()
        python_each()
        taken["a Python each"].append(time.perf_counter() - start)
    base = statistics.fmean(taken["bare posix_spawn"])
    for name, seconds in taken.items():
        mean, middle = statistics.fmean(seconds), statistics.median(seconds)
        print(f"{name:17} {mean * 1000:5.1f} ms (median {middle * 1000:.1f}), {(mean - base) * 1000:5.1f} ms beyond the bare one")
    print(f"goal: 5 ms beyond the bare one; ours {(statistics.fmean(taken['ours']) - base) * 1000:.1f} ms")


async def memory(number: int) -> None:
    before = own_kib(os.getpid())
    async with AsyncExitStack() as stack:
        children = [await stack.enter_async_context(open_child(WAITS, cwd=Path("/"), env=ENV)) for _ in range(number)]
        await trio.sleep(0.2)
        spawner = await spawning.ready()
        wrappers, warm, owner = [own_kib(child.pid) for child in children], own_kib(spawner.pid), own_kib(os.getpid()) - before
    print(f"{mib(wrappers) / number:.2f} MiB a wrapper, {mib([warm]):.1f} the spawner, {mib([owner]):.1f} more in the owner")
    print(f"{mib([*wrappers, warm, owner]) / number:.2f} MiB a child over {number} (goal: 2)")


def old_memory(number: int) -> None:
    code = f"{WRAPPER}; print(flush=True); sys.stdin.read()"
    each = [subprocess.Popen([*PYTHON, code], env=ENV, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(number)]
    for process in each:
        assert process.stdout is not None
        process.stdout.readline()
    print(f"{mib(own_kib(process.pid) for process in each) / number:.2f} MiB a child with a Python each")
    for process in each:
        process.communicate()


async def main(number: int) -> None:
    await times(number)
    await memory(number)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--children", type=int, default=20)
    arguments = parser.parse_args()
    trio.run(main, arguments.children)
    old_memory(arguments.children)
