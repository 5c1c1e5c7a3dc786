"""What the tests of channels share: channels on a supervisor that restarts nothing, a scripted channel, and a session's story."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from nanobot.channels.outlet import Channels
from nanobot.channels.port import Arrived, Channel, Limits, Part, Port
from nanobot.config.paths import Places
from nanobot.config.schema import ChannelConfig, ChannelsConfig, RestartConfig
from nanobot.messages import Call, CallId, CallState, Inbound, MessageId, Outbound, OutboundId, Principal, Receipt, Reply, Said
from nanobot.security.access import Allowed, Ignored, Strange
from nanobot.session import events as ev
from nanobot.session.fold import apply_all
from nanobot.session.machine import step
from nanobot.session.plan import Limits as TurnLimits
from nanobot.session.ports import Adopted
from nanobot.session.state import Pending, Session
from nanobot.supervise.policy import ChildFailed
from nanobot.supervise.supervisor import Child

KEY = "net:default:c"
Send = Callable[[Part], Awaitable[Receipt]]


async def accepted(_part: Part) -> Receipt:
    return Receipt("r1")


@attrs.define(eq=False)
class Scripted:
    """A channel that is up at once, sends as it is told, and fails when `fails` holds an error."""

    limits: Limits = Limits()
    sends: Send = accepted
    sent: list[Part] = attrs.field(factory=list)
    port: Port = attrs.field(init=False)
    fails: Exception | None = None
    returns: bool = False
    connect_s: float = 0.0
    ended: bool = False

    async def serve(self, port: Port, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self.port = port
        try:
            await trio.sleep(self.connect_s)
            task_status.started()
            if self.fails:
                raise self.fails
            if not self.returns:
                await trio.sleep_forever()
        finally:
            self.ended = True

    async def send(self, part: Part) -> Receipt:
        self.sent.append(part)
        return await self.sends(part)


@attrs.define(eq=False)
class Drawing(Scripted):
    """One that can edit and type; `drawn` has (time, draft it replaced, text)."""

    limits: Limits = Limits(text=50, edit_every_s=1.0, typing_every_s=4.0)
    drawn: list[tuple[float, str, str]] = attrs.field(factory=list)
    answered: list[MessageId | None] = attrs.field(factory=list)
    """What each of them answers."""
    typed: list[float] = attrs.field(factory=list)
    draft_s: float = 0.0
    draft_fails: list[Exception] = attrs.field(factory=list)

    async def draft(self, _key: object, text: str, draft: str, answers: MessageId | None) -> str:
        await trio.sleep(self.draft_s)
        self.drawn.append((trio.current_time(), draft, text))
        self.answered.append(answers)
        if self.draft_fails:
            raise self.draft_fails.pop(0)
        return draft or f"d{len(self.drawn)}"

    async def typing(self, _key: object) -> None:
        self.typed.append(trio.current_time())


@attrs.define(eq=False)
class FakeAccess:
    """Everybody may speak, but for the users named here."""

    strange: set[str] = attrs.field(factory=set)
    ignored: set[str] = attrs.field(factory=set)

    def judge(self, channel: str, arrived: Arrived, _config: ChannelConfig) -> Allowed | Strange | Ignored:
        if arrived.user in self.ignored:
            return Ignored("a stranger in a group")
        if arrived.user in self.strange:
            return Strange("Your code is ABCD-EFGH")
        return Allowed(Principal(channel, arrived.account, arrived.chat, arrived.user))


@attrs.define(eq=False)
class OneLife:
    """A supervisor that starts nothing again unless it is told to."""

    nursery: trio.Nursery
    ends: list[BaseException] = attrs.field(factory=list)
    """What has ended a life."""
    ended: trio.Event = attrs.field(factory=trio.Event)
    scopes: dict[str, trio.CancelScope] = attrs.field(factory=dict)

    children: dict[str, Child] = attrs.field(factory=dict)

    def add(self, child: Child) -> None:
        self.children[child.name] = child
        self.again(child.name)

    def again(self, name: str) -> None:
        self.ended = trio.Event()
        self.nursery.start_soon(self._live, self.children[name])

    async def remove(self, name: str) -> None:
        self.scopes[name].cancel()

    def fail(self, name: str, error: ChildFailed) -> None:
        self.ends.append(error)
        self.scopes[name].cancel()

    async def _live(self, child: Child) -> None:
        with trio.CancelScope() as self.scopes[child.name]:
            try:
                await child.serve(task_status=trio.TASK_STATUS_IGNORED)
            except* Exception as group:
                self.ends += _leaves(group)
        self.ended.set()


@attrs.define(eq=False)
class Kit:
    """Channels that live in a test."""

    channels: Channels
    access: FakeAccess
    supervisor: OneLife
    taken: list[Inbound] = attrs.field(factory=list)
    up: list[str] = attrs.field(factory=list)

    async def start(self, channel: Channel, config: ChannelConfig | None = None, name: str = "net") -> None:
        """Returns when it is up."""
        self.channels.add(name, lambda: channel, config or ChannelConfig())
        while name not in self.up:
            await trio.lowlevel.checkpoint()

    async def take(self, inbound: Inbound) -> None:
        self.taken.append(inbound)

    async def send(self, text: str = "hello", part: int = 0, parts: tuple[str, ...] = (), **more: object) -> ev.Event:
        return await self.channels.send(Session(KEY), pending(text, parts, **more), part)

    async def end(self) -> BaseException:
        """What has ended the life of the only channel."""
        await self.supervisor.ended.wait()
        [error] = self.supervisor.ends
        return error


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    return [leaf for one in group.exceptions for leaf in (_leaves(one) if isinstance(one, BaseExceptionGroup) else [one])]


@asynccontextmanager
async def running(place: Path, config: ChannelsConfig | None = None) -> AsyncIterator[Kit]:
    async with trio.open_nursery() as nursery:
        access, supervisor, places = FakeAccess(), OneLife(nursery), Places(place / "config.json", named=True)
        channels = Channels(config or ChannelsConfig(), access, supervisor, places, trio.current_time, RestartConfig())
        kit = Kit(channels, access, supervisor)
        channels.deliver, channels.on_up = kit.take, kit.up.append
        yield kit
        nursery.cancel_scope.cancel()


def pending(text: str = "hello", parts: tuple[str, ...] = (), **more: object) -> Pending:
    return Pending(Outbound(OutboundId("o1"), text, 0.0, **more), parts, sending=True)  # type: ignore[arg-type]


def arrived(number: int = 1, text: str = "hi", user: str = "ann", chat: str = "c", **more: object) -> Arrived:
    return Arrived(MessageId(f"m{number}"), chat, user, text, 0.0, **more)  # type: ignore[arg-type]


def call(name: str = "read_file", arguments: str = '{"path": "a.txt"}', state: CallState = CallState.REQUESTED) -> Call:
    return Call(CallId(f"{name}1"), name, arguments, state=state)


@attrs.define(eq=False)
class Story:
    """A session that goes through the real machine: each event gives what a watcher is shown."""

    session: Session = Session(KEY)
    number: int = 0

    def tell(self, event: ev.Event) -> Adopted:
        plan = step(self.session, event, TurnLimits())
        self.session = apply_all(self.session, plan.records)
        return Adopted(plan.records, self.session)

    def said(self, text: str = "hi") -> Adopted:
        self.number += 1
        return self.tell(ev.Received(Said(MessageId(f"m{self.number}"), text, 0.0, str(Principal("net", "default", "c", "ann")))))

    def answers(self, text: str, *calls: Call) -> Adopted:
        turn = self.session.turn
        assert turn is not None
        return self.tell(ev.ModelAnswered(turn.number, turn.step, 0.0, Reply(text, calls)))

    def ran(self, call: Call, result: str = "ok") -> Adopted:
        assert self.session.turn is not None
        return self.tell(ev.CallEnded(self.session.turn.number, call.id, 0.0, CallState.DONE, result))

    def arrives(self) -> Adopted:
        """The head of the outbox is delivered."""
        head = self.session.outbox[0]
        return self.tell(ev.PartDelivered(head.outbound.id, head.delivered, 0.0))
