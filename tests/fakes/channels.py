"""A chat network in memory, and one channel to it in three builds: native Trio, an asyncio SDK in its thread, a blocking one.

The test holds one end of `Network` (say, sent, order, the switches), a channel connects to the other. It keeps what was not
acknowledged and hands it to the next connection, as networks do. All of it may be used from any thread.

Ten sorts of failure on command. Some are orders that make the *channel* misbehave (`network.order(Sort.RAISE)`), others are
switches of the *network* (`network.half_open()`, `.slow_s`, `.limited_s`, `.revoked`). `release` lets go of what holds on.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import trio

from nanobot.channels.port import (
    Arrived,
    Channel,
    ChannelFailed,
    Limits,
    NotTaken,
    Part,
    Port,
    SendLater,
    Unreachable,
)
from nanobot.messages import MessageId, Receipt
from nanobot.supervise.asyncio_worker import AsyncioWorker
from nanobot.supervise.blocking import BlockingWorker
from nanobot.supervise.policy import Cause

PING_S = 0.1
PROOF_S = 1.0
"""The window of the fakes: ten heartbeats, so that a busy machine does not look like a dead network."""
STOP_S = 0.5
"""A worker's, short for the tests."""
NOT_VALID = "the token is not valid any more"


class Sort(enum.StrEnum):
    RAISE = "raise"
    HANG = "hang"
    RETURN = "return"
    HALF_OPEN = "half-open"
    SLOW = "slow"
    RATE_LIMITED = "rate-limited"
    REVOKED = "revoked"
    GARBAGE = "garbage"
    REFUSE = "refuse to stop"
    BLOCK = "thread blocked"


class Broken(Exception):
    """What the SDK of this network raises when something is wrong in it."""


class Revoked(Exception):
    """401."""


class TooMany(Exception):
    """429."""


@attrs.frozen
class Sent:
    """A message as it stands in the chat."""

    chat: str
    text: str
    at: float
    """By time.monotonic."""
    part: Part | None = None


@attrs.frozen
class Frame:
    """What the network pushes: a message, or an order of the test's."""

    number: int
    body: dict[str, Any]
    """Of a message `id`, `chat`, `user`, `text`; of an order `order`; of garbage neither."""


@attrs.define(eq=False, repr=False)
class Connection:
    """The client's end. Nothing here waits: `wake` is called, in any thread, when there may be something to `take`."""

    network: Network
    wake: Callable[[], None]
    dead: bool = False
    """Half open: nothing goes through it any more, and nobody says so."""
    taken: int = 0

    def take(self) -> Frame | None:
        with self.network.lock:
            fresh = [frame for frame in self.network.waiting if frame.number > self.taken]
            if self.dead or not fresh:
                return None
            self.taken = fresh[0].number
            if "id" not in fresh[0].body:
                self.network.waiting.remove(fresh[0])
            return fresh[0]

    def ack(self, frame: Frame) -> None:
        with self.network.lock:
            if not self.dead and frame in self.network.waiting:
                self.network.waiting.remove(frame)
                self.network.acknowledged.append(frame.body["id"])

    def ping(self) -> bool:
        """Whether it is answered."""
        return not self.dead

    def post(self, part: Part) -> str | None:
        """The id of the message; None: no answer will come. Raises: Revoked, TooMany."""
        if self.network.revoked:
            raise Revoked
        if self.dead:
            return None
        if time.monotonic() < self.network.limited_until:
            raise TooMany
        return self.network.put(Sent(part.key.chat, part.text, time.monotonic(), part))

    def close(self) -> None:
        with self.network.lock:
            self.network.connections.discard(self)
        self.wake()


