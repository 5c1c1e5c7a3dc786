"""The tools' side of a session: run one call under its deadline and hand back its outcome as an event.

Fills the session's `Hands` port, and runs what an errand was allowed to do. Cancelling either leaves nothing of the call
behind; that is the tools' promise. Whether a call may run was judged before (agent/guard.py); what has changed since then
is looked at once more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial

import attrs
import trio

from nanobot.agent import rights
from nanobot.agent.guard import Guard
from nanobot.agent.post import Later, Post
from nanobot.agent.rights import Owns, Right
from nanobot.agent.toolbox import Toolbox
from nanobot.agent.workbench import Workbench
from nanobot.config.schema import Config
from nanobot.errors import ToolError
from nanobot.messages import CallId, CallState, ErrandId, MessageId
from nanobot.session import events as ev
from nanobot.session.ports import Show, Working
from nanobot.session.state import Errand, ErrandKind, ImpossibleEvent, Session, Turn
from nanobot.tools.port import Result, Spawn, Task, ToolTurn

Spawner = Callable[[Session, Right, CallId, Task, Callable[[str], None]], Awaitable[Result]]
"""Begins a subagent for a call; told what it does, a line at a time (agent/subagents.py). Raises: ToolError."""
Noticing = Callable[[str, str], AbstractAsyncContextManager[None]]
"""Given the session and the tool: what the call changes in files of memory is the assistant's (agent/remembered.py)."""
INSTRUCTIONS = ("write_file:instructions", "edit_file:instructions", "apply_patch:instructions")


@attrs.define(eq=False)
class ToolHands:
    """See the module. One for all sessions."""

    _config: Config
    _box: Toolbox
    _bench: Workbench
    _guard: Guard
    _clock: Callable[[], float]
    _owns: Owns
    _post: Post
    noticing: Noticing | None = None
    """Around a call that may write what prompts are made of."""
    spawner: Spawner | None = None
    """None: nothing is handed to subagents, as by a subagent."""

    def reconfigure(self, config: Config) -> None:
        """For the calls that begin from now on."""
        self._config = config

    async def run(self, session: Session, turn: Turn, call: CallId, show: Show) -> ev.CallEnded:
        found = next((c for c in turn.reply.calls if c.id == call), None)
        if found is None:
            raise ImpossibleEvent(f"turn {turn.number} has no call {call}")
        await self._box.ready()
        right = attrs.evolve(rights.of_turn(session, turn, self._owns), tainted=turn.reply.tainted)  # as it was judged
        try:
            row = await self._guard.still_allowed(session, right, found)
        except ToolError as error:
            return ev.CallEnded(turn.number, call, self._clock(), CallState.REFUSED, f"Error: {error}")
        say = partial(_say, show, turn, call)
        context = self._bench.turn(
            session.key,
            right,
            call,
            post=partial(self._post.send, session, turn, call),
            spawn=self._spawn(session, right, call, say),
            may_instruct=row in INSTRUCTIONS,
            progress=say,
        )
        async with self._noticed(session, found.name, row):
            result = await self._within_deadline(found.name, found.arguments, context)
        return ev.CallEnded(
            turn.number,
            call,
            self._clock(),
            _state(result),
            result.text,
            result.full,
            result.attachments,
            result.tainted,
            errand=_goes_on(result, right, turn.inputs[0], found.name),
        )

    async def run_approved(self, session: Session, errand: Errand) -> ev.ErrandEnded:
        """What the owner let run, once."""
        await self._box.ready()
        later = Later(session.key, errand.id, self._clock)
        try:
            await self._guard.approved(session, errand)
        except ToolError as error:
            return ev.ErrandEnded(errand.id, self._clock(), f"{errand.title}\n{error}")
        assert errand.call is not None
        right = rights.of_errand(errand, self._owns)
        context = self._bench.turn(
            session.key,
            right,
            errand.call,
            post=later.send,
            spawn=self._spawn(session, right, errand.call, lambda _line: None),
            may_instruct=errand.row in INSTRUCTIONS,
        )
        async with self._noticed(session, errand.tool, errand.row):
            result = await self._within_deadline(errand.tool, errand.arguments, context)
        return ev.ErrandEnded(
            errand.id,
            self._clock(),
            f"The call that was approved has {'failed' if result.failed else 'run'}. {errand.title}\n{result.text}",
            result.tainted,
            result.attachments,
            promises=tuple(later.owed),
            goes_on=_goes_on(result, right, errand.asked_by, errand.tool),
        )

    def _spawn(self, session: Session, right: Right, call: CallId, say: Callable[[str], None]) -> Spawn | None:
        start = self.spawner
        if start is None:
            return None

        async def spawn(task: Task) -> Result:
            return await start(session, right, call, task, say)

        return spawn

    def _noticed(self, session: Session, tool: str, row: str) -> AbstractAsyncContextManager[None]:
        return nullcontext() if self.noticing is None or row not in INSTRUCTIONS else self.noticing(session.key, tool)

    async def _within_deadline(self, name: str, arguments: str, context: ToolTurn) -> Result:
        deadline = self._box.tools.timeout_of(name) or self._config.agents.defaults.deadlines.tool
        with trio.move_on_after(deadline) as scope:
            result = await self._box.tools.run(name, arguments, context)
        if scope.cancelled_caught:
            text = f"Error: {name} was ended after {deadline:g} seconds; its effects may have happened."
            result = Result(text, failed=True)
        return result


def _say(show: Show, turn: Turn, call: CallId, line: str) -> None:
    show(Working(turn.number, call, line))


def _state(result: Result) -> CallState:
    if result.background is not None:
        return CallState.DEFERRED
    return CallState.FAILED if result.failed else CallState.DONE


def _goes_on(result: Result, right: Right, asked_by: MessageId, tool: str) -> Errand | None:
    """What goes on when its call has ended."""
    if result.background is None:
        return None
    on, tainted = result.background, result.tainted or right.tainted
    who, kind = str(right.principal), ErrandKind.BACKGROUND
    return Errand(ErrandId(on.id), kind, on.text, who, asked_by, on.id, tool, on.task, tainted=tainted, origin=right.origin)
