"""What a server answers, as results for the model."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import trio

from nanobot.mcp import content
from nanobot.messages import CallId, Principal, SessionKey
from nanobot.tools.port import Result, ToolTurn

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20


def coded(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def kept(folder: Path, answer: content.Answer, *, tainted: bool = True) -> Result:
    me = Principal("cli", "default", "direct", "me", owner=True)
    turn = ToolTurn(folder, SessionKey("cli", "direct"), me, CallId("c"), folder / "results")
    return await content.kept(answer, turn, "mcp_s_t", tainted=tainted)


async def of(folder: Path, *blocks: Any, **result: Any) -> Result:
    return await kept(folder, content.of_call(content.lean({"content": list(blocks), **result})))


@pytest.mark.parametrize(
    ("blocks", "also", "text"),
    [
        ([], {}, "(no output)"),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], {}, "a\nb"),
        ([], {"structuredContent": {"n": 1}}, '{"n": 1}'),
        ([{"type": "text", "text": "one"}], {"structuredContent": {"n": 1}}, "one"),
        ([{"type": "resource", "resource": {"uri": "file:///n", "text": "note"}}], {}, "[file:///n]\nnote"),
        ([{"type": "resource_link", "uri": "file:///n", "name": "n"}], {}, "[n: file:///n]"),
        ([{"type": "text"}, 7, {"type": "text", "text": 9}], {}, "\n"),
        ([{"type": "hologram", "x": 1}], {}, '{"type": "hologram", "x": 1}'),
        ([{"type": "text", "text": "a\x1b[2J\u202eb"}], {}, "a<U+001B>[2J<U+202E>b"),
        ([{"type": "text", "text": "\ud800"}], {}, "?"),
        ([{"type": "text", "text": "no"}], {"isError": True}, "Error: no"),
    ],
)
async def test_texts(tmp_path: Path, blocks: list[Any], also: dict[str, Any], text: str) -> None:
    result = await of(tmp_path, *blocks, **also)
    assert (result.text, result.failed, result.tainted) == (text, "isError" in also, True)


@pytest.mark.parametrize(
    ("key", "read"), [("content", content.of_call), ("contents", content.of_resource), ("messages", content.of_prompt)]
)
async def test_a_result_of_very_many_parts_is_cut_and_says_so(tmp_path: Path, key: str, read: Any) -> None:
    result = await kept(tmp_path, read(content.lean({key: [{"type": "text", "text": "a"}] * 5000})))
    assert result.text.endswith("[4,000 more parts are left out]")


async def test_a_large_text_holds_nobody(tmp_path: Path) -> None:
    """As `/stop` sees it: there are moments in between."""
    with trio.move_on_after(0.2) as scope:
        await of(tmp_path, {"type": "text", "text": "\u202e" * 3_000_000})
    assert scope.cancelled_caught
    assert trio.current_time() - scope.deadline < 0.5


async def test_a_picture_is_told_by_its_bytes(tmp_path: Path) -> None:
    result = await of(tmp_path, {"type": "image", "data": coded(PNG), "mimeType": "text/html"})
    [image] = result.attachments
    assert (image.mime, Path(image.path).read_bytes(), Path(image.path).suffix) == ("image/png", PNG, ".png")
    assert Path(image.path).stat().st_mode & 0o777 == 0o600


async def test_a_script_that_is_called_a_picture_is_a_file(tmp_path: Path) -> None:
    result = await of(tmp_path, {"type": "image", "data": coded(b"#!/bin/sh"), "mimeType": "image/png"})
    assert result.attachments == ()
    assert "[image: application/octet-stream, 9 bytes, kept in " in result.text
    assert ".bin" in result.text


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a\x00b", "x" * 500])
async def test_no_name_of_a_server_is_a_path(tmp_path: Path, name: str) -> None:
    blob: Any = {"uri": f"file:///{name}", "blob": coded(b"data"), "mimeType": "application/pdf"}
    await kept(tmp_path, content.of_resource({"contents": [blob]}))
    [file] = (tmp_path / "results").iterdir()
    assert file.name.startswith("mcp_s_t-")


async def test_what_is_no_base64_is_said(tmp_path: Path) -> None:
    result = await of(tmp_path, {"type": "audio", "data": "%%%", "mimeType": "audio/wav"})
    assert result.text == "[audio: what the server sent is no base64]"


async def test_more_pictures_than_anybody_looks_at(tmp_path: Path) -> None:
    result = await of(tmp_path, *[{"type": "image", "data": coded(PNG)}] * 20)
    assert len(result.attachments) == content.MOST_FILES
    assert result.text.endswith("[12 more files left out: a result may bring 8]")


async def test_a_picture_too_large_for_models_is_kept_as_a_file(tmp_path: Path) -> None:
    result = await of(tmp_path, {"type": "image", "data": coded(PNG + b"\0" * content.LARGEST_IMAGE)})
    assert result.attachments == ()
    assert "kept in" in result.text


async def test_prompts_and_resources(tmp_path: Path) -> None:
    message: Any = {"role": "user", "content": {"type": "text", "text": "Write a poem."}}
    assert (await kept(tmp_path, content.of_prompt({"messages": [message]}))).text == "[user]\nWrite a poem."
    contents: Any = {"contents": [{"uri": "file:///a", "text": "A"}]}
    assert (await kept(tmp_path, content.of_resource(contents))).text == "[file:///a]\nA"
