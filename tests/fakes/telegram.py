"""A Bot API server on loopback that speaks to the real SDK: it keeps updates until they are confirmed, reads HTML as strictly as
Telegram, counts what is left of it, and misbehaves on request.

The test holds one end (`says`, `edits`, `presses`, `album`, `sent`, `chat`), the channel connects to the other by `url`. Frames
are written as the Bot API documents them; test_telegram_frames.py holds each against the SDK's own models.
"""

from __future__ import annotations

import enum
import json
import queue
import socket
import struct
import threading
import time
import urllib.parse
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from email.parser import BytesParser
from email.policy import HTTP
from functools import partial
from html.parser import HTMLParser
from typing import Any

import attrs
import trio

from tests.fakes.loopback import HttpRequest, Loopback, Responder, loopback

TOKEN = "123456789:AAE-fake_fake_fake_fake_fake_fake_fak"
BOT_ID, BOT_NAME = 123456789, "house_bot"
ANN: dict[str, Any] = {"id": 42, "is_bot": False, "first_name": "Ann", "username": "ann"}
BOB: dict[str, Any] = {"id": 43, "is_bot": False, "first_name": "Bob", "username": "bob"}
BOT: dict[str, Any] = {"id": BOT_ID, "is_bot": True, "first_name": "House", "username": BOT_NAME}
GROUP: dict[str, Any] = {"id": -1001, "type": "supergroup", "title": "Family"}
NOW = 1_790_000_000
MOST_TEXT, MOST_CAPTION = 4096, 1024
TAGS = {"b", "i", "u", "s", "a", "code", "pre", "blockquote", "tg-spoiler"}


class Fault(enum.StrEnum):
    """What may become of one request."""

    RESET = "reset"
    """Cut before anything was done."""
    CLOSE = "clean close"
    """The request is read, nothing is done, and the connection ends in order."""
    LOST = "lost answer"
    """It is done, and the connection breaks before the answer."""
    HALF_OPEN = "half-open"
    """Nothing comes, ever."""
    GARBAGE = "garbage"
    UNAUTHORIZED = "401"
    CONFLICT = "409"
    FLOOD = "429"
    UNAVAILABLE = "5xx"
    SLOW = "slow"
    """The answer needs a second."""


class Refused(Exception):
    """400 or another status, with the description."""

    def __init__(self, text: str, status: int = 400, **parameters: Any) -> None:
        self.status, self.parameters = status, parameters
        super().__init__(text)


@attrs.define
class Call:
    """One request that was understood."""

    method: str
    params: dict[str, Any]
    files: dict[str, tuple[str, bytes]]


