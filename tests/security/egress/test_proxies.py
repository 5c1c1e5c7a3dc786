"""`tools.web.proxy`: the proxy is given the address that was checked, TLS verifies the name through it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import attrs
import pytest
import trio

from nanobot.config.schema import Secret
from nanobot.errors import ConfigError
from nanobot.security.egress import Egress, open_egress
from nanobot.security.egress_errors import Forbidden, Unreachable
from nanobot.security.egress_proxy import proxy_of
from tests.security.egress.kit import INSIDE, OUTSIDE, PATIENCE, Names, answer, config, head_of, says, scripted, tls_client
from tests.security.egress.test_tls import https


@attrs.define
class FakeProxy:
    """Speaks both protocols and goes where it is told, and keeps what it was told."""

    socks: bool
    login: str = ""
    port: int = 0
    told: list[str] = attrs.field(factory=list)

    @property
    def url(self) -> str:
        scheme, login = ("socks5" if self.socks else "http"), f"{self.login}@" if self.login else ""
        return f"{scheme}://{login}{INSIDE}:{self.port}"

    async def serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            try:
                host, port = await (self.greet_socks(stream) if self.socks else self.greet_http(stream))
            except trio.ClosedResourceError:
                return
            self.told.append(f"{host}:{port}")
            await relay(stream, await trio.open_tcp_stream(host, port))

    async def greet_http(self, stream: trio.SocketStream) -> tuple[str, int]:
        head = await head_of(stream)
        wanted = "Basic dXNlcjpwOnc=" if self.login else None
        given = re.search(r"Proxy-Authorization: (.*)\r", head)
        if (given[1] if given else None) != wanted:
            await stream.send_all(b"HTTP/1.1 407 Who are you\r\n\r\n")
            raise trio.ClosedResourceError
        where = re.match(r"CONNECT \[?([^ \]]+)\]?:(\d+) HTTP/1\.1\r\n", head)
        assert where
        await stream.send_all(b"HTTP/1.1 200 Connection established\r\nVia: us\r\n\r\n")
        return where[1], int(where[2])

    async def greet_socks(self, stream: trio.SocketStream) -> tuple[str, int]:
        assert (await exactly(stream, 3))[2] == (2 if self.login else 0)
        await stream.send_all(bytes([5, 2 if self.login else 0]))
        if self.login:
            assert await exactly(stream, 10) == b"\x01\x04user\x03p:w"
            await stream.send_all(b"\x01\x00")
        assert (await exactly(stream, 4)) == b"\x05\x01\x00\x01"
        packed = await exactly(stream, 6)
        await stream.send_all(b"\x05\x00\x00\x01" + b"\0" * 6)
        return ".".join(map(str, packed[:4])), int.from_bytes(packed[4:], "big")


async def exactly(stream: trio.SocketStream, count: int) -> bytes:
    data = b""
    while len(data) < count:
        if not (more := await stream.receive_some(count - len(data))):
            raise trio.ClosedResourceError
        data += more
    return data


async def relay(one: trio.SocketStream, other: trio.SocketStream) -> None:
    async def pump(source: trio.SocketStream, sink: trio.SocketStream) -> None:
        try:
            async for data in source:
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        nursery.cancel_scope.cancel()

    async with other, trio.open_nursery() as nursery:
        nursery.start_soon(pump, one, other)
        nursery.start_soon(pump, other, one)


@asynccontextmanager
async def proxied(*, socks: bool, login: str = "") -> AsyncIterator[tuple[FakeProxy, Egress]]:
    """A proxy inside, which is the owner's right, and a client that uses it."""
    proxy = FakeProxy(socks, login)
    names = Names(site_example=[[OUTSIDE]])
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(trio.serve_tcp, proxy.serve, 0, host=INSIDE))
            proxy.port = listeners[0].socket.getsockname()[1]
            async with open_egress(config(proxy=proxy.url), resolver=names, tls=tls_client()) as egress:
                yield proxy, egress
            nursery.cancel_scope.cancel()


