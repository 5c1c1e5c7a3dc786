"""One IMAP connection, by imaplib, in the thread of who calls: log in, find, fetch, mark, and wait for news (IDLE).

Everything is bounded: a line, a literal, and all that one command may bring. Whatever imaplib makes of a server that talks
nonsense comes out as `Broken`. `Line.shut` ends any call at once.
"""

from __future__ import annotations

import base64
import imaplib
import re
import select
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import attrs

from nanobot.channels.email.wire import Broken, Line, is_loopback, not_real, not_secure
from nanobot.channels.port import ChannelFailed
from nanobot.config.schema import EmailConfig
from nanobot.supervise.policy import Cause

LINE_BYTES = 2_000_000
"""200,000 numbers in the answer to a search."""
COMMAND_BYTES = 80_000_000
"""All that one command may bring."""
CHUNK = 65536
HEADER_BYTES = 256 * 1024
_UID = re.compile(rb"\bUID (\d{1,10})\b", re.IGNORECASE)
_SIZE = re.compile(rb"\bRFC822\.SIZE (\d{1,12})\b", re.IGNORECASE)
_LITERAL = re.compile(rb"\{\d+\}\r\n$")
_NEWS = re.compile(rb"\* \d+ (EXISTS|RECENT|EXPUNGE|FETCH)\b", re.IGNORECASE)
_PASSING = re.compile(r"UNAVAILABLE|INUSE|LIMIT|CONTACTADMIN|temporar|try again|too many|simultaneous|throttle", re.IGNORECASE)
_BUG = "SERVERBUG"
"""Of a login or a mailbox it passes; a mail that a server stumbles over, it stumbles over for ever."""
_WRONG = re.compile(r"AUTHENTICATIONFAILED|AUTHORIZATIONFAILED|invalid credentials|incorrect", re.IGNORECASE)


class Refused(Broken):
    """It answered with NO or BAD, and is otherwise well."""

    def __init__(self, host: str, said: str) -> None:
        self.passes = _PASSING.search(said) is not None
        super().__init__(f"{host} refuses: {said}")


@attrs.frozen
class Envelope:
    """A mail as far as it is looked at before it is fetched."""

    uid: int
    size: int
    header: bytes
    """Empty: the server does not hand it out."""


