"""What a live session needs from the rest of the house. The session owns these ports; others fill them.

Each method is performed in a task of the session's, under its scope: cancelling it must leave nothing behind. Expected
failures are events, not exceptions; what is raised all the same is a bug and ends the actor, which is opened again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import attrs

from nanobot.journal.segment import Owes
from nanobot.messages import CallId, TurnNumber
from nanobot.session import events as ev
from nanobot.session.records import Record
from nanobot.session.state import Errand, Owed, Pending, Session, Span, Turn
from nanobot.wire import Json


class Log(Protocol):
    """The open journal of one session (journal/store.py)."""

    @property
    def oversize(self) -> bool: ...

    async def append(self, records: Sequence[Json], *, owes: Owes, at: float, snapshot_after: Callable[[], Json]) -> None:
        """Durable when it returns. Raises: JournalUnwritable, with nothing written: the same line may be tried again."""
        ...

    async def cut(self, snapshot: Json, *, owes: Owes, at: float) -> None:
        """Raises: JournalUnwritable."""
        ...

    async def sleep(self, *, owes: Owes, at: float) -> None:
        """Raises: JournalUnwritable."""
        ...


class Mind(Protocol):
    """The model's side of a turn: context, call, retries."""

    async def think(self, session: Session, turn: Turn, show: Show) -> ev.ModelAnswered | ev.ModelFailed | ev.ContextFull: ...


class Hands(Protocol):
    """The tools."""

    async def run(self, session: Session, turn: Turn, call: CallId, show: Show) -> ev.CallEnded: ...


class Outlet(Protocol):
    """The way to the chat."""

    async def send(self, session: Session, pending: Pending, part: int) -> DeliveryEnd: ...


class Errands(Protocol):
    """What runs beside turns."""

    async def run(self, session: Session, errand: Errand) -> ev.ErrandEnded: ...

    async def pay(self, session: Session, owed: Owed) -> ev.PaidTo: ...

    async def consolidate(self, session: Session, span: Span) -> ev.Consolidated | ev.ConsolidationFailed: ...


DeliveryEnd = ev.SplitInto | ev.PartDelivered | ev.SendFailed | ev.SendRefused | ev.SendUnknown | ev.ChannelDown


# --- what may be watched: never stored, never waited for


@attrs.frozen
class Shown:
    """Text of the model as it arrives. `void`: what was shown of this answer is withdrawn, and why."""

    turn: TurnNumber
    text: str = ""
    thinking: str = ""
    void: str = ""


@attrs.frozen
class Working:
    """A call under way has something to say."""

    turn: TurnNumber
    call: CallId
    line: str


@attrs.frozen
class Waiting:
    """Something waits: a retry of the model, a disk that refuses. `until` in seconds since the epoch, None if unknown."""

    what: str
    until: float | None = None


@attrs.frozen
class Adopted:
    """A line is on disk, and this is the session after it."""

    records: tuple[Record, ...]
    session: Session


Progress = Shown | Working | Waiting | Adopted
Show = Callable[[Progress], None]
"""Called on the loop; must not block or raise."""


@attrs.frozen
class Services:
    """All that an actor is given."""

    mind: Mind
    hands: Hands
    outlet: Outlet
    errands: Errands
    clock: Callable[[], float]
    """Seconds since the epoch."""
    turn_deadline: float
    """Seconds for a whole turn."""
    keyed: Callable[[str], bool] = lambda _session: True
    """Whether the network of a session takes our ids, so that sending again cannot double a message. A terminal counts as one:
    better shown twice than not at all."""
