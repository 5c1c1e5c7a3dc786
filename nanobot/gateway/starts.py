"""How often the process has died lately: a start that kills it should not be repeated for ever.

Every process that resumes sessions leaves a file `<data>/starts/PID-TIME` and takes it away when it ends in order. A file
whose process is gone is an unclean start. No lock, as each process writes and removes only its own file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nanobot.config.paths import made
from nanobot.errors import NanobotError

MOST = 3
WINDOW_S = 600.0
"""After `MOST` unclean starts within this time sessions open, but nothing resumes by itself."""


@contextmanager
def counted(data: Path, now: float) -> Iterator[bool]:
    """Count this start for as long as the block lasts; yields whether what is unfinished may be resumed. Raises: OSError."""
    folder = made(data / "starts")
    unclean = sum(_died(file, now) for file in folder.iterdir())
    own = folder / f"{os.getpid()}-{now:.3f}"
    own.touch(mode=0o600)
    try:
        yield unclean < MOST
    except* (NanobotError, OSError):  # said in a sentence, after everything was ended in order
        own.unlink(missing_ok=True)
        raise
    own.unlink(missing_ok=True)  # not in a finally: a bug that ends the process is an unclean end


def _died(file: Path, now: float) -> bool:
    """Whether this start ended uncleanly within the window. Older ones are swept."""
    pid, _, at = file.name.partition("-")
    try:
        alive, age = _alive(int(pid)), now - float(at)
    except ValueError:
        return False
    if not alive and age > WINDOW_S:
        with suppress(OSError):
            file.unlink()
    return not alive and age <= WINDOW_S


def _alive(pid: int) -> bool:
    """Whether a process of that number lives, and is not us: in a container each start has the number of the last."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
