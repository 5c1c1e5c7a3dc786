"""When a child that ended is started again. Pure: the history of its exits and the time in, a decision out."""

from __future__ import annotations

import enum

from nanobot.errors import NanobotError


class Cause(enum.StrEnum):
    """Why a child ended, in its own word where it has one."""

    TRANSIENT = "transient"
    RATE_LIMITED = "rate_limited"
    AUTH = "auth"
    CONFIG = "config"
    BUG = "bug"
    """Anything else it raised."""
    RETURNED = "returned"
    """It ended without an error, which is a failure too: it should live."""
    STUCK = "stuck"
    """Something of it does not end: it is never started a second time."""


class ChildFailed(NanobotError):
    """A child's own word on why it ends. `retry_after`: seconds that the other side asked for."""

    def __init__(self, text: str, *, cause: Cause = Cause.TRANSIENT, retry_after: float | None = None) -> None:
        self.cause, self.retry_after = cause, retry_after
        super().__init__(text)
