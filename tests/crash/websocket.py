"""A websocket of `/ws` whose client can misbehave: leave without a word, reset the connection, have a small buffer."""

from __future__ import annotations

import json
import socket
import struct
from collections import deque
from typing import Any

import attrs
import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Event, Ping, RejectConnection, Request, TextMessage
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

Frame = dict[str, Any]
BUFFER = 4096
"""Bytes that a slow reader's kernel takes for it."""
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of a connection that closes with RST."""


class Gone(Exception):
    """The connection is over."""


@attrs.define(eq=False)
class Socket:
    """One task reads; any may write."""

    _stream: trio.SocketStream
    _protocol: WSConnection = attrs.field(factory=lambda: WSConnection(ConnectionType.CLIENT))
    _events: deque[Event] = attrs.field(factory=deque)
    _writing: trio.Lock = attrs.field(factory=trio.Lock)
    _pieces: list[str] = attrs.field(factory=list)

    @classmethod
    async def open(cls, port: int, token: str, *, small: bool) -> Socket:
        """Connected and authorized; `ready` is the next frame. Raises: Gone."""
        raw = trio.socket.socket()
        if small:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        opened = cls(trio.SocketStream(raw)) if await _connected(raw, port) else None
        if opened is None:
            raw.close()
            raise Gone
        await opened._write(Request(host=f"127.0.0.1:{port}", target="/ws"))
        match await opened._event():
            case AcceptConnection():
                await opened.send("auth", token=token)
                return opened
            case _:
                opened.leave()
                raise Gone

    async def send(self, type: str, **fields: object) -> None:
        """Raises: Gone."""
        await self._write(TextMessage(json.dumps({"type": type, **fields})))

    async def receive(self) -> Frame:
        """The next frame. Raises: Gone."""
        while True:
            match await self._event():
                case TextMessage(data=piece, message_finished=whole):
                    self._pieces.append(piece)
                    if whole:
                        frame: Frame = json.loads("".join(self._pieces))
                        self._pieces.clear()
                        return frame
                case Ping() as ping:
                    await self._write(ping.response())
                case CloseConnection() | RejectConnection():
                    raise Gone
                case _:  # of other kinds there are none
                    pass

    def leave(self, *, reset: bool = False) -> None:
        """Without a word; who reads or writes finds out."""
        if reset:
            self._stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._stream.socket.close()

    async def _event(self) -> Event:
        try:
            while not self._events:
                data = await self._stream.receive_some()
                self._protocol.receive_data(bytes(data) or None)
                self._events.extend(self._protocol.events())
                if not data:
                    raise Gone
        except (trio.BrokenResourceError, trio.ClosedResourceError, RemoteProtocolError):
            raise Gone from None
        return self._events.popleft()

    async def _write(self, event: Event) -> None:
        try:
            async with self._writing:
                await self._stream.send_all(self._protocol.send(event))
        except (trio.BrokenResourceError, trio.ClosedResourceError, LocalProtocolError):  # the last: the server has said goodbye
            raise Gone from None


async def _connected(raw: trio.socket.SocketType, port: int) -> bool:
    try:
        await raw.connect(("127.0.0.1", port))
    except OSError:
        return False
    return True
