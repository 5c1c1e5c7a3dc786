"""What the gateway and a chat without one have in common: the journals, the sessions, the model and the tools.

`open_house` builds them, starts them in order and ends them in reverse: intake has stopped, turns get `drain_s` to end and
are put aside then, everything is written, threads and connections are gone. It never takes longer than its bounds say.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import trio
from loguru import logger

from nanobot.agent.context import SystemPrompt
from nanobot.agent.hands import ToolHands
from nanobot.agent.mind import ModelMind
from nanobot.agent.questions import Questions
from nanobot.archive import legacy
from nanobot.config.paths import Places, made
from nanobot.config.schema import Config
from nanobot.errors import DiskFull, JournalError
from nanobot.gateway import starts
from nanobot.gateway.sweep import sweep_results
from nanobot.journal.journal import RESERVE, Journals
from nanobot.journal.store import Store
from nanobot.journal.writers import open_writers
from nanobot.messages import Inbound, Principal, Said, SessionKey, TurnNumber
from nanobot.providers.client import open_http
from nanobot.session import commands
from nanobot.session import events as ev
from nanobot.session.plan import Limits
from nanobot.session.ports import Outlet, Progress, Services
from nanobot.session.registry import Registry
from nanobot.session.state import Session
from nanobot.tools.registry import Tools, build_tools

SPACE_KNOWN_S = 5.0
"""Seconds that a look at the free space is good for: a chat cannot fill the reserve in less."""


@attrs.define(eq=False)
class House:
    """The running middle of the product. `deliver` is the way in."""

    registry: Registry
    store: Store
    mind: ModelMind
    clock: Callable[[], float]
    _space_known_until: float = attrs.field(default=0.0, init=False)

    async def deliver(self, inbound: Inbound) -> None:
        """Take a message; it is on disk when this returns. Raises: InUse, JournalError, SessionFailed, DiskFull."""
        command = commands.read(inbound.text, self.mind.check)
        principal = str(inbound.principal)
        if command is None or inbound.attachments:
            await self._check_space()
            said = Said(inbound.id, inbound.text, inbound.at, principal, inbound.attachments, inbound.tainted)
            event: ev.Event = ev.Received(said)
        else:
            event = ev.Commanded(inbound.id, principal, inbound.at, command, inbound.principal.owner)
        await self.registry.deliver(inbound.key, event)

    async def _check_space(self) -> None:
        """Below the reserve no message is taken, so that what runs can be written to its end. Raises: DiskFull."""
        if self.clock() < self._space_known_until:
            return
        if await self.store.low_space():
            raise DiskFull(self.store.journals.root, RESERVE)
        self._space_known_until = self.clock() + SPACE_KNOWN_S


@asynccontextmanager
async def open_house(
    config: Config,
    places: Places,
    environ: Mapping[str, str],
    outlet: Outlet,
    watch: Callable[[str, Progress], None],
    *,
    resume_all: bool,
    drain_s: float,
    inherit_fds: tuple[int, ...] = (),
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[House]:
    """The house for as long as the block lasts. Raises: JournalUnwritable, OSError if the data directory cannot be made."""
    made(places.data)
    workspace = made(places.workspace(config))
    tools = build_tools(config, environ=environ, inherit_fds=inherit_fds)
    async with open_http() as http, open_writers() as writers:
        store = Store(Journals(str(made(places.journals))), writers)
        await writers.run("preparing the journals", store.journals.prepare)
        mind = ModelMind(config, environ, http, SystemPrompt(workspace), tools.specs(), tools.effect_of, clock)
        hands = _hands(config, places, workspace, tools, clock)
        deadline = config.agents.defaults.deadlines.turn
        services = Services(mind, hands, outlet, Questions(mind, store.survey, clock), clock, deadline)
        limits = Limits(config.agents.defaults.max_tool_iterations)
        earlier = partial(_imported, workspace=workspace, data=places.data)
        with starts.counted(places.data, clock()) as resume:
            registry = Registry(store, services, limits, watch, earlier, resume=resume)
            async with trio.open_nursery() as nursery:
                await nursery.start(partial(registry.run, resume_all=resume_all))
                sweep = partial(sweep_results, places.results, config.retention, clock())
                nursery.start_soon(writers.run, "sweep of tool results", sweep)
                try:
                    yield House(registry, store, mind, clock)
                finally:
                    with trio.move_on_after(drain_s, shield=True):
                        await registry.drain(clock())
                    nursery.cancel_scope.cancel()


def _hands(config: Config, places: Places, workspace: Path, tools: Tools, clock: Callable[[], float]) -> ToolHands:
    return ToolHands(
        tools,
        workspace,
        places.data,
        places.results,
        config.tools.restrict_to_workspace,
        config.agents.defaults.deadlines.tool,
        clock,
        _owns(config),
    )


def _owns(config: Config) -> Callable[[str], bool]:
    """Whether a principal is one of `gateway.owners`, or speaks through the terminal."""
    owners = set(config.gateway.owners)

    def owns(text: str) -> bool:
        who = Principal.parse(text)
        return who.channel == "cli" or text in owners or f"{who.channel}:{who.user}" in owners

    return owns


def _imported(key: SessionKey, *, workspace: Path, data: Path) -> Session | None:
    """What HKUDS/nanobot left of this conversation; its file stays as it is."""
    source = legacy.find(key, workspace=workspace, data=data)
    if source is None:
        return None
    try:
        imported = legacy.load(source, key)
    except OSError as exc:
        raise JournalError(f"the earlier conversation in {source} cannot be read: {exc.strerror}") from exc
    logger.info(
        "imported {} exchanges of {} from {}, {} lines skipped", len(imported.exchanges), key, source, imported.skipped_lines
    )
    return Session(
        str(key),
        exchanges=imported.exchanges[imported.cursor :],
        base=imported.cursor,
        next_turn=TurnNumber(len(imported.exchanges) + 1),
    )
