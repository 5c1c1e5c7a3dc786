"""A count of what may still be handed over, waited for on an asyncio loop. Touched on that loop only.

It keeps a bounded channel to another thread from overflowing without anybody blocking a thread.
"""

from __future__ import annotations

import asyncio
from collections import deque

import attrs


@attrs.define(eq=False)
class Credits:
    """`take` before handing over, `give` when the other side has taken the item."""

    left: int
    _waiters: deque[asyncio.Future[None]] = attrs.field(factory=deque, init=False)

    async def take(self) -> None:
        """Wait for a credit. First come, first served."""
        while self.left <= 0:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake_one()  # it was our turn: the next one's now
                raise
        self.left -= 1

    def take_nowait(self) -> bool:
        """False if there is none."""
        if self.left <= 0:
            return False
        self.left -= 1
        return True

    def give(self) -> None:
        self.left += 1
        self._wake_one()

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
