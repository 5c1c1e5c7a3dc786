"""What a model call has used up, and on whose account. Frozen values; what other parts say to the meter."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Protocol

import attrs

from nanobot.messages import MessageId, Usage
from nanobot.session.state import Session, Turn

JOB = "job:"
"""How the ids of scheduled inputs begin: `job:ID:SLOT`."""


class Kind(enum.StrEnum):
    """What a call was made for."""

    TURN = "turn"
    SUBAGENT = "subagent"
    MEMORY = "memory"
    """Consolidation."""
    HEARTBEAT = "heartbeat"
    """The decision whether there is anything to do; what is done then is a turn."""


@attrs.frozen
class Spent:
    """One model call. (session, kind, turn, step) is its name: booked twice, it counts once."""

    session: str
    """`str(SessionKey)`."""
    turn: int
    step: int
    at: float
    """Seconds since the epoch."""
    model: str
    """As the service calls it."""
    usage: Usage
    kind: Kind = Kind.TURN
    principal: str = ""
    """On whose account: `str(Principal)`, empty for nobody's."""
    job: str = ""
    """The scheduled work that it was made for, empty for none."""

    @property
    def background(self) -> bool:
        return is_background(self.kind, self.job)


def beside(session: str, model: str, usage: Usage, kind: Kind, at: float, *, principal: str = "", job: str = "") -> Spent:
    """A call that belongs to no turn. Its time is its name: two of a session's never end in one millisecond."""
    return Spent(session, 0, int(at * 1000), at, model, usage, kind, principal, job)


def is_background(kind: Kind, job: str) -> bool:
    """Whether nobody waits for it: jobs, the heartbeat, consolidation."""
    return bool(job) or kind in (Kind.MEMORY, Kind.HEARTBEAT)


def job_of(inputs: Sequence[MessageId]) -> str:
    """The id of the job whose input opened a turn, empty where it was none."""
    prefix, _, rest = (inputs[0] if inputs else "").partition(":")
    job, colon, _slot = rest.partition(":")
    return job if f"{prefix}:" == JOB and colon else ""


class Meter(Protocol):
    """The house's account of model calls (meter.py). Neither function blocks or raises."""

    def spent(self, spent: Spent) -> None:
        """Book a call that has been made."""
        ...

    def refusal(self, session: Session, turn: Turn, kind: Kind = Kind.TURN) -> str:
        """Why a turn may make no model call now, for who waits for its answer; empty if it may."""
        ...


@attrs.frozen
class Uncounted:
    """Where nobody counts."""

    def spent(self, spent: Spent) -> None:
        pass

    def refusal(self, session: Session, turn: Turn, kind: Kind = Kind.TURN) -> str:
        return ""
