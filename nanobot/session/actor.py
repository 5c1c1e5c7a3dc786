"""One live session: mailbox -> step -> one journal line -> adopt the state -> effects; outcomes come back as events.

Contract:
* `deliver` returns when what follows from the event is on disk, never later: a busy turn does not delay intake.
* Effects begin after the line that asked for them, in child tasks; those of a turn in the turn's own scope, so that one
  cancel ends model call, tools and their processes. `/stop` cancels first and is written then.
* The actor is the one writer of its journal. A disk that refuses is tried again with the same line; meanwhile nothing is
  acknowledged or begun, and watchers are told.
* Results are handed over without a checkpoint, so what is done is never recorded as cut.
* It ends by itself only when `may_retire` grants it, which is one step with finding the mailbox empty. Cancelled, it ends
  wherever it is, and the next actor opens the journal anew. Callers whose event was not written get `ActorEnded`.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import assert_never

import attrs
import trio

from nanobot.errors import JournalUnwritable
from nanobot.journal.segment import Owes
from nanobot.messages import CallId, ErrandId, TurnNumber
from nanobot.session import effects as ef
from nanobot.session import events as ev
from nanobot.session.codec import encode, encode_session
from nanobot.session.fold import apply_all
from nanobot.session.machine import step
from nanobot.session.plan import Limits
from nanobot.session.ports import Adopted, Log, Progress, Services, Waiting
from nanobot.session.records import Record
from nanobot.session.state import ErrandKind, Idle, Owed, Session, Span, Stopping
from nanobot.wire import Json

MOST_IN_LINE = 64
"""Events that one line may hold: a burst costs one fsync, and a line stays small."""
WRITE_RETRY_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Waits between attempts to write a line that the disk refused; the last is repeated."""

Job = Callable[[], Awaitable[None]]


class ActorEnded(Exception):
    """The actor ended before it wrote the event; deliver it to the next one."""


@attrs.define(eq=False)
class _Mail:
    event: ev.Event
    handled: trio.Event = attrs.field(factory=trio.Event)
    written: bool = False


@attrs.define(eq=False)
class _LiveTurn:
    """The scope of the turn that runs, and the way to start jobs in it. Closing `jobs` ends it in order."""

    number: TurnNumber
    jobs: trio.MemorySendChannel[Job]
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)


def owes(session: Session) -> Owes:
    """What a sleeper with this state waits for: nothing, now, a time, or its channel."""
    if not isinstance(session.state, Idle) or session.owed or session.inbox or any(e.started for e in session.errands):
        return "now"
    head = session.outbox[0] if session.outbox else None
    if head is not None and head.channel_down:
        return f"channel:{session.key.partition(':')[0]}"
    if head is not None and head.retry_at is None:
        return "now"
    return session.wake_at


