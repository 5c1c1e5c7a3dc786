"""How many mails each sender may have taken in an hour: two machines that answer each other stop here. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque

import attrs

HOUR_S = 3600.0
MOST_SENDERS = 10_000
"""Whose mails are counted; the one heard of longest ago is forgotten first."""


@attrs.define(eq=False)
class Rates:
    most: int
    """In an hour."""
    _taken: OrderedDict[str, deque[float]] = attrs.field(factory=OrderedDict, init=False)

    def wait_s(self, sender: str, now: float) -> float:
        """Seconds until another one may be taken; 0: now."""
        times = self._taken.get(sender, deque())
        while times and times[0] <= now - HOUR_S:
            times.popleft()
        return 0.0 if len(times) < self.most else times[0] + HOUR_S - now

    def took(self, sender: str, now: float) -> None:
        self._taken.setdefault(sender, deque()).append(now)
        self._taken.move_to_end(sender)
        while len(self._taken) > MOST_SENDERS:
            self._taken.popitem(last=False)
