"""What must hold of every session and of every step, whatever happened before.

Each rule looks at one step only: the session before, the event, what was decided, the session after. What a rule says of a
whole life follows by induction, so that a search may forget how it came to a state.
"""

from __future__ import annotations

from collections import Counter
from typing import assert_never

import attrs

from nanobot.messages import Call, CallState, Effect, MessageId, Origin, Outbound, TurnNumber
from nanobot.session import effects as ef
from nanobot.session import events as ev
from nanobot.session import records as r
from nanobot.session.errands import answers
from nanobot.session.plan import Plan
from nanobot.session.state import (
    AwaitingTool,
    Consolidating,
    ErrandKind,
    Idle,
    Session,
    Stopping,
    Thinking,
)


@attrs.frozen
class Work:
    """Something under way outside the machine, which will report back."""

    kind: str
    turn: TurnNumber = TurnNumber(0)
    number: int = 0
    """Of the step, or of the part."""
    of: str = ""
    """Id of a call, message, errand, promise."""


def check_session(session: Session) -> None:
    """What holds between any two steps."""
    state, turn = session.state, session.turn
    assert session.draining or not isinstance(state, Idle) or not session.inbox, "nobody waits in an idle session"
    assert not (isinstance(state, Thinking) and state.turn.open_calls), "no call is open while the model thinks"
    if isinstance(state, AwaitingTool):
        assert any(call.state is CallState.STARTED for call in state.turn.open_calls), "a call that is awaited was started"
    for exchange in session.exchanges:
        assert all(call.state.settled for call in calls_of(exchange.entries)), "calls of a closed turn have outcomes"
    ids = [said.id for said in session.inbox] + list(turn.inputs if turn else ())
    assert len(ids) == len(set(ids)), "a message is in one place"
    assert all(message_id in session.seen for message_id in ids), "a message is known when it comes again"
    for place, pending in enumerate(session.outbox):
        under_way = pending.sending + (pending.retry_at is not None) + pending.channel_down
        assert under_way == (place == 0), "the head of the outbox is sent or waits for one thing; the others for the head"
    assert turn is None or turn.number < session.next_turn


def check_step(before: Session, event: ev.Event, plan: Plan, after: Session) -> None:
    if not plan.records:
        assert not under_way(after) & ended_by(event), f"nobody hears of {ended_by(event)}"
        cancelled = all(isinstance(effect, ef.CancelErrand) for effect in plan.effects)
        assert cancelled or isinstance(event, ev.Opened), "what begins stands in a line"
        if not plan.effects:
            return
    check_session(after)
    _nothing_is_lost(before, event, plan, after)
    _nothing_is_twice(before, event, plan)
    _nothing_is_stuck(before, event, plan, after)
    _outbox_keeps_all(before, plan, after)
    _outcomes_stay(before, plan, after)
    _scheduled_work_is_alone(before, event, plan)


# --- lost


def unanswered(session: Session) -> set[MessageId]:
    """Messages that this session still has to answer; what a call has said in mid-turn answers, too."""
    turn = session.turn
    told = {i for out in (turn.told if turn else ()) for i in (out.reply_to, *out.also_answers)}
    ids = {said.id for said in session.inbox} | (set(turn.inputs if turn else ()) - told)
    ids |= set(session.state.by) if isinstance(session.state, Stopping) else set()
    return ids | {errand.asked_by for errand in session.errands if answers(errand)}


def answered(records: tuple[r.Record, ...]) -> set[MessageId]:
    outbounds = [record.outbound for record in records if isinstance(record, r.Queued)]
    return {i for out in outbounds for i in (out.reply_to, *out.also_answers) if i is not None}


def _nothing_is_lost(before: Session, event: ev.Event, plan: Plan, after: Session) -> None:
    taken = {record.said.id for record in plan.records if isinstance(record, r.Accepted)}
    taken |= {record.id for record in plan.records if isinstance(record, r.Noticed) and not record.refused}
    lost = (unanswered(before) | taken) - unanswered(after) - answered(plan.records)
    assert not lost, f"nobody will answer {lost}"


# --- twice


def calls_of(entries: tuple[object, ...]) -> list[Call]:
    return [call for entry in entries for call in getattr(entry, "calls", ())]


