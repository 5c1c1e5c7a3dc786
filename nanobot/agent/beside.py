"""What runs beside turns, by kind: questions, calls that the owner let run, subagents and processes in the background, memory.

Fills the session's `Errands` port.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

import attrs

from nanobot.agent import rights
from nanobot.agent.consolidation import Consolidator
from nanobot.agent.hands import ToolHands
from nanobot.agent.post import Post
from nanobot.agent.questions import Questions
from nanobot.agent.rights import Owns
from nanobot.agent.subagents import Subagents
from nanobot.processes.running import Processes
from nanobot.session import events as ev
from nanobot.session import records as r
from nanobot.session.ports import Adopted, Progress
from nanobot.session.state import Errand, ErrandKind, Owed, Session, Span
from nanobot.tools import spawn


@attrs.frozen
class Beside:
    """See the module. `watch` must be given what the registry shows."""

    questions: Questions
    hands: ToolHands
    subagents: Subagents
    processes: Processes
    post: Post
    consolidator: Consolidator
    clock: Callable[[], float]
    owns: Owns

    async def run(self, session: Session, errand: Errand) -> ev.ErrandEnded:
        match errand.kind:
            case ErrandKind.QUESTION:
                return await self.questions.answer(session, errand)
            case ErrandKind.APPROVAL:
                return await self.hands.run_approved(session, errand)
            case ErrandKind.MEMORY:
                return await self.consolidator.remember(session, errand)
            case ErrandKind.BACKGROUND if errand.tool == spawn.NAME:
                return await self.subagents.finish(session, errand, rights.of_errand(errand, self.owns))
            case ErrandKind.BACKGROUND:
                outcome = await self.processes.outcome(session.key, errand.id)
                return ev.ErrandEnded(errand.id, self.clock(), outcome.text, outcome.tainted, told=outcome.told)
            case _ as never:
                assert_never(never)

    async def pay(self, session: Session, owed: Owed) -> ev.PaidTo:
        return await self.post.pay(session, owed)

    async def consolidate(self, session: Session, span: Span) -> ev.Consolidated | ev.ConsolidationFailed:
        return await self.consolidator.consolidate(session, span)

    def watch(self, key: str, progress: Progress) -> None:
        """An errand that was closed before it ran, or while it did: its process ends."""
        self.questions.watch(key, progress)
        if isinstance(progress, Adopted):
            for record in progress.records:
                if isinstance(record, r.ErrandClosed):
                    self.processes.drop(key, record.id)
