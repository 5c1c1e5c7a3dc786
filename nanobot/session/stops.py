"""How a turn is stopped: asked for, cancelled, emptied, and then what was asked for is done. Pure.

The cancel is sent before the line is written (actor.py); `Stopping` is durable and survives a crash.
"""

from __future__ import annotations

from typing import assert_never

from nanobot.messages import CallState, MessageId, TurnEnd
from nanobot.session import errands, sentences
from nanobot.session import events as ev
from nanobot.session import records as r
from nanobot.session.delivery import queue
from nanobot.session.effects import CancelTurn, CutJournal
from nanobot.session.fold import apply_all
from nanobot.session.plan import Plan
from nanobot.session.state import AwaitingTool, Consolidating, Errand, Idle, Session, Stopping, StopReason, Thinking
from nanobot.session.turns import accept, begin, current, end_turn, preempt, settle_open

BY_PEOPLE = (StopReason.STOP, StopReason.NEW)


def stop_turn(session: Session, why: StopReason, by: MessageId | None = None) -> Plan:
    """Cancel the turn under way. A stop by a person settles what waits besides."""
    turn = current(session)
    waiting = tuple(said.id for said in session.inbox) if why in BY_PEOPLE else ()
    return Plan((r.StopAsked(turn.number, why, by, waiting),), (CancelTurn(turn.number),))


def stop_waiting(session: Session, why: StopReason, by: MessageId, at: float) -> Plan:
    """No turn is under way, but messages wait: they become one that is stopped before it begins."""
    started = r.TurnStarted(session.next_turn, session.inbox[0].principal, (), at)
    asked = r.StopAsked(session.next_turn, why, by, tuple(said.id for said in session.inbox))
    stopping = apply_all(session, (started, asked))
    assert isinstance(stopping.state, Stopping)
    return Plan((started, asked)) + emptied(stopping, stopping.state, at)


def late_errand(now: Stopping, errand: Errand | None) -> Plan:
    """A call of the stopping turn went on as an errand before the cancel reached it: a stop by a person reaches that too."""
    if errand is None or now.why not in BY_PEOPLE:
        return errands.opened(errand)
    return Plan((r.ErrandOpened(errand),)) + errands.stop_one(errand)


def emptied(session: Session, now: Stopping, at: float) -> Plan:
    """Nothing of the turn runs any more: end it as it was asked for."""
    turn = now.turn
    cut = Plan(settle_open(session, turn, CallState.CUT, sentences.CUT, sentences.NOT_RUN))
    match now.why:
        case StopReason.DRAIN:
            return cut + Plan((r.Suspended(turn.number),))
        case StopReason.DEADLINE | StopReason.RUN_DEADLINE | StopReason.TOKENS:
            return end_turn(session, TurnEnd.DEADLINE, sentences.OVER_BOUNDS[now.why], at)
        case StopReason.STOP:
            return cut.then(session, lambda s: _report(s, now, at))
        case StopReason.NEW:
            ended = cut + Plan((r.TurnEnded(turn.number, TurnEnd.SUPERSEDED, at),))
            return ended.then(session, lambda s: clear(s, at, now.by + turn.inputs)).then(session, lambda s: begin(s, at))
        case _ as never:
            assert_never(never)


def _report(session: Session, now: Stopping, at: float) -> Plan:
    text = sentences.stopped(current(session).entries, now.set_aside)
    return end_turn(session, TurnEnd.STOPPED, text, at, by=now.by)


def clear(session: Session, at: float, answers: tuple[MessageId, ...]) -> Plan:
    """Begin a new conversation, and say so."""
    cleared = errands.remember(session, session.end) + Plan((r.Cleared(at),), (CutJournal(),))
    return cleared.then(session, lambda s: queue(s, sentences.NEW_CONVERSATION, at, answers))


def drain(session: Session, event: ev.DrainAsked) -> Plan:
    """Begin nothing any more, and put aside what runs if it has had its time."""
    draining = Plan() if session.draining else Plan((r.Draining(event.at),))
    if event.aside or isinstance(session.state, Idle):
        draining = draining.then(session, lambda s: errands.cut(s, event.at, accept))
    if not event.aside:
        return draining
    match session.state:
        case Idle() | Stopping():
            return draining
        case Thinking() | AwaitingTool():
            return draining.then(session, lambda s: stop_turn(s, StopReason.DRAIN))
        case Consolidating(back=None):
            return draining + preempt()
        case Consolidating():
            return (draining + preempt()).then(session, lambda s: stop_turn(s, StopReason.DRAIN))
        case _ as never:
            assert_never(never)
