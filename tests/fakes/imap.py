"""An IMAP server on loopback that holds one mailbox, and misbehaves on request.

It speaks what the e-mail channel uses of RFC 3501 and 2177, in dovecot's words. `put` adds a mail. `faults` are taken one by
one, each by the next command of its kind (`any`, its name, or `BODY` for the fetch of a whole mail); `hurt` inflicts one on every
connection there is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import attrs
import trio

SLOW_S = 0.5
USER, PASSWORD = "bot@test.example", "one two three"


class Lost(Exception):
    """The connection ends here."""


@attrs.define
class Kept:
    uid: int
    raw: bytes
    seen: bool = False


@attrs.define(eq=False)
class Imap:
    """See the module."""

    port: int = 0
    mails: list[Kept] = attrs.field(factory=list)
    password: str = PASSWORD
    validity: int = 1
    idles: bool = True
    read_only: bool = False
    quiet: bool = False
    """It does not tell of news."""
    noisy: bool = False
    """It tells of them in every answer, when there are none."""
    refused: set[int] = attrs.field(factory=set)
    """Mails that it refuses to hand out."""
    commands: Counter[str] = attrs.field(factory=Counter)
    """How often each came."""
    faults: list[tuple[str, str]] = attrs.field(factory=list)
    """Command and what becomes of it: see `_misbehave`."""
    logins: int = 0
    idling: int = 0
    stored: int = 0
    """Mails that were marked as read."""
    _connections: set[_Connection] = attrs.field(factory=set)

    def put(self, raw: bytes) -> int:
        uid = self.mails[-1].uid + 1 if self.mails else 1
        self.mails.append(Kept(uid, raw))
        for connection in self._connections:
            connection.news.set()
        return uid

    @property
    def unseen(self) -> list[int]:
        return [mail.uid for mail in self.mails if not mail.seen]

    @property
    def connections(self) -> int:
        return len(self._connections)

    async def hurt(self, how: str) -> None:
        """On all connections that there are, in the middle of whatever they do."""
        for connection in [one for one in self._connections if not one.dead]:
            try:
                await connection.misbehave(how)
            except (trio.BrokenResourceError, trio.ClosedResourceError):  # it was too much for the client
                pass


@attrs.define(eq=False)
class _Connection:
    server: Imap
    stream: trio.SocketStream
    news: trio.Event = attrs.field(factory=trio.Event)
    dead: bool = False
    """Half open: nothing is heard or said any more."""
    told: int = 0
    """Mails that the client knows of."""
    _buffer: bytearray = attrs.field(factory=bytearray)
    _sending: trio.Lock = attrs.field(factory=trio.Lock)

    async def say(self, *lines: bytes) -> None:
        if self.dead:
            await trio.sleep_forever()
        async with self._sending:
            await self.stream.send_all(b"".join(line + b"\r\n" for line in lines))

    async def line(self) -> bytes:
        while b"\n" not in self._buffer:
            chunk = await self.stream.receive_some()
            if not chunk:
                raise Lost
            self._buffer += chunk
        if self.dead:
            await trio.sleep_forever()
        line, _, rest = self._buffer.partition(b"\r\n")
        self._buffer = bytearray(rest)
        return bytes(line)

    async def misbehave(self, how: str) -> None:
        """Raises: Lost, for what ends the connection."""
        match how:
            case "reset":
                self.stream.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                self.stream.socket.close()
            case "slow":
                await trio.sleep(SLOW_S)
            case "close":
                async with self._sending:
                    await self.stream.send_eof()
            case "half-open":
                self.dead = True
            case "bye":
                await self.say(b"* BYE Disconnected for inactivity.")
                async with self._sending:
                    await self.stream.send_eof()
            case "garbage":
                await self.say(b"\x00\xff HTTP/1.1 400 Bad Request\r\n\r\n)(* {99999999999999}")
            case "long line":
                await self.say(b"* OK " + b"x" * 10_000_000)
            case "huge literal":
                await self.say(b"* 1 FETCH (BODY[] {10000000000}")
            case "slow literal":
                await self.say(b"* 1 FETCH (UID 1 BODY[] {1000}")
                while True:
                    await self.stream.send_all(b"x")
                    await trio.sleep(0.2)
            case _:
                raise ValueError(how)

    # --- commands

    async def serve(self) -> None:
        await self.say(b"* OK [CAPABILITY IMAP4rev1 IDLE] ready")
        while True:
            tag, _, rest = (await self.line()).partition(b" ")
            name, _, words = rest.decode("utf-8", "replace").partition(" ")
            if name.upper() == "UID":
                name, _, words = words.partition(" ")
            self.server.commands[name.upper()] += 1
            fault = self._fault("BODY" if "BODY.PEEK[]" in words else name.upper())
            if fault.startswith("no "):
                await self.say(tag + b" NO " + fault[3:].encode())
            elif name.upper() == "FETCH" and any(mail.uid in self.server.refused for mail in self._of(words.partition(" ")[0])):
                await self.say(tag + b" NO [SERVERBUG] Internal error occurred.")
            elif fault == "lost answer":
                await self.run(name.upper(), words)
                raise Lost
            else:
                if fault:
                    await self.misbehave(fault)
                answer = await self.run(name.upper(), words, tag)
                await self.say(*answer, *self._news(), tag + b" OK done.")

    def _news(self) -> list[bytes]:
        if not self.server.noisy and (self.server.quiet or len(self.server.mails) <= self.told):
            return []
        self.told = len(self.server.mails)
        return [b"* %d EXISTS" % self.told]

    def _fault(self, name: str) -> str:
        for at, (wanted, fault) in enumerate(self.server.faults):
            if wanted in ("any", name):
                del self.server.faults[at]
                return fault
        return ""

    async def run(self, name: str, words: str, tag: bytes = b"") -> list[bytes]:
        server = self.server
        match name:
            case "CAPABILITY":
                return [b"* CAPABILITY IMAP4rev1" + (b" IDLE" if server.idles else b"")]
            case "LOGIN":
                if words != f'{USER} "{server.password}"':
                    await self.say(tag + b" NO [AUTHENTICATIONFAILED] Authentication failed.")
                    raise Lost
                server.logins += 1
            case "SELECT":
                self.told = len(server.mails)
                mode = b"* OK [READ-ONLY] Mailbox is." if server.read_only else b"* OK [READ-WRITE] Mailbox is."
                return [b"* %d EXISTS" % len(server.mails), b"* OK [UIDVALIDITY %d] valid" % server.validity, mode]
            case "SEARCH":
                return [b" ".join([b"* SEARCH", *(b"%d" % uid for uid in self._search(words))])]
            case "FETCH":
                return self._fetch(words)
            case "STORE":
                self._store(words)
            case "IDLE":
                await self._idle()
            case "NOOP":
                pass
            case _:
                return [b"* BAD " + name.encode()]
        return []

    def _search(self, words: str) -> list[int]:
        if words == "UNSEEN":
            return self.server.unseen
        if found := re.fullmatch(r'HEADER Message-ID "(.*)"', words):
            wanted = re.sub(r"\\(.)", r"\1", found[1])
            return [mail.uid for mail in self.server.mails if wanted.encode() in mail.raw]
        return [mail.uid for mail in self.server.mails]

    def _fetch(self, words: str) -> list[bytes]:
        uids, _, wanted = words.partition(" ")
        cut = re.search(r"<0\.(\d+)>", wanted)
        assert cut is not None
        shown = []
        for mail in self._of(uids):
            head = mail.raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if "[HEADER]" in wanted else mail.raw
            part, name = head[: int(cut[1])], b"HEADER" if "[HEADER]" in wanted else b""
            size = b" RFC822.SIZE %d" % len(mail.raw) if "RFC822.SIZE" in wanted else b""
            shown.append(b"* %d FETCH (UID %d%s BODY[%s]<0> {%d}\r\n%s)" % (mail.uid, mail.uid, size, name, len(part), part))
        return shown

    def _store(self, words: str) -> None:
        for mail in self._of(words.partition(" ")[0]):
            self.server.stored += not mail.seen
            mail.seen = True

    def _of(self, uids: str) -> list[Kept]:
        wanted = set(map(int, uids.split(",")))
        return [mail for mail in self.server.mails if mail.uid in wanted]

    async def _idle(self) -> None:
        await self.say(b"+ idling")
        self.server.idling += 1
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tell)
                assert await self.line() == b"DONE"
                nursery.cancel_scope.cancel()
        finally:
            self.server.idling -= 1

    async def _tell(self) -> None:
        while True:
            await self.say(*self._news())
            self.news = trio.Event()
            await self.news.wait()


@asynccontextmanager
async def imap_server() -> AsyncIterator[Imap]:
    server = Imap()
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, partial(_serve, server), 0, host="127.0.0.1"))
        server.port = listeners[0].socket.getsockname()[1]
        yield server
        nursery.cancel_scope.cancel()


async def _serve(server: Imap, stream: trio.SocketStream) -> None:
    connection = _Connection(server, stream)
    server._connections.add(connection)
    try:
        await connection.serve()
    except* (Lost, trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    finally:
        server._connections.discard(connection)
        await trio.aclose_forcefully(stream)
