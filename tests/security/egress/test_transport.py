"""Egress as the transport of somebody else's httpx2 client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest

from nanobot.security.egress_errors import EgressError, Forbidden, Unreachable
from tests.fakes.loopback import HttpRequest, Responder, loopback
from tests.security.egress.kit import INSIDE, OUTSIDE, answer, client, says, scripted, trap


@asynccontextmanager
async def guarded() -> AsyncIterator[httpx2.AsyncClient]:
    async with client() as egress, httpx2.AsyncClient(transport=await egress.transport(), follow_redirects=True) as http:
        yield http


async def echo(request: HttpRequest, responder: Responder) -> None:
    await responder.reply(200, f"{request.method} {request.path} {request.headers['host']} ".encode() + request.body)


async def test_requests_go_through_and_connections_are_kept() -> None:
    async with loopback(echo) as server, guarded() as http:
        url = f"http://site.example:{server.port}/mcp?a=b"
        await http.post(url, json={"a": 0})
        response = await http.post(url, json={"a": 1})
        assert (response.text, server.accepted) == (f'POST /mcp?a=b site.example:{server.port} {{"a":1}}', 1)


async def test_a_stream_can_be_left_in_the_middle() -> None:
    """At the transport: httpx2's own iterators have to be closed by who uses them."""
    async with scripted(says(answer(b"data: 1\n\n", "Content-Length: 999"))) as server, client() as egress:
        transport = await egress.transport()
        response = await transport.handle_async_request(httpx2.Request("GET", f"http://{OUTSIDE}:{server.port}/"))
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        assert await anext(aiter(response.stream)) == b"data: 1\n\n"
        await response.aclose()
        await transport.aclose()


@pytest.mark.parametrize(
    "url", ["http://inside.example:{port}/", "http://127.0.0.2:{port}/", "http://0x7f.2:{port}/", "ws://site.example/"]
)
async def test_nothing_gets_inside(url: str) -> None:
    async with trap() as inside, guarded() as http:
        with pytest.raises(Forbidden):
            await http.get(url.format(port=inside.port))


async def test_a_redirect_that_the_client_follows_is_checked() -> None:
    async with trap() as inside, guarded() as http:
        onward = answer(b"", f"Location: http://{INSIDE}:{inside.port}/", status="302 Found")
        async with scripted(says(onward)) as server:
            with pytest.raises(Forbidden):
                await http.get(f"http://{OUTSIDE}:{server.port}/")


async def test_host_and_target_cannot_be_forged() -> None:
    async with loopback(echo) as server, guarded() as http:
        url = f"http://site.example:{server.port}/"
        forged = {"target": b"http://other.example/", "sni_hostname": "other.example"}
        response = await http.get(url, headers={"Host": "other.example"}, extensions=forged)
        assert response.text == f"GET / site.example:{server.port} "


async def test_errors_are_ours() -> None:
    async with scripted(says(answer(b"x", "Content-Length: 9"))) as server, guarded() as http:
        with pytest.raises(EgressError):
            await http.get(f"http://{OUTSIDE}:{server.port}/")
        with pytest.raises(Unreachable):
            await http.get(f"http://{OUTSIDE}:1/")
