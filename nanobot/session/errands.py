"""What outlives a turn: questions that need I/O, calls that wait for the owner's word, work in the background. Pure.

A question's end is a message to the chat, asked again after a crash. What goes to memory is done again, too, and nothing is
said of it here. The end of anything else is an input to the session; it runs at most once, so after a crash it is reported
as unknown, and after a drain as cut. Which call an approval lets run stands in the errand, word for word; the word is the
owner's, comes as a command, and is good once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import attrs

from nanobot.messages import Attachment, ErrandId, MessageId, Said
from nanobot.session import events as ev
from nanobot.session import records as r
from nanobot.session import sentences
from nanobot.session.delivery import queue
from nanobot.session.effects import CancelErrand, Pay, RunErrand
from nanobot.session.plan import NOTHING, Plan
from nanobot.session.state import Errand, ErrandKind, Session

AGAIN = (ErrandKind.QUESTION, ErrandKind.MEMORY)
"""Without effects that could be there twice."""
Accept = Callable[[Session, Said], Plan]
"""How the state at hand takes an input (machine.py)."""


def open_question(event: ev.Commanded, line: str) -> Plan:
    id, who = ErrandId(f"q:{event.id}"), event.principal
    errand = Errand(id, ErrandKind.QUESTION, line, who, event.id, started=True, origin=event.origin)
    return Plan((r.ErrandOpened(errand),), (RunErrand(errand.id),))


def remember(session: Session, end: int) -> Plan:
    """What leaves the prompt before ordinal `end` goes to memory beside the turns, however long that takes."""
    there = session.exchanges[: max(0, end - session.base)]
    if not there:
        return NOTHING
    who, last = there[-1].principal, MessageId(f"turn:{there[-1].turn}")
    text = "what has left the conversation goes to memory"
    errand = Errand(ErrandId(f"memory:{end}"), ErrandKind.MEMORY, text, who, last, arguments=str(end), started=True)
    return Plan((r.ErrandOpened(errand),), () if session.draining else (RunErrand(errand.id),))


def opened(errand: Errand | None) -> Plan:
    """A call goes on as an errand, if it does. What needs nobody's word and does not run yet starts when this is on disk."""
    if errand is None:
        return NOTHING
    plan = Plan((r.ErrandOpened(errand),))
    if errand.kind is not ErrandKind.BACKGROUND or errand.started:
        return plan
    return plan + Plan((r.ErrandStarted(errand.id),), (RunErrand(errand.id),))


def asked(session: Session, asks: tuple[ev.Asked, ...], at: float) -> Plan:
    """Calls of an answer wait for the owner's word: each is put to the chat."""
    plan = NOTHING
    for ask in asks:
        question = partial(queue, text=ask.question, at=at, buttons=ask.buttons)
        plan = (plan + Plan((r.ErrandOpened(ask.errand),))).then(session, question)
    return plan


def ended(session: Session, event: ev.ErrandEnded, accept: Accept) -> Plan:
    errand = session.errand(event.id)
    if errand is None:  # stopped meanwhile, and what it left running with it
        return NOTHING if event.goes_on is None else Plan((r.ErrandOpened(event.goes_on),)) + stop_one(event.goes_on)
    closed = Plan(
        (r.ErrandClosed(errand.id, "ended", event.usage, event.model), *map(r.Promised, event.promises)),
        tuple(map(Pay, event.promises)),
    )
    if errand.kind is ErrandKind.MEMORY:
        return closed
    if errand.kind is ErrandKind.QUESTION:
        return closed.then(session, lambda s: queue(s, event.text, event.at, (errand.asked_by,)))
    closed += opened(event.goes_on)
    if event.told:
        return closed
    said = _said(errand, event.text, event.at, attachments=event.attachments, tainted=event.tainted)
    return closed.then(session, lambda s: accept(s, said))


def answered(session: Session, event: ev.Commanded, errand_id: ErrandId, accept: Accept, *, yes: bool) -> Plan:
    """The owner's word on a call that waits for it: it binds to that call, once."""
    errand = session.errand(errand_id)
    if not event.owner:
        return queue(session, sentences.NOT_YOURS, event.at, (event.id,))
    overdue = expired(session, event.at, accept)
    if overdue.records:
        return overdue.then(session, lambda s: answered(s, event, errand_id, accept, yes=yes))
    if errand is None and errand_id:
        return open_question(event, f"/{'approve' if yes else 'deny'} {errand_id}")  # it may be another chat's
    if errand is None or errand.kind is not ErrandKind.APPROVAL or errand.started:
        return queue(session, sentences.no_such_request(open_approvals(session)), event.at, (event.id,))
    if session.draining:
        return queue(session, sentences.APPROVE_LATER, event.at, (event.id,))
    if yes:
        started, text = Plan((r.ErrandStarted(errand.id, event.id),), (RunErrand(errand.id),)), sentences.APPROVED
        return started.then(session, partial(queue, text=text.format(errand.title), at=event.at))
    errand = attrs.evolve(errand, asked_by=event.id, started=True)
    return _close(session, errand, "denied", sentences.DENIED.format(errand.title), accept, at=event.at)


