"""A chat of a session that the running gateway holds: what is typed goes to it, what happens there is shown here.

The session is folded here from what the gateway says (control/frames.py), so that scene and status line see what they would
without a gateway. When the connection breaks (the gateway stopped, started again, was killed) the person is told, and it is
tried again with growing waits, without an end: they may leave. What was said and not acknowledged is said again under the
same id, so that it joins the conversation once; a reply that was printed already is not printed again.

`keep` serves the connection with three tasks: one hears, one speaks, one prints replies in order.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from nanobot.cli.chatting import words
from nanobot.cli.chatting.meeting import LONGEST_SAY, TOO_LONG, Met, asked, greeted
from nanobot.cli.chatting.request import ChatRequest, UsageMistake
from nanobot.cli.chatting.scene import Scene
from nanobot.cli.chatting.sitting import media_of, next_id
from nanobot.config.paths import places
from nanobot.control.frames import Say, progress_of, say_frame, session_of
from nanobot.control.lines import decode, encode
from nanobot.control.port import BadRequest
from nanobot.errors import NanobotError
from nanobot.messages import Attachment, MessageId, OutboundId
from nanobot.session import events as ev
from nanobot.session.codec import UnknownFormat
from nanobot.session.ports import Adopted, Waiting
from nanobot.session.records import Queued
from nanobot.session.state import ImpossibleEvent, Pending, Session
from nanobot.wire import Json, JsonObject

WAITS_S = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Before each attempt to reach the gateway again; the last is repeated. A restart takes a second or two."""
CHUNK = 2**16
GONE = "the gateway is gone"
ODD = "what the gateway said does not fit"


class NotSaid(NanobotError):
    """The gateway did not take a message."""


class OtherVersion(NanobotError):
    """The gateway speaks of what this version does not know."""

    def __init__(self, hello: JsonObject) -> None:
        super().__init__(f"The gateway that runs is nanobot {hello.get('version')}. Start it again: nanobot gateway restart")


@attrs.define(eq=False)
class _Spoken:
    """A message that is not acknowledged yet."""

    say: Say
    refusal: str = ""
    settled: trio.Event = attrs.field(factory=trio.Event)
    """Its sender waits no longer: it is acknowledged or refused, or kept here until a gateway is back."""


