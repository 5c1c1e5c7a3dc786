"""Who is told what the sessions do, and who takes what they send: networks and terminals, seen as one."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from nanobot.channels.outlet import Channels
from nanobot.control.approvals import Approvals
from nanobot.control.terminals import Terminals
from nanobot.daemon.notices import Notices
from nanobot.messages import Origin, Principal, SessionKey
from nanobot.security.approvals import question
from nanobot.security.pairing_order import one_line
from nanobot.session import records as r
from nanobot.session.ports import Adopted, DeliveryEnd, Progress
from nanobot.session.state import Errand, ErrandKind, Pending, Session

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
    approvals: Approvals
    owns: Callable[[str], bool]
    """Whether a principal owns this assistant."""
    clock: Callable[[], float]

    def watch(self, key: str, progress: Progress) -> None:
        self.channels.watch(key, progress)
        self.terminals.watch(key, progress)
        self.approvals.watch(key, progress)
        if isinstance(progress, Adopted):
            for record in progress.records:
                if isinstance(record, r.DeadLettered):
                    self._given_up(progress.session, record)
                elif isinstance(record, r.ErrandOpened) and record.errand.kind is ErrandKind.APPROVAL:
                    self._asked(SessionKey.parse(key), record.errand)

    def _asked(self, key: SessionKey, errand: Errand) -> None:
        """What an owner asked for is put to them in their chat; all else is brought to the owner, wherever that is."""
        if self.owns(errand.principal) and errand.origin is not Origin.JOB:
            return
        who = "A job" if errand.origin is Origin.JOB else one_line(Principal.parse(errand.principal).user)
        left = max(0.0, (errand.expires_at or 0.0) - self.clock())
        self.notices.tell(question(errand, left, where=f"{who} in {one_line(key.short)}"))

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
