"""The frames of the WhatsApp bridge (bridge/src/frames.ts) and what they are here. Pure; the samples are in bridge/frames.json.

A frame that is not as it should be is a `BadFrame`; fields that are not known are left out.
"""

from __future__ import annotations

import json
import re

import attrs

from nanobot.wire import Json, JsonObject

VERSION = 2
STATUSES = frozenset({"connecting", "connected", "disconnected", "unlinked", "replaced", "refused", "full"})
_OLD = frozenset({"status", "qr", "message", "sent", "error"})
_MEDIA = re.compile(r"/media/[0-9]{1,15}")


class BadFrame(ValueError):
    """`str()` says what is wrong with it."""


class OldBridge(BadFrame):
    """It speaks version 1, which has no `ready`."""


# --- what the bridge says


@attrs.frozen
class Ready:
    version: int
    status: str


@attrs.frozen
class Status:
    status: str


@attrs.frozen
class Qr:
    qr: str


@attrs.frozen
class Media:
    url: str
    """A path on the bridge."""
    mimetype: str
    file_name: str = ""
    size: int | None = None
    """Bytes, as the sender says."""


@attrs.frozen
class Quoted:
    id: str
    sender: str
    text: str
    from_me: bool = False


@attrs.frozen
class Message:
    seq: int
    id: str
    sender: str
    """The chat: a person's address, by LID or telephone number, or a group's."""
    pn: str
    """Who wrote it by telephone number, empty if that is not known."""
    content: str
    timestamp: int
    """Seconds since the epoch."""
    is_group: bool
    participant: str = ""
    """In a group, who wrote it."""
    media: tuple[Media, ...] = ()
    was_mentioned: bool = False
    quoted: Quoted | None = None
    forwarded: bool = False

    @property
    def author(self) -> str:
        return self.participant if self.is_group else self.sender


@attrs.frozen
class Sent:
    ref: str
    id: str


@attrs.frozen
class Failed:
    ref: str
    error: str
    permanent: bool


Frame = Ready | Status | Qr | Message | Sent | Failed


def read(data: str | bytes) -> Frame:
    """Raises: BadFrame."""
    fields = _object(data)
    match fields.get("type"):
        case "ready":
            return Ready(_count(fields, "version"), _status(fields))
        case "status":
            return Status(_status(fields))
        case "qr":
            return Qr(_text(fields, "qr"))
        case "message":
            return _message(fields)
        case "sent":
            return Sent(_text(fields, "ref"), _text(fields, "id"))
        case "error":
            return Failed(_text(fields, "ref"), _text(fields, "error"), _flag(fields, "permanent"))
        case _:
            raise BadFrame("its type is not known")


def first(data: str | bytes) -> Ready:
    """What the bridge says first. Raises: OldBridge, BadFrame."""
    fields = _object(data)
    if fields.get("type") in _OLD:
        raise OldBridge("it speaks version 1")
    frame = read(data)
    assert isinstance(frame, Ready)
    return frame


def _message(fields: JsonObject) -> Message:
    is_group = _flag(fields, "isGroup")
    quoted = fields.get("quoted")
    media = fields.get("media", [])
    if not isinstance(media, list):
        raise BadFrame("media is no list")
    return Message(
        seq=_count(fields, "seq"),
        id=_text(fields, "id"),
        sender=_text(fields, "sender"),
        pn=_words(fields, "pn"),
        content=_words(fields, "content"),
        timestamp=_count(fields, "timestamp"),
        is_group=is_group,
        participant=_text(fields, "participant") if is_group else "",
        media=tuple(_media(_object_in(one)) for one in media),
        was_mentioned=_flag(fields, "wasMentioned", False),
        quoted=None if quoted is None else _quoted(_object_in(quoted)),
        forwarded=_flag(fields, "forwarded", False),
    )


def _media(fields: JsonObject) -> Media:
    url = _text(fields, "url")
    if not _MEDIA.fullmatch(url):
        raise BadFrame("a file is not the bridge's")
    size = fields.get("size")
    if size is not None and (not isinstance(size, int) or size < 0):
        raise BadFrame("size is no number")
    return Media(url, _text(fields, "mimetype"), _words(fields, "fileName", ""), size)


def _quoted(fields: JsonObject) -> Quoted:
    return Quoted(_text(fields, "id"), _words(fields, "sender", ""), _words(fields, "text", ""), _flag(fields, "fromMe", False))


def _object(data: str | bytes) -> JsonObject:
    try:
        value: Json = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadFrame("it is no JSON") from error
    return _object_in(value)


def _object_in(value: Json) -> JsonObject:
    if not isinstance(value, dict):
        raise BadFrame("it is no object")
    return value


def _words(fields: JsonObject, name: str, default: str | None = None) -> str:
    value = fields.get(name, default)
    if not isinstance(value, str):
        raise BadFrame(f"{name} is no text")
    return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _text(fields: JsonObject, name: str) -> str:
    value = _words(fields, name)
    if not value:
        raise BadFrame(f"{name} is empty")
    return value


def _count(fields: JsonObject, name: str) -> int:
    value = fields.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise BadFrame(f"{name} is no number from 1")
    return value


def _flag(fields: JsonObject, name: str, default: bool | None = None) -> bool:
    value = fields.get(name, default)
    if not isinstance(value, bool):
        raise BadFrame(f"{name} is neither true nor false")
    return value


def _status(fields: JsonObject) -> str:
    value = _text(fields, "status")
    if value not in STATUSES:
        raise BadFrame("its status is not known")
    return value


# --- what it is told


def auth(token: str) -> str:
    return json.dumps({"type": "auth", "token": token, "version": VERSION})


def ack(seq: int) -> str:
    return json.dumps({"type": "ack", "seq": seq})


def send_text(ref: str, to: str, text: str) -> str:
    return json.dumps({"type": "send", "ref": ref, "to": to, "text": text})


def send_media(ref: str, to: str, media: str, mimetype: str, *, caption: str = "", file_name: str = "") -> str:
    more = {name: value for name, value in (("caption", caption), ("fileName", file_name)) if value}
    return json.dumps({"type": "send", "ref": ref, "to": to, "media": media, "mimetype": mimetype, **more})


def typing(to: str) -> str:
    return json.dumps({"type": "typing", "to": to})


def read_receipt(to: str, id: str, participant: str = "") -> str:
    return json.dumps({"type": "read", "to": to, "id": id, **({"participant": participant} if participant else {})})
