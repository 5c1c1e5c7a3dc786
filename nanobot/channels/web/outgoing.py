"""What is on its way to one websocket, and how much of it may wait.

`frame` is for what must arrive: it is never dropped, and in order. `sign` is for what may be watched, and gives way: a growing
answer is one item however many pieces it came in, a state replaces the one before it, and over `SIGNS_CHARS` no more is taken.
An answer is then cut short for this reader, never holed; the final message has it whole.

The writer takes everything at once (`batch`). Where only signs wait, a batch follows the last one after `PACE_S`: the eye sees no
difference, and a model that streams a hundred tokens a second costs a third of the frames.
"""

from __future__ import annotations

import attrs
import trio

from nanobot.channels.port import DeltaSign, Sign, StateSign, VoidSign
from nanobot.channels.web import frames

SIGNS_CHARS = 256 * 1024
ROOM_CHARS = 2**20
"""Over this nothing more is read of a client until it has read."""
SIGN_CHARS = 100
"""What a frame costs beside its text."""
PACE_S = 0.03


@attrs.define(eq=False)
class _Shown:
    """A sign that waits. An answer's pieces are joined when it leaves."""

    chat: str
    sign: Sign
    pieces: list[str]

    def text(self) -> str:
        match self.sign:
            case DeltaSign(turn):
                return frames.sign(self.chat, DeltaSign(turn, "".join(self.pieces)))
            case _:
                return frames.sign(self.chat, self.sign)


class Outgoing:
    """See the module. One writer, any number of others."""

    def __init__(self) -> None:
        self._items: list[str | _Shown] = []
        self._last: dict[str, _Shown] = {}
        """Of each chat the sign that waits at its end, which the next may join."""
        self._cut: dict[str, int] = {}
        """Chats whose answer no longer fits, with the turn."""
        self._chars = 0
        self._closed = False
        self._paced_until = 0.0
        self._something, self._urgent, self._emptied = trio.Event(), trio.Event(), trio.Event()

    def frame(self, text: str, chat: str = "") -> None:
        """`chat`: what it speaks of, so that signs after it stay after it."""
        self._last.pop(chat, None)
        self._add(text, len(text))
        self._urgent.set()

    def sign(self, chat: str, sign: Sign) -> None:
        match sign:
            case DeltaSign(turn, text):
                self._delta(chat, turn, text)
            case VoidSign():
                self._cut.pop(chat, None)
                self._add(self._keep(chat, sign), SIGN_CHARS)
            case StateSign() if chat in self._last and isinstance(self._last[chat].sign, StateSign):
                self._last[chat].sign = sign
            case _:
                if self._chars < SIGNS_CHARS or isinstance(sign, StateSign):
                    self._add(self._keep(chat, sign), SIGN_CHARS)

    async def batch(self) -> list[str]:
        """Wait for something to send, and take it. Empty: closed."""
        await self._something.wait()
        if not self._urgent.is_set():
            with trio.move_on_at(self._paced_until):
                await self._urgent.wait()
        self._paced_until = trio.current_time() + PACE_S
        items, self._items, self._chars = self._items, [], 0
        self._last.clear()
        self._emptied.set()
        if not self._closed:
            self._something, self._urgent = trio.Event(), trio.Event()
        return [item if isinstance(item, str) else item.text() for item in items]

    async def room(self) -> None:
        """Wait until no more waits here than a reader who reads would leave."""
        while self._chars > ROOM_CHARS and not self._closed:
            self._emptied = trio.Event()
            await self._emptied.wait()

    def close(self) -> None:
        """Nobody reads any more."""
        self._closed = True
        self._items.clear()
        self._something.set()
        self._urgent.set()
        self._emptied.set()

    def _delta(self, chat: str, turn: int, text: str) -> None:
        if self._cut.get(chat) == turn:
            return
        if self._chars + len(text) > SIGNS_CHARS:
            self._cut[chat] = turn
            return
        self._cut.pop(chat, None)
        last = self._last.get(chat)
        if last is not None and isinstance(last.sign, DeltaSign) and last.sign.turn == turn:
            last.pieces.append(text)
            self._chars += len(text)
        else:
            self._add(self._keep(chat, DeltaSign(turn, ""), text), SIGN_CHARS + len(text))

    def _keep(self, chat: str, sign: Sign, *pieces: str) -> _Shown:
        self._last[chat] = kept = _Shown(chat, sign, list(pieces))
        return kept

    def _add(self, item: str | _Shown, chars: int) -> None:
        if not self._closed:
            self._items.append(item)
            self._chars += chars
            self._something.set()
