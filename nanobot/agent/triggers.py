"""When a conversation goes to memory: after a turn that made it long, and when it has been silent for a while.

`watch` must be given what the registry shows; it only notes what is due. `run` tells the sessions, which take it if they are
idle then; one that is not is looked at again when its next turn ends. What waits for silence is forgotten with the process:
the next word sets it anew. The other two triggers are not here: a call that does not fit (mind.py) and `/new` (stops.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NoReturn, Protocol

import attrs
import trio
from loguru import logger

from nanobot.agent import context
from nanobot.agent.mind import ModelMind
from nanobot.config.schema import Config
from nanobot.errors import ConfigError, InUse, JournalError
from nanobot.messages import SessionKey
from nanobot.session import events as ev
from nanobot.session import records as r
from nanobot.session.ports import Adopted, Progress
from nanobot.session.registry import SessionFailed
from nanobot.session.state import Idle, Session


class Sessions(Protocol):
    """The registry of sessions, as far as it is needed here."""

    async def deliver(self, key: SessionKey, event: ev.Event) -> None: ...


@attrs.frozen
class _Due:
    """Exchanges before ordinal `end` are to go to memory, at `at` seconds since the epoch."""

    at: float
    end: int


@attrs.define(eq=False)
class Triggers:
    """See the module. One for all sessions."""

    _config: Config
    _mind: ModelMind
    _clock: Callable[[], float]
    sessions: Sessions = attrs.field(init=False)
    """Set by who builds the house, before anything runs."""
    _due: dict[str, _Due] = attrs.field(factory=dict, init=False)
    _came: trio.Event = attrs.field(factory=trio.Event, init=False)

    def reconfigure(self, config: Config) -> None:
        """For the turns that end from now on."""
        self._config = config

    def watch(self, key: str, progress: Progress) -> None:
        if not isinstance(progress, Adopted):
            return
        if any(isinstance(record, r.Accepted | r.ConsolidationStarted | r.Cleared) for record in progress.records):
            self._due.pop(key, None)
        if isinstance(progress.session.state, Idle) and any(isinstance(one, r.TurnEnded) for one in progress.records):
            self._look(progress.session)

    async def run(self) -> NoReturn:
        while True:
            now = self._clock()
            for key in [key for key, due in self._due.items() if due.at <= now]:
                await self._tell(key, self._due.pop(key))
            self._came = trio.Event()
            next_at = min((due.at for due in self._due.values()), default=math.inf)
            with trio.move_on_after(max(0.0, next_at - self._clock())):
                await self._came.wait()

    # --- inside

    def _look(self, session: Session) -> None:
        """After a turn, with nothing waiting."""
        memory = self._config.memory
        if not self._mind.remembers(session.model):
            return
        now, end = self._clock(), session.base + self._leaving(session)
        if end > session.base:
            self._note(session.key, _Due(now, end))
        elif memory.idle_s and (end := session.base + self._older_half(session)) > session.base:
            self._note(session.key, _Due(now + memory.idle_s, end))

    def _note(self, key: str, due: _Due) -> None:
        self._due[key] = due
        self._came.set()

    def _leaving(self, session: Session) -> int:
        """How many of its exchanges must go, 0 while it is short."""
        try:
            tokens = self._config.memory.window_share * self._mind.room(session.model).window
        except ConfigError:
            tokens = math.inf
        budget = context.Budget(tokens, self._config.agents.defaults.memory_window)
        return context.keep_from(session.exchanges, self._mind.sizes(session), budget)

    def _older_half(self, session: Session) -> int:
        """Of a long conversation that has fallen silent, when no cache holds it any more: the cheapest time."""
        if sum(e.messages for e in session.exchanges) <= self._config.agents.defaults.memory_window / 2:
            return 0
        return context.keep_from(session.exchanges, self._mind.sizes(session), context.Budget(0.0, 0.0), refused=True)

    async def _tell(self, key: str, due: _Due) -> None:
        try:
            await self.sessions.deliver(SessionKey.parse(key), ev.ConsolidationDue(self._clock(), due.end))
        except (InUse, JournalError, SessionFailed) as error:
            logger.warning("{} is not consolidated now: {}", key, error)
