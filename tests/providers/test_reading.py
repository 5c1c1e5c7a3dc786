"""Reading what a service sends, whatever it is and however it is cut into pieces."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from nanobot.providers import anthropic, openai_chat, payload
from nanobot.providers.anthropic_wire import AnthropicWire
from nanobot.providers.faults import Service
from nanobot.providers.openai_wire import OpenAIWire
from nanobot.providers.port import ProviderError
from nanobot.providers.registry import BY_NAME

SERVICE = Service("acme", "m", "providers.acme.apiKey")
FIRST, SECOND = b'{"a": 1}', b"[DONE]"


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_come_whole_from_any_pieces(newline: bytes, size: int) -> None:
    lines = [b"event: x", b"data: " + FIRST, b"", b": a comment", b"", b"data:" + SECOND, b"", b"data: unfinished"]
    stream = newline.join(lines)
    reader = payload.EventReader()
    got = [data for at in range(0, len(stream), size) for data in reader.feed(stream[at : at + size])]
    assert got == [FIRST, SECOND]


def test_an_event_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payload, "MAX_EVENT", 100)
    with pytest.raises(payload.BodyTooLong):
        list(payload.EventReader().feed(b"data: " + b"x" * 200))


async def test_a_body_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payload, "MAX_EVENT", 100)

    async def endless() -> AsyncIterator[bytes]:
        while True:
            await trio.lowlevel.checkpoint()
            yield b"x" * 50

    with pytest.raises(payload.BodyTooLong):
        await payload.read_body(endless(), lambda: None)


# --- events of any shape ---

KEYS = (
    *("type", "index", "delta", "message", "usage", "content_block", "error", "choices", "finish_reason", "stop_reason"),
    *("tool_calls", "function", "name", "arguments", "id", "content", "text", "thinking", "reasoning_content", "input"),
    *("model", "code", "input_tokens", "prompt_tokens", "prompt_tokens_details", "data", "signature"),
)
WORDS = (
    *("text", "tool_use", "thinking", "redacted_thinking", "text_delta", "input_json_delta"),
    *("content_block_start", "content_block_delta", "message_start", "message_delta"),
)
leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.sampled_from(WORDS))
shapes: st.SearchStrategy[Any] = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6), max_leaves=20
)


def openai_answer(feed: Callable[[openai_chat.Answer], object]) -> None:
    answer = openai_chat.Answer(SERVICE, lambda _delta: None)
    feed(answer)
    answer.completion(OpenAIWire(BY_NAME["openai"]), "m")


def anthropic_answer(feed: Callable[[anthropic.Answer], object]) -> None:
    answer = anthropic.Answer(SERVICE, lambda _delta: None)
    feed(answer)
    answer.completion(AnthropicWire(BY_NAME["anthropic"]), "m")


@settings(deadline=None)
@pytest.mark.parametrize("read", [openai_answer, anthropic_answer])
@given(st.lists(shapes, max_size=4))
def test_events_of_any_shape_are_read_or_refused(read: Callable[..., None], events: list[Any]) -> None:
    try:
        read(lambda answer: [answer.event(json.dumps(event).encode()) for event in events])
    except (ValueError, ProviderError):
        pass  # what the adapters translate; anything else is a bug


@settings(deadline=None)
@pytest.mark.parametrize("read", [openai_answer, anthropic_answer])
@given(shapes)
def test_bodies_of_any_shape_are_read_or_refused(read: Callable[..., None], body: Any) -> None:
    try:
        read(lambda answer: answer.whole(json.loads(json.dumps(body))))
    except (ValueError, ProviderError):
        pass
