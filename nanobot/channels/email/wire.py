"""What IMAP and SMTP share: a connection that can be ended from outside, and TLS whose certificates are verified.

Names are resolved and connections made on Trio's side, where that can be cancelled; the thread is given a socket. `Line.shut`
takes the ground from under whatever the thread does with it.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import sys

import attrs
import trio

from nanobot.channels.port import ChannelFailed
from nanobot.errors import NanobotError
from nanobot.supervise.policy import Cause

ANSWER_S = 30.0
"""Seconds for a server to say anything while it is asked something."""
_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 20, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": 90_000}
"""A peer that is gone without a word is noticed in some two minutes; the last one is in milliseconds."""


class Broken(NanobotError):
    """The connection, or what came by it, is of no use any more."""


@attrs.define(eq=False)
class Line:
    """One connection. `shut` may be called in any thread, the rest belongs to one."""

    host: str
    sock: socket.socket
    closed: bool = False
    _shut: bool = False

    def secure(self, context: ssl.SSLContext) -> None:
        """Raises: OSError, of which ssl.SSLCertVerificationError says that it is not who it should be."""
        self.sock = secure = context.wrap_socket(self.sock, server_hostname=self.host, do_handshake_on_connect=False)
        if self._shut:  # in between, where it had no effect
            raise Broken("it was closed")
        secure.do_handshake()

    def shut(self) -> None:
        self._shut = True
        with contextlib.suppress(OSError):
            # the descriptor's own: of a TLS socket, this would first say goodbye, and wait
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)

    def close(self) -> None:
        self._shut = self.closed = True
        self.sock.close()


async def connected(host: str, port: int) -> Line:
    """Raises: OSError."""
    stream = await trio.open_tcp_stream(host, port)
    sock = socket.socket(fileno=stream.socket.detach())
    sock.settimeout(ANSWER_S)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name) and sys.platform == "linux":
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return Line(host, sock)


def tls_context(ca_file: str) -> ssl.SSLContext:
    """The system's authorities, and those in `ca_file`. Raises: ChannelFailed."""
    context = ssl.create_default_context()
    try:
        if ca_file:
            context.load_verify_locations(ca_file)
    except OSError as error:
        text = f"channels.email.caFile: {ca_file} holds no certificates that can be read ({error.strerror or error})"
        raise ChannelFailed(text, cause=Cause.CONFIG) from error
    return context


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def not_real(host: str, error: ssl.SSLCertVerificationError) -> ChannelFailed:
    text = (
        f"{host} shows a certificate that cannot be verified ({error.verify_message}). If it is your own server, name the "
        "certificate of its authority in channels.email.caFile; else the name of the host may be wrong"
    )
    return ChannelFailed(text, cause=Cause.CONFIG)


def not_secure(host: str, key: str) -> ChannelFailed:
    text = f"{host} offers no encryption (STARTTLS), and a password is not sent without: set channels.email.{key} to true"
    return ChannelFailed(text, cause=Cause.CONFIG)
