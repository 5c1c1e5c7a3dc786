"""The page's chat: websockets whose clients, all of them the owner, name the chats they want. Native Trio.

The HTTP server calls `talk` for each websocket; `serve` lives until it is cancelled, and then every talk ends. Three promises:

* `accepted` is sent when the message is on disk, and again when the same id comes again.
* A final message is delivered when a client has acknowledged it, whoever is first; until then it is sent to every new
  connection, with the same id, and waits without limit. It goes to the connections that named its chat, or to all where none has.
* What may be watched (states, tools, answers as they grow) goes to the connections that named the chat, and may be cut short
  for who does not read; a client that reads nothing is closed by the server (web/listener.py).

`send` waits `ACK_S` for an acknowledgement and is then Unreachable; one that comes later is remembered and wakes the session.

Tasks of a connection: a reader, a writer, and one for each chat in which something is being done for it, so that a slow disk in
one chat delays neither acknowledgements nor other chats. When a client leaves, what was read of it is still delivered.
"""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from typing import Protocol, assert_never

import attrs
import trio

from nanobot.channels.port import Arrived, Limits, NotTaken, Part, Port, Sign, StateSign, Unreachable
from nanobot.channels.web import frames
from nanobot.channels.web.talk import Connection, Given, Live, Talk, Work
from nanobot.errors import NanobotError
from nanobot.messages import MessageId, Outbound, Receipt, SessionKey

NAME = "web"
USER = "owner"
AUTH_S = 10.0
"""For the first frame."""
ACK_S = 20.0
"""For an acknowledgement while a session waits; less than the runner gives a send (runner.SEND_S)."""
FINISH_S = 5.0
"""For what was read of a client that has left."""
HISTORY_EXCHANGES = 30
SENDS = 100_000
"""Waiting for an acknowledgement costs an event, not a connection: no session waits for another's."""
UNAUTHORIZED, TRY_AGAIN, RESTARTING = 4401, 1013, 1012
"""Close codes."""


@attrs.frozen
class SessionLine:
    """A chat of the past, for the page's list."""

    key: str
    chat: str
    title: str
    """Its first words."""
    at: float
    """Seconds since the epoch of the last thing that happened in it."""
    unfinished: bool = False


class Desk(Protocol):
    """What it needs of the house beside its port. The composition root fills it."""

    async def unsettled(self) -> Collection[tuple[SessionKey, Outbound]]:
        """Every message of this channel that was not delivered, oldest first."""
        ...

    async def history(self, key: SessionKey, before: int | None, most: int) -> frames.History:
        """The newest `most` exchanges, or those before the ordinal `before`; with the open turn and the open questions where it
        is the newest.

        Makes no session. Raises: NanobotError for one that cannot be read.
        """
        ...

    async def wake(self, key: SessionKey) -> None:
        """Try again to send what waits in that session."""
        ...


