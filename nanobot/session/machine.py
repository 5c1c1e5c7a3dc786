"""The session machine: what may happen next. `step(session, event)` decides, `fold.apply` books.

Theory of operation. A session is in one of five states:

    Idle            no turn, empty inbox                      an input -> Thinking; consolidation due -> Consolidating
    Thinking        a model call is under way                 calls -> AwaitingTool; text or failure ends the turn
    AwaitingTool    calls are under way                       the last outcome -> Thinking
    Stopping        the turn's scope is emptying              TurnEmptied ends the turn
    Consolidating   closed exchanges go to memory             done or failed -> where it came from; an input preempts it

Each event yields records (one journal line) and effects, which begin when the line is on disk. Beside the state, and the
same in all of them, stand inbox, outbox (delivery.py), errands (errands.py), what is owed, and the dedupe window.

Rules that the shape of the code keeps (the traces are in the tests):

* the line that ends a turn starts the next if anything waits, so nobody waits in an idle session;
* a message joins a running turn before its next model call, if its principal is the turn's; scheduled work has its own turns;
* `started` stands in a line before the call has effects; after a crash it becomes `unknown_after_crash`;
* a command is a message: its id is remembered, and a copy of it does nothing; so is what `message` asks for;
* events of a turn carry its number, and a late one meets a written case: it does nothing.

Pure and total: no I/O, no clock, no randomness; `ImpossibleEvent` for what cannot follow, with nothing changed.
"""

from __future__ import annotations

from typing import assert_never

import attrs

from nanobot.messages import Call, CallId, CallState, Reply, Said, TurnEnd
from nanobot.session import errands, sentences
from nanobot.session import events as ev
from nanobot.session import records as r
from nanobot.session.calls import next_batch, refuse_excess, started
from nanobot.session.delivery import due, queue, step_delivery
from nanobot.session.effects import Consolidate, CutJournal, Pay, RunCalls
from nanobot.session.orders import obey
from nanobot.session.plan import NOTHING, Limits, Plan
from nanobot.session.requests import asked, handed
from nanobot.session.starts import opened
from nanobot.session.state import (
    AwaitingTool,
    Consolidating,
    Idle,
    ImpossibleEvent,
    Session,
    Span,
    Stopping,
    Thinking,
    Turn,
)
from nanobot.session.stops import drain, emptied, late_errand, stop_turn
from nanobot.session.turns import accept, begin, end_turn, finish, last_call, next_step, preempt

MOST_WAITING = 200
"""Messages in the inbox of one chat: more is a flood, and each is kept in memory and in every snapshot."""
MOST_EMPTY = 2
MOST_NAMELESS = 1
MOST_CONTINUED = 3
DEFAULT_LIMITS = Limits()


def step(session: Session, event: ev.Event, limits: Limits = DEFAULT_LIMITS) -> Plan:  # noqa: PLR0912 one arm a family
    """Decide what follows from `event`. Raises: ImpossibleEvent, with nothing changed."""
    match event:
        case ev.Received(said):
            return NOTHING if said.id in session.seen else _receive(session, said)
        case ev.Commanded():
            return NOTHING if event.id in session.seen else obey(session, event)
        case ev.ModelAnswered() | ev.ModelFailed() | ev.ContextFull():
            return _turn_event(session, event, limits)
        case ev.MessageAsked() | ev.CallEnded() | ev.DeadlinePassed() | ev.TurnEmptied():
            return _turn_event(session, event, limits)
        case ev.SplitInto() | ev.PartDelivered() | ev.SendFailed() | ev.SendRefused() | ev.SendUnknown() | ev.ChannelDown():
            return step_delivery(session, event)
        case ev.ChannelUp() | ev.LetterRetried() | ev.LetterDropped():
            return step_delivery(session, event)
        case ev.Handed():
            return handed(session, event)
        case ev.ErrandEnded():
            return errands.ended(session, event, accept)
        case ev.PaidTo(owed_id):
            return Plan((r.Paid(owed_id),)) if any(o.id == owed_id for o in session.owed) else NOTHING
        case ev.Woke(at):
            return errands.expired(session, at, accept).then(session, lambda s: due(s, at))
        case ev.Opened():
            return opened(session, event)
        case ev.DrainAsked():
            return drain(session, event)
        case ev.ConsolidationDue() | ev.Consolidated() | ev.ConsolidationFailed():
            return _memory_event(session, event)
        case _ as never:
            assert_never(never)


def _receive(session: Session, said: Said) -> Plan:
    if len(session.inbox) < MOST_WAITING:
        return accept(session, said)
    refused = Plan((r.Noticed(said.id, said.at, "too many waiting"),))
    if any(p.outbound.text == sentences.TOO_MANY_WAITING for p in session.outbox):
        return refused
    return refused.then(session, lambda s: queue(s, sentences.TOO_MANY_WAITING, said.at, (said.id,)))


# --- the turn


