"""Events: what a session is told. Time and ids come inside them; those of a turn carry its number, and the step where it matters.

Events from outside (`Received`, `Commanded`, delivery, errands, time) are legal in every state. Events of the turn's own
effects may come late, which every state answers; one that cannot follow what happened raises `ImpossibleEvent`.
"""

from __future__ import annotations

import attrs

from nanobot.messages import (
    Attachment,
    Button,
    CallId,
    CallState,
    ErrandId,
    MessageId,
    Origin,
    OutboundId,
    Reply,
    Said,
    TurnNumber,
    Usage,
)
from nanobot.session.state import Errand, Owed, StopReason

# --- commands, as commands.py reads them from a message


@attrs.frozen
class Stop:
    pass


@attrs.frozen
class New:
    pass


@attrs.frozen
class Undo:
    pass


@attrs.frozen
class Retry:
    confirmed: bool = False


@attrs.frozen
class ChooseModel:
    """`problem` says why that model cannot be used, checked where the configuration is known."""

    model: str | None
    problem: str = ""


@attrs.frozen
class Approve:
    errand: ErrandId


@attrs.frozen
class Deny:
    errand: ErrandId


@attrs.frozen
class Trust:
    """What was read so far is harmless."""


@attrs.frozen
class Ask:
    """A question that needs I/O (`/status`, `/sessions`): an errand answers it."""

    line: str


@attrs.frozen
class Tell:
    """The answer is known at once (`/help`, an unknown command)."""

    text: str


Command = Stop | New | Undo | Retry | ChooseModel | Approve | Deny | Trust | Ask | Tell

# --- from outside


@attrs.frozen
class Received:
    """A message for the model."""

    said: Said


@attrs.frozen
class Commanded:
    """A message that is a command."""

    id: MessageId
    principal: str
    at: float
    command: Command
    owner: bool = False
    origin: Origin = Origin.DIRECT


@attrs.frozen
class Woke:
    """Time has come for a promise, or somebody wants it looked at."""

    at: float


@attrs.frozen
class Opened:
    """The journal was opened. `crashed`: its last line was not a farewell. `resume` false: only tell, begin nothing.

    `keyed`: the network takes our ids, so that what was being sent can be sent again without doubling it.
    """

    at: float
    crashed: bool
    resume: bool = True
    keyed: bool = False


@attrs.frozen
class DrainAsked:
    """Nothing begins any more. `aside`: what runs is put aside now, instead of being given time to end."""

    at: float
    aside: bool = True


# --- of the turn's effects


@attrs.frozen
class Asked:
    """A call of an answer waits for the owner's word: `question` is put to the chat."""

    errand: Errand
    question: str
    buttons: tuple[Button, ...] = ()


@attrs.frozen
class ModelAnswered:
    """A whole answer. `calls` of the reply are `requested`, or `refused` with the reason where policy says so, or `deferred`
    with one of `asks`.

    No two of them have the same id; those of earlier answers may come again.
    """

    turn: TurnNumber
    step: int
    at: float
    reply: Reply
    nameless: int = 0
    """Calls without a name that were dropped from it."""
    length: bool = False
    """It was cut at the token limit."""
    asks: tuple[Asked, ...] = ()


@attrs.frozen
class ModelFailed:
    """The call failed for good. `text` tells the user what happened and what to do."""

    turn: TurnNumber
    step: int
    at: float
    kind: str
    text: str


@attrs.frozen
class ContextFull:
    """The prompt would not fit; history before ordinal `keep_from` must leave. `refused`: the service said so."""

    turn: TurnNumber
    step: int
    at: float
    keep_from: int
    refused: bool = False
    consolidate: bool = False
    """What leaves goes to memory: before, once a turn and unless the service has refused; else beside it."""


@attrs.frozen
class MessageAsked:
    """The call `message` wants this said: here, or in the session `to`. Asked again (after a crash) it joins once."""

    turn: TurnNumber
    call: CallId
    at: float
    text: str
    attachments: tuple[Attachment, ...] = ()
    to: str = ""
    buttons: tuple[Button, ...] = ()