def answers(errand: Errand) -> bool:
    """Whether a message of a person waits for its end."""
    return errand.kind is ErrandKind.QUESTION or (errand.kind is ErrandKind.APPROVAL and errand.started)


def open_approvals(session: Session) -> tuple[Errand, ...]:
    """The calls that wait for the owner's word."""
    return tuple(e for e in session.errands if e.kind is ErrandKind.APPROVAL and not e.started)


def background(session: Session) -> tuple[Errand, ...]:
    """The processes and subagents that run beside its turns."""
    return tuple(e for e in session.errands if e.kind is ErrandKind.BACKGROUND)


def expired(session: Session, at: float, accept: Accept) -> Plan:
    """Close what nobody answered in time."""
    plan = NOTHING
    for errand in session.errands:
        if errand.expires_at is not None and errand.expires_at <= at and not errand.started:
            text = sentences.EXPIRED.format(errand.title)
            plan = plan.then(session, lambda s, e=errand, t=text: _close(s, e, "expired", t, accept, at=at))  # type: ignore[misc]
    return plan


def reopened(session: Session, event: ev.Opened, accept: Accept) -> Plan:
    """After a start: questions are asked again, what ran is unknown, what waits for the owner goes on waiting."""
    plan = NOTHING
    for errand in session.errands:
        if errand.kind in AGAIN and event.resume:
            plan += Plan((), (RunErrand(errand.id),))
        elif errand.started and errand.kind is not ErrandKind.MEMORY:
            plan = plan.then(session, lambda s, e=errand: _unknown(s, e, event, accept))  # type: ignore[misc]
    return plan


def cut(session: Session, at: float, accept: Accept) -> Plan:
    """A drain ends what runs beside turns; what it did, the next start tells. A question is asked again."""
    plan = NOTHING
    for errand in session.errands:
        if errand.kind is ErrandKind.MEMORY:
            plan += Plan((), (CancelErrand(errand.id),))
        elif errand.started and errand.kind is not ErrandKind.QUESTION:
            text = sentences.ERRAND_CUT[errand.kind].format(errand.title)
            plan += Plan((), (CancelErrand(errand.id),))
            plan = plan.then(session, lambda s, e=errand, t=text: _close(s, e, "cut", t, accept, at=at))  # type: ignore[misc]
    return plan


def _unknown(session: Session, errand: Errand, event: ev.Opened, accept: Accept) -> Plan:
    text = sentences.ERRAND_UNKNOWN[errand.kind].format(errand.title)
    if event.resume:
        return _close(session, errand, "unknown_after_crash", text, accept, at=event.at)
    closed = Plan((r.ErrandClosed(errand.id, "unknown_after_crash"),))
    return closed.then(session, lambda s: queue(s, text, event.at, (errand.asked_by,)))


def stopped(session: Session, event: ev.Commanded) -> Plan:
    """`/stop` reaches all of them, and says so."""
    ending = [errand for errand in session.errands if errand.kind is not ErrandKind.MEMORY]
    if not ending:
        return NOTHING
    closed = sum((stop_one(errand) for errand in ending), NOTHING)
    text = f"Stopped: {', '.join(errand.title for errand in ending)}."
    asked = tuple(errand.asked_by for errand in ending if answers(errand))
    return closed.then(session, lambda s: queue(s, text, event.at, (event.id, *asked)))


def stop_one(errand: Errand) -> Plan:
    """Nothing is said of it: the caller does that."""
    return Plan((r.ErrandClosed(errand.id, "stopped"),), (CancelErrand(errand.id),) if errand.started else ())


def _close(session: Session, errand: Errand, how: str, text: str, accept: Accept, *, at: float) -> Plan:
    closed = Plan((r.ErrandClosed(errand.id, how),))
    return closed.then(session, lambda s: accept(s, _said(errand, text, at)))


def _said(errand: Errand, text: str, at: float, *, attachments: tuple[Attachment, ...] = (), tainted: bool = False) -> Said:
    """Its end as an input, which answers the message by which the owner let it run, or did not."""
    name = errand.asked_by if answers(errand) else MessageId(f"errand:{errand.id}")
    return Said(name, text, at, errand.principal, attachments, tainted or errand.tainted, errand.origin, ours=True)