def _turn_event(session: Session, event: ev.TurnEvent, limits: Limits) -> Plan:
    if event.turn >= session.next_turn:
        raise ImpossibleEvent(f"turn {event.turn} has not begun")
    turn = session.turn
    if turn is None or turn.number != event.turn:
        return NOTHING
    if isinstance(event, ev.ModelAnswered | ev.ModelFailed | ev.ContextFull) and event.step > turn.step:
        raise ImpossibleEvent(f"step {event.step} of turn {turn.number} has not begun")
    match session.state:
        case Thinking():
            return _in_thinking(session, turn, event, limits)
        case AwaitingTool():
            return _in_awaiting(session, turn, event)
        case Stopping() as now:
            return _in_stopping(session, now, event)
        case Consolidating():
            if not isinstance(event, ev.DeadlinePassed):
                return NOTHING
            return preempt().then(session, lambda s: stop_turn(s, event.why))
        case Idle():
            return NOTHING
        case _ as never:
            assert_never(never)


def _in_thinking(session: Session, turn: Turn, event: ev.TurnEvent, limits: Limits) -> Plan:
    match event:
        case ev.ModelAnswered() if event.step == turn.step:
            return _model_answered(session, turn, event, limits)
        case ev.ModelFailed() if event.step == turn.step:
            return _model_failed(session, turn, event)
        case ev.ContextFull() if event.step == turn.step:
            return _context_full(session, turn, event)
        case ev.DeadlinePassed(why=why):
            return stop_turn(session, why)
        case ev.ModelAnswered() | ev.ModelFailed() | ev.ContextFull() | ev.MessageAsked() | ev.CallEnded() | ev.TurnEmptied():
            return NOTHING
        case _ as never:
            assert_never(never)


def _in_awaiting(session: Session, turn: Turn, event: ev.TurnEvent) -> Plan:
    match event:
        case ev.MessageAsked():
            return asked(session, turn, event) if _call(turn, event.call).state is CallState.STARTED else NOTHING
        case ev.CallEnded():
            settled = _settle(turn, event)
            return settled + errands.opened(event.errand) + _go_on(session, turn, event) if settled.records else NOTHING
        case ev.DeadlinePassed(why=why):
            return stop_turn(session, why)
        case ev.ModelAnswered() | ev.ModelFailed() | ev.ContextFull() | ev.TurnEmptied():
            return NOTHING
        case _ as never:
            assert_never(never)


def _in_stopping(session: Session, now: Stopping, event: ev.TurnEvent) -> Plan:
    match event:
        case ev.CallEnded():
            settled = _settle(now.turn, event)
            return settled + late_errand(now, event.errand) if settled.records else NOTHING
        case ev.TurnEmptied(at=at):
            return emptied(session, now, at)
        case ev.ModelAnswered() | ev.ModelFailed() | ev.ContextFull() | ev.MessageAsked() | ev.DeadlinePassed():
            return NOTHING
        case _ as never:
            assert_never(never)


def _model_answered(session: Session, turn: Turn, event: ev.ModelAnswered, limits: Limits) -> Plan:
    reply, at = event.reply, event.at
    text = reply.text.strip()
    shown = reply.text + sentences.LENGTH_MARK if event.length and text else reply.text
    if turn.last_call:
        final = attrs.evolve(reply, calls=())
        return finish(session, turn, final, shown if text else sentences.NO_TOOLS_FAILED[turn.last_call], at)
    if reply.calls:
        return _calls_asked(session, turn, event, limits)
    if not (text or event.nameless or event.length) and turn.answers:
        return finish(session, turn, reply, "", at)
    if turn.step >= limits.iterations and (event.nameless or event.length or not text):
        return last_call(session, at, "limit")
    if event.nameless:
        again = turn.nameless < MOST_NAMELESS
        return next_step(session, at, note=sentences.NAMELESS, nameless=1) if again else last_call(session, at, "nameless")
    if not text:
        again, note = turn.empties + 1 < MOST_EMPTY, sentences.CUT_IN_CALL if event.length else ""
        return next_step(session, at, note=note, empties=turn.empties + 1) if again else last_call(session, at, "empty")
    if event.length and turn.lengths < MOST_CONTINUED:
        return _continue(session, turn, reply, at)
    return finish(session, turn, reply, shown, at)


def _continue(session: Session, turn: Turn, reply: Reply, at: float) -> Plan:
    """The answer was cut at the token limit: ask for the rest."""
    note = sentences.continue_after(reply.text)
    kept = Plan((r.Answered(turn.number, reply),))
    return kept.then(session, lambda s: next_step(s, at, note=note, lengths=turn.lengths + 1))