class _Client(imaplib.IMAP4):
    """imaplib on a connection that is there already, with bounds."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.buffer = bytearray()
        self.budget = COMMAND_BYTES
        super().__init__(line.host)

    def open(self, host: str = "", port: int = 0, timeout: float | None = None) -> None:
        self.host, self.port, self.sock = host, port, self.line.sock

    def read(self, size: int) -> bytes:
        if size > self.budget:
            raise self.abort(f"it announces {size} bytes")
        while len(self.buffer) < size:
            self._more()
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    def readline(self) -> bytes:
        looked = 0
        while (end := self.buffer.find(b"\n", looked)) < 0:
            looked = len(self.buffer)
            if looked > LINE_BYTES:
                raise self.abort(f"a line of more than {LINE_BYTES} bytes")
            self._more()
        return self.read(end + 1)

    def send(self, data: bytes) -> None:  # type: ignore[override]
        self.line.sock.sendall(data)

    def shutdown(self) -> None:
        self.line.close()

    def waiting(self, seconds: float) -> bool:
        """Whether there is something to read within so many seconds."""
        pending = getattr(self.line.sock, "pending", None)
        if self.buffer or (pending is not None and pending()):
            return True
        poll = select.poll()  # descriptors may be beyond what select takes
        poll.register(self.line.sock, select.POLLIN)
        return bool(poll.poll(max(0.0, seconds) * 1000))

    def _more(self) -> None:
        chunk = self.line.sock.recv(CHUNK)
        if not chunk:
            raise self.abort("it closed the connection")
        self.budget -= len(chunk)
        if self.budget < 0:
            raise self.abort(f"more than {COMMAND_BYTES} bytes for one command")
        self.buffer += chunk


@attrs.define(eq=False)
class Mailbox:
    """See the module. One thread at a time."""

    line: Line
    config: EmailConfig
    context: Callable[[], ssl.SSLContext]
    uid_validity: int = 0
    read_only: bool = False
    can_idle: bool = False
    _client: _Client = attrs.field(init=False)
    _news: bool = False
    """It told of mail since it was last searched: it does not tell again while we idle."""
    _idles: int = 0

    def open(self) -> None:
        """Secure it, log in, open the mailbox. Raises: Broken, ChannelFailed."""
        with self._translated():
            if self.config.imap_use_ssl:
                self.line.secure(self.context())
            self._client = _Client(self.line)
            if not self.config.imap_use_ssl:
                self._start_tls()
            self._log_in()
            self._select()
            self.can_idle = "IDLE" in self._capabilities()

    def _start_tls(self) -> None:
        if "STARTTLS" in self._client.capabilities:
            self._ask(lambda: self._client.xatom("STARTTLS"))
            if self._client.buffer:
                raise Broken("something was said between STARTTLS and TLS")
            self.line.secure(self.context())
            self._client.sock = self.line.sock
            self._client.capabilities = tuple(self._capabilities())
        elif not is_loopback(self.line.host):
            raise not_secure(self.line.host, "imapUseSsl")

    def _capabilities(self) -> list[str]:
        [answer] = self._ask(self._client.capability)[-1:]
        return str(answer, "ascii", "replace").upper().split() if isinstance(answer, bytes) else []

    def _log_in(self) -> None:
        user, password = self.config.imap_username, self.config.imap_password.reveal()
        try:
            if user.isascii() and password.isascii():
                self._client.login(user, password)
            else:
                self._client.authenticate("PLAIN", lambda _challenge: f"\0{user}\0{password}".encode())
        except imaplib.IMAP4.abort:
            raise
        except imaplib.IMAP4.error as error:
            said = _said(error)
            if (_BUG in said or _PASSING.search(said)) and not _WRONG.search(said):
                raise Broken(f"{self.line.host} does not let us in now: {said}") from error
            text = f"{self.line.host} refuses imapUsername and imapPassword: {said}. Many providers want an app password"
            raise ChannelFailed(f"{text}: nanobot guide email", cause=Cause.AUTH) from error

    def _select(self) -> None:
        name = self.config.imap_mailbox
        try:
            self._ask(lambda: self._client.select(quoted(in_utf7(name))))
        except imaplib.IMAP4.readonly:
            self.read_only = True
        except Refused as error:
            if error.passes or _BUG in str(error):
                raise
            raise ChannelFailed(f"channels.email.imapMailbox: {error}", cause=Cause.CONFIG) from error
        [said] = self._client.response("UIDVALIDITY")[1][-1:]
        self.uid_validity = int(said) if isinstance(said, bytes) else 0

    # --- mails

    def unseen(self) -> list[int]:
        """Numbers (UID) of what is not marked as read, the oldest first."""
        self._news = False
        return self._found("UNSEEN")

    def newest(self, most: int) -> list[int]:
        """Numbers of the last ones that came."""
        return self._found("ALL")[-most:]

    def with_id(self, message_id: str) -> list[int]:
        """Numbers of the mails of that Message-ID."""
        return self._found("HEADER", "Message-ID", quoted(message_id))

    def _found(self, *criteria: str) -> list[int]:
        with self._translated():
            answer = self._ask(lambda: self._client.uid("SEARCH", *criteria))
            return sorted({int(word) for line in answer if isinstance(line, bytes) for word in line.split()})

    def envelopes(self, uids: Sequence[int]) -> list[Envelope]:
        """Of those of them that are still there."""
        with self._translated():
            wanted = f"(UID RFC822.SIZE BODY.PEEK[HEADER]<0.{HEADER_BYTES}>)"
            try:
                answer = self._ask(lambda: self._client.uid("FETCH", _set(uids), wanted))
            except Refused as error:
                if error.passes:
                    raise
                # it may be one of them that it stumbles over
                return [one for uid in uids for one in self.envelopes([uid])] if len(uids) > 1 else [Envelope(uids[0], 0, b"")]
            return [Envelope(uid, size, data) for uid, size, data in _fetched(answer) if uid in uids]

    def content(self, uid: int, most: int) -> bytes | None:
        """The first `most` bytes of a mail; None if it is gone, or not handed out."""
        with self._translated():
            try:
                answer = self._ask(lambda: self._client.uid("FETCH", str(uid), f"(UID BODY.PEEK[]<0.{most}>)"))
            except Refused as error:
                if error.passes:
                    raise
                return None
            return next((data[:most] for found, _, data in _fetched(answer) if found == uid), None)

    def mark_seen(self, uids: Sequence[int]) -> None:
        with self._translated():
            self._ask(lambda: self._client.uid("STORE", _set(uids), "+FLAGS.SILENT", r"(\Seen)"))

    def check(self) -> None:
        """That it still answers."""
        with self._translated():
            self._ask(self._client.noop)

    # --- news

    def idle(self, seconds: float, alive: Callable[[], object]) -> bool:
        """Wait so long for news; whether there are any. `alive` is called, in this thread, whenever the server says anything."""
        if self._news:
            return True
        with self._translated():
            self._idles += 1
            tag = b"idle%d" % self._idles
            self._client.budget = COMMAND_BYTES
            self._client.send(tag + b" IDLE\r\n")
            news = self._until(tag, b"+", alive)
            if not self.can_idle:
                return True
            end = time.monotonic() + seconds
            while not news and (left := end - time.monotonic()) > 0 and self._client.waiting(left):
                news = self._heard(self._client.readline(), alive)
            self._client.send(b"DONE\r\n")
            return self._until(tag, tag, alive) or news

    def _until(self, tag: bytes, end: bytes, alive: Callable[[], object]) -> bool:
        """Read until a line that begins so; whether there were news before it. Who refuses to idle is not asked to again."""
        news = False
        while True:
            line = self._client.readline()
            if line.startswith(tag) and not re.match(rb"\S+ OK\b", line, re.IGNORECASE):
                self.can_idle = False
                return True
            news = self._heard(line, alive) or news
            if line.startswith(end):
                return news

    def _heard(self, line: bytes, alive: Callable[[], object]) -> bool:
        if line.upper().startswith(b"* BYE"):
            raise Broken(f"{self.line.host} says goodbye: {_said(line)}")
        if not line.startswith((b"* ", b"+", b"idle")) or _LITERAL.search(line):
            raise Broken(f"{self.line.host} says what is no IMAP: {_said(line)}")
        alive()
        return _NEWS.match(line) is not None

    # --- the edge

    def _ask(self, command: Callable[[], tuple[str, Sequence[object]]]) -> list[object]:
        """The data of a command that was answered with OK. Raises: Broken where it was not."""
        self._client.budget = COMMAND_BYTES
        self._client.untagged_responses.clear()
        kind, data = command()
        self._news = self._news or "EXISTS" in self._client.untagged_responses
        if kind != "OK":
            raise Refused(self.line.host, _said(data[-1] if data else ""))
        return list(data)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """What imaplib and the connection raise, as Broken."""
        try:
            yield
        except ssl.SSLCertVerificationError as error:
            raise not_real(self.line.host, error) from error
        except imaplib.IMAP4.readonly as error:
            raise Broken(f"{self.line.host} has made the mailbox read-only") from error
        except (imaplib.IMAP4.error, OSError) as error:
            raise Broken(f"the connection to {self.line.host} failed: {_said(error)}") from error
        except (ValueError, TypeError, LookupError) as error:  # what imaplib trips over in a server's nonsense
            raise Broken(f"{self.line.host} says what is no IMAP ({type(error).__name__})") from error


def quoted(text: str) -> str:
    """A word in quotes; `text`: printable ASCII."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def in_utf7(name: str) -> str:
    """The name of a mailbox as RFC 3501 writes what is not ASCII."""
    return re.sub(r"[^\x20-\x7e]+", lambda found: f"&{_utf7(found[0])}-", name.replace("&", "&-"))


