"""The one HTTP client of all model services, and the late import of their SDKs.

`open_http` is entered once, by the composition root. Nothing heavy is loaded before the first request: then the SDK is
imported and the TLS context is built in worker threads, so that the loop stays usable. Leaving the block closes every
connection. Loopback addresses never go through a proxy.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import ModuleType
from typing import TYPE_CHECKING

import attrs
import trio

from nanobot.errors import NanobotError

if TYPE_CHECKING:
    import httpx2

CLOSE_GRACE = 1.0  # seconds for closing idle connections at the end; TLS peers need not answer
FRESH = "nanobot.fresh"  # extension of a request: a connection was made for it
KEEPALIVE = 60.0  # seconds that an idle connection is kept: a tool round is rarely longer, a proxy rarely keeps it longer


class SdkMissing(NanobotError):
    """A package that a service needs is not there or does not load."""


async def load(name: str) -> ModuleType:
    """Import a package in a worker thread; at once if it is loaded. Raises: SdkMissing."""
    if name in sys.modules and not getattr(sys.modules[name].__spec__, "_initializing", False):
        return sys.modules[name]
    try:
        return await trio.to_thread.run_sync(importlib.import_module, name, abandon_on_cancel=True)
    except ImportError as exc:
        raise SdkMissing(f"the Python package {name} cannot be loaded ({exc}): reinstall nanobot") from exc


@attrs.define
class SharedHttp:
    """Owner of the client; `client()` builds it when first asked."""

    _client: httpx2.AsyncClient | None = None
    _building: trio.Lock = attrs.field(factory=trio.Lock)

    async def client(self) -> httpx2.AsyncClient:
        """Raises: SdkMissing."""
        async with self._building:
            if self._client is None:
                httpx = await load("httpx2")
                self._client = await trio.to_thread.run_sync(_build, httpx)
            return self._client

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()


def _build(httpx: ModuleType) -> httpx2.AsyncClient:
    client: httpx2.AsyncClient = httpx.AsyncClient(
        timeout=httpx.Timeout(None),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=KEEPALIVE),
        follow_redirects=False,
        event_hooks={"request": [_watch_connecting]},
        mounts={"all://127.0.0.1": None, "all://localhost": None, "all://[::1]": None},
    )
    return client


async def _watch_connecting(request: httpx2.Request) -> None:
    """Leave a mark on a request for which a connection is made: the others go over one that has been used before."""

    async def trace(event: str, _info: object) -> None:
        if event.endswith("connect_tcp.started"):
            request.extensions[FRESH] = True

    request.extensions["trace"] = trace


async def on_a_live_connection(
    post: Callable[[], Awaitable[httpx2.Response]], sdk: ModuleType, http: ModuleType
) -> httpx2.Response:
    """Send, and at once again when a connection from the pool turns out to be dead before any of the answer came.

    A server may close an idle connection at any time, also while a request is on its way: that says nothing of the service.
    Each failure takes one from the pool, so the last attempt is on a new connection. Raises: what `post` raises.
    """
    while True:
        try:
            return await post()
        except sdk.APIConnectionError as exc:
            broken = isinstance(exc.__cause__, (http.NetworkError, http.RemoteProtocolError))
            if not broken or exc.request.extensions.get(FRESH):
                raise


@asynccontextmanager
async def open_http() -> AsyncIterator[SharedHttp]:
    """The client for as long as the block lasts."""
    http = SharedHttp()
    try:
        yield http
    finally:
        with trio.move_on_after(CLOSE_GRACE, shield=True):
            await http.aclose()
