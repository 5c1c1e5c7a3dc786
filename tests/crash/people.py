"""The people at the page through all lives of a gateway: what they say and hear, and how badly their connections behave.

They do what the guide asks of a client: after a reconnect they open their chats, whatever was not accepted is sent again under
its id (and, because clients are not perfect, some of what was), and every answer is acknowledged, some late, some not before
the next life.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator

import attrs
import trio

from tests.crash.gateway_plans import Round, Say
from tests.crash.plans import Point
from tests.crash.websocket import Frame, Gone, Socket

AGAIN_S = 0.01
"""Between attempts to connect: a page would wait a second."""
SLOW_S = 0.05
NAP_S = 0.6


@attrs.frozen
class Heard:
    """An answer that a client has read."""

    life: int
    connection: str
    frame: Frame


@attrs.define(eq=False)
class Life:
    """A life of the gateway, as its clients see it."""

    number: int
    port: int
    token: str
    last: bool
    """No kill comes: everything is acknowledged in the end."""
    saw: Callable[[Point], None]
    """Told what a kill may wait for."""
    gone: trio.Event = attrs.field(factory=trio.Event)


@attrs.define(eq=False)
class People:
    """What they know, over all lives."""

    plan: Round
    todo: list[Say] = attrs.field(init=False)
    """What nobody has said yet."""
    said: dict[str, Say] = attrs.field(factory=dict)
    accepted: set[str] = attrs.field(factory=set)
    heard: list[Heard] = attrs.field(factory=list)
    acked: set[tuple[int, str]] = attrs.field(factory=set)
    """Life and answer. Perhaps it did not arrive."""
    troubles: list[str] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.todo = list(self.plan.script)

    @property
    def unanswered(self) -> list[str]:
        answered = {id for heard in self.heard for id in (heard.frame["replyTo"], *heard.frame["alsoAnswers"])}
        return [id for id in self.said if id not in answered]

    def come(self, life: Life) -> list[Tab]:
        return [Tab(self, life, n) for n in range(self.plan.tabs)]

    async def speak(self, life: Life, tabs: list[Tab]) -> None:
        """Say what is left of the script. Cancelled when the gateway is killed: the rest is said in the next life."""
        dice = random.Random(f"{self.plan.seed} speak {life.number}")
        while self.todo:
            await trio.sleep(self.todo[0].wait)
            say = self.todo.pop(0)
            if say.id:
                self.said[say.id] = say
            elsewhere = dice.random() < 0.15
            await (dice.choice(tabs) if elsewhere else tabs[self.home(say.chat)]).say(say)

    def home(self, chat: str) -> int:
        """The tab that a chat is at."""
        return self.plan.chats.index(chat) % self.plan.tabs


@attrs.define(eq=False)
class Tab:
    """One page, which connects again whenever it has lost its connection."""

    people: People
    life: Life
    number: int
    unsettled: set[str] = attrs.field(factory=set)
    """Sent over the connection that lives, and not accepted there."""
    _socket: Socket | None = None
    _name: str = ""
    _dice: random.Random = attrs.field(init=False)
    _slow: bool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._dice = random.Random(f"{self.people.plan.seed} {self.life.number} {self.number}")
        self._slow = self._dice.random() < 0.15

    async def sit(self) -> None:
        """Until the gateway is gone and everything that came from it has been read."""
        for n in itertools.count():
            self._name = f"{self.life.number}.{self.number}.{n}"
            try:
                await self._connect()
            except Gone:
                pass
            if self.life.gone.is_set():
                return
            await trio.sleep(AGAIN_S)

    async def say(self, say: Say) -> None:
        """Lost where nobody is connected; then it is said after the next connect."""
        if self._socket is None:
            return
        try:
            if say.id:
                self.unsettled.add(say.id)
                await self._socket.send("message", id=say.id, chat=say.chat, text=say.text)
            else:
                await self._socket.send("stop", chat=say.chat)
        except Gone:
            pass

    # --- a connection

    async def _connect(self) -> None:
        """Raises: Gone."""
        socket = await Socket.open(self.life.port, self.life.token, small=self._slow)
        try:
            if (await socket.receive())["type"] != "ready":
                raise Gone  # the channel is not up yet
            self._socket = socket
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._misbehave, socket)
                nursery.start_soon(self._say_again)
                try:
                    await self._listen(socket, nursery)
                except Gone:
                    nursery.cancel_scope.cancel()
        finally:
            self._socket = None
            self.unsettled.clear()
            socket.leave()

    async def _say_again(self) -> None:
        """Name the chats that this page is for, and now and then another; then say what was not accepted."""
        for chat in self.people.plan.chats:
            if self._socket is not None and (self.people.home(chat) == self.number or self._dice.random() < 0.2):
                try:
                    await self._socket.send("open", chat=chat)
                except Gone:
                    return
        for say in list(self._to_say()):
            await self.say(say)

    def _to_say(self) -> Iterator[Say]:
        for say in self.people.said.values():
            fresh = say.id not in self.people.accepted
            if self.people.home(say.chat) == self.number and (fresh or self._dice.random() < 0.25):
                yield say

    async def _misbehave(self, socket: Socket) -> None:
        if self._dice.random() < 0.35:
            await trio.sleep(self._dice.uniform(0.0, 1.0))
            socket.leave(reset=self._dice.random() < 0.5)

    async def _listen(self, socket: Socket, nursery: trio.Nursery) -> None:
        """Raises: Gone."""
        while True:
            frame = await socket.receive()
            self._hear(frame, socket, nursery)
            if self._slow and not self.life.gone.is_set():
                await trio.sleep(NAP_S if self._dice.random() < 0.05 else SLOW_S)

    def _hear(self, frame: Frame, socket: Socket, nursery: trio.Nursery) -> None:
        match frame:
            case {"type": "accepted", "id": id}:
                self.people.accepted.add(id)
                self.unsettled.discard(id)
                self.life.saw("accepted")
            case {"type": "message", "id": id}:
                self.people.heard.append(Heard(self.life.number, self._name, frame))
                self.life.saw("answer")
                wait = self._patience()
                if wait is not None:
                    nursery.start_soon(self._acknowledge, socket, id, wait)
            case {"type": "history", "items": items}:
                said = [item["id"] for item in items if item["role"] == "you"]
                if len(said) != len(set(said)):
                    self.people.troubles.append(f"a message is twice in the history: {said}")
            case {"type": "error", "code": code} if code != "stopping":
                self.people.troubles.append(f"the gateway said {frame}")
            case _:  # what may be watched
                pass

    def _patience(self) -> float | None:
        """Seconds before an answer is acknowledged; None: not over this connection."""
        if self._dice.random() < self.people.plan.withheld:
            return self._dice.uniform(0.2, 0.5) if self.life.last else None
        return self._dice.choice((0.0, 0.0, self._dice.uniform(0.0, 0.2)))

    async def _acknowledge(self, socket: Socket, id: str, wait: float) -> None:
        await trio.sleep(wait)
        self.people.acked.add((self.life.number, id))
        try:
            await socket.send("ack", id=id)
        except Gone:
            return
        self.life.saw("acked")
