"""A house for the page's chat, and a websocket without a network.

`House` is the port and the desk of a `WebChannel`, with sessions that are lists.
A session sends its oldest message until that is taken, and waits for `wake` when it is told that nobody is there: what the
real one does, in ten lines. `settled` has the ids in the order in which they were delivered.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import attrs
import trio
import trio.testing
from trio_websocket import CloseReason, ConnectionClosed

from nanobot.channels.port import Arrived, ChannelFailed, NotTaken, Part, Unreachable
from nanobot.channels.web.channel import WebChannel
from nanobot.channels.web.frames import History
from nanobot.errors import NanobotError
from nanobot.messages import MessageId, Outbound, OutboundId, SessionKey
from tests.fakes.ws import Client

TOKEN = "the-token-of-the-page"


async def is_token(token: str) -> bool:
    await trio.lowlevel.checkpoint()
    return token == TOKEN


@attrs.define(eq=False)
class House:
    """Is Port and Desk."""

    folder: Path = Path()
    arrived: list[Arrived] = attrs.field(factory=list)
    refusal: NotTaken | None = None
    gates: dict[str, trio.Event] = attrs.field(factory=dict)
    """Chats whose messages take until the event is set to become durable."""
    pasts: dict[str, History] = attrs.field(factory=dict)
    looked: trio.Event = attrs.field(factory=trio.Event)
    """Unset by a test that wants a look at what is unsettled to take its time."""
    asked: list[tuple[str, int | None]] = attrs.field(factory=list)
    """Histories that were asked for."""
    trouble: NanobotError | None = None
    outboxes: dict[SessionKey, deque[Outbound]] = attrs.field(factory=partial(defaultdict, deque))
    settled: list[str] = attrs.field(factory=list)
    woken: list[SessionKey] = attrs.field(factory=list)
    sleepy: bool = False
    """Sessions do not wake when they are asked to."""
    channel: WebChannel = attrs.field(init=False)
    life: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """Of the channel's `serve`."""
    nursery: trio.Nursery = attrs.field(init=False)
    _sending: set[SessionKey] = attrs.field(factory=set)
    _number: int = 0

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with self.life:
            await self.channel.serve(self, task_status=task_status)

    # --- the port

    async def deliver(self, arrived: Arrived) -> None:
        if arrived.chat in self.gates:
            await self.gates[arrived.chat].wait()
        await trio.lowlevel.checkpoint()
        if self.refusal is not None:
            raise self.refusal
        self.arrived.append(arrived)

    def take(self, arrived: Arrived, taken: Callable[[], None]) -> None:
        raise AssertionError("the page delivers, and waits for it")

    @property
    def commands(self) -> dict[str, str]:
        return {}

    def alive(self) -> None:
        pass

    def fail(self, error: ChannelFailed) -> None:
        raise error

    # --- the desk

    async def unsettled(self) -> tuple[tuple[SessionKey, Outbound], ...]:
        found = tuple(sorted(((key, o) for key, box in self.outboxes.items() for o in box), key=lambda pair: pair[1].at))
        await trio.lowlevel.checkpoint()
        await self.looked.wait()
        return found

    async def history(self, key: SessionKey, before: int | None, most: int) -> History:
        await trio.lowlevel.checkpoint()
        self.asked.append((key.chat, before))
        if self.trouble is not None:
            raise self.trouble
        return self.pasts.get(key.chat, History())

    async def wake(self, key: SessionKey) -> None:
        await trio.lowlevel.checkpoint()
        self.woken.append(key)
        if not self.sleepy:
            self._work_off(key)

    # --- the sessions

    @property
    def sending(self) -> int:
        """Sessions that wait for a message to be taken."""
        return len(self._sending)

    def drop(self) -> None:
        """Everything that waits is given up."""
        self.outboxes.clear()

    async def restart(self) -> None:
        """The channel ends and lives again; then every session tries again."""
        self.life.cancel()
        await trio.testing.wait_all_tasks_blocked()
        self.life = trio.CancelScope()
        await self.nursery.start(self.serve)
        for key in self.outboxes:
            self._work_off(key)

    def say(self, chat: str, text: str, reply_to: str = "", **more: Any) -> str:
        """A session has something to say; the id that it has on the wire."""
        self._number += 1
        key, id = SessionKey("web", chat), OutboundId(f"o{self._number}")
        out = Outbound(id, text, float(self._number), MessageId(reply_to) if reply_to else None)
        self.outboxes[key].append(attrs.evolve(out, **more))
        self._work_off(key)
        return f"{chat}/{id}"

    def _work_off(self, key: SessionKey) -> None:
        if key not in self._sending:
            self._sending.add(key)
            self.nursery.start_soon(self._send, key)

    async def _send(self, key: SessionKey) -> None:
        box = self.outboxes[key]
        with suppress(Unreachable):
            while box:
                await self.channel.send(Part(key, box[0], box[0].text))
                self.settled.append(f"{key.chat}/{box.popleft().id}")
        self._sending.discard(key)


