"""The server under clients that are slow, deaf, hostile or too many, and how it stops."""

from __future__ import annotations

import base64
import json
import os
import time

import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from trio.testing import MockClock, wait_all_tasks_blocked

from nanobot.supervise.policy import Cause
from nanobot.web import listener
from nanobot.web.listener import CannotListen
from tests.fakes.ws import connect
from tests.web.kit import PATIENCE_S, listening, rest

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: " + base64.b64encode(bytes(16)) + b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)
GET = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"


async def hello(request: Request) -> Response:
    return PlainTextResponse("hello")


async def never(request: Request) -> Response:
    await trio.sleep_forever()


async def broken(request: Request) -> Response:
    raise RuntimeError("a bug")


async def flood(request: Request) -> Response:
    return Response(bytes(64 * 2**20))


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    while (message := await websocket.receive())["type"] == "websocket.receive":
        await websocket.send_text(json.dumps({"type": "echo", "chars": len(message.get("text") or "")}))


async def deaf(websocket: WebSocket) -> None:
    """Ends without having read what came."""
    await websocket.accept()
    await trio.sleep(1)
    await websocket.close(4000)


async def loud(websocket: WebSocket) -> None:
    await websocket.accept()
    for _ in range(1000):
        await websocket.send_text("y" * 65536)
    await websocket.receive()


PATHS = {"/hello": hello, "/never": never, "/broken": broken, "/flood": flood}
APP = Starlette(
    routes=[
        *(Route(path, endpoint, methods=["GET", "POST"]) for path, endpoint in PATHS.items()),
        WebSocketRoute("/ws", echo),
        WebSocketRoute("/deaf", deaf),
        WebSocketRoute("/loud", loud),
    ]
)


async def opened(port: int, sent: bytes) -> trio.SocketStream:
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    await stream.send_all(sent)
    return stream


async def answered(port: int, sent: bytes) -> bytes:
    async with await opened(port, sent) as stream:
        return await rest(stream)


async def still_serves(port: int) -> None:
    assert (await answered(port, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))).endswith(b"hello")


async def drip(stream: trio.SocketStream, data: bytes, pause: float) -> None:
    """Send it again and again until the other side has closed."""
    while True:
        await stream.send_all(data)
        await trio.sleep(pause)


# --- stopping


@pytest.mark.parametrize("path", ["/flood", "/loud", "/never", "/ws", "/hello"])
async def test_it_stops_at_once_whatever_its_clients_do(path: str) -> None:
    """Clients that do not read, that wait, that are idle: of each two."""
    sent = UPGRADE.replace(b"/ws", path.encode()) if path in ("/ws", "/loud") else GET.replace(b"/hello", path.encode())
    async with listening(APP) as (port, scope):
        streams = [await opened(port, sent) for _ in range(2)]
        await wait_all_tasks_blocked(0.05)
        before = time.monotonic()
        scope.cancel()
    assert time.monotonic() - before < 1.0
    for stream in streams:
        async with stream:
            await rest(stream)


async def test_nothing_listens_any_more_once_it_has_stopped() -> None:
    async with listening(APP) as (port, _):
        await still_serves(port)
    with pytest.raises(OSError, match="127"):
        await trio.open_tcp_stream("127.0.0.1", port)


async def test_a_port_that_is_taken_is_said() -> None:
    async with listening(APP) as (port, _):
        with pytest.raises(CannotListen, match=f"port {port} .*set gateway.port") as found:
            await listener.serve(APP, "127.0.0.1", port)
    assert found.value.cause is Cause.TRANSIENT


# --- slow clients


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        (b"", listener.HEAD_S),
        (b"GET /hello HTTP/1.1\r\nHost: x\r\nX-Slow: ", listener.HEAD_S),
        (GET, listener.IDLE_S),
        (GET + b"GET /hel", listener.IDLE_S),
        (b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n", listener.REQUEST_S),
        (b"POST /never HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1", listener.REQUEST_S),
    ],
)
async def test_everything_has_its_time(sent: bytes, seconds: float, autojump_clock: MockClock) -> None:
    async with listening(APP) as (port, _):
        stream = await opened(port, sent)
        async with stream:
            while await stream.receive_some():
                pass
        assert trio.current_time() == pytest.approx(seconds, abs=0.01)


