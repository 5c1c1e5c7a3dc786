"""Our conversation in the dialect of Anthropic's messages: pure functions from `Request` to a request's body.

The prefix of a body is the same from call to call but for the cache marks, which move and do not count: one on the system
prompt, one on the last tool, one on the last block of history, before the runtime block, which is never part of a prefix.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache

import attrs

from nanobot.messages import Attachment, Call, Entry, Note, Reply, Said, Thinking
from nanobot.providers import models
from nanobot.providers.history import (
    CONTINUED,
    EMPTY,
    GO_ON,
    Kept,
    Origin,
    arguments_object,
    clean,
    file_line,
    is_error,
    legal_ids,
    legal_name,
    note,
    result_text,
    spoken,
    visible,
)
from nanobot.providers.images import Images
from nanobot.providers.port import Request, ToolSpec
from nanobot.providers.registry import Spec
from nanobot.wire import Json, JsonObject

NAME = "anthropic"
MARK: JsonObject = {"type": "ephemeral"}


@attrs.frozen
class Converted:
    """An entry in the dialect: runs of blocks, each with its role."""

    runs: tuple[tuple[str, tuple[JsonObject, ...]], ...]
    ids: tuple[str, ...] = ()


@attrs.define
class AnthropicWire:
    """The dialect for one row of the registry."""

    spec: Spec
    _kept: Kept[Converted] = attrs.field(factory=Kept)

    @property
    def origin(self) -> Origin:
        return Origin(self.spec.name)

    def unseen(self, entries: Sequence[Entry]) -> list[Entry]:
        """Entries that were not converted yet: their images must be loaded."""
        return [entry for entry in entries if self._kept.get(entry) is None]

    def body(self, request: Request, images: Images) -> JsonObject:
        """The whole body. It shares values with later bodies: send it, do not change it."""
        model, params = request.model, request.params
        thinking = models.claude_thinking(model, params)
        body: JsonObject = {"model": model, "max_tokens": models.claude_max_tokens(params, thinking)}
        if visible(request.system):
            body["system"] = [_text(clean(request.system)) | {"cache_control": MARK}]
        if request.tools:
            body["tools"] = _tools(request.tools)
            if request.no_tools:
                body["tool_choice"] = {"type": "none"}
        body["messages"] = self._messages(request, images)
        temperature = models.claude_temperature(model, params)
        if temperature is not None:
            body["temperature"] = temperature
        return body | _thinking_fields(thinking) | {"stream": request.stream} | _extra(params.extra_body)

    def _messages(self, request: Request, images: Images) -> list[Json]:
        joined = _Joined()
        taken: set[str] = set()
        for entry in request.entries:
            converted = self._convert(entry, images, taken)
            taken.update(converted.ids)
            for role, blocks in converted.runs:
                joined.add(role, blocks)
        return joined.finish(request.runtime)

    def _convert(self, entry: Entry, images: Images, taken: set[str]) -> Converted:
        converted = self._kept.get(entry)
        if converted is None:
            converted = self._fresh(entry, images, ())
            self._kept.put(entry, converted)
        if not taken.isdisjoint(converted.ids):
            return self._fresh(entry, images, taken)
        return converted

    def _fresh(self, entry: Entry, images: Images, taken: Iterable[str]) -> Converted:
        match entry:
            case Said():
                return Converted((("user", _said(entry, images)),))
            case Note():
                return Converted((("user", (_text(note(entry.text)),)),))
            case Reply():
                return self._reply(entry, images, legal_ids(entry.calls, taken))

    def _reply(self, reply: Reply, images: Images, ids: tuple[str, ...]) -> Converted:
        text = visible(reply.text)
        if not reply.calls and not text:
            return Converted(())  # an empty answer: nothing to replay
        thought = [block for one in reply.thinking for block in self._thinking(one)]
        pairs = list(zip(reply.calls, ids, strict=True))
        assistant = ("assistant", (*thought, *([_text(text)] if text else []), *(_use(call, legal) for call, legal in pairs)))
        if not pairs:
            return Converted((assistant,))
        return Converted((assistant, ("user", tuple(_result(call, legal, images) for call, legal in pairs))), ids)

    def _thinking(self, one: Thinking) -> Iterable[JsonObject]:
        """A block of thinking goes back unchanged to the service that signed it, and nowhere else."""
        block = self.origin.open(one.opaque) if one.provider == NAME else None
        if isinstance(block, dict) and block.get("type") == "redacted_thinking" and block.get("data"):
            yield block
        elif isinstance(block, dict) and block.get("type") == "thinking" and block.get("signature"):
            yield {"type": "thinking", "thinking": clean(one.text), "signature": block["signature"]}


class _Joined:
    """Blocks in order, neighbours of one role in one message."""

    def __init__(self) -> None:
        self._messages: list[tuple[str, list[JsonObject]]] = []

    def add(self, role: str, blocks: Sequence[JsonObject]) -> None:
        if role == "assistant" and not self._messages:
            self.add("user", (_text(CONTINUED),))
        if self._messages and self._messages[-1][0] == role:
            self._messages[-1][1].extend(blocks)
        else:
            self._messages.append((role, list(blocks)))

    def finish(self, runtime: str) -> list[Json]:
        """The last message is the user's and ends with the runtime block; the block before that is marked."""
        self._mark()
        if visible(runtime):
            self.add("user", (_text(clean(runtime)),))
        elif not self._messages:
            self.add("user", (_text(CONTINUED),))
        elif self._messages[-1][0] == "assistant":
            self.add("user", (_text(GO_ON),))
        return [{"role": role, "content": list[Json](blocks)} for role, blocks in self._messages]

    def _mark(self) -> None:
        if self._messages:
            blocks = self._messages[-1][1]
            if blocks[-1]["type"] not in ("thinking", "redacted_thinking"):
                blocks[-1] = blocks[-1] | {"cache_control": MARK}


