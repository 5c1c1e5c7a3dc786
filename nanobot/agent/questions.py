"""Questions to a session that need more than its state: `/status`, `/model`, `/sessions`. Fills the `Errands` port.

Hand-offs to other journals and consolidation have no owner yet: nothing creates them, and if a journal of a later version
did, it says so in its format.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs

from nanobot.agent.mind import ModelMind
from nanobot.errors import ConfigError
from nanobot.journal.survey import Seen
from nanobot.messages import SessionKey
from nanobot.session import events as ev
from nanobot.session.state import Errand, ImpossibleEvent, Owed, Session, Span

MOST_LISTED = 20
"""Sessions that `/sessions` shows, the latest first; `nanobot sessions list` has them all."""


@attrs.frozen
class Questions:
    """See the module."""

    mind: ModelMind
    survey: Callable[[], Awaitable[tuple[Seen, ...]]]
    clock: Callable[[], float]

    async def run(self, session: Session, errand: Errand) -> ev.ErrandEnded:
        match errand.text:
            case "/status":
                text = self._status(session)
            case "/model":
                text = f"Model: {self._model(session)}\nAnother for this session: /model NAME. The default again: /model default."
            case "/sessions":
                text = await self._sessions()
            case other:
                text = f"{other} cannot be answered by this version of nanobot."
        return ev.ErrandEnded(errand.id, self.clock(), text)

    async def pay(self, session: Session, owed: Owed) -> ev.PaidTo:
        raise ImpossibleEvent(f"{session.key} owes {owed.id} to {owed.to}, which nobody here can take")

    async def consolidate(self, session: Session, span: Span) -> ev.Consolidated | ev.ConsolidationFailed:
        return ev.ConsolidationFailed(self.clock(), "consolidation is not there yet")

    def _model(self, session: Session) -> str:
        try:
            return self.mind.describe(session.model)
        except ConfigError as error:
            return str(error)

    def _status(self, session: Session) -> str:
        turns = [e for e in session.exchanges if not e.undone]
        lines = [
            f"Session: {SessionKey.parse(session.key).short}",
            f"Model: {self._model(session)}",
            f"In the prompt: {len(turns)} exchanges, {sum(e.messages for e in turns)} messages",
            f"Tokens so far: {session.usage.input} read ({session.usage.cached} from cache), {session.usage.output} written",
        ]
        lines += [f"Waiting: {said.text[:80]}" for said in session.inbox]
        lines += [f"Not delivered yet: {p.outbound.text[:80]} ({p.error or 'on its way'})" for p in session.outbox]
        lines += [f"Open: {e.id} {e.text[:80]}" for e in session.errands if e.text != "/status"]
        lines += [f"Given up: {d.outbound.text[:80]} ({d.reason})" for d in session.dead[-3:]]
        return "\n".join(lines)

    async def _sessions(self) -> str:
        seen = sorted(await self.survey(), key=lambda s: s.at or 0.0, reverse=True)
        shown = [f"{_short(s.key)}{'  (unfinished)' if s.owes is not None else ''}" for s in seen[:MOST_LISTED]]
        more = [f"and {len(seen) - MOST_LISTED} more: nanobot sessions list"] if len(seen) > MOST_LISTED else []
        return "\n".join(shown + more) or "There are no sessions yet."


def _short(key: str) -> str:
    try:
        return SessionKey.parse(key).short
    except ValueError:
        return key
