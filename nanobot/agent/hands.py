"""The tools' side of a turn: run one call under its deadline and hand back its outcome as an event.

Fills the session's `Hands` port. Cancelling it leaves nothing of the call behind; that is the tools' promise.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import attrs
import trio

from nanobot.agent.post import Post
from nanobot.config.paths import Places
from nanobot.config.schema import Config
from nanobot.journal import names
from nanobot.messages import CallId, CallState, Principal, SessionKey
from nanobot.session import events as ev
from nanobot.session.ports import Show, Working
from nanobot.session.state import ImpossibleEvent, Session, Turn
from nanobot.tools.port import Result, ToolTurn
from nanobot.tools.registry import Tools

OWNERS_ONLY = "Refused: {} is for the owner of this assistant only."


@attrs.define(eq=False)
class ToolHands:
    """See the module. One for all sessions."""

    _config: Config
    _tools: Tools
    _workspace: Path
    _places: Places
    _clock: Callable[[], float]
    _owns: Callable[[str], bool]
    """Whether a principal owns this assistant."""
    _post: Post

    def reconfigure(self, config: Config, tools: Tools) -> None:
        """For the calls that begin from now on."""
        self._config, self._tools = config, tools

    async def run(self, session: Session, turn: Turn, call: CallId, show: Show) -> ev.CallEnded:
        found = next((c for c in turn.reply.calls if c.id == call), None)
        if found is None:
            raise ImpossibleEvent(f"turn {turn.number} has no call {call}")
        if not self._tools.allowed(found.name, owner=self._owns(turn.principal)):  # it was not offered; the model made it up
            return ev.CallEnded(turn.number, call, self._clock(), CallState.REFUSED, OWNERS_ONLY.format(found.name))
        deadline = self._tools.timeout_of(found.name) or self._config.agents.defaults.deadlines.tool
        context = self._turn(session, turn, call, show)
        with trio.move_on_after(deadline) as scope:
            result = await self._tools.run(found.name, found.arguments, context)
        if scope.cancelled_caught:
            result = Result(
                f"Error: {found.name} was ended after {deadline:g} seconds; its effects may have happened.", failed=True
            )
        return ev.CallEnded(
            turn.number,
            call,
            self._clock(),
            CallState.FAILED if result.failed else CallState.DONE,
            result.text,
            result.full,
            result.attachments,
            result.tainted,
        )

    def _turn(self, session: Session, turn: Turn, call: CallId, show: Show) -> ToolTurn:
        key = SessionKey.parse(session.key)
        results, media = (folder / names.encode(session.key) for folder in (self._places.results, self._places.media))
        return ToolTurn(
            workspace=self._workspace,
            session=key,
            principal=Principal.parse(turn.principal, owner=self._owns(turn.principal)),
            call=call,
            results=results,
            data=self._places.data,
            readable=(results, media),
            media=media,
            post=partial(self._post.send, session, turn, call),
            restrict=self._config.tools.restrict_to_workspace,
            progress=lambda line: show(Working(turn.number, call, line)),
        )