def _calls_asked(session: Session, turn: Turn, event: ev.ModelAnswered, limits: Limits) -> Plan:
    if len({call.id for call in event.reply.calls}) < len(event.reply.calls):
        raise ImpossibleEvent(f"an answer in turn {turn.number} has two calls with one id")
    reply, circling = refuse_excess(event.reply, turn.entries)
    if circling or turn.step >= limits.iterations:
        why, result = ("repeat", sentences.REPEATED_CALL) if circling else ("limit", sentences.NOT_RUN_LIMIT)
        reply = attrs.evolve(reply, calls=tuple(_not_run(call, result) for call in reply.calls))
        last = Plan((r.Answered(turn.number, reply),)).then(session, lambda s: errands.asked(s, event.asks, event.at))
        return last.then(session, lambda s: last_call(s, event.at, why))
    batch = next_batch(reply.calls)
    answered = Plan((r.Answered(turn.number, started(reply, batch)),))
    answered = answered.then(session, lambda s: errands.asked(s, event.asks, event.at))
    if not batch:
        return answered.then(session, lambda s: next_step(s, event.at))
    return answered + Plan((), (RunCalls(turn.number, batch),))


def _not_run(call: Call, result: str) -> Call:
    return call if call.state.settled else attrs.evolve(call, state=CallState.NOT_RUN, result=result)


def _model_failed(session: Session, turn: Turn, event: ev.ModelFailed) -> Plan:
    ended = end_turn(session, TurnEnd.FAILED, event.text, event.at)
    if event.kind != "bad_request":
        return ended
    # What the service refuses as malformed it would refuse again in every later turn.
    return ended + Plan((r.Undone(turn.number),))


def _context_full(session: Session, turn: Turn, event: ev.ContextFull) -> Plan:
    keep_from = min(event.keep_from, session.end)
    if keep_from <= session.base or (event.refused and turn.trimmed):
        return end_turn(session, TurnEnd.FAILED, sentences.TOO_LONG, event.at)
    if event.consolidate and not (turn.consolidated or event.refused):
        span = Span(session.base, keep_from)
        return Plan((r.ConsolidationStarted(span),), (Consolidate(span),))
    moved = Plan((r.CursorMoved(keep_from, "too_long" if event.refused else "jump"),), (CutJournal(),))
    moved = errands.remember(session, keep_from) + moved if event.consolidate else moved
    return moved.then(session, lambda s: next_step(s, event.at, trimmed=event.refused))


def _settle(turn: Turn, event: ev.CallEnded) -> Plan:
    call = _call(turn, event.call)
    if call.state.settled:
        return NOTHING
    if call.state is CallState.REQUESTED or not event.state.settled:
        raise ImpossibleEvent(f"call {event.call} cannot become {event.state} now")
    approval = event.errand.id if event.errand else None
    record = r.CallSettled(
        turn.number, call.id, event.state, event.result, event.full, event.attachments, event.tainted, approval
    )
    promised = tuple(r.Promised(owed) for owed in event.promises)
    return Plan((record, *promised), tuple(Pay(owed) for owed in event.promises))


def _call(turn: Turn, call_id: CallId) -> Call:
    """Some services number their calls anew in each answer, so the last one is meant. Raises: ImpossibleEvent."""
    answers = [entry for entry in reversed(turn.entries) if isinstance(entry, Reply)]
    for call in (c for answer in answers for c in answer.calls if c.id == call_id):
        return call
    raise ImpossibleEvent(f"turn {turn.number} has no call {call_id}")


def _go_on(session: Session, turn: Turn, event: ev.CallEnded) -> Plan:
    """After an outcome: wait for the others, start the next calls, or call the model."""
    left = tuple(call for call in turn.open_calls if call.id != event.call)
    if any(call.state is CallState.STARTED for call in left):
        return NOTHING
    batch = next_batch(left)
    if batch:
        return Plan((r.CallsStarted(turn.number, batch),), (RunCalls(turn.number, batch),))
    return next_step(session, event.at)


# --- memory


def _memory_event(session: Session, event: ev.MemoryEvent) -> Plan:
    match event:
        case ev.ConsolidationDue(_, end):
            span = Span(session.base, min(end, session.end))
            if not isinstance(session.state, Idle) or session.draining or span.end <= span.start:
                return NOTHING
            return Plan((r.ConsolidationStarted(span),), (Consolidate(span),))
        case ev.Consolidated(at, cursor):
            if cursor > session.end:
                raise ImpossibleEvent(f"memory cannot have exchanges up to {cursor}, there are {session.end}")
            moved = Plan((r.CursorMoved(cursor, "memory"),), (CutJournal(),)) if cursor > session.base else NOTHING
            ended = r.ConsolidationEnded("done", event.usage, event.model)
            return moved.then(session, lambda s: _consolidation_over(s, at, ended))
        case ev.ConsolidationFailed(at):
            return _consolidation_over(session, at, r.ConsolidationEnded("failed", event.usage, event.model))
        case _ as never:
            assert_never(never)


def _consolidation_over(session: Session, at: float, ended: r.ConsolidationEnded) -> Plan:
    match session.state:
        case Consolidating(back=None):
            return Plan((ended,)).then(session, lambda s: begin(s, at))
        case Consolidating():
            return Plan((ended,)).then(session, lambda s: next_step(s, at))
        case Idle() | Thinking() | AwaitingTool() | Stopping():
            return NOTHING
        case _ as never:
            assert_never(never)
