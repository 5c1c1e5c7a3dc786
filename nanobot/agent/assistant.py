"""The assistant behind all sessions, put together: the model, the tools, what runs beside turns, memory, jobs, and the counting.

`assemble` builds it from what the house has; `run` keeps what of it lives by itself; the session's ports (`Mind`, `Hands`,
`Errands`) are `mind`, `hands` and `beside`. Whoever builds the sessions joins them to it before anything runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import attrs
import trio
from loguru import logger

from nanobot.agent.beside import Beside
from nanobot.agent.consolidation import Consolidator
from nanobot.agent.context import SystemPrompt
from nanobot.agent.elsewhere import Elsewhere
from nanobot.agent.guard import Guard
from nanobot.agent.hands import ToolHands
from nanobot.agent.mind import ModelMind
from nanobot.agent.pieces import Pieces
from nanobot.agent.post import Post
from nanobot.agent.prompt_files import PromptFiles
from nanobot.agent.questions import Order, Questions
from nanobot.agent.recall import library
from nanobot.agent.remembered import Remembered
from nanobot.agent.rights import Owns
from nanobot.agent.schedules import JobDesk, job_desk
from nanobot.agent.subagents import Subagents, TaskPrompt
from nanobot.agent.toolbox import Toolbox
from nanobot.agent.triggers import Triggers
from nanobot.agent.workbench import Workbench
from nanobot.archive.reading import Reader
from nanobot.config.paths import Places
from nanobot.config.schema import Config
from nanobot.journal.store import Store
from nanobot.journal.writers import Writers
from nanobot.memory.store import MemoryStore
from nanobot.processes.running import Processes
from nanobot.providers.client import SharedHttp
from nanobot.security.ledger import Ledger
from nanobot.session.registry import Registry, Watch
from nanobot.skills.reading import Corner
from nanobot.skills.shelf import Shelf
from nanobot.usage.ledger import Ledger as UsageLedger
from nanobot.usage.meter import LiveMeter
from nanobot.usage.spent import Kind


class Part(Protocol):
    def reconfigure(self, config: Config, /) -> None: ...


@attrs.frozen
class Surroundings:
    """What the house has before there is an assistant."""

    config: Config
    places: Places
    workspace: Path
    environ: Mapping[str, str]
    http: SharedHttp
    box: Toolbox
    store: Store
    writers: Writers
    clock: Callable[[], float]
    """Seconds since the epoch."""
    owns: Owns
    tell_owner: Callable[[str], None] | None
    orders: Mapping[str, Order]
    """Of the gateway, by command."""


@attrs.define(eq=False)
class Assistant:
    """See the module. One for the house."""

    mind: ModelMind
    hands: ToolHands
    beside: Beside
    meter: LiveMeter
    jobs: JobDesk
    _box: Toolbox
    _post: Post
    _elsewhere: Elsewhere
    _processes: Processes
    _memory: MemoryStore
    _remembered: Remembered
    _triggers: Triggers
    _parts: tuple[Part, ...]
    """Of the configuration, those that are told of a new one."""

    def join(self, sessions: Registry) -> None:
        self._post.sessions = self._elsewhere.sessions = self._triggers.sessions = sessions

    @property
    def watchers(self) -> tuple[Watch, ...]:
        """What must be told of all that sessions do."""
        return self.beside.watch, self._post.watch, self.meter.watch, self._triggers.watch

    async def reconfigure(self, new: Config) -> None:
        """The next model call and the next tool call use this. Raises: ConfigError, with nothing changed."""
        await self._box.reconfigure(new)
        for part in self._parts:
            part.reconfigure(new)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._box.look)
            nursery.start_soon(self._box.servers.run)
            await nursery.start(self._processes.run)
            await nursery.start(self.meter.run)
            nursery.start_soon(self._remembered.run)
            nursery.start_soon(self._triggers.run)
            task_status.started()

    def close(self) -> None:
        for part in (self.jobs, self._memory, self.meter):
            part.close()


def assemble(around: Surroundings) -> Assistant:
    config, places, workspace, environ = around.config, around.places, around.workspace, around.environ
    clock, owns, box = around.clock, around.owns, around.box
    reader = Reader(around.store.journals.root)
    post, elsewhere, processes = Post(clock), Elsewhere(clock), Processes(clock=clock)
    ledger = Ledger(places.tainted, workspace)
    memory = MemoryStore.of(config, places.memory, workspace, ledger, clock)
    remembered = Remembered(memory, owns)
    jobs = job_desk(config, places, clock, owns)
    meter = LiveMeter(config, UsageLedger(places.usage), reader, around.writers, clock, owns, around.tell_owner)
    bench = Workbench(config, workspace, places, ledger, processes, jobs, library(config, places, ledger, clock, owns))
    guard = Guard(config, box, bench, clock, owns)
    prompt = SystemPrompt(
        PromptFiles(workspace, places.data, ledger), Shelf(Corner(workspace, places.data, ledger), environ, config)
    )
    mind = ModelMind(config, environ, around.http, prompt, box, guard, clock, meter=meter)
    hands = ToolHands(config, box, bench, guard, clock, owns, post)
    alone = attrs.evolve(guard, alone=True)
    task_mind = attrs.evolve(mind, system=TaskPrompt(workspace), guard=alone, kind=Kind.SUBAGENT)
    task_hands = ToolHands(config, box, bench, alone, clock, owns, post)
    subagents = Subagents(config, task_mind, task_hands, processes, clock, owns)
    hands.spawner = subagents.start
    hands.noticing = task_hands.noticing = remembered.noticing
    orders = {"/approve": elsewhere.approve, "/deny": elsewhere.deny, **around.orders}
    questions = Questions(mind, around.store.survey, clock, owns, remembered.answer, meter.report, orders)
    tell = around.tell_owner or logger.warning
    pieces = Pieces(config, mind, owns)
    consolidator = Consolidator(config, mind, memory, reader, pieces, clock, meter.background_refusal, post.say, tell)
    triggers = Triggers(config, mind, clock)
    beside = Beside(questions, hands, subagents, processes, post, consolidator, clock, owns)
    parts = (bench, guard, alone, mind, hands, subagents, meter, memory, jobs, consolidator, triggers)
    return Assistant(mind, hands, beside, meter, jobs, box, post, elsewhere, processes, memory, remembered, triggers, parts)