def _text(text: str) -> JsonObject:
    return {"type": "text", "text": text}


def _image(images: Images, one: Attachment) -> JsonObject:
    image = images[one]
    return {"type": "image", "source": {"type": "base64", "media_type": image.mime, "data": image.data}}


def _said(said: Said, images: Images) -> tuple[JsonObject, ...]:
    """Images first, then the text with a line for every other file."""
    shown = [_image(images, one) for one in said.attachments if one in images]
    lines = [file_line(one) for one in said.attachments if one not in images]
    said_text = note(said.text) if said.ours else visible(said.text)
    text = "\n".join(filter(None, (said_text, *lines)))
    if text or not shown:
        shown.append(_text(text or EMPTY))
    return tuple(shown)


def _use(call: Call, legal: str) -> JsonObject:
    return {"type": "tool_use", "id": legal, "name": legal_name(call.name), "input": arguments_object(call.arguments)}


def _result(call: Call, legal: str, images: Images) -> JsonObject:
    lines = [file_line(one) for one in call.attachments if one not in images]
    text = "\n".join([result_text(call), *lines])
    shown: list[Json] = [_image(images, one) for one in call.attachments if one in images]
    content: Json = [_text(text), *shown] if shown else text
    result: JsonObject = {"type": "tool_result", "tool_use_id": legal, "content": content}
    return result | {"is_error": True} if is_error(call) else result


def _thinking_fields(thinking: models.ClaudeThinking) -> JsonObject:
    fields: JsonObject = {}
    if thinking.kind:
        asked: JsonObject = {"type": thinking.kind}
        fields["thinking"] = asked | {"budget_tokens": thinking.budget} if thinking.budget else asked
    if thinking.effort:
        fields["output_config"] = {"effort": thinking.effort}
    return fields


@lru_cache(maxsize=64)
def _tools(tools: tuple[ToolSpec, ...]) -> list[Json]:
    described = [_tool(tool) for tool in tools]
    described[-1]["cache_control"] = MARK
    return list[Json](described)


def _tool(tool: ToolSpec) -> JsonObject:
    return {"name": tool.name, "description": spoken(tool.description), "input_schema": json.loads(tool.schema)}


@lru_cache(maxsize=64)
def _extra(extra_body: str) -> JsonObject:
    extra: Json = json.loads(extra_body) if extra_body else {}
    return extra if isinstance(extra, dict) else {}
