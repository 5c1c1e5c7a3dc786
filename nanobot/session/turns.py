"""How a turn begins, goes on and ends: the moves that machine.py, stops.py, orders.py and starts.py are made of. Pure."""

from __future__ import annotations

from typing import assert_never

from nanobot.messages import CallState, Effect, MessageId, Note, Origin, Reply, Said, TurnEnd
from nanobot.session import records as r
from nanobot.session import sentences
from nanobot.session.delivery import queue
from nanobot.session.effects import CallModel, CancelConsolidation
from nanobot.session.plan import NOTHING, Plan
from nanobot.session.requests import request_of
from nanobot.session.state import AwaitingTool, Consolidating, Idle, ImpossibleEvent, Session, Stopping, Thinking, Turn

MOST_PREEMPTIONS = 3
"""A consolidation that inputs cut short so often goes first the next time."""


def current(session: Session) -> Turn:
    """The turn under way. Raises: ImpossibleEvent where there is none."""
    if session.turn is None:
        raise ImpossibleEvent("there is no turn")
    return session.turn


def accept(session: Session, said: Said) -> Plan:
    """Put an input into the inbox, and begin with it if nothing else is under way."""
    accepted = Plan((r.Accepted(said),))
    match session.state:
        case Idle():
            return accepted.then(session, lambda s: begin(s, said.at))
        case Consolidating(back=None) if session.preempted < MOST_PREEMPTIONS and not session.draining:
            return (accepted + preempt()).then(session, lambda s: begin(s, said.at))
        case Thinking() | AwaitingTool() | Stopping() | Consolidating():
            return accepted
        case _ as never:
            assert_never(never)


def begin(session: Session, at: float) -> Plan:
    """Start a turn: with what people say, the first that waits and those of the same principal right behind it; else with
    scheduled work, one piece alone."""
    if not session.inbox or session.draining:
        return NOTHING
    people = tuple(said for said in session.inbox if said.origin is not Origin.JOB)
    principal = (people or session.inbox)[0].principal
    others = [i for i, said in enumerate(people) if said.principal != principal]
    taken = people[: min(others, default=len(people))] or session.inbox[:1]
    record = r.TurnStarted(session.next_turn, principal, tuple(said.id for said in taken), at)
    return Plan((record,), (CallModel(session.next_turn, 1),))


def next_step(
    session: Session,
    at: float,
    *,
    note: str = "",
    last_call: str = "",
    empties: int = 0,
    nameless: int | None = None,
    lengths: int | None = None,
    trimmed: bool = False,
) -> Plan:
    """Make the turn's next model call, with what its principal has said meanwhile. Scheduled work joins nothing, nor does it
    let anything join: its rights are others."""
    turn = current(session)
    people = () if turn.scheduled else (said for said in session.inbox if said.origin is not Origin.JOB)
    joining = tuple(said.id for said in people if said.principal == turn.principal)
    joined = (r.Joined(turn.number, joining),) if joining else ()
    begun = r.StepBegun(
        turn.number,
        turn.step + 1,
        Note(note, at) if note else None,
        last_call or turn.last_call,
        empties,
        turn.nameless if nameless is None else nameless,
        turn.lengths if lengths is None else lengths,
        turn.trimmed or trimmed,
    )
    return Plan((*joined, begun), (CallModel(turn.number, turn.step + 1),))


def last_call(session: Session, at: float, why: str) -> Plan:
    """Ask the model for an answer without tools; after it the turn ends in any case."""
    return next_step(session, at, note=sentences.LAST_CALL_NOTES[why], last_call=why)


def finish(session: Session, turn: Turn, reply: Reply, text: str, at: float) -> Plan:
    """The model's answer ends the turn. `text` is what people see; a sentence of ours where `reply` has none.

    What a call of the turn has said in the same words, to all who wait for an answer, is not said again.
    """
    own = not reply.text.strip()
    continued = "".join(e.text for e in turn.entries if isinstance(e, Reply) and not e.calls) if turn.lengths else ""
    whole = (f"{continued}\n\n{text}" if own and continued else continued + text).strip()
    kept = () if own else (r.Answered(turn.number, reply),)
    ended = Plan((*kept, r.TurnEnded(turn.number, TurnEnd.ANSWERED, at, text if own else "")))
    if not whole or any(out.text.split() == whole.split() for out in turn.answers):
        return ended.then(session, lambda s: begin(s, at))
    return ended.then(session, lambda s: _reply_and_begin(s, turn.inputs, whole, at, failed=own))


def end_turn(session: Session, end: TurnEnd, text: str, at: float, *, by: tuple[MessageId, ...] = ()) -> Plan:
    """The turn ends with a sentence of ours. `by`: the commands that asked for it, answered with it."""
    turn = current(session)
    settled = settle_open(session, turn, CallState.CUT, sentences.CUT, sentences.NOT_RUN)
    ended = Plan((*settled, r.TurnEnded(turn.number, end, at, text)))
    return ended.then(session, lambda s: _reply_and_begin(s, by + turn.inputs, text, at, failed=end is not TurnEnd.STOPPED))


def _reply_and_begin(session: Session, answers: tuple[MessageId, ...], text: str, at: float, *, failed: bool) -> Plan:
    said = queue(session, text, at, answers, failed=failed)
    return said.then(session, lambda s: begin(s, at))


def settle_open(session: Session, turn: Turn, ran: CallState, ran_text: str, not_run: str) -> tuple[r.CallSettled, ...]:
    """Outcomes for the open calls of a turn that goes no further. Whether a record was made is known."""
    settled = []
    for call in turn.open_calls:
        state, text = (ran, ran_text) if call.state is CallState.STARTED else (CallState.NOT_RUN, not_run)
        if call.effect is Effect.RECORDS:
            done = request_of(session, turn, call.id) in session.seen
            state, text = (CallState.DONE, sentences.QUEUED) if done else (CallState.NOT_RUN, not_run)
        settled.append(r.CallSettled(turn.number, call.id, state, text))
    return tuple(settled)


def preempt() -> Plan:
    """End the consolidation that is under way, half done being not done."""
    return Plan((r.ConsolidationEnded("preempted"),), (CancelConsolidation(),))
