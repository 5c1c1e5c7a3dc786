"""What the tests of Telegram share: the real channel and SDK, on the runner, against the fake server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from nanobot.channels.port import Part
from nanobot.channels.telegram.channel import TelegramChannel
from nanobot.config.schema import GatewayConfig, Secret, TelegramConfig
from nanobot.messages import Inbound, Outbound, OutboundId, SessionKey
from nanobot.security.access import Access
from nanobot.security.pairing import Pairing
from nanobot.session import events as ev
from nanobot.session.state import Session
from nanobot.supervise.policy import ChildFailed
from tests.channels.kit import Kit, pending, running
from tests.fakes.telegram import NOW, FakeTelegram, fake_telegram

POLL_S, ANSWER_S = 20.0, 1.0


@attrs.define(eq=False)
class Chat:
    """The channel, connected."""

    fake: FakeTelegram
    kit: Kit
    channel: TelegramChannel

    async def taken(self, count: int = 1) -> list[Inbound]:
        """So many deliveries, when they are there and confirmed."""
        await self.fake.until(lambda: len(self.kit.taken) >= count and not self.fake.updates)
        return self.kit.taken

    async def send(self, text: str = "hello", part: int = 0, key: str = "telegram:default:42", **more: object) -> ev.Event:
        return await self.kit.channels.send(Session(key), pending(text, **more), part)  # type: ignore[arg-type]

    async def ended(self) -> ChildFailed:
        """What has ended it."""
        with trio.fail_after(20):
            error = await self.kit.end()
        assert isinstance(error, ChildFailed)
        return error

    async def again(self) -> None:
        """Its next life, as the supervisor would give it."""
        self.kit.up.clear()
        self.kit.supervisor.ends.clear()
        self.kit.supervisor.again("telegram")
        await self.fake.until(lambda: "telegram" in self.kit.up)


def config(fake: FakeTelegram, **more: Any) -> TelegramConfig:
    given = {"token": Secret(fake.token), "api_base": fake.url, "poll_s": POLL_S, **more}
    return TelegramConfig(enabled=True, **given)


@asynccontextmanager
async def connected(
    place: Path, fake: FakeTelegram | None = None, *, owners: tuple[str, ...] = (), **more: Any
) -> AsyncIterator[Chat]:
    """Up. With a fake of the test's own it may have been told things before; with owners, the house's own access judges."""
    if fake is None:
        async with fake_telegram() as made, connected(place, made, owners=owners, **more) as chat:
            yield chat
        return
    async with running(place) as kit:
        section = config(fake, **more)
        if owners:
            kit.channels._access = Access(Pairing(place / "pairing.json", print), lambda: NOW, GatewayConfig(owners=owners))
        channel = TelegramChannel(section, ANSWER_S)
        kit.channels.add("telegram", lambda: _remembered(chat, section), section)
        chat = Chat(fake, kit, channel)
        await fake.until(lambda: "telegram" in kit.up or kit.supervisor.ends)
        yield chat


def _remembered(chat: Chat, section: TelegramConfig) -> TelegramChannel:
    chat.channel = TelegramChannel(section, ANSWER_S)
    return chat.channel


def part(text: str, *, key: str = "telegram:default:42", **more: Any) -> Part:
    out = {name: more.pop(name) for name in ("reply_to", "attachments") if name in more}
    return Part(SessionKey.parse(key), Outbound(OutboundId("o1"), text, 0.0, **out), text, **more)
