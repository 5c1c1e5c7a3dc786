"""Frames on their way to one terminal, in order, and what happens when it does not read them.

What may be lost (the growing answer, lines of tools, waits) is merged with what waits already, and left out where that is
much. All else is kept, `MOST` frames at most: a terminal that reads none of them is told why and let go, with `LINGER_S` to
take the last word. `put` never blocks; one task runs `pump`.
"""

from __future__ import annotations

from collections import deque

import attrs
import trio

from nanobot.control.frames import frame_of
from nanobot.control.port import Connection
from nanobot.messages import TurnNumber
from nanobot.session.ports import Adopted, Progress, Shown, Waiting, Working
from nanobot.wire import JsonObject

MOST = 1_000
"""Frames. Values that the session holds as well, encoded when their turn comes: a second's work of a busy session."""
MOST_PASSING = 100
"""Frames that wait beyond which nothing is added that may be lost."""
LINGER_S = 5.0
"""Seconds for a terminal to take its last frame."""
SLOW: JsonObject = {"type": "bye", "code": "slow", "reason": "the terminal did not take what it was sent"}


@attrs.define(eq=False)
class _Growing:
    """Pieces of an answer that were not sent yet."""

    turn: TurnNumber
    text: list[str] = attrs.field(factory=list)
    thinking: list[str] = attrs.field(factory=list)

    def shown(self) -> Shown:
        return Shown(self.turn, "".join(self.text), "".join(self.thinking))


@attrs.define(eq=False)
class Feed:
    """See the module."""

    _waiting: deque[JsonObject | Progress | _Growing] = attrs.field(factory=deque, init=False)
    _came: trio.Event = attrs.field(factory=trio.Event, init=False)
    _last: bool = attrs.field(default=False, init=False)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)

    def put(self, what: JsonObject | Progress) -> None:
        if self._last or self._merged(what):
            return
        if len(self._waiting) >= MOST:
            self.end(SLOW)
            return
        self._waiting.append(_begun(what))
        self._came.set()

    def end(self, frame: JsonObject) -> None:
        """This one is the last; what still waits is left out."""
        if self._last:
            return
        self._last = True
        self._waiting.clear()
        self._waiting.append(frame)
        self._scope.deadline = trio.current_time() + LINGER_S
        self._came.set()

    async def pump(self, connection: Connection) -> None:
        """Send until the last frame is sent, or not taken. Raises: ConnectionGone."""
        with self._scope:
            while not self._last or self._waiting:
                if self._waiting:
                    await connection.send(_frame(self._waiting.popleft()))
                else:
                    self._came = trio.Event()
                    await self._came.wait()

    def _merged(self, what: JsonObject | Progress) -> bool:
        """Whether it is in something that waits, or left out."""
        match what, self._waiting[-1] if self._waiting else None:
            case Shown(turn, text, thinking, ""), _Growing() as growing if growing.turn == turn:
                growing.text.append(text)
                growing.thinking.append(thinking)
                return True
            case (Working(call=call), Working(call=before)) if call == before:
                self._waiting[-1] = what
                return True
            case Waiting(), Waiting():
                self._waiting[-1] = what
                return True
            case ((Working() | Waiting() | Shown(void="")), _):
                return len(self._waiting) >= MOST_PASSING
            case _:
                return False


def _begun(what: JsonObject | Progress) -> JsonObject | Progress | _Growing:
    match what:
        case Shown(turn, text, thinking, ""):
            return _Growing(turn, [text], [thinking])
        case _:
            return what


def _frame(what: JsonObject | Progress | _Growing) -> JsonObject:
    match what:
        case _Growing():
            return frame_of(what.shown())
        case Shown() | Working() | Waiting() | Adopted():
            return frame_of(what)
        case _:
            return what
