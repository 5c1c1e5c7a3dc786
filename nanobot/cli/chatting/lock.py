"""The lock of the data directory: chats in the terminal hold it shared, the gateway alone.

Children inherit the descriptor: as long as an old one lives, nobody takes the directory over.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from nanobot.config.paths import Places, made
from nanobot.errors import InUse
from nanobot.journal.disk import RealDisk


@contextmanager
def shared(places: Places) -> Iterator[int]:
    """The descriptor that holds the lock. Raises: InUse, naming who holds it alone; OSError."""
    made(places.data)
    lock = os.open(places.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUse(f"the data directory {places.data}", RealDisk().holder(lock)) from None
        yield lock
    finally:
        os.close(lock)
