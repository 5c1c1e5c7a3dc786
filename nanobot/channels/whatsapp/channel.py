"""WhatsApp, through the bridge (bridge/, Node and Baileys): native Trio on a websocket, the bridge a child process of each life.

* A message is acknowledged to the bridge, which keeps it on disk until then, when it is durable here. Pictures that one person
  sends one after another are one message.
* It is up when the bridge is connected to WhatsApp. Without that for `OFFLINE_S` the life ends; what only a person can mend
  (no link, another program on it, a blocked account) ends it at once, with the way out.
* A send waits for WhatsApp's own confirmation. It carries a reference, the same whenever it is sent again, of which the bridge
  makes the message's id at WhatsApp: the bridge sends a reference that was confirmed no second time, and one whose confirmation
  was lost goes out under the same id, which recipients' programs show once. So the network counts as taking our ids (`keyed`).
* A person is one, by LID and by number (people.py). Files come through the bridge, only of those who may speak.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import NoReturn, assert_never

import attrs
import trio
from loguru import logger

from nanobot.channels.port import (
    Arrived,
    ChannelFailed,
    Incoming,
    Limits,
    Part,
    Port,
    SendError,
    SendLater,
    SendRefused,
    SendUnknown,
    Unreachable,
)
from nanobot.channels.whatsapp import frames
from nanobot.channels.whatsapp.bridge import Home
from nanobot.channels.whatsapp.link import NOT_LINKED, Link, connected, going_on
from nanobot.channels.whatsapp.parts import messages
from nanobot.channels.whatsapp.people import People, address_of, names_of, user_of
from nanobot.channels.whatsapp.probe import look
from nanobot.channels.whatsapp.text import length
from nanobot.config.schema import WhatsAppConfig
from nanobot.messages import MessageId, Receipt, SessionKey
from nanobot.supervise.policy import Cause

OFFLINE_S = 55.0
"""Without WhatsApp: less than a life is given to come up (life.CONNECT_S), so that this says why."""
PING_S = 15.0
PROOF_S = 50.0
"""Three pings: the bridge answers them, and itself ends a connection to WhatsApp on which nothing has come for 35 s."""
RETRY_S = 5.0
"""Until a send is tried again while WhatsApp is away."""
MOST_UNREAD, MOST_CHATS = 20, 1000
"""Messages of a chat whose receipt waits for an answer, and chats with such."""
PICTURES, SEEN = "pictures", ("image/", "video/")
"""What WhatsApp's own programs send and show together; the frames do not say which were chosen together."""
EDIT = "@"
"""Stands in the id of a correction, between that of its message and its own."""


@attrs.define(eq=False)
class _Waiting:
    """A send whose answer is awaited."""

    answered: trio.Event = attrs.field(factory=trio.Event)
    answer: frames.Sent | frames.Failed | None = None


