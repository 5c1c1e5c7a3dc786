"""What the daemon is asked from outside while it runs: to end, in which way, or to read its configuration again."""

from __future__ import annotations

import enum

import attrs
import trio


class Ending(enum.Enum):
    STOPPED = "stopped"
    RESTART = "restart"
    PARKED = "parked"
    """A channel was parked, and `gateway.onParked` is `exit`."""


@attrs.define(eq=False)
class Wish:
    """Of several endings the first counts, but a stop wins."""

    ended: trio.Event = attrs.field(factory=trio.Event)
    ending: Ending = Ending.STOPPED
    _reload: trio.Event = attrs.field(factory=trio.Event)

    def end(self, ending: Ending) -> None:
        if not self.ended.is_set() or ending is Ending.STOPPED:
            self.ending = ending
        self.ended.set()

    def reload(self) -> None:
        self._reload.set()

    async def reload_asked(self) -> None:
        """Until the next time."""
        await self._reload.wait()
        self._reload = trio.Event()
