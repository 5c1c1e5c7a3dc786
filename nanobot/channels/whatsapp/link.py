"""The connection to the bridge: authenticated, of our version, and its end told by cause.

`open_link` gives one that has said `ready`; `connected` runs the bridge for it, where that is ours to do. `Link.next` gives each
frame that comes, and raises `ChannelFailed` at the end; `Link.fetch` gives a message's file. Nothing of it is left when the
block is.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import attrs
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, HandshakeError, WebSocketConnection, wrap_client_stream

from nanobot.channels.port import ChannelFailed, SendError
from nanobot.channels.whatsapp import frames
from nanobot.channels.whatsapp.bridge import Home, open_bridge, token_of
from nanobot.config.schema import WhatsAppConfig
from nanobot.supervise.policy import Cause

READY_S = 10.0
"""For the bridge's first word; a rival's answer takes it 2 s."""
GOODBYE_S = 1.0
MOST_FRAME = 8 * 1024 * 1024
"""Bytes; the bridge's own bound (bridge/src/frames.ts)."""
FETCH_CHUNK = 65536
DEFAULT_URL = "ws://127.0.0.1:3001"
CROWDED = 503
"""Its answer while too many others knock; a stranger's doing, which passes."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")
OLD = (
    "The bridge at {0} speaks version 1, that of HKUDS/nanobot, which loses messages. Stop it; then either leave "
    "channels.whatsapp.autostart on, so that ours is started, or start ours by hand: nanobot guide whatsapp"
)
CODES = {
    4001: ("the bridge at {0} has not seen our token in time", Cause.TRANSIENT),
    4002: (
        "The bridge at {0} is of another version than this nanobot. Build it: nanobot channels login whatsapp",
        Cause.CONFIG,
    ),
    4003: ("The bridge at {0} has another token. Set channels.whatsapp.bridgeToken to its own", Cause.AUTH),
    4009: ("Another program is connected to the bridge at {0}, perhaps a second nanobot. Stop it", Cause.TRANSIENT),
}
"""Close codes of the bridge (bridge/src/server.ts)."""
NOT_LINKED = "WhatsApp is not linked. Run: nanobot channels login whatsapp"
ENDS = {
    "unlinked": (NOT_LINKED, Cause.AUTH),
    "refused": ("WhatsApp has blocked this account. See WhatsApp on the phone", Cause.AUTH),
    "replaced": (
        "Another program uses the same WhatsApp link, perhaps a second nanobot or an old bridge. Stop it, then: "
        "nanobot channels restart whatsapp",
        Cause.CONFIG,
    ),
}
"""What only a person can mend, by the bridge's status."""


@attrs.frozen
class Address:
    """Where a bridge listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def of(cls, url: str) -> Address:
        """Raises: ChannelFailed where it is not on this machine: files go by their paths, and the token in the clear."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or 3001
        except ValueError:
            parts, host, port = urlsplit(""), "", 0
        if parts.scheme != "ws" or host not in LOOPBACK:
            raise ChannelFailed(f"channels.whatsapp.bridgeUrl: {url} is not ws://127.0.0.1:PORT", cause=Cause.CONFIG)
        return cls("127.0.0.1" if host == "localhost" else host, port)


@attrs.define(eq=False)
class Link:
    """A connection that is ready."""

    address: Address
    status: str
    """Of WhatsApp, when it was made."""
    _socket: WebSocketConnection
    _token: str = attrs.field(repr=False)

    async def say(self, frame: str) -> None:
        """Raises: ChannelFailed."""
        try:
            await self._socket.send_message(frame)
        except ConnectionClosed as closed:
            raise _ended(self.address, closed) from closed

    async def ping(self) -> None:
        """Returns when it is answered. Raises: ChannelFailed."""
        try:
            await self._socket.ping()
        except ConnectionClosed as closed:
            raise _ended(self.address, closed) from closed

    async def next(self) -> frames.Frame:
        """Raises: ChannelFailed."""
        return _read(await _received(self.address, self._socket), self.address)

    @asynccontextmanager
    async def fetch(self, path: str) -> AsyncGenerator[AsyncIterator[bytes]]:
        """A file of a message. Raises: SendError."""
        httpx = await trio.to_thread.run_sync(importlib.import_module, "httpx2")
        head = {"Authorization": f"Bearer {self._token}"}
        try:
            async with (
                httpx.AsyncClient(trust_env=False, timeout=None) as client,
                client.stream("GET", f"http://{self.address}{path}", headers=head) as response,
            ):
                if response.status_code != 200:
                    raise SendError(f"WhatsApp has it no more ({response.status_code})")
                yield response.aiter_bytes(FETCH_CHUNK)
        except httpx.HTTPError as error:
            raise SendError(f"the bridge broke off: {error}") from error


