"""A run on its way through its session: what the session's records say of it, from waiting for its chat to its end."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable

import attrs
import trio

from nanobot.messages import Exchange, MessageId, Reply, Said, SessionKey, TurnEnd, TurnNumber, Usage
from nanobot.scheduler.jobs import Job, Outcome, Run
from nanobot.session import records as r
from nanobot.session.ports import Adopted
from nanobot.session.state import Idle, Session

CRASHED = "nanobot ended in the middle of it, and it was not taken up again"
LOST = "nanobot ended in the middle of it, and what became of it stands only in the older part of its conversation"
RESUMED = "nanobot ended in the middle of it; it was taken up again"
ENDS = {TurnEnd.STOPPED: "it was stopped", TurnEnd.SUPERSEDED: "it was ended by /new"}


class Standing(enum.Enum):
    """Where a session has it."""

    NEW = enum.auto()
    """It has not come there."""
    THERE = enum.auto()
    """It waits, or its turn is under way."""
    OVER = enum.auto()


@attrs.define(eq=False)
class Going:
    """A run that is committed and not over."""

    run: Run
    job: Job | None
    """None: it was removed meanwhile."""
    key: SessionKey
    resumed: bool = False
    """It was committed before nanobot was started."""
    most_tokens: float = math.inf
    turn: TurnNumber | None = attrs.field(default=None, init=False)
    crashes: int = attrs.field(default=0, init=False)
    free: trio.Event = attrs.field(factory=trio.Event, init=False)
    """Set when its chat has nothing to do; who waits for that makes it anew."""
    begun: trio.Event = attrs.field(factory=trio.Event, init=False)
    bound: trio.Event = attrs.field(factory=trio.Event, init=False)
    """Set when it is over, or has used up its tokens."""
    over: trio.Event = attrs.field(factory=trio.Event, init=False)

    @property
    def name(self) -> str:
        """For people."""
        return self.run.job if self.job is None else self.job.name

    @property
    def message(self) -> MessageId:
        return MessageId(f"job:{self.run.job}:{self.run.slot}")

    def end(self, outcome: Outcome, now_ms: int, error: str = "") -> None:
        """Once: what comes later changes nothing."""
        if not self.over.is_set():
            error = error or (RESUMED if self.crashes else "")
            self.run = attrs.evolve(self.run, outcome=outcome, ended_ms=now_ms, error=error)
            for event in (self.begun, self.bound, self.over):
                event.set()

    def see(self, adopted: Adopted, now_ms: int) -> None:
        """Its session has these records more."""
        for record in adopted.records:
            match record:
                case r.TurnStarted(turn=turn, inputs=taken) | r.Joined(turn, taken) | r.StopAsked(turn=turn, settled=taken):
                    if self.message in taken:
                        self._begin(turn, now_ms)
                case r.Noticed(id=self.message, refused=why) if why:
                    self.end(Outcome.BUSY, now_ms, why)
                case r.Answered(turn=self.turn, reply=reply):
                    self._used(reply.usage)
                case r.Restarted(crashed=True) if self.turn is not None:
                    self.crashes += 1
                case r.TurnEnded(turn=self.turn, end=end, answer=answer):
                    self._ended(end, answer, now_ms)
                case _:
                    pass
        if is_free(adopted.session):
            self.free.set()

    def find(self, session: Session, now_ms: int) -> Standing:
        """Look it up in a session as it stands."""
        turn = session.turn
        if turn is not None and self.message in turn.inputs:
            if self.turn is None:
                self._begin(turn.number, now_ms)
                self._used(turn.usage, anew=True)
                self.crashes = turn.restarts
            return Standing.THERE
        if self.message not in session.seen:
            return Standing.NEW
        if any(said.id == self.message for said in session.inbox):
            return Standing.THERE
        if not self.over.is_set():
            self._close(next((e for e in session.exchanges if self._in(e.entries)), None), now_ms)
        return Standing.OVER

    def _begin(self, turn: TurnNumber, now_ms: int) -> None:
        self.turn = turn
        self.run = attrs.evolve(self.run, started_ms=self.run.started_ms or now_ms)
        self.begun.set()

    def _used(self, usage: Usage, *, anew: bool = False) -> None:
        before = 0 if anew else self.run.tokens
        self.run = attrs.evolve(self.run, tokens=before + usage.input + usage.output)
        if self.run.tokens > self.most_tokens:
            self.bound.set()

    def _ended(self, end: TurnEnd, answer: str, now_ms: int) -> None:
        match end:
            case TurnEnd.ANSWERED if not answer:
                self.end(Outcome.OK, now_ms)
            case TurnEnd.CRASHED:
                self.end(Outcome.CRASHED, now_ms, CRASHED)
            case _:
                self.end(Outcome.FAILED, now_ms, ENDS.get(end) or answer)

    def _close(self, exchange: Exchange | None, now_ms: int) -> None:
        """It ended while nobody looked."""
        if exchange is None:
            self.end(Outcome.CRASHED, now_ms, LOST)
        else:
            self._begin(exchange.turn, now_ms)
            usage = sum((entry.usage for entry in exchange.entries if isinstance(entry, Reply)), Usage())
            self._used(usage, anew=True)
            self._ended(exchange.end, exchange.answer, now_ms)

    def _in(self, entries: Iterable[object]) -> bool:
        return any(isinstance(entry, Said) and entry.id == self.message for entry in entries)


def is_free(session: Session) -> bool:
    """A turn would begin at once, and nobody waits for another."""
    return isinstance(session.state, Idle) and not session.inbox and not session.draining