@attrs.define(eq=False, repr=False)
class Network:
    """See the module."""

    name: str
    slow_s: float = 0.0
    """What a send takes."""
    limited_until: float = 0.0
    """By time.monotonic; sends are refused with how long it is until then."""
    revoked: bool = False
    lock: Any = attrs.field(factory=threading.RLock)
    waiting: deque[Frame] = attrs.field(factory=deque)
    acknowledged: list[str] = attrs.field(factory=list)
    sent: list[Sent] = attrs.field(factory=list)
    answered: set[str] = attrs.field(factory=set)
    """The ids of messages whose answer is in `sent`."""
    connections: set[Connection] = attrs.field(factory=set)
    connected: int = 0
    """How many times."""
    released: threading.Event = attrs.field(factory=threading.Event)
    _number: int = 0
    _news: Callable[[], None] = lambda: None

    # --- the test's end

    def say(self, chat: str, text: str, user: str = "ann") -> str:
        with self.lock:
            message = f"{self.name}-{self._number + 1}"
            self._push({"id": message, "chat": chat, "user": user, "text": text})
        return message

    def order(self, sort: Sort) -> None:
        self._push({"order": sort.value})

    def garbage(self) -> None:
        self._push({"what": "is this"})

    def half_open(self) -> None:
        """Every connection there is goes dead without a word."""
        for connection in list(self.connections):
            connection.dead = True

    def release(self) -> None:
        """Let go of every thread and task that holds on, now and from now on."""
        self.released.set()

    def texts(self, chat: str) -> list[str]:
        return [one.text for one in self.sent if one.chat == chat]

    async def until(self, fact: Callable[[], bool]) -> None:
        """Wait for something that is true of `sent` or `acknowledged`."""
        token = trio.lowlevel.current_trio_token()
        while not fact():
            changed = trio.Event()
            self._news = partial(_quietly, token, changed.set)
            if fact():
                return
            await changed.wait()

    # --- the client's end

    def connect(self, wake: Callable[[], None]) -> Connection:
        """Raises: Revoked."""
        if self.revoked:
            raise Revoked
        connection = Connection(self, wake)
        with self.lock:
            self.connections.add(connection)
            self.connected += 1
        return connection

    def put(self, sent: Sent) -> str:
        with self.lock:
            self.sent.append(sent)
            if sent.part is not None:
                self.answered |= {id_ for id_ in (sent.part.outbound.reply_to, *sent.part.outbound.also_answers) if id_}
            receipt = f"r{len(self.sent)}"
        self._news()
        return receipt

    def _push(self, body: dict[str, Any]) -> None:
        with self.lock:
            self._number += 1
            self.waiting.append(Frame(self._number, body))
            connections = list(self.connections)
        for connection in connections:
            connection.wake()


def _quietly(token: trio.lowlevel.TrioToken, work: Callable[[], None]) -> None:
    try:
        token.run_sync_soon(work)
    except trio.RunFinishedError:
        pass


def _wake_loop(loop: asyncio.AbstractEventLoop, came: asyncio.Event) -> None:
    try:
        loop.call_soon_threadsafe(came.set)
    except RuntimeError:  # it is closed
        pass


def _ring(bell: list[trio.Event]) -> None:
    bell[0].set()


def arrived(frame: Frame) -> Arrived:
    """Raises: KeyError for garbage."""
    body = frame.body
    return Arrived(MessageId(body["id"]), body["chat"], body["user"], body["text"], time.time())


