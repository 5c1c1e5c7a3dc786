"""What arrives on a channel: who may speak, then the files and what is said in them, on to the bus, back when it is on disk.

It waits for disks, never for a turn. At most `MOST_AT_ONCE` messages of a channel are under way, the next ones wait: the
network keeps them for us. A stranger's answer is best effort, once a minute and chat, a few at a time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

import attrs
import trio

from nanobot.channels import reactions
from nanobot.channels.life import Life
from nanobot.channels.media import Media
from nanobot.channels.port import Arrived, Part
from nanobot.channels.voice import Voice
from nanobot.config.schema import ChannelConfig
from nanobot.errors import NanobotError
from nanobot.messages import Inbound, Outbound, OutboundId, Principal, SessionKey
from nanobot.security.access import OURS, Allowed, Ignored, Strange

MOST_AT_ONCE = 64
"""Deliveries: as many as one line of a journal may hold, so that more at once gain nothing."""
STRANGER_EVERY_S = 60.0
"""Seconds between two answers to a strange chat."""
MOST_STRANGERS = 1000
"""Chats whose last answer is remembered."""
MOST_ANSWERS = 4
"""To strangers, at once: a flood of them must not use up what the network lets us send."""
ANSWER_S = 10.0

Deliver = Callable[[Inbound], Awaitable[None]]


class Access(Protocol):
    """security/access.py."""

    def judge(self, channel: str, arrived: Arrived, config: ChannelConfig) -> Allowed | Strange | Ignored: ...


@attrs.define(eq=False)
class Intake:
    """See the module. One for each channel, for all its lives."""

    config: ChannelConfig
    _access: Access
    _media: Media
    _deliver: Callable[[], Deliver]
    """Asked each time: the composition root sets it after the channels are made."""
    _clock: Callable[[], float]
    _voice: Voice
    _slots: trio.Semaphore = attrs.field(factory=partial(trio.Semaphore, MOST_AT_ONCE), init=False)
    _answered: OrderedDict[SessionKey, float] = attrs.field(factory=OrderedDict, init=False)
    _answering: int = attrs.field(default=0, init=False)

    @property
    def taking(self) -> int:
        """How many deliveries are under way."""
        return MOST_AT_ONCE - self._slots.value

    async def take(self, life: Life, arrived: Arrived) -> None:
        """Raises: NotTaken."""
        async with self._slots:
            match await self._judge(life.name, arrived):
                case Allowed(principal):
                    await self._take(life, arrived, principal)
                case Strange(text):
                    self._answer(life, arrived, text)
                case Ignored():
                    pass

    async def _judge(self, channel: str, arrived: Arrived) -> Allowed | Strange | Ignored:
        """A stranger's first message in private costs a file, so that is done in a thread."""
        judge = partial(self._access.judge, channel, arrived, self.config)
        return await trio.to_thread.run_sync(judge) if arrived.direct and channel not in OURS else judge()

    async def _take(self, life: Life, arrived: Arrived, principal: Principal) -> None:
        key = key_of(life.name, arrived)
        files, text = await self._media.fetch(key, arrived, life.limits.media_bytes)
        text = await self._voice.heard(files, text)
        inbound = Inbound(arrived.id, key, principal, text, self._clock(), files, arrived.tainted, arrived.direct)
        await self._deliver()(inbound)
        reactions.tell(life, key, (arrived.id,), answered=False)

    def _answer(self, life: Life, arrived: Arrived, text: str) -> None:
        key, now = key_of(life.name, arrived), trio.current_time()
        if now - self._answered.get(key, -STRANGER_EVERY_S) < STRANGER_EVERY_S or self._answering >= MOST_ANSWERS or not life.up:
            return
        self._answered[key] = now
        self._answered.move_to_end(key)
        while len(self._answered) > MOST_STRANGERS:
            self._answered.popitem(last=False)
        outbound = Outbound(OutboundId(f"stranger-{arrived.id}"), text, self._clock(), arrived.id)
        self._answering += 1
        life.nursery.start_soon(self._send_answer, life, Part(key, outbound, text), name=f"answer to a stranger on {life.name}")

    async def _send_answer(self, life: Life, part: Part) -> None:
        try:
            await life.send(part, ANSWER_S)
        except NanobotError:  # best effort: the stranger may write again
            pass
        finally:
            self._answering -= 1


def key_of(channel: str, arrived: Arrived) -> SessionKey:
    return SessionKey(channel, arrived.chat, arrived.account, arrived.topic)
