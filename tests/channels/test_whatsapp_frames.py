"""The samples of the bridge's frames, which its own tests read too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from nanobot.channels.whatsapp import frames
from nanobot.channels.whatsapp.link import MOST_FRAME

SAMPLES: dict[str, Any] = json.loads((Path(__file__).parents[2] / "bridge" / "frames.json").read_text())
TYPES = {
    frames.Ready: "ready",
    frames.Status: "status",
    frames.Qr: "qr",
    frames.Message: "message",
    frames.Sent: "sent",
    frames.Failed: "error",
}


def camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part.title() for part in tail)


def as_sample(value: Any) -> Any:
    """A value of ours as the sample that it was read from: what has its default is not written."""
    if isinstance(value, tuple):
        return [as_sample(one) for one in value]
    if not attrs.has(type(value)):
        return value
    fields = {field.name: (getattr(value, field.name), field.default) for field in attrs.fields(type(value))}
    named = {camel(name): as_sample(held) for name, (held, default) in fields.items() if held != default}
    return {"type": TYPES[type(value)], **named} if type(value) in TYPES else named


def written(sample: dict[str, Any]) -> str:
    match sample:
        case {"type": "auth", "token": token}:
            return frames.auth(token)
        case {"type": "ack", "seq": seq}:
            return frames.ack(seq)
        case {"type": "send", "ref": ref, "to": to, "text": text}:
            return frames.send_text(ref, to, text)
        case {"type": "send", "ref": ref, "to": to, "media": media, "mimetype": mimetype}:
            more = {"caption": sample.get("caption", ""), "file_name": sample.get("fileName", "")}
            return frames.send_media(ref, to, media, mimetype, **more)
        case {"type": "typing", "to": to}:
            return frames.typing(to)
        case {"type": "read", "to": to, "id": id}:
            return frames.read_receipt(to, id, sample.get("participant", ""))
        case _:
            raise AssertionError(sample)


def test_the_longest_frame_is_the_same_on_both_sides() -> None:
    assert SAMPLES["longest"] == MOST_FRAME


def test_the_samples_are_of_this_version() -> None:
    assert SAMPLES["version"] == frames.VERSION


@pytest.mark.parametrize("name", SAMPLES["client"])
def test_what_we_say(name: str) -> None:
    sample = SAMPLES["client"][name]
    assert json.loads(written(sample)) == sample


@pytest.mark.parametrize("name", SAMPLES["bridge"])
def test_what_the_bridge_says_is_read_whole(name: str) -> None:
    sample = SAMPLES["bridge"][name]
    assert as_sample(frames.read(json.dumps(sample))) == sample


@pytest.mark.parametrize("name", SAMPLES["bad from bridges"])
def test_a_bad_frame_is_refused(name: str) -> None:
    with pytest.raises(frames.BadFrame):
        frames.read(SAMPLES["bad from bridges"][name])


@pytest.mark.parametrize("name", SAMPLES["version 1"])
def test_version_1_is_told_from_ours(name: str) -> None:
    with pytest.raises(frames.OldBridge):
        frames.first(json.dumps(SAMPLES["version 1"][name]))


def test_half_a_character_does_not_spread() -> None:
    frame = frames.read(json.dumps({**SAMPLES["bridge"]["message"], "content": "a\ud800b 👋"}))
    assert isinstance(frame, frames.Message)
    assert frame.content == "a\ufffdb 👋"
