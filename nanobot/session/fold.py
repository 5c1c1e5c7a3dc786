"""`apply(session, record)`: books a fact, without policy, clock or configuration; it alone makes state.

A record that does not fit the state it meets (a journal written by hand, a bug) raises `ImpossibleEvent`. A later version of
the policy never reads the past anew: what was decided stands in the records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from typing import assert_never

import attrs

from nanobot.messages import Call, CallId, CallState, Exchange, MessageId, Outbound, OutboundId, Reply, Said, TurnNumber
from nanobot.session import records as r
from nanobot.session.state import (
    AwaitingTool,
    Consolidating,
    DeadLetter,
    Errand,
    Idle,
    ImpossibleEvent,
    Pending,
    Session,
    State,
    Stopping,
    Thinking,
    Turn,
)

_Change = Callable[[Turn], Turn]
_CallChange = Callable[[Call], Call]
_PendingChange = Callable[[Pending], Pending]


def apply_all(session: Session, records: Iterable[r.Record]) -> Session:
    return reduce(apply, records, session)


def apply(session: Session, record: r.Record) -> Session:  # noqa: PLR0912 one arm a record
    match record:
        case r.Accepted(said):
            return attrs.evolve(session, inbox=(*session.inbox, said), seen=session.seen.add(said.id, said.at))
        case r.Noticed(message_id, at):
            return attrs.evolve(session, seen=session.seen.add(message_id, at))
        case r.TurnStarted():
            return _turn_started(session, record)
        case r.Joined():
            return _joined(session, record)
        case r.Answered(number, reply):
            return _answered(session, number, reply)
        case r.CallsStarted(number, calls):
            return _in_turn(
                session, number, lambda turn: _with_calls(turn, calls, lambda c: attrs.evolve(c, state=CallState.STARTED))
            )
        case r.CallSettled():
            return _in_turn(session, record.turn, lambda turn: _with_calls(turn, (record.call,), lambda c: _settled(c, record)))
        case r.StepBegun():
            return _step_begun(session, record)
        case r.StopAsked():
            return _stop_asked(session, record)
        case r.TurnEnded():
            return _turn_ended(session, record)
        case r.Queued(outbound, number):
            return _queued(session, outbound, number)
        case r.PartsFixed(out, parts):
            return _pending(session, out, lambda p: attrs.evolve(p, parts=parts))
        case r.Sending():
            return _pending(session, record.id, lambda p: _sending(p, record))
        case r.Delivered(out, part):
            return _delivered(session, out, part)
        case r.SendDeferred():
            return _pending(session, record.id, lambda p: _deferred(p, record))
        case r.DeadLettered():
            return _dead_lettered(session, record)
        case r.LetterRetried(out):
            again = tuple(Pending(d.outbound, doubted=d.perhaps_delivered) for d in session.dead if d.outbound.id == out)
            left = tuple(d for d in session.dead if d.outbound.id != out)
            return attrs.evolve(session, outbox=session.outbox + again, dead=left)
        case r.LetterDropped(out):
            return _without_letter(session, out)
        case r.CursorMoved(to):
            return attrs.evolve(session, exchanges=session.exchanges[max(0, to - session.base) :], base=max(to, session.base))
        case r.Cleared():
            return attrs.evolve(session, exchanges=(), base=session.end)
        case r.Undone(number):
            return _undone(session, number)
        case r.ModelChosen(model):
            return attrs.evolve(session, model=model)
        case r.Trusted(before):
            return attrs.evolve(session, trusted=before)
        case r.ErrandOpened(errand):
            return attrs.evolve(session, errands=(*session.errands, errand))
        case r.ErrandStarted(errand_id, by):
            return attrs.evolve(session, errands=tuple(_started(e, by) if e.id == errand_id else e for e in session.errands))
        case r.ErrandClosed(errand_id):
            errands = tuple(e for e in session.errands if e.id != errand_id)
            return attrs.evolve(session, errands=errands, usage=session.usage + record.usage)
        case r.Promised(owed):
            return attrs.evolve(session, owed=(*session.owed, owed), seen=session.seen.add(MessageId(owed.id), owed.at))
        case r.Paid(owed_id):
            return attrs.evolve(session, owed=tuple(o for o in session.owed if o.id != owed_id))
        case r.ConsolidationStarted(span):
            return attrs.evolve(session, state=Consolidating(span, session.turn))
        case r.ConsolidationEnded(how, usage):
            return _consolidation_ended(attrs.evolve(session, usage=session.usage + usage), how)
        case r.Restarted(_, crashed):
            return _restarted(session, crashed=crashed)
        case r.Draining():
            return attrs.evolve(session, draining=True)
        case r.Suspended(number):
            return _suspended(session, number)
        case _ as never:
            assert_never(never)


# --- the turn


def _turn_started(session: Session, record: r.TurnStarted) -> Session:
    taken, left = _take(session.inbox, record.inputs)
    turn = Turn(record.turn, record.principal, record.inputs, taken, record.at)
    return attrs.evolve(session, state=Thinking(turn), inbox=left, next_turn=TurnNumber(record.turn + 1))


def _joined(session: Session, record: r.Joined) -> Session:
    taken, left = _take(session.inbox, record.inputs)
    joined = _in_turn(
        session, record.turn, lambda turn: attrs.evolve(turn, inputs=turn.inputs + record.inputs, entries=turn.entries + taken)
    )
    return attrs.evolve(joined, inbox=left)


def _take(inbox: tuple[Said, ...], ids: tuple[MessageId, ...]) -> tuple[tuple[Said, ...], tuple[Said, ...]]:
    taken = tuple(said for said in inbox if said.id in ids)
    if len(taken) != len(ids):
        raise ImpossibleEvent(f"messages {ids} are not all in the inbox")
    return taken, tuple(said for said in inbox if said.id not in ids)


def _answered(session: Session, number: TurnNumber, reply: Reply) -> Session:
    turn = attrs.evolve(_turn(session, number), entries=(*_turn(session, number).entries, reply))
    return attrs.evolve(session, state=AwaitingTool(turn) if turn.open_calls else Thinking(turn))


def _step_begun(session: Session, record: r.StepBegun) -> Session:
    turn = _turn(session, record.turn)
    note = () if record.note is None else (record.note,)
    turn = attrs.evolve(
        turn,
        step=record.step,
        entries=turn.entries + note,
        last_call=record.last_call,
        empties=record.empties,
        nameless=record.nameless,
        lengths=record.lengths,
        trimmed=record.trimmed,
    )
    return attrs.evolve(session, state=Thinking(turn))


def _stop_asked(session: Session, record: r.StopAsked) -> Session:
    turn = _turn(session, record.turn)
    taken, left = _take(session.inbox, record.settled)
    turn = attrs.evolve(turn, inputs=turn.inputs + record.settled, entries=turn.entries + taken)
    before = session.state if isinstance(session.state, Stopping) else Stopping(turn, record.why)
    by = before.by if record.by is None else (*before.by, record.by)
    return attrs.evolve(session, state=Stopping(turn, record.why, by, before.set_aside + len(taken)), inbox=left)


def _turn_ended(session: Session, record: r.TurnEnded) -> Session:
    turn = _turn(session, record.turn)
    closed = Exchange(turn.number, turn.principal, turn.entries, record.end, record.answer)
    return attrs.evolve(session, state=Idle(), exchanges=(*session.exchanges, closed), usage=session.usage + turn.usage)


def _restarted(session: Session, *, crashed: bool) -> Session:
    session = attrs.evolve(session, draining=False)
    turn = session.turn
    if turn is None:
        return session
    turn = attrs.evolve(turn, suspended=False, restarts=turn.restarts + (1 if crashed else 0))
    return attrs.evolve(session, state=_put_turn(session.state, turn))


def _suspended(session: Session, number: TurnNumber) -> Session:
    turn = attrs.evolve(_turn(session, number), suspended=True)
    return attrs.evolve(session, state=AwaitingTool(turn) if turn.open_calls else Thinking(turn))


def _consolidation_ended(session: Session, how: str) -> Session:
    match session.state:
        case Consolidating(back=back):
            state: State = Idle() if back is None else Thinking(attrs.evolve(back, consolidated=True))
            return attrs.evolve(session, state=state, preempted=session.preempted + 1 if how == "preempted" else 0)
        case Idle() | Thinking() | AwaitingTool() | Stopping():
            raise ImpossibleEvent("a consolidation ended that was not under way")


def _undone(session: Session, number: TurnNumber) -> Session:
    exchanges = tuple(attrs.evolve(e, undone=True) if e.turn == number else e for e in session.exchanges)
    return attrs.evolve(session, exchanges=exchanges)


def _turn(session: Session, number: TurnNumber) -> Turn:
    turn = session.turn
    if turn is None or turn.number != number:
        raise ImpossibleEvent(f"turn {number} is not under way")
    return turn


def _in_turn(session: Session, number: TurnNumber, change: _Change) -> Session:
    return attrs.evolve(session, state=_put_turn(session.state, change(_turn(session, number))))


def _put_turn(state: State, turn: Turn) -> State:
    match state:
        case Thinking() | AwaitingTool() | Stopping():
            return attrs.evolve(state, turn=turn)
        case Consolidating():
            return attrs.evolve(state, back=turn)
        case Idle():
            raise ImpossibleEvent("there is no turn")


# --- calls


def _with_calls(turn: Turn, ids: tuple[CallId, ...], change: _CallChange) -> Turn:
    reply = turn.reply
    if not set(ids) <= {call.id for call in reply.calls}:
        raise ImpossibleEvent(f"turn {turn.number} has no open calls {ids}")
    changed = attrs.evolve(reply, calls=tuple(change(call) if call.id in ids else call for call in reply.calls))
    return attrs.evolve(turn, entries=tuple(changed if entry is reply else entry for entry in turn.entries))


def _settled(call: Call, record: r.CallSettled) -> Call:
    return attrs.evolve(
        call,
        state=record.state,
        result=record.result,
        full=record.full,
        attachments=record.attachments,
        tainted=record.tainted,
        approval=record.approval,
    )


# --- the outbox and errands


def _pending(session: Session, out: OutboundId, change: _PendingChange) -> Session:
    if all(p.outbound.id != out for p in session.outbox):
        raise ImpossibleEvent(f"message {out} is not in the outbox")
    return attrs.evolve(session, outbox=tuple(change(p) if p.outbound.id == out else p for p in session.outbox))


def _queued(session: Session, outbound: Outbound, number: TurnNumber | None) -> Session:
    if number is not None:
        session = _in_turn(session, number, lambda turn: attrs.evolve(turn, told=(*turn.told, outbound)))
    seen = session.seen.add(MessageId(outbound.request), outbound.at) if outbound.request else session.seen
    return attrs.evolve(session, outbox=(*session.outbox, Pending(outbound)), next_out=session.next_out + 1, seen=seen)


def _delivered(session: Session, out: OutboundId, part: int) -> Session:
    fresh = tuple(p.outbound for p in session.outbox if p.outbound.id == out and p.doubted and p.outbound not in session.doubled)
    session = _pending(
        session, out, lambda p: attrs.evolve(p, delivered=part + 1, attempts=0, sending=False, doubted=False, error="")
    )
    left = tuple(p for p in session.outbox if p.delivered < p.total)
    return attrs.evolve(session, outbox=left, doubled=session.doubled + fresh)


def _sending(pending: Pending, record: r.Sending) -> Pending:
    doubted = pending.doubted or record.doubted
    return attrs.evolve(pending, sending=True, attempts=record.attempt, retry_at=None, channel_down=False, doubted=doubted)


def _deferred(pending: Pending, record: r.SendDeferred) -> Pending:
    return attrs.evolve(
        pending,
        sending=False,
        retry_at=record.retry_at,
        channel_down=record.retry_at is None,
        error=record.error,
        waited_s=record.waited_s,
        doubted=pending.doubted or record.doubted,
    )


def _dead_lettered(session: Session, record: r.DeadLettered) -> Session:
    gone = tuple(p for p in session.outbox if p.outbound.id == record.id)
    letters = tuple(DeadLetter(p.outbound, record.reason, record.at, record.perhaps_delivered) for p in gone)
    left = tuple(p for p in session.outbox if p.outbound.id != record.id)
    if session.turn is not None:
        told = tuple(o for o in session.turn.told if o.id != record.id)
        session = _in_turn(session, session.turn.number, lambda turn: attrs.evolve(turn, told=told))
    return attrs.evolve(session, outbox=left, dead=session.dead + letters)


def _without_letter(session: Session, out: OutboundId) -> Session:
    dead = tuple(d for d in session.dead if d.outbound.id != out)
    return attrs.evolve(session, dead=dead, doubled=tuple(o for o in session.doubled if o.id != out))


def _started(errand: Errand, by: MessageId) -> Errand:
    return attrs.evolve(errand, started=True, asked_by=by or errand.asked_by)