@attrs.frozen
class CallEnded:
    """A call has its outcome. `errand`: it goes on outside the turn. `promises`: what it owes other journals."""

    turn: TurnNumber
    call: CallId
    at: float
    state: CallState
    result: str
    full: str | None = None
    attachments: tuple[Attachment, ...] = ()
    tainted: bool = False
    errand: Errand | None = None
    promises: tuple[Owed, ...] = ()


@attrs.frozen
class DeadlinePassed:
    """Or another bound of the turn, as `why` says."""

    turn: TurnNumber
    at: float
    why: StopReason = StopReason.DEADLINE


@attrs.frozen
class TurnEmptied:
    """Nothing of a stopped turn runs any more."""

    turn: TurnNumber
    at: float


# --- delivery


@attrs.frozen
class SplitInto:
    """The channel made more than one part of a message at its first attempt; nothing was sent yet."""

    id: OutboundId
    parts: tuple[str, ...]


@attrs.frozen
class PartDelivered:
    id: OutboundId
    part: int
    at: float
    receipt: str = ""


@attrs.frozen
class SendFailed:
    """The network will take it later. `retry_after`: seconds it asked for."""

    id: OutboundId
    part: int
    at: float
    error: str
    retry_after: float | None = None


@attrs.frozen
class SendRefused:
    """The network will never take it."""

    id: OutboundId
    part: int
    at: float
    error: str


@attrs.frozen
class SendUnknown:
    """No answer came: it may have arrived. `keyed`: the network takes our id, so that sending again cannot double it."""

    id: OutboundId
    part: int
    at: float
    error: str
    keyed: bool


@attrs.frozen
class ChannelDown:
    """The channel cannot send now; it says when it can again."""

    id: OutboundId
    part: int
    at: float
    error: str


@attrs.frozen
class ChannelUp:
    at: float


@attrs.frozen
class LetterRetried:
    """Somebody wants a dead letter tried again."""

    id: OutboundId
    at: float


@attrs.frozen
class LetterDropped:
    """Somebody has seen a dead letter, or one that the chat may have twice."""

    id: OutboundId


# --- errands, hand-offs, memory


@attrs.frozen
class ErrandEnded:
    """An errand has its answer. `told`: the model knows it already. `promises`: what it owes other journals, or this chat."""

    id: ErrandId
    at: float
    text: str
    tainted: bool = False
    attachments: tuple[Attachment, ...] = ()
    told: bool = False
    promises: tuple[Owed, ...] = ()
    goes_on: Errand | None = None
    """What it started and left running."""
    usage: Usage = Usage()
    """Of the model calls that no turn has made; `model` made them."""
    model: str = ""


@attrs.frozen
class Handed:
    """A message for this chat from elsewhere. `origin`: the session that hears if it cannot be delivered, empty for none."""

    id: str
    text: str
    at: float
    attachments: tuple[Attachment, ...] = ()
    origin: str = ""
    buttons: tuple[Button, ...] = ()


@attrs.frozen
class PaidTo:
    """The other journal has it."""

    id: str


@attrs.frozen
class ConsolidationDue:
    at: float
    end: int
    """Exchanges before this ordinal may go to memory."""


@attrs.frozen
class Consolidated:
    """Memory has everything before ordinal `cursor`. Its word counts in every state."""

    at: float
    cursor: int
    usage: Usage = Usage()
    model: str = ""


@attrs.frozen
class ConsolidationFailed:
    at: float
    reason: str
    usage: Usage = Usage()
    model: str = ""


FromOutside = Received | Commanded | Handed | Woke | Opened | DrainAsked
ModelEvent = ModelAnswered | ModelFailed | ContextFull
TurnEvent = ModelEvent | MessageAsked | CallEnded | DeadlinePassed | TurnEmptied
SendEnded = SplitInto | PartDelivered | SendFailed | SendRefused | SendUnknown | ChannelDown
DeliveryEvent = SendEnded | ChannelUp | LetterRetried | LetterDropped
MemoryEvent = ConsolidationDue | Consolidated | ConsolidationFailed
Event = FromOutside | TurnEvent | DeliveryEvent | ErrandEnded | PaidTo | MemoryEvent
