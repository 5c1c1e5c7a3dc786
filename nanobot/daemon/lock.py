"""The lock of the data directory: the gateway holds it alone, chats in the terminal without a gateway share it.

Children inherit the descriptor: as long as an old one lives, nobody takes the directory over.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nanobot.config.paths import Places, made
from nanobot.errors import InUse
from nanobot.journal.disk import RealDisk

PATIENCE_S = 3.0
"""Seconds to wait for the children of a gateway that was killed: their wrappers end within a second."""
LOOK_S = 0.05


@contextmanager
def shared(places: Places) -> Iterator[int]:
    """The descriptor that holds the lock. Raises: InUse, naming who holds it alone; OSError."""
    with _locked(places, fcntl.LOCK_SH, 0.0) as lock:
        yield lock


@contextmanager
def alone(places: Places, *, patience_s: float = PATIENCE_S) -> Iterator[int]:
    """The same for the gateway: nobody else works in the directory. Blocks up to `patience_s`. Raises: InUse, OSError."""
    with _locked(places, fcntl.LOCK_EX, patience_s) as lock:
        yield lock


def is_held(file: Path) -> bool:
    """Whether anybody holds the lock. Raises: OSError, but not for a lock that was never made."""
    try:
        lock = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _taken(lock, fcntl.LOCK_EX)
    finally:
        os.close(lock)


@contextmanager
def _locked(places: Places, kind: int, patience_s: float) -> Iterator[int]:
    made(places.data)
    lock = os.open(places.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        until = time.monotonic() + patience_s
        while not _taken(lock, kind):
            if time.monotonic() >= until:
                raise InUse(f"the data directory {places.data}", RealDisk().holder(lock))
            time.sleep(LOOK_S)
        yield lock
    finally:
        os.close(lock)


def _taken(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
