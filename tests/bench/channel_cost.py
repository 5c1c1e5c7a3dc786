"""What a network costs: from its word to the disk, and in memory. Each network has its own lines, in the table below.

    python -m tests.bench.channel_cost [telegram whatsapp email memory] [--messages 300]

The time of a message begins when its network hands it over (the fake server begins to write the answer) and ends when it is
durable: the library, the way in and the fsync are in it, the network's own time is not. Memory is that of the real gateway
before its first turn.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import trio
from loguru import logger

from nanobot.channels.whatsapp.bridge import NODE_FLAGS
from nanobot.messages import Inbound
from tests.bench import email_cost
from tests.bench.gateway_cost import resident_mb
from tests.channels.networks import NAMES, open_networks
from tests.channels.telegram_failures import open_hall
from tests.channels.whatsapp_failures import open_hall as open_whatsapp
from tests.fakes.whatsapp import built

GOAL_MS, GOAL_MIB, GOAL_BRIDGE_MIB = 5.0, 85.0, 120.0
SETTLE_S = 3.0


def shown(name: str, took: list[float]) -> None:
    """A line of figures, from seconds."""
    took = sorted(took)
    figures = (statistics.median(took), took[int(0.95 * len(took))], took[-1])
    median, high, most = (f"{seconds * 1e3:.2f}" for seconds in figures)
    print(f"{name}: median {median} ms, 95 % {high} ms, most {most} ms (goal: {GOAL_MS:g})")


def fsync_ms(folder: Path) -> float:
    """The median of the disk alone, for comparison."""
    took = []
    with (folder / "probe").open("wb") as file:
        for _ in range(100):
            began = time.perf_counter()
            file.write(b"x" * 400)
            file.flush()
            os.fsync(file.fileno())
            took.append(time.perf_counter() - began)
    return statistics.median(took) * 1e3


def telegram(messages: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        print(f"an fsync alone: {fsync_ms(Path(place)):.2f} ms")
        whole, before = trio.run(_telegram_in, Path(place), messages)
        shown("telegram, a message until it is durable", whole)
        shown("  of it, until its session has it", before)


async def _telegram_in(place: Path, messages: int) -> tuple[list[float], list[float]]:
    """One after the other, so that none waits for another. Until it is durable; until the session is given it."""
    took: list[float] = []
    handed: list[float] = []
    async with open_hall(place) as hall:
        deliver = hall.channels.deliver

        async def timed(inbound: Inbound) -> None:
            handed.append(time.perf_counter() - hall.fake.told_at[number])
            await deliver(inbound)
            took.append(time.perf_counter() - hall.fake.told_at[number])

        hall.channels.deliver = timed
        for count in range(messages):
            hall.say(70)
            number = hall.fake.updates[-1]["update_id"]
            await hall.until(partial(_reached, took, count + 1))
            await hall.until(partial(hall.has_answered, hall.said[-1]))
    return took[10:], handed[10:]


def _reached(took: list[float], count: int) -> bool:
    return len(took) >= count


def whatsapp(messages: int) -> None:
    """Two processes and two disks' words: the bridge's, which WhatsApp waits for, and ours."""
    with tempfile.TemporaryDirectory() as place:
        print(f"an fsync alone: {fsync_ms(Path(place)):.2f} ms")
        whole, kept = trio.run(_whatsapp_in, Path(place), messages)
        shown("whatsapp, a message until it is durable", whole)
        shown("  of it, until the bridge has it on disk", kept)


async def _whatsapp_in(place: Path, messages: int) -> tuple[list[float], list[float]]:
    said: list[float] = []
    async with open_whatsapp(place) as hall:
        for count in range(messages):
            said.append(time.perf_counter())
            hall.network.say("hello", hall.talkers[0].chat)
            while hall.talkers[0].answers <= count:  # noqa: ASYNC110  # nothing of a turn is to be in the next one's time
                await trio.sleep(0.02)
        taken, kept = list(hall.taken.values()), list(hall.network.confirmed.values())
    whole, before = ([at - began for at, began in zip(times, said, strict=True)] for times in (taken, kept))
    return whole[10:], before[10:]


def email(messages: int) -> None:
    trio.run(email_cost.main, messages)


def memory(_messages: int) -> None:
    """Of the real gateway before its first turn, without networks, with each and with all; and of the bridge, with Baileys."""
    for names in ((), *((name,) for name in NAMES), NAMES):
        with tempfile.TemporaryDirectory() as place:
            print(f"the gateway with {', '.join(names) or 'the page alone'}: {trio.run(_resident, Path(place), names):.1f} MiB")
    print(f"(goal for all of them: {GOAL_MIB:g})")
    with tempfile.TemporaryDirectory() as place:
        print(f"the bridge, idle: {_bridge_mib(Path(place)):.1f} MiB (goal: {GOAL_BRIDGE_MIB:g})")


async def _resident(place: Path, names: tuple[str, ...]) -> float:
    async with open_networks(place) as networks:
        await networks.start(names)
        await trio.sleep(SETTLE_S)
        return resident_mb(networks.daemon)


def _bridge_mib(place: Path) -> float:
    """It finds no WhatsApp here, and waits to try again."""
    program = built().parents[1] / "src" / "main.js"
    env = {"PATH": os.environ["PATH"], "AUTH_DIR": str(place), "BRIDGE_TOKEN": "t", "BRIDGE_PORT": "0"}
    with subprocess.Popen(["node", *NODE_FLAGS, program], env=env, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(SETTLE_S)
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        process.kill()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


PARTS: Mapping[str, Callable[[int], None]] = {"telegram": telegram, "whatsapp": whatsapp, "email": email, "memory": memory}

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", metavar="PART", help=" ".join(PARTS))
    parser.add_argument("--messages", type=int, default=300)
    arguments = parser.parse_args()
    logger.remove()
    for part in arguments.parts or PARTS:
        PARTS[part](arguments.messages)
