"""What both ways of chatting stand on: configuration, lock, log, house. The one place of the chat that opens them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from nanobot import log
from nanobot.cli.chatting import lock
from nanobot.cli.chatting.request import ChatRequest
from nanobot.cli.terminal import Opened, opened
from nanobot.errors import InUse
from nanobot.gateway.house import House, open_house
from nanobot.journal import names
from nanobot.messages import Attachment, Inbound, MessageId, Principal, SessionKey
from nanobot.providers.registry import select
from nanobot.session.ports import Outlet, Progress
from nanobot.session.state import Session

DRAIN_S = 5.0
"""Seconds for a turn to end when the chat is left; then it is put aside and the next chat goes on with it."""
USER = "user"
"""Who speaks at the terminal, as HKUDS/nanobot names it."""


@attrs.frozen
class Sitting:
    """A session that is open to the person at the terminal."""

    house: House
    instance: Opened
    key: SessionKey
    found: Session
    """As it was left; what was unfinished is being taken up."""

    def next_id(self) -> MessageId:
        return MessageId(os.urandom(8).hex())

    async def say(self, text: str, attachments: tuple[Attachment, ...] = (), message: MessageId | None = None) -> None:
        """Hand over a message; it is on disk when this returns. Raises: InUse, JournalError, SessionFailed."""
        principal = Principal("cli", "default", self.key.chat, USER, owner=True)
        inbound = Inbound(message or self.next_id(), self.key, principal, text, self.house.clock(), attachments)
        await self.house.deliver(inbound)

    @property
    def media(self) -> Path:
        """Where files of this session are kept; its tools may read there."""
        return self.instance.places.media / names.encode(str(self.key))


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


def on_loop(act: Callable[[int], None]) -> Callable[[int], None]:
    """The same, to be called from any thread and from signal handlers: it acts on the loop, while that runs."""
    token = trio.lowlevel.current_trio_token()

    def tell(what: int) -> None:
        try:
            token.run_sync_soon(act, what)
        except trio.RunFinishedError:
            pass  # there is nothing left to act on

    return tell


@asynccontextmanager
async def sit_down(
    request: ChatRequest, instance: Opened, outlet: Outlet, watch: Callable[[str, Progress], None]
) -> AsyncIterator[Sitting]:
    """The house with the session open, until the end of the block. Raises: InUse, JournalError, OSError."""
    with lock.shared(instance.places) as held, log.opened(instance.places.logs, stderr=request.logs):
        async with open_house(
            instance.config,
            instance.places,
            os.environ,
            outlet,
            watch,
            resume_all=False,
            drain_s=DRAIN_S,
            inherit_fds=(held,),
        ) as house:
            try:
                found = await house.registry.open(request.key)
            except InUse as exc:
                raise InUse(f"session {request.key.short}", exc.holder) from exc
            yield Sitting(house, instance, request.key, found)
