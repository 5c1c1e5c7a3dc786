"""Questions to a session that need more than its state: `/status`, `/model`, `/sessions`, and orders to the house.

An order (`/restart`, `/pairing`) is the owner's, and whoever runs the house says what it does. As a
question is asked again after a crash, what an order does for good it does `afterwards`: when its answer is on disk.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import attrs

from nanobot.agent.mind import ModelMind
from nanobot.errors import ConfigError
from nanobot.journal.survey import Seen
from nanobot.messages import Principal, SessionKey
from nanobot.session import events as ev
from nanobot.session import records as r
from nanobot.session.ports import Adopted, Progress
from nanobot.session.state import Errand, ErrandKind, Session

OPEN = {
    ErrandKind.QUESTION: "Being answered",
    ErrandKind.APPROVAL: "Waits for the owner's word (/approve ID, /deny ID), or runs",
    ErrandKind.BACKGROUND: "In the background",
    ErrandKind.MEMORY: "Being remembered",
}
MOST_LISTED = 20
"""Sessions that `/sessions` shows, the latest first; `nanobot sessions list` has them all."""


@attrs.frozen
class Answer:
    """What an order says. `afterwards` is called once, when that is on disk; must not block or raise."""

    text: str
    afterwards: Callable[[], None] | None = None


Order = Callable[[str, Principal], Awaitable[Answer | str]]
"""Given what stands behind the command, and who gave it."""


@attrs.frozen
class Questions:
    """See the module. `watch` must be given what the registry shows."""

    mind: ModelMind
    survey: Callable[[], Awaitable[tuple[Seen, ...]]]
    clock: Callable[[], float]
    owns: Callable[[str], bool]
    """Whether a principal owns this assistant."""
    memory: Callable[[Errand], Awaitable[str]]
    """What is remembered, for who asks."""
    usage: Callable[[str | None], Awaitable[str]]
    """What was used up, in one session or in all."""
    orders: Mapping[str, Order] = {}
    """By command, with its slash. Those of `commands.TABLE` that are missing say that no gateway runs here."""
    _afterwards: dict[tuple[str, str], Callable[[], None]] = attrs.field(factory=dict, init=False)
    """By session and errand."""

    async def answer(self, session: Session, errand: Errand) -> ev.ErrandEnded:
        match errand.text:
            case "/status":
                text = self._status(session)
            case "/model":
                text = f"Model: {self._model(session)}\nAnother for this session: /model NAME. The default again: /model default."
            case "/sessions":
                text = await self._sessions()
            case "/memory":
                text = await self.memory(errand)
            case "/usage":
                text = await self.usage(None if self.owns(errand.principal) else session.key)
            case line:
                text = await self._ordered(session, errand, *line.partition(" ")[::2])
        return ev.ErrandEnded(errand.id, self.clock(), text)

    def watch(self, key: str, progress: Progress) -> None:
        if self._afterwards and isinstance(progress, Adopted):
            for record in progress.records:
                if isinstance(record, r.ErrandClosed):
                    act = self._afterwards.pop((key, record.id), None)
                    if act is not None and record.how == "ended":
                        act()

    async def _ordered(self, session: Session, errand: Errand, name: str, rest: str) -> str:
        if not self.owns(errand.principal):
            return f"Only the owner can use {name}."
        if name not in self.orders:
            return f"{name} is for the gateway, which does not run here. Start it with: nanobot gateway"
        answer = await self.orders[name](rest, Principal.parse(errand.principal, owner=True))
        if isinstance(answer, str):
            return answer
        if answer.afterwards is not None:
            self._afterwards[session.key, errand.id] = answer.afterwards
        return answer.text

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
            f"In the prompt: {len(turns)} exchanges, {sum(e.messages for e in turns)} messages{self._share(session)}",
            f"Tokens so far: {session.usage.input} read ({session.usage.cached} from cache), {session.usage.output} written",
        ]
        lines += [f"Waiting: {said.text[:80]}" for said in session.inbox]
        lines += [f"Not delivered yet: {p.outbound.text[:80]} ({p.error or 'on its way'})" for p in session.outbox]
        lines += [f"{OPEN[e.kind]}: {e.id} {e.title}" for e in session.errands if e.text != "/status"]
        lines += [f"Owed to {owed.to}: {owed.text[:80]}" for owed in session.owed]
        lines += [f"Given up: {d.outbound.text[:80]} ({d.reason})" for d in session.dead[-3:]]
        lines += [f"Perhaps delivered twice: {out.text[:80]}" for out in session.doubled[-3:]]
        return "\n".join(lines)

    def _share(self, session: Session) -> str:
        """How much of the model's window the history fills, as far as both are known."""
        try:
            room = self.mind.room(session.model)
        except ConfigError:
            return ""
        share = f", about {round(sum(self.mind.sizes(session)) / room.window * 100)} % of {round(room.window)} tokens"
        assumed = " (assumed: nobody knows how much it reads; set agents.defaults.contextWindow)"
        return share + assumed if room.guessed else share

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