@attrs.define(eq=False)
class FakeChannel:
    """What the builds have in common: the translation of a message, and of the network's refusals."""

    network: Network
    limits: Limits = Limits(text=400, proof_s=PROOF_S)
    connection: Connection | None = attrs.field(default=None, init=False)
    port: Port = attrs.field(init=False)
    hung: bool = attrs.field(default=False, init=False)
    """It does nothing any more, and does not say so."""

    def connect(self, wake: Callable[[], None]) -> Connection:
        try:
            self.connection = self.network.connect(wake)
        except Revoked as exc:
            raise ChannelFailed(NOT_VALID, cause=Cause.AUTH) from exc
        return self.connection

    async def send(self, part: Part) -> Receipt:
        if self.connection is None:
            raise Unreachable("not connected")
        try:
            return Receipt(await self.post(self.connection, part))
        except Revoked as exc:
            self.port.fail(ChannelFailed(NOT_VALID, cause=Cause.AUTH))
            raise Unreachable(NOT_VALID) from exc
        except TooMany as exc:
            left = max(0.0, self.network.limited_until - time.monotonic())
            raise SendLater("too many messages", retry_after=left) from exc

    async def post(self, connection: Connection, part: Part) -> str:
        raise NotImplementedError

    async def take(self, connection: Connection, frame: Frame) -> None:
        """Deliver, then acknowledge."""
        try:
            await self.port.deliver(arrived(frame))
        except NotTaken:
            return
        connection.ack(frame)


class NativeChannel(FakeChannel):
    """Everything on Trio's loop."""

    async def serve(self, port: Port, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self.port = port
        token, came = trio.lowlevel.current_trio_token(), [trio.Event()]
        connection = self.connect(lambda: _quietly(token, partial(_ring, came)))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._ping, connection)
                task_status.started()
                await self._receive(connection, came)
                nursery.cancel_scope.cancel()
        finally:
            connection.close()

    async def post(self, connection: Connection, part: Part) -> str:
        await trio.sleep(self.network.slow_s)
        receipt = connection.post(part)
        if receipt is None:
            await trio.sleep_forever()
        return receipt or ""

    async def _ping(self, connection: Connection) -> None:
        while True:
            if connection.ping() and not self.hung:
                self.port.alive()
            await trio.sleep(PING_S)

    async def _receive(self, connection: Connection, came: list[trio.Event]) -> None:
        while True:
            came[0] = trio.Event()
            while frame := connection.take():
                match frame.body.get("order"):
                    case None:
                        await self.take(connection, frame)
                    case Sort.RETURN:
                        return
                    case order:
                        await self._obey(order)
            await came[0].wait()

    async def _obey(self, order: str) -> None:
        if order == Sort.RAISE:
            raise Broken("ordered")
        self.hung = True
        if order == Sort.BLOCK:
            await trio.to_thread.run_sync(self.network.released.wait)
        with trio.CancelScope(shield=order == Sort.REFUSE):
            while not self.network.released.is_set() or order == Sort.HANG:  # noqa: ASYNC110  # it is what bad code does
                await trio.sleep(0.02)


