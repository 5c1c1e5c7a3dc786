"""The e-mail channel in a house of its own, between an IMAP and an SMTP server that misbehave on request."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from nanobot.channels.email.channel import EmailChannel
from nanobot.channels.email.quarantine import Quarantine
from nanobot.config.schema import EmailConfig
from nanobot.messages import Outbound, OutboundId, SessionKey
from nanobot.session import events as ev
from tests.channels import mails
from tests.channels.kit import Kit, running
from tests.channels.mails import ANN, PATIENCE_S, send, start, until
from tests.fakes.imap import Imap, imap_server
from tests.fakes.smtp import Smtp, smtp_server

KEY = SessionKey("email", ANN)


@attrs.define
class House:
    imap: Imap
    smtp: Smtp
    kit: Kit
    place: Path

    def config(self, **more: object) -> EmailConfig:
        plain = {"imap_use_ssl": False, "smtp_use_tls": False, "imap_host": "127.0.0.1", "smtp_host": "127.0.0.1"}
        return mails.config(**{**plain, "imap_port": self.imap.port, "smtp_port": self.smtp.port, **more})

    @property
    def quarantine(self) -> Quarantine:
        return Quarantine(self.place / "channels" / "email")

    async def start(self, **more: object) -> EmailChannel:
        seconds = {"idle_s": more.pop("idle_s")} if "idle_s" in more else {}
        return await start(self.kit, self.config(**more), **seconds)  # type: ignore[arg-type]

    async def again(self) -> None:
        """The next life, when this one has ended."""
        with trio.fail_after(PATIENCE_S):
            await self.kit.supervisor.ended.wait()
        self.kit.up.clear()
        self.kit.supervisor.again("email")
        await until(lambda: self.kit.up)


@asynccontextmanager
async def house(place: Path) -> AsyncIterator[House]:
    async with imap_server() as imap, smtp_server() as smtp, running(place) as kit:
        yield House(imap, smtp, kit, place)


def threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("email")]


async def out(house: House, text: str = "hi", **more: Any) -> ev.Event:
    return await send(house.kit, KEY, Outbound(OutboundId("o1"), text, 0.0, **more))
