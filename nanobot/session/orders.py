"""Commands: what each decides in each state. Pure. A command is a message: its id is remembered, and a copy does nothing."""

from __future__ import annotations

from typing import assert_never

from nanobot.messages import Exchange, Said, TurnEnd
from nanobot.session import errands, sentences
from nanobot.session import events as ev
from nanobot.session import records as r
from nanobot.session.delivery import queue
from nanobot.session.plan import NOTHING, Plan
from nanobot.session.state import AwaitingTool, Consolidating, Idle, Session, Stopping, StopReason, Thinking
from nanobot.session.stops import clear, stop_turn, stop_waiting
from nanobot.session.turns import accept, preempt

RANKS = (
    StopReason.DRAIN,
    StopReason.DEADLINE,
    StopReason.RUN_DEADLINE,
    StopReason.TOKENS,
    StopReason.STOP,
    StopReason.NEW,
)
"""Of two stops of one turn the one further right says what follows."""


def obey(session: Session, event: ev.Commanded) -> Plan:
    """What a command that was not seen before decides."""
    if isinstance(event.command, ev.Retry):
        return _retry(session, event, confirmed=event.command.confirmed)
    noticed = Plan((r.Noticed(event.id, event.at),))
    return noticed.then(session, lambda s: _decide(s, event))


def _decide(session: Session, event: ev.Commanded) -> Plan:
    match event.command:
        case ev.Stop():
            return _stop(session, event, StopReason.STOP)
        case ev.New():
            return _stop(session, event, StopReason.NEW)
        case ev.Undo():
            return _undo(session, event)
        case ev.ChooseModel(model, problem):
            chosen = NOTHING if problem else Plan((r.ModelChosen(model),))
            text = problem or (f"Model of this session: {model}" if model else "This session uses the default model again.")
            return chosen.then(session, lambda s: _tell(s, event, text))
        case ev.Approve(errand):
            return errands.answered(session, event, errand, accept, yes=True)
        case ev.Deny(errand):
            return errands.answered(session, event, errand, accept, yes=False)
        case ev.Trust():
            return _trust(session, event)
        case ev.Ask(line):
            return errands.open_question(event, line)
        case ev.Tell(text):
            return _tell(session, event, text)
        case ev.Retry(confirmed):
            return _retry(session, event, confirmed=confirmed)
        case _ as never:
            assert_never(never)


def _tell(session: Session, event: ev.Commanded, text: str) -> Plan:
    return queue(session, text, event.at, (event.id,))


def _stop(session: Session, event: ev.Commanded, why: StopReason) -> Plan:
    return errands.stopped(session, event).then(session, lambda s: _stop_work(s, event, why))


def _stop_work(session: Session, event: ev.Commanded, why: StopReason) -> Plan:
    match session.state:
        case Thinking() | AwaitingTool():
            return stop_turn(session, why, event.id)
        case Stopping(why=now):
            return stop_turn(session, max(why, now, key=RANKS.index), event.id)
        case Consolidating(back=None):
            return preempt().then(session, lambda s: _stop_idle(s, event, why))
        case Consolidating():
            return preempt().then(session, lambda s: stop_turn(s, why, event.id))
        case Idle():
            return _stop_idle(session, event, why)
        case _ as never:
            assert_never(never)


def _stop_idle(session: Session, event: ev.Commanded, why: StopReason) -> Plan:
    if session.inbox:
        return stop_waiting(session, why, event.id, event.at)
    if why is StopReason.NEW:
        return clear(session, event.at, (event.id,))
    told_of_errands = any(pending.outbound.reply_to == event.id for pending in session.outbox)
    return NOTHING if told_of_errands else _tell(session, event, sentences.NOTHING_TO_STOP)


def _undo(session: Session, event: ev.Commanded) -> Plan:
    exchange, problem = _last_exchange(session, sentences.NOTHING_TO_UNDO)
    if exchange is None:
        return _tell(session, event, problem)
    text = sentences.undone(sentences.effects_of(exchange.entries))
    return Plan((r.Undone(exchange.turn),)).then(session, lambda s: _tell(s, event, text))


def _trust(session: Session, event: ev.Commanded) -> Plan:
    if not event.owner:
        return _tell(session, event, sentences.NOT_YOURS)
    if not isinstance(session.state, Idle):
        return _tell(session, event, sentences.BUSY)
    trusted = Plan((r.Trusted(session.next_turn, event.at),))
    return trusted.then(session, lambda s: _tell(s, event, sentences.TRUSTED))


def _retry(session: Session, event: ev.Commanded, *, confirmed: bool) -> Plan:
    """Ask the last question again, under the id of the command."""
    noticed = Plan((r.Noticed(event.id, event.at),))
    exchange, problem = _last_exchange(session, sentences.NOTHING_TO_RETRY, failed_too=True)
    said = [entry for entry in exchange.entries if isinstance(entry, Said)] if exchange else []
    if exchange is None or not said:
        return noticed.then(session, lambda s: _tell(s, event, problem))
    effects = sentences.effects_of(exchange.entries)
    if effects and not confirmed:
        return noticed.then(session, lambda s: _tell(s, event, sentences.confirm_retry(effects)))
    return Plan((r.Undone(exchange.turn),)).then(session, lambda s: accept(s, _asked_again(said, event)))


def _asked_again(said: list[Said], event: ev.Commanded) -> Said:
    """In the words of who said it: what somebody else wrote does not become an order of who wants it tried again."""
    text = "\n\n".join(one.text for one in said)
    attachments = tuple(a for one in said for a in one.attachments)
    strange = any(one.tainted or one.principal != event.principal for one in said)
    ours = all(one.ours for one in said)
    return Said(event.id, text, event.at, event.principal, attachments, strange, said[0].origin, ours)


def _last_exchange(session: Session, nothing: str, *, failed_too: bool = False) -> tuple[Exchange | None, str]:
    """The exchange that `/undo` and `/retry` speak of, or why there is none. A refused request was taken out already."""
    match session.state:
        case Thinking() | AwaitingTool() | Stopping():
            return None, sentences.BUSY
        case Consolidating():
            return None, sentences.BEING_REMEMBERED
        case Idle():
            there = (e for e in reversed(session.exchanges) if not e.undone or (failed_too and e.end is TurnEnd.FAILED))
            return next(there, None), nothing
        case _ as never:
            assert_never(never)
