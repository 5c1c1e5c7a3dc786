"""The only way of egress to the network: a backend of httpcore2 that resolves, checks and connects in one step.

`Guard.connect_tcp` is what the connection pool calls for each new connection, whoever made the request, so there is no path
around it. A name is looked up once; if any of its addresses is refused, the request is; else a connection is made to exactly
the addresses that were checked. TLS above it verifies the name and sends it as SNI, because the pool knows nothing but the
name. A connection that is kept stays with the address it was checked for.

`Transport` is what an httpx2 client can be given. It reads no environment, follows no redirects and keeps no cookies.

This module loads httpx2; import it in a thread (egress.py does).
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from itertools import chain, zip_longest
from typing import Protocol

import attrs
import httpcore2
import httpx2
import trio

from nanobot.security.egress_address import Address, AddressRules
from nanobot.security.egress_errors import BadAnswer, EgressError, Forbidden, TimedOut, Unreachable
from nanobot.security.egress_proxy import Proxy, tunnel
from nanobot.security.egress_url import Target, parse

RESOLVE_S = 10.0
"""Seconds for one look-up of a name."""
CONNECT_S = 10.0
"""Seconds for a connection, all addresses of a name together, and as many again for TLS."""
STAGGER_S = 0.25
"""Seconds that an address has before the next one is tried beside it (RFC 8305)."""
ADDRESSES = 8
"""Most addresses of a name that are tried."""
IDLE_S = 30.0
"""Seconds that an unused connection is kept."""
CLOSE_GRACE = 1.0
"""Seconds for closing a connection that is not used; TLS peers need not answer."""
KEPT = 10
"""Most unused connections that are kept."""
WAY_OUT = "If that is wanted, the owner can allow its network in tools.ssrfWhitelist; there is no way around it"

Timeout = float | None
NO_TIMEOUTS: Mapping[str, float | None] = {}


class Resolver(Protocol):
    """Looks up a name."""

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Every address of the name, best first. Raises: OSError."""
        ...


async def system_resolver(host: str, port: int) -> Sequence[str]:
    """The machine's own. Raises: OSError."""
    found = await trio.socket.getaddrinfo(host, port, type=trio.socket.SOCK_STREAM)
    inet = (trio.socket.AF_INET, trio.socket.AF_INET6)
    return list(dict.fromkeys(str(sockaddr[0]) for family, _, _, _, sockaddr in found if family in inet))


