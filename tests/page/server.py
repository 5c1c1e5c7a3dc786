"""A gateway as the page sees it: its files, `/status.json`, `/sessions.json` and `/ws`, with a test saying what it answers.

It keeps the promises of `/ws` that a page builds on (final messages come again until they are acknowledged, histories are what
was said) and does nothing by itself: a test sends each live frame with `tell`. `down` cuts every connection and refuses new ones.
"""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import attrs
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

from nanobot.channels.web import frames
from nanobot.web.files import read
from nanobot.web.guard import HEADERS

TOKEN = "let+me/in=%26"
FILES = read()
RULES = b"".join(b"%s: %s\r\n" % header for header in HEADERS.items()).decode()
PATIENCE_S = 20.0
EXCHANGES = 10
"""In one `history`."""
Frame = dict[str, Any]


def up(name: str, kind: str = "channel", **more: Any) -> Frame:
    """A node of the tree."""
    return {"name": name, "kind": kind, "state": "up", "since": 1_700_000_000.0, **more}


@attrs.define(eq=False)
class Gateway:
    port: int = 0
    tree: Frame = attrs.field(factory=lambda: up("gateway", "gateway", children=[up("web"), up("telegram")]))
    sessions: list[Frame] = attrs.field(factory=list)
    histories: dict[str, list[Frame]] = attrs.field(factory=dict)
    """Items by chat."""
    questions: dict[str, list[Frame]] = attrs.field(factory=dict)
    """What is open, by chat."""
    state: Frame = attrs.field(factory=lambda: {"state": "idle"})
    """What is said of a chat when it is opened."""
    accepting: bool = True
    refusal: Frame | None = None
    """An `error` frame that answers messages instead of `accepted`."""
    unsettled: dict[str, Frame] = attrs.field(factory=dict)
    heard: list[Frame] = attrs.field(factory=list)
    """Every frame of the clients, in order."""
    listening: bool = True
    _sockets: set[WebSocketConnection] = attrs.field(factory=set)
    _streams: set[trio.SocketStream] = attrs.field(factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def address(self) -> str:
        """What `nanobot web` prints."""
        return f"{self.url}#token={quote(TOKEN)}"

    def of(self, kind: str) -> list[Frame]:
        return [frame for frame in self.heard if frame["type"] == kind]

    async def until(self, kind: str, number: int = 1) -> list[Frame]:
        """Wait until so many frames of this type came."""
        with trio.move_on_after(PATIENCE_S):
            while len(self.of(kind)) < number:  # noqa: ASYNC110  # the clients are another process
                await trio.sleep(0.005)
        assert len(self.of(kind)) >= number, f"only {self.heard}"
        return self.of(kind)

    async def tell(self, *frames: Frame) -> None:
        """Send frames to every client; a final message stays unsettled until it is acknowledged."""
        for frame in frames:
            if frame["type"] == "message":
                self.unsettled[frame["id"]] = frame
            for connection in tuple(self._sockets):
                await connection.send_message(json.dumps(frame))

    async def answer(self, asked: Frame, text: str, **more: Any) -> None:
        """The final message for a message of the page."""
        number = f"{asked['chat']}/o{len(self.of('ack')) + len(self.unsettled)}"
        said = {"id": number, "chat": asked["chat"], "replyTo": asked["id"], "alsoAnswers": [], "text": text}
        await self.tell({"type": "message", **said, **more})

    async def down(self) -> None:
        self.listening = False
        for stream in tuple(self._streams):
            await trio.aclose_forcefully(stream)

    # --- the wire

    async def serve(self, stream: trio.SocketStream) -> None:
        if not self.listening:
            return await trio.aclose_forcefully(stream)
        self._streams.add(stream)
        try:
            if (await stream.socket.recv(8, socket.MSG_PEEK)).startswith(b"GET /ws"):
                await self._talk(stream)
            else:
                await self._answer(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            pass  # the client left, or `down` cut it
        finally:
            self._streams.discard(stream)
            await trio.aclose_forcefully(stream)

    async def _answer(self, stream: trio.SocketStream) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            if not (chunk := await stream.receive_some()):
                return
            head += chunk
        status, kind, body = self._resource(head.decode())
        answer = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n{RULES}\r\n"
        await stream.send_all(answer.encode() + body)

    def _resource(self, head: str) -> tuple[str, str, bytes]:
        path = head.split()[1].partition("?")[0]
        known = {"/status.json": self.tree, "/sessions.json": self.sessions}
        if path in known:
            if f"authorization: bearer {TOKEN}".lower() not in head.lower():
                return "401 Unauthorized", "application/json", b"{}"
            return "200 OK", "application/json", json.dumps(known[path]).encode()
        if file := FILES.get(path):
            return "200 OK", file.mime, file.data
        return "404 Not Found", "text/plain", b""

    async def _talk(self, stream: trio.SocketStream) -> None:
        async with trio.open_nursery() as nursery:
            request = await wrap_server_stream(nursery, stream)
            connection = await request.accept()
            try:
                while True:
                    data = await connection.get_message()
                    frames.read(data)  # raises for what the real one would refuse
                    await self._take(connection, json.loads(data))
            except ConnectionClosed:
                pass
            finally:
                self._sockets.discard(connection)
                nursery.cancel_scope.cancel()

    async def _take(self, connection: WebSocketConnection, frame: Frame) -> None:
        match frame:
            case {"type": "auth", "token": token} if token == TOKEN:
                self._sockets.add(connection)
                answers = [{"type": "ready"}, *self.unsettled.values()]
            case {"type": "auth"}:
                answers = [{"type": "error", "code": "unauthorized", "reason": "This token is not the page's."}]
            case {"type": "message", "id": wanted} if self.refusal:
                answers = [{**self.refusal, "id": wanted}]
            case {"type": "message", "id": wanted} if self.accepting:
                answers = [{"type": "accepted", "id": wanted}]
            case {"type": "open", "chat": chat}:
                items = [i for i in self.histories.get(chat, []) if i["n"] < frame.get("before", 10**9)]
                past: Frame = {
                    "type": "history",
                    "chat": chat,
                    "items": [i for i in items if i["n"] > items[-1]["n"] - EXCHANGES],
                }
                if "before" in frame:
                    answers = [past]
                else:
                    past["questions"] = self.questions.get(chat, [])
                    answers = [past, {"type": "state", "chat": chat, **self.state}]
            case {"type": "ack", "id": wanted}:
                self.unsettled.pop(wanted, None)
                answers = []
            case _:
                answers = []
        for answer in answers:
            await connection.send_message(json.dumps(answer))
        self.heard.append(frame)  # what a test does about it comes after the answer
        if frame["type"] == "auth" and connection not in self._sockets:
            await connection.aclose()


@asynccontextmanager
async def gateway() -> AsyncIterator[Gateway]:
    fake = Gateway()
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        fake.port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, fake.serve, listeners)
        yield fake
        nursery.cancel_scope.cancel()
