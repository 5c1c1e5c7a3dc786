"""Records: what has happened, one fact each. A journal line holds the records of one step.

`apply` books them without policy, so each says everything that follows from it. Adding a record or a field raises
`FORMAT` in codec.py; no record that was ever released goes away.
"""

from __future__ import annotations

import attrs

from nanobot.messages import (
    Attachment,
    CallId,
    CallState,
    ErrandId,
    MessageId,
    Note,
    Outbound,
    OutboundId,
    Reply,
    Said,
    TurnEnd,
    TurnNumber,
    Usage,
)
from nanobot.session.state import Errand, Owed, Span, StopReason


@attrs.frozen
class Accepted:
    """A message is in the inbox, and its id in the dedupe window."""

    said: Said


@attrs.frozen
class Noticed:
    """A message that does not join the conversation (a command, one that was refused) is in the dedupe window."""

    id: MessageId
    at: float
    refused: str = ""
    """Why it was refused, empty for a command."""


@attrs.frozen
class TurnStarted:
    """A turn takes `inputs` from the inbox."""

    turn: TurnNumber
    principal: str
    inputs: tuple[MessageId, ...]
    at: float


@attrs.frozen
class Joined:
    """Messages from the inbox join the running turn before its next model call."""

    turn: TurnNumber
    inputs: tuple[MessageId, ...]


@attrs.frozen
class Answered:
    """The model answered; calls of `reply` stand as they are (started ones before their effect)."""

    turn: TurnNumber
    reply: Reply


@attrs.frozen
class CallsStarted:
    turn: TurnNumber
    calls: tuple[CallId, ...]


@attrs.frozen
class CallSettled:
    """A call has its outcome."""

    turn: TurnNumber
    call: CallId
    state: CallState
    result: str
    full: str | None = None
    attachments: tuple[Attachment, ...] = ()
    tainted: bool = False
    approval: str | None = None


@attrs.frozen
class StepBegun:
    """The turn makes its next model call. `note` is a line of ours for the model, `last_call` why it gets no tools.

    The counters are those of `Turn`, as they stand from now on.
    """

    turn: TurnNumber
    step: int
    note: Note | None = None
    last_call: str = ""
    empties: int = 0
    nameless: int = 0
    lengths: int = 0
    trimmed: bool = False


@attrs.frozen
class StopAsked:
    """The turn is being stopped. `settled` are waiting messages that the stop settles."""

    turn: TurnNumber
    why: StopReason
    by: MessageId | None = None
    settled: tuple[MessageId, ...] = ()


@attrs.frozen
class TurnEnded:
    turn: TurnNumber
    end: TurnEnd
    at: float
    answer: str = ""
    """Our own text where the turn did not end with the model's answer."""


@attrs.frozen
class Queued:
    """An outbound message is promised. `turn`: a call of this turn, which goes on, said it."""

    outbound: Outbound
    turn: TurnNumber | None = None


@attrs.frozen
class PartsFixed:
    id: OutboundId
    parts: tuple[str, ...]


@attrs.frozen
class Sending:
    """An attempt begins; durable before it does."""

    id: OutboundId
    part: int
    attempt: int
    doubted: bool = False


@attrs.frozen
class Delivered:
    id: OutboundId
    part: int
    at: float
    receipt: str = ""


@attrs.frozen
class SendDeferred:
    """An attempt failed; the next is at `retry_at`, or when the channel is up (`retry_at` None)."""

    id: OutboundId
    retry_at: float | None
    error: str
    waited_s: float
    doubted: bool = False


@attrs.frozen
class DeadLettered:
    id: OutboundId
    reason: str
    at: float
    perhaps_delivered: bool = False


@attrs.frozen
class LetterRetried:
    """A dead letter is at the end of the outbox again."""

    id: OutboundId


@attrs.frozen
class LetterDropped:
    """A dead letter, or one that may have arrived twice, is not listed any more."""

    id: OutboundId


@attrs.frozen
class CursorMoved:
    """Exchanges before ordinal `to` have left the prompt; they stay in older segments."""

    to: int
    why: str
    """`jump`, `too_long`, `memory`."""


@attrs.frozen
class Cleared:
    """A new conversation begins: everything before it has left the prompt."""

    at: float


@attrs.frozen
class Undone:
    """An exchange was taken out of the prompt."""

    turn: TurnNumber


@attrs.frozen
class ModelChosen:
    model: str | None


@attrs.frozen
class Trusted:
    """The owner takes for harmless what turns before `before` brought."""

    before: TurnNumber
    at: float


@attrs.frozen
class ErrandOpened:
    errand: Errand


@attrs.frozen
class ErrandStarted:
    """`by`: the message that said so; empty where nobody had to."""

    id: ErrandId
    by: MessageId = MessageId("")


@attrs.frozen
class ErrandClosed:
    id: ErrandId
    how: str
    """`ended`, `denied`, `expired`, `stopped`, `cut` by an end of nanobot, `unknown_after_crash`."""
    usage: Usage = Usage()
    """Of model calls that no turn has made; `model` made them."""
    model: str = ""


@attrs.frozen
class Promised:
    owed: Owed


@attrs.frozen
class Paid:
    id: str


@attrs.frozen
class ConsolidationStarted:
    span: Span


@attrs.frozen
class ConsolidationEnded:
    how: str
    """`done`, `failed`, `preempted`."""
    usage: Usage = Usage()
    model: str = ""


@attrs.frozen
class Restarted:
    """The session was opened with something unfinished. `crashed` false: a drain had put it aside."""

    at: float
    crashed: bool


@attrs.frozen
class Draining:
    at: float


@attrs.frozen
class Suspended:
    """A drain has put the turn aside: what finished is in it, what ran is settled."""

    turn: TurnNumber


OfInputs = Accepted | Noticed
OfTurn = TurnStarted | Joined | Answered | CallsStarted | CallSettled | StepBegun | StopAsked | TurnEnded
OfOutbox = Queued | PartsFixed | Sending | Delivered | SendDeferred | DeadLettered | LetterRetried | LetterDropped
OfPrompt = CursorMoved | Cleared | Undone | ModelChosen | Trusted
Beside = ErrandOpened | ErrandStarted | ErrandClosed | Promised | Paid | ConsolidationStarted | ConsolidationEnded
OfProcess = Restarted | Draining | Suspended
Record = OfInputs | OfTurn | OfOutbox | OfPrompt | Beside | OfProcess
