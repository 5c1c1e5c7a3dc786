"""Signals while a chat runs, and the promise that leaving ends.

`Signals` catches SIGINT, SIGTERM and SIGHUP from the first moment, before any loop runs, with plain handlers: what comes
early is kept until `attach`. SIGTERM and SIGHUP, or `leaving()`, also start the last resort: a thread that, should the
process still be there after `LAST_RESORT_S`, writes where every thread hangs to stderr, puts the terminal back and ends the
process with code 70. A second SIGTERM or SIGHUP, or `now`, ends it at once: children die with us, and journals hold.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import attrs

from nanobot.cli.chatting.stdio import Saved

LAST_RESORT_S = 20.0
"""Seconds: longer than the bounds of the drain and of the journal writers together on a disk that works."""
STUCK = 70
CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@attrs.define(eq=False)
class Signals:
    """See the module. Made by `caught`, in the main thread."""

    _saved: Saved
    _early: list[int] = attrs.field(factory=list, init=False)
    _tell: Callable[[int], None] | None = attrs.field(default=None, init=False)
    _ending: bool = attrs.field(default=False, init=False)
    _asked: int = attrs.field(default=0, init=False)

    @property
    def code(self) -> int:
        """Exit code of the signal that asked us to leave, 0 if none did."""
        return 128 + self._asked if self._asked else 0

    @property
    def heard(self) -> bool:
        """Whether one came that nobody was told of yet."""
        return bool(self._early)

    def attach(self, tell: Callable[[int], None]) -> None:
        """From now on `tell` hears of each signal, those that came before included. It must be safe in a handler."""
        self._tell = tell
        while self._early:
            tell(self._early.pop(0))

    def leaving(self) -> None:
        """The chat is about to end: from now on it has `LAST_RESORT_S`."""
        if not self._ending:
            self._ending = True
            threading.Thread(target=self._last_resort, name="last resort", daemon=True).start()

    def now(self, code: int) -> None:
        """End the process at once."""
        self._saved.restore()
        os._exit(code)

    def handle(self, number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGINT:
            if self._asked:
                self.now(128 + number)
            self._asked = number
            self.leaving()
        if self._tell is None:
            self._early.append(number)
        else:
            self._tell(number)

    def _last_resort(self) -> None:
        time.sleep(LAST_RESORT_S)
        self._saved.restore()
        print(f"nanobot did not end within {LAST_RESORT_S:g} s and was ended; this is where it hung:", file=sys.__stderr__)
        if sys.__stderr__ is not None:
            faulthandler.dump_traceback(sys.__stderr__, all_threads=True)
        os._exit(STUCK)


@contextmanager
def caught() -> Iterator[Signals]:
    """Catch them until the end of the block; then the terminal is as it was, and so are the handlers."""
    saved = Saved()
    signals = Signals(saved)
    before = {number: signal.signal(number, signals.handle) for number in CAUGHT}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        saved.restore()
