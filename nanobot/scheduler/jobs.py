"""What a scheduled job is: when it is due, what is said then, where, and in whose name. Frozen values; times are UTC.

A *slot* is a moment at which a job is due, in whole milliseconds since the epoch. A run belongs to one slot, and (job, slot)
is unique for good (runs.py).
"""

from __future__ import annotations

import enum
from typing import NewType

import attrs

from nanobot.config.schema import CatchUp

JobId = NewType("JobId", str)
"""Eight hexadecimal digits."""
Slot = NewType("Slot", int)
"""Milliseconds since the epoch."""


@attrs.frozen
class At:
    """Once."""

    at_ms: int


@attrs.frozen
class Every:
    """Due at `anchor_ms + k * every_ms` for every k ≥ 1: runs that take long and restarts shift nothing."""

    every_ms: int
    anchor_ms: int


@attrs.frozen
class Cron:
    """Due when the clock of a zone shows what the five fields say (slots.py: what of hours that a zone skips or repeats)."""

    expr: str
    zone: str = ""
    """IANA name; empty: `agents.defaults.timezone`, else the machine's."""


Schedule = At | Every | Cron


@attrs.frozen
class Job:
    id: JobId
    name: str
    message: str
    """What is said to the assistant when it is due."""
    schedule: Schedule
    principal: str
    """Who made it: `str(Principal)`. It has that one's rights, as scheduled work."""
    session: str = ""
    """Chat in whose conversation it runs and answers; empty: a conversation of its own, `cron:ID`, which is sent nowhere."""
    enabled: bool = True
    tainted: bool = False
    """It was made while text of strangers stood in the conversation."""
    delete_after_run: bool = False
    catch_up: CatchUp | None = None
    """This and what follows: None means `gateway.cron`."""
    horizon_s: float | None = None
    deadline_s: float | None = None
    tokens: int | None = None
    created_ms: int = 0
    updated_ms: int = 0
    ran_ms: int = 0
    """When the file says that it ran last: for jobs that came from HKUDS/nanobot, of whose slots none was committed here."""

    @property
    def key(self) -> str:
        """Of the session that it runs in."""
        return self.session or f"cron:{self.id}"


class Outcome(enum.StrEnum):
    """What became of a slot. All but `RUNNING` are final."""

    RUNNING = "running"
    OK = "ok"
    FAILED = "failed"
    """The turn ended without an answer; `error` says why."""
    CRASHED = "crashed"
    """nanobot died in the middle of it, and it was not taken up again."""
    BUSY = "skipped: busy"
    """Its chat was not free in time."""
    MISSED = "skipped: missed"
    """nanobot did not run then, and the job does not make up for it."""
    BARRED = "skipped: not let in"
    """Who made it may not speak here any more."""
    CAPPED = "skipped: budget"
    """A cap of `usage.caps` was reached."""


@attrs.frozen
class Run:
    """One slot's record."""

    job: JobId
    slot: Slot
    outcome: Outcome
    due_ms: int
    """When it was committed."""
    started_ms: int | None = None
    ended_ms: int | None = None
    tokens: int = 0
    error: str = ""
    by_hand: bool = False
    """Somebody wanted it now: it is no slot of the schedule, and shifts none."""
    session: str = ""
    """Where it ran: a key."""
