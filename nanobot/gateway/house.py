"""What the gateway and a chat without one have in common: the journals, the sessions, the model and the tools.

`open_house` builds them, starts them in order and ends them in reverse: intake has stopped, turns get `drain_s` to end and
are put aside then, everything is written, threads and connections are gone. It never takes longer than its bounds say.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import attrs
import trio

from nanobot.agent.context import SystemPrompt
from nanobot.agent.hands import ToolHands
from nanobot.agent.mind import ModelMind
from nanobot.agent.questions import Questions
from nanobot.config.paths import Places, made
from nanobot.config.schema import Config
from nanobot.messages import Inbound, Principal, Said, SessionKey
from nanobot.providers.client import open_http
from nanobot.session import commands
from nanobot.session import events as ev
from nanobot.session.journal import Journals
from nanobot.session.plan import Limits
from nanobot.session.ports import Outlet, Progress, Services
from nanobot.session.registry import Registry
from nanobot.session.state import Session
from nanobot.session.store import Store
from nanobot.session.writers import open_writers
from nanobot.tools.registry import build_tools


@attrs.frozen
class House:
    """The running middle of the product. `deliver` is the way in."""

    registry: Registry
    store: Store
    mind: ModelMind
    clock: Callable[[], float]

    async def deliver(self, inbound: Inbound) -> None:
        """Take a message; it is on disk when this returns. Raises: InUse, JournalError, SessionFailed."""
        command = commands.read(inbound.text, self.mind.check)
        principal = str(inbound.principal)
        if command is None or inbound.attachments:
            said = Said(inbound.id, inbound.text, inbound.at, principal, inbound.attachments, inbound.tainted)
            event: ev.Event = ev.Received(said)
        else:
            event = ev.Commanded(inbound.id, principal, inbound.at, command, inbound.principal.owner)
        await self.registry.deliver(inbound.key, event)


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
    resume: bool = True,
    inherit_fds: tuple[int, ...] = (),
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[House]:
    """The house for as long as the block lasts. Raises: JournalUnwritable, OSError if the data directory cannot be made."""
    made(places.data)
    workspace = made(places.workspace(config))
    defaults = config.agents.defaults
    tools = build_tools(config, environ=environ, inherit_fds=inherit_fds)
    async with open_http() as http, open_writers() as writers:
        system = SystemPrompt(workspace)
        mind = ModelMind(config, environ, http, system, tools.specs(), tools.effect_of, clock)
        hands = ToolHands(
            tools,
            workspace,
            places.data,
            places.results,
            config.tools.restrict_to_workspace,
            defaults.deadlines.tool,
            clock,
            _owns(config),
        )
        journals = Journals(str(made(places.journals)))
        store = Store(journals, writers)
        await writers.run("preparing the journals", journals.prepare)
        services = Services(mind, hands, outlet, Questions(mind, store.survey, clock), clock, defaults.deadlines.turn)
        limits = Limits(defaults.max_tool_iterations)

        def earlier(key: SessionKey) -> Session | None:
            return None

        registry = Registry(store, services, limits, watch, earlier, resume=resume)
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: registry.run(resume_all=resume_all, task_status=task_status))
            try:
                yield House(registry, store, mind, clock)
            finally:
                with trio.move_on_after(drain_s, shield=True):
                    await registry.drain(clock())
                nursery.cancel_scope.cancel()


def _owns(config: Config) -> Callable[[str], bool]:
    """Whether a principal is one of `gateway.owners`, or speaks through the terminal."""
    owners = set(config.gateway.owners)

    def owns(text: str) -> bool:
        who = Principal.parse(text)
        return who.channel == "cli" or text in owners or f"{who.channel}:{who.user}" in owners

    return owns