class Guard(httpcore2.AsyncNetworkBackend):
    """Connects to checked addresses only."""

    def __init__(
        self,
        rules: AddressRules,
        *,
        proxy: Proxy | None = None,
        resolver: Resolver | None = None,
        network: httpcore2.AsyncNetworkBackend | None = None,
    ) -> None:
        self._rules, self._proxy, self._resolver = rules, proxy, resolver or system_resolver
        self._network = network or httpcore2.TrioBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: Timeout = None,  # noqa: ASYNC109  # the backend's interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Raises: Forbidden, Unreachable, TimedOut."""
        addresses = await self._look_up(host, port)
        for address in addresses:
            if (what := self._rules.refusal(address)) is not None:
                leads = "it is" if host == str(address) else f"it leads to {address}, which is"
                raise Forbidden(host, f"{leads} {what}. {WAY_OUT}")
        with trio.move_on_after(CONNECT_S if timeout is None else timeout):
            if self._proxy is None:
                return await self._fastest(addresses, port)
            return await self._through(self._proxy, addresses[0], port)
        raise TimedOut(f"{host} did not take a connection in time")

    async def connect_unix_socket(
        self,
        path: str,
        timeout: Timeout = None,  # noqa: ASYNC109  # the backend's interface
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        raise Forbidden(path, "it is a socket of this machine")

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    async def _look_up(self, host: str, port: int) -> Sequence[Address]:
        try:
            return [ip_address(host)]
        except ValueError:
            pass
        found: Sequence[str] = ()
        with trio.move_on_after(RESOLVE_S) as scope:
            try:
                found = await self._resolver(host, port)
            except (OSError, UnicodeError) as error:
                raise Unreachable(f"there is no address for the name {host}") from error
        if scope.cancelled_caught:
            raise TimedOut(f"the address of {host} could not be looked up within {RESOLVE_S:g} s")
        if not found:
            raise Unreachable(f"there is no address for the name {host}")
        return [ip_address(text) for text in found]

    async def _through(self, proxy: Proxy, address: Address, port: int) -> httpcore2.AsyncNetworkStream:
        """The proxy is the owner's word: its own address is not checked."""
        stream = await self._fastest(await self._look_up(proxy.host, proxy.port), proxy.port)
        try:
            with _proxy_errors():
                await tunnel(proxy, address, port, stream.read, stream.write)
        except BaseException:
            with trio.move_on_after(CLOSE_GRACE, shield=True):
                await stream.aclose()
            raise
        return stream

    async def _fastest(self, addresses: Sequence[Address], port: int) -> httpcore2.AsyncNetworkStream:
        """Tries them one after the other, each with a short start ahead of the next. Raises: Unreachable."""
        ready: list[httpcore2.AsyncNetworkStream] = []
        failures: list[str] = []

        async def attempt(address: Address, failed: trio.Event) -> None:
            try:
                stream = await self._network.connect_tcp(str(address), port)
            except (httpcore2.NetworkError, httpcore2.TimeoutException) as error:
                failures.append(f"{address}: {_reason(error)}")
                failed.set()
                return
            ready.append(stream)
            nursery.cancel_scope.cancel()

        try:
            async with trio.open_nursery() as nursery:
                for address in _both_families(addresses)[:ADDRESSES]:
                    failed = trio.Event()
                    nursery.start_soon(attempt, address, failed)
                    with trio.move_on_after(STAGGER_S):
                        await failed.wait()
            if not ready:
                raise Unreachable(f"no connection to port {port} of {'; '.join(failures)}")
            return ready.pop()
        finally:
            with trio.move_on_after(CLOSE_GRACE, shield=True):
                for late in ready:
                    await late.aclose()


class Body(httpx2.AsyncByteStream):
    """The body of an answer, as it comes. Raises while it is read: EgressError."""

    def __init__(self, answer: httpcore2.Response, where: str) -> None:
        assert isinstance(answer.stream, AsyncIterable)
        self._answer, self._where = answer, where
        self._stream = aiter(answer.stream)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        with translated(self._where):
            return await anext(self._stream)

    async def aclose(self) -> None:
        if isinstance(self._stream, AsyncGenerator):
            await self._stream.aclose()
        await self._answer.aclose()


@attrs.frozen
class Sent:
    """What came back for one request."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: Body


class Transport(httpx2.AsyncBaseTransport):
    """Sends under the rules and translates errors: for egress itself by `send`, for httpx2 clients as their transport."""

    def __init__(self, guard: Guard, tls: ssl.SSLContext) -> None:
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=None,
            max_keepalive_connections=KEPT,
            keepalive_expiry=IDLE_S,
            network_backend=guard,
        )

    async def send(
        self,
        target: Target,
        method: str,
        headers: Iterable[tuple[str, str]],
        body: bytes | AsyncIterable[bytes] = b"",
        timeouts: Mapping[str, float | None] = NO_TIMEOUTS,
    ) -> Sent:
        """`Host` is ours. Raises: EgressError."""
        given = [(name, value) for name, value in headers if name.lower() != "host"]
        if isinstance(body, bytes) and body:
            given.append(("content-length", str(len(body))))
        with translated(target.authority):
            request = httpcore2.Request(
                method,
                httpcore2.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path),
                headers=[("host", target.authority), *given],
                content=body,
                extensions={"timeout": {**timeouts, "connect": timeouts.get("connect") or CONNECT_S}},
            )
            answer = await self._pool.handle_async_request(request)
        return Sent(answer.status, answer.headers, Body(answer, target.authority))

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Raises: EgressError. The address is parsed anew, and nothing but timeouts is taken from the extensions."""
        assert isinstance(request.stream, AsyncIterable)
        timeouts = request.extensions.get("timeout", NO_TIMEOUTS)
        headers = request.headers.multi_items()
        sent = await self.send(parse(str(request.url)), request.method, headers, request.stream, timeouts)
        return httpx2.Response(sent.status, headers=sent.headers, stream=sent.body)

    async def aclose(self) -> None:
        await self._pool.aclose()


@contextmanager
def _proxy_errors() -> Iterator[None]:
    try:
        yield
    except (httpcore2.NetworkError, httpcore2.TimeoutException) as error:
        raise Unreachable("the proxy of tools.web.proxy closed the connection") from error


@contextmanager
def translated(where: str) -> Iterator[None]:
    """httpcore2's errors as ours."""
    try:
        yield
    except (httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError) as error:
        raise _ours(where, error) from error


def _ours(where: str, error: Exception) -> EgressError:
    match error:
        case httpcore2.LocalProtocolError():
            return EgressError(f"the request to {where} cannot be sent: {str(error)[:200]}")
        case httpcore2.ConnectTimeout():
            return TimedOut(f"{where} did not answer the TLS handshake within {CONNECT_S:g} s")
        case httpcore2.TimeoutException():
            return TimedOut(f"{where} did not answer in time")
        case httpcore2.ConnectError():
            return Unreachable(f"no safe connection to {where}: {_reason(error)}")
        case httpcore2.NetworkError():
            return BadAnswer(f"{where} broke off the connection")
        case _:
            return BadAnswer(f"{where} did not answer as HTTP says: {str(error)[:200]}")


def _reason(error: BaseException) -> str:
    """The words at the root of an error, a certificate's above all."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate does not hold ({cause.verify_message})"
    for cause in causes:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    return str(error) or type(error).__name__


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__ or error.__context__


def _both_families(addresses: Sequence[Address]) -> list[Address]:
    """One family after the other, the resolver's first choice first."""
    first = [one for one in addresses if one.version == addresses[0].version]
    others = [one for one in addresses if one.version != addresses[0].version]
    return [one for one in chain.from_iterable(zip_longest(first, others)) if one is not None]
