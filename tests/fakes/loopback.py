"""A small HTTP/1.1 server on 127.0.0.1, made of trio and h11, for fakes that speak HTTP.

`loopback(handler)` listens on a port of the system's choice and serves until its block is left. Connections are kept
alive between requests. A handler is cancelled as soon as its client closes the connection (`Loopback.gone` counts that),
so a fake may stall for ever and still never outlives its client.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial

import attrs
import h11
import trio

Headers = Iterable[tuple[str, str]]
CLOSE_GRACE = 1.0  # seconds for closing a socket of ours; it is loopback, so this only bounds a bug


@attrs.frozen
class HttpRequest:
    """`headers` has lower-case names."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@attrs.define
class Responder:
    """Writes the answer to one request. A handler ends with `end`, `reply` or `cut`."""

    stream: trio.SocketStream
    http: h11.Connection
    ended: bool = False

    async def head(self, status: int = 200, headers: Headers = ()) -> None:
        response = h11.Response(status_code=status, headers=list(headers))
        await self.stream.send_all(self.http.send(response))

    async def data(self, chunk: bytes) -> None:
        await self.stream.send_all(self.http.send(h11.Data(data=chunk)))

    async def end(self) -> None:
        await self.stream.send_all(self.http.send(h11.EndOfMessage()))
        self.ended = True

    async def reply(self, status: int, body: bytes, headers: Headers = (), kind: str = "application/json") -> None:
        await self.head(status, [("content-type", kind), ("content-length", str(len(body))), *headers])
        await self.data(body)
        await self.end()

    async def cut(self) -> None:
        """Close the connection in the middle of the answer."""
        await self.stream.aclose()


Handler = Callable[[HttpRequest, Responder], Awaitable[None]]


@attrs.define
class Loopback:
    handler: Handler
    port: int = 0
    open: int = 0
    """Connections that are open now."""
    accepted: int = 0
    gone: int = 0
    """Clients that closed while they were being answered."""
    _closed: trio.Event = attrs.field(factory=trio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def all_closed(self) -> None:
        """Wait until no connection is open."""
        while self.open:
            await self._closed.wait()

    def closed_one(self) -> None:
        self.open -= 1
        self._closed.set()
        self._closed = trio.Event()


@asynccontextmanager
async def loopback(handler: Handler, port: int = 0) -> AsyncIterator[Loopback]:
    """Serve until the block is left; then every connection is closed."""
    server = Loopback(handler)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, partial(_connection, server), port, host="127.0.0.1"))
        server.port = listeners[0].socket.getsockname()[1]
        yield server
        nursery.cancel_scope.cancel()


async def _connection(server: Loopback, stream: trio.SocketStream) -> None:
    server.open += 1
    server.accepted += 1
    http = h11.Connection(h11.SERVER)
    try:
        while (request := await _read_request(stream, http)) is not None:
            if not await _answer(server, stream, http, request):
                return
            http.start_next_cycle()
    except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
        pass  # the client went away in the middle of a message
    finally:
        with trio.move_on_after(CLOSE_GRACE, shield=True):
            await trio.aclose_forcefully(stream)
        server.closed_one()


async def _answer(server: Loopback, stream: trio.SocketStream, http: h11.Connection, request: HttpRequest) -> bool:
    """True if the connection can take another request."""
    responder = Responder(stream, http)
    broken = False

    async def watch() -> None:
        """Notice that the client has closed while the handler is still at work."""
        try:
            data = await stream.receive_some()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            data = b""
        if data:
            http.receive_data(data)
        else:
            server.gone += 1
            nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            await server.handler(request, responder)
            nursery.cancel_scope.cancel()
    except* (trio.BrokenResourceError, trio.ClosedResourceError):
        broken = True
    return responder.ended and not broken and http.our_state is h11.DONE and http.their_state is h11.DONE


async def _read_request(stream: trio.SocketStream, http: h11.Connection) -> HttpRequest | None:
    """The next request, None when the client has closed."""
    head: h11.Request | None = None
    body = bytearray()
    while True:
        match http.next_event():
            case h11.NEED_DATA:
                http.receive_data(await stream.receive_some())
            case h11.Request() as head:
                pass
            case h11.Data() as data:
                body += data.data
            case h11.EndOfMessage() if head is not None:
                headers = {name.decode().lower(): value.decode() for name, value in head.headers}
                return HttpRequest(head.method.decode(), head.target.decode(), headers, bytes(body))
            case _:
                return None
