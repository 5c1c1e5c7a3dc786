"""What servers cost, in figures: `python -m tests.mcp.cost [--restarts 200] [--stops 200] [--idle 10]`.

Prints how long a gateway takes to be ready without servers and with twenty of which ten are broken, what it uses while idle,
what grows over restarts of one server, and how long it takes until nothing of a stopped call is left. Loopback and local
programs only.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import trio
import trio.testing

from tests.fakes import daemon, mcp_server
from tests.fakes.processes import children, descriptors
from tests.mcp.kit import configured, keeping, misbehaving, one

BROKEN: tuple[Any, ...] = (
    {"command": "no-such-program"},
    {"command": "python3", "args": [mcp_server.__file__, "exits"]},
    {"command": "python3", "args": [mcp_server.__file__, "silent"]},
    {"url": "http://127.0.0.1:9/mcp", "networks": ["127.0.0.0/8"]},
    {"url": "http://127.0.0.1:9/mcp"},
)
SETTLED_S = 15.0
"""Seconds for ten servers to start on a busy machine; then it is idle, but for the broken ones."""


def twenty() -> dict[str, Any]:
    good = {f"good{n}": {"command": "python3", "args": [mcp_server.__file__]} for n in range(10)}
    return {**good, **{f"bad{n}": BROKEN[n % len(BROKEN)] for n in range(10)}}


def ready_s(servers: dict[str, Any]) -> float:
    """Seconds from the start of a gateway to its being up."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        with daemon.running(Path(folder), {"tools": {"mcpServers": servers}}):
            return time.monotonic() - start


def idle_share(servers: dict[str, Any], seconds: float) -> tuple[float, list[str]]:
    """CPU time of the gateway itself in per cent of one core, and the states of its servers."""
    with tempfile.TemporaryDirectory() as folder, daemon.running(Path(folder), {"tools": {"mcpServers": servers}}) as gateway:
        time.sleep(SETTLED_S)
        before, start = _cpu_s(gateway.process.pid), time.monotonic()
        time.sleep(seconds)
        share = 100 * (_cpu_s(gateway.process.pid) - before) / (time.monotonic() - start)
        return share, sorted(_states(gateway.status()))


def _states(tree: Any) -> Iterator[str]:
    groups = [group for group in tree["children"] if group["name"] == "mcp"]
    yield from (node["state"] for group in groups for node in group.get("children", ()))


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_kib() -> int:
    return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")).split()[1])


async def restarts(folder: Path, number: int) -> list[str]:
    """What there is after some restarts, and after all of them."""
    told = []
    async with one(folder) as kept:
        for count in range(1, number + 1):
            await kept.servers.restart("one")
            await kept.until_up()
            if count in (max(1, number // 4), number):
                await trio.testing.wait_all_tasks_blocked(0.1)  # one may be about to end
                gc.collect()
                tasks = trio.lowlevel.current_statistics().tasks_living
                known = f"{len(descriptors())} descriptors, {len(children())} children, {tasks} tasks"
                told.append(f"after {count} restarts: {_rss_kib() / 1024:.1f} MiB, {known}, {threading.active_count()} threads")
    return told


async def stops(folder: Path, number: int) -> list[float]:
    """Seconds from the cancel of a call that hangs until nothing of it is left."""
    found = []
    async with keeping(folder, configured(one=misbehaving())) as kept:
        await kept.until_up()
        await kept.call("mcp_one_echo", text="warm")
        tasks, processes = trio.lowlevel.current_statistics().tasks_living, children()
        for _ in range(number):
            with trio.move_on_after(0.05) as scope:
                await kept.call("mcp_one_hang")
            while trio.lowlevel.current_statistics().tasks_living > tasks:  # noqa: ASYNC110  # tasks tell nobody
                await trio.sleep(0.001)
            found.append(trio.current_time() - scope.deadline)
        assert children() == processes
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--restarts", type=int, default=200)
    options.add_argument("--stops", type=int, default=200)
    options.add_argument("--idle", type=float, default=10.0)
    options.add_argument("--starts", type=int, default=5)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for line in trio.run(restarts, Path(folder), asked.restarts):
            print(line)
        found = sorted(trio.run(stops, Path(folder), asked.stops))
    at99 = found[int(len(found) * 0.99) - 1]
    print(f"a hung call is gone after {1000 * statistics.median(found):.1f} ms (median), {1000 * at99:.1f} ms (99th percentile)")
    pairs = [(ready_s({}), ready_s(twenty())) for _ in range(asked.starts)]
    without, with_twenty = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"gateway ready: {without:.2f} s without servers, {with_twenty:.2f} s with twenty, half of them broken (medians)")
    for name, servers in (("no servers", {}), ("twenty servers, half of them broken", twenty())):
        share, states = idle_share(servers, asked.idle)
        shown = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        print(f"idle with {name}: {share:.2f} % of a core{f' ({shown})' if shown else ''}")


if __name__ == "__main__":
    main()
