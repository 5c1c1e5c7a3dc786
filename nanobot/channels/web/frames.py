"""The frames of `/ws`, read and written: JSON objects with a `type`. Pure. The guide (`nanobot guide web`) is their description.

What a client sends becomes one of `Auth | Message | Open | Stop | Ack`, checked whole, or `BadFrame` with the code that the
client is told. What it is sent is made here too, one `json.dumps` a frame.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal, assert_never

import attrs

from nanobot.channels.port import DeltaSign, Sign, StateSign, ToolSign, VoidSign
from nanobot.errors import NanobotError
from nanobot.messages import Button, Outbound, SessionKey
from nanobot.wire import Json, JsonObject

ID_CHARS = 128
CHAT_CHARS = 64
TEXT_CHARS = 100_000
"""Of one message: a long document pasted, a fifth of what a large model reads at once."""


class BadFrame(NanobotError):
    """A frame of the client's that is not as it must be. `id`: of the message it speaks of, where it could be read."""

    def __init__(self, code: str, text: str, id: str = "") -> None:
        self.code, self.id = code, id
        super().__init__(text)


# --- of the client


@attrs.frozen
class Auth:
    token: str = attrs.field(repr=False)


@attrs.frozen
class Message:
    id: str
    chat: str
    text: str


@attrs.frozen
class Open:
    chat: str
    before: int | None = None


@attrs.frozen
class Stop:
    chat: str


@attrs.frozen
class Ack:
    id: str


ClientFrame = Auth | Message | Open | Stop | Ack


def read(data: str | bytes) -> ClientFrame:
    """Raises: BadFrame."""
    frame = _object(data)
    match frame.get("type"):
        case "message":
            return _message(frame)
        case "ack":
            return Ack(_text(frame, "id", ID_CHARS + CHAT_CHARS))
        case "open":
            return Open(_chat(frame), _before(frame))
        case "stop":
            return Stop(_chat(frame))
        case "auth":
            return Auth(_text(frame, "token", 1000))
        case _:
            raise BadFrame("unknown_type", "type must be one of auth, message, open, stop, ack")


def _object(data: str | bytes) -> JsonObject:
    if isinstance(data, bytes):
        raise BadFrame("not_json", "frames are text, not binary")
    try:
        found: object = json.loads(data)
    except (ValueError, RecursionError):
        raise BadFrame("not_json", "this is not JSON") from None
    if not isinstance(found, dict):
        raise BadFrame("not_json", "a frame is a JSON object")
    return found


def _message(frame: JsonObject) -> Message:
    id = _text(frame, "id", ID_CHARS)
    try:
        chat = _chat(frame)
        text = _text(frame, "text", TEXT_CHARS, "too_long")
        _encodable(text)
    except BadFrame as bad:
        raise BadFrame(bad.code, str(bad), id) from None
    if not text.strip():
        raise BadFrame("empty", "there is no text in this message", id)
    return Message(id, chat, text)


def _chat(frame: JsonObject) -> str:
    chat = _text(frame, "chat", CHAT_CHARS)
    if not chat.isprintable():
        raise BadFrame("bad_field", "chat must be printable characters")
    return chat


def _before(frame: JsonObject) -> int | None:
    before = frame.get("before")
    if before is None or (isinstance(before, int) and not isinstance(before, bool) and before >= 0):
        return before
    raise BadFrame("bad_field", "before must be a whole number, not below 0")


def _text(frame: JsonObject, name: str, most: int, code: str = "bad_field") -> str:
    text = frame.get(name)
    if not isinstance(text, str) or not text:
        raise BadFrame("bad_field" if text != "" or code == "bad_field" else "empty", f"{name} must be a text that is not empty")
    if len(text) > most:
        raise BadFrame(code, f"{name} must not be longer than {most} characters")
    return text


def _encodable(text: str) -> None:
    """Half of a surrogate pair is legal JSON and no text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadFrame("bad_field", "text holds half a character") from None


# --- of the server

READY = '{"type": "ready"}'


@attrs.frozen
class Item:
    """Something of a conversation's past. `n` is the ordinal of its exchange, and shared by all that belongs to that."""

    n: int
    role: Literal["you", "bot", "note"]
    text: str
    at: float | None = None
    """Seconds since the epoch, where known."""
    id: str = ""
    """Of what somebody said: its id; of an answer: the id of its `message` frame, where known."""
    reply_to: str = ""
    open: bool = False
    """Not answered yet."""
    failed: bool = False


@attrs.frozen
class Question:
    """Something with buttons that is not answered yet, and stands outside of the exchanges."""

    text: str
    buttons: tuple[Button, ...]


@attrs.frozen
class History:
    """A stretch of a conversation, oldest first; whole exchanges. Empty: there is nothing (earlier)."""

    items: tuple[Item, ...] = ()
    questions: tuple[Question, ...] | None = None
    """All that are open; None where the stretch is not the newest."""


def wire_id(key: SessionKey, outbound: Outbound) -> str:
    """The id of an answer on the wire: the same whenever it is sent again."""
    return f"{key.chat}/{outbound.id}"


def accepted(id: str) -> str:
    return json.dumps({"type": "accepted", "id": id})


def error(code: str, reason: str, id: str = "") -> str:
    frame: JsonObject = {"type": "error", "code": code, "reason": reason}
    if id:
        frame["id"] = id
    return json.dumps(frame)


def message(key: SessionKey, outbound: Outbound) -> str:
    """A final message. Of its files the names and sizes: the page shows that there are some, it cannot fetch them."""
    frame: JsonObject = {
        "type": "message",
        "id": wire_id(key, outbound),
        "chat": key.chat,
        "replyTo": outbound.reply_to,
        "alsoAnswers": [str(id) for id in outbound.also_answers],
        "text": outbound.text,
    }
    if outbound.failed:
        frame["failed"] = True
    if outbound.buttons:
        frame["buttons"] = _buttons(outbound.buttons)
    if outbound.attachments:
        frame["media"] = [{"name": file.name, "mime": file.mime, "size": file.size} for file in outbound.attachments]
    return json.dumps(frame)


def history(chat: str, past: History) -> str:
    frame: JsonObject = {"type": "history", "chat": chat, "items": [_item(item) for item in past.items]}
    if past.questions is not None:
        frame["questions"] = [{"text": asked.text, "buttons": _buttons(asked.buttons)} for asked in past.questions]
    return json.dumps(frame)


def sign(chat: str, shown: Sign) -> str:
    """What happens in a chat, as it happens."""
    match shown:
        case StateSign(state, tool):
            return json.dumps({"type": "state", "chat": chat, "state": state, **({"tool": tool} if tool else {})})
        case ToolSign(turn, name, phase):
            return json.dumps({"type": "tool", "chat": chat, "turn": turn, "name": name, "phase": phase})
        case DeltaSign(turn, text):
            return json.dumps({"type": "delta", "chat": chat, "turn": turn, "text": text})
        case VoidSign(turn):
            return json.dumps({"type": "void", "chat": chat, "turn": turn})
        case _ as never:
            assert_never(never)


def _buttons(buttons: tuple[Button, ...]) -> list[Json]:
    return [{"label": button.label, "says": button.says} for button in buttons]


def _item(item: Item) -> JsonObject:
    """Keys that say nothing are left out."""
    told: JsonObject = {"n": item.n, "role": item.role, "text": item.text}
    more: Sequence[tuple[str, float | str | bool | None]] = (
        ("at", item.at),
        ("id", item.id),
        ("replyTo", item.reply_to),
        ("open", item.open),
        ("failed", item.failed),
    )
    told.update({name: value for name, value in more if value})
    return told
