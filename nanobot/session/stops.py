"""How a turn is stopped: asked for, cancelled, emptied, and then what was asked for is done. Pure.

The cancel is sent before the line is written (actor.py); `Stopping` is durable and survives a crash.
"""

from __future__ import annotations

from typing import assert_never

from nanobot.messages import CallState, MessageId, TurnEnd
from nanobot.session import errands, sentences
from nanobot.session import records as r
from nanobot.session.delivery import queue
from nanobot.session.effects import CancelTurn, CutJournal
from nanobot.session.plan import Plan
from nanobot.session.state import AwaitingTool, Consolidating, Idle, Session, Stopping, StopReason, Thinking
from nanobot.session.turns import begin, current, end_turn, preempt, settle_open


def stop_turn(session: Session, why: StopReason, by: MessageId | None = None) -> Plan:
    """Cancel the turn under way. A stop by a person settles what waits and what the session left running besides."""
    turn = current(session)
    settles = why in (StopReason.STOP, StopReason.NEW)
    waiting = tuple(said.id for said in session.inbox) if settles else ()
    asked = Plan((r.StopAsked(turn.number, why, by, waiting),), (CancelTurn(turn.number),))
    return errands.stopped(session) + asked if settles else asked


def emptied(session: Session, now: Stopping, at: float) -> Plan:
    """Nothing of the turn runs any more: end it as it was asked for."""
    turn = now.turn
    cut = Plan(settle_open(turn, CallState.CUT, sentences.CUT, sentences.NOT_RUN))
    match now.why:
        case StopReason.DRAIN:
            return cut + Plan((r.Suspended(turn.number),))
        case StopReason.DEADLINE:
            return end_turn(session, TurnEnd.DEADLINE, sentences.DEADLINE, at)
        case StopReason.STOP:
            return cut.then(session, lambda s: _report(s, now, at))
        case StopReason.NEW:
            ended = cut + Plan((r.TurnEnded(turn.number, TurnEnd.SUPERSEDED, at),))
            answers = turn.inputs if now.by is None else (now.by, *turn.inputs)
            return ended.then(session, lambda s: clear(s, at, answers)).then(session, lambda s: begin(s, at))
        case _ as never:
            assert_never(never)


def _report(session: Session, now: Stopping, at: float) -> Plan:
    text = sentences.stopped(current(session).entries, now.set_aside)
    return end_turn(session, TurnEnd.STOPPED, text, at, by=now.by)


def clear(session: Session, at: float, answers: tuple[MessageId, ...]) -> Plan:
    """Begin a new conversation, and say so."""
    cleared = Plan((r.Cleared(at),), (CutJournal(),))
    text = sentences.NEW_CONVERSATION
    return cleared.then(session, lambda s: queue(s, text, at, reply_to=answers[0], also_answers=answers[1:]))


def drain(session: Session, at: float) -> Plan:
    """Put aside what runs, and begin nothing any more."""
    draining = Plan() if session.draining else Plan((r.Draining(at),))
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