async def test_a_head_that_drips_gains_no_time(autojump_clock: MockClock) -> None:
    async with listening(APP) as (port, _):
        stream = await opened(port, b"GET /hello HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        async with stream:
            with pytest.raises(trio.BrokenResourceError):
                await drip(stream, b"x", pause=1.0)
        assert trio.current_time() <= listener.HEAD_S + 2


async def test_a_websocket_may_be_idle(autojump_clock: MockClock) -> None:
    async with listening(APP) as (port, _), connect(port, None) as client:
        await trio.sleep(86_400)
        await client.send("still there")
        await client.expect("echo")


@pytest.mark.parametrize("path", [b"/flood", b"/loud"])
async def test_who_does_not_read_is_left(path: bytes, autojump_clock: MockClock) -> None:
    sent = UPGRADE.replace(b"/ws", path) if path == b"/loud" else GET.replace(b"/hello", path)
    async with listening(APP) as (port, _):
        stream = await opened(port, sent)
        await trio.sleep(listener.SEND_S + listener.GONE_S + 1)
        async with stream:
            with trio.fail_after(1):
                await rest(stream)


async def test_a_handler_that_ends_with_frames_unread_leaves_nothing(autojump_clock: MockClock) -> None:
    """The engine's own driver would wait for ever to tell it that the client has gone."""
    frame = b"\x81\x85\0\0\0\0hello"
    async with listening(APP) as (port, _):
        stream = await opened(port, UPGRADE.replace(b"/ws", b"/deaf"))
        async with stream:
            assert b"101" in await stream.receive_some()
            await stream.send_all(frame * 50)
            await rest(stream)
        assert trio.current_time() <= 1 + listener.IDLE_S


# --- too many, too much


async def test_over_its_bound_it_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "CONNECTIONS", 3)
    async with listening(APP) as (port, _):
        streams = [await opened(port, UPGRADE) for _ in range(3)]
        for stream in streams:
            assert b"101" in await stream.receive_some()
        assert (await answered(port, b"")).startswith(b"HTTP/1.1 503 ")
        await streams.pop().aclose()
        with trio.fail_after(PATIENCE_S):
            while (await answered(port, GET.replace(b"x\r\n", b"x\r\nConnection: close\r\n")))[9:12] == b"503":
                pass  # its place becomes free in a moment
        for stream in streams:
            await stream.aclose()


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"])
async def test_a_head_that_is_too_large(end: bytes) -> None:
    async with listening(APP) as (port, _):
        head = b"GET /hello HTTP/1.1\r\nHost: x\r\n" + b"X-Large: " + b"y" * 4 * listener.HEAD_BYTES
        assert (await answered(port, head + end)).startswith(b"HTTP/1.1 431 ")
        await still_serves(port)


async def test_a_websocket_message_that_is_too_large_ends_its_connection_only() -> None:
    async with listening(APP) as (port, _), connect(port, None) as other:
        async with connect(port, None) as client:
            await client.send_raw("x" * listener.MESSAGE_CHARS)
            assert (await client.next())["chars"] == listener.MESSAGE_CHARS
            await client.send_raw("x" * 2 * listener.MESSAGE_CHARS)
            assert await client.closed() == 1009
        await other.send("hello")
        await other.expect("echo")


async def test_what_comes_after_a_message_that_is_too_large_is_not_kept(autojump_clock: MockClock) -> None:
    """A client that ignores the close frame and goes on with one endless message."""
    start = b"\x01\xff" + (0x7FFF_FFFF).to_bytes(8, "big") + bytes(4)
    async with listening(APP) as (port, _):
        stream = await opened(port, UPGRADE)
        async with stream:
            assert b"101" in await stream.receive_some()
            await stream.send_all(start)
            with pytest.raises(trio.BrokenResourceError):
                await drip(stream, bytes(65536), pause=0.01)
        assert trio.current_time() <= listener.LINGER_S + 0.5
        await still_serves(port)