def _nothing_is_twice(before: Session, event: ev.Event, plan: Plan) -> None:
    accepted = [record.said.id for record in plan.records if isinstance(record, r.Accepted)]
    assert len(set(accepted)) == len(accepted)
    closed = {record.id for record in plan.records if isinstance(record, r.ErrandClosed)}
    approved = {errand.asked_by for errand in before.errands if errand.id in closed}
    assert not [i for i in accepted if i in before.seen and i not in approved], "no message joins twice"
    turns = [record.turn for record in plan.records if isinstance(record, r.TurnStarted)]
    assert turns == list(range(before.next_turn, before.next_turn + len(turns))), "turns are numbered in order"
    runs = Counter((e.turn, call) for e in plan.effects if isinstance(e, ef.RunCalls) for call in e.calls)
    once = Effect.WRITES
    again = {(before.turn.number, c.id) for c in before.turn.open_calls if c.effect is not once} if before.turn else set()
    again = again if isinstance(event, ev.Opened) else set()
    fresh = _started(plan.records)
    for call, count in runs.items():
        assert count == 1, f"{call} runs twice"
        assert call in fresh or call in again, f"{call} runs without a line that says so"
    assert fresh <= set(runs), "what is written as started runs"
    taken = [record.outbound.request for record in plan.records if isinstance(record, r.Queued) and record.outbound.request]
    taken += [record.owed.id for record in plan.records if isinstance(record, r.Promised)]
    assert len(set(taken)) == len(taken)
    assert not [i for i in taken if i in before.seen], "what is asked for is taken once"
    for record in plan.records if before.turn else ():
        if isinstance(record, r.Queued) and record.turn is None and not record.outbound.failed:
            assert not _said_already(before, record.outbound), "the answer is not said twice"


def _said_already(session: Session, out: Outbound) -> bool:
    """Whether a call of the turn has said the same to all whom `out` answers."""
    told = session.turn.told if session.turn else ()
    same = [one for one in told if one.text.split() == out.text.split()]
    answers = {out.reply_to, *out.also_answers}
    return out.reply_to is not None and any(answers <= {one.reply_to, *one.also_answers} for one in same)


def _started(records: tuple[r.Record, ...]) -> set[tuple[int, str]]:
    fresh: set[tuple[int, str]] = set()
    for record in records:
        if isinstance(record, r.CallsStarted):
            fresh |= {(record.turn, call) for call in record.calls}
        if isinstance(record, r.Answered):
            fresh |= {(record.turn, call.id) for call in record.reply.calls if call.state is CallState.STARTED}
    return fresh


# --- stuck


def under_way(session: Session) -> set[Work]:
    """What has to be under way, or the session would stand for ever."""
    work: set[Work] = {Work("errand", of=errand.id) for errand in session.errands if errand.started}
    work -= memories(session) if session.draining else set()
    work |= {Work("pay", of=owed.id) for owed in session.owed}
    if session.outbox and session.outbox[0].sending:
        work.add(Work("send", number=session.outbox[0].delivered, of=session.outbox[0].outbound.id))
    match session.state:
        case Thinking(turn):
            return work if turn.suspended else work | {Work("model", turn.number, turn.step)}
        case AwaitingTool(turn):
            return work | {Work("call", turn.number, of=c.id) for c in turn.open_calls if c.state is CallState.STARTED}
        case Stopping(turn):
            return work | {Work("empty", turn.number)}
        case Consolidating():
            return work | {Work("memory")}
        case Idle():
            return work
        case _ as never:
            assert_never(never)


def memories(session: Session) -> set[Work]:
    """What goes to memory beside the turns: neither while it drains nor without leave to resume, but at the next start."""
    return {Work("errand", of=errand.id) for errand in session.errands if errand.kind is ErrandKind.MEMORY}


def begun_by(effect: ef.Effect) -> set[Work]:
    match effect:
        case ef.CallModel(turn, step):
            return {Work("model", turn, step)}
        case ef.RunCalls(turn, calls):
            return {Work("call", turn, of=call) for call in calls}
        case ef.CancelTurn(turn):
            return {Work("empty", turn)}
        case ef.Send(out, part):
            return {Work("send", number=part, of=out)}
        case ef.RunErrand(errand):
            return {Work("errand", of=errand)}
        case ef.Pay(owed):
            return {Work("pay", of=owed.id)}
        case ef.Consolidate():
            return {Work("memory")}
        case ef.CancelErrand() | ef.CancelConsolidation() | ef.CutJournal():
            return set()
        case _ as never:
            assert_never(never)


def ended_by(event: ev.Event) -> set[Work]:
    """What is no longer under way when this is reported."""
    match event:
        case ev.ModelAnswered(turn, step) | ev.ModelFailed(turn, step) | ev.ContextFull(turn, step):
            return {Work("model", turn, step)}
        case ev.CallEnded(turn, call):
            return {Work("call", turn, of=call)}
        case ev.TurnEmptied(turn):
            return {Work("empty", turn)}
        case ev.PartDelivered(out, part) | ev.SendFailed(out, part) | ev.SendRefused(out, part):
            return {Work("send", number=part, of=out)}
        case ev.SendUnknown(out, part) | ev.ChannelDown(out, part):
            return {Work("send", number=part, of=out)}
        case ev.SplitInto(out):
            return {Work("send", of=out)}
        case ev.ErrandEnded(errand):
            return {Work("errand", of=errand)}
        case ev.PaidTo(owed):
            return {Work("pay", of=owed)}
        case ev.Consolidated() | ev.ConsolidationFailed():
            return {Work("memory")}
        case ev.Received() | ev.Commanded() | ev.Woke() | ev.Opened() | ev.DrainAsked() | ev.DeadlinePassed():
            return set()
        case ev.ChannelUp() | ev.ConsolidationDue() | ev.MessageAsked() | ev.Handed() | ev.LetterRetried() | ev.LetterDropped():
            return set()
        case _ as never:
            assert_never(never)


