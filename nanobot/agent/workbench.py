"""What a call may use, put together from the configuration and the places of this instance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs

from nanobot.agent.recall import Library
from nanobot.agent.rights import Right
from nanobot.agent.schedules import JobDesk
from nanobot.config.paths import Places
from nanobot.config.schema import Config
from nanobot.journal import names
from nanobot.messages import CallId, SessionKey
from nanobot.processes.running import Processes
from nanobot.skills.places import PACKAGED
from nanobot.tools.port import Post, Spawn, TaintLedger, ToolTurn


@attrs.define(eq=False)
class Workbench:
    """See the module. One for all sessions."""

    _config: Config
    _workspace: Path
    _places: Places
    _ledger: TaintLedger
    _processes: Processes
    _jobs: JobDesk
    _library: Library

    def reconfigure(self, config: Config) -> None:
        """For the calls that begin from now on."""
        self._config = config
        self._library.reconfigure(config)

    def turn(
        self,
        session: str,
        right: Right,
        call: CallId,
        *,
        post: Post | None = None,
        spawn: Spawn | None = None,
        may_instruct: bool = False,
        progress: Callable[[str], None] = lambda _line: None,
    ) -> ToolTurn:
        """For one call in the session of that key."""
        results, media = (folder / names.encode(session) for folder in (self._places.results, self._places.media))
        return ToolTurn(
            workspace=self._workspace,
            session=SessionKey.parse(session),
            principal=right.principal,
            call=call,
            results=results,
            data=self._places.data,
            readable=(results, media, *PACKAGED),
            media=media,
            post=post,
            spawn=spawn,
            schedule=self._jobs.of(session, right),
            recall=self._library.of(session, right),
            restrict=self._config.tools.restrict_to_workspace,
            tainted=right.tainted,
            may_instruct=may_instruct,
            ledger=self._ledger,
            processes=self._processes.of(session, str(right.principal)),
            progress=progress,
        )