@attrs.define(eq=False)
class FakeTelegram:
    """See the module."""

    server: Loopback = attrs.field(init=False)
    token: str = TOKEN
    privacy: bool = True
    webhook: str = ""
    updates: list[dict[str, Any]] = attrs.field(factory=list)
    """Not confirmed."""
    confirmed: list[int] = attrs.field(factory=list)
    told_at: dict[int, float] = attrs.field(factory=dict)
    """When an update was first told of, by time.perf_counter."""
    calls: list[Call] = attrs.field(factory=list)
    """Everything but polls."""
    polls: int = 0
    shown: dict[tuple[str, int], str] = attrs.field(factory=dict)
    """What stands in the chats, by chat and number, as people see it."""
    files: dict[str, bytes] = attrs.field(factory=dict)
    """By path."""
    faults: list[tuple[str, Fault]] = attrs.field(factory=list)
    """For the next request of that method; `*`: of any but polls."""
    hurt: list[tuple[str, Fault]] = attrs.field(factory=list)
    """Those that have struck."""
    refuses: Callable[[Call], None] = lambda _call: None
    flood_s: int = 1
    _number: int = 1000
    _message: int = 0
    _poller: int = 0
    _news: trio.Event = attrs.field(factory=trio.Event)

    @property
    def url(self) -> str:
        return self.server.url

    # --- the test's end

    def add(self, **update: Any) -> int:
        """An update as it is; its number."""
        self._number += 1
        self.updates.append({"update_id": self._number, **update})
        self._tell()
        return self._number

    def message(
        self, text: str | None = None, chat: dict[str, Any] | None = None, user: dict[str, Any] | None = None, **more: Any
    ) -> dict[str, Any]:
        self._message += 1
        user = ANN if user is None else user
        place = chat or {"id": user["id"], "type": "private", "first_name": user["first_name"]}
        given = {name: value for name, value in {"text": text, **more}.items() if value is not None}
        return {"message_id": self._message, "date": NOW, "chat": place, "from": user, **given}

    def says(
        self, text: str | None = None, chat: dict[str, Any] | None = None, user: dict[str, Any] | None = None, **more: Any
    ) -> int:
        """Somebody writes; the number of the message."""
        message = self.message(text, chat, user, **more)
        self.add(message=message)
        return int(message["message_id"])

    def edits(self, number: int, text: str, **more: Any) -> int:
        return self.add(edited_message={**self.message(text, **more), "message_id": number, "edit_date": NOW + 5})

    def presses(self, data: str, message: dict[str, Any], user: dict[str, Any] | None = None, press: str = "p1") -> int:
        return self.add(callback_query={"id": press, "from": user or ANN, "chat_instance": "c", "data": data, "message": message})

    def album(self, *names: str, group: str = "g1", chat: dict[str, Any] | None = None, **more: Any) -> list[int]:
        """Pictures that go together; the first has the caption."""
        return [
            self.says(None, chat, photo=self.photo(name), media_group_id=group, caption="look" if n == 0 else None, **more)
            for n, name in enumerate(names)
        ]

    def photo(self, name: str, body: bytes = b"jpeg") -> list[dict[str, Any]]:
        self.files[f"photos/{name}.jpg"] = body
        return [
            {"file_id": f"small-{name}", "file_unique_id": f"us{name}", "width": 90, "height": 90, "file_size": 10},
            {"file_id": f"photos/{name}.jpg", "file_unique_id": f"u{name}", "width": 800, "height": 600, "file_size": len(body)},
        ]

    def file(self, path: str, body: bytes, **more: Any) -> dict[str, Any]:
        self.files[path] = body
        return {"file_id": path, "file_unique_id": f"u-{path}", "file_size": len(body), **more}

    def sent(self, method: str = "") -> list[Call]:
        return [call for call in self.calls if call.method == method] if method else self.calls

    def chat(self, chat: int | str = 42) -> list[str]:
        """What stands there, in order."""
        return [text for (place, _), text in self.shown.items() if place == str(chat)]

    async def until(self, fact: Callable[[], object], seconds: float = 20.0) -> None:
        """Raises: trio.TooSlowError."""
        with trio.fail_after(seconds):
            while not fact():
                event = self._news
                with trio.move_on_after(0.02):  # not every fact is ours
                    await event.wait()

    def strike(self, fault: Fault, method: str = "getUpdates") -> None:
        """The next request of that method; a poll under way too."""
        self.faults.append((method, fault))
        self._tell()

    # --- the server

    async def handle(self, request: HttpRequest, answer: Responder) -> None:
        path = urllib.parse.urlsplit(request.path).path
        if path.startswith(f"/file/bot{self.token}/"):
            await self._give(path.removeprefix(f"/file/bot{self.token}/"), answer)
            return
        bot, _, method = path.removeprefix("/bot").partition("/")
        if bot != self.token:
            await _say(answer, 401, "Unauthorized")
            return
        call = Call(method, *_parsed(request))
        if method == "getUpdates":
            await self._poll(call, answer)
            return
        fault = self._fault(method)
        if fault is not None and fault not in (Fault.LOST, Fault.SLOW):
            await self._misbehave(fault, answer)
            return
        await self._do(call, fault, answer)

    async def _do(self, call: Call, fault: Fault | None, answer: Responder) -> None:
        try:
            self.refuses(call)
            result = self.result(call)
        except Refused as no:
            await _say(answer, no.status, str(no), **no.parameters)
            return
        self.calls.append(call)
        self._tell()
        if fault is Fault.LOST:
            await answer.cut()
            return
        if fault is Fault.SLOW:
            await trio.sleep(1.0)
        await _ok(answer, result)

    async def _give(self, path: str, answer: Responder) -> None:
        fault = self._fault("file")
        if fault is not None:
            await self._misbehave(fault, answer)
        elif path in self.files:
            await answer.reply(200, self.files[path], kind="application/octet-stream")
        else:
            await answer.reply(404, b"Not Found")

    async def _poll(self, call: Call, answer: Responder) -> None:
        self.polls += 1
        self._poller += 1
        mine, wait = self._poller, float(call.params.get("timeout", 0))
        if self.webhook:
            await _say(
                answer,
                409,
                "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first",
            )
            return
        self._tell()
        with trio.move_on_after(wait):
            while not (self.updates and self._ready(call)) and self._poller == mine and not self._has_fault("getUpdates"):
                await self._news.wait()
        if self._poller != mine:
            await _say(
                answer, 409, "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"
            )
            return
        fault = self._fault("getUpdates")
        if fault is Fault.SLOW:
            await trio.sleep(1.0)
        elif fault is not None:
            if fault is Fault.LOST:
                self._ready(call)
            await self._misbehave(fault, answer)
            return
        ready = self._ready(call)
        self.told_at |= {one["update_id"]: time.perf_counter() for one in ready if one["update_id"] not in self.told_at}
        await _ok(answer, ready)

    def _ready(self, call: Call) -> list[dict[str, Any]]:
        """Confirms those below the offset."""
        offset = int(call.params.get("offset", 0))
        gone = [one for one in self.updates if one["update_id"] < offset]
        self.confirmed += [one["update_id"] for one in gone]
        self.updates = [one for one in self.updates if one["update_id"] >= offset]
        return self.updates[: int(call.params.get("limit", 100))]

    async def _misbehave(self, fault: Fault, answer: Responder) -> None:
        match fault:
            case Fault.RESET | Fault.LOST | Fault.CLOSE:
                if fault is Fault.RESET:
                    answer.stream.setsockopt(*_RESET)
                await answer.cut()
            case Fault.HALF_OPEN:
                await trio.sleep_forever()
            case Fault.GARBAGE:
                await answer.reply(200, b"<html>\xff\xfe not json", kind="text/html")
            case Fault.UNAUTHORIZED:
                await _say(answer, 401, "Unauthorized")
            case Fault.CONFLICT:
                await _say(
                    answer,
                    409,
                    "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running",
                )
            case Fault.FLOOD:
                await _say(answer, 429, f"Too Many Requests: retry after {self.flood_s}", retry_after=self.flood_s)
            case Fault.UNAVAILABLE:
                await answer.reply(502, b"<html>Bad Gateway</html>", kind="text/html")
            case Fault.SLOW:
                raise AssertionError

    def _has_fault(self, method: str) -> bool:
        return any(one in (method, "*") and (one != "*" or method != "getUpdates") for one, _ in self.faults)

    def _fault(self, method: str) -> Fault | None:
        for index, (one, fault) in enumerate(self.faults):
            if one == method or (one == "*" and method != "getUpdates"):
                del self.faults[index]
                self.hurt.append((method, fault))
                return fault
        return None

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    # --- the methods

    def result(self, call: Call) -> Any:
        """Raises: Refused."""
        params = call.params
        match call.method:
            case "getMe":
                return {
                    **BOT,
                    "can_join_groups": True,
                    "can_read_all_group_messages": not self.privacy,
                    "supports_inline_queries": False,
                }
            case "getWebhookInfo":
                return {"url": self.webhook, "has_custom_certificate": False, "pending_update_count": len(self.updates)}
            case "deleteWebhook":
                self.webhook = ""
                return True
            case "getFile":
                return {"file_id": params["file_id"], "file_unique_id": "u", "file_path": params["file_id"]}
            case "setMyCommands" | "sendChatAction" | "setMessageReaction" | "answerCallbackQuery":
                return True
            case "sendMessage":
                return self._put(params, _seen(params, "text", MOST_TEXT))
            case "editMessageText":
                return self._change(params)
            case "sendMediaGroup":
                return [self._put(params, _seen(one, "caption", MOST_CAPTION, empty=True)) for one in params["media"]]
            case "sendPhoto" | "sendVideo" | "sendAudio" | "sendVoice" | "sendDocument" | "sendAnimation":
                return self._put(
                    params, f"<{call.method[4:].lower()}> {_seen(params, 'caption', MOST_CAPTION, empty=True)}".strip()
                )
            case _:
                raise Refused("Not Found", 404)

    def _put(self, params: dict[str, Any], shown: str) -> dict[str, Any]:
        self._message += 1
        self.shown[str(params["chat_id"]), self._message] = shown
        chat = {"id": int(params["chat_id"]), "type": "private", "first_name": "Ann"}
        return {"message_id": self._message, "date": NOW, "chat": chat, "from": BOT, "text": shown}

    def _change(self, params: dict[str, Any]) -> dict[str, Any]:
        place, shown = (str(params["chat_id"]), int(params["message_id"])), _seen(params, "text", MOST_TEXT)
        if place not in self.shown:
            raise Refused("Bad Request: message to edit not found")
        if self.shown[place] == shown:
            raise Refused(
                "Bad Request: message is not modified: specified new message content and reply markup are exactly the same"
            )
        self.shown[place] = shown
        chat = {"id": int(place[0]), "type": "private", "first_name": "Ann"}
        return {"message_id": place[1], "date": NOW, "edit_date": NOW + 1, "chat": chat, "from": BOT, "text": shown}


