"""A connection of the control socket in memory: one end for the gateway, the other for the test, which plays the terminal."""

from __future__ import annotations

import math

import attrs
import trio

from nanobot.control.port import ConnectionGone
from nanobot.wire import JsonObject

PATIENCE = 20.0


@attrs.define(eq=False)
class End:
    """One side (control.port.Connection)."""

    out: trio.MemorySendChannel[JsonObject]
    into: trio.MemoryReceiveChannel[JsonObject]

    async def receive(self) -> JsonObject | None:
        try:
            return await self.into.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            return None

    async def send(self, frame: JsonObject) -> None:
        try:
            await self.out.send(frame)
        except trio.BrokenResourceError:
            raise ConnectionGone("the other side has closed") from None

    async def told(self, kind: str) -> JsonObject:
        """The next frame of that type, or `ok` or `error`; what comes before it is passed over."""
        with trio.fail_after(PATIENCE):
            while (frame := await self.receive()) is not None:
                if kind in (frame.get("type"), *frame):
                    return frame
        raise AssertionError(f"the connection ended before {kind}")

    def leave(self) -> None:
        self.out.close()
        self.into.close()


def ends(room: float = math.inf) -> tuple[End, End]:
    """Both ends; `room` frames to the second one may be underway."""
    to_second, second = trio.open_memory_channel[JsonObject](room)
    to_first, first = trio.open_memory_channel[JsonObject](math.inf)
    return End(to_second, first), End(to_first, second)
