"""Any conversation that our types can hold becomes one that both vendors accept, and says what it must say."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from nanobot.messages import Attachment, Call, CallId, CallState, Entry, MessageId, Note, Reply, Said, Thinking
from nanobot.pictures import LARGEST
from nanobot.providers import history, images
from nanobot.providers.anthropic_wire import AnthropicWire
from nanobot.providers.openai_wire import OpenAIWire
from nanobot.providers.payload import encode
from nanobot.providers.port import ModelParams, Request
from nanobot.providers.registry import BY_NAME
from tests.fakes.legal import check_anthropic, check_mistral, check_openai
from tests.providers.support import PNG, TOOLS, ask, done, rounds, said

Body = dict[str, Any]


def openai_body(request: Request, shown: images.Images | None = None) -> Body:
    return json.loads(encode(OpenAIWire(BY_NAME["openai"]).body(request, shown or {})))  # type: ignore[no-any-return]


def anthropic_body(request: Request, shown: images.Images | None = None) -> Body:
    return json.loads(encode(AnthropicWire(BY_NAME["anthropic"]).body(request, shown or {})))  # type: ignore[no-any-return]


BODIES: dict[str, Callable[..., Body]] = {"openai": openai_body, "anthropic": anthropic_body}
WIRE = pytest.mark.parametrize("wire", BODIES)

# --- any conversation ---

texts = st.one_of(st.text(max_size=20), st.sampled_from(["", " ", "\n", "\ud800", "a\udfffb", "\ud83d\ude00", "ok"]))
files = st.builds(Attachment, texts, st.sampled_from(["image/png", "text/plain", "image/svg+xml"]), texts, st.just(1))
opaque = st.sampled_from(
    [
        "",
        "no json",
        "[]",
        '{"anthropic":{"type":"thinking","signature":"s"}}',
        '{"anthropic":{"type":"thinking","signature":""}}',
        '{"anthropic":{"type":"redacted_thinking","data":"d"}}',
        '{"openai":"reasoning_content"}',
        '{"openai":{"extra_content":{"x":1}}}',
        '{"openai":7}',
    ]
)
thoughts = st.builds(Thinking, st.sampled_from(["anthropic", "openai_chat", "other"]), texts, opaque)
arguments = st.one_of(
    texts,
    st.sampled_from(["{}", '{"a":1}', '{"a"', "[1]", "null", "NaN", '{"a":NaN}', '"{\\"a\\":1}"', '{"a":"\\ud800"}', "[" * 3000]),
)
ids = st.one_of(st.sampled_from(["a", "a_2", "a.b", "a_b", "", "x" * 80]), texts)
calls = st.builds(
    lambda identity, name, args, state, result, extra, attached: Call(
        CallId(identity), name, args, state=state, result=result, extra=extra, attachments=attached
    ),
    ids,
    st.sampled_from(["exec", "", "mcp.tool/x", "n" * 90, "名"]),
    arguments,
    st.sampled_from(list(CallState)),
    texts,
    opaque,
    st.lists(files, max_size=1).map(tuple),
)
entries = st.one_of(
    st.builds(lambda text, attached: said(text, attachments=attached), texts, st.lists(files, max_size=2).map(tuple)),
    st.builds(
        Reply,
        texts,
        st.lists(calls, max_size=3).map(tuple),
        st.lists(thoughts, max_size=2).map(tuple),
    ),
    st.builds(lambda text: Note(text, 0.0), texts),
)


@settings(deadline=None)
@given(st.lists(entries, max_size=8).map(tuple), texts, texts, st.booleans())
def test_any_conversation_is_legal_on_both_wires(some: tuple[Entry, ...], system: str, runtime: str, show: bool) -> None:
    request = Request("m", system, some, TOOLS, runtime=runtime)
    attached = [one for entry in some for one in images.attachments(entry)] if show else []
    shown = {one: images.Image("image/png", "AAAA") for one in attached if one.mime == "image/png"}
    assert check_openai(openai_body(request, shown)) == []
    assert check_anthropic(anthropic_body(request, shown)) == []
    assert check_mistral(json.loads(encode(OpenAIWire(BY_NAME["mistral"]).body(request, shown)))) == []
    claude = attrs.evolve(request, model="anthropic/claude-x")
    assert check_openai(json.loads(encode(OpenAIWire(BY_NAME["openrouter"]).body(claude, shown)))) == []


# --- what it says ---


def every_text(body: Body) -> str:
    return json.dumps(body["messages"], ensure_ascii=False)


@WIRE
@pytest.mark.parametrize(
    ("state", "says"),
    [
        (CallState.DONE, "the result"),
        (CallState.FAILED, "the result"),
        (CallState.REFUSED, "the result"),
        (CallState.CUT, "Stopped before it finished"),
        (CallState.NOT_RUN, "Not run"),
        (CallState.DEFERRED, "the result"),
        (CallState.UNKNOWN_AFTER_CRASH, "It is not known whether this ran"),
    ],
)
def test_outcome_of_a_call_is_told(wire: str, state: CallState, says: str) -> None:
    call = attrs.evolve(done("one", "the result"), state=state)
    text = every_text(BODIES[wire](ask(said("go"), Reply("", (call,)))))
    assert says in text
    assert "the result" in text


def test_failed_calls_are_marked_on_the_wire_that_can() -> None:
    call = attrs.evolve(done("one"), state=CallState.FAILED)
    (block,) = (
        b for m in anthropic_body(ask(said("go"), Reply("", (call,))))["messages"] for b in m["content"] if "is_error" in b
    )
    assert block["is_error"] is True


@WIRE
def test_note_is_marked_as_ours(wire: str) -> None:
    text = every_text(BODIES[wire](ask(said("hello"), Note("stopped", 0.0))))
    assert "[system note, not written by the user: stopped]" in text


@WIRE
def test_runtime_block_is_the_last_of_all(wire: str) -> None:
    for some in ((said("hello"),), (said("hello"), Reply("", (done("one"),))), (said("hello"), Reply("hi"))):
        last = BODIES[wire](ask(*some, runtime="Time: noon"))["messages"][-1]
        end = last["content"] if isinstance(last["content"], str) else last["content"][-1]["text"]
        assert last["role"] == "user"
        assert end.endswith("Time: noon")


@WIRE
def test_calls_of_one_id_get_ids_of_their_own(wire: str) -> None:
    request = ask(said("go"), Reply("", (done("a"), done("a"))), Reply("", (done("a"),)), said("more"))
    body = BODIES[wire](request)
    assert {"openai": check_openai, "anthropic": check_anthropic}[wire](body) == []


@WIRE
@pytest.mark.parametrize(
    ("written", "replayed"),
    [
        ('{"a": 1}', {"a": 1}),
        ("", {}),
        ('{"a": ', {"arguments": '{"a": '}),
        ("[1]", {"arguments": [1]}),
        ('"{\\"a\\": 1}"', {"a": 1}),
    ],
)
def test_arguments_are_replayed_as_an_object(wire: str, written: str, replayed: Body) -> None:
    body = BODIES[wire](ask(said("go"), Reply("", (done("one", arguments=written),))))
    if wire == "openai":
        assert json.loads(body["messages"][2]["tool_calls"][0]["function"]["arguments"]) == replayed
    else:
        assert body["messages"][1]["content"][0]["input"] == replayed


async def test_images_are_shown_and_other_files_named(tmp_path: Path) -> None:
    good, large, text = tmp_path / "good", tmp_path / "large", tmp_path / "notes.txt"
    good.write_bytes(PNG)
    large.write_bytes(PNG + bytes(LARGEST))
    text.write_text("hello")
    attached = tuple(
        Attachment(str(path), mime, path.name, path.stat().st_size if path.exists() else 1)
        for path, mime in ((good, "image/jpeg"), (large, "image/png"), (tmp_path / "gone", "image/png"), (text, "text/plain"))
    )
    request = ask(said("look", attachments=attached))
    shown = await images.load(request.entries)
    assert {(Path(one.path).name, image.mime) for one, image in shown.items()} == {("good", "image/png")}
    for body in (openai_body(request, shown), anthropic_body(request, shown)):
        told = json.dumps(body["messages"])
        assert [f"[file: {path}" in told for path in (large, tmp_path / "gone", text, good)] == [True, True, True, False]
        assert f"[file: {large}, an image of 3.75 MB: not shown, the limit is 3.75 MB]" in told
    assert openai_body(request, shown)["messages"][1]["content"][0]["image_url"]["url"].startswith("data:image/png;base64,")
    assert anthropic_body(request, shown)["messages"][0]["content"][0]["source"]["media_type"] == "image/png"


async def test_images_in_results_follow_where_the_wire_takes_them(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    shot = Attachment(str(tmp_path / "a.png"), "image/png", "a.png", len(PNG))
    request = ask(said("look"), Reply("", (attrs.evolve(done("one"), attachments=(shot,)),)))
    shown = await images.load(request.entries)
    after = openai_body(request, shown)["messages"][-1]
    assert (after["role"], [part["type"] for part in after["content"]]) == ("user", ["image_url", "text"])
    result = anthropic_body(request, shown)["messages"][-1]["content"][0]
    assert (result["type"], [part["type"] for part in result["content"]]) == ("tool_result", ["text", "image"])


def test_empty_answers_are_not_replayed() -> None:
    for body in (openai_body(ask(said("a"), Reply(""), said("b"))), anthropic_body(ask(said("a"), Reply(""), said("b")))):
        assert [message["role"] for message in body["messages"] if message["role"] != "system"] == ["user"]


# --- parameters ---


@pytest.mark.parametrize("wire", BODIES)
def test_extra_body_goes_in_last(wire: str) -> None:
    request = attrs.evolve(ask(), params=ModelParams(extra_body='{"stream": false, "service_tier": "flex"}'))
    body = BODIES[wire](request)
    assert (body["stream"], body["service_tier"]) == (False, "flex")


@WIRE
def test_last_call_keeps_the_tools_and_forbids_them(wire: str) -> None:
    body = BODIES[wire](attrs.evolve(ask(), no_tools=True))
    assert len(body["tools"]) == len(TOOLS)
    assert body["tool_choice"] == {"openai": "none", "anthropic": {"type": "none"}}[wire]


def test_cache_marks_and_key() -> None:
    body = anthropic_body(ask(*rounds(2), said("now", identity="9")))
    assert "cache_control" in body["system"][-1]
    assert ["cache_control" in tool for tool in body["tools"]] == [False, True]
    assert ["cache_control" in block for block in body["messages"][-1]["content"]] == [True, False]
    assert openai_body(attrs.evolve(ask(), cache_key="telegram:1"))["prompt_cache_key"] == "telegram:1"


# --- what is kept ---


@pytest.mark.parametrize("wire", [OpenAIWire(BY_NAME["openai"]), AnthropicWire(BY_NAME["anthropic"])])
def test_converted_entries_live_as_long_as_their_entries(wire: OpenAIWire | AnthropicWire) -> None:
    request = ask(*rounds(3), said("now", identity="9"))
    first = encode(wire.body(request, {}))
    assert wire.unseen(request.entries) == []
    assert encode(wire.body(request, {})) == first
    assert len(wire._kept) == len(request.entries)
    del request
    gc.collect()
    assert len(wire._kept) == 0


@pytest.mark.parametrize(
    ("dirty", "text"),
    [("plain", "plain"), ("ü", "ü"), ("a\ud800b", "ab"), ("\ud83d\ude00", "😀"), ("ü\udfff", "ü")],
)
def test_lone_surrogates_are_removed(dirty: str, text: str) -> None:
    assert history.clean(dirty) == text


def test_message_ids_are_not_sent() -> None:
    assert "secret-id" not in every_text(openai_body(ask(Said(MessageId("secret-id"), "hi", 0.0, "p"))))


async def test_nothing_is_read_without_images() -> None:
    with trio.testing.assert_no_checkpoints():
        assert await images.load([said("hello")]) == {}
