"""What the real services refuse: checks of a request body against the rules that both vendors document.

Each function returns the list of rules that are broken, empty for a legal body. The scripted model server runs them on
every request, so that no test can pass with a history that a real service would answer with status 400.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

Body = dict[str, Any]
CALL_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
NINE_CHARS = re.compile(r"[A-Za-z0-9]{9}")
TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")


def check_openai(body: Body) -> list[str]:
    messages = body.get("messages") or []
    return [
        *_common(body, messages, allowed={"system", "user", "assistant", "tool"}),
        *(f"message {n}: {fault}" for n, message in enumerate(messages) for fault in _openai_message(message)),
        *_openai_order(messages),
        *_unique_ids([call.get("id", "") for message in messages for call in message.get("tool_calls") or []]),
    ]


def check_mistral(body: Body) -> list[str]:
    """Mistral speaks OpenAI's wire, and takes less of it."""
    messages = body.get("messages") or []
    ids = [call["id"] for message in messages for call in message.get("tool_calls") or []]
    return [
        *check_openai(body),
        *(f"call id {one!r} is not nine letters and digits" for one in ids if not NINE_CHARS.fullmatch(one)),
        *(
            f"message {n}: a user message right after a tool result"
            for n, (one, two) in enumerate(itertools.pairwise(messages))
            if (one["role"], two["role"]) == ("tool", "user")
        ),
    ]


def check_anthropic(body: Body) -> list[str]:
    messages = body.get("messages") or []
    blocks = [block for message in messages for block in message["content"] if isinstance(message["content"], list)]
    marks = str(body).count("'cache_control'")
    return [
        *_common(body, messages, allowed={"user", "assistant"}),
        *(f"message {n}: {fault}" for n, message in enumerate(messages) for fault in _anthropic_message(message)),
        *_anthropic_order(messages),
        *_unique_ids([block["id"] for block in blocks if block.get("type") == "tool_use"]),
        *([] if marks <= 4 else [f"{marks} cache marks, 4 are allowed"]),
        *([] if isinstance(body.get("max_tokens"), int) else ["max_tokens is missing"]),
    ]


def _common(body: Body, messages: Sequence[Body], allowed: set[str]) -> Iterator[str]:
    if not body.get("model"):
        yield "no model"
    if not messages:
        yield "no messages"
        return
    for n, message in enumerate(messages):
        if message.get("role") not in allowed:
            yield f"message {n}: role {message.get('role')!r}"
    said = [message["role"] for message in messages if message["role"] != "system"]
    if said[:1] != ["user"]:
        yield "the conversation does not begin with a user message"
    if said[-1:] == ["assistant"]:
        yield "the last message is the assistant's"
    if any(one == two != "tool" for one, two in itertools.pairwise(said)):
        yield f"two messages of one role in a row: {said}"
    yield from _tools(body.get("tools"))


def _tools(tools: list[Body] | None) -> Iterator[str]:
    if tools is None:
        return
    if not tools:
        yield "an empty list of tools"
    names = [tool.get("function", tool).get("name", "") for tool in tools]
    if len(set(names)) < len(names):
        yield "two tools of one name"
    yield from (f"tool name {name!r}" for name in names if not TOOL_NAME.fullmatch(name))


def _unique_ids(ids: Sequence[str]) -> Iterator[str]:
    if len(set(ids)) < len(ids):
        yield f"call ids are not unique: {ids}"
    yield from (f"illegal call id {one!r}" for one in ids if not CALL_ID.fullmatch(one))


def _is_object(arguments: object) -> bool:
    try:
        return isinstance(arguments, str) and isinstance(json.loads(arguments), dict)
    except ValueError:
        return False


def _openai_message(message: Body) -> Iterator[str]:
    content, calls = message.get("content"), message.get("tool_calls")
    if calls == []:
        yield "an empty list of calls"
    if not content and not (message["role"] == "assistant" and calls and content is None):
        yield "empty content"
    for part in content if isinstance(content, list) else []:
        if part["type"] == "text" and not part["text"]:
            yield "empty text part"
        if part["type"] == "image_url" and message["role"] != "user":
            yield "an image outside a user message"
    for call in calls or []:
        if not TOOL_NAME.fullmatch(call["function"]["name"]):
            yield f"call name {call['function']['name']!r}"
        if not _is_object(call["function"]["arguments"]):
            yield f"arguments are no object: {call['function']['arguments']!r}"


def _openai_order(messages: Sequence[Body]) -> Iterator[str]:
    """Each assistant message with calls is followed at once by exactly one result per call, in any order."""
    owed: list[str] = []
    for n, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in owed:
                yield f"message {n}: a result without a call ({message['tool_call_id']})"
            else:
                owed.remove(message["tool_call_id"])
        elif owed:
            yield f"message {n}: calls without results: {owed}"
            owed = []
        owed += [call["id"] for call in message.get("tool_calls") or []]
    if owed:
        yield f"calls without results at the end: {owed}"


def _anthropic_message(message: Body) -> Iterator[str]:
    content = message["content"]
    if not content:
        yield "empty content"
    for block in content if isinstance(content, list) else []:
        match block["type"]:
            case "text" if not block["text"].strip():
                yield "blank text block"
            case "tool_use" if not isinstance(block["input"], dict) or not TOOL_NAME.fullmatch(block["name"]):
                yield f"bad call {block}"
            case "tool_result" if block.get("content") == []:
                yield "empty result"
            case "thinking" if not block.get("signature"):
                yield "a thinking block without its signature"


def _anthropic_order(messages: Sequence[Body]) -> Iterator[str]:
    """The user message after calls holds exactly their results, and holds them first."""
    owed: list[str] = []
    for n, message in enumerate(messages):
        blocks = message["content"] if isinstance(message["content"], list) else []
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        if sorted(results) != sorted(owed):
            yield f"message {n}: results {results} for calls {owed}"
        if any(block["type"] != "tool_result" for block in blocks[: len(results)]):
            yield f"message {n}: results do not come first"
        owed = [block["id"] for block in blocks if block["type"] == "tool_use"]
    if owed:
        yield f"calls without results at the end: {owed}"