@asynccontextmanager
async def house() -> AsyncIterator[House]:
    """A house whose web channel is up."""
    async with trio.open_nursery() as nursery:
        built = House()
        built.looked.set()
        built.nursery = nursery
        built.channel = WebChannel(built, is_token, clock=lambda: 1000.0)
        await nursery.start(built.serve)
        yield built
        nursery.cancel_scope.cancel()


class Wire:
    """Both ends of a websocket, in memory. `reads` unset: the client's end does not read."""

    def __init__(self) -> None:
        self._up, self._server = trio.open_memory_channel[str | bytes](inf)
        self._down, self._client = trio.open_memory_channel[str](inf)
        self._code: int | None = None
        self.reads = trio.Event()
        self.reads.set()

    # --- the server's end: a Connection

    async def receive(self) -> str | bytes | None:
        try:
            return await self._server.receive()
        except trio.EndOfChannel:
            return None

    async def send(self, *texts: str) -> None:
        await self.reads.wait()
        with suppress(trio.BrokenResourceError):
            for text in texts:
                await self._down.send(text)

    async def close(self, code: int, reason: str = "") -> None:
        await trio.lowlevel.checkpoint()
        self._code = code
        self._down.close()

    # --- the client's end

    @property
    def unread(self) -> int:
        """Messages of the client that the server has not read."""
        return self._server.statistics().current_buffer_used

    @property
    def waiting(self) -> int:
        """Messages of the server that the client has not read."""
        return self._client.statistics().current_buffer_used

    async def send_message(self, data: str | bytes) -> None:
        await self._up.send(data)

    async def get_message(self) -> str | bytes:
        try:
            return await self._client.receive()
        except trio.EndOfChannel:
            raise ConnectionClosed(CloseReason(self._code, "") if self._code else None) from None

    def leave(self) -> None:
        self._up.close()
        self._client.close()


@attrs.define(eq=False)
class Tab(Client):
    """A client of a channel, without a server between. `left` is set when its talk has ended."""

    connection: Wire = attrs.field(factory=Wire)
    left: trio.Event = attrs.field(factory=trio.Event)

    async def leave(self) -> None:
        """Go, and wait until the channel has forgotten it."""
        self.connection.leave()
        await self.left.wait()

    async def nothing_more(self) -> None:
        """What is under way is done, and nothing came of it."""
        await trio.testing.wait_all_tasks_blocked()
        assert self.connection.waiting == 0, await self.next()


async def tab(house: House, token: str | None = TOKEN) -> Tab:
    """A client of the house's channel; ready, unless it has no token to show."""
    opened = Tab()

    async def serve() -> None:
        await house.channel.talk(opened.connection)
        opened.left.set()

    house.nursery.start_soon(serve)
    if token is not None:
        await opened.send("auth", token=token)
        await opened.expect("ready")
    return opened
