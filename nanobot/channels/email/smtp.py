"""One mail over one SMTP connection, by smtplib, in the thread of who calls.

What becomes of it is one of the port's words. Nothing was taken until the answer to the end of the data: whatever breaks before
is `SendLater`, what breaks while that answer is awaited is `SendUnknown`. 4xx is later, 5xx never where it is said of the mail,
and later where it is said of us, who may be let in again; a refused password or a server that offers no encryption ends the
channel, as only a person can mend it.
"""

from __future__ import annotations

import base64
import contextlib
import re
import smtplib
import ssl
from collections.abc import Callable

import attrs

from nanobot.channels.email.wire import ANSWER_S, Broken, Line, is_loopback, not_real, not_secure
from nanobot.channels.port import ChannelFailed, SendLater, SendRefused, SendUnknown
from nanobot.config.schema import EmailConfig
from nanobot.supervise.policy import Cause

GREY_S = 120.0
"""Seconds after which a server that refuses for now is asked again at the earliest: grey lists want one to five minutes."""
BUSY_S = 30.0
AUTH_CODES = (530, 534, 535, 538)
_LINE = re.compile(rb"^\.", re.MULTILINE)


class _Client(smtplib.SMTP):
    """smtplib on a connection that is there already."""

    def __init__(self, line: Line) -> None:
        super().__init__(local_hostname="localhost", timeout=ANSWER_S)  # no host: it does not connect
        self.line = line
        self.sock = line.sock

    def secure(self, context: ssl.SSLContext) -> None:
        """After STARTTLS was agreed on: what was said before it counts no more."""
        self.line.secure(context)
        self.sock, self.file = self.line.sock, None
        self.helo_resp = self.ehlo_resp = None
        self.esmtp_features, self.does_esmtp = {}, False


@attrs.define(eq=False)
class Courier:
    """See the module."""

    line: Line
    config: EmailConfig
    context: Callable[[], ssl.SSLContext]
    _client: _Client | None = attrs.field(default=None, init=False)

    def check(self) -> None:
        """Log in and leave. Raises: SendLater, ChannelFailed."""
        self._guarded(self._enter)

    def deliver(self, sender: str, to: str, mail: bytes) -> str:
        """What the server said when it took it. Raises: SendLater, SendRefused, SendUnknown, ChannelFailed."""
        return self._guarded(lambda: self._deliver(sender, to, mail))

    def _guarded(self, work: Callable[[], str]) -> str:
        try:
            return work()
        except ssl.SSLCertVerificationError as error:
            raise not_real(self.line.host, error) from error
        except (smtplib.SMTPException, OSError, Broken, ValueError, LookupError) as error:
            raise SendLater(f"the connection to {self.line.host} failed: {_said(error)}") from error
        finally:
            if self._client is not None:
                self._client.close()  # what it reads with keeps the socket open
            self.line.close()

    def _deliver(self, sender: str, to: str, mail: bytes) -> str:
        client = self._opened()
        most = client.esmtp_features.get("size", "")
        if most.isdecimal() and 0 < int(most) < len(mail):
            raise SendRefused(f"the mail has {len(mail) / 1e6:.1f} MB, and {self.line.host} takes {int(most) / 1e6:.1f}")
        self._expect(client.docmd("MAIL", f"FROM:<{sender}>"), 2)
        self._expect(client.docmd("RCPT", f"TO:<{to}>"), 2)
        self._expect(client.docmd("DATA"), 3)
        self.line.sock.settimeout(None)  # it would count for the whole of it; the caller's deadline ends it
        client.send(_LINE.sub(b"..", mail) + (b".\r\n" if mail.endswith(b"\r\n") else b"\r\n.\r\n"))
        try:
            answer = client.getreply()
        except (smtplib.SMTPException, OSError) as error:
            raise SendUnknown(f"{self.line.host} did not say whether it took the mail: {_said(error)}") from error
        if answer[0] < 200:
            raise SendUnknown(f"{self.line.host} did not say whether it took the mail: {_text(answer)}")
        self._expect(answer, 2)
        self._leave(client)
        return _text(answer)

    def _enter(self) -> str:
        self._leave(self._opened())
        return ""

    def _opened(self) -> _Client:
        """Greeted, secured and logged in."""
        try:
            return self._entered()
        except SendRefused as error:  # it has not heard of the mail yet
            raise SendLater(str(error), retry_after=GREY_S) from error

    def _entered(self) -> _Client:
        if self.config.smtp_use_ssl:
            self.line.secure(self.context())
        self._client = client = _Client(self.line)
        self._expect(client.getreply(), 2)
        client.ehlo_or_helo_if_needed()
        if not self.config.smtp_use_ssl:
            self._start_tls(client)
        self._log_in(client)
        return client

    def _start_tls(self, client: _Client) -> None:
        if client.has_extn("starttls"):
            self._expect(client.docmd("STARTTLS"), 2)
            client.secure(self.context())
            client.ehlo_or_helo_if_needed()
        elif self.config.smtp_use_tls or not is_loopback(self.line.host):
            raise not_secure(self.line.host, "smtpUseSsl")

    def _log_in(self, client: _Client) -> None:
        user, password = self.config.smtp_username, self.config.smtp_password.reveal()
        if not user and not password:
            return
        if "PLAIN" in client.esmtp_features.get("auth", "").upper().split():
            secret = base64.b64encode(f"\0{user}\0{password}".encode()).decode("ascii")
            self._expect(client.docmd("AUTH", f"PLAIN {secret}"), 2)
            return
        try:
            client.login(user, password)
        except smtplib.SMTPAuthenticationError as error:
            self._expect((error.smtp_code, _bytes(error.smtp_error)), 2)
        except smtplib.SMTPNotSupportedError as error:
            text = f"{self.line.host} takes no password: leave channels.email.smtpUsername and smtpPassword empty"
            raise ChannelFailed(text, cause=Cause.CONFIG) from error

    def _expect(self, answer: tuple[int, bytes], first_digit: int) -> None:
        """Raises: what an answer means that begins otherwise."""
        code, said = answer[0], _text(answer)
        if code // 100 == first_digit:
            return
        if code in AUTH_CODES:
            text = f"{self.line.host} refuses smtpUsername and smtpPassword: {said}. Many providers want an app password"
            raise ChannelFailed(f"{text}: nanobot guide email", cause=Cause.AUTH)
        if 500 <= code < 600:
            raise SendRefused(f"{self.line.host} refuses: {said}")
        asked = GREY_S if code in (450, 451) else BUSY_S if code == 421 else None
        raise SendLater(f"{self.line.host} does not take it now: {said}", retry_after=asked)

    def _leave(self, client: _Client) -> None:
        with contextlib.suppress(smtplib.SMTPException, OSError):  # it has the mail, and how it parts is its own affair:
            client.putcmd("QUIT")  # to wait for its answer would be to doubt what it has said


def _text(answer: tuple[int, bytes]) -> str:
    return f"{answer[0]} {_printable(answer[1].decode('utf-8', 'replace'))}"


def _bytes(said: bytes | str) -> bytes:
    return said if isinstance(said, bytes) else said.encode()


def _said(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return _printable(str(error)) or type(error).__name__


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text).strip()[:200]
