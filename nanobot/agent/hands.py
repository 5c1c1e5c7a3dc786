"""The tools' side of a turn: run one call under its deadline and hand back its outcome as an event.

Fills the session's `Hands` port. Cancelling it leaves nothing of the call behind; that is the tools' promise.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs
import trio

from nanobot.journal import names
from nanobot.messages import CallId, CallState, Principal, SessionKey
from nanobot.session import events as ev
from nanobot.session.ports import Show, Working
from nanobot.session.state import ImpossibleEvent, Session, Turn
from nanobot.tools.port import Result, ToolTurn
from nanobot.tools.registry import Tools


@attrs.frozen
class ToolHands:
    """See the module. One for all sessions."""

    tools: Tools
    workspace: Path
    data: Path
    results: Path
    """Folder under which each session has one for its full results."""
    restrict: bool
    deadline_s: float
    """For calls of tools without a deadline of their own."""
    clock: Callable[[], float]
    owner: Callable[[str], bool]
    """Whether a principal owns this assistant."""

    async def run(self, session: Session, turn: Turn, call: CallId, show: Show) -> ev.CallEnded:
        found = next((c for c in turn.reply.calls if c.id == call), None)
        if found is None:
            raise ImpossibleEvent(f"turn {turn.number} has no call {call}")
        deadline = self.tools.timeout_of(found.name) or self.deadline_s
        context = self._turn(session, turn, call, show)
        with trio.move_on_after(deadline) as scope:
            result = await self.tools.run(found.name, found.arguments, context)
        if scope.cancelled_caught:
            result = Result(
                f"Error: {found.name} was ended after {deadline:g} seconds; its effects may have happened.", failed=True
            )
        return ev.CallEnded(
            turn.number,
            call,
            self.clock(),
            CallState.FAILED if result.failed else CallState.DONE,
            result.text,
            result.full,
            result.attachments,
            result.tainted,
        )

    def _turn(self, session: Session, turn: Turn, call: CallId, show: Show) -> ToolTurn:
        key = SessionKey.parse(session.key)
        results = self.results / names.encode(session.key)
        return ToolTurn(
            workspace=self.workspace,
            session=key,
            principal=Principal.parse(turn.principal, owner=self.owner(turn.principal)),
            call=call,
            results=results,
            data=self.data,
            readable=(results, self.data / "media" / names.encode(session.key)),
            restrict=self.restrict,
            progress=lambda line: show(Working(turn.number, call, line)),
        )
