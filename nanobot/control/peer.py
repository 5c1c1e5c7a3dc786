"""Who is at the other end of a unix socket, by the word of the kernel. Imports next to nothing."""

from __future__ import annotations

import os
import socket
import struct
from typing import Protocol

_UCRED = struct.Struct("3i")
"""pid, uid, gid."""


class Connected(Protocol):
    def getsockopt(self, level: int, name: int, size: int, /) -> bytes: ...


def peer(connection: Connected) -> tuple[int, int]:
    """The process and the user that connected, or that listens. Raises: OSError.

    Where the system does not tell (it is no Linux) it is taken to be us: the mode of the socket alone keeps others out.
    """
    if not hasattr(socket, "SO_PEERCRED"):
        return 0, os.geteuid()
    pid, uid, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return pid, uid
