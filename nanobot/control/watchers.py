"""Who is told what the sessions do, and who takes what they send: networks and terminals, seen as one."""

from __future__ import annotations

import attrs

from nanobot.channels.outlet import Channels
from nanobot.control.terminals import Terminals
from nanobot.daemon.notices import Notices
from nanobot.messages import SessionKey
from nanobot.session import records as r
from nanobot.session.ports import Adopted, DeliveryEnd, Progress
from nanobot.session.state import Pending, Session

SHOWN_CHARS = 80


@attrs.frozen
class Outlets:
    """Fills the sessions' `Outlet`: terminals for what no network serves."""

    channels: Channels
    terminals: Terminals

    async def send(self, session: Session, pending: Pending, part: int) -> DeliveryEnd:
        if self.terminals.serves(session.key):
            return await self.terminals.send(session, pending, part)
        return await self.channels.send(session, pending, part)

    def keyed(self, session_key: str) -> bool:
        return self.terminals.serves(session_key) or self.channels.keyed(session_key)


@attrs.frozen
class Watchers:
    """Told of all sessions; must not block or raise."""

    channels: Channels
    terminals: Terminals
    notices: Notices

    def watch(self, key: str, progress: Progress) -> None:
        self.channels.watch(key, progress)
        self.terminals.watch(key, progress)
        if isinstance(progress, Adopted):
            for record in progress.records:
                if isinstance(record, r.DeadLettered):
                    self._given_up(progress.session, record)

    def _given_up(self, session: Session, record: r.DeadLettered) -> None:
        """Who asked for it in another chat is told there, by the session itself."""
        letter = next((letter for letter in session.dead if letter.outbound.id == record.id), None)
        if letter is None or letter.outbound.origin:
            return
        key = SessionKey.parse(session.key)
        text = " ".join(letter.outbound.text.split())[:SHOWN_CHARS]
        perhaps = " It may have arrived all the same." if letter.perhaps_delivered else ""
        self.notices.tell(
            f"A message to {key.short} was given up: {letter.reason}.{perhaps} It begins: {text}\n"
            f"To send it again: nanobot outbox retry {key.short}/{record.id}",
            key.channel,
        )
