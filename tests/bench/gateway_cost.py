"""What the running gateway costs, through `/ws`: processor time of a turn, memory of chats and connections, its ends and starts.

    python -m tests.bench.gateway_cost [turn] [memory] [crowd] [start] [attached] [long] [--turns N]

The gateway and the model service run as processes of their own; figures are read from /proc. The bare SDK's typed streamed call
of the same reply is measured in this process, in the same run, against the same service: only ratios count.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import trio

from tests.bench.turn_cost import bare_openai, service
from tests.fakes.daemon import Daemon, environment, running, start
from tests.fakes.ws import Client, connect

WARM = 20
TICK = os.sysconf("SC_CLK_TCK")
numbers = count()


def processor_s(daemon: Daemon) -> float:
    fields = Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def resident_mb(daemon: Daemon) -> float:
    lines = Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def config(address: str, folder: Path, **defaults: Any) -> dict[str, Any]:
    where = {"provider": "openai", "model": "m", "workspace": str(folder / "ws"), **defaults}
    providers = {"openai": {"apiKey": "k", "apiBase": f"{address}/v1"}}
    return {"agents": {"defaults": where}, "providers": providers, "memory": {"consolidate": False}}


@asynccontextmanager
async def page(daemon: Daemon) -> AsyncIterator[Client]:
    base, token = daemon.address()
    async with connect(int(base.rpartition(":")[2]), token) as client:
        yield client


async def turn(client: Client, chat: str, text: str = "And now?") -> float:
    """One message and its answer, acknowledged; seconds."""
    began, id = trio.current_time(), f"m{next(numbers)}"
    await client.send("message", id=id, chat=chat, text=text)
    answer = await client.expect("message", chat=chat, replyTo=id)
    await client.send("ack", id=answer["id"])
    client.heard.clear()
    return trio.current_time() - began


async def cost_of_a_turn(folder: Path, turns: int) -> None:
    """Interleaved with the bare call, in blocks: the kernel counts in hundredths of a second."""
    block = 50
    with service(folder) as address, running(folder / "gateway", config(address, folder)) as daemon:
        async with page(daemon) as client:
            for _ in range(WARM):
                await turn(client, "bench")
            body = json.loads((folder / "log").read_bytes().splitlines()[-1])
            bare = bare_openai(address, body)
            for _ in range(WARM):
                await bare()
            ours, theirs = [], []
            for _ in range(turns // block):
                began = processor_s(daemon)
                for _ in range(block):
                    await turn(client, "bench")
                ours.append((processor_s(daemon) - began) / block * 1e3)
                began = time.process_time()
                for _ in range(block):
                    await bare()
                theirs.append((time.process_time() - began) / block * 1e3)
    mine, bare_ms = statistics.median(ours), statistics.median(theirs)
    print(f"a turn through /ws: {mine:.2f} ms processor, the bare SDK's call {bare_ms:.2f} ms")
    print(f"  ratio {mine / bare_ms:.2f} (goal: 1.5 at most)")


async def memory(folder: Path, turns: int) -> None:
    with service(folder) as address, running(folder / "gateway", config(address, folder)) as daemon:
        print(f"resident before the first turn {resident_mb(daemon):.1f} MiB (goal: 60)")
        async with page(daemon) as client:
            for number in range(100):
                await turn(client, f"chat{number % 10}")
            after = resident_mb(daemon)
            print(f"after 100 turns on one SDK {after:.1f} MiB (goal: 90)")
            for number in range(turns):
                await turn(client, f"chat{number % 10}")
            print(f"after {turns} more {resident_mb(daemon) - after:+.1f} MiB (goal: +5 after 10,000)")
        before = resident_mb(daemon)
        base, token = daemon.address()
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                await nursery.start(_hold, int(base.rpartition(":")[2]), token)
            print(f"a connection {(resident_mb(daemon) - before) * 1024 / 100:.0f} KiB (goal: 150)")
            nursery.cancel_scope.cancel()
        began, cpu = time.monotonic(), processor_s(daemon)
        await trio.sleep(20)
        print(f"idle: {100 * (processor_s(daemon) - cpu) / (time.monotonic() - began):.2f} % of a processor (goal: 0.5)")


async def _hold(port: int, token: str, *, task_status: trio.TaskStatus[None]) -> None:
    async with connect(port, token):
        task_status.started()
        await trio.sleep_forever()


async def crowd(folder: Path, chats: int) -> None:
    """Many chats at once over ten connections, with a model that takes 200 ms; then others, when the first sleep."""
    with service(folder, "slow") as address, running(folder / "gateway", config(address, folder)) as daemon:
        async with page(daemon) as client:
            await turn(client, "warm")  # the SDK is there
        for wave in ("first", "second"):
            if wave == "second":
                await _until_asleep(daemon)
            before, began, taken = resident_mb(daemon), time.monotonic(), list[float]()
            peaks: list[float] = []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_watch, daemon, peaks)
                async with trio.open_nursery() as clients:
                    for line in range(10):
                        names = [f"{wave}{line}-{number}" for number in range(chats // 10)]
                        clients.start_soon(_many, daemon, names, taken)
                nursery.cancel_scope.cancel()
            taken.sort()
            p50, p99 = taken[len(taken) // 2], taken[int(len(taken) * 0.99)]
            seconds, after = time.monotonic() - began, resident_mb(daemon)
            print(f"{wave} wave: {len(taken)} of {chats} served in {seconds:.1f} s, p50 {p50:.2f} s, p99 {p99:.2f} s")
            print(f"  resident {before:.1f} -> {after:.1f} MiB, peak {max(peaks):.1f}")
            print(f"  {(after - before) * 1024 / chats:.1f} KiB a chat (goal: 40)")


async def _until_asleep(daemon: Daemon) -> None:
    """Five minutes: sessions sleep when nothing has happened in them for so long (session/registry.py)."""
    while any(node["name"] == "sessions" and node["facts"]["awake"] != "0" for node in tree(daemon)):  # noqa: ASYNC110
        await trio.sleep(5)


def tree(daemon: Daemon) -> list[Any]:
    nodes = daemon.status()["children"]
    assert isinstance(nodes, list)
    return nodes


async def _watch(daemon: Daemon, seen: list[float]) -> None:
    while True:
        seen.append(resident_mb(daemon))
        await trio.sleep(0.1)


async def _many(daemon: Daemon, names: list[str], taken: list[float]) -> None:
    """All at once on one connection."""
    async with page(daemon) as client:
        began: dict[str, float] = {}
        for name in names:
            began[name] = trio.current_time()
            await client.send("message", id=f"m{next(numbers)}", chat=name, text="And now?")
        while began:
            frame = await client.expect("message")
            await client.send("ack", id=frame["id"])
            if frame["chat"] in began:
                taken.append(trio.current_time() - began.pop(frame["chat"]))
            client.heard.clear()


async def starting(folder: Path, sessions: int) -> None:
    """Ready with many sessions on disk; SIGTERM under load."""
    with service(folder, "slow") as address:
        with running(folder / "gateway", config(address, folder)) as daemon:
            taken: list[float] = []
            async with trio.open_nursery() as clients:
                for line in range(10):
                    clients.start_soon(_many, daemon, [f"s{line}-{number}" for number in range(sessions // 10)], taken)
        for _ in range(3):
            began = time.monotonic()
            again = start(folder / "gateway")
            again.wait_until_up()
            print(f"ready with {sessions} sessions on disk in {time.monotonic() - began:.2f} s (goal: 2)")
            async with page(again) as client:
                for number in range(200):
                    await client.send("message", id=f"m{next(numbers)}", chat=f"load{number}", text="And now?")
                await client.expect("accepted")
                began = time.monotonic()
                again.signal(signal.SIGTERM)
                code = await trio.to_thread.run_sync(again.wait)
            print(f"SIGTERM under load of 200 chats: code {code} after {time.monotonic() - began:.2f} s (drainS is 2; goal: 3)")


async def attached(folder: Path) -> None:
    with running(folder / "gateway") as daemon:
        command = [sys.executable, "-m", "nanobot", "chat", "-m", "list files", "--config", str(daemon.config)]
        times = []
        for _ in range(11):
            began = time.monotonic()
            await trio.run_process(command, capture_stdout=True, capture_stderr=True, env=environment(folder))
            times.append(time.monotonic() - began)
        print(f"attached `chat -m`, demo model: {statistics.median(times[1:]):.3f} s (goal: 0.35 plus the model's time)")


async def main(what: list[str], turns: int) -> None:
    parts: dict[str, Callable[[Path], Any]] = {
        "turn": lambda folder: cost_of_a_turn(folder, turns),
        "memory": lambda folder: memory(folder, turns),
        "crowd": lambda folder: crowd(folder, 1000),
        "start": lambda folder: starting(folder, 1000),
        "attached": attached,
    }
    for name in what or parts:
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
            (Path(folder) / "gateway").mkdir()
            await parts[name](Path(folder))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*")
    parser.add_argument("--turns", type=int, default=300)
    options = parser.parse_args()
    trio.run(main, options.what, options.turns)
