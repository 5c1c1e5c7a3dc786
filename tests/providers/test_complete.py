"""Answers of both wires, read as they come: text, reasoning, calls, usage; and what an interrupted call leaves behind."""

from __future__ import annotations

import gc
import warnings

import attrs
import pytest
import trio

from nanobot.messages import Reply, Thinking, Usage
from nanobot.providers.client import open_http
from nanobot.providers.port import AuthFailed, CallDelta, Completion, Delta, Finish, Provider, Request, TextDelta, ThinkingDelta
from nanobot.providers.registry import Selection
from tests.fakes.llm import Answer, Garbage, ToolCall, model_server
from tests.fakes.llm_wire import openai_body
from tests.providers.support import WIRES, ask, done, provider_at, said, service

WIRE = pytest.mark.parametrize("wire", WIRES)
STREAMED = pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])


async def call(provider: Provider, request: Request) -> tuple[Completion, list[Delta]]:
    shown: list[Delta] = []
    return await provider.complete(request, shown.append), shown


@WIRE
@STREAMED
async def test_text_reasoning_calls_and_usage(wire: str, stream: bool) -> None:
    calls = (ToolCall("exec", {"command": "ls"}, id="one"), ToolCall("read_file", {"path": "a"}, id="two"))
    script = [Answer("Let me look.", calls=calls, thinking="They want a list.", usage=(100, 10, 40))]
    async with service(wire, script) as (_, provider):
        completion, shown = await call(provider, ask(stream=stream))
    assert completion.text == "Let me look."
    assert [(one.id, one.name, one.arguments) for one in completion.calls] == [
        ("one", "exec", '{"command": "ls"}'),
        ("two", "read_file", '{"path": "a"}'),
    ]
    assert [one.text for one in completion.thinking] == ["They want a list."]
    assert (completion.finish, completion.usage, completion.model) == (Finish.CALLS, Usage(100, 10, 40), "m")
    assert "".join(one.text for one in shown if isinstance(one, TextDelta)) == completion.text
    assert "".join(one.text for one in shown if isinstance(one, ThinkingDelta)) == "They want a list."
    assert [(one.index, one.name) for one in shown if isinstance(one, CallDelta) and one.name] == [(0, "exec"), (1, "read_file")]
    for index, one in enumerate(completion.calls):
        assert "".join(d.arguments for d in shown if isinstance(d, CallDelta) and d.index == index) == one.arguments


@WIRE
async def test_reasoning_goes_back_to_the_service_that_wrote_it(wire: str) -> None:
    script = [Answer("Yes.", thinking="Hmm.", signature="c2ln", redacted="blob"), Answer("Again.")]
    async with service(wire, script) as (server, provider):
        first, _ = await call(provider, ask())
        reply = Reply(first.text, thinking=first.thinking)
        foreign = Thinking("elsewhere", "not yours", '{"elsewhere": "reasoning_content"}')
        await call(provider, ask(said("hello"), reply, said("more", identity="2"), Reply("x", thinking=(foreign,)), said("3")))
        assistant = [message for message in server.requests[1].messages if message["role"] == "assistant"]
    if wire == "openai":
        assert assistant == [
            {"role": "assistant", "content": "Yes.", "reasoning_content": "Hmm."},
            {"role": "assistant", "content": "x"},
        ]
    else:
        assert [block["type"] for block in assistant[0]["content"]] == ["thinking", "redacted_thinking", "text"]
        assert assistant[0]["content"][0] == {"type": "thinking", "thinking": "Hmm.", "signature": "c2ln"}
        assert assistant[0]["content"][1] == {"type": "redacted_thinking", "data": "blob"}
        assert [block["type"] for block in assistant[1]["content"]] == ["text"]


