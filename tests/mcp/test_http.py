"""Servers behind an address: everything goes through egress, and what goes wrong with a call stays with it."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from nanobot.config.schema import McpServerConfig
from nanobot.mcp.line import MESSAGE_BYTES, TOO_LARGE
from tests.fakes.loopback import HttpRequest, Responder, loopback
from tests.fakes.mcp_http import Answer, Site, mcp_site
from tests.mcp.kit import HERE, Kept, configured, keeping

HUGE = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": "x" * 50_000_000}]}}).encode()


@asynccontextmanager
async def reached(folder: Path, site: Site, **more: Any) -> AsyncIterator[Kept]:
    async with keeping(folder, configured(one=McpServerConfig(url=site.url, networks=HERE, **more))) as kept:
        await kept.until_up()
        yield kept


def saying(status: int, body: bytes, kind: str = "application/json", **headers: str) -> Answer:
    async def answer(_request: HttpRequest, to: Responder, _number: Any) -> None:
        await to.reply(status, body, list(headers.items()), kind)

    return answer


async def hang(_request: HttpRequest, _to: Responder, _number: Any) -> None:
    await trio.sleep_forever()


async def cut(_request: HttpRequest, to: Responder, _number: Any) -> None:
    await to.head(200, [("content-type", "application/json"), ("content-length", "1000")])
    await to.data(b'{"jsonrpc"')
    await to.cut()


async def endless(_request: HttpRequest, to: Responder, _number: Any) -> None:
    await to.head(200, [("content-type", "application/json")])
    while True:
        await to.data(b"[" * 65536)


async def long_event(_request: HttpRequest, to: Responder, _number: Any) -> None:
    await to.head(200, [("content-type", "text/event-stream")])
    await to.data(b"data: ")
    for _ in range(MESSAGE_BYTES // 65536 + 2):
        await to.data(b"x" * 65536)
    await to.end()


async def test_a_good_neighbour(tmp_path: Path) -> None:
    async with mcp_site() as site, reached(tmp_path, site, headers={"x-key": "k"}) as kept:
        assert (await kept.call("mcp_one_echo", text="hello")).text == "hello"
        assert all(request.headers["x-key"] == "k" for request in site.seen)
        assert all(request.headers["accept-encoding"] == "identity" for request in site.seen)


PACKED = gzip.compress(b"[" * 1_000_000)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (saying(200, HUGE), TOO_LARGE),
        (endless, TOO_LARGE),
        (
            saying(530, b"<h1>origin\x1b[2J is down</h1>", "text/html"),
            "it answered with HTTP 530: <h1>origin<U+001B>[2J is down</h1>",
        ),
        (saying(200, b"<h1>hello</h1>", "text/html"), "Unexpected content type"),
        (saying(200, b"{", "application/json"), "Failed to parse JSON response"),
        (saying(200, b"[" * 100_000), "Failed to parse JSON response"),
        (saying(200, PACKED, **{"content-encoding": "gzip"}), "it packed its answer"),
        (saying(302, b"", location="http://127.0.0.2/mcp"), "not followed"),
        (cut, "peer closed connection"),
        (saying(400, b'{"jsonrpc":"2.0","id":null,"error":{"code":-32602,"message":"no such tool"}}'), "no such tool"),
    ],
)
async def test_what_goes_wrong_with_a_call_stays_with_it(tmp_path: Path, answer: Answer, said: str) -> None:
    async with mcp_site() as site:
        site.answers["bad"] = answer
        async with reached(tmp_path, site) as kept:
            result = await kept.call("mcp_one_bad")
            assert said in result.text
            assert (result.failed, result.tainted) == (True, True)
            assert (await kept.call("mcp_one_echo", text="after")).text == "after"
            assert kept.node().restarts == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the SDK leaves the stream to the collector
async def test_an_event_without_measure(tmp_path: Path) -> None:
    async with mcp_site() as site:
        site.answers["long"] = long_event
        async with reached(tmp_path, site) as kept:
            assert "SSE stream failed" in (await kept.call("mcp_one_long")).text
            assert (await kept.call("mcp_one_echo", text="after")).text == "after"


async def test_a_call_that_hangs_is_cancelled_and_its_connection_closed(tmp_path: Path) -> None:
    async with mcp_site() as site:
        site.answers["hang"] = hang
        async with reached(tmp_path, site) as kept:
            with trio.move_on_after(0.2) as scope:
                await kept.call("mcp_one_hang")
            assert trio.current_time() - scope.deadline < 0.5
            assert (await kept.call("mcp_one_echo", text="after")).text == "after"
    await site.server.all_closed()


async def test_a_session_that_is_forgotten_is_begun_anew_and_the_call_made_again(tmp_path: Path) -> None:
    async with mcp_site() as site, reached(tmp_path, site) as kept:
        site.session = 70
        assert (await kept.call("mcp_one_echo", text="again")).text == "again"
        assert kept.node().restarts == 1


async def test_a_call_that_may_have_run_is_not_made_again(tmp_path: Path) -> None:
    async with mcp_site() as site:
        site.answers["cut"] = cut
        async with reached(tmp_path, site) as kept:
            assert (await kept.call("mcp_one_cut")).failed
            assert site.calls() == ["cut"]


async def test_a_server_that_went_away_is_said_and_comes_back(tmp_path: Path) -> None:
    async with mcp_site() as site:
        port = site.server.port
        async with keeping(tmp_path, configured(one=McpServerConfig(url=site.url, networks=HERE))) as kept:
            await kept.until_up()
            tools = kept.names()
            async with trio.open_nursery() as nursery:
                site.server.handler = _away
                await kept.call("mcp_one_echo", text="x")
                nursery.cancel_scope.cancel()
            assert kept.names() == tools
            site.server.handler = site.serve
            assert (await kept.call("mcp_one_echo", text="back")).text == "back"
            assert site.server.port == port


async def _away(_request: HttpRequest, to: Responder) -> None:
    await to.cut()


@pytest.mark.parametrize(
    ("answer", "state", "error"),
    [
        (saying(530, b"down", "text/plain"), "waiting", "it answered with HTTP 530: down"),
        (saying(401, b"who?", "text/plain"), "parked", "it refuses us (HTTP 401): nanobot mcp login one"),
        (saying(200, b"{}"), "waiting", ""),
        (saying(200, b"[]"), "waiting", ""),
        (saying(200, HUGE), "waiting", TOO_LARGE),
    ],
)
async def test_a_server_that_does_not_start(tmp_path: Path, answer: Answer, state: str, error: str) -> None:
    async with mcp_site() as site:
        site.first = answer
        async with keeping(tmp_path, configured(one=McpServerConfig(url=site.url, networks=HERE))) as kept:
            await kept.until(lambda: kept.node().state == state)
            assert error in kept.node().error


async def test_nobody_listens(tmp_path: Path) -> None:
    async with mcp_site() as site:
        pass
    async with keeping(tmp_path, configured(one=McpServerConfig(url=site.url, networks=HERE))) as kept:
        await kept.until(lambda: kept.node().state == "waiting")
        assert "no connection to port" in kept.node().error


# --- into the inside


@pytest.mark.parametrize("sse", [False, True])
async def test_an_inner_address_that_was_not_allowed_is_never_connected_to(tmp_path: Path, *, sse: bool) -> None:
    async with mcp_site() as site:
        url = f"{site.server.url}/sse" if sse else site.url
        config = configured(one=McpServerConfig(url=url), two=McpServerConfig(url=url, networks=("10.0.0.0/8",)))
        async with keeping(tmp_path, config) as kept:
            for name in ("one", "two"):
                await kept.until(lambda name=name: kept.node(name).state == "parked")  # type: ignore[misc]
                assert "127.0.0.1 is not fetched: it is this machine (loopback)" in kept.node(name).error
        assert site.server.accepted == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_leads_to_another_place(tmp_path: Path, status: int) -> None:
    visits: list[HttpRequest] = []

    async def trap(request: HttpRequest, to: Responder) -> None:
        visits.append(request)
        await to.reply(200, b"{}")

    async with loopback(trap) as inside, mcp_site() as site:
        site.answers["away"] = saying(status, b"", location=f"{inside.url}/mcp")
        async with reached(tmp_path, site, headers={"authorization": "Bearer secret"}) as kept:
            assert (await kept.call("mcp_one_away")).failed
    assert visits == []


async def test_the_rules_of_one_server_open_nothing_for_others(tmp_path: Path) -> None:
    async with mcp_site() as site:
        config = configured(one=McpServerConfig(url=site.url, networks=HERE), two=McpServerConfig(url=site.url))
        async with keeping(tmp_path, config) as kept:
            await kept.until_up("one")
            await kept.until(lambda: kept.node("two").state == "parked")
