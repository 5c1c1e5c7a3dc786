"""Our conversation in the dialect of chat completions: pure functions from `Request` to a request's body.

The prefix of a body is the same bytes from call to call: what an entry becomes depends on nothing but the entry, the runtime
block comes last, and content is a plain string unless there are images or cache marks (not every service takes lists).
Results of tools take no images on this wire, so these follow in a user message.

Mistral refuses a user message right after a tool result (code 3230, goose issue 5998): there the runtime block ends the
result, and what somebody said stands behind a word of the assistant's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache

import attrs

from nanobot.messages import Attachment, Call, Entry, Note, Reply, Said
from nanobot.providers import models, reasoning
from nanobot.providers.history import (
    CONTINUED,
    EMPTY,
    GO_ON,
    Kept,
    Origin,
    arguments_text,
    clean,
    file_line,
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

NAME = "openai_chat"
DETAILS = "reasoning_details"
"""The field for reasoning that holds a list of parts."""
MARK: JsonObject = {"cache_control": {"type": "ephemeral"}}
HEARD = "(noted)"


@attrs.frozen
class Converted:
    """An entry in the dialect. User messages hold a list of parts until they are joined with their neighbours."""

    messages: tuple[JsonObject, ...]
    ids: tuple[str, ...] = ()


@attrs.define
class OpenAIWire:
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
        marked = self.spec.cache_marks and "claude" in model.lower()
        messages = self._messages(request, images, marked=marked)
        if reasoning.thinks(self.spec, model, params.effort):
            messages = [_backfilled(message) for message in messages]
        body: JsonObject = {"model": model, "messages": messages}
        if request.tools:
            body["tools"] = _tools(request.tools, marked=marked)
            if request.no_tools:
                body["tool_choice"] = "none"
        long_name = self.spec.completion_tokens or models.openai_reasons(model)
        body["max_completion_tokens" if long_name else "max_tokens"] = params.max_tokens
        optional: JsonObject = {
            "temperature": models.openai_temperature(model, params),
            "prompt_cache_key": (request.cache_key or None) if self.spec.cache_key else None,
        }
        body.update({name: value for name, value in optional.items() if value is not None})
        body.update(reasoning.fields(self.spec, model, params.effort, tools=bool(request.tools)))
        body["stream"] = request.stream
        if request.stream and self.spec.stream_options:
            body["stream_options"] = {"include_usage": True}
        return body | _extra(params.extra_body)

    def _messages(self, request: Request, images: Images, *, marked: bool) -> list[Json]:
        joined = _Joined(self.spec.assistant_after_tool)
        if visible(request.system):
            text = clean(request.system)
            joined.messages.append({"role": "system", "content": [_text(text) | MARK] if marked else text})
        taken: set[str] = set()
        for entry in request.entries:
            converted = self._convert(entry, images, taken)
            taken.update(converted.ids)
            for message in converted.messages:
                joined.add(message)
        if marked:
            joined.mark()
        joined.finish(request.runtime)
        return joined.messages

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
                return Converted((_user(_said(entry, images)),))
            case Note():
                return Converted((_user([_text(note(entry.text))]),))
            case Reply():
                return self._reply(entry, images, legal_ids(entry.calls, taken, nine_chars=self.spec.nine_chars))

    def _reply(self, reply: Reply, images: Images, ids: tuple[str, ...]) -> Converted:
        text = visible(reply.text)
        if not reply.calls and not text:
            return Converted(())  # an empty answer: nothing to replay
        message: JsonObject = {"role": "assistant", "content": text or None}
        message |= self._reasoning(reply)
        if not reply.calls:
            return Converted((message,))
        message["tool_calls"] = [self._call(call, legal) for call, legal in zip(reply.calls, ids, strict=True)]
        results = [_result(call, legal, images) for call, legal in zip(reply.calls, ids, strict=True)]
        shown: list[Json] = [_image(images, one) for call in reply.calls for one in call.attachments if one in images]
        return Converted((message, *results, *([_user(shown)] if shown else [])), ids)

    def _reasoning(self, reply: Reply) -> JsonObject:
        """Reasoning goes back to the service that wrote it, in the field it used."""
        fields: JsonObject = {}
        for one in reply.thinking if self.spec.reasoning_field else ():
            field = self.origin.open(one.opaque) if one.provider == NAME else None
            if isinstance(field, str) and field:  # none for what stood in the text
                text = clean(one.text)
                fields[field] = [{"type": "reasoning.text", "text": text}] if field == DETAILS else text
        return fields

    def _call(self, call: Call, legal: str) -> Json:
        extra = self.origin.open(call.extra)
        function: JsonObject = {"name": legal_name(call.name), "arguments": arguments_text(call.arguments)}
        known: JsonObject = {"id": legal, "type": "function", "function": function}
        return (extra | known) if isinstance(extra, dict) else known


class _Joined:
    """Messages in order, neighbours of one role made one."""

    def __init__(self, assistant_after_tool: bool) -> None:
        self._assistant_after_tool = assistant_after_tool
        self.messages: list[Json] = []
        self._parts: list[Json] = []

    def add(self, message: JsonObject) -> None:
        content = message["content"]
        if message["role"] == "user" and isinstance(content, list):
            self._parts += content
            return
        if message["role"] == "assistant" and not self._parts and self._begins():
            self._parts.append(_text(CONTINUED))
        self._flush()
        last = self.messages[-1] if self.messages else None
        if message["role"] == "assistant" and isinstance(last, dict) and last["role"] == "assistant":
            self.messages[-1] = _together(last, message)
        else:
            self.messages.append(message)

    def finish(self, runtime: str) -> None:
        """The last message is the user's and ends with the runtime block."""
        if visible(runtime) and self._assistant_after_tool and not self._parts and self._after_tool():
            self.messages[-1] = _ending(self.messages[-1], runtime)
        elif visible(runtime):
            self._parts.append(_text(clean(runtime)))
        elif not self._parts and self._begins():
            self._parts.append(_text(CONTINUED))
        elif not self._parts and _role(self.messages[-1]) == "assistant":
            self._parts.append(_text(GO_ON))
        self._flush()

    def mark(self) -> None:
        """Put a cache mark on the last of the history, before the runtime block."""
        if self._parts:
            text = _plain(self._parts)
            parts = self._parts if text is None else [_text(text)]
            self._parts = [*parts[:-1], _marked(parts[-1])]
        elif self.messages and not self._begins():
            last = self.messages[-1]
            if isinstance(last, dict) and isinstance(last["content"], str):
                self.messages[-1] = last | {"content": [_text(last["content"]) | MARK]}

    def _after_tool(self) -> bool:
        return bool(self.messages) and _role(self.messages[-1]) == "tool"

    def _begins(self) -> bool:
        return not self.messages or _role(self.messages[-1]) == "system"

    def _flush(self) -> None:
        if not self._parts:
            return
        if self._assistant_after_tool and self._after_tool():
            self.messages.append({"role": "assistant", "content": HEARD})
        text = _plain(self._parts)
        self.messages.append({"role": "user", "content": self._parts if text is None else text})
        self._parts = []