def _utf7(text: str) -> str:
    return base64.b64encode(text.encode("utf-16-be", "surrogatepass")).decode("ascii").rstrip("=").replace("/", ",")


def _set(uids: Sequence[int]) -> str:
    return ",".join(map(str, uids))


def _fetched(answer: list[object]) -> Iterator[tuple[int, int, bytes]]:
    """Number, size and content of each mail in what imaplib makes of a FETCH."""
    for at, item in enumerate(answer):
        meta, data = item if isinstance(item, tuple) else (item, b"")
        if isinstance(meta, bytes) and isinstance(data, bytes):
            after = answer[at + 1] if at + 1 < len(answer) else b""
            meta += b" " + after if isinstance(item, tuple) and isinstance(after, bytes) else b""
            if (uid := _UID.search(meta)) and (isinstance(item, tuple) or b"BODY[" in meta):
                size = _SIZE.search(meta)
                yield int(uid[1]), int(size[1]) if size else len(data), data


def _said(what: object) -> str:
    """A server's words on one line, for a person."""
    if isinstance(what, OSError) and what.strerror:
        return what.strerror
    if isinstance(what, Exception) and what.args:
        what = what.args[0]
    text = what.decode("utf-8", "replace") if isinstance(what, bytes) else str(what)
    return "".join(char if char.isprintable() else " " for char in text).strip()[:200] or type(what).__name__
