"""The checkers see every fault that they are there for."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.fakes.legal import check_anthropic, check_openai

CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
OPENAI: dict[str, Any] = {
    "model": "m",
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
    "messages": [
        {"role": "system", "content": "be good"},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "a", "content": "ok"},
    ],
}
USE = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
ANTHROPIC: dict[str, Any] = {
    "model": "m",
    "max_tokens": 10,
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "assistant", "content": [USE]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "ok"}]},
    ],
}
BREAKS: list[tuple[str, dict[str, Any], list[Any], Any]] = [
    ("no model", OPENAI, ["model"], ""),
    ("no messages", OPENAI, ["messages"], []),
    ("empty tools", OPENAI, ["tools"], []),
    ("a strange role", OPENAI, ["messages", 1, "role"], "human"),
    ("empty content", OPENAI, ["messages", 1, "content"], ""),
    ("a result of no call", OPENAI, ["messages", 3, "tool_call_id"], "b"),
    ("a call without result", OPENAI, ["messages", 3], {"role": "user", "content": "x"}),
    ("an illegal id", OPENAI, ["messages", 2, "tool_calls", 0, "id"], "a b"),
    ("arguments that are no object", OPENAI, ["messages", 2, "tool_calls", 0, "function", "arguments"], "[1]"),
    ("arguments that are no JSON", OPENAI, ["messages", 2, "tool_calls", 0, "function", "arguments"], "{"),
    ("an illegal name", OPENAI, ["messages", 2, "tool_calls", 0, "function", "name"], "a.b"),
    ("an id twice", OPENAI, ["messages", 2, "tool_calls"], [CALL, CALL]),
    ("ends with the assistant", OPENAI, ["messages", 3], {"role": "assistant", "content": "x"}),
    ("begins with the assistant", OPENAI, ["messages", 1, "role"], "assistant"),
    ("no max_tokens", ANTHROPIC, ["max_tokens"], None),
    ("a blank text", ANTHROPIC, ["messages", 0, "content", 0, "text"], " "),
    ("empty content", ANTHROPIC, ["messages", 0, "content"], []),
    ("a result of no call", ANTHROPIC, ["messages", 2, "content", 0, "tool_use_id"], "b"),
    ("an input that is no object", ANTHROPIC, ["messages", 1, "content", 0, "input"], "x"),
    ("unsigned thinking", ANTHROPIC, ["messages", 1, "content"], [{"type": "thinking", "thinking": "x"}, USE]),
    ("results after text", ANTHROPIC, ["messages", 2, "content"], [{"type": "text", "text": "x"}]),
    ("two of one role", ANTHROPIC, ["messages", 1, "role"], "user"),
]


def test_legal_bodies_pass() -> None:
    assert check_openai(OPENAI) == []
    assert check_anthropic(ANTHROPIC) == []


@pytest.mark.parametrize(("body", "path", "value"), [row[1:] for row in BREAKS], ids=[row[0] for row in BREAKS])
def test_broken_bodies_do_not(body: dict[str, Any], path: list[Any], value: Any) -> None:
    broken = copy.deepcopy(body)
    place: Any = broken
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert (check_openai if body is OPENAI else check_anthropic)(broken)


def test_too_many_cache_marks() -> None:
    marked = copy.deepcopy(ANTHROPIC)
    marked["system"] = [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}] * 5
    assert check_anthropic(marked) == ["5 cache marks, 4 are allowed"]