def _nothing_is_stuck(before: Session, event: ev.Event, plan: Plan, after: Session) -> None:
    left = set() if isinstance(event, ev.Opened) else under_way(before) - ended_by(event)
    begun = {work for effect in plan.effects for work in begun_by(effect)}
    if isinstance(event, ev.CallEnded) and event.errand and event.errand.started:
        begun.add(Work("errand", of=event.errand.id))
    missing = under_way(after) - left - begun
    if isinstance(event, ev.Opened) and not event.resume:
        missing -= memories(after)
    assert not missing, f"nothing moves {missing}"
    again = {work for work in begun & left if work.kind != "empty"}
    assert not again, f"{again} begins though it is under way"
    if isinstance(event, ev.Opened) and not event.resume:
        assert {work.kind for work in begun} <= {"send", "pay"}, "without leave to resume it is only told"


# --- scheduled work


def _scheduled_work_is_alone(before: Session, event: ev.Event, plan: Plan) -> None:
    """It steers nobody's turn, and nobody steers its: but for what a start that resumes nothing closes together."""
    waiting = {said.id: said for said in (*before.inbox, *(p.said for p in plan.records if isinstance(p, r.Accepted)))}
    scheduled = {id for id, said in waiting.items() if said.origin is Origin.JOB}
    if isinstance(event, ev.Opened) and not event.resume:
        return
    for record in plan.records:
        if isinstance(record, r.Joined):
            assert not scheduled & {*record.inputs}, "scheduled work joins no turn"
            assert before.turn is None or not before.turn.scheduled, "nothing joins scheduled work"
        if isinstance(record, r.TurnStarted):
            assert not scheduled & {*record.inputs} or len(record.inputs) == 1, "scheduled work is not merged"


# --- the outbox and outcomes


def _outbox_keeps_all(before: Session, plan: Plan, after: Session) -> None:
    ids = [p.outbound.id for p in before.outbox] + [q.outbound.id for q in plan.records if isinstance(q, r.Queued)]
    again = [record.id for record in plan.records if isinstance(record, r.LetterRetried)]
    dropped = [record.id for record in plan.records if isinstance(record, r.LetterDropped)]
    ids += again
    assert len(ids) == len(set(ids)), "ids of outbound messages are used once"
    left = [p.outbound.id for p in after.outbox]
    dead = [record.id for record in plan.records if isinstance(record, r.DeadLettered)]
    delivered = {record.id for record in plan.records if isinstance(record, r.Delivered)}
    gone = set(ids) - set(left)
    assert left == [i for i in ids if i not in gone], "the outbox keeps its order"
    assert gone <= delivered | set(dead), "what leaves the outbox is delivered or a dead letter"
    letters = [letter.outbound.id for letter in before.dead if letter.outbound.id not in (*again, *dropped)]
    assert [letter.outbound.id for letter in after.dead] == letters + dead, "dead letters stay until they are retried or dropped"
    fresh = {p.outbound.id for p in before.outbox if p.doubted and p.outbound.id in delivered}
    fresh |= {out.id for out in before.doubled} - set(dropped)
    assert {out.id for out in after.doubled} == fresh, "what may have arrived twice is listed"
    notices = [record.owed.to for record in plan.records if isinstance(record, r.Promised)]
    told = [p.outbound.origin for p in before.outbox if p.outbound.id in dead and p.outbound.origin]
    assert set(told) <= {*notices, *(owed.to for owed in after.owed)}, "a dead letter is told in the chat that asked for it"


def _outcomes_stay(before: Session, plan: Plan, after: Session) -> None:
    settled = Counter((record.turn, record.call) for record in plan.records if isinstance(record, r.CallSettled))
    assert all(count == 1 for count in settled.values()), "a call has one outcome"
    if before.turn is None:
        return
    then = calls_of(before.turn.entries)
    closed = next((e.entries for e in after.exchanges if e.turn == before.turn.number), None)
    same_turn = after.turn is not None and after.turn.number == before.turn.number
    now = calls_of(after.turn.entries if after.turn and same_turn else closed or ())[: len(then)]
    for old, new in zip(then, now, strict=False):
        assert old == new or not old.state.settled, "an outcome never changes"
        assert (old.state, new.state) != (CallState.STARTED, CallState.REQUESTED), "what was started stays so"
