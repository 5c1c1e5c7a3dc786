"""When a child that ended is started again. Pure: the history of its exits in, a decision out.

* Each failure in a row doubles the wait, from `first_s` to `longest_s`. A wait is drawn from the upper half of that: so waits
  grow whatever is drawn, and children that failed together come back apart.
* The other side's own time (`retry_after`) is waited for at least.
* `park_after` failures in a row park it. A life that was up for `healthy_s` ends the row: the failure after it is the first of
  a new one.
* What only a person can change (auth, config) parks at once and for good. What may pass by itself is tried again every
  `slow_retry_s` while parked, so that a night without a network ends by itself. A bug counts among these: one that is met ten
  times in a row is met because of what the network sends, and that changes.
* What is stuck stays parked: only whoever sees that it is gone may start it.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

import attrs

from nanobot.config.schema import RestartConfig
from nanobot.errors import NanobotError


class Cause(enum.StrEnum):
    """Why a child ended, in its own word where it has one; the gravest last, which counts where there are several."""

    TRANSIENT = "transient"
    RATE_LIMITED = "rate_limited"
    RETURNED = "returned"
    """It ended without an error, which is a failure too: it should live."""
    BUG = "bug"
    """Anything else it raised."""
    AUTH = "auth"
    CONFIG = "config"
    STUCK = "stuck"
    """Something of it does not end: it is never started a second time."""


class ChildFailed(NanobotError):
    """A child's own word on why it ends. `retry_after`: seconds that the other side asked for."""

    def __init__(self, text: str, *, cause: Cause = Cause.TRANSIENT, retry_after: float | None = None) -> None:
        self.cause, self.retry_after = cause, retry_after
        super().__init__(text)


class Policy(RestartConfig):
    """The figures. Their one home is the configuration."""

    @classmethod
    def of(cls, config: RestartConfig) -> Policy:
        return cls(*attrs.astuple(config))


@attrs.frozen
class Exit:
    """The end of one life."""

    at: float
    """Seconds since the epoch."""
    cause: Cause
    error: str
    retry_after: float | None = None
    """Seconds that the other side asked for."""
    healthy_s: float = 0.0
    """Seconds that it was up."""


@attrs.frozen
class Wait:
    """Start it again after so many seconds."""

    seconds: float


@attrs.frozen
class Park:
    """Start it when somebody asks for it, and after `retry_s` seconds; None: not by itself."""

    retry_s: float | None


def decide(policy: Policy, exits: Sequence[Exit], jitter: float) -> Wait | Park:
    """What follows from the last of `exits` (at least one; the last `park_after` are enough). jitter: drawn from [0, 1)."""
    last = exits[-1]
    if last.cause in (Cause.AUTH, Cause.CONFIG, Cause.STUCK):
        return Park(None)
    asked_s = last.retry_after or 0.0
    in_a_row = next((n for n, one in enumerate(reversed(exits), 1) if one.healthy_s >= policy.healthy_s), len(exits))
    if in_a_row >= policy.park_after:
        return Park(max(policy.slow_retry_s, asked_s))
    return Wait(max(min(policy.first_s * 2.0 ** (in_a_row - 1), policy.longest_s) * (1 + jitter) / 2, asked_s))
