"""The frames of `/ws`: what is understood, and what is told of what is not."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nanobot.channels
import nanobot.guide
from nanobot.channels.web.frames import (
    CHAT_CHARS,
    ID_CHARS,
    TEXT_CHARS,
    Ack,
    Auth,
    BadFrame,
    ClientFrame,
    Message,
    Open,
    Stop,
    read,
)

CHANNELS = Path(nanobot.channels.__file__).parent
KINDS_AND_CODES = re.compile(r'"type": "(\w+)"|case "(\w+)"|(?:error|BadFrame)\("(\w+)"|_CHARS, "(\w+)"')
MESSAGE = {"type": "message", "id": "m", "chat": "c", "text": "x"}


@pytest.mark.parametrize(
    ("frame", "understood"),
    [
        ({"type": "auth", "token": "t"}, Auth("t")),
        (MESSAGE, Message("m", "c", "x")),
        ({**MESSAGE, "text": "y" * TEXT_CHARS}, Message("m", "c", "y" * TEXT_CHARS)),
        ({**MESSAGE, "chat": "ü" * CHAT_CHARS, "more": 1}, Message("m", "ü" * CHAT_CHARS, "x")),
        ({"type": "open", "chat": "c"}, Open("c")),
        ({"type": "open", "chat": "c", "before": None}, Open("c")),
        ({"type": "open", "chat": "c", "before": 0}, Open("c", 0)),
        ({"type": "stop", "chat": "c"}, Stop("c")),
        ({"type": "ack", "id": "c/o1"}, Ack("c/o1")),
    ],
)
def test_what_is_understood(frame: dict[str, Any], understood: ClientFrame) -> None:
    assert read(json.dumps(frame)) == understood


@pytest.mark.parametrize(
    ("frame", "code", "id"),
    [
        ({}, "unknown_type", ""),
        ({"type": "shout"}, "unknown_type", ""),
        ({"type": 1}, "unknown_type", ""),
        ({"type": "auth"}, "bad_field", ""),
        ({"type": "auth", "token": 7}, "bad_field", ""),
        ({**MESSAGE, "id": ""}, "bad_field", ""),
        ({**MESSAGE, "id": "m" * (ID_CHARS + 1)}, "bad_field", ""),
        ({**MESSAGE, "id": 1}, "bad_field", ""),
        ({**MESSAGE, "chat": ""}, "bad_field", "m"),
        ({**MESSAGE, "chat": "c" * (CHAT_CHARS + 1)}, "bad_field", "m"),
        ({**MESSAGE, "chat": "a\nb"}, "bad_field", "m"),
        ({**MESSAGE, "chat": ["c"]}, "bad_field", "m"),
        ({**MESSAGE, "text": None}, "bad_field", "m"),
        ({**MESSAGE, "text": ""}, "empty", "m"),
        ({**MESSAGE, "text": " \n"}, "empty", "m"),
        ({**MESSAGE, "text": "y" * (TEXT_CHARS + 1)}, "too_long", "m"),
        ({**MESSAGE, "text": "\ud83d"}, "bad_field", "m"),
        ({"type": "open", "chat": "c", "before": -1}, "bad_field", ""),
        ({"type": "open", "chat": "c", "before": "1"}, "bad_field", ""),
        ({"type": "open", "chat": "c", "before": True}, "bad_field", ""),
        ({"type": "stop"}, "bad_field", ""),
        ({"type": "ack", "id": None}, "bad_field", ""),
    ],
)
def test_what_is_not(frame: dict[str, Any], code: str, id: str) -> None:
    with pytest.raises(BadFrame) as found:
        read(json.dumps(frame))
    assert (found.value.code, found.value.id) == (code, id)


@pytest.mark.parametrize("data", ["", "x", "[]", "null", '"x"', "1", "NaN", b"{}", "[" * 100_000, "9" * 5000, '{"a":1}{}'])
def test_what_is_no_object(data: str | bytes) -> None:
    with pytest.raises(BadFrame) as found:
        read(data)
    assert found.value.code == "not_json"


def frames(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    kinds = st.sampled_from(["auth", "message", "open", "stop", "ack"])
    names = st.sampled_from(["id", "chat", "text", "token", "before"])
    return st.builds(lambda kind, rest: {"type": kind, **rest}, kinds, st.dictionaries(names, values))


LEAVES = st.none() | st.booleans() | st.floats() | st.text(max_size=5)


@given(st.recursive(LEAVES, lambda inner: st.lists(inner) | frames(inner)))
def test_any_json_is_a_frame_or_a_bad_one(frame: Any) -> None:
    with suppress(BadFrame):
        read(json.dumps(frame))


def test_a_token_is_not_shown() -> None:
    assert "secret" not in repr(read('{"type": "auth", "token": "secret"}'))


# --- the guide


def test_the_guide_names_every_frame_and_every_code() -> None:
    page = (Path(nanobot.guide.__file__).parent / "web.md").read_text()
    code = "".join((CHANNELS / file).read_text() for file in ("web/frames.py", "web/channel.py"))
    written = {name for names in KINDS_AND_CODES.findall(code) for name in names if name}
    assert {"accepted", "history", "auth", "void", "unauthorized", "too_long", "unreadable"} <= written
    assert [name for name in sorted(written) if f"`{name}`" not in page] == []


def test_the_example_of_the_guide_is_understood() -> None:
    page = (Path(nanobot.guide.__file__).parent / "web.md").read_text()
    sent = re.findall(r"^> (\{.*\})$", page, re.MULTILINE)
    assert [type(read(line)).__name__ for line in sent] == ["Auth", "Message", "Message", "Ack"]
