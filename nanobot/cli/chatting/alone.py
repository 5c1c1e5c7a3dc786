"""A chat where no gateway runs: configuration, lock, log and house, opened in this process. The one place that opens them."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn

import attrs
import trio

from nanobot import log
from nanobot.cli.chatting.request import ChatRequest
from nanobot.cli.chatting.sitting import USER, media_of, next_id
from nanobot.cli.terminal import Opened, opened
from nanobot.daemon import lock
from nanobot.errors import ConfigError, InUse
from nanobot.gateway.house import House, open_house
from nanobot.messages import Attachment, Inbound, MessageId, Principal, SessionKey
from nanobot.providers.registry import select
from nanobot.session import events as ev
from nanobot.session.ports import DeliveryEnd, Outlet, Progress
from nanobot.session.registry import SessionFailed
from nanobot.session.state import Pending, Session

DRAIN_S = 0.0
"""Seconds. A turn that runs when the chat is left is put aside at once: who leaves does not want to wait. The next chat goes on
with it."""
LOOK_S = 1.0
MOST_OPENED = 5
"""Times. What is unfinished is taken up at each; a turn that crashes twice is ended by the session itself."""

NO_GATEWAY = "no gateway runs here; it is sent when one does"


@attrs.frozen
class Alone:
    """A Sitting; see the module."""

    house: House
    instance: Opened
    key: SessionKey
    found: Session
    """As it was left; what was unfinished is being taken up."""

    @property
    def media(self) -> Path:
        return media_of(self.instance.places, self.key)

    @property
    def model(self) -> str:
        try:
            return self.house.mind.describe(self.found.model)
        except ConfigError as error:
            return str(error)

    @property
    def warnings(self) -> tuple[str, ...]:
        return self.instance.warnings

    @property
    def reachable(self) -> bool:
        return True

    async def say(self, text: str, attachments: tuple[Attachment, ...] = (), message: MessageId | None = None) -> None:
        """Raises: InUse, JournalError, SessionFailed, DiskFull."""
        principal = Principal("cli", "default", self.key.chat, USER, owner=True)
        await self.house.deliver(Inbound(message or next_id(), self.key, principal, text, self.house.clock(), attachments))

    async def keep(self, awaited: Callable[[], bool]) -> None:
        await keep_alive(self, awaited)

    def farewell(self, *, busy: bool) -> str:
        return ""  # that a turn was put aside is a record, and told as such


async def keep_alive(sitting: Alone, awaited: Callable[[], bool]) -> NoReturn:
    """A session that ends while somebody waits for it is opened again, a few times, and then it is said that it failed.

    Runs until cancelled. Raises: SessionFailed, InUse, JournalError.
    """
    opened = 0
    while True:
        await trio.sleep(LOOK_S)
        if awaited() and str(sitting.key) not in sitting.house.registry.live():
            opened += 1
            if opened > MOST_OPENED:
                raise SessionFailed(f"session {sitting.key.short} fails again and again; the log says why")
            await sitting.house.registry.open(sitting.key)


@attrs.frozen
class Only:
    """Outlet and watcher of one session. Another that a message to it opens is not shown: what it has to say waits."""

    key: str
    outlet: Outlet
    watcher: Callable[[str, Progress], None]

    async def send(self, session: Session, pending: Pending, part: int) -> DeliveryEnd:
        if session.key == self.key:
            return await self.outlet.send(session, pending, part)
        return ev.ChannelDown(pending.outbound.id, part, time.time(), NO_GATEWAY)

    def watch(self, key: str, progress: Progress) -> None:
        if key == self.key:
            self.watcher(key, progress)


def configured(request: ChatRequest) -> Opened:
    """The configuration, and that a model can be had with it. Raises: ConfigError."""
    instance = opened(request.config)
    if request.workspace is not None:
        workspace = str(request.workspace.expanduser().absolute())
        defaults = attrs.evolve(instance.config.agents.defaults, workspace=workspace)
        agents = attrs.evolve(instance.config.agents, defaults=defaults)
        instance = attrs.evolve(instance, config=attrs.evolve(instance.config, agents=agents))
    select(instance.config, os.environ)
    return instance


@asynccontextmanager
async def sit_down(
    request: ChatRequest, instance: Opened, outlet: Outlet, watch: Callable[[str, Progress], None]
) -> AsyncIterator[Alone]:
    """The house with the session open, until the end of the block. Raises: InUse, JournalError, OSError."""
    only = Only(str(request.key), outlet, watch)
    with lock.shared(instance.places) as held, log.opened(instance.places.logs, stderr=request.logs):
        async with open_house(
            instance.config,
            instance.places,
            os.environ,
            only,
            only.watch,
            resume_all=False,
            drain_s=DRAIN_S,
            inherit_fds=(held,),
        ) as house:
            house.servers.begin()
            try:
                found = await house.registry.open(request.key)
            except InUse as exc:
                raise InUse(f"session {request.key.short}", exc.holder) from exc
            yield Alone(house, instance, request.key, found)
