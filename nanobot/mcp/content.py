"""What a server answers, as results for the model.

Texts are joined; pictures that models take become attachments; other files are kept beside the full results, and the model is
told their paths. Whatever a server says of a file is checked against the file: the type of a picture is told by its first bytes.
"""

from __future__ import annotations

import base64
import binascii
import json
import mimetypes
import re
from collections.abc import Callable, Iterator, Mapping

import attrs
import trio

from nanobot.errors import ToolError
from nanobot.messages import Attachment
from nanobot.tools.plain import visible
from nanobot.tools.port import Result, ToolTurn
from nanobot.tools.results import new_file, write_private
from nanobot.wire import Json, JsonObject

MOST_FILES = 8
"""Of one result: more pictures than that are more than a model looks at."""
LARGEST_IMAGE = 3_750_000
"""Bytes; 5 MB in base64, the least that one of the services of models takes."""
MOST_PARTS = 1000
"""Of one result: real ones have a few."""
PIECE = 16_384
"""Characters that are looked at in one go: some 4 ms, 30 where nothing of them shows."""
NOTHING = "(no output)"
_MAGIC = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF87a": "image/gif", b"GIF89a": "image/gif"}
_TYPE = re.compile(r"[a-z0-9.+-]{1,60}/[a-z0-9.+-]{1,60}")


@attrs.frozen
class Blob:
    data: bytes
    mime: str
    """As the server says, unless it is a picture."""
    name: str


@attrs.frozen
class Answer:
    """Parts in their order: a text stands for itself, a file is to be kept."""

    parts: tuple[str | Blob, ...]
    failed: bool = False


def lean(result: JsonObject) -> JsonObject:
    """A result as the protocol has it, without what is not read here: the SDK looks at every value of it, and that is seconds
    where there are very many. Structured content counts where there is no other, and is text then."""
    made = {key: value for key, value in result.items() if key != "structuredContent"}
    structured = result.get("structuredContent")
    if structured is not None and not made.get("content"):
        made["content"] = [_said(json.dumps(structured, ensure_ascii=False))]
    for key, note in _LEFT_OUT.items():
        parts = _list(made, key)
        if len(parts) > MOST_PARTS:
            made[key] = [*parts[:MOST_PARTS], note(f"[{len(parts) - MOST_PARTS:,} more parts are left out]")]
    return made


def _said(text: str) -> JsonObject:
    return {"type": "text", "text": text}


_LEFT_OUT: Mapping[str, Callable[[str], JsonObject]] = {
    "content": _said,
    "contents": lambda text: {"uri": "nanobot:", "text": text},
    "messages": lambda text: {"role": "user", "content": _said(text)},
}
"""Lists of the results, and how a part of each says something."""


def of_call(result: JsonObject) -> Answer:
    """Of `tools/call`."""
    parts = tuple(part for block in _list(result, "content") for part in _block(block))
    return Answer(parts, result.get("isError") is True)


def of_resource(result: JsonObject) -> Answer:
    """Of `resources/read`."""
    return Answer(tuple(part for one in _list(result, "contents") for part in _contents(one)))


def of_prompt(result: JsonObject) -> Answer:
    """Of `prompts/get`."""
    parts: list[str | Blob] = []
    for message in _list(result, "messages"):
        if isinstance(message, dict):
            parts += [f"[{_text(message, 'role')}]", *_block(message.get("content"))]
    return Answer(tuple(parts))


async def kept(answer: Answer, turn: ToolTurn, tool: str, *, tainted: bool) -> Result:
    """The result, its files on disk. Raises: ToolError where they cannot be kept."""
    texts: list[str] = []
    attachments: list[Attachment] = []
    files = 0
    for part in answer.parts:
        if isinstance(part, str):
            texts.append(await _shown(part))
            continue
        files += 1
        if files > MOST_FILES:
            continue
        attachment = await trio.to_thread.run_sync(_keep, part, turn, tool, tainted)
        shown = attachment.mime in _MAGIC.values() or attachment.mime == "image/webp"
        shown = shown and attachment.size <= LARGEST_IMAGE
        attachments += [attachment] if shown else []
        how = "shown as an image" if shown else f"kept in {attachment.path}"
        texts.append(f"[{attachment.name}: {attachment.mime}, {attachment.size:,} bytes, {how}]")
    if files > MOST_FILES:
        texts.append(f"[{files - MOST_FILES} more files left out: a result may bring {MOST_FILES}]")
    text = "\n".join(texts) or NOTHING
    return Result(f"Error: {text}" if answer.failed else text, tuple(attachments), tainted, answer.failed)


async def _shown(text: str) -> str:
    """Made visible in pieces: the 10 MiB that a message may have would hold everybody for seconds."""
    pieces: list[str] = []
    for start in range(0, len(text), PIECE):
        pieces.append(visible(text[start : start + PIECE]))
        await trio.lowlevel.checkpoint()
    return "".join(pieces)


def _keep(blob: Blob, turn: ToolTurn, tool: str, tainted: bool) -> Attachment:
    """Raises: ToolError."""
    mime = _image_type(blob.data) or (blob.mime if not blob.mime.startswith("image/") else "application/octet-stream")
    try:
        path = new_file(turn, tool, mimetypes.guess_extension(mime) or ".bin", tainted=tainted)
        write_private(path, blob.data)
    except OSError as error:
        raise ToolError(f"{tool} has run, and a file of its result could not be kept: {error.strerror}") from error
    return Attachment(str(path), mime, blob.name, len(blob.data))


def _image_type(data: bytes) -> str | None:
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    return next((mime for magic, mime in _MAGIC.items() if data.startswith(magic)), None)


def _list(value: JsonObject, key: str) -> list[Json]:
    found = value.get(key)
    return found if isinstance(found, list) else []


def _block(block: Json) -> Iterator[str | Blob]:
    if not isinstance(block, dict):
        return
    match block.get("type"):
        case "text":
            yield _text(block, "text")
        case "image" | "audio" as kind:
            yield _blob(_text(block, "data"), _text(block, "mimeType"), str(kind))
        case "resource":
            yield from _contents(block.get("resource"))
        case "resource_link":
            yield f"[{_text(block, 'name') or 'resource'}: {_text(block, 'uri')}] {_text(block, 'description')}".strip()
        case _:
            yield json.dumps(block, ensure_ascii=False)


def _contents(value: Json) -> Iterator[str | Blob]:
    if not isinstance(value, dict):
        return
    uri = _text(value, "uri")
    if isinstance(value.get("blob"), str):
        yield _blob(_text(value, "blob"), _text(value, "mimeType"), uri.rpartition("/")[2] or uri)
    else:
        yield f"[{uri}]\n{_text(value, 'text')}"


def _blob(data: str, mime: str, name: str) -> str | Blob:
    try:
        decoded = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return f"[{visible(name)}: what the server sent is no base64]"
    mime = mime.partition(";")[0].strip().lower()
    return Blob(decoded, mime if _TYPE.fullmatch(mime) else "application/octet-stream", visible(name)[:80] or "file")


def _text(value: JsonObject, key: str) -> str:
    found = value.get(key)
    return found.encode("utf-8", "replace").decode() if isinstance(found, str) else ""
