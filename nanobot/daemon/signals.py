"""The signals of the gateway, caught from the first moment with plain handlers, so that also a loop that is held hears of them.

SIGTERM and SIGINT ask for an orderly end, and start the watchdog's clock for it; a second one ends the process at once
(children die with us, and journals hold). SIGHUP asks for the configuration to be read again. What comes before `attach` is
kept for it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import attrs

CAUGHT = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@attrs.define(eq=False)
class Signals:
    """See the module. Made by `caught`, in the main thread."""

    _leaving: Callable[[], None]
    """Called in the handler of the first signal that ends us."""
    _end: Callable[[int], None]
    _asked: bool = attrs.field(default=False, init=False)
    _early: list[int] = attrs.field(factory=list, init=False)
    _tell: Callable[[int], None] | None = attrs.field(default=None, init=False)

    def attach(self, tell: Callable[[int], None]) -> None:
        """From now on `tell` hears of each signal, those that came before included. It must be safe in a handler."""
        self._tell = tell
        while self._early:
            tell(self._early.pop(0))

    def handle(self, number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGHUP:
            if self._asked:
                self._end(128 + number)
            self._asked = True
            self._leaving()
        if self._tell is None:
            self._early.append(number)
        else:
            self._tell(number)


@contextmanager
def caught(leaving: Callable[[], None], *, end: Callable[[int], None] = os._exit) -> Iterator[Signals]:
    """Catch them until the end of the block; then the handlers are as they were."""
    signals = Signals(leaving, end)
    before = {number: signal.signal(number, signals.handle) for number in CAUGHT}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
