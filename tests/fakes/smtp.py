"""An SMTP server on loopback that keeps what it takes, and misbehaves on request.

`faults` are taken one by one, each by the next command of its kind (`DATA-END`: the end of the data; `CONNECT`: the greeting): an
answer such as `450 4.7.1 later`, or one of `close`, `reset`, `half-open`, `garbage`, `long line`, `slow`, and `lost answer`, for
which it takes the mail and says nothing of it.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import attrs
import trio

from tests.fakes.imap import PASSWORD, USER, Lost


@attrs.frozen
class Taken:
    sender: str
    to: str
    raw: bytes


@attrs.define(eq=False)
class Smtp:
    """See the module."""

    port: int = 0
    password: str = PASSWORD
    size: int = 10_000_000
    faults: list[tuple[str, str]] = attrs.field(factory=list)
    taken: list[Taken] = attrs.field(factory=list)
    slow_s: float = 1.0
    connections: int = 0
    served: int = 0
    """Connections that have ended."""

    def fault(self, name: str) -> str:
        for at, (wanted, fault) in enumerate(self.faults):
            if wanted == name:
                del self.faults[at]
                return fault
        return ""


@attrs.define(eq=False)
class _Connection:
    server: Smtp
    stream: trio.SocketStream
    _buffer: bytearray = attrs.field(factory=bytearray)

    async def say(self, line: bytes) -> None:
        await self.stream.send_all(line + b"\r\n")

    async def until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            chunk = await self.stream.receive_some()
            if not chunk:
                raise Lost
            self._buffer += chunk
        found, _, rest = self._buffer.partition(end)
        self._buffer = bytearray(rest)
        return bytes(found)

    async def faulty(self, name: str) -> bool:
        """Whether the answer was given already."""
        match self.server.fault(name):
            case "":
                return False
            case "close":
                raise Lost
            case "reset":
                self.stream.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                raise Lost
            case "half-open":
                await trio.sleep_forever()
            case "slow":
                await trio.sleep(self.server.slow_s)
                return False
            case "garbage":
                await self.say(b"\x00\xff)(*")
                raise Lost
            case "long line":
                await self.say(b"2" * 10_000_000)
            case answer:
                await self.say(answer.encode())
                if answer.startswith("421"):
                    raise Lost
        return True

    async def serve(self) -> None:
        if not await self.faulty("CONNECT"):
            await self.say(b"220 fake ESMTP")
        sender = to = ""
        while True:
            line = (await self.until(b"\r\n")).decode()
            name = line.partition(" ")[0].upper()
            if await self.faulty(name):
                continue
            match name:
                case "EHLO":
                    await self.say(b"250-fake\r\n250-AUTH PLAIN LOGIN\r\n250 SIZE %d" % self.server.size)
                case "AUTH":
                    right = base64.b64encode(f"\0{USER}\0{self.server.password}".encode()).decode()
                    await self.say(b"235 2.7.0 ok" if line == f"AUTH PLAIN {right}" else b"535 5.7.8 authentication failed")
                case "MAIL":
                    sender = line[line.index("<") + 1 : line.index(">")]
                    await self.say(b"250 ok")
                case "RCPT":
                    to = line[line.index("<") + 1 : line.index(">")]
                    await self.say(b"250 ok")
                case "DATA":
                    await self.say(b"354 go on")
                    await self._take(sender, to)
                case "QUIT":
                    await self.say(b"221 bye")
                    return
                case _:
                    await self.say(b"502 what")

    async def _take(self, sender: str, to: str) -> None:
        raw = (await self.until(b"\r\n.\r\n")).replace(b"\r\n..", b"\r\n.") + b"\r\n"
        if self.server.faults[:1] == [("DATA-END", "lost answer")]:
            del self.server.faults[0]
            self.server.taken.append(Taken(sender, to, raw))
            raise Lost
        if not await self.faulty("DATA-END"):
            self.server.taken.append(Taken(sender, to, raw))
            await self.say(b"250 2.0.0 queued as %d" % len(self.server.taken))


@asynccontextmanager
async def smtp_server() -> AsyncIterator[Smtp]:
    server = Smtp()
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, partial(_serve, server), 0, host="127.0.0.1"))
        server.port = listeners[0].socket.getsockname()[1]
        yield server
        nursery.cancel_scope.cancel()


async def _serve(server: Smtp, stream: trio.SocketStream) -> None:
    server.connections += 1
    try:
        await _Connection(server, stream).serve()
    except (Lost, trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    finally:
        server.connections -= 1
        server.served += 1
        await trio.aclose_forcefully(stream)
