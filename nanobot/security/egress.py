"""The client for every address that a model, a page, a redirect, a media URL or an MCP config can aim at.

`open_egress` is entered once, by the composition root. What leaves by it goes to global addresses only, or to networks that
`tools.ssrfWhitelist` names: each name is looked up once, all its addresses are checked, and the connection is made to one
that was (egress_wire.py). Each redirect is a new address with the same checks; no header of the caller's but the harmless
ones follows it to another origin. Environment proxies, cookies and stored credentials do not exist here;
`tools.web.proxy` does.

Deadlines are the caller's scopes; a look-up and a connection have bounds of their own. Leaving `open` closes what it opened.
Nothing heavy is loaded before the first request, and then in a thread. Unless a caller's deadline ends it, what goes wrong
is an `EgressError`.
"""

from __future__ import annotations

import importlib
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import trio

import nanobot
from nanobot.config.schema import ToolsConfig
from nanobot.security import egress_url
from nanobot.security.egress_address import AddressRules, networks
from nanobot.security.egress_body import ACCEPTED, Packing, Unpacker
from nanobot.security.egress_errors import BadAnswer, Forbidden, TooLarge, TooManyRedirects
from nanobot.security.egress_proxy import proxy_of
from nanobot.security.egress_url import Target

if TYPE_CHECKING:
    from nanobot.security.egress_wire import Resolver, Sent, Transport

REDIRECTS = 5
"""Most redirects of one request."""
CLOSE_GRACE = 1.0
"""Seconds for closing connections at the end; TLS peers need not answer."""
CROSSING = frozenset(["accept", "accept-language", "user-agent"])
"""Headers of the caller's that may follow a redirect to another origin."""
_REDIRECTS = frozenset([301, 302, 303, 307, 308])
_WIRE = "nanobot.security.egress_wire"


@attrs.frozen
class Ask:
    """One request. `headers` have lower-case names."""

    target: Target
    method: str
    headers: Mapping[str, str]
    body: bytes


