"""The HTTP server: hypercorn's protocol engine (h11, wsproto) behind a listener and a driver of our own, so that all is bounded.

Promises: `serve` reports the bound port once the kernel accepts connections, and runs until it is cancelled; then it ends at
once, whatever a client does or does not read (a handler may use a shielded moment to say goodbye). One connection costs two
tasks and has one cancel scope, whose deadline bounds every wait: a request's head, an idle connection, a request, a client that
does not read. Over `CONNECTIONS` a client is refused. No connection can end the server or another connection.

Of hypercorn its own driver (`TCPServer`) is not used: it shields `send_all`, so that a client that does not read stops the
stop; it speaks HTTP/2 in clear text, and waits for ever where a handler ended with frames unread. Left out of its engine:
HTTP/2, and `permessage-deflate`, whose windows cost 300 KiB a connection.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from math import inf
from typing import cast

import h11
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.logging import Logger
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.ws_stream import FrameTooLargeError, WebsocketBuffer, WSStream
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import (
    AppWrapper,
    ASGIFramework,
    ASGIReceiveCallable,
    ASGIReceiveEvent,
    ASGISendCallable,
    ASGISendEvent,
    ConnectionState,
    LifespanState,
    Scope,
)
from loguru import logger
from starlette.types import ASGIApp
from wsproto.events import Message
from wsproto.utilities import ProtocolError as WebsocketProtocolError

from nanobot.supervise.policy import Cause, ChildFailed

CONNECTIONS = 512
"""At a time. A person has a few pages open; the rest is margin for a flood that must not take our descriptors."""
HEAD_S = 10.0
"""For a request's head, so that a client that drips bytes does not keep its place."""
IDLE_S = 5.0
"""For the next request of a connection."""
REQUEST_S = 30.0
"""For an answer; the largest is a list of sessions. A websocket has no such bound."""
SEND_S = 20.0
"""For one write: a client that reads nothing for so long is gone."""
GONE_S = 10.0
"""For a handler to finish what it does after its client left: a message already read becomes durable."""
LINGER_S = 1.0
"""For a client to read our last words before the connection is reset."""
HEAD_BYTES = 16 * 1024
MESSAGE_CHARS = 2**20
"""Of one websocket message."""
READ_BYTES = 2**14
BACKLOG = 128
KEEPALIVE_S = 60
"""A peer that vanished without a word (a laptop that sleeps) is noticed by the kernel after this and three probes."""
TOGETHER = "nanobot.together"
"""An extension of ASGI for websockets: its `write()` is an asynchronous context, in which frames are gathered."""
_REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 5\r\ncontent-length: 0\r\n\r\n"


class CannotListen(ChildFailed):
    """The address cannot be listened on: somebody else does, or it is not ours."""


async def serve(app: ASGIApp, host: str, port: int, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
    """Serve an ASGI application until cancelled. Reports the bound port. Raises: CannotListen."""
    try:
        listeners = await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG)
    except OSError as error:
        why = error.strerror or str(error)
        text = f"cannot listen on {host} port {port} ({why}): set gateway.port or gateway.host to something free"
        raise CannotListen(text, cause=Cause.TRANSIENT) from error
    task_status.started(listeners[0].socket.getsockname()[1])
    await trio.serve_listeners(_Engine(app).connected, listeners)


