"""TLS: the name is verified and sent, whatever address is dialled."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from nanobot.security.egress import open_egress
from nanobot.security.egress_errors import EgressError, TimedOut, Unreachable
from tests.security.egress.kit import OUTSIDE, Names, Served, answer, client, config, head_of, scripted, tls_client, tls_server

BOOK = {"xn--bcher-kva.example": [[OUTSIDE]]}


@asynccontextmanager
async def https(seen: list[str]) -> AsyncIterator[Served]:
    """A server that keeps the names it is asked for: by SNI, then by Host."""
    context = tls_server()
    context.sni_callback = lambda _socket, name, _context: seen.append(str(name))

    async def script(stream: trio.abc.Stream) -> None:
        assert isinstance(stream, trio.SocketStream)
        tls = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        head = await head_of(tls)
        seen.append(next(line[6:] for line in head.splitlines() if line.lower().startswith("host: ")))
        await tls.send_all(answer(b"safe"))

    async with scripted(script) as served:
        yield served


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://site.example:{port}/", "site.example"),
        ("https://SITE.example.:{port}/", "site.example"),
        ("https://www.site.example:{port}/", "www.site.example"),
        ("https://bücher.example:{port}/", "xn--bcher-kva.example"),
    ],
)
async def test_the_name_goes_with_the_checked_address(url: str, name: str) -> None:
    seen: list[str] = []
    names = Names(site_example=[[OUTSIDE]], www_site_example=[[OUTSIDE]], **BOOK)
    async with https(seen) as server, client(names) as egress:
        assert (await egress.fetch(url.format(port=server.port), cap=100))[1] == b"safe"
        assert (seen, names.asked) == ([name, f"{name}:{server.port}"], [name])


@pytest.mark.parametrize(
    "url", ["https://other.example:{port}/", "https://127.0.0.1:{port}/", "https://a.b.site.example:{port}/"]
)
async def test_a_certificate_of_somebody_else_does_not_hold(url: str) -> None:
    async with https([]) as server, client(Names(other_example=[[OUTSIDE]], a_b_site_example=[[OUTSIDE]])) as egress:
        with pytest.raises(Unreachable, match="certificate does not hold"):
            await egress.fetch(url.format(port=server.port), cap=100)


async def test_a_certificate_that_nobody_vouches_for_does_not_hold() -> None:
    """With the certificates that the machine trusts."""
    async with https([]) as server, open_egress(config(), resolver=Names(site_example=[[OUTSIDE]])) as egress:
        with pytest.raises(Unreachable, match="self-signed"):
            await egress.fetch(f"https://site.example:{server.port}/", cap=100)


async def test_plain_http_on_a_tls_port_is_no_answer() -> None:
    async with https([]) as server, client() as egress:
        with pytest.raises(EgressError):
            await egress.fetch(f"http://site.example:{server.port}/", cap=100)


async def test_a_handshake_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanobot.security.egress_wire.CONNECT_S", 0.2)

    async def script(_stream: trio.abc.Stream) -> None:
        await trio.sleep_forever()

    async with scripted(script) as server, client() as egress:
        with pytest.raises(TimedOut, match="TLS"):
            await egress.fetch(f"https://site.example:{server.port}/", cap=100)


def test_the_tests_trust_our_certificate_alone() -> None:
    assert len(tls_client().get_ca_certs()) == 1
    assert tls_client().verify_mode is ssl.CERT_REQUIRED
