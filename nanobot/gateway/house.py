"""What the gateway and a chat without one have in common: the journals, the sessions, the model and the tools.

`open_house` builds them, starts them in order and ends them in reverse: intake has stopped, turns get `drain_s` to end and
are put aside then, everything is written, threads and connections are gone. It never takes longer than its bounds say.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, closing
from functools import partial
from typing import NoReturn

import attrs
import trio
from loguru import logger

from nanobot.agent.assistant import Assistant, Surroundings, assemble
from nanobot.agent.mind import ModelMind
from nanobot.agent.questions import Order
from nanobot.agent.schedules import JobDesk
from nanobot.agent.toolbox import open_toolbox
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
from nanobot.providers.client import open_http
from nanobot.security.access import Access
from nanobot.security.pairing import Pairing
from nanobot.session import commands
from nanobot.session import events as ev
from nanobot.session.plan import Limits
from nanobot.session.ports import Outlet, Progress, Services
from nanobot.session.registry import Registry, Watch
from nanobot.tools import patch, patch_files
from nanobot.usage.meter import LiveMeter

SWEEP_S = 86400.0
ASIDE_S = 5.0
"""Seconds to put aside what did not end in its time: a cancel, a line and a farewell for each session. Milliseconds, mostly."""
BOOK_S = 2.0
"""Seconds to book the last model calls; what is not booked then, the next start reads from the journals."""
SPACE_KNOWN_S = 5.0
"""Seconds that a look at the free space is good for: a chat cannot fill the reserve in less."""


@attrs.define(eq=False)
class House:
    """The running middle of the product. `deliver` is the way in."""

    registry: Registry
    store: Store
    assistant: Assistant
    clock: Callable[[], float]
    resumes: bool
    """False: it died too often of late, so that nothing that was unfinished was taken up."""
    reconfigure: Callable[[Config], Awaitable[None]]
    """The next model call and the next tool call use this."""
    servers: Servers
    """Of MCP. Whoever opens the house begins them when nobody has to wait for that."""
    watchers: list[Watch]
    """Told of all sessions; more may be added."""
    _space_known_until: float = attrs.field(default=0.0, init=False)

    @property
    def mind(self) -> ModelMind:
        return self.assistant.mind

    @property
    def meter(self) -> LiveMeter:
        return self.assistant.meter

    @property
    def jobs(self) -> JobDesk:
        """Whoever carries jobs out says so: `jobs.service`."""
        return self.assistant.jobs

    async def deliver(self, inbound: Inbound) -> None:
        """Take a message; it is on disk when this returns. Raises: InUse, JournalError, SessionFailed, DiskFull."""
        command = commands.read(inbound.text, self.mind.check)
        principal = str(inbound.principal)
        origin = Origin.DIRECT if inbound.direct else Origin.GROUP
        if command is None or inbound.attachments or inbound.tainted:  # an order that somebody else wrote is no order
            await self.check_space()
            said = Said(inbound.id, inbound.text, inbound.at, principal, inbound.attachments, inbound.tainted, origin)
            event: ev.Event = ev.Received(said)
        else:
            event = ev.Commanded(inbound.id, principal, inbound.at, command, inbound.principal.owner, origin)
        await self.registry.deliver(inbound.key, event)

    async def check_space(self) -> None:
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
    tell_owner: Callable[[str], None] | None = None,
) -> AsyncIterator[House]:
    """The house for as long as the block lasts. Raises: JournalUnwritable, OSError if the data directory cannot be made."""
    made(places.data)
    workspace = made(places.workspace(config))
    owns = owns or Access(Pairing(places.pairing, logger.error), clock, config.gateway).owns
    async with open_http() as http, open_toolbox(config, places, environ, inherit_fds) as box, open_writers() as writers:
        store = Store(Journals(str(made(places.journals))), writers)
        await writers.run("preparing the journals", store.journals.prepare)
        await writers.run("patches that were cut short", partial(patch_files.recover, places.data / patch.FOLDER))
        around = Surroundings(
            config, places, workspace, environ, http, box, store, writers, clock, owns, tell_owner, orders or {}
        )
        assistant = assemble(around)
        deadline = config.agents.defaults.deadlines.turn
        services = Services(assistant.mind, assistant.hands, outlet, assistant.beside, clock, deadline, keyed)
        watchers = [*assistant.watchers, watch]
        earlier = partial(taken_over, workspace=workspace, data=places.data)

        async def reconfigure(new: Config) -> None:
            nonlocal config
            await assistant.reconfigure(new)
            config = new
            registry.reconfigure(attrs.evolve(services, turn_deadline=new.agents.defaults.deadlines.turn), _limits(new))

        with starts.counted(places.data, clock()) as resume, closing(assistant):
            registry = Registry(store, services, _limits(config), partial(_tell_all, watchers), earlier, resume=resume)
            assistant.join(registry)
            async with trio.open_nursery() as nursery:
                await nursery.start(assistant.run)
                await nursery.start(partial(registry.run, resume_all=resume_all))
                nursery.start_soon(_sweep_daily, writers, lambda: sweep_all(places, config.retention, clock()))
                try:
                    yield House(registry, store, assistant, clock, resume, reconfigure, box.servers, watchers)
                finally:
                    with trio.move_on_after(drain_s + ASIDE_S, shield=True):
                        await registry.drain(clock(), drain_s)
                    with trio.move_on_after(BOOK_S, shield=True):
                        await assistant.meter.flush()
                    on_drained()
                    nursery.cancel_scope.cancel()


async def _sweep_daily(writers: Writers, sweep: Callable[[], int]) -> NoReturn:
    while True:
        await writers.run("sweep of results and files", sweep)
        await trio.sleep(SWEEP_S)


def _limits(config: Config) -> Limits:
    return Limits(config.agents.defaults.max_tool_iterations)


def _tell_all(watchers: Iterable[Watch], key: str, progress: Progress) -> None:
    for watch in watchers:
        watch(key, progress)
