"""What systemd wants to hear from a service of `Type=notify` (sd_notify(3)): datagrams to the socket it names.

Without `NOTIFY_SOCKET` in the environment everything here does nothing.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

import attrs
from loguru import logger


@attrs.frozen
class Notify:
    """`address`: the socket's path, `@` for the abstract name space; empty: nobody wants to hear."""

    address: str = ""
    watchdog_s: float | None = None
    """Seconds within which a sign of life is due; half of it is what systemd advises."""

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Notify:
        """As the environment says. A watchdog that is meant for another process is not ours."""
        mine = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        micros = environ.get("WATCHDOG_USEC", "")
        watchdog = int(micros) / 1e6 if mine and micros.isdigit() and int(micros) else None
        return cls(environ.get("NOTIFY_SOCKET", ""), watchdog)

    def ready(self) -> None:
        self._tell("READY=1")

    def alive(self) -> None:
        if self.watchdog_s is not None:
            self._tell("WATCHDOG=1")

    def reloading(self) -> None:
        """`ready` ends it."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._tell("STOPPING=1")

    def _tell(self, text: str) -> None:
        if not self.address:
            return
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
                to.setblocking(False)
                to.sendto(text.encode(), address)
        except OSError as exc:
            logger.warning("the service manager cannot be told {}: {}", text.partition("=")[0], exc.strerror)
