"""The edge between a channel's own code and the rest: what it may raise passes, anything else is a bug of that channel.

A bug ends at most the channel's life, never the session, the chat or the task that asked it for something. Here, and in the
supervisor, is where a channel's unforeseen errors are caught; each is in the log with its traceback.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from loguru import logger

from nanobot.errors import NanobotError

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)


class ChannelBug(NanobotError):
    """A channel raised what its contract does not name."""


async def guarded(name: str, work: Callable[[], Awaitable[T]]) -> T:
    """Run code of the channel `name`. Raises: ChannelBug, and NanobotErrors of the channel as they are."""
    try:
        return await work()
    except NanobotError:
        raise
    except Exception as exc:  # the edge of foreign code: reported, and typed from here on
        raise _bug(name, exc) from exc


def guarded_sync(name: str, work: Callable[[], T]) -> T:
    """As `guarded`."""
    try:
        return work()
    except NanobotError:
        raise
    except Exception as exc:  # as above
        raise _bug(name, exc) from exc


def leaf(group: BaseExceptionGroup[E]) -> E:
    """The first of what has ended something that ran beside others."""
    one = group.exceptions[0]
    return leaf(one) if isinstance(one, BaseExceptionGroup) else one


def _bug(name: str, exc: Exception) -> ChannelBug:
    logger.opt(exception=exc).error("channel {} has a bug", name)
    return ChannelBug(f"channel {name} has a bug: {type(exc).__name__}: {exc}")
