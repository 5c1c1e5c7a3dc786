"""A mark on somebody's message: set when it is on disk, and changed or taken away when its answer has arrived.

Best effort and beside all else: nobody waits for it, what a network refuses is not tried again, and at most `MOST` are under way
in a channel, none while the network wants to be left alone: a burst of messages must not use up what it lets us send. A bug of
the channel ends its life.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial

import trio

from nanobot.channels.edge import ChannelBug, guarded
from nanobot.channels.life import Life
from nanobot.channels.port import ChannelFailed, Reacts, SendLater
from nanobot.errors import NanobotError
from nanobot.messages import MessageId, SessionKey
from nanobot.supervise.policy import Cause

MOST = 8
"""Messages of a channel that are being marked; of more than these the marks are left out."""
MARK_S = 5.0
"""Seconds for one."""


def tell(life: Life, key: SessionKey, messages: Iterable[MessageId | None], *, answered: bool) -> None:
    """Mark them, where the network can."""
    channel = life.channel
    if not isinstance(channel, Reacts) or not life.up or trio.current_time() < life.unmarked_until:
        return
    for message in messages:
        if message and life.marking < MOST:
            life.marking += 1
            life.nursery.start_soon(_mark, life, partial(channel.react, key, message, answered=answered), name=f"mark {message}")


async def _mark(life: Life, work: Callable[[], Awaitable[None]]) -> None:
    try:
        with trio.move_on_after(MARK_S):
            await guarded(life.name, work)
    except ChannelBug as bug:
        life.fail(ChannelFailed(str(bug), cause=Cause.BUG))
    except SendLater as later:
        life.unmarked_until = trio.current_time() + (later.retry_after or MARK_S)
    except NanobotError:
        pass
    finally:
        life.marking -= 1