@asynccontextmanager
async def fake_telegram() -> AsyncIterator[FakeTelegram]:
    fake = FakeTelegram()
    async with loopback(fake.handle) as fake.server:
        yield fake


@contextmanager
def telegram_in_thread() -> Iterator[tuple[FakeTelegram, Callable[..., Any]]]:
    """For tests that wait for processes: the server in a thread of its own, and how to call something of it there."""
    ready: queue.SimpleQueue[tuple[FakeTelegram, trio.lowlevel.TrioToken, trio.CancelScope]] = queue.SimpleQueue()

    async def run() -> None:
        async with fake_telegram() as fake:
            with trio.CancelScope() as scope:
                ready.put((fake, trio.lowlevel.current_trio_token(), scope))
                await trio.sleep_forever()

    thread = threading.Thread(target=trio.run, args=(run,))
    thread.start()
    fake, token, scope = ready.get(timeout=10)
    try:
        yield fake, partial(trio.from_thread.run_sync, trio_token=token)
    finally:
        trio.from_thread.run_sync(scope.cancel, trio_token=token)
        thread.join()


# --- what a request says, and what people see of it


def _parsed(request: HttpRequest) -> tuple[dict[str, Any], dict[str, tuple[str, bytes]]]:
    kind = request.headers.get("content-type", "")
    if kind.startswith("multipart/"):
        parts = BytesParser(policy=HTTP).parsebytes(f"content-type: {kind}\r\n\r\n".encode() + request.body)
        fields: dict[str, str] = {}
        files: dict[str, tuple[str, bytes]] = {}
        for part in parts.iter_parts():
            name, body = str(part.get_param("name", header="content-disposition")), part.get_payload(decode=True)
            assert isinstance(body, bytes)
            if part.get_filename() is not None:
                files[name] = (str(part.get_filename()), body)
            else:
                fields[name] = body.decode()
    else:
        fields, files = dict(urllib.parse.parse_qsl(request.body.decode(), keep_blank_values=True)), {}
    return {name: _value(name, text) for name, text in fields.items()}, files


