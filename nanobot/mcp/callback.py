"""Where a browser comes back to after a login: one address of this machine, open for one answer.

It listens on loopback only, answers nothing but its own path under its own name, and takes an answer only with the `state` that
was sent out; another page that knows the port can neither end the login nor slip in a code.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import parse_qs, urlsplit

import attrs
import trio

from nanobot.errors import NanobotError

HOST = "127.0.0.1"
PATH = "/auth/mcp/callback"
REQUEST_BYTES = 16 * 1024
REQUEST_S = 5.0
"""Seconds for a browser to say what it wants."""
PAGE = "<!doctype html><meta charset=utf-8><title>nanobot</title><p>{}</p>"
THANKS = "That is all. You can close this page and go back to the terminal."
NOT_THIS = "There is nothing here."


@attrs.frozen
class Returned:
    """What came back."""

    code: str
    state: str
    issuer: str | None = None


@attrs.define(eq=False)
class Callback:
    """See the module."""

    port: int = 0
    state: str = ""
    """That of the login that is waited for; nothing is taken before it is set."""
    _result: Returned | NanobotError | None = None
    _came: trio.Event = attrs.field(factory=trio.Event)

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}{PATH}"

    async def wait(self) -> Returned:
        """Raises: NanobotError where the login was refused."""
        await self._came.wait()
        assert self._result is not None
        if isinstance(self._result, NanobotError):
            raise self._result
        return self._result

    def take(self, address: str) -> bool:
        """Whether an address that a browser ended at is the answer."""
        try:
            parts = urlsplit(address.strip())
        except ValueError:
            return False
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if (
            parts.path != PATH
            or not self.state
            or not secrets.compare_digest(query.get("state", "").encode(), self.state.encode())
        ):
            return False
        if self._result is None:
            self._result = _read(query)
            self._came.set()
        return True

    async def answer(self, stream: trio.SocketStream) -> None:
        """One request of a browser."""
        with trio.move_on_after(REQUEST_S):
            try:
                head = await _head(stream)
                known = self._concerns_us(head) and self.take(head.partition(b" ")[2].partition(b" ")[0].decode("latin-1"))
                await stream.send_all(_page("200 OK", THANKS) if known else _page("404 Not Found", NOT_THIS))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass

    def _concerns_us(self, head: bytes) -> bool:
        """A request for us, under our name."""
        lines = head.decode("latin-1").split("\r\n")
        hosts = [line.partition(":")[2].strip() for line in lines if line.lower().startswith("host:")]
        return lines[0].startswith("GET /") and hosts == [f"{HOST}:{self.port}"]


def _read(query: dict[str, str]) -> Returned | NanobotError:
    if "error" in query:
        return NanobotError(f"The login was refused: {query.get('error_description') or query['error']}")
    if not query.get("code"):
        return NanobotError("The login brought no code. Try again: nanobot mcp login NAME")
    return Returned(query["code"], query["state"], query.get("iss"))


async def _head(stream: trio.SocketStream) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head and len(head) < REQUEST_BYTES:
        chunk = await stream.receive_some(4096)
        if not chunk:
            break
        head += chunk
    return head


def _page(status: str, text: str) -> bytes:
    body = PAGE.format(text).encode()
    head = (
        f"HTTP/1.1 {status}\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


@asynccontextmanager
async def open_callback(port: int = 0) -> AsyncGenerator[Callback]:
    """Listen for as long as the block lasts, on `port` if it is free. Raises: OSError."""
    callback = Callback()
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, callback.answer, host=HOST)
        try:
            [listener] = await nursery.start(serve, port)
        except OSError:  # somebody else has it by now
            [listener] = await nursery.start(serve, 0)
        callback.port = listener.socket.getsockname()[1]
        yield callback
        nursery.cancel_scope.cancel()
