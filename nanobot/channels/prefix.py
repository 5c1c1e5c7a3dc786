"""The gapless prefix, for networks that acknowledge cumulatively: confirming a number confirms all before it. Pure.

prefix.begin(update.number)        # in the network's order
prefix.done(update.number)         # in any order, when its message is durable
confirm(prefix.durable)            # nothing that is not on disk is below it
"""

from __future__ import annotations

from collections import deque

import attrs


@attrs.define(eq=False)
class Prefix:
    """See the module. Numbers rise, but need not follow one another."""

    durable: int | None = None
    """The highest number of which all that was begun before it is done too; None: there is none yet."""
    _open: deque[int] = attrs.field(factory=deque, init=False)
    """Everything begun from the first that is not done, in order."""
    _done: set[int] = attrs.field(factory=set, init=False)
    """Of `_open`."""

    @property
    def waiting(self) -> int:
        """How many numbers are held back: what a channel bounds its intake by."""
        return len(self._open)

    def begin(self, number: int) -> None:
        """Raises: ValueError for a number that is not higher than all before."""
        last = self._open[-1] if self._open else self.durable
        if last is not None and number <= last:
            raise ValueError(f"{number} comes after {last}")
        self._open.append(number)

    def done(self, number: int) -> None:
        """Raises: ValueError for a number that is not waiting: never begun, or done before."""
        if number in self._done or number not in self._open:
            raise ValueError(f"{number} is not waiting")
        self._done.add(number)
        while self._open and self._open[0] in self._done:
            self.durable = self._open.popleft()
            self._done.discard(self.durable)
