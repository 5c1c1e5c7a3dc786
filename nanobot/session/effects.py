"""Effects: what a session wants done, as data. They begin after the line that asked for them is on disk.

The actor performs each in a child task and reports back as an event. What an effect needs beyond its fields is in the
session as it stands when the effect begins.
"""

from __future__ import annotations

import attrs

from nanobot.messages import CallId, ErrandId, OutboundId, TurnNumber
from nanobot.session.state import Owed, Span


@attrs.frozen
class CallModel:
    turn: TurnNumber
    step: int


@attrs.frozen
class RunCalls:
    """Run these calls of the turn's last answer beside each other; each reports its own end."""

    turn: TurnNumber
    calls: tuple[CallId, ...]


@attrs.frozen
class CancelTurn:
    turn: TurnNumber


@attrs.frozen
class Send:
    """Attempt one part of the message at the head of the outbox."""

    id: OutboundId
    part: int


@attrs.frozen
class RunErrand:
    id: ErrandId


@attrs.frozen
class CancelErrand:
    id: ErrandId


@attrs.frozen
class Pay:
    owed: Owed


@attrs.frozen
class Consolidate:
    span: Span


@attrs.frozen
class CancelConsolidation:
    pass


@attrs.frozen
class CutJournal:
    """Something left the prompt: the next segment begins without it."""


Effect = (
    CallModel | RunCalls | CancelTurn | Send | RunErrand | CancelErrand | Pay | Consolidate | CancelConsolidation | CutJournal
)
