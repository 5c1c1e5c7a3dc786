"""A server behind an address: the SDK's transports on a client whose every connection goes through egress.

The SDK lets an exception below it end the whole connection. So what goes wrong with one request becomes an answer of ours to it
(`Careful`), an error in the words of the protocol; what concerns the connection is told to `line`. Bodies that are one piece are
bounded here; the SDK bounds the events of streams. Nothing packed is asked for, so nothing can unpack to more.

This module loads the SDK; import it in a thread.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from contextlib import asynccontextmanager

import attrs
import httpx2
import trio
from mcp.client._transport import TransportStreams
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from nanobot.mcp.line import MESSAGE_BYTES, TOO_LARGE, UNSENT, Line
from nanobot.security.egress import CLOSE_GRACE, Egress
from nanobot.security.egress_errors import EgressError, Forbidden, Unreachable
from nanobot.supervise.policy import Cause
from nanobot.tools.plain import visible

CONNECT_S = 10.0
"""Seconds for a connection; answers have the deadlines of calls."""
BAD_GATEWAY = 502
REFUSED = (401, 403)
SAID_CHARS = 200
SESSION = "mcp-session-id"
FORGOTTEN = "it has forgotten the session"
FAILED = -32603
"""Code of the protocol for what went wrong on the way."""
LOGIN = "it refuses us (HTTP {}): {}"


@attrs.frozen
class Address:
    url: str
    headers: Mapping[str, str]
    sse: bool
    way_in: str
    """What somebody can do whom it refuses."""


class Careful(httpx2.AsyncBaseTransport):
    """See the module."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, address: Address, line: Line, *, logged_in: bool) -> None:
        self._inner, self._address, self._line, self._logged_in = inner, address, line, logged_in
        self._place = httpx2.URL(address.url)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Raises: EgressError for what is not asked of the server itself."""
        if not self._is_server(request.url):
            return await self._whole(request, await self._inner.handle_async_request(request))
        try:
            response = await self._inner.handle_async_request(request)
            if response.is_success and _is_stream(response):
                return response
            response = await self._whole(request, response)
        except EgressError as error:
            self._judge(error)
            return _instead(request, BAD_GATEWAY, str(error), code=UNSENT if isinstance(error, Unreachable) else FAILED)
        return response if response.is_success else self._refused(request, response)

    async def aclose(self) -> None:
        await self._inner.aclose()

    def _is_server(self, url: httpx2.URL) -> bool:
        here = self._place
        same = (url.scheme, url.host, url.port) == (here.scheme, here.host, here.port)
        return same and (self._address.sse or url.path == here.path)

    def _judge(self, error: EgressError) -> None:
        match error:
            case Forbidden():
                advice = "name its network in networks of this server, if that is meant"
                self._line.fail(f"{error}. For this server alone: {advice}", Cause.CONFIG)
            case _ if self._address.sse:
                self._line.fail(str(error))
            case _:  # who asked learns of it, and the next request shows whether it is more than this one
                pass

    def _refused(self, request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
        status = response.status_code
        if status in REFUSED and not self._logged_in:
            self._line.fail(LOGIN.format(status, self._address.way_in), Cause.AUTH)
        elif request.method == "POST" and status == 404 and SESSION in request.headers:
            return _instead(request, status, FORGOTTEN, code=UNSENT)
        elif request.method == "POST" and self._address.sse:
            self._line.fail(f"it answered with HTTP {status}")
        if request.method != "POST" or status == 404 or (status in REFUSED and self._logged_in) or response.is_redirect:
            return response
        return response if _is_error(response.content) else _instead(request, status, f"it answered with HTTP {status}", response)

    async def _whole(self, request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
        """The answer with all of its body read. Raises: EgressError."""
        assert isinstance(response.stream, AsyncIterable)
        body = bytearray()
        try:
            async for chunk in response.stream:
                body += chunk
                if len(body) > MESSAGE_BYTES:
                    return _instead(request, BAD_GATEWAY, TOO_LARGE)
        finally:
            with trio.move_on_after(CLOSE_GRACE, shield=True):
                await response.aclose()
        if response.headers.get("content-encoding", "identity") != "identity":
            return _instead(request, BAD_GATEWAY, "it packed its answer, which was not asked for")
        headers = [(name, value) for name, value in response.headers.multi_items() if name.lower() != "transfer-encoding"]
        return httpx2.Response(response.status_code, headers=headers, content=bytes(body), request=request)


def _is_stream(response: httpx2.Response) -> bool:
    return response.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/event-stream"


def _is_error(body: bytes) -> bool:
    """Whether a body is an error in the words of the protocol."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return False
    error = said.get("error") if isinstance(said, dict) else None
    return isinstance(error, dict) and isinstance(error.get("code"), int) and isinstance(error.get("message"), str)


def _instead(
    request: httpx2.Request, status: int, why: str, response: httpx2.Response | None = None, *, code: int = FAILED
) -> httpx2.Response:
    said = "" if response is None else visible(response.text[:SAID_CHARS].strip())
    error = {"code": code, "message": f"{why}: {said}" if said else why}
    return httpx2.Response(status, json={"jsonrpc": "2.0", "id": None, "error": error}, request=request)


@asynccontextmanager
async def http(egress: Egress, address: Address, line: Line, auth: httpx2.Auth | None) -> AsyncGenerator[TransportStreams]:
    """The server's messages while the body runs."""
    careful = Careful(await egress.transport(), address, line, logged_in=auth is not None)

    def client(
        headers: dict[str, str] | None = None, timeout: httpx2.Timeout | None = None, auth: httpx2.Auth | None = auth
    ) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            transport=careful,
            headers={**address.headers, **(headers or {}), "accept-encoding": "identity"},
            auth=auth,
            timeout=httpx2.Timeout(None, connect=CONNECT_S),
            trust_env=False,
        )

    if address.sse:
        async with sse_client(address.url, httpx_client_factory=client, auth=auth) as streams:
            yield streams
        return
    async with (
        client() as made,
        streamable_http_client(address.url, http_client=made, max_sse_event_size=MESSAGE_BYTES) as streams,
    ):
        yield streams
