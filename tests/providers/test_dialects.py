"""Where the services of OpenAI's wire differ: a table over rows, models and efforts, and what Mistral insists on."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

from nanobot.messages import Note, Reply, Thinking
from nanobot.providers.faults import Service
from nanobot.providers.openai_chat import Answer
from nanobot.providers.openai_wire import OpenAIWire
from nanobot.providers.payload import encode
from nanobot.providers.port import ModelParams, ReasoningEffort, Request
from nanobot.providers.services import BY_NAME
from nanobot.wire import Json
from tests.fakes.legal import check_mistral
from tests.providers.support import ask, done, rounds, said

Body = dict[str, Any]
MARK = {"type": "ephemeral"}


def body(row: str, request: Request, model: str = "m", effort: ReasoningEffort | None = None, temperature: float = 0.3) -> Body:
    asked = attrs.evolve(request, model=model, params=ModelParams(effort=effort, temperature=temperature))
    return json.loads(encode(OpenAIWire(BY_NAME[row]).body(asked, {})))  # type: ignore[no-any-return]


# --- reasoning ---

ON, OFF = {"thinking": {"type": "enabled"}}, {"thinking": {"type": "disabled"}}


@pytest.mark.parametrize(
    ("row", "model", "effort", "expected"),
    [
        ("deepseek", "deepseek-chat", None, {}),
        ("deepseek", "deepseek-chat", "high", ON | {"reasoning_effort": "high"}),
        ("deepseek", "deepseek-chat", "adaptive", ON),
        ("deepseek", "deepseek-reasoner", "none", OFF),
        ("deepseek", "deepseek-chat", "minimal", OFF),
        ("dashscope", "qwen-plus", None, {}),
        ("dashscope", "qwen-plus", "low", {"enable_thinking": True, "reasoning_effort": "low"}),
        ("dashscope", "qwen-plus", "none", {"enable_thinking": False}),
        ("siliconflow", "Qwen/Qwen3-8B", "none", {"enable_thinking": False}),
        ("minimax", "MiniMax-M2", None, {}),
        ("minimax", "MiniMax-M2", "medium", {"reasoning_split": True, "reasoning_effort": "medium"}),
        ("moonshot", "kimi-k2.5", "high", ON),
        ("moonshot", "kimi-k2.6", "none", OFF),
        ("moonshot", "kimi-k2.6", None, {}),
        ("moonshot", "kimi-k3", "low", {"reasoning_effort": "max"}),
        ("moonshot", "kimi-k3", "none", {}),
        ("mistral", "mistral-large-latest", "medium", {"reasoning_effort": "high"}),
        ("mistral", "mistral-large-latest", "low", {"reasoning_effort": "none"}),
        ("mistral", "magistral-medium", "high", {}),
        ("openrouter", "openai/gpt-5.4", "high", {"reasoning": {"effort": "high"}}),
        ("openrouter", "anthropic/claude-x", "max", {"reasoning": {"effort": "xhigh"}}),
        ("openrouter", "anthropic/claude-x", "adaptive", {"reasoning": {"enabled": True}}),
        ("openrouter", "anthropic/claude-x", None, {}),
        ("openai", "gpt-5.4", "high", {"reasoning_effort": "none"}),
        ("groq", "qwen3", "high", {"reasoning_effort": "high"}),
    ],
)
def test_how_reasoning_is_asked_for(row: str, model: str, effort: ReasoningEffort | None, expected: Body) -> None:
    sent = body(row, ask(), model, effort)
    fields = ("thinking", "enable_thinking", "reasoning_split", "reasoning", "reasoning_effort")
    assert {name: sent[name] for name in fields if name in sent} == expected


@pytest.mark.parametrize(
    ("row", "model", "expected"),
    [
        ("moonshot", "kimi-k2-0905-preview", 0.3),
        ("moonshot", "kimi-k2.5", None),
        ("moonshot", "kimi-k2.6", None),
        ("moonshot", "kimi-k2.7-code", 1.0),
        ("moonshot", "kimi-k3", None),
        ("openrouter", "moonshotai/kimi-k2.5", None),
    ],
)
def test_temperature_of_kimi(row: str, model: str, expected: float | None) -> None:
    assert body(row, ask(), model).get("temperature") == expected


THOUGHT = Thinking("openai_chat", "hm", '{"deepseek":"reasoning_content"}')


@pytest.mark.parametrize(
    ("row", "model", "effort", "expected"),
    [
        ("deepseek", "deepseek-chat", None, ["hm", None]),
        ("deepseek", "deepseek-chat", "high", ["hm", ""]),
        ("deepseek", "deepseek-reasoner", None, ["hm", ""]),
        ("deepseek", "deepseek-reasoner", "none", ["hm", None]),
        ("deepseek", "deepseek-v4-flash", None, ["hm", ""]),
        ("dashscope", "qwen-plus", "high", ["", ""]),
        ("moonshot", "kimi-k2.5", None, ["", ""]),
        ("moonshot", "kimi-k2-thinking", None, ["", ""]),
        ("moonshot", "kimi-k2-0905-preview", "high", [None, None]),
        ("minimax", "MiniMax-M2", "high", [None, None]),
        ("openai", "gpt-5", "high", [None, None]),
        ("custom", "deepseek-reasoner", "high", [None, None]),
    ],
)
def test_missing_reasoning_is_filled_in_where_thinking_is_on(
    row: str, model: str, effort: ReasoningEffort | None, expected: list[str | None]
) -> None:
    request = ask(said("a"), Reply("", (done("one"),), (THOUGHT,)), said("b"), Reply("Yes."), said("c"))
    sent = body(row, request, model, effort)["messages"]
    assert [message.get("reasoning_content") for message in sent if message["role"] == "assistant"] == expected


def test_reasoning_in_details_goes_back_as_details() -> None:
    answer = Answer(Service("minimax", "m", "k"), lambda _delta: None)
    for text in ("h", "m"):
        answer.event(json.dumps({"choices": [{"delta": {"reasoning_details": [{"text": text}]}}]}).encode())
    wire = OpenAIWire(BY_NAME["minimax"])
    (thought,) = answer.completion(wire, "m").thinking
    replayed = wire.body(ask(said("a"), Reply("Yes.", thinking=(thought,)), said("b")), {})
    sent = json.loads(encode(replayed))["messages"][2]
    assert sent["reasoning_details"] == [{"type": "reasoning.text", "text": "hm"}]


def test_mistrals_thinking_stands_in_its_content() -> None:
    answer = Answer(Service("mistral", "m", "k"), lambda _delta: None)
    parts: list[Json] = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "Yes."}]
    answer.whole({"choices": [{"message": {"content": parts}}]})
    completion = answer.completion(OpenAIWire(BY_NAME["mistral"]), "m")
    assert (completion.text, [one.text for one in completion.thinking]) == ("Yes.", ["hm"])


# --- cache marks for Claude behind a gateway ---


@pytest.mark.parametrize(
    ("last", "marked"),
    [
        (said("now", identity="9"), {"type": "text", "text": "now", "cache_control": MARK}),
        (Reply("", (done("nine"),)), {"type": "text", "text": "ok", "cache_control": MARK}),
    ],
    ids=["message", "result"],
)
def test_cache_marks_for_claude(last: Any, marked: Body) -> None:
    sent = body("openrouter", ask(*rounds(2), last), "anthropic/claude-sonnet-4.5")
    assert sent["messages"][0]["content"] == [{"type": "text", "text": "You are helpful.", "cache_control": MARK}]
    assert ["cache_control" in tool for tool in sent["tools"]] == [False, True]
    parts = [part for message in sent["messages"][1:] for part in message["content"] or () if isinstance(part, dict)]
    assert [part for part in parts if "cache_control" in part] == [marked]
    assert str(sent).count("'cache_control'") == 3


@pytest.mark.parametrize(("row", "model"), [("openrouter", "openai/gpt-5"), ("openai", "claude-x")])
def test_no_cache_marks_for_others(row: str, model: str) -> None:
    assert "cache_control" not in str(body(row, ask(*rounds(2)), model))


# --- Mistral ---

CONVERSATIONS: dict[str, Request] = {
    "result last": ask(said("a"), Reply("", (done("call_1"),))),
    "said after a result": ask(said("a"), Reply("", (done("call_1"),)), said("stop", identity="2")),
    "noted after a result": ask(said("a"), Reply("", (done("call_1"),)), Note("cut", 0.0), Reply("Yes."), said("b")),
    "one id twice": ask(said("a"), Reply("", (done("call_1"), done("call_1"))), Reply("", (done("call_1"),))),
    "own ids": ask(said("a"), Reply("", (done("abcDEF123"),)), Reply("Yes."), said("b")),
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_mistral_takes_any_conversation(name: str) -> None:
    sent = body("mistral", CONVERSATIONS[name])
    assert check_mistral(sent) == []
    assert "stream_options" not in sent
    assert sent["messages"][-1]["content"].endswith("Time: noon")
    assert (sent["messages"][-1]["role"] == "tool") == (name in ("result last", "one id twice"))


def test_mistrals_rules_are_broken_by_what_others_take() -> None:
    def told(name: str) -> str:
        return str(check_mistral(body("openai", CONVERSATIONS[name])))

    assert "a user message right after a tool result" in told("result last")
    assert "call id 'call_1'" in told("said after a result")


def test_mistral_ids_stay_the_same_as_the_conversation_grows() -> None:
    def ids(count: int) -> list[str]:
        sent = body("mistral", ask(*rounds(count), said("now")))["messages"]
        return [call["id"] for message in sent for call in message.get("tool_calls") or ()]

    assert ids(5)[:3] == ids(3)
    assert len(set(ids(5))) == 5
    assert "abcDEF123" in str(body("mistral", CONVERSATIONS["own ids"]))