class _Engine:
    """What all connections share."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = cast(ASGIFramework, app)  # one protocol, whose types the two libraries spell in two ways
        self.config = _config()
        self.context = WorkerContext(None)
        self._open = 0

    async def connected(self, stream: trio.SocketStream) -> None:
        if self._open >= CONNECTIONS:
            await _refuse(stream)
            return
        self._open += 1
        try:
            await _Connection(self, stream).run()
        finally:
            self._open -= 1


class _Connection:
    """Moves bytes between one socket and the protocol engine. `scope` bounds everything done for it."""

    def __init__(self, engine: _Engine, stream: trio.SocketStream) -> None:
        self._engine, self._stream = engine, stream
        self._scope = trio.CancelScope()
        self._sending = trio.Lock()
        self._deaf = self._mute = False
        """What still comes is thrown away; nothing more is written."""
        self._held: bytearray | None = None

    async def run(self) -> None:
        self.within(HEAD_S)
        try:
            with self._scope:
                _watch_peer(self._stream)
                tasks = _Tasks(self._engine.app, self)
                async with tasks:
                    await self._read(_Http(self._engine, tasks, self))
        except* (h11.ProtocolError, WebsocketProtocolError) as group:
            self.ruined(group)

    def ruined(self, error: Exception) -> None:
        """The client broke the protocol. No error of ours."""
        logger.debug("a connection was ended for what it sent: {!r}", error)
        self._scope.cancel()

    def within(self, seconds: float) -> None:
        """Whatever goes on must have got on by then."""
        self._scope.deadline = trio.current_time() + seconds

    async def send(self, event: Event) -> None:
        """What the engine says: bytes to write, the end of the connection, or that it waits for the next request."""
        match event:
            case RawData(data=data):
                await self._write(data)
            case Closed():
                await self._end()
            case Updated(idle=True):
                self.within(IDLE_S)
            case _:
                pass

    async def _read(self, protocol: _Http) -> None:
        """Feed the engine until the client is gone."""
        data = b"-"
        while data:
            try:
                data = bytes(await self._stream.receive_some(READ_BYTES))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            if not self._deaf:
                await protocol.handle(RawData(data))
        self._leave()
        await protocol.handle(Closed())

    @asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """What is written inside goes out in one write at its end: a system call costs more than a frame."""
        self._held = held = bytearray()
        try:
            yield
        finally:
            self._held = None
        await self._write(held)

    async def _write(self, data: bytes | bytearray) -> None:
        if self._held is not None:
            self._held += data
            return
        async with self._sending:
            if self._mute:
                return
            try:
                with trio.fail_after(SEND_S):
                    await self._stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
                self._leave()

    def hear_no_more(self) -> None:
        """It may read our last words."""
        self._deaf = True
        self.within(LINGER_S)

    def _leave(self) -> None:
        self._deaf = self._mute = True
        self.within(GONE_S)

    async def _end(self) -> None:
        self._mute = True
        self.hear_no_more()
        try:
            await self._stream.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            pass  # they are gone, or do not read: the deadline ends it


class _Http(H11Protocol):
    """HTTP/1.1 and websockets, nothing else."""

    def __init__(self, engine: _Engine, tasks: _Tasks, connection: _Connection) -> None:
        state = ConnectionState(LifespanState({}))
        super().__init__(ASGIWrapper(engine.app), engine.config, engine.context, tasks, state, False, None, None, connection.send)
        self._of = connection

    async def _check_protocol(self, event: h11.Request) -> None:
        """The engine would change to HTTP/2 here."""

    async def _create_stream(self, request: h11.Request) -> None:
        kept = [(name, value) for name, value in request.headers if name != b"sec-websocket-extensions"]
        plain = h11.Request(method=request.method, target=request.target, headers=kept, http_version=request.http_version)
        await super()._create_stream(plain)
        if isinstance(self.stream, WSStream):
            self.stream.buffer = _Bounded(MESSAGE_CHARS, self._of.hear_no_more)


class _Bounded(WebsocketBuffer):
    """Ends the connection of a message that is too long: the engine's own says so and goes on collecting it."""

    def __init__(self, most: int, end: Callable[[], None]) -> None:
        super().__init__(most)
        self._end = end

    def extend(self, event: Message[str]) -> None:
        if self.length + len(event.data) > self.max_length:
            self._end()
            raise FrameTooLargeError
        super().extend(event)


class _Tasks(TaskGroup):
    """Runs the application for each request, and gives each its time. Bodies of requests are thrown away: none is wanted."""

    def __init__(self, app: ASGIFramework, connection: _Connection) -> None:
        super().__init__()
        self._app, self._connection = app, connection

    async def spawn_app(
        self, app: AppWrapper, config: Config, scope: Scope, send: Callable[[ASGISendEvent | None], Awaitable[None]]
    ) -> Callable[[ASGIReceiveEvent], Awaitable[None]]:
        if scope["type"] == "websocket":
            self._connection.within(inf)
            scope["extensions"][TOGETHER] = {"write": self._connection.together}
        else:
            self._connection.within(REQUEST_S)
        over = trio.Event()

        async def run(
            scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable, sync_spawn: object, call_soon: object
        ) -> None:
            try:
                await self._app(scope, receive, send)
            except (h11.ProtocolError, WebsocketProtocolError) as error:  # what the client sent, seen from our side
                self._connection.ruined(error)
            finally:
                over.set()

        put = await super().spawn_app(run, config, scope, send)

        async def put_where_read(event: ASGIReceiveEvent) -> None:
            if scope["type"] == "websocket" and not over.is_set():  # else nobody takes it, and the engine would wait
                await put(event)

        return put_where_read


class _Log(Logger):
    """What the engine reports of a handler that raised goes where all our errors go."""

    async def exception(self, message: str, *args: object, **_: object) -> None:
        logger.opt(exception=True).error("a request failed: {}", message)


def _config() -> Config:
    config = Config()
    config.accesslog = config.errorlog = None
    config.logger_class = _Log
    config.include_server_header = False
    config.h11_max_incomplete_size = HEAD_BYTES
    config.max_app_queue_size = 2  # what a client sends ahead waits in the kernel, not here
    return config


def _watch_peer(stream: trio.SocketStream) -> None:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", KEEPALIVE_S), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            stream.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


async def _refuse(stream: trio.SocketStream) -> None:
    with trio.move_on_after(LINGER_S):
        try:
            await stream.send_all(_REFUSAL)
        except trio.BrokenResourceError:
            pass
