"""The scripted model service speaks to the vendors' own SDKs, typed and untouched; and it runs as a process."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest
import trio

from tests.fakes import llm_wire
from tests.fakes.llm import Answer, ModelServer, ToolCall, model_server

SAID: Any = [{"role": "user", "content": "hi"}]
FULL = Answer("Hello there.", calls=(ToolCall("f", {"a": 1}, id="one"),), thinking="Hmm.", usage=(100, 10, 40))


def openai_client(server: ModelServer) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key="k", base_url=server.base, max_retries=0)


def anthropic_client(server: ModelServer) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(api_key="k", base_url=server.url, max_retries=0)


async def test_openai_whole() -> None:
    async with model_server([FULL]) as server, openai_client(server) as client:
        got = await client.chat.completions.create(model="m", messages=SAID)
    message = got.choices[0].message
    assert (message.content, message.model_extra) == ("Hello there.", {"reasoning_content": "Hmm."})
    assert got.choices[0].finish_reason == "tool_calls"
    assert got.usage is not None
    assert (got.usage.prompt_tokens, got.usage.completion_tokens) == (100, 10)


@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")  # the SDK's own reader leaves one behind
async def test_openai_streamed() -> None:
    async with model_server([FULL]) as server, openai_client(server) as client:
        stream: Any = await client.chat.completions.create(model="m", messages=SAID, stream=True)
        choices = [chunk.choices[0] async for chunk in stream if chunk.choices]
    assert "".join(choice.delta.content or "" for choice in choices) == "Hello there."
    parts = [part.function for choice in choices for part in choice.delta.tool_calls or () if part.function]
    assert "".join(part.arguments or "" for part in parts) == '{"a": 1}'


async def test_anthropic_whole_and_streamed() -> None:
    async with model_server([FULL, FULL]) as server, anthropic_client(server) as client:
        whole = await client.messages.create(model="m", max_tokens=9, messages=SAID)
        async with client.messages.stream(model="m", max_tokens=9, messages=SAID) as stream:
            streamed = await stream.get_final_message()
    for message in (whole, streamed):
        assert [block.type for block in message.content] == ["thinking", "text", "tool_use"]
        assert (message.stop_reason, message.usage.output_tokens, message.usage.cache_read_input_tokens) == ("tool_use", 10, 40)


async def test_errors_are_the_sdks_own() -> None:
    async with model_server([llm_wire.WRONG_KEY, llm_wire.OVERLOADED]) as server:
        async with openai_client(server) as client:
            with pytest.raises(openai.AuthenticationError, match="Incorrect API key"):
                await client.chat.completions.create(model="m", messages=SAID)
        async with anthropic_client(server) as other:
            with pytest.raises(anthropic.APIStatusError, match="Overloaded") as caught:
                await other.messages.create(model="m", max_tokens=9, messages=SAID)
            assert caught.value.status_code == 529


async def test_strangers_and_illegal_requests_are_recorded() -> None:
    async with model_server([Answer("x")], strict=False) as server, httpx2.AsyncClient() as stranger:
        await stranger.post(f"{server.base}/chat/completions", json={"model": "m", "messages": []})
        await stranger.get(f"{server.base}/nowhere")
    assert any("header x-stainless-lang is missing" in fault for fault in server.violations)
    assert "request 1: no messages" in server.violations
    assert "no such path: GET /v1/nowhere" in server.violations


async def test_violations_fail_the_test_that_made_them() -> None:
    with pytest.raises(AssertionError, match="no messages"):
        async with model_server([Answer("x")]) as server, httpx2.AsyncClient() as stranger:
            await stranger.post(f"{server.base}/chat/completions", json={"model": "m", "messages": []})


async def test_a_script_can_be_a_function_that_waits() -> None:
    gate = trio.Event()

    async def script(asked: object) -> Answer:
        await gate.wait()
        return Answer("after the gate")

    async with model_server(script) as server, openai_client(server) as client, trio.open_nursery() as nursery:

        async def ask() -> None:
            got = await client.chat.completions.create(model="m", messages=SAID)
            assert got.choices[0].message.content == "after the gate"

        nursery.start_soon(ask)
        asked = await server.received(1)
        assert asked.texts == ["hi"]
        gate.set()


def test_as_a_process(tmp_path: Path) -> None:
    port_file, log = tmp_path / "port", tmp_path / "log"
    command = [sys.executable, "-m", "tests.fakes.llm", "--port-file", str(port_file), "--script", "hello", "--log", str(log)]
    process = subprocess.Popen(command)
    try:
        until_there(port_file)
        client = openai.OpenAI(api_key="k", base_url=f"http://127.0.0.1:{port_file.read_text()}/v1")
        with client:
            got = client.chat.completions.create(model="m", messages=SAID)
        assert got.choices[0].message.content == "Hello from the scripted model."
        assert json.loads(log.read_text())["messages"] == SAID
    finally:
        process.terminate()
        assert process.wait() is not None


def until_there(path: Path) -> None:
    """Another process writes it: there is nothing to wait on but the file."""
    give_up = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < give_up
        time.sleep(0.01)