@asynccontextmanager
async def connected(config: WhatsAppConfig, home: Home, program: Path | None = None) -> AsyncGenerator[Link]:
    """A connection to the bridge of the configuration, which runs meanwhile where we are to start it (`program`: that one).

    Raises: ChannelFailed, alone or in a group."""
    fixed = Address.of(config.bridge_url) if config.bridge_url else None
    token = await trio.to_thread.run_sync(partial(token_of, home, config.bridge_token.reveal(), make=config.autostart))
    if not config.autostart:
        async with open_link(fixed or Address.of(DEFAULT_URL), token) as link:
            yield link
        return
    async with (
        open_bridge(home, fixed.port if fixed else 0, token, program) as number,
        open_link(Address("127.0.0.1", number), token) as link,
    ):
        yield link


def going_on(status: str) -> str:
    """Raises: ChannelFailed where a person is needed."""
    if status in ENDS:
        raise ChannelFailed(ENDS[status][0], cause=ENDS[status][1])
    return status


@asynccontextmanager
async def open_link(address: Address, token: str) -> AsyncGenerator[Link]:
    """Raises: ChannelFailed, alone or in a group."""
    try:
        stream = await trio.open_tcp_stream(address.host, address.port)
    except OSError as error:
        raise ChannelFailed(f"no bridge answers at {address}: {error}") from error
    try:
        async with trio.open_nursery() as nursery:
            yield await _connected(nursery, stream, address, token)
            nursery.cancel_scope.cancel()
    finally:
        with trio.move_on_after(GOODBYE_S, shield=True):
            await trio.aclose_forcefully(stream)


async def _connected(nursery: trio.Nursery, stream: trio.SocketStream, address: Address, token: str) -> Link:
    try:
        with trio.fail_after(READY_S):
            socket = await wrap_client_stream(nursery, stream, str(address), "/", max_message_size=MOST_FRAME)
            await socket.send_message(frames.auth(token))
            ready = frames.first(await _received(address, socket))
    except ConnectionRejected as error:
        if error.status_code == CROWDED:
            raise ChannelFailed(f"the bridge at {address} is crowded by programs without its token") from error
        raise ChannelFailed(f"what listens at {address} is no bridge ({error.status_code})", cause=Cause.CONFIG) from error
    except HandshakeError as error:
        raise ChannelFailed(f"what listens at {address} is no bridge: {error}", cause=Cause.CONFIG) from error
    except ConnectionClosed as closed:
        raise _ended(address, closed) from closed
    except trio.TooSlowError as error:
        raise ChannelFailed(f"the bridge at {address} does not say that it is ready") from error
    except frames.OldBridge as error:
        raise ChannelFailed(OLD.format(address), cause=Cause.CONFIG) from error
    except frames.BadFrame as error:
        raise ChannelFailed(f"what listens at {address} is no bridge: {error}", cause=Cause.CONFIG) from error
    if ready.version != frames.VERSION:
        raise ChannelFailed(CODES[4002][0].format(address), cause=Cause.CONFIG)
    return Link(address, ready.status, socket, token)


async def _received(address: Address, socket: WebSocketConnection) -> str | bytes:
    try:
        data: str | bytes = await socket.get_message()
    except ConnectionClosed as closed:
        raise _ended(address, closed) from closed
    return data


def _read(data: str | bytes, address: Address) -> frames.Frame:
    try:
        return frames.read(data)
    except frames.BadFrame as error:
        raise ChannelFailed(f"the bridge at {address} sent a frame that is none: {error}") from error


def _ended(address: Address, closed: ConnectionClosed) -> ChannelFailed:
    code = closed.reason.code if closed.reason is not None else None
    text, cause = CODES.get(code or 0, ("the connection to the bridge at {0} ended", Cause.TRANSIENT))
    return ChannelFailed(text.format(address), cause=cause)