class WhatsAppChannel:
    """See the module."""

    limits = Limits(
        text=60_000, length=length, keyed=True, typing_every_s=8.0, proof_s=PROOF_S, media_bytes=32_000_000
    )  # WhatsApp's own limit is 65,536 characters; "typing" fades there after some 10 s

    def __init__(self, config: WhatsAppConfig, program: Path | None = None) -> None:
        """`program`: the bridge to run; None: the one that was built."""
        self._config, self._program = config, program
        self._link: Link | None = None
        self._status = "connecting"
        self._was_up = False
        self._waiting: dict[str, _Waiting] = {}
        self._unread: OrderedDict[str, deque[str]] = OrderedDict()
        """By chat, the receipts that are due when an answer begins."""
        self._offline = trio.CancelScope()

    # --- in

    async def serve(self, port: Port, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        home = Home(port.folder.parent.parent)
        async with connected(self._config, home, self._program) as link, trio.open_nursery() as nursery:
            self._link = link
            try:
                nursery.start_soon(self._ping, link, port)
                await nursery.start(self._watch_offline)
                self._note(link.status, task_status)
                await self._receive(nursery, link, port, task_status)
            finally:  # before the nursery is closed, and the bridge ended
                self._link = None
                for waiting in self._waiting.values():
                    waiting.answered.set()

    async def _receive(self, nursery: trio.Nursery, link: Link, port: Port, task_status: trio.TaskStatus[None]) -> NoReturn:
        people = await trio.to_thread.run_sync(People.load, port.folder / "people.json")
        while True:
            match await link.next():
                case frames.Status(status):
                    self._note(status, task_status)
                case frames.Qr() | frames.Ready():
                    raise ChannelFailed(NOT_LINKED, cause=Cause.AUTH)
                case frames.Message() as message:
                    await self._take(nursery, port, people, message)
                case (frames.Sent() | frames.Failed()) as answer:
                    self._answered(answer)
                case _ as never:
                    assert_never(never)

    def _note(self, status: str, task_status: trio.TaskStatus[None]) -> None:
        """Raises: ChannelFailed where a person is needed."""
        going_on(status)
        if status == "connected" and not self._was_up:
            self._was_up = True
            task_status.started()
        if status != self._status:
            logger.info("WhatsApp is {}", status)
        self._status = status
        now = trio.current_time()
        self._offline.deadline = float("inf") if status == "connected" else min(self._offline.deadline, now + OFFLINE_S)

    async def _watch_offline(self, *, task_status: trio.TaskStatus[None]) -> None:
        with self._offline:
            task_status.started()
            await trio.sleep_forever()
        raise ChannelFailed(f"the bridge has not been connected to WhatsApp for {OFFLINE_S:g} s ({self._status})")

    async def _ping(self, link: Link, port: Port) -> None:
        while True:
            await link.ping()
            port.alive()
            await trio.sleep(PING_S)

    async def _take(self, nursery: trio.Nursery, port: Port, people: People, message: frames.Message) -> None:
        arrived = self._arrived(people, message)
        if people.changed:
            try:
                await trio.to_thread.run_sync(people.save)
            except OSError as error:
                logger.warning("who is who on WhatsApp was not written: {}", error)

        def taken() -> None:
            self._remember(arrived, message)
            if self._link is not None:  # else the nursery may be closed
                nursery.start_soon(self._link.say, frames.ack(message.seq))

        port.take(arrived, taken)

    def _arrived(self, people: People, message: frames.Message) -> Arrived:
        person = people.person(message.author, message.pn)
        quoted = message.quoted
        foreign = quoted is not None and not quoted.from_me and people.known(quoted.sender) != person
        return Arrived(
            MessageId(message.id),
            message.sender if message.is_group else person,
            user_of(person),
            _text(message),
            float(message.timestamp),
            direct=not message.is_group,
            mentioned=message.was_mentioned,
            names=names_of(person, message.author, message.pn),
            files=tuple(self._incoming(message, n, media) for n, media in enumerate(message.media)),
            tainted=message.forwarded or foreign,
            album=PICTURES if message.media and all(one.mimetype.startswith(SEEN) for one in message.media) else "",
        )

    def _incoming(self, message: frames.Message, index: int, media: frames.Media) -> Incoming:
        mime = media.mimetype.partition(";")[0].strip()
        name = media.file_name or f"{message.id}-{index}{_SUFFIXES.get(mime, '')}"
        return Incoming(name, mime, media.size, partial(self._fetch, media.url))

    def _fetch(self, path: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        if self._link is None:
            raise SendError("the bridge is not connected")
        return self._link.fetch(path)

    # --- out

    async def send(self, part: Part) -> Receipt:
        address = address_of(part.key.chat)
        receipt = Receipt()
        await self._tell_read(part.key)
        for ref, frame in messages(part, address):
            receipt = await self._post(ref, frame)
        return receipt

    async def _post(self, ref: str, frame: str) -> Receipt:
        """Raises: as `Channel.send`."""
        link = self._link
        if link is None:
            raise Unreachable("WhatsApp is not connected")
        if self._status != "connected":
            raise SendLater(f"WhatsApp is {self._status} just now", retry_after=RETRY_S)
        waiting = self._waiting[ref] = _Waiting()
        try:
            await _said(link, frame)
            await waiting.answered.wait()
        finally:
            del self._waiting[ref]
        match waiting.answer:
            case frames.Sent(_, id):
                return Receipt(id)
            case frames.Failed(_, error, permanent=True):
                raise SendRefused(error)
            case frames.Failed(_, error):
                raise SendLater(error, retry_after=RETRY_S)
            case None:
                raise SendUnknown("the connection to the bridge ended before its answer")

    def _answered(self, answer: frames.Sent | frames.Failed) -> None:
        waiting = self._waiting.get(answer.ref)
        if waiting is not None:
            waiting.answer = answer
            waiting.answered.set()

    async def typing(self, key: SessionKey) -> None:
        await self._tell_read(key)
        if self._link is not None and self._status == "connected":
            await _said(self._link, frames.typing(address_of(key.chat)))

    def _remember(self, arrived: Arrived, message: frames.Message) -> None:
        """Its receipt is due when an answer begins."""
        if not self._config.read_receipts or EDIT in message.id:
            return
        due = self._unread.setdefault(arrived.chat, deque(maxlen=MOST_UNREAD))
        due.append(frames.read_receipt(message.sender, message.id, message.participant))
        self._unread.move_to_end(arrived.chat)
        while len(self._unread) > MOST_CHATS:
            self._unread.popitem(last=False)

    async def _tell_read(self, key: SessionKey) -> None:
        due = self._unread.pop(key.chat, None)
        if self._link is not None and self._status == "connected":
            for frame in due or ():
                await _said(self._link, frame)

    async def probe(self, folder: Path, to: str) -> tuple[str, ...]:
        """See port.Probes."""
        return await look(self._config, Home(folder.parent.parent), to, self._program)


_SUFFIXES = {
    "audio/ogg": ".ogg",
    "audio/mpeg": ".mp3",
    "audio/mp4": ".m4a",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/webp": ".webp",
    "video/mp4": ".mp4",
    "application/pdf": ".pdf",
}


def _text(message: frames.Message) -> str:
    """A command stands alone; else what is answered stands before the answer."""
    if message.content.lstrip().startswith("/"):
        return message.content
    quoted = message.quoted.text.strip() if message.quoted is not None else ""
    edited = "[edited]" if EDIT in message.id else ""
    return "\n".join(filter(None, (quoted and f"[Reply to: {quoted}]", edited, message.content)))


async def _said(link: Link, frame: str) -> None:
    """Raises: SendUnknown."""
    try:
        await link.say(frame)
    except ChannelFailed as error:
        raise SendUnknown(str(error)) from error
