"""What our adapters cost beside the bare SDK making the same typed, streamed call in the same run.

    python -m tests.bench.provider_cost [--calls N]

The history is 20 exchanges, each with one tool call. The server runs as a process of its own, so that only the client's work is
counted (processor time of this process; wall time beside it). Ratios count, not the times.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anthropic
import openai
import trio

from nanobot.config.schema import AgentDefaults, AgentsConfig, Config, ProviderConfig, Secret
from nanobot.messages import Call, CallId, CallState, Entry, MessageId, Reply, Said
from nanobot.providers.anthropic_wire import AnthropicWire
from nanobot.providers.client import SharedHttp, open_http
from nanobot.providers.factory import open_provider
from nanobot.providers.openai_wire import OpenAIWire
from nanobot.providers.port import Request, ToolSpec
from nanobot.providers.registry import BY_NAME, select
from nanobot.providers.retry import complete_with_retry

Step = Callable[[], Awaitable[None]]
TOOLS = tuple(
    ToolSpec(f"tool_{n}", "Does something useful with a path. " * 4, '{"type":"object","properties":{"path":{"type":"string"}}}')
    for n in range(10)
)


def conversation(exchanges: int) -> tuple[Entry, ...]:
    entries: list[Entry] = []
    for n in range(exchanges):
        call = Call(CallId(f"call_{n}"), "tool_1", json.dumps({"path": f"file {n}"}), state=CallState.DONE, result="line\n" * 40)
        entries += [Said(MessageId(str(n)), f"Question {n}: " + "what is it? " * 10, 0.0, "p"), Reply("", (call,))]
        entries.append(Reply(f"Answer {n}: " + "it is so. " * 20))
    return (*entries, Said(MessageId("last"), "And now?", 0.0, "p"))


def request(model: str) -> Request:
    return Request(model, "You are a helpful assistant. " * 200, conversation(20), TOOLS, runtime="Time: now")


@contextmanager
def server() -> Iterator[str]:
    """A scripted model service in its own process; its address without /v1."""
    with tempfile.TemporaryDirectory() as folder:
        port_file = Path(folder) / "port"
        command = [sys.executable, "-m", "tests.fakes.llm", "--port-file", str(port_file), "--script", "hello"]
        process = subprocess.Popen(command)
        try:
            while not port_file.exists():
                time.sleep(0.02)
            yield f"http://127.0.0.1:{port_file.read_text()}"
        finally:
            process.terminate()
            process.wait()


async def measure(steps: dict[str, Step], calls: int) -> dict[str, tuple[float, float]]:
    """Median processor and wall time in milliseconds, the steps taking turns."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for round_number in range(calls + 5):
        for name, step in steps.items():
            busy, wall = time.process_time(), time.perf_counter()
            await step()
            spent = ((time.process_time() - busy) * 1e3, (time.perf_counter() - wall) * 1e3)
            if round_number >= 5:  # the first rounds warm up
                taken[name].append(spent)
    return {
        name: (statistics.median(busy for busy, _ in spent), statistics.median(wall for _, wall in spent))
        for name, spent in taken.items()
    }


async def main(calls: int) -> None:
    with server() as address:
        async with open_http() as http:
            results = await measure(
                {
                    "bare openai": bare_openai(address),
                    "ours openai": ours("openai", address + "/v1", http),
                    "bare anthropic": bare_anthropic(address),
                    "ours anthropic": ours("anthropic", address, http),
                },
                calls,
            )
    for name, (busy, wall) in results.items():
        print(f"{name:16} {busy:6.2f} ms processor {wall:6.2f} ms wall")
    for wire in ("openai", "anthropic"):
        busy, wall = (results[f"ours {wire}"][n] / results[f"bare {wire}"][n] for n in (0, 1))
        print(f"{wire}: ours is {busy:.2f} of the bare SDK's processor time, {wall:.2f} of its wall time")
    conversion()


def ours(name: str, base: str, http: SharedHttp) -> Step:
    settings = {name: ProviderConfig(api_key=Secret("k"), api_base=base)}
    config = Config(agents=AgentsConfig(AgentDefaults(provider=name, model="m")), providers=settings)
    provider = open_provider(select(config, {}), config, http)
    asked = request("m")

    async def step() -> None:
        completion = await complete_with_retry(provider, asked, lambda _delta: None)
        assert completion.text

    return step


def bare_openai(address: str) -> Step:
    client: Any = openai.AsyncOpenAI(api_key="k", base_url=f"{address}/v1", max_retries=0)
    body = OpenAIWire(BY_NAME["openai"]).body(request("m"), {})

    async def step() -> None:
        stream = await client.chat.completions.create(
            model="m", messages=body["messages"], tools=body["tools"], stream=True, stream_options={"include_usage": True}
        )
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
        assert text

    return step


def bare_anthropic(address: str) -> Step:
    client: Any = anthropic.AsyncAnthropic(api_key="k", base_url=address, max_retries=0)
    body = AnthropicWire(BY_NAME["anthropic"]).body(request("m"), {})

    async def step() -> None:
        stream = await client.messages.create(
            model="m", max_tokens=8192, system=body["system"], messages=body["messages"], tools=body["tools"], stream=True
        )
        text = "".join([event.delta.text async for event in stream if event.type == "content_block_delta"])
        assert text

    return step


def conversion() -> None:
    """Microseconds to make a body of 20 exchanges: everything new, and one exchange new."""
    asked = request("m")
    wires: tuple[OpenAIWire | AnthropicWire, ...] = (OpenAIWire(BY_NAME["openai"]), AnthropicWire(BY_NAME["anthropic"]))
    for wire in wires:
        first, *again = (_microseconds(partial(wire.body, asked, {})) for _ in range(50))
        known = statistics.median(again)
        print(f"{type(wire).__name__}: {first:.0f} µs for 20 new exchanges, {known:.0f} µs once they are known")


def _microseconds(step: Callable[[], object]) -> float:
    began = time.perf_counter()
    step()
    return (time.perf_counter() - began) * 1e6


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Cost of the adapters beside the bare SDKs.")
    parser.add_argument("--calls", type=int, default=100)
    trio.run(main, parser.parse_args().calls)