async def test_signatures_of_calls_go_back_with_them() -> None:
    signed = ToolCall("exec", {"command": "ls"}, id="one", extra={"google": {"thought_signature": "sig"}})
    async with service("openai", [Answer(calls=(signed,)), Answer("done")]) as (server, provider):
        first, _ = await call(provider, ask())
        replayed = attrs.evolve(done("one"), extra=first.calls[0].extra)
        await call(provider, ask(said("hello"), Reply("", (replayed,))))
        assert server.requests[1].messages[2]["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "sig"}}


@WIRE
async def test_server_that_keeps_the_connection_open_after_the_answer(wire: str) -> None:
    async with service(wire, [Answer("all of it", keep_open=True)]) as (server, provider):
        with trio.fail_after(5):
            completion, _ = await call(provider, ask())
            await server.http.all_closed()
    assert completion.text == "all of it"


@WIRE
@pytest.mark.filterwarnings("error")
async def test_cancelled_in_mid_stream_nothing_is_left(wire: str) -> None:
    async with model_server([Answer("half an answer", stall="middle")]) as server, open_http() as http:
        provider = provider_at(wire, server.base, http)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with trio.CancelScope() as scope:
                await provider.complete(ask(), lambda delta: scope.cancel() if isinstance(delta, TextDelta) else None)
            with trio.fail_after(0.2):
                await server.http.all_closed()
            gc.collect()
        assert scope.cancelled_caught
        client = await http.client()
        assert client._transport._pool.connections == []  # type: ignore[attr-defined]
    assert [str(one.message) for one in caught] == []


@WIRE
@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")  # the price of a bug in the listener
async def test_a_listener_that_fails_leaves_no_connection(wire: str) -> None:
    def listen(delta: Delta) -> None:
        if isinstance(delta, TextDelta):
            raise RuntimeError("a bug")  # noqa: TRY004

    async with service(wire, [Answer("half an answer", stall="middle")]) as (server, provider):
        with pytest.raises(RuntimeError, match="a bug") as caught:
            await provider.complete(ask(), listen)
        with trio.fail_after(0.2):
            await server.http.all_closed()
        assert caught.value.__traceback__, "whoever keeps the error keeps its frames, and the reader in them"


@WIRE
@STREAMED
async def test_calls_share_one_connection(wire: str, stream: bool) -> None:
    async with service(wire, [Answer("one"), Answer("two"), Answer("three")]) as (server, provider):
        for _ in range(3):
            await call(provider, ask(stream=stream))
        assert server.http.accepted == 1


@WIRE
async def test_no_key_is_said_before_anything_is_sent(wire: str) -> None:
    async with open_http() as http:
        provider = provider_at(wire, "http://127.0.0.1:9/v1", http)
        selection: Selection = provider.selection  # type: ignore[attr-defined]
        keyless = type(provider)(Selection(selection.spec, "m", "", base=selection.spec.base), http, 1.0)  # type: ignore[call-arg]
        with pytest.raises(AuthFailed, match=f"set providers.{wire}.apiKey"):
            await call(keyless, ask())


async def test_service_that_answers_a_stream_with_a_whole_body() -> None:
    script = [Garbage(openai_body(Answer("whole"), "m", 1), "application/json")]
    async with service("openai", script) as (_, provider):
        completion, _ = await call(provider, ask())
    assert completion.text == "whole"


async def test_query_in_the_address_is_kept_apart() -> None:
    async with model_server([Answer("yes")]) as server, open_http() as http:
        completion, _ = await call(provider_at("openai", server.base + "?api-version=3", http), ask())
    assert completion.text == "yes"


async def test_key_is_sent_in_the_old_dialect_to_other_addresses() -> None:
    async with service("anthropic", [Answer("yes")]) as (server, provider):
        await call(provider, ask())
        assert server.requests[0].headers["x-api-key"] == "k-secret"
        assert server.requests[0].headers["authorization"] == "Bearer k-secret"


async def test_local_server_without_a_model_gets_its_first() -> None:
    async with service("openai", [Answer("hi")]) as (server, provider):
        request = Request("", "", (said("hello"),))
        completion, _ = await call(provider, request)
        assert server.requests[0].body["model"] == server.models[0]
    assert completion.model == "model-one"