def _plain(parts: list[Json]) -> str | None:
    """The parts as one text, None if they are more than that."""
    texts = [part["text"] for part in parts if isinstance(part, dict) and part.keys() == {"type", "text"}]
    return "\n\n".join(map(str, texts)) if len(texts) == len(parts) else None


def _marked(part: Json) -> Json:
    return part | MARK if isinstance(part, dict) else part


def _ending(message: Json, runtime: str) -> Json:
    return message | {"content": f"{message['content']}\n\n{clean(runtime)}"} if isinstance(message, dict) else message


def _backfilled(message: Json) -> Json:
    if not isinstance(message, dict) or message["role"] != "assistant":
        return message
    return {"reasoning_content": ""} | message


def _role(message: Json) -> Json:
    return message["role"] if isinstance(message, dict) else None


def _together(first: JsonObject, second: JsonObject) -> JsonObject:
    texts = [text for text in (first["content"], second["content"]) if isinstance(text, str)]
    return first | second | {"content": "\n\n".join(texts) or None}


def _user(parts: list[Json]) -> JsonObject:
    return {"role": "user", "content": parts}


def _text(text: str) -> JsonObject:
    return {"type": "text", "text": text}


def _image(images: Images, one: Attachment) -> JsonObject:
    image = images[one]
    return {"type": "image_url", "image_url": {"url": f"data:{image.mime};base64,{image.data}"}}


def _said(said: Said, images: Images) -> list[Json]:
    """Images first, then the text with a line for every other file."""
    shown: list[Json] = [_image(images, one) for one in said.attachments if one in images]
    lines = [file_line(one) for one in said.attachments if one not in images]
    said_text = note(said.text) if said.ours else visible(said.text)
    text = "\n".join(filter(None, (said_text, *lines)))
    if text or not shown:
        shown.append(_text(text or EMPTY))
    return shown


def _result(call: Call, legal: str, images: Images) -> JsonObject:
    lines = [file_line(one) for one in call.attachments if one not in images]
    return {"role": "tool", "tool_call_id": legal, "content": "\n".join([result_text(call), *lines])}


@lru_cache(maxsize=64)
def _tools(tools: tuple[ToolSpec, ...], *, marked: bool) -> list[Json]:
    described: list[JsonObject] = [{"type": "function", "function": _function(tool)} for tool in tools]
    if marked:
        described[-1] |= MARK
    return list[Json](described)


def _function(tool: ToolSpec) -> JsonObject:
    return {"name": tool.name, "description": spoken(tool.description), "parameters": json.loads(tool.schema)}


@lru_cache(maxsize=64)
def _extra(extra_body: str) -> JsonObject:
    extra: Json = json.loads(extra_body) if extra_body else {}
    return extra if isinstance(extra, dict) else {}
