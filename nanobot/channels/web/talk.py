"""What the page's chat keeps of a connection, of a message on its way, and of a chat in which something happens."""

from __future__ import annotations

from collections import deque
from typing import Protocol, assert_never

import attrs
import trio

from nanobot.channels.port import DeltaSign, Sign, StateSign, ToolSign, VoidSign
from nanobot.channels.web import frames
from nanobot.channels.web.outgoing import Outgoing
from nanobot.messages import SessionKey

PENDING = 64
"""Frames of one client that may be under way; the next waits in its connection."""

Work = frames.Message | frames.Open | frames.Stop


class Connection(Protocol):
    """A websocket, as the HTTP server gives it."""

    async def receive(self) -> str | bytes | None:
        """None: the client is gone."""
        ...

    async def send(self, *texts: str) -> None: ...

    async def close(self, code: int, reason: str = "") -> None: ...


@attrs.define(eq=False)
class Given:
    """A final message that connections have and none has acknowledged."""

    key: SessionKey
    holders: set[Talk] = attrs.field(factory=set)
    acked: bool = False
    awaited: trio.Event | None = None
    """Set when it is acknowledged, nobody has it any more, or the channel ends."""

    def end_wait(self) -> None:
        if self.awaited is not None:
            self.awaited.set()


@attrs.define(eq=False)
class Live:
    """What a chat does now, for who comes later."""

    state: StateSign | None = None
    turn: int = 0
    answer: list[str] = attrs.field(factory=list)

    def note(self, sign: Sign) -> None:
        match sign:
            case StateSign(state):
                self.state = sign
                if state == "delivering":
                    self.answer.clear()
            case DeltaSign(turn, text) if turn == self.turn:
                self.answer.append(text)
            case DeltaSign(turn, text):
                self.turn, self.answer = turn, [text]
            case ToolSign() | VoidSign():
                self.answer.clear()
            case _ as never:
                assert_never(never)

    def signs(self) -> tuple[Sign, ...]:
        """The same again, for a client that may have seen a part of it."""
        state = () if self.state is None else (self.state,)
        return (*state, VoidSign(self.turn), DeltaSign(self.turn, "".join(self.answer))) if self.answer else state


@attrs.define(eq=False)
class Talk:
    """One connection."""

    connection: Connection
    out: Outgoing = attrs.field(factory=Outgoing)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    chats: set[str] = attrs.field(factory=set)
    unacked: set[str] = attrs.field(factory=set)
    lanes: dict[str, deque[Work]] = attrs.field(factory=dict)
    """By chat, what is to be done for it, in order. Empty while nothing is."""
    pending: trio.Semaphore = attrs.field(factory=lambda: trio.Semaphore(PENDING))

    async def write(self) -> None:
        while batch := await self.out.batch():
            await self.connection.send(*batch)