def _value(name: str, text: str) -> Any:
    """What is no text comes as JSON."""
    if name in ("media", "reply_markup", "reply_parameters", "reaction", "commands", "allowed_updates"):
        return json.loads(text)
    return text


def _seen(params: dict[str, Any], name: str, most: int, *, empty: bool = False) -> str:
    """Raises: Refused as Telegram does."""
    text = params.get(name, "")
    if params.get("parse_mode") == "HTML":
        text = read_html(text)
    text = text.strip()
    if not text and not empty:
        raise Refused("Bad Request: message text is empty")
    if len(text.encode("utf-16-le", "surrogatepass")) // 2 > most:
        raise Refused("Bad Request: message is too long" if name == "text" else "Bad Request: message caption is too long")
    return str(text)


def read_html(text: str) -> str:
    reader = _Html()
    reader.feed(text)
    reader.close()
    if reader.open:
        raise Refused(f"Bad Request: can't parse entities: Can't find end tag corresponding to start tag {reader.open[-1]}")
    return "".join(reader.text)


class _Html(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in TAGS:
            raise Refused(f'Bad Request: can\'t parse entities: Unsupported start tag "{tag}"')
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            raise Refused(f'Bad Request: can\'t parse entities: Unexpected end tag "{tag}"')

    def handle_data(self, data: str) -> None:
        self.text.append(data)


async def _ok(answer: Responder, result: Any) -> None:
    await answer.reply(200, json.dumps({"ok": True, "result": result}).encode())


async def _say(answer: Responder, status: int, text: str, **parameters: Any) -> None:
    more = {"parameters": parameters} if parameters else {}
    await answer.reply(status, json.dumps({"ok": False, "error_code": status, "description": text, **more}).encode())


_RESET = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
"""So that closing a socket resets the connection."""
