"""The last word on a process that does not do what it must: a thread that outlives a stuck loop.

`beat` is called by the loop, once a second. A loop that misses `MOST_MISSED` looks in a row does not turn any more: where
every thread hangs goes to stderr and the log, and the process ends with code 70, so that whoever started it starts it again.
`leave(within_s)` puts the same end on a stop that takes too long. Looks are counted, not seconds: a machine that slept has
missed one.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs
from loguru import logger

LOOK_S = 1.0
MOST_MISSED = 30
"""Looks without a beat. A machine that swaps holds a loop for a second or two; nothing of ours does for half a minute."""
STUCK = 70
"""Exit code EX_SOFTWARE of sysexits(3)."""


@attrs.define(eq=False)
class Watchdog:
    """See the module. Made by `watching`."""

    _end: Callable[[int], None]
    _look_s: float
    _most_missed: int
    _beats: int = attrs.field(default=0, init=False)
    _left: int | None = attrs.field(default=None, init=False)
    """Looks until a stop has taken too long; None while nobody stops."""
    _over: threading.Event = attrs.field(factory=threading.Event, init=False)

    def beat(self) -> None:
        """The loop turns."""
        self._beats += 1

    def leave(self, within_s: float) -> None:
        """From now on the process has `within_s` seconds to end. The first word counts. Safe in a signal handler."""
        if self._left is None:
            self._left = max(1, round(within_s / self._look_s))

    def watch(self) -> None:
        """The thread."""
        seen, missed = self._beats, 0
        while not self._over.wait(self._look_s):
            missed = 0 if self._beats != seen else missed + 1
            seen = self._beats
            if self._left is not None:
                self._left -= 1
            if self._left == 0:
                self._stop("nanobot did not end in time and was ended")
            elif missed >= self._most_missed:
                self._stop(f"nanobot's loop has not turned for {missed * self._look_s:g} s and was ended")

    def close(self) -> None:
        self._over.set()

    def _stop(self, why: str) -> None:
        where = _stacks()
        print(f"{why}; this is where it hung:\n{where}", file=sys.__stderr__, flush=True)
        logger.critical("{}; this is where it hung:\n{}", why, where)
        self._end(STUCK)


@contextmanager
def watching(
    *, end: Callable[[int], None] = os._exit, look_s: float = LOOK_S, most_missed: int = MOST_MISSED
) -> Iterator[Watchdog]:
    """Watch until the end of the block."""
    watchdog = Watchdog(end, look_s, most_missed)
    thread = threading.Thread(target=watchdog.watch, name="watchdog", daemon=True)
    thread.start()
    try:
        yield watchdog
    finally:
        watchdog.close()
        thread.join(2 * look_s)


def _stacks() -> str:
    """Where each thread is. faulthandler writes to descriptors only, and never waits for a lock."""
    with tempfile.TemporaryFile() as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        return file.read().decode("utf-8", "replace")