# --- what it does not speak


async def test_no_compression_is_agreed_upon() -> None:
    async with listening(APP) as (port, _), await opened(port, UPGRADE) as stream:
        answer = await stream.receive_some()
    assert b" 101 " in answer
    assert b"deflate" not in answer


@pytest.mark.parametrize(
    "sent",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0",
        GET[:-2] + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
    ],
)
async def test_http_2_is_not_spoken(sent: bytes, autojump_clock: MockClock) -> None:
    async with listening(APP) as (port, _):
        answer = await answered(port, sent)
        assert b" 101 " not in answer
        assert b"\0\0" not in answer
        await still_serves(port)


# --- hostile and broken


async def test_a_handler_with_a_bug_fails_alone(claimed_errors: list[str]) -> None:
    async with listening(APP) as (port, _):
        async with await opened(port, GET.replace(b"/hello", b"/broken")) as stream:
            assert b"HTTP/1.1 500 " in await stream.receive_some()
        await still_serves(port)
    assert any("a request failed" in line for line in claimed_errors)


PARTS = [
    *(GET, UPGRADE, b"GET / HTTP/1.1\r\n", b"HEAD /hello HTTP/1.1\r\n", b"POST /hello HTTP/1.1\r\n", b"CONNECT x:1 HTTP/1.1\r\n"),
    *(b"GET * HTTP/1.1\r\n", b"GET http://evil/ HTTP/1.1\r\n", b"GET /%ff%00 HTTP/1.1\r\n", b"Host: x\r\n", b"\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n", b"Content-Length: 3\r\n", b"Content-Length: x\r\n"),
    *(b"Expect: 100-continue\r\n", b"Upgrade: websocket\r\n", b"Connection: Upgrade\r\n", b"Connection: close\r\n"),
    *(b"\x16\x03\x01\x02\x00", b"\xff\xff", b"\x81\x85\0\0\0\0hello", b"\x81\x05hello", b"\x81\x82\0\0\0\0\xff\xff"),
    *(b"\x80\x80\0\0\0\0", b"\x88\x80\0\0\0\0", b"\x88\x81\0\0\0\0x", b"\x89\x80\0\0\0\0"),
]
"""Pieces of requests and of websocket frames, good and bad."""


@settings(max_examples=200, deadline=None)
@given(parts=st.lists(st.sampled_from(PARTS) | st.binary(max_size=20), min_size=1, max_size=8), half=st.booleans())
@example(parts=[UPGRADE, b"\x88\x80\0\0\0\0", b"\x81\x85\0\0\0\0hello"], half=True)
@example(parts=[GET, GET, GET], half=True)
def test_no_bytes_end_the_server(parts: list[bytes], *, half: bool) -> None:
    trio.run(_hostile, parts, half, clock=MockClock(autojump_threshold=0))


async def _hostile(parts: list[bytes], half: bool) -> None:
    async with listening(APP) as (port, _):
        stream = await opened(port, b"")
        async with stream:
            try:
                for part in parts:
                    await stream.send_all(part)
                    await trio.lowlevel.checkpoint()
                if half:
                    await stream.send_eof()
                with trio.move_on_after(60):
                    while await stream.receive_some():
                        pass
            except (trio.BrokenResourceError, OSError):
                pass  # it has closed already
        await still_serves(port)


async def test_a_descriptor_is_closed_with_each_connection(autojump_clock: MockClock) -> None:
    async with listening(APP) as (port, _):
        before = len(os.listdir("/proc/self/fd"))
        for sent in (GET, UPGRADE, b"nonsense\r\n\r\n", UPGRADE + b"\xff\xff", b""):
            stream = await opened(port, sent)
            await wait_all_tasks_blocked(0.01)
            await stream.aclose()
        await trio.sleep(60)
        assert len(os.listdir("/proc/self/fd")) == before
