"""What a whole durable turn costs beside the bare SDK making the same typed, streamed call in the same process.

    python -W ignore::ResourceWarning -m tests.bench.turn_cost [--turns N]

A turn is everything from the message's delivery to the record that its reply was delivered: journal on a real disk, all tools
offered, about 20 exchanges of history, a reply of 20 tokens. The model service runs in a process of its own. Processor time
of this process, writer threads included; the parts take turns, medians are printed, and only the ratios count.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import anthropic
import openai
import trio

from nanobot.config.load import load
from nanobot.config.paths import places
from nanobot.gateway.house import open_house
from nanobot.messages import Inbound, MessageId, Principal, SessionKey
from nanobot.session import events as ev
from nanobot.session.ports import Adopted, Progress
from nanobot.session.records import Delivered
from nanobot.session.state import Pending, Session
from tests.bench.scripts import TWENTY

Step = Callable[[], Awaitable[None]]
KEY = SessionKey("cli", "bench")
ME = Principal("cli", "default", "bench", "me", owner=True)
WARM = 20
WINDOW = 54
"""Messages: history goes from 13 exchanges to 27 and jumps back, 20 in the mean."""


class Outlet:
    """The terminal's part: takes every reply."""

    async def send(self, session: Session, pending: Pending, part: int) -> ev.PartDelivered:
        return ev.PartDelivered(pending.outbound.id, part, time.time())


@contextmanager
def service(folder: Path, script: str = "twenty") -> Iterator[str]:
    """The scripted model service; its address without /v1. Its requests are in `folder/log`."""
    port_file = folder / "port"
    command = [
        sys.executable,
        "-m",
        "tests.fakes.llm",
        "--port-file",
        str(port_file),
        "--script",
        f"tests.bench.scripts:{script}",
    ]
    command += ["--log", str(folder / "log")]
    process = subprocess.Popen(command)
    try:
        while not port_file.exists():
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port_file.read_text()}"
    finally:
        process.terminate()
        process.wait()


@asynccontextmanager
async def turns(name: str, base: str, folder: Path) -> AsyncIterator[Callable[[str], Awaitable[Session]]]:
    """A house on that wire, and the way to have one whole turn in it."""
    file = folder / name / "config.json"
    file.parent.mkdir()
    defaults = {"provider": name, "model": "m", "memoryWindow": WINDOW, "workspace": str(file.parent / "ws")}
    config = {"configVersion": 1, "agents": {"defaults": defaults}, "providers": {name: {"apiKey": "k", "apiBase": base}}}
    config["memory"] = {"consolidate": False}
    file.write_text(json.dumps(config))
    done: list[trio.Event] = [trio.Event()]
    latest: list[Session] = []

    def watch(_key: str, progress: Progress) -> None:
        if isinstance(progress, Adopted) and any(isinstance(record, Delivered) for record in progress.records):
            latest[:] = [progress.session]
            done[0].set()

    numbers = count()
    async with open_house(load(file, {}).config, places(file), {}, Outlet(), watch, resume_all=False, drain_s=5) as house:

        async def turn(text: str) -> Session:
            done[0] = trio.Event()
            await house.deliver(Inbound(MessageId(f"m{next(numbers)}"), KEY, ME, text, time.time()))
            await done[0].wait()
            return latest[0]

        yield turn


def bare_openai(address: str, body: dict[str, Any]) -> Step:
    client: Any = openai.AsyncOpenAI(api_key="k", base_url=f"{address}/v1", max_retries=0)
    wanted = {name: body[name] for name in ("model", "messages", "tools", "stream_options") if name in body}

    async def step() -> None:
        stream = await client.chat.completions.create(**wanted, stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
        assert text.strip() == TWENTY.strip()

    return step


def bare_anthropic(address: str, body: dict[str, Any]) -> Step:
    client: Any = anthropic.AsyncAnthropic(api_key="k", base_url=address, max_retries=0)
    wanted = {name: body[name] for name in ("model", "max_tokens", "system", "messages", "tools") if name in body}

    async def step() -> None:
        stream = await client.messages.create(**wanted, stream=True)
        text = "".join([event.delta.text async for event in stream if event.type == "content_block_delta"])
        assert text.strip() == TWENTY.strip()

    return step


async def measure(steps: dict[str, Step], rounds: int) -> dict[str, float]:
    """Median processor time in milliseconds, the steps taking turns."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + WARM):
        for name, step in steps.items():
            busy = time.process_time()
            await step()
            if number >= WARM:
                taken[name].append((time.process_time() - busy) * 1e3)
    return {name: statistics.median(spent) for name, spent in taken.items()}


async def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        place = Path(folder)
        with service(place) as address:
            async with AsyncExitStack() as stack:
                results = await run(stack, place, address, rounds)
    for name, busy in results.items():
        print(f"{name:28} {busy:6.2f} ms processor")
    for wire, limit in (("openai", 1.0), ("anthropic", 1.5)):
        ratio = results[f"{wire}: durable turn"] / results[f"{wire}: bare call"]
        print(f"{wire}: a durable turn is {ratio:.2f} of the bare SDK's typed streamed call (goal: {limit} at most)")


async def run(stack: AsyncExitStack, place: Path, address: str, rounds: int) -> dict[str, float]:
    steps: dict[str, Step] = {}
    for wire, base, bare in (("openai", f"{address}/v1", bare_openai), ("anthropic", address, bare_anthropic)):
        turn = await stack.enter_async_context(turns(wire, base, place))
        for number in range(20):
            await turn(f"Question {number}: what is it, and how does it come that it is so?")
        steps[f"{wire}: bare call"] = bare(address, json.loads((place / "log").read_bytes().splitlines()[-1]))
        steps[f"{wire}: durable turn"] = as_step(turn, "And now?")
        steps[f"{wire}: with one tool round"] = as_step(turn, "look around")
    return await measure(steps, rounds)


def as_step(turn: Callable[[str], Awaitable[Session]], text: str) -> Step:
    async def step() -> None:
        await turn(text)

    return step


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=300)
    trio.run(partial(main, parser.parse_args().turns))