KINDS = pytest.mark.parametrize(("socks", "login"), [(False, ""), (False, "user:p%3Aw"), (True, ""), (True, "user:p%3Aw")])


@KINDS
async def test_the_proxy_is_told_the_checked_address(*, socks: bool, login: str) -> None:
    seen: list[str] = []
    async with https(seen) as server, proxied(socks=socks, login=login) as (proxy, egress):
        assert (await egress.fetch(f"https://site.example:{server.port}/", cap=100))[1] == b"safe"
        assert proxy.told == [f"{OUTSIDE}:{server.port}"]
        assert seen == ["site.example", f"site.example:{server.port}"]


@KINDS
async def test_plain_http_goes_through_a_tunnel_too(*, socks: bool, login: str) -> None:
    async with scripted(says(answer(b"plain"))) as server, proxied(socks=socks, login=login) as (proxy, egress):
        assert (await egress.fetch(f"http://site.example:{server.port}/", cap=100))[1] == b"plain"
        assert proxy.told == [f"{OUTSIDE}:{server.port}"]


@pytest.mark.parametrize("socks", [False, True])
@pytest.mark.parametrize("url", ["http://127.0.0.2/", "http://inside.example/", "http://169.254.169.254/", "http://0x7f.2/"])
async def test_a_proxy_opens_nothing(url: str, *, socks: bool) -> None:
    async with proxied(socks=socks) as (proxy, egress):
        with pytest.raises(Forbidden):
            await egress.fetch(url, cap=100)
        assert proxy.told == []


@pytest.mark.parametrize("socks", [False, True])
async def test_a_wrong_certificate_behind_a_proxy(*, socks: bool) -> None:
    async with https([]) as server, proxied(socks=socks) as (_proxy, egress):
        with pytest.raises(Unreachable, match="certificate does not hold"):
            await egress.fetch(f"https://127.0.0.1:{server.port}/", cap=100)


@pytest.mark.parametrize(
    ("scheme", "said", "sentence"),
    [
        ("http", b"HTTP/1.1 403 Forbidden\r\n\r\n", r"refused CONNECT to 127\.0\.0\.1:\d+ \(403\)"),
        ("http", b"SSH-2.0\r\n\r\n", "no status"),
        ("http", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000, "did not answer as an HTTP proxy"),
        ("http", b"", "did not answer as an HTTP proxy"),
        ("socks5", b"\x05\xff", "way to log in"),
        ("socks5", b"\x05\x00\x05\x05\x00\x01", "connection refused"),
        ("socks5", b"\x05\x00\x05\x63\x00\x01", "code 99"),
        ("socks5", b"\x05", "closed the connection"),
        ("socks5", b"HTTP/1.1 400 Bad\r\n\r\n", "way to log in"),
    ],
)
async def test_a_proxy_that_refuses(scheme: str, said: bytes, sentence: str) -> None:
    async def script(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(said)
        if len(said) > 1:  # else it closes
            await stream.receive_some()

    async with scripted(script) as proxy:
        setting = config(proxy=f"{scheme}://{OUTSIDE}:{proxy.port}")
        async with open_egress(setting, tls=tls_client()) as egress:
            with trio.fail_after(PATIENCE), pytest.raises(Unreachable, match=sentence):
                await egress.fetch(f"https://{OUTSIDE}:{proxy.port}/", cap=100)


@pytest.mark.parametrize("setting", ["proxy", "https://proxy:3128", "http://", "http://proxy:x", "socks4://proxy", "http://:1"])
def test_a_proxy_that_is_not_understood_is_a_mistake_in_the_configuration(setting: str) -> None:
    with pytest.raises(ConfigError, match=r"tools\.web\.proxy") as raised:
        proxy_of(Secret(setting))
    assert "p:w" not in str(raised.value)


def test_a_password_is_not_shown() -> None:
    assert "hidden" not in repr(proxy_of(Secret("http://user:hidden@proxy:3128")))
