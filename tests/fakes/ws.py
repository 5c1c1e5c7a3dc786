"""A client of `/ws`, for tests: a trio-websocket that speaks its frames.

    async with connect(port, token) as page:
        await page.send("message", id="m1", chat="c", text="hello")
        await page.expect("accepted", id="m1")
        answer = await page.expect("message", chat="c")
        await page.send("ack", id=answer["id"])

`expect` skips what is not asked for and keeps everything in `heard`; it fails after `PATIENCE_S`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

import attrs
import trio
from trio_websocket import ConnectionClosed, wrap_client_stream

PATIENCE_S = 20.0
GOODBYE_S = 1.0
Frame = dict[str, Any]


class Gone(Exception):
    """The server closed the connection. `code` is its close code, None if it just went away."""

    def __init__(self, code: int | None) -> None:
        self.code = code
        super().__init__(f"closed with {code}")


class Wire(Protocol):
    """What it needs of a WebSocketConnection."""

    async def send_message(self, data: str | bytes) -> None: ...

    async def get_message(self) -> str | bytes: ...


@attrs.define(eq=False)
class Client:
    connection: Wire
    heard: list[Frame] = attrs.field(factory=list)
    """Every frame of the server's, in order."""

    async def send(self, type: str, **fields: Any) -> None:
        await self.send_raw(json.dumps({"type": type, **fields}))

    async def send_raw(self, data: str | bytes) -> None:
        """Raises: Gone."""
        try:
            await self.connection.send_message(data)
        except ConnectionClosed as closed:
            raise Gone(_code(closed)) from None

    async def next(self) -> Frame:
        """Raises: Gone; TooSlowError."""
        with trio.fail_after(PATIENCE_S):
            try:
                data = await self.connection.get_message()
            except ConnectionClosed as closed:
                raise Gone(_code(closed)) from None
        frame: Frame = json.loads(data)
        self.heard.append(frame)
        return frame

    async def expect(self, type: str, **fields: Any) -> Frame:
        """The next frame of this type with these fields."""
        wanted = {"type": type, **fields}
        while True:
            frame = await self.next()
            if wanted.items() <= frame.items():
                return frame

    async def closed(self) -> int | None:
        """Read until the server closes; its code."""
        try:
            while True:
                await self.next()
        except Gone as gone:
            return gone.code

    def of(self, type: str) -> list[Frame]:
        """What was heard of this type."""
        return [frame for frame in self.heard if frame["type"] == type]


@asynccontextmanager
async def connect(port: int, token: str | None, **headers: str) -> AsyncIterator[Client]:
    """A connection that is ready, or with `token=None` one that has said nothing."""
    extra = [(name.encode(), value.encode()) for name, value in headers.items()]
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    try:
        async with trio.open_nursery() as nursery:
            host = f"127.0.0.1:{port}"
            connection = await wrap_client_stream(nursery, stream, host, "/ws", extra_headers=extra, max_message_size=2**24)
            client = Client(connection)
            if token is not None:
                await client.send("auth", token=token)
                await client.expect("ready")
            yield client
            with trio.move_on_after(GOODBYE_S):
                await connection.aclose()
            nursery.cancel_scope.cancel()
    finally:
        await trio.aclose_forcefully(stream)  # the library leaves it open where the server closed first


def _code(closed: ConnectionClosed) -> int | None:
    return closed.reason.code if closed.reason is not None else None
