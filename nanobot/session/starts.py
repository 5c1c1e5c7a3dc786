"""How a session that was left unfinished goes on when it is opened again. Pure.

`Restarted` stands in the line before the effects that follow from it, so that a turn that kills the process is counted.
After a crash: calls without effect run again, and so do `started` ones whose effect is a record, which is made once;
`started` ones with other effects become `unknown_after_crash`, the rest `not_run`; then the model decides. The second crash
in one turn ends it. What a drain put aside goes on without being counted.
"""

from __future__ import annotations

from typing import assert_never

import attrs

from nanobot.messages import Call, CallState, Effect, Said, TurnEnd, TurnNumber
from nanobot.session import delivery, errands, sentences
from nanobot.session import events as ev
from nanobot.session import records as r
from nanobot.session.effects import Pay, RunCalls, RunErrand
from nanobot.session.fold import apply_all
from nanobot.session.plan import NOTHING, Plan
from nanobot.session.state import AwaitingTool, Consolidating, DeadLetter, Idle, Session, Stopping, StopReason, Thinking, Turn
from nanobot.session.stops import emptied
from nanobot.session.turns import accept, begin, current, end_turn, next_step, settle_open

MOST_RESTARTS = 1
"""Crashes that a turn survives: the second in one turn may well be its doing."""


def opened(session: Session, event: ev.Opened) -> Plan:
    """Take up what was unfinished: the turn, errands, what is owed, what was being sent."""
    unfinished = not isinstance(session.state, Idle) or session.draining
    restarted = Plan((r.Restarted(event.at, event.crashed),)) if unfinished else NOTHING
    beside = Plan((), tuple(Pay(owed) for owed in session.owed))
    plan = (restarted + beside).then(session, lambda s: _resume(s, event))
    plan = plan.then(session, lambda s: errands.reopened(s, event, accept))
    if not event.resume:
        plan = Plan(plan.records, tuple(effect for effect in plan.effects if not isinstance(effect, RunErrand)))
    return plan.then(session, lambda s: delivery.reopened(s, event.at, keyed=event.keyed)) if session.outbox else plan


def salvage(session: Session, at: float) -> tuple[Session, str]:
    """What may be kept of a session whose journal is damaged, and what was open in it, for people.

    A damaged line may have been the one that said `started`, `Delivered` or who spoke, so nothing is resumed, run or sent:
    the turn is closed, what was to be sent is a dead letter, what ran is unknown. Ids that may have been given go unused.
    """
    open_ends: list[str] = []
    if session.turn is not None:
        text = "; ".join(entry.text for entry in session.turn.entries if isinstance(entry, Said))
        open_ends.append(f"a turn was under way: {text[:200]}")
        settled = _settle_crashed(session, session.turn)
        ended = Plan((*settled.records, r.TurnEnded(session.turn.number, TurnEnd.CRASHED, at, sentences.DAMAGED)))
        session = apply_all(attrs.evolve(session, state=Thinking(session.turn)), ended.records)
    open_ends += [f"not answered: {said.text[:200]}" for said in session.inbox]
    open_ends += [f"perhaps not sent: {pending.outbound.text[:200]}" for pending in session.outbox]
    open_ends += [f"perhaps not sent to {owed.to}: {owed.text[:200]}" for owed in session.owed]
    open_ends += [f"perhaps not finished: {errand.text[:200]}" for errand in session.errands]
    letters = tuple(DeadLetter(p.outbound, sentences.DAMAGED, at, perhaps_delivered=True) for p in session.outbox)
    kept = attrs.evolve(
        session,
        state=Idle(),
        inbox=(),
        outbox=(),
        errands=(),
        owed=(),
        draining=False,
        dead=session.dead + letters,
        next_turn=TurnNumber(max(session.next_turn, int(at))),
        next_out=max(session.next_out, int(at)),
    )
    return kept, "; ".join(open_ends) or "nothing that is still readable was open"


def _resume(session: Session, event: ev.Opened) -> Plan:
    match session.state:
        case Consolidating():
            failed = Plan((r.ConsolidationEnded("failed"),))
            return failed.then(session, lambda s: _resume(s, event))
        case Idle() | Thinking() | AwaitingTool() | Stopping() if session.inbox and not event.resume:
            return _waiting_joins(session, event.at).then(session, lambda s: _resume(s, event))
        case Idle():
            return begin(session, event.at)
        case Stopping(turn, StopReason.DRAIN):
            aside = Plan((*settle_open(session, turn, CallState.CUT, sentences.CUT, sentences.NOT_RUN), r.Suspended(turn.number)))
            return aside.then(session, lambda s: _resume_turn(s, current(s), event))
        case Stopping(turn) as now:
            return _settle_crashed(session, turn).then(session, lambda s: _emptied(s, now, event.at))
        case Thinking(turn) | AwaitingTool(turn):
            return _resume_turn(session, turn, event)
        case _ as never:
            assert_never(never)


def _waiting_joins(session: Session, at: float) -> Plan:
    """What waits is answered together with the turn that is not resumed, for ending that one would begin the next."""
    waiting = tuple(said.id for said in session.inbox)
    number = session.next_turn if session.turn is None else session.turn.number
    started = (r.TurnStarted(number, session.inbox[0].principal, (), at),) if session.turn is None else ()
    return Plan((*started, r.Joined(number, waiting)))


def _emptied(session: Session, now: Stopping, at: float) -> Plan:
    return emptied(session, Stopping(current(session), now.why, now.by, now.set_aside), at)


def _resume_turn(session: Session, turn: Turn, event: ev.Opened) -> Plan:
    if turn.restarts > MOST_RESTARTS or not event.resume:
        text = sentences.CRASHED_TWICE if event.resume else sentences.NOT_RESUMED
        return _settle_crashed(session, turn).then(session, lambda s: end_turn(s, TurnEnd.CRASHED, text, event.at))
    return _settle_crashed(session, turn, again=True).then(session, lambda s: _rerun(s, event.at))


def _settle_crashed(session: Session, turn: Turn, *, again: bool = False) -> Plan:
    """Outcomes of the calls that were open when the process died; with `again`, those that may run again stay open."""
    settled = settle_open(session, turn, CallState.UNKNOWN_AFTER_CRASH, sentences.UNKNOWN, sentences.NOT_RUN_CRASH)
    stay = {call.id for call in turn.open_calls if again and _may_run_again(call)}
    return Plan(tuple(record for record in settled if record.call not in stay))


def _may_run_again(call: Call) -> bool:
    return call.effect is Effect.READS or (call.effect is Effect.RECORDS and call.state is CallState.STARTED)


def _rerun(session: Session, at: float) -> Plan:
    """Run the calls that may once more, or make the model call once more."""
    turn = current(session)
    left = turn.open_calls
    if not left:
        return next_step(session, at)
    fresh = tuple(c.id for c in left if c.state is CallState.REQUESTED)
    begun = (r.CallsStarted(turn.number, fresh),) if fresh else ()
    return Plan(begun, (RunCalls(turn.number, tuple(c.id for c in left)),))
