"""Who is let in: names, origins and tokens, as tables, against the real server."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from functools import partial

import pytest
import trio
from trio.testing import MockClock

from nanobot.channels.web.channel import UNAUTHORIZED
from nanobot.web.guard import CHECKS, WRONG_S, Doorman, hosted, same_origin
from tests.fakes.web import TOKEN
from tests.fakes.ws import connect
from tests.web.kit import BEARER, Server, served

ALLOWED = ("localhost", "127.0.0.1", "::1", "nano.example", "only.example:8443")


@pytest.fixture(name="server")
async def _server() -> AsyncIterator[Server]:
    async with served() as running:
        yield running


# --- the whole table


HOSTS = {
    "127.0.0.1:{port}": True,
    "localhost:{port}": True,
    "[::1]:{port}": True,
    "evil.example:{port}": False,
    "127.0.0.1.evil.example": False,
}
ORIGINS = {
    None: True,
    "http://{host}": True,
    "https://{host}": True,
    "http://evil.example": False,
    "null": False,
    "http://localhost:1": False,
}
TOKENS = {None: False, f"Bearer {TOKEN}": True, "Bearer wrong": False, f"Basic {TOKEN}": False, TOKEN: False, "Bearer ": False}
OPEN = ("/health", "/", "/app.js", "/style.css")
CLOSED = (
    "/status.json",
    "/sessions.json",
    "/nothing",
    "/health/",
    "//health",
    "/page/../status.json",
    "/%2e%2e/etc/passwd",
    "/docs",
)
EXISTING = (*OPEN, "/status.json", "/sessions.json")


@pytest.mark.parametrize("path", [*OPEN, *CLOSED])
@pytest.mark.parametrize("token", TOKENS)
async def test_who_gets_what(server: Server, path: str, token: str | None) -> None:
    """Every combination of host, origin, token and path, by one connection each."""
    waits = token is not None and "Bearer w" in token and path in CLOSED
    async with trio.open_nursery() as nursery:
        for host, known in HOSTS.items():
            for origin, ours in ORIGINS.items():
                if waits and not (known and ours and origin is None):
                    continue  # a wrong token takes half a second
                admitted = path in OPEN or TOKENS[token]
                wanted = 403 if not (known and ours) else 401 if not admitted else 200 if path in EXISTING else 404
                named = host.format(port=server.port)
                asks = {"Host": named, "Origin": origin and origin.format(host=named), "Authorization": token}
                nursery.start_soon(partial(_asks, server, wanted, path, **asks))


async def _asks(server: Server, wanted: int, path: str, **headers: str | None) -> None:
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    answer = await server.raw("\r\n".join([f"GET {path} HTTP/1.1", "Connection: close", *lines, "", ""]).encode())
    assert answer.startswith(f"HTTP/1.1 {wanted} ".encode()), (path, headers, answer[:200])
    if wanted in (401, 403):
        assert TOKEN.encode() not in answer


UPGRADE = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13"


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("origin", ORIGINS)
async def test_who_may_open_the_websocket(server: Server, host: str, origin: str | None) -> None:
    named = host.format(port=server.port)
    lines = ["GET /ws HTTP/1.1", f"Host: {named}", UPGRADE, *([f"Origin: {origin.format(host=named)}"] if origin else [])]
    async with await server.open("\r\n".join([*lines, "", ""]).encode()) as stream:
        answer = await stream.receive_some()
    wanted = 101 if HOSTS[host] and ORIGINS[origin] else 403
    assert answer.startswith(f"HTTP/1.1 {wanted} ".encode())


async def test_a_websocket_is_worth_nothing_without_the_token(server: Server) -> None:
    async with connect(server.port, None) as stranger:
        await stranger.send("auth", token="wrong")
        assert (await stranger.next())["code"] == "unauthorized"
        assert await stranger.closed() == UNAUTHORIZED
    async with connect(server.port, TOKEN) as page:
        assert page.heard == [{"type": "ready"}]


# --- its parts


NAMES = ["localhost", "LOCALHOST:80", "127.0.0.1:1", "[::1]", "[::1]:9", "nano.example", "nano.example:8443", "only.example:8443"]
FOREIGN_NAMES = ["", ":80", "localhost:", "localhost:x", "localhost:80:80", "localhost:²", "localhost.", "localhost@evil.example"]
FOREIGN_NAMES += ["evil.example#localhost", "localhost, evil.example", "::1", "[::1", "only.example", "only.example:1"]


@pytest.mark.parametrize("host", NAMES)
def test_names_of_ours(host: str) -> None:
    assert hosted(host, ALLOWED)


@pytest.mark.parametrize("host", FOREIGN_NAMES)
def test_foreign_names(host: str) -> None:
    assert not hosted(host, ALLOWED)


@pytest.mark.parametrize(
    ("origin", "host"),
    [("http://a", "a"), ("http://a:80", "a"), ("https://a", "a:443"), ("https://A.b", "a.B"), ("http://a:9", "a:9")],
)
def test_origins_of_ours(origin: str, host: str) -> None:
    assert same_origin(origin, host)


FOREIGN_ORIGINS = ["http://a:81", "null", "file://", "a", "", "http://b", "chrome-extension://a", "http://a.b", "http://b@a"]


@pytest.mark.parametrize("origin", [*FOREIGN_ORIGINS, "http://a@b", "http://a, http://b", "http://a/"])
def test_foreign_origins(origin: str) -> None:
    assert not same_origin(origin, "a")


@pytest.mark.parametrize(
    ("version", "headers", "wanted"),
    [
        ("1.1", ["Host: 127.0.0.1", "Origin: http://127.0.0.1", "Origin: http://127.0.0.1"], 403),
        ("1.1", ["Host: 127.0.0.1", "Host: evil.example"], 400),
        ("1.1", [], 400),
        ("1.0", [], 403),
        ("1.0", ["Host: 127.0.0.1"], 200),
    ],
)
async def test_headers_that_are_missing_or_there_twice(server: Server, version: str, headers: list[str], wanted: int) -> None:
    request = "\r\n".join([f"GET /health HTTP/{version}", *headers, "Connection: close", "", ""])
    assert (await server.raw(request.encode())).startswith(f"HTTP/1.1 {wanted} ".encode())


@pytest.mark.parametrize("path", ["/health", "/", "/status.json", "/nothing"])
async def test_every_answer_has_the_headers_that_keep_it_ours(server: Server, path: str) -> None:
    for headers in ({}, BEARER):
        answer = await server.get(path, **headers)
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert not [name for name in answer.headers if name.startswith("access-control") or name in ("server", "set-cookie")]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
async def test_everything_can_only_be_read(server: Server, method: str) -> None:
    for path in ("/", "/health", "/status.json"):
        answer = await server.get(path, method, **BEARER)
        assert (answer.status_code, answer.json()["code"]) == (405, "method")
    assert (await server.get("/status.json", method)).status_code == 401


@pytest.mark.parametrize(
    "body", [b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]
)
async def test_a_body_is_refused_unread(server: Server, body: bytes) -> None:
    answer = await server.raw(b"POST /health HTTP/1.1\r\nHost: 127.0.0.1\r\n" + body)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"body"' in answer


# --- guessing


async def test_guesses_are_slow_all_together(autojump_clock: MockClock) -> None:
    doorman = Doorman(TOKEN)
    rounds = 5
    async with trio.open_nursery() as nursery:
        for n in range(CHECKS * rounds):
            nursery.start_soon(_guess, doorman, f"guess {n}")
    assert trio.current_time() == pytest.approx(WRONG_S * rounds)


async def _guess(doorman: Doorman, token: str) -> None:
    assert not await doorman.admits(token)


async def test_the_right_token_costs_nothing_and_none_is_no_guess(autojump_clock: MockClock) -> None:
    doorman = Doorman(TOKEN)
    for _ in range(1000):
        assert await doorman.admits(TOKEN)
        assert not await doorman.admits("")
    assert trio.current_time() == 0


@pytest.mark.parametrize("token", ["ümlaut", "\ud800", "x" * 100_000, TOKEN + "\n", TOKEN[:-1]])
async def test_no_text_confuses_it(token: str, autojump_clock: MockClock) -> None:
    assert not await Doorman(TOKEN).admits(token)


async def test_a_wrong_token_on_the_wire_takes_its_time(server: Server) -> None:
    before = time.monotonic()
    assert (await server.get("/status.json", authorization="Bearer guess")).status_code == 401
    assert time.monotonic() - before >= WRONG_S
