"""What the tests of egress share. `127.0.0.1` plays the internet (its address is on the allow list), `127.0.0.2` the inside.

A `Trap` listens inside and counts who gets through: whatever a test does, nobody may. `Names` is a resolver whose answers may
change from one look-up to the next.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import httpcore2
import trio

from nanobot.config.schema import Secret, ToolsConfig, WebToolsConfig
from nanobot.security.egress import Egress, open_egress

OUTSIDE = "127.0.0.1"
INSIDE = "127.0.0.2"
CERTIFICATE = Path(__file__).with_name("tls.pem")
"""Of site.example, *.site.example and bücher.example, signed by itself; with its key."""
CAP = 100_000
PATIENCE = 20.0
"""Seconds after which a test that hangs has failed."""

Script = Callable[[trio.abc.Stream], Awaitable[None]]


class Names:
    """Answers the n-th look-up of a name with its n-th entry, the last one for ever. Other names lead inside."""

    def __init__(self, **names: Sequence[Sequence[str]]) -> None:
        self._names = {name.replace("_", "."): list(answers) for name, answers in names.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        await trio.lowlevel.checkpoint()
        self.asked.append(host)
        answers = self._names.get(host, [[INSIDE]])
        return answers.pop(0) if len(answers) > 1 else answers[0]


SITES = {"site_example": [[OUTSIDE]], "other_example": [[OUTSIDE]], "www_site_example": [[OUTSIDE]]}


@attrs.define
class Served:
    port: int = 0
    visits: int = 0


@asynccontextmanager
async def scripted(script: Script, host: str = OUTSIDE) -> AsyncIterator[Served]:
    """A server that plays `script` to whoever connects, whatever they say."""
    served = Served()

    async def serve(stream: trio.SocketStream) -> None:
        served.visits += 1
        try:
            async with stream:
                await script(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError):
            pass  # the client has heard enough

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host=host))
        served.port = listeners[0].socket.getsockname()[1]
        yield served
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def trap() -> AsyncIterator[Served]:
    """Inside, with a secret. Nobody may have been there when the block ends."""
    async with scripted(says(answer(b"the secret of the inside")), INSIDE) as served:
        yield served
    assert served.visits == 0


def answer(body: bytes = b"", *lines: str, status: str = "200 OK") -> bytes:
    length = [] if any(line.lower().startswith(("content-length", "transfer-encoding")) for line in lines) else [len(body)]
    head = [f"HTTP/1.1 {status}", *lines, *(f"Content-Length: {count}" for count in length), "", ""]
    return "\r\n".join(head).encode() + body


def says(data: bytes) -> Script:
    """Reads a request's head and answers with `data`."""

    async def script(stream: trio.abc.Stream) -> None:
        await head_of(stream)
        await stream.send_all(data)

    return script


async def head_of(stream: trio.abc.Stream) -> str:
    head = b""
    while b"\r\n\r\n" not in head:
        if not (data := await stream.receive_some()):
            raise trio.ClosedResourceError
        head += data
    return head.decode()


def tls_server() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)
    return context


def tls_client() -> ssl.SSLContext:
    """Trusts nobody but our certificate."""
    return ssl.create_default_context(cafile=str(CERTIFICATE))


def config(*allowed: str, proxy: str = "") -> ToolsConfig:
    return ToolsConfig(ssrf_whitelist=allowed or (f"{OUTSIDE}/32",), web=WebToolsConfig(proxy=Secret(proxy)))


@asynccontextmanager
async def client(names: Names | None = None, tools: ToolsConfig | None = None) -> AsyncIterator[Egress]:
    with trio.fail_after(PATIENCE):
        async with open_egress(tools or config(), resolver=names or Names(**SITES), tls=tls_client()) as egress:
            yield egress


class Dialled(httpcore2.AsyncNetworkBackend):
    """A network on which nobody answers; it keeps the addresses that were tried."""

    def __init__(self) -> None:
        self.addresses: list[str] = []

    async def connect_tcp(  # type: ignore[override]
        self, host: str, port: int, **_options: object
    ) -> httpcore2.AsyncNetworkStream:
        self.addresses.append(host)
        await trio.lowlevel.checkpoint()
        raise httpcore2.ConnectError("nobody answers")
