"""Channels in the real house (journals on disk, the built-in demo for a model), with the real supervisor and access."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from loguru import logger

from nanobot.channels.outlet import Channels
from nanobot.channels.port import NotTaken
from nanobot.config.paths import Places
from nanobot.config.schema import AgentDefaults, AgentsConfig, ChannelsConfig, Config, GatewayConfig, RestartConfig
from nanobot.errors import DiskFull, InUse, JournalError
from nanobot.gateway.house import open_house
from nanobot.messages import Inbound
from nanobot.security.access import Access
from nanobot.security.pairing import Pairing
from nanobot.session.registry import SessionFailed
from nanobot.supervise.supervisor import Supervisor


@asynccontextmanager
async def open_channels(
    place: Path, restarts: RestartConfig, config: ChannelsConfig | None = None
) -> AsyncIterator[tuple[Channels, Supervisor]]:
    """None of them yet; what is added is up for the block."""
    defaults = AgentDefaults(model="demo", workspace=str(place / "workspace"))
    whole = Config(agents=AgentsConfig(defaults), channels=config or ChannelsConfig())
    places = Places(place / "config.json", named=True)
    supervisor = Supervisor(time.time)
    access = Access(Pairing(place / "pairing.json", logger.error), time.time, GatewayConfig())
    channels = Channels(whole.channels, access, supervisor, places, time.time, restarts)
    opened = open_house(
        whole, places, {}, channels, channels.watch, resume_all=True, drain_s=5.0, owns=access.owns, keyed=channels.keyed
    )
    async with opened as house, trio.open_nursery() as nursery:

        async def deliver(inbound: Inbound) -> None:
            try:
                await house.deliver(inbound)
            except (InUse, JournalError, SessionFailed, DiskFull) as exc:
                raise NotTaken(str(exc), code="not_written") from exc

        channels.deliver = deliver
        channels.on_up = lambda name: house.registry.wake_channel(name, time.time())
        await nursery.start(supervisor.run)
        yield channels, supervisor
        nursery.cancel_scope.cancel()