class AsyncioChannel(FakeChannel):
    """As with an asyncio-only SDK: it lives on the worker's loop, and only what crosses is seen here."""

    worker: AsyncioWorker[Frame | None]

    async def serve(self, port: Port, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self.port = port
        self.worker = AsyncioWorker(self.network.name, stop_s=STOP_S, cancel_grace=0.2)
        async with trio.open_nursery() as nursery:
            connection = await nursery.start(self.worker.run, self._main)
            task_status.started()
            async for frame in self.worker.inbound:
                if frame is None:
                    port.alive()
                else:
                    await self.take(connection, frame)
            nursery.cancel_scope.cancel()

    async def post(self, connection: Connection, part: Part) -> str:
        return await self.worker.call(self._post, connection, part)

    async def _post(self, connection: Connection, part: Part) -> str:
        await asyncio.sleep(self.network.slow_s)
        receipt = connection.post(part)
        if receipt is None:
            await asyncio.Event().wait()
        return receipt or ""

    async def _main(self, worker: AsyncioWorker[Frame | None]) -> None:
        loop, came = asyncio.get_running_loop(), asyncio.Event()
        connection = self.connect(partial(_wake_loop, loop, came))
        worker.ready(connection)
        pinging = asyncio.create_task(self._ping(connection))
        try:
            while True:
                came.clear()
                while frame := connection.take():
                    match frame.body.get("order"):
                        case None:
                            await worker.deliver(frame)
                        case Sort.RETURN:
                            return
                        case order:
                            await self._obey(order)
                await came.wait()
        finally:
            pinging.cancel()
            connection.close()

    async def _ping(self, connection: Connection) -> None:
        while True:
            if connection.ping() and not self.hung:
                self.worker.deliver_nowait(None)
            await asyncio.sleep(PING_S)

    async def _obey(self, order: str) -> None:
        if order == Sort.RAISE:
            raise Broken("ordered")
        self.hung = True
        if order == Sort.BLOCK:
            self.network.released.wait()  # it is what bad code does
        while True:
            try:
                await asyncio.sleep(0.02)
            except asyncio.CancelledError:  # noqa: ASYNC103  # it is what bad code does
                if order != Sort.REFUSE:
                    raise


class BlockingChannel(FakeChannel):
    """As with a library that blocks: a thread that polls, another that sends."""

    sender: BlockingWorker
    inbox: queue.SimpleQueue[None]
    stopped: threading.Event

    async def serve(self, port: Port, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self.port, self.inbox, self.stopped = port, queue.SimpleQueue(), threading.Event()
        connection = self.connect(lambda: self.inbox.put(None))
        name = self.network.name
        receiver = BlockingWorker(f"{name} in", stop=partial(self._stop, connection), stop_s=STOP_S)
        self.sender = BlockingWorker(f"{name} out", stop=self.stopped.set, stop_s=STOP_S)
        async with trio.open_nursery() as nursery:
            await nursery.start(receiver.run)
            await nursery.start(self.sender.run)
            task_status.started()
            while (frames := await receiver.call(self._poll, connection)) is not None:
                if connection.ping():
                    port.alive()
                for frame in frames:
                    await self.take(connection, frame)
            nursery.cancel_scope.cancel()

    async def post(self, connection: Connection, part: Part) -> str:
        return await self.sender.call(self._post, connection, part)

    def _stop(self, connection: Connection) -> None:
        self.stopped.set()
        connection.close()

    def _post(self, connection: Connection, part: Part) -> str:
        self.stopped.wait(self.network.slow_s)
        receipt = connection.post(part)
        if receipt is None:
            self.stopped.wait()
        return receipt or ""

    def _poll(self, connection: Connection) -> list[Frame] | None:
        """A long poll. None: it is to return."""
        with contextlib.suppress(queue.Empty):
            self.inbox.get(timeout=PING_S)
        frames: list[Frame] = []
        while frame := connection.take():
            match frame.body.get("order"):
                case None:
                    frames.append(frame)
                case Sort.RETURN:
                    return None
                case order:
                    self._obey(order)
        return frames

    def _obey(self, order: str) -> None:
        match order:
            case Sort.RAISE:
                raise Broken("ordered")
            case Sort.HANG:
                self.stopped.wait()
            case Sort.BLOCK:
                self.network.released.wait()
            case Sort.REFUSE:
                while not self.network.released.is_set():
                    time.sleep(0.02)
            case _:
                raise ValueError(order)


BUILDS: dict[str, type[NativeChannel | AsyncioChannel | BlockingChannel]] = {
    "native": NativeChannel,
    "asyncio": AsyncioChannel,
    "blocking": BlockingChannel,
}


def channel(build: str, network: Network) -> Channel:
    """A new channel object for one life."""
    return BUILDS[build](network)


async def hurt(network: Network, sort: Sort) -> None:
    """Inflict one failure; what passes by itself has passed when this returns. A revoked token shows when something is sent."""
    match sort:
        case Sort.HALF_OPEN:
            network.half_open()
        case Sort.GARBAGE:
            network.garbage()
        case Sort.REVOKED:
            network.revoked = True
        case Sort.SLOW:
            network.slow_s = 0.5
            await trio.sleep(1.0)
            network.slow_s = 0.0
        case Sort.RATE_LIMITED:
            network.limited_until = time.monotonic() + 1.0
            await trio.sleep(1.0)
        case _:
            network.order(sort)
