"""A whole house talking to a scripted model service: what the product does between a message and its reply."""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import attrs
import trio

from nanobot.agent.questions import Order
from nanobot.config.load import load
from nanobot.config.paths import Places, places
from nanobot.config.schema import Config
from nanobot.gateway.house import House, open_house
from nanobot.messages import Attachment, Inbound, MessageId, Outbound, Principal, SessionKey
from nanobot.session import events as ev
from nanobot.session.ports import Adopted, DeliveryEnd, Progress
from nanobot.session.state import Pending, Session
from nanobot.wire import JsonObject
from tests.fakes.llm import ModelServer, Script, model_server

KEY = SessionKey("cli", "direct")
ME = Principal("cli", "default", "direct", "me", owner=True)
_ids = count(1)


Network = Callable[[Session, Pending, int], Awaitable[DeliveryEnd | None]]


async def working(_session: Session, _pending: Pending, _part: int) -> None:
    """A network that delivers everything."""


@attrs.define(eq=False)
class Talk:
    """One chat: say something, get the reply."""

    house: House
    server: ModelServer
    place: Path
    config: Config = Config()
    progress: list[Progress] = attrs.field(factory=list)
    replies: list[Outbound] = attrs.field(factory=list)
    network: Network = working
    """How it fares with a message, where it is not simply delivered."""
    _news: trio.Event = attrs.field(factory=trio.Event)

    async def say(self, text: str, *attachments: Attachment, key: SessionKey = KEY) -> Outbound:
        """The reply that answers this message."""
        message = await self.tell(text, *attachments, key=key)
        return await self.reply_to(message)

    async def tell(self, text: str, *attachments: Attachment, key: SessionKey = KEY) -> MessageId:
        """Only hand the message over; it is on disk."""
        message = MessageId(f"m{next(_ids)}")
        await self.house.deliver(Inbound(message, key, ME, text, time.time(), attachments))
        return message

    async def reply_to(self, message: MessageId) -> Outbound:
        with trio.fail_after(20):
            while True:
                for reply in self.replies:
                    if message == reply.reply_to or message in reply.also_answers:
                        return reply
                await self.news()

    async def news(self) -> None:
        if self._news.is_set():  # or several who wait would lose each other's
            self._news = trio.Event()
        await self._news.wait()

    def wake(self) -> None:
        """Something happened that `until` may wait for."""
        self._news.set()

    async def until(self, fact: Callable[[], bool]) -> None:
        with trio.fail_after(20):
            while not fact():
                await self.news()

    @property
    def session(self) -> Session:
        return next(p.session for p in reversed(self.progress) if isinstance(p, Adopted))

    async def send(self, session: Session, pending: Pending, part: int) -> DeliveryEnd:
        if (end := await self.network(session, pending, part)) is not None:
            return end
        self.replies.append(pending.outbound)
        self._news.set()
        return ev.PartDelivered(pending.outbound.id, part, time.time())

    def watch(self, _key: str, progress: Progress) -> None:
        self.progress.append(progress)
        self._news.set()


def configured(
    place: Path,
    wire: str,
    base: str,
    owners: Sequence[str] = (),
    tools: JsonObject | None = None,
    *,
    memory: JsonObject | None = None,
    **defaults: Any,
) -> Places:
    """A data directory whose configuration points at `base`. Memory, which asks the model too, is off but for what is given."""
    file = place / "config.json"
    agent = {"provider": wire, "model": "m", "workspace": str(place / "workspace"), "retryDelays": [0.01, 0.01], **defaults}
    sections = {wire: {"apiKey": "k-secret", "apiBase": base}}
    root = {"configVersion": 1, "agents": {"defaults": agent}, "providers": sections, "gateway": {"owners": [*owners]}}
    root |= {"tools": tools or {}, "memory": memory or {"consolidate": False}}
    file.write_text(json.dumps(root))
    return places(file)


@asynccontextmanager
async def talking(
    place: Path,
    script: Script,
    *,
    wire: str = "openai",
    base: str = "",
    orders: Mapping[str, Order] | None = None,
    owners: Sequence[str] = (),
    tools: JsonObject | None = None,
    memory: JsonObject | None = None,
    **defaults: Any,
) -> AsyncIterator[Talk]:
    """A house on that wire for as long as the block lasts. Leaving checks every request that was made."""
    async with model_server(script) as server:
        where = configured(place, wire, base or server.base, owners, tools, memory=memory, **defaults)
        talk = Talk(None, server, place)  # type: ignore[arg-type]  # the house needs its outlet first
        server.on_request = lambda _asked: talk.wake()
        config = talk.config = load(where.config, {}).config
        environ = {"PATH": os.environ["PATH"]}
        async with open_house(config, where, environ, talk, talk.watch, resume_all=True, drain_s=5, orders=orders) as talk.house:
            yield talk