@attrs.define(eq=False)
class Actor:
    """See the module. `run` is its life; everything else may be called while it lives."""

    session: Session
    _log: Log
    _services: Services
    _limits: Limits
    _show: Callable[[Progress], None]
    """Told what may be watched; must not block or raise."""
    _may_retire: Callable[[], bool]
    """Whether this actor may end now; called only with an empty mailbox, without a checkpoint between."""
    _idle_s: float
    """Seconds without mail after which it asks to retire."""
    _mail: deque[_Mail] = attrs.field(factory=deque, init=False)
    _came: trio.Event = attrs.field(factory=trio.Event, init=False)
    _turn: _LiveTurn | None = attrs.field(default=None, init=False)
    _stopped: TurnNumber | None = attrs.field(default=None, init=False)
    """A turn whose cancel was sent before the line of its stop: no line before that one begins anything in it."""
    _scopes: dict[ErrandId | Span, trio.CancelScope] = attrs.field(factory=dict, init=False)
    _sending: bool = attrs.field(default=False, init=False)
    _unsent: bool = attrs.field(default=False, init=False)
    """It may retire while something is being sent."""
    _ended: bool = attrs.field(default=False, init=False)

    # --- for others

    async def deliver(self, event: ev.Event) -> None:
        """Hand over an event and wait until what follows from it is on disk. Raises: ActorEnded."""
        if self._ended:
            raise ActorEnded
        mail = _Mail(event)
        self._put(mail)
        self._stop_at_once(event)
        await mail.handled.wait()
        if not mail.written:
            raise ActorEnded

    def tell(self, event: ev.Event) -> None:
        """Hand over an event that nobody waits for. Lost if the actor has ended: only for what a start finds out anew."""
        self._put(_Mail(event))

    def reconfigure(self, services: Services, limits: Limits) -> None:
        """What begins from now on uses these."""
        self._services, self._limits = services, limits

    def hurry(self, *, unsent: bool = False) -> None:
        """Retire as soon as nothing runs, instead of when it has been idle. `unsent`: what is on its way is sent again later."""
        self._idle_s = 0.0
        self._unsent = self._unsent or unsent
        self._came.set()

    @property
    def at_rest(self) -> bool:
        """Nothing runs, is queued, or is on its way to the network."""
        turn = self.session.turn
        still = isinstance(self.session.state, Idle) or (turn is not None and turn.suspended)
        still = still and not any(e.started and e.kind is not ErrandKind.MEMORY for e in self.session.errands)
        return still and not self._mail and self._turn is None and (self._unsent or not self._sending) and not self._scopes

    # --- its life

    async def run(self, opened: ev.Opened) -> None:
        """Take up what was unfinished, then live until retirement or cancellation."""
        self._mail.appendleft(_Mail(opened))  # what came meanwhile meets a session that has taken up its past
        try:
            async with trio.open_nursery() as nursery:
                while batch := await self._next_batch():
                    await self._handle(batch, nursery)
                nursery.cancel_scope.cancel()
        finally:
            self._ended = True
            for mail in self._mail:
                mail.handled.set()

    async def _next_batch(self) -> list[_Mail]:
        """The next events, in order. Empty when the actor has retired."""
        since = self._now()
        while not self._mail:
            idle_at = since + self._idle_s
            wake_at = self.session.wake_at
            until = min(idle_at if self.at_rest else math.inf, math.inf if wake_at is None else wake_at)
            self._came = trio.Event()
            with trio.move_on_after(max(0.0, until - self._now())):
                await self._came.wait()
            if self._mail:
                break
            if wake_at is not None and wake_at <= self._now():
                return [_Mail(ev.Woke(self._now()))]
            if self.at_rest and idle_at <= self._now():
                if self._may_retire():
                    return []
                since = self._now()
        return [self._mail.popleft() for _ in range(min(len(self._mail), MOST_IN_LINE))]

    async def _handle(self, batch: list[_Mail], nursery: trio.Nursery) -> None:
        """Decide, write, adopt, acknowledge, begin: in this order."""
        session = self.session
        records: list[Record] = []
        effects: list[ef.Effect] = []
        try:
            for mail in batch:
                plan = step(session, mail.event, self._limits)
                session = apply_all(session, plan.records)
                records += plan.records
                effects += plan.effects
            if records:
                await self._write(records, session)
            self.session = session
            for mail in batch:
                mail.written = True
        finally:
            for mail in batch:
                mail.handled.set()
        if records:
            self._show(Adopted(tuple(records), session))
        self._close_ended_turn()
        for effect in effects:
            self._begin(effect, nursery)
        if ef.CutJournal() in effects or self._log.oversize:
            await self._cut()

    async def _write(self, records: list[Record], after: Session) -> None:
        """Append one line; while the disk refuses, try again with the same one."""
        rows, at = encode(records), self._now()

        def snapshot() -> Json:  # called in a writer thread
            return encode_session(after.pruned(at))

        for attempt in itertools.count():
            try:
                await self._log.append(rows, owes=owes(after), at=at, snapshot_after=snapshot)
            except JournalUnwritable as exc:
                wait = WRITE_RETRY_S[min(attempt, len(WRITE_RETRY_S) - 1)]
                self._show(Waiting(str(exc), self._now() + wait))
                await trio.sleep(wait)
            else:
                return

    async def _cut(self) -> None:
        """Begin a new segment without what has left the prompt. A refusal costs nothing: the next line cuts."""
        self.session = self.session.pruned(self._now())
        try:
            await self._log.cut(encode_session(self.session), owes=owes(self.session), at=self._now())
        except JournalUnwritable as exc:
            self._show(Waiting(str(exc)))

    # --- mail

    def _put(self, mail: _Mail) -> None:
        self._mail.append(mail)
        self._came.set()

    def _stop_at_once(self, event: ev.Event) -> None:
        """Cancel before the line is written: a slow disk must not delay a stop. A copy of an old one stops nothing."""
        match event:
            case ev.Commanded(id=message_id, command=ev.Stop() | ev.New()) if message_id not in self.session.seen:
                if self._turn is not None:
                    self._stopped = self._turn.number
                    self._turn.scope.cancel(reason="stop")
            case _:  # every other event waits for its line
                pass

    def _now(self) -> float:
        return self._services.clock()

    # --- effects

    def _begin(self, effect: ef.Effect, nursery: trio.Nursery) -> None:
        match effect:
            case ef.CallModel() | ef.RunCalls() | ef.CancelTurn():
                self._begin_in_turn(effect, nursery)
            case ef.Send(out, part):
                self._sending = True
                nursery.start_soon(self._send, out, part, name=f"send {self.session.key} {out}")
            case ef.RunErrand(errand):
                nursery.start_soon(self._run_errand, errand, name=f"errand {errand}")
            case ef.CancelErrand(errand):
                self._cancel(errand)
            case ef.Pay(owed):
                nursery.start_soon(self._pay, owed, name=f"pay {owed.id}")
            case ef.Consolidate(span):
                nursery.start_soon(self._consolidate, span, name=f"consolidate {self.session.key}")
            case ef.CancelConsolidation():
                for key in [k for k in self._scopes if isinstance(k, Span)]:
                    self._cancel(key)
            case ef.CutJournal():
                pass
            case _ as never:
                assert_never(never)

    def _begin_in_turn(self, effect: ef.CallModel | ef.RunCalls | ef.CancelTurn, nursery: trio.Nursery) -> None:
        if isinstance(effect, ef.CancelTurn):
            self._cancel_turn(effect.turn)
            return
        turn = self.session.turn
        if turn is None or turn.number != effect.turn or isinstance(self.session.state, Stopping):
            return  # the same line has stopped or ended the turn
        if effect.turn == self._stopped:
            return  # its stop waits for the next line
        jobs = self._jobs_of(effect.turn, nursery)
        match effect:
            case ef.CallModel(_, number_of_step):
                jobs.send_nowait(partial(self._think, effect.turn, number_of_step))
            case ef.RunCalls(_, calls):
                for call in calls:
                    jobs.send_nowait(partial(self._run_call, effect.turn, call))

    def _jobs_of(self, number: TurnNumber, nursery: trio.Nursery) -> trio.MemorySendChannel[Job]:
        """The way into the turn's scope, which opens with its first job."""
        if self._turn is None or self._turn.number != number:
            jobs, todo = trio.open_memory_channel[Job](math.inf)  # bounded by MOST_CALLS of one answer
            self._turn = _LiveTurn(number, jobs)
            nursery.start_soon(self._serve_turn, self._turn, todo, name=f"turn {self.session.key} {number}")
        return self._turn.jobs

    async def _serve_turn(self, live: _LiveTurn, todo: trio.MemoryReceiveChannel[Job]) -> None:
        """The turn's scope: everything of the turn runs in here, and is gone when this returns."""
        try:
            with live.scope, todo:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._watch_deadline, live.number, name=f"deadline {live.number}")
                    async for job in todo:
                        nursery.start_soon(job, name=f"work {self.session.key} {live.number}")
                    nursery.cancel_scope.cancel()
        finally:
            if self._turn is live:
                self._turn = None
        if live.scope.cancel_called:
            self.tell(ev.TurnEmptied(live.number, self._now()))

    async def _watch_deadline(self, number: TurnNumber) -> None:
        await trio.sleep(self._services.turn_deadline)
        self.tell(ev.DeadlinePassed(number, self._now()))

    def _close_ended_turn(self) -> None:
        """The state has no such turn any more: its scope ends, with nothing running in it."""
        turn = self.session.turn
        if self._turn is not None and (turn is None or turn.number != self._turn.number):
            self._turn.jobs.close()
            self._turn = None

    def _cancel_turn(self, number: TurnNumber) -> None:
        if self._turn is not None and self._turn.number == number:
            self._turn.scope.cancel(reason="stop")
        else:  # nothing of it runs: a consolidation had its place, or the start found it stopping
            self.tell(ev.TurnEmptied(number, self._now()))

    def _cancel(self, key: ErrandId | Span) -> None:
        scope = self._scopes.get(key)
        if scope is not None:
            scope.cancel()

    async def _think(self, number: TurnNumber, number_of_step: int) -> None:
        turn = self.session.turn
        if turn is not None and (turn.number, turn.step) == (number, number_of_step):
            self.tell(await self._services.mind.think(self.session, turn, self._show))

    async def _run_call(self, number: TurnNumber, call: CallId) -> None:
        turn = self.session.turn
        if turn is not None and turn.number == number:
            self.tell(await self._services.hands.run(self.session, turn, call, self._show))

    async def _send(self, out: str, part: int) -> None:
        pending = next((p for p in self.session.outbox if p.outbound.id == out), None)
        try:
            if pending is not None:
                self.tell(await self._services.outlet.send(self.session, pending, part))
        finally:
            self._sending = False

    async def _run_errand(self, errand_id: ErrandId) -> None:
        errand = self.session.errand(errand_id)
        if errand is not None:
            await self._alone(errand_id, partial(self._services.errands.run, self.session, errand))

    async def _pay(self, owed: Owed) -> None:
        self.tell(await self._services.errands.pay(self.session, owed))

    async def _consolidate(self, span: Span) -> None:
        await self._alone(span, partial(self._services.errands.consolidate, self.session, span))

    async def _alone(self, key: ErrandId | Span, work: Callable[[], Awaitable[ev.Event]]) -> None:
        """In a scope of its own, by which it is cancelled."""
        with trio.CancelScope() as scope:
            self._scopes[key] = scope
            try:
                self.tell(await work())
            finally:
                self._scopes.pop(key, None)
                self._came.set()