class WebChannel:
    """See the module."""

    limits = Limits(keyed=True, sends=SENDS)  # and no limit of buttons: they go with the whole message, which is never split

    def __init__(self, desk: Desk, admits: Callable[[str], Awaitable[bool]], clock: Callable[[], float] = time.time) -> None:
        """`admits`: whether a token is the page's; takes its time over a wrong one."""
        self._desk, self._admits, self._clock = desk, admits, clock
        self._port: Port | None = None
        self._talks: set[Talk] = set()
        self._named: dict[str, set[Talk]] = {}
        """By chat, the connections that named it."""
        self._given: dict[str, Given] = {}
        """By id on the wire."""
        self._looking: dict[Talk, set[str]] = {}
        """Connections that what waits is being sent to, with what was acknowledged since it was looked up."""
        self._stranded: set[SessionKey] = set()
        """Sessions that were told that nobody is there."""
        self._live: dict[str, Live] = {}
        """By chat, what is not idle."""

    @property
    def connections(self) -> int:
        return len(self._talks)

    @property
    def remembered(self) -> int:
        """How many things it keeps about chats and messages: none, while nothing is open and nothing goes on."""
        return len(self._named) + len(self._given) + len(self._stranded) + len(self._live)

    # --- the channel

    async def serve(self, port: Port, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self._port = port
        try:
            task_status.started()
            await trio.sleep_forever()
        finally:
            self._port = None
            self._live.clear()
            for talk in self._talks:
                talk.scope.cancel()  # and with the last that has a message ends the wait for its acknowledgement

    async def send(self, part: Part) -> Receipt:
        await trio.lowlevel.checkpoint()
        key, wire = part.key, frames.wire_id(part.key, part.outbound)
        if not _is_page_chat(key):
            raise Unreachable("this is no chat that the page can open")
        if key.chat in self._live:
            self._live[key.chat].answer.clear()
        if wire not in self._given or not self._given[wire].acked:
            self._give(self._named.get(key.chat, ()), key, part.outbound)
        given = self._given.get(wire)
        if given is not None and await self._acknowledged(given):
            del self._given[wire]
            self._stranded.discard(key)
            return Receipt(wire)
        self._stranded.add(key)
        raise Unreachable("nobody has this chat open" if given is None else "the page has not acknowledged it yet")

    def show(self, key: SessionKey, sign: Sign) -> None:
        if not _is_page_chat(key):
            return
        if sign == StateSign("idle"):
            self._live.pop(key.chat, None)
        else:
            self._live.setdefault(key.chat, Live()).note(sign)
        for talk in self._named.get(key.chat, ()):
            talk.out.sign(key.chat, sign)

    # --- final messages

    def _give(self, talks: Collection[Talk], key: SessionKey, outbound: Outbound) -> None:
        """Put a message on its way to connections that have not got it."""
        wire = frames.wire_id(key, outbound)
        text = ""
        for talk in talks:
            if wire not in talk.unacked:
                text = text or frames.message(key, outbound)
                talk.out.frame(text, key.chat)
                talk.unacked.add(wire)
                self._given.setdefault(wire, Given(key)).holders.add(talk)

    async def _acknowledged(self, given: Given) -> bool:
        """Wait for it while somebody has it. False: nobody does, or nobody answers."""
        if not given.acked and self._port is not None:
            given.awaited = trio.Event()
            try:
                with trio.move_on_after(ACK_S):
                    await given.awaited.wait()
            finally:
                given.awaited = None
        return given.acked

    async def _ack(self, wire: str) -> None:
        """The first counts; one for what is settled, or was never sent, is nothing."""
        given = self._given.get(wire)
        if given is None or given.acked:
            return
        given.acked = True
        for acked in self._looking.values():
            acked.add(wire)
        self._release(given, wire, tuple(given.holders))
        if given.awaited is None:
            await self._desk.wake(given.key)
        else:
            given.awaited.set()

    def _release(self, given: Given, wire: str, talks: Collection[Talk]) -> None:
        for talk in talks:
            talk.unacked.discard(wire)
            given.holders.discard(talk)

    async def _send_unsettled(self, talk: Talk) -> None:
        """What waits goes to a new connection, unless it is acknowledged meanwhile."""
        self._looking[talk] = set()
        try:
            await self._send_waiting(talk, self._looking[talk])
        finally:
            del self._looking[talk]

    async def _send_waiting(self, talk: Talk, acked: Collection[str]) -> None:
        """`acked` grows meanwhile: what was looked up is old when many sessions had to be opened for it."""
        before = dict(self._given)
        waiting = await self._desk.unsettled()
        known = {frames.wire_id(key, outbound) for key, outbound in waiting}
        for wire, given in before.items():
            if wire not in known and self._given.get(wire) is given and given.awaited is None:
                self._release(given, wire, tuple(given.holders))
                del self._given[wire]  # it was settled or dropped in another way
        for key, outbound in waiting:
            wire = frames.wire_id(key, outbound)
            now = self._given.get(wire)
            if wire in acked:
                pass
            elif now is None or not now.acked:
                self._give((talk,), key, outbound)
                await talk.out.room()
            elif now.awaited is None:
                await self._desk.wake(key)

    # --- one connection

    async def talk(self, connection: Connection) -> None:
        """Serve a websocket until its client leaves, is refused, or the channel ends."""
        if self._port is None:
            await connection.close(TRY_AGAIN, "the chat is not running, try again soon")
        elif await self._admitted(connection):
            talk = Talk(connection)
            with talk.scope:
                await self._converse(talk)
            if talk.scope.cancelled_caught:
                await connection.close(RESTARTING, "the chat ends")

    async def _admitted(self, connection: Connection) -> bool:
        first: str | bytes | None = None
        with trio.move_on_after(AUTH_S) as patience:
            first = await connection.receive()
        if patience.cancelled_caught:
            await connection.close(UNAUTHORIZED, "no token came")
        if first is None:
            return False
        try:
            frame = frames.read(first)
        except frames.BadFrame:
            frame = None
        if isinstance(frame, frames.Auth) and await self._admits(frame.token):
            return True
        wrong = (
            "This is not the token of the page: `nanobot web` shows it" if isinstance(frame, frames.Auth) else "auth comes first"
        )
        await connection.send(frames.error("unauthorized", wrong))
        await connection.close(UNAUTHORIZED, "unauthorized")
        return False

    async def _converse(self, talk: Talk) -> None:
        if self._port is None:  # it ended while the token was looked at
            talk.scope.cancel()
        async with trio.open_nursery() as nursery:
            self._talks.add(talk)
            try:
                talk.out.frame(frames.READY)
                nursery.start_soon(talk.write, name="web: writer")
                nursery.start_soon(self._send_unsettled, talk, name="web: unsettled")
                await self._read(talk, nursery)
            finally:
                self._leave(talk)
            nursery.cancel_scope.deadline = trio.current_time() + FINISH_S

    async def _read(self, talk: Talk, nursery: trio.Nursery) -> None:
        while (data := await talk.connection.receive()) is not None:
            try:
                frame = frames.read(data)
            except frames.BadFrame as bad:
                talk.out.frame(frames.error(bad.code, str(bad), bad.id))
            else:
                await self._take(talk, frame, nursery)
            await talk.out.room()

    async def _take(self, talk: Talk, frame: frames.ClientFrame, nursery: trio.Nursery) -> None:
        match frame:
            case frames.Ack(wire):
                await self._ack(wire)
            case frames.Auth():
                talk.out.frame(frames.error("bad_field", "you are authorized already"))
            case frames.Message(chat=chat) | frames.Open(chat=chat) | frames.Stop(chat=chat):
                await talk.pending.acquire()
                if chat in talk.lanes:
                    talk.lanes[chat].append(frame)
                else:
                    talk.lanes[chat] = deque([frame])
                    nursery.start_soon(self._work_off, talk, chat, name=f"web: {chat}")
            case _ as never:
                assert_never(never)

    async def _work_off(self, talk: Talk, chat: str) -> None:
        lane = talk.lanes[chat]
        while lane:
            await self._name(talk, chat)
            await self._work(talk, lane.popleft())
            talk.pending.release()
        del talk.lanes[chat]

    async def _work(self, talk: Talk, work: Work) -> None:
        match work:
            case frames.Message(id, chat, text):
                if await self._deliver(talk, chat, MessageId(id), text, id):
                    talk.out.frame(frames.accepted(id))
            case frames.Stop(chat):
                await self._deliver(talk, chat, MessageId(f"stop-{uuid.uuid4().hex}"), "/stop")
            case frames.Open(chat, before):
                await self._tell_past(talk, chat, before)
            case _ as never:
                assert_never(never)

    async def _deliver(self, talk: Talk, chat: str, id: MessageId, text: str, told: str = "") -> bool:
        port = self._port
        if port is None:
            return False
        try:
            await port.deliver(Arrived(id, chat, USER, text, self._clock()))
        except NotTaken as no:
            talk.out.frame(frames.error(no.code, str(no), told))
            return False
        return True

    async def _tell_past(self, talk: Talk, chat: str, before: int | None) -> None:
        try:
            past = await self._desk.history(SessionKey(NAME, chat), before, HISTORY_EXCHANGES)
        except NanobotError as error:
            talk.out.frame(frames.error("unreadable", str(error)))
            return
        talk.out.frame(frames.history(chat, past), chat)
        if before is None:
            live = self._live.get(chat)
            for sign in live.signs() if live is not None else (StateSign("idle"),):
                talk.out.sign(chat, sign)

    async def _name(self, talk: Talk, chat: str) -> None:
        """From now on it is told what happens in that chat, and what waits there is sent."""
        if talk in self._talks and chat not in talk.chats:
            talk.chats.add(chat)
            self._named.setdefault(chat, set()).add(talk)
        key = SessionKey(NAME, chat)
        if key in self._stranded:
            self._stranded.discard(key)
            await self._desk.wake(key)

    def _leave(self, talk: Talk) -> None:
        """Nothing is sent to it any more; a session that waited for it alone waits no longer."""
        self._talks.discard(talk)
        talk.out.close()
        for chat in talk.chats:
            self._named[chat].discard(talk)
            if not self._named[chat]:
                del self._named[chat]
        talk.chats.clear()
        for wire in talk.unacked:
            given = self._given[wire]
            given.holders.discard(talk)
            if not given.holders:
                given.end_wait()
                del self._given[wire]
        talk.unacked.clear()


def _is_page_chat(key: SessionKey) -> bool:
    """Frames name a chat only: one of another account or topic would pass for it."""
    return key == SessionKey(NAME, key.chat)
