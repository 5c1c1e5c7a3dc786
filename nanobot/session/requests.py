"""Messages that somebody asks for beside the replies of turns: the tool `message`, other sessions, the house. Pure.

Each has an id under which it is taken once, however often it is asked for: `Session.seen` remembers it with the line that
queues or owes the message.
"""

from __future__ import annotations

from nanobot.messages import CallId, MessageId
from nanobot.session import events as ev
from nanobot.session.delivery import promise, queue
from nanobot.session.plan import NOTHING, Plan
from nanobot.session.state import Owed, Session, Turn


def request_of(session: Session, turn: Turn, call: CallId) -> MessageId:
    """The id of what a call of the turn's last answer asks for."""
    return MessageId(f"{session.key}/{turn.number}.{turn.step}.{call}")


def asked(session: Session, turn: Turn, event: ev.MessageAsked) -> Plan:
    """A call says something: here it answers what the turn has been asked so far, elsewhere it answers nothing."""
    request = request_of(session, turn, event.call)
    if request in session.seen:
        return NOTHING
    if event.to:
        return promise(session, Owed(request, event.to, event.text, event.at, event.attachments, session.key, event.buttons))
    return queue(
        session,
        event.text,
        event.at,
        turn.inputs,
        attachments=event.attachments,
        request=request,
        turn=turn.number,
        buttons=event.buttons,
    )


def handed(session: Session, event: ev.Handed) -> Plan:
    if event.id in session.seen:
        return NOTHING
    return queue(
        session,
        event.text,
        event.at,
        attachments=event.attachments,
        origin=event.origin,
        request=event.id,
        buttons=event.buttons,
    )
