"""A session's surroundings for tests: a mind, hands and an outlet that do what the test says, and a journal in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import attrs
import trio

from nanobot.errors import JournalUnwritable
from nanobot.journal.segment import Owes
from nanobot.messages import Call, CallId, CallState, Effect, ErrandId, MessageId, Principal, Reply, Said, TurnNumber
from nanobot.session import events as ev
from nanobot.session.plan import Limits
from nanobot.session.ports import Adopted, DeliveryEnd, Progress, Services, Show
from nanobot.session.state import Errand, Owed, Pending, Session, Span, Turn
from nanobot.wire import Json

KEY = "cli:default:direct"
ME = str(Principal("cli", "default", "direct", "me"))

Thought = Callable[[Session, Turn], Awaitable[ev.ModelAnswered | ev.ModelFailed | ev.ContextFull]]


def said(number: int, text: str = "hello", principal: str = ME) -> ev.Received:
    return ev.Received(Said(MessageId(f"m{number}"), text, trio.current_time(), principal))


def command(number: int, order: ev.Command) -> ev.Commanded:
    return ev.Commanded(MessageId(f"c{number}"), ME, trio.current_time(), order, owner=True)


def answer(text: str, *calls: Call) -> Thought:
    async def think(_session: Session, turn: Turn) -> ev.ModelAnswered:
        return ev.ModelAnswered(turn.number, turn.step, trio.current_time(), Reply(text, calls))

    return think


def call(name: str, effect: Effect = Effect.WRITES, number: int = 0) -> Call:
    return Call(CallId(f"{name}{number}"), name, f'{{{{"n": {number}}}}}', effect)


@attrs.define(eq=False)
class FakeMind:
    """Thinks the given thoughts in order, then answers "done"."""

    thoughts: list[Thought] = attrs.field(factory=list)
    seen: list[Turn] = attrs.field(factory=list)

    async def think(self, session: Session, turn: Turn, show: Show) -> ev.ModelAnswered | ev.ModelFailed | ev.ContextFull:
        self.seen.append(turn)
        thought = self.thoughts.pop(0) if self.thoughts else answer("done")
        return await thought(session, turn)


@attrs.define(eq=False)
class FakeHands:
    """Runs calls at once, or, for names in `held`, when the test sets the event; `running` and `ran` say what happened."""

    held: dict[str, trio.Event] = attrs.field(factory=dict)
    running: set[str] = attrs.field(factory=set)
    ran: list[str] = attrs.field(factory=list)
    most_at_once: int = 0

    async def run(self, session: Session, turn: Turn, call: CallId, show: Show) -> ev.CallEnded:
        assert turn.reply is not None
        name = next(c.name for c in turn.reply.calls if c.id == call)
        self.running.add(call)
        self.most_at_once = max(self.most_at_once, len(self.running))
        try:
            if name in self.held:
                await self.held[name].wait()
            else:
                await trio.sleep(0.01)
        finally:
            self.running.discard(call)
        self.ran.append(call)
        return ev.CallEnded(turn.number, call, trio.current_time(), CallState.DONE, f"{name} ran")


@attrs.define(eq=False)
class FakeOutlet:
    """Delivers at once; `answers` decide otherwise, one a send."""

    sent: list[str] = attrs.field(factory=list)
    answers: list[Callable[[Pending, int], DeliveryEnd]] = attrs.field(factory=list)
    held: trio.Event | None = None

    async def send(self, session: Session, pending: Pending, part: int) -> DeliveryEnd:
        await trio.lowlevel.checkpoint()
        if self.held is not None:
            await self.held.wait()
        if self.answers:
            return self.answers.pop(0)(pending, part)
        self.sent.append(pending.parts[part] if pending.parts else pending.outbound.text)
        return ev.PartDelivered(pending.outbound.id, part, trio.current_time())


@attrs.define(eq=False)
class FakeErrands:
    held: trio.Event | None = None

    async def run(self, session: Session, errand: Errand) -> ev.ErrandEnded:
        if self.held is not None:
            await self.held.wait()
        return ev.ErrandEnded(ErrandId(errand.id), trio.current_time(), f"answer to {errand.text}")

    async def pay(self, session: Session, owed: Owed) -> ev.PaidTo:
        return ev.PaidTo(owed.id)

    async def consolidate(self, session: Session, span: Span) -> ev.Consolidated | ev.ConsolidationFailed:
        return ev.Consolidated(trio.current_time(), span.end)


@attrs.define(eq=False)
class MemoryLog:
    """A journal that fails when told; `gate` holds an append until it is set."""

    lines: list[tuple[list[Json], Owes]] = attrs.field(factory=list)
    cuts: list[Json] = attrs.field(factory=list)
    slept: list[Owes] = attrs.field(factory=list)
    failures: int = 0
    gate: trio.Event | None = None
    oversize: bool = False
    state: Json = None

    async def append(self, records: Sequence[Json], *, owes: Owes, at: float, snapshot_after: Callable[[], Json]) -> None:
        await trio.lowlevel.checkpoint()
        if self.gate is not None:
            await self.gate.wait()
        if self.failures:
            self.failures -= 1
            raise JournalUnwritable("the disk is full")
        self.lines.append((list(records), owes))
        self.state = snapshot_after()

    async def cut(self, snapshot: Json, *, owes: Owes, at: float) -> None:
        await trio.lowlevel.checkpoint()
        self.cuts.append(snapshot)
        self.oversize = False

    async def sleep(self, *, owes: Owes, at: float) -> None:
        self.slept.append(owes)


@attrs.define(eq=False)
class World:
    """All of it, and what was watched."""

    mind: FakeMind = attrs.field(factory=FakeMind)
    hands: FakeHands = attrs.field(factory=FakeHands)
    outlet: FakeOutlet = attrs.field(factory=FakeOutlet)
    errands: FakeErrands = attrs.field(factory=FakeErrands)
    log: MemoryLog = attrs.field(factory=MemoryLog)
    progress: list[Progress] = attrs.field(factory=list)
    turn_deadline: float = 1800.0
    limits: Limits = Limits()
    _changed: trio.Event = attrs.field(factory=trio.Event, init=False)

    @property
    def services(self) -> Services:
        return Services(self.mind, self.hands, self.outlet, self.errands, trio.current_time, self.turn_deadline)

    def watch(self, progress: Progress) -> None:
        self.progress.append(progress)
        self._changed.set()

    @property
    def session(self) -> Session:
        return next(p.session for p in reversed(self.progress) if isinstance(p, Adopted))

    async def until(self, fact: Callable[[], bool]) -> None:
        """Wait for a fact; it is looked at whenever something was adopted, and every 10 ms of the clock."""
        while not fact():
            self._changed = trio.Event()
            with trio.move_on_after(0.01):
                await self._changed.wait()


NO_TURN = TurnNumber(0)
