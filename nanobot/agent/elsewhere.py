"""`/approve` and `/deny` of what another chat waits for: the word is carried there, and counts there once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import attrs

from nanobot.errors import InUse, JournalError
from nanobot.messages import ErrandId, MessageId, Principal, SessionKey
from nanobot.session import events as ev
from nanobot.session import sentences
from nanobot.session.errands import open_approvals
from nanobot.session.registry import SessionFailed
from nanobot.session.state import Session


class Sessions(Protocol):
    """The registry of sessions, as far as it is needed here."""

    async def deliver(self, key: SessionKey, event: ev.Event) -> None: ...

    async def open(self, key: SessionKey) -> Session: ...

    async def find(self, wanted: Callable[[Session], bool]) -> SessionKey | None: ...


@attrs.define(eq=False)
class Elsewhere:
    """One for the house. Given only to the owner (questions.py)."""

    _clock: Callable[[], float]
    sessions: Sessions = attrs.field(init=False)
    """Set by who builds the house, before anything runs."""

    async def approve(self, rest: str, who: Principal) -> str:
        return await self._say(ev.Approve(ErrandId(rest)), who)

    async def deny(self, rest: str, who: Principal) -> str:
        return await self._say(ev.Deny(ErrandId(rest)), who)

    async def _say(self, command: ev.Approve | ev.Deny, who: Principal) -> str:
        """Said again after a crash it is said again there, where it meets what has become of the call."""
        key = await self.sessions.find(lambda session: _waits(session, command.errand))
        if key is None:
            return sentences.NO_SUCH_REQUEST
        word = "approved" if isinstance(command, ev.Approve) else "denied"
        now = self._clock()
        message = MessageId(f"{word}:{command.errand}@{now}")
        try:
            await self.sessions.deliver(key, ev.Commanded(message, str(who), now, command, owner=True))
            after = await self.sessions.open(key)
        except (InUse, JournalError, SessionFailed) as error:
            return f"That cannot be said to {key.short} now: {error}. Say it again later."
        return sentences.APPROVE_LATER if _waits(after, command.errand) else f"It is {word}, and {key.short} knows."


def _waits(session: Session, errand_id: ErrandId) -> bool:
    return any(errand.id == errand_id for errand in open_approvals(session))