@attrs.define(eq=False)
class Attached:
    """A Sitting; see the module. Made by `sit_down`."""

    request: ChatRequest
    scene: Scene
    _met: Met | None
    hello: JsonObject = attrs.field(factory=dict, init=False)
    session: Session = attrs.field(init=False)
    reachable: bool = attrs.field(default=True, init=False)
    _spoken: dict[MessageId, _Spoken] = attrs.field(factory=dict, init=False)
    _printed: set[tuple[OutboundId, float]] = attrs.field(factory=set, init=False)
    """By id and time: the ids of a conversation that was deleted begin anew."""
    _unsent: deque[JsonObject] = attrs.field(factory=deque, init=False)
    _more: trio.Event = attrs.field(factory=trio.Event, init=False)

    # --- the chat's side

    @property
    def media(self) -> Path:
        return media_of(places(self.request.config), self.request.key)

    @property
    def model(self) -> str:
        return f"{self.hello.get('model')} · gateway"

    @property
    def warnings(self) -> tuple[str, ...]:
        return _texts(self.hello.get("warnings"))

    async def say(self, text: str, attachments: tuple[Attachment, ...] = ()) -> None:
        """Raises: NotSaid."""
        spoken = _Spoken(Say(next_id(), text, attachments))
        frame = say_frame(spoken.say)
        if len(encode(frame)) > LONGEST_SAY:
            raise NotSaid(TOO_LONG.format("/attach FILE"))
        self._spoken[spoken.say.id] = spoken
        if self.reachable:
            self._send(frame)
            await spoken.settled.wait()
        else:
            spoken.settled.set()
            self.scene.aside("· kept here until the gateway is back")
        if spoken.refusal:
            raise NotSaid(spoken.refusal)

    async def keep(self, _awaited: Callable[[], bool]) -> None:
        """Serve the connection, and find the gateway again when it breaks. Runs until cancelled. Raises: NanobotError."""
        while True:
            met = self._met or await self._again()
            self._met = None
            why = await self._serve(met)
            self._lose(why)

    def farewell(self, *, busy: bool) -> str:
        lines = [f"· not taken by the gateway: {spoken.say.text}" for spoken in self._spoken.values()]
        if busy:
            goes_on = words.goes_on(self.request.key.short, network=self._network)
            lines.append(f"· it goes on in the gateway; {goes_on}")
        return "\n".join(lines)

    # --- beginning and end of a connection

    @property
    def _network(self) -> bool:
        """Replies go to a network, which delivers them."""
        return bool(self.hello.get("network"))

    def begin(self, hello: JsonObject) -> None:
        """Take over the session as the gateway has it. Raises: OtherVersion."""
        try:
            self.session = session_of(hello.get("session"))
        except UnknownFormat as exc:
            raise OtherVersion(hello) from exc
        self.hello, self.reachable = hello, True
        self.scene.start_over(self.session)

    def _lose(self, why: str) -> None:
        self.reachable = False
        self._unsent.clear()
        for spoken in self._spoken.values():
            spoken.settled.set()
        kept = "; what was not acknowledged is said again then" if self._spoken else ""
        self.scene.aside(f"· {why}; trying to reach it again{kept}")
        self.scene.watch("", Waiting("no gateway; Ctrl-C twice leaves"))

    async def _again(self) -> Met:
        """A new connection, however long it takes. Raises: UsageMistake, OtherVersion."""
        where, frame = places(self.request.config), asked(self.request, "attach")
        for attempt in itertools.count():
            await trio.sleep(WAITS_S[min(attempt, len(WAITS_S) - 1)])
            try:
                met = await trio.to_thread.run_sync(greeted, where, frame, abandon_on_cancel=True)
            except UsageMistake:
                raise
            except NanobotError as error:
                self.scene.watch("", Waiting(f"no gateway: {error}"))
            else:
                self.begin(met.hello)
                self.scene.aside("· the gateway is back")
                return met
        raise AssertionError("unreachable")

    async def _serve(self, met: Met) -> str:
        """Until the connection ends; returns why. Raises: OtherVersion."""
        connection, rest = met.line.detach()
        connection.setblocking(False)
        self._unsent = deque(say_frame(spoken.say) for spoken in self._spoken.values())
        replies, todo = trio.open_memory_channel[Pending](len(self.session.outbox) + 1_000)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(connection))
        async with stream, trio.open_nursery() as nursery:
            nursery.start_soon(self._speak, stream)
            nursery.start_soon(self._print, todo)
            why = await self._hear(_Frames(stream, rest), replies)
            nursery.cancel_scope.cancel()
        return why

    # --- while it lasts

    def _send(self, frame: JsonObject) -> None:
        self._unsent.append(frame)
        self._more.set()

    async def _speak(self, stream: trio.SocketStream) -> None:
        while True:
            if self._unsent:
                try:
                    await stream.send_all(encode(self._unsent.popleft()))
                except trio.BrokenResourceError:
                    return  # who hears finds out, too
            else:
                self._more = trio.Event()
                await self._more.wait()

    async def _print(self, todo: trio.MemoryReceiveChannel[Pending]) -> None:
        """Replies, one after the other; the gateway is told of each."""
        async for pending in todo:
            reply = pending.outbound
            name = (reply.id, reply.at)
            ok = name in self._printed or isinstance(await self.scene.send(self.session, pending, 0), ev.PartDelivered)
            if ok:
                self._printed.add(name)
            self._send({"type": "sent", "id": reply.id, "ok": ok, "error": "" if ok else "the terminal is gone"})

    async def _hear(self, frames: _Frames, replies: trio.MemorySendChannel[Pending]) -> str:
        """Until the gateway has nothing more to say; returns why. Raises: OtherVersion."""
        try:
            while (frame := await frames.receive()) is not None:
                progress = progress_of(frame, self.session)
                if isinstance(progress, Adopted):
                    self.session = progress.session
                if progress is not None:
                    self.scene.watch(self.session.key, progress)
                if (end := self._heard(frame)) is not None:
                    return end
                for out in self._to_print(frame, progress):
                    replies.send_nowait(self._pending(out))
        except UnknownFormat as exc:
            raise OtherVersion(self.hello) from exc
        except (ImpossibleEvent, BadRequest, ValueError, trio.WouldBlock):
            return ODD
        return GONE

    def _heard(self, frame: JsonObject) -> str | None:
        """What is said of messages, and the last word; that is returned."""
        match frame:
            case {"type": "said", "id": str(message)}:
                if (spoken := self._spoken.pop(MessageId(message), None)) is not None:
                    spoken.settled.set()
            case {"type": "refused", "id": str(message), "reason": str(reason)} if message in self._spoken:
                self._refused(MessageId(message), reason, later=frame.get("code") == "stopping")
            case {"type": "bye", "reason": str(reason)} | {"error": str(reason)}:
                return reason
            case _:
                pass
        return None

    def _refused(self, message: MessageId, reason: str, *, later: bool) -> None:
        spoken = self._spoken[message]
        if later:  # it is said again to the next gateway
            spoken.settled.set()
            return
        del self._spoken[message]
        if spoken.settled.is_set():
            self.scene.aside(f"· not sent: {reason}")
        spoken.refusal = reason
        spoken.settled.set()

    def _to_print(self, frame: JsonObject, progress: object) -> list[str]:
        """Ids of replies: those that the gateway wants printed, and those that a network gets."""
        match frame, progress:
            case {"type": "send", "id": str(out)}, _:
                return [out]
            case _, Adopted(records) if self._network:
                return [record.outbound.id for record in records if isinstance(record, Queued)]
            case _:
                return []

    def _pending(self, out: str) -> Pending:
        """Raises: ImpossibleEvent."""
        for pending in self.session.outbox:
            if pending.outbound.id == out:
                return pending
        raise ImpossibleEvent(f"{out} is not in the outbox")


@attrs.define(eq=False)
class _Frames:
    """What comes, as frames."""

    _stream: trio.SocketStream
    _rest: bytearray

    async def receive(self) -> JsonObject | None:
        """The next one, None when the gateway has closed. Raises: ValueError."""
        searched = 0
        while (end := self._rest.find(b"\n", searched)) < 0:
            searched = len(self._rest)
            try:
                data = await self._stream.receive_some(CHUNK)
            except trio.BrokenResourceError:
                data = b""
            if not data:
                return None
            self._rest += data
        line = bytes(self._rest[:end])
        del self._rest[: end + 1]
        return decode(line)


@asynccontextmanager
async def sit_down(request: ChatRequest, met: Met, scene: Scene) -> AsyncIterator[Attached]:
    """The session as the gateway has it. Raises: OtherVersion."""
    scene.put_aside = words.PUT_ASIDE_THERE
    with met.line:
        attached = Attached(request, scene, met)
        attached.begin(met.hello)
        yield attached


def _texts(value: Json) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()
