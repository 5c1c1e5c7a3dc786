"""How the outbox is worked off: in order, one part at a time, each outcome a record. Pure.

A message waits as long as its channel is down. While the channel is up it is tried with growing waits for a day of trying
(`GIVE_UP_S`, downtime of ours excluded), then it is a dead letter. A refusal of the network is one at once. Where the
network takes no id of ours, an attempt without an answer is made once more and marked as doubted, then given up as
perhaps delivered. A dead letter that another chat asked for is told there; such notices make no notices.
"""

from __future__ import annotations

from typing import assert_never

from nanobot.messages import Attachment, Button, MessageId, Outbound, OutboundId, SessionKey, TurnNumber
from nanobot.session import events as ev
from nanobot.session import records as r
from nanobot.session import sentences
from nanobot.session.effects import Pay, Send
from nanobot.session.plan import NOTHING, Plan
from nanobot.session.state import ImpossibleEvent, Owed, Pending, Session

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 300.0
"""Rate limits of chat networks clear within minutes."""
DOUBLINGS = 9
"""After so many the wait is the longest; a channel that comes and goes makes attempts without end."""
GIVE_UP_S = 24 * 3600.0


def queue(
    session: Session,
    text: str,
    at: float,
    answers: tuple[MessageId, ...] = (),
    *,
    attachments: tuple[Attachment, ...] = (),
    failed: bool = False,
    origin: str = "",
    request: str = "",
    turn: TurnNumber | None = None,
    buttons: tuple[Button, ...] = (),
) -> Plan:
    """Promise a message to the chat, and begin to send it if nothing is before it."""
    name, first = OutboundId(f"o{session.next_out}"), next(iter(answers), None)
    out = Outbound(name, text, at, first, answers[1:], attachments, failed, origin, request, buttons)
    return Plan((r.Queued(out, turn),)).then(session, lambda s: NOTHING if session.outbox else send_head(s))


def promise(session: Session, owed: Owed) -> Plan:
    """Promise a message to another chat, once."""
    return NOTHING if owed.id in session.seen else Plan((r.Promised(owed),), (Pay(owed),))


def send_head(session: Session, *, doubted: bool = False) -> Plan:
    """Attempt what is next in the outbox, if anything is."""
    if not session.outbox:
        return NOTHING
    head = session.outbox[0]
    record = r.Sending(head.outbound.id, head.delivered, head.attempts + 1, doubted)
    return Plan((record,), (Send(head.outbound.id, head.delivered),))


def step_delivery(session: Session, event: ev.DeliveryEvent) -> Plan:  # noqa: PLR0912 one arm an event
    match event:
        case ev.ChannelUp():
            return send_head(session) if session.outbox and session.outbox[0].channel_down else NOTHING
        case ev.SplitInto(out, parts):
            head = _head(session, out, 0)
            if head and (head.parts or not parts):
                raise ImpossibleEvent(f"message {out} cannot be split into {len(parts)} parts now")
            return Plan((r.PartsFixed(out, parts),), (Send(out, 0),)) if head else NOTHING
        case ev.PartDelivered(out, part, at, receipt):
            if _head(session, out, part) is None:
                return NOTHING
            return Plan((r.Delivered(out, part, at, receipt),)).then(session, send_head)
        case ev.SendFailed(out, part):
            return _try_again(session, _head(session, out, part), event, event.retry_after or 0.0)
        case ev.SendRefused(out, part, at, error):
            return _give_up(session, _head(session, out, part), at, error)
        case ev.SendUnknown(out, part, at, error, keyed):
            head = _head(session, out, part)
            if head is not None and head.doubted and not keyed:
                return _give_up(session, head, at, error, perhaps_delivered=True)
            return _try_again(session, head, event, 0.0, doubted=not keyed)
        case ev.ChannelDown(out, part, at, error):
            head = _head(session, out, part)
            return Plan((r.SendDeferred(out, None, error, head.waited_s),)) if head else NOTHING
        case ev.LetterRetried(out):
            again = Plan((r.LetterRetried(out),)) if any(d.outbound.id == out for d in session.dead) else NOTHING
            return again.then(session, lambda s: NOTHING if session.outbox else send_head(s))
        case ev.LetterDropped(out):
            listed = {*(d.outbound.id for d in session.dead), *(o.id for o in session.doubled)}
            return Plan((r.LetterDropped(out),)) if out in listed else NOTHING
        case _ as never:
            assert_never(never)


def reopened(session: Session, at: float, *, keyed: bool) -> Plan:
    """What to send after a start: an attempt that was under way when we died has an unknown outcome."""
    if not session.outbox:
        return NOTHING
    head = session.outbox[0]
    if head.sending and not keyed and head.doubted:
        return _give_up(session, head, at, "nanobot was restarted twice while it was being sent", perhaps_delivered=True)
    return send_head(session, doubted=head.sending and not keyed)


def due(session: Session, at: float) -> Plan:
    """Send the head if its time has come."""
    head = session.outbox[0] if session.outbox else None
    return send_head(session) if head and head.retry_at is not None and head.retry_at <= at else NOTHING


def _head(session: Session, out: OutboundId, part: int) -> Pending | None:
    """The message that is being sent, if this is what the event speaks of: others are late."""
    head = session.outbox[0] if session.outbox else None
    return head if head and head.sending and (head.outbound.id, head.delivered) == (out, part) else None


def _try_again(
    session: Session, head: Pending | None, event: ev.SendFailed | ev.SendUnknown, at_least: float, *, doubted: bool = False
) -> Plan:
    if head is None:
        return NOTHING
    wait = max(at_least, min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(head.attempts - 1, DOUBLINGS)))
    waited = head.waited_s + wait
    if head.waited_s >= GIVE_UP_S:
        return _give_up(session, head, event.at, event.error, perhaps_delivered=doubted)
    return Plan((r.SendDeferred(event.id, event.at + wait, event.error, waited, doubted),))


def _give_up(session: Session, head: Pending | None, at: float, error: str, *, perhaps_delivered: bool = False) -> Plan:
    if head is None:
        return NOTHING
    out, perhaps = head.outbound, perhaps_delivered or head.doubted or head.delivered > 0
    plan = Plan((r.DeadLettered(out.id, error, at, perhaps),))
    if out.origin:
        text = sentences.not_delivered(SessionKey.parse(session.key).short, error, out.text)
        name = f"{session.key}/{out.id}@{at}"
        while name in session.seen:  # it was tried again in the same moment, in vain
            name += "+"
        plan += promise(session, Owed(name, out.origin, text, at))
    return plan.then(session, send_head)
