"""What the gateway and a chat without one have in common: the journals, the sessions, the model and the tools.

`open_house` builds them, starts them in order and ends them in reverse: intake has stopped, turns get `drain_s` to end and
are put aside then, everything is written, threads and connections are gone. It never takes longer than its bounds say.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import NoReturn

import attrs
import trio
from loguru import logger

from nanobot.agent.beside import Beside
from nanobot.agent.context import SystemPrompt
from nanobot.agent.elsewhere import Elsewhere
from nanobot.agent.guard import Guard
from nanobot.agent.hands import ToolHands
from nanobot.agent.mind import ModelMind
from nanobot.agent.post import Post
from nanobot.agent.questions import Order, Questions
from nanobot.agent.subagents import Subagents, TaskPrompt
from nanobot.agent.toolbox import open_toolbox
from nanobot.agent.workbench import Workbench
from nanobot.archive.takeover import taken_over
from nanobot.config.paths import Places, made
from nanobot.config.schema import Config
from nanobot.errors import DiskFull
from nanobot.gateway import starts
from nanobot.gateway.sweep import sweep_all
from nanobot.journal.journal import RESERVE, Journals
from nanobot.journal.store import Store
from nanobot.journal.writers import Writers, open_writers
from nanobot.mcp.servers import Servers
from nanobot.messages import Inbound, Origin, Said
from nanobot.processes.running import Processes
from nanobot.providers.client import open_http
from nanobot.security.access import Access
from nanobot.security.ledger import Ledger
from nanobot.security.pairing import Pairing
from nanobot.session import commands
from nanobot.session import events as ev
from nanobot.session.plan import Limits
from nanobot.session.ports import Outlet, Progress, Services
from nanobot.session.registry import Registry, Watch
from nanobot.skills.reading import Corner
from nanobot.skills.shelf import Shelf
from nanobot.tools import patch, patch_files

SWEEP_S = 86400.0
ASIDE_S = 5.0
"""Seconds to put aside what did not end in its time: a cancel, a line and a farewell for each session. Milliseconds, mostly."""
SPACE_KNOWN_S = 5.0
"""Seconds that a look at the free space is good for: a chat cannot fill the reserve in less."""


@attrs.define(eq=False)
class House:
    """The running middle of the product. `deliver` is the way in."""

    registry: Registry
    store: Store
    mind: ModelMind
    clock: Callable[[], float]
    resumes: bool
    """False: it died too often of late, so that nothing that was unfinished was taken up."""
    reconfigure: Callable[[Config], Awaitable[None]]
    """The next model call and the next tool call use this."""
    servers: Servers
    """Of MCP. Whoever opens the house begins them when nobody has to wait for that."""
    _space_known_until: float = attrs.field(default=0.0, init=False)

    async def deliver(self, inbound: Inbound) -> None:
        """Take a message; it is on disk when this returns. Raises: InUse, JournalError, SessionFailed, DiskFull."""
        command = commands.read(inbound.text, self.mind.check)
        principal = str(inbound.principal)
        if command is None or inbound.attachments or inbound.tainted:  # an order that somebody else wrote is no order
            await self._check_space()
            origin = Origin.DIRECT if inbound.direct else Origin.GROUP
            said = Said(inbound.id, inbound.text, inbound.at, principal, inbound.attachments, inbound.tainted, origin)
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
    orders: Mapping[str, Order] | None = None,
    owns: Callable[[str], bool] | None = None,
    keyed: Callable[[str], bool] = lambda _session: True,
    on_drained: Callable[[], None] = lambda: None,
) -> AsyncIterator[House]:
    """The house for as long as the block lasts. Raises: JournalUnwritable, OSError if the data directory cannot be made."""
    made(places.data)
    workspace = made(places.workspace(config))
    owns = owns or Access(Pairing(places.pairing, logger.error), clock, config.gateway).owns
    async with open_http() as http, open_toolbox(config, places, environ, inherit_fds) as box, open_writers() as writers:
        store = Store(Journals(str(made(places.journals))), writers)
        await writers.run("preparing the journals", store.journals.prepare)
        await writers.run("patches that were cut short", partial(patch_files.recover, places.data / patch.FOLDER))
        post, elsewhere, processes = Post(clock), Elsewhere(clock), Processes(clock=clock)
        ledger = Ledger(places.tainted, workspace)
        bench = Workbench(config, workspace, places, ledger, processes)
        guard = Guard(config, box, bench, clock, owns)
        shelf = Shelf(Corner(workspace, places.data, ledger), environ, config)
        mind = ModelMind(config, environ, http, SystemPrompt(workspace, shelf), box, guard, clock)
        hands = ToolHands(config, box, bench, guard, clock, owns, post)
        apart = attrs.evolve(guard, alone=True)
        task_mind = ModelMind(config, environ, http, TaskPrompt(workspace), box, apart, clock)
        task_hands = ToolHands(config, box, bench, apart, clock, owns, post)
        subagents = Subagents(config, task_mind, task_hands, processes, clock, owns)
        hands.spawner = subagents.start
        orders = {"/approve": elsewhere.approve, "/deny": elsewhere.deny, **(orders or {})}
        beside = Beside(Questions(mind, store.survey, clock, owns, orders), hands, subagents, processes, post, clock, owns)
        services = Services(mind, hands, outlet, beside, clock, config.agents.defaults.deadlines.turn, keyed)
        watchers = (beside.watch, post.watch, watch)
        earlier = partial(taken_over, workspace=workspace, data=places.data)

        async def reconfigure(new: Config) -> None:
            nonlocal config
            await box.reconfigure(new)
            config = new
            for part in (bench, guard, apart, mind, hands, subagents):
                part.reconfigure(new)
            registry.reconfigure(attrs.evolve(services, turn_deadline=new.agents.defaults.deadlines.turn), _limits(new))

        with starts.counted(places.data, clock()) as resume:
            registry = Registry(store, services, _limits(config), partial(_tell_all, watchers), earlier, resume=resume)
            post.sessions = elsewhere.sessions = registry
            async with trio.open_nursery() as nursery:
                nursery.start_soon(box.look)
                nursery.start_soon(box.servers.run)
                await nursery.start(processes.run)
                await nursery.start(partial(registry.run, resume_all=resume_all))
                nursery.start_soon(_sweep_daily, writers, lambda: sweep_all(places, config.retention, clock()))
                try:
                    yield House(registry, store, mind, clock, resume, reconfigure, box.servers)
                finally:
                    with trio.move_on_after(drain_s + ASIDE_S, shield=True):
                        await registry.drain(clock(), drain_s)
                    on_drained()
                    nursery.cancel_scope.cancel()


async def _sweep_daily(writers: Writers, sweep: Callable[[], int]) -> NoReturn:
    while True:
        await writers.run("sweep of results and files", sweep)
        await trio.sleep(SWEEP_S)


def _limits(config: Config) -> Limits:
    return Limits(config.agents.defaults.max_tool_iterations)


def _tell_all(watchers: tuple[Watch, ...], key: str, progress: Progress) -> None:
    for watch in watchers:
        watch(key, progress)