@attrs.define(eq=False)
class Answer:
    """The last answer of a request. `headers` have lower-case names."""

    url: str
    """Where it came from, after all redirects."""
    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]
    """The body, unpacked. Raises: TooLarge after as many bytes as the caller takes, BadAnswer, TimedOut."""

    @property
    def kind(self) -> str:
        """The media type, lower case, without parameters; empty where it is not said."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def read(self) -> bytes:
        """All of the body. Raises: TooLarge, BadAnswer, TimedOut."""
        return b"".join([chunk async for chunk in self.chunks])


class Egress:
    """See the module. `open` is the way for all that is read, `transport` for who has a client of its own."""

    def __init__(self, config: ToolsConfig, *, resolver: Resolver | None = None, tls: ssl.SSLContext | None = None) -> None:
        """tls: the process's context; None makes one. Raises: ConfigError for a whitelist or proxy that cannot be read."""
        self._rules = AddressRules(networks(config.ssrf_whitelist))
        self._proxy = proxy_of(config.web.proxy)
        self._agent = config.web.user_agent or f"nanobot/{nanobot.__version__}"
        self._resolver, self._tls = resolver, tls
        self._transport: Transport | None = None
        self._building, self._starting = trio.Lock(), trio.Lock()

    @asynccontextmanager
    async def open(
        self, url: str, *, cap: int, method: str = "GET", headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> AsyncGenerator[Answer]:
        """Send a request and follow redirects. cap: most bytes of the body, packed and unpacked.

        Raises: EgressError.
        """
        given = {name.lower(): value for name, value in (headers or {}).items()}
        ours = {"user-agent": self._agent, "accept": "*/*", **given, "accept-encoding": ACCEPTED}
        ask, sent = await self._follow(Ask(egress_url.parse(url), method, ours, body))
        try:
            found = _headers(sent)
            async with aclosing(_unpacked(sent.body, found, cap, ask.target.url)) as chunks:
                yield Answer(ask.target.url, sent.status, found, chunks)
        finally:
            with trio.move_on_after(CLOSE_GRACE, shield=True):
                await sent.body.aclose()

    async def fetch(self, url: str, *, cap: int, headers: Mapping[str, str] | None = None) -> tuple[Answer, bytes]:
        """A whole body in memory. Raises: EgressError."""
        async with self.open(url, cap=cap, headers=headers) as answer:
            return answer, await answer.read()

    async def download(self, url: str, file: Path, *, cap: int, headers: Mapping[str, str] | None = None) -> Answer:
        """A body into a new file (0600), which is on disk then; nothing is left of it where that fails. The status may be any.

        Raises: EgressError, OSError.
        """
        async with self.open(url, cap=cap, headers=headers) as answer:
            announced = answer.headers.get("content-length", "")
            if announced.isdecimal() and int(announced) > cap:
                raise TooLarge(answer.url, cap)
            with _new_file(file) as fd:
                async for chunk in answer.chunks:
                    await trio.to_thread.run_sync(_write, fd, chunk)
                await trio.to_thread.run_sync(os.fsync, fd)
            return answer

    async def transport(self) -> Transport:
        """For an httpx2 client of somebody else (MCP), which closes it: all that it sends is under the rules, each redirect
        that it follows too. Caps and redirects are that client's. What it raises are errors of egress, not of httpx2.
        """
        wire = await trio.to_thread.run_sync(importlib.import_module, _WIRE)
        async with self._building:
            self._tls = self._tls or await trio.to_thread.run_sync(trusting)
        made: Transport = wire.Transport(wire.Guard(self._rules, proxy=self._proxy, resolver=self._resolver), self._tls)
        return made

    async def aclose(self) -> None:
        """Close the connections that are kept."""
        if self._transport is not None:
            await self._transport.aclose()

    async def _own(self) -> Transport:
        async with self._starting:
            if self._transport is None:
                self._transport = await self.transport()
            return self._transport

    async def _follow(self, ask: Ask) -> tuple[Ask, Sent]:
        transport = await self._own()
        for _ in range(REDIRECTS + 1):
            sent = await transport.send(ask.target, ask.method, ask.headers.items(), ask.body)
            location = _headers(sent).get("location") if sent.status in _REDIRECTS else None
            if location is None:
                return ask, sent
            with trio.move_on_after(CLOSE_GRACE, shield=True):
                await sent.body.aclose()
            ask = redirected(ask, sent.status, location)
        raise TooManyRedirects(f"more than {REDIRECTS} redirects, the last one to {ask.target.url}")


@asynccontextmanager
async def open_egress(
    config: ToolsConfig, *, resolver: Resolver | None = None, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[Egress]:
    """The client for as long as the block lasts. Raises: ConfigError."""
    egress = Egress(config, resolver=resolver, tls=tls)
    try:
        yield egress
    finally:
        with trio.move_on_after(CLOSE_GRACE, shield=True):
            await egress.aclose()


def redirected(ask: Ask, status: int, location: str) -> Ask:
    """The request that a redirect asks for, as browsers understand it. Raises: Forbidden."""
    target = egress_url.join(ask.target, location)
    method, body, headers = ask.method, ask.body, ask.headers
    if status == 303 or (status in (301, 302) and method == "POST"):
        method, body = ("HEAD" if method == "HEAD" else "GET"), b""
        headers = {name: value for name, value in headers.items() if not name.startswith("content-")}
    if not target.same_origin(ask.target):
        if body:
            raise Forbidden(target.url, f"what was meant for {ask.target.authority} is not sent on to another place")
        headers = {name: value for name, value in headers.items() if name in CROSSING or name == "accept-encoding"}
    return Ask(target, method, headers, body)


def trusting() -> ssl.SSLContext:
    """With the certificates that this machine trusts. Slow: for a thread."""
    context: ssl.SSLContext = importlib.import_module("httpx2").create_ssl_context()
    return context


async def _unpacked(raw: AsyncIterable[bytes], headers: Mapping[str, str], cap: int, url: str) -> AsyncGenerator[bytes]:
    """The body as it is meant. No more than `cap` bytes are given, packed ones are counted too."""
    packed = unpacked = 0
    try:
        unpacker = Unpacker(headers.get("content-encoding", ""))
        async for chunk in raw:
            packed += len(chunk)
            for piece in unpacker.pieces(chunk):
                if taken := piece[: cap - unpacked]:
                    yield taken
                unpacked += len(piece)
                if max(packed, unpacked) > cap:
                    raise TooLarge(url, cap)
                await trio.lowlevel.checkpoint()
        unpacker.end()
    except Packing as error:
        raise BadAnswer(f"what {url} sent {error}") from error


def _headers(sent: Sent) -> Mapping[str, str]:
    return {name.decode("latin-1").lower(): _text(value) for name, value in sent.headers}


def _text(value: bytes) -> str:
    """Addresses in headers are often bare UTF-8."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


@contextmanager
def _new_file(file: Path) -> Iterator[int]:
    """A descriptor of it; taken away again unless the block ends well. Raises: OSError."""
    fd = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        yield fd
    except BaseException:
        file.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)


def _write(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]
