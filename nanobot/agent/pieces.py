"""A conversation in pieces that one model call can turn into memory, and whose memory each piece goes to. No I/O.

The owner's private chats go to MEMORY.md, in a clean view (view.py). What was said in groups, or by others in private, goes to
REPORTED.md under a mark, and where `memory.perUser` is on, others' private chats to a file of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from nanobot.agent import view
from nanobot.agent.mind import ModelMind
from nanobot.agent.rights import Owns
from nanobot.config.schema import Config
from nanobot.errors import ConfigError
from nanobot.memory import checks
from nanobot.memory.port import MEMORY, REPORTED, Update, Version, user_document
from nanobot.messages import Exchange, Origin, Principal, Said, SessionKey, TurnNumber

PIECE_TOKENS = 16_000
"""Of conversation that one call is shown at most: more in one go, and models leave things out."""
PIECE_SHARE = 0.4
"""Of the model's window; memory itself, the prompt and the answer need the rest."""
LEAST_PIECE_TOKENS = 500.0
REPORTED_BYTES = 56 * 1024
"""Of REPORTED.md: beyond it the oldest lines leave. Below the 64 KiB that a document may have."""


@attrs.frozen
class Target:
    """Where a piece goes. `reported`: whose words these are, empty for the owner's."""

    document: str
    reported: str = ""


@attrs.frozen
class Piece:
    """Exchanges `[start, end)` of a session that go to memory in one save."""

    start: int
    end: int
    exchanges: tuple[Exchange, ...]
    target: Target
    trusted: TurnNumber

    @property
    def lines(self) -> list[str]:
        """What a model is shown of it."""
        return view.lines(self.exchanges, _sight(self.target, self.trusted))

    @property
    def said_at(self) -> float | None:
        """When its last message was said, in seconds since the epoch."""
        times = view.span_of(self.exchanges)
        return times[1] if times else None


@attrs.frozen
class Rest:
    """What of a conversation is yet to be remembered: `[start, end)`, of which `there` is at hand, by ordinal."""

    key: str
    start: int
    end: int
    there: Mapping[int, Exchange]
    trusted: TurnNumber


@attrs.define(eq=False)
class Pieces:
    """See the module. One for all sessions."""

    _config: Config
    _mind: ModelMind
    _owns: Owns

    def reconfigure(self, config: Config) -> None:
        """For the pieces that are taken from now on."""
        self._config = config

    def first(self, rest: Rest, limit: float) -> Piece | None:
        """Exchanges in a row that go to one place, as many as a call is shown; None if nothing was said."""
        said = ((n, rest.there[n]) for n in range(rest.start, rest.end) if n in rest.there and rest.there[n].shown)
        found = next(said, None)
        if found is None:
            return None
        target = self._target(rest.key, found[1])
        sight, taken, end = _sight(target, rest.trusted), [found[1]], rest.end
        room = limit - self._size(found[1], sight)
        for ordinal, exchange in said:
            room -= self._size(exchange, sight)
            if room < 0 or self._target(rest.key, exchange) != target:
                end = ordinal  # what is undone, or cannot be read, goes with the piece before it
                break
            taken.append(exchange)
        return Piece(rest.start, end, tuple(taken), target, rest.trusted)

    def limit(self, model: str | None, failures: int) -> float:
        """Tokens of conversation that one call may hold: half as many after each failure."""
        try:
            window = self._mind.room(self._config.memory.model or model).window
        except ConfigError:  # the call itself will say so
            return LEAST_PIECE_TOKENS
        return max(LEAST_PIECE_TOKENS, min(PIECE_TOKENS, PIECE_SHARE * window) * 0.5**failures)

    def fitted(self, lines: Sequence[str], limit: float) -> str:
        """The beginning and the end of what is too long for one call: one exchange that was very long."""
        text = "\n".join(lines)
        size = self._mind.scales.text("", text)
        if size <= limit:
            return text
        half = int(len(text) * limit / size / 2)
        # On one line: what follows the gap must not pass for the beginning of a message.
        return f"{text[:half]} … (left out: {len(text) - 2 * half} characters) … {text[-half:]}"

    # --- inside

    def _target(self, key: str, exchange: Exchange) -> Target:
        """Of what was said in one exchange."""
        here = SessionKey.parse(key).short
        group = any(isinstance(e, Said) and e.origin is Origin.GROUP for e in exchange.entries)
        people = {e.principal for e in exchange.entries if isinstance(e, Said)} | {exchange.principal}
        if not group and all(map(self._owns, people)):
            return Target(MEMORY)
        if not group and self._config.memory.per_user and len(people) == 1:
            return Target(user_document(Principal.parse(exchange.principal)), here)
        return Target(REPORTED, here)

    def _size(self, exchange: Exchange, sight: view.Sight) -> float:
        """Tokens of what is shown of it."""
        return self._mind.scales.text("", "\n".join(view.of_exchange(exchange, sight)))


def with_notes(now: Version, lines: str) -> Update | None:
    """REPORTED.md with more lines; the oldest leave when there are too many."""
    fresh = [line.strip() for line in lines.splitlines() if checks.is_fact(line)]
    if not fresh:
        return None
    kept = [*now.text.splitlines(), *fresh]
    while len("\n".join(kept).encode("utf-8", "replace")) > REPORTED_BYTES:
        kept = kept[1 + len(kept) // 20 :]
    return Update(now.document, now.number, "\n".join(kept))


def _sight(target: Target, trusted: TurnNumber) -> view.Sight:
    """How it is looked at: REPORTED.md is text of strangers by itself; what goes elsewhere must not hold any."""
    return view.Sight(clean=target.document != REPORTED, named=bool(target.reported), trusted=trusted)
