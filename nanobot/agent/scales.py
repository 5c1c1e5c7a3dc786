"""What models were seen to count and to take: the estimate of each request, and how long one may be.

A window that nobody knows is taken for `registry.UNKNOWN_WINDOW`; it grows as far as the service has shown, by counting them,
that it reads longer requests, and a step beyond, so that a conversation is not thrown away on a guess. A request that was
refused as too long bounds those after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import attrs

from nanobot.agent import estimate
from nanobot.agent.estimate import Counted, Measure, Scale
from nanobot.messages import Entry, Exchange
from nanobot.providers.history import Kept
from nanobot.providers.port import Request, ToolSpec
from nanobot.providers.registry import UNKNOWN_WINDOW

MOST_CONVERSATIONS = 500
"""Whose last counted request is kept: 200 bytes each."""
GROWTH, GROWTH_TOKENS = 0.25, 4096
"""How much longer than the longest that a service has read a request may be, while its window is not known: this share of
it, or so many tokens where that is more, as one turn may bring that many."""
UNDER = 0.97
"""Part of a window that is used: the estimate may be 3 % too low."""
UNDER_REFUSED = 0.95
ANSWER_SHARE = 0.25
"""Part of a window that is left for the answer at most, where `maxTokens` asks for more."""


@attrs.frozen
class Room:
    """How many tokens a model can read, and how long its requests may be."""

    window: float
    limit: float
    guessed: bool = False


@attrs.define(eq=False)
class Scales:
    """See the module. One for all conversations of a process; models are known by name."""

    _models: dict[str, Scale] = attrs.field(factory=dict, init=False)
    _last: dict[str, tuple[str, Counted]] = attrs.field(factory=dict, init=False)
    _longest: dict[str, int] = attrs.field(factory=dict, init=False)
    _refused: dict[str, float] = attrs.field(factory=dict, init=False)
    _kept: Kept[Measure] = attrs.field(factory=Kept, init=False)

    def measure(self, request: Request) -> Measure:
        parts = _of_prompt(request.system), _of_tools(request.tools), estimate.of_text(request.runtime)
        return estimate.total((*parts, *map(self._of_entry, request.entries)))

    def tokens(self, conversation: str, model: str, measure: Measure) -> float:
        """Of a request, on the safe side."""
        last = self._last.get(conversation)
        since = last[1] if last is not None and last[0] == model else None
        return self._scale(model).tokens(measure, since)

    def sizes(self, model: str, exchanges: Sequence[Exchange]) -> list[float]:
        """Likely tokens of each exchange in a request."""
        scale = self._scale(model)
        return [scale.likely(self._of_exchange(exchange)) for exchange in exchanges]

    def text(self, model: str, text: str) -> float:
        """Likely tokens of a text."""
        return self._scale(model).likely(estimate.of_text(text))

    def learn(self, conversation: str, model: str, measure: Measure, tokens: int) -> None:
        """The service has counted a request; 0 where it does not say."""
        counted, scale = Counted(measure, tokens), self._scale(model)
        learned = scale.learned(counted)
        if learned is scale:
            return
        self._models[model] = learned
        self._longest[model] = max(tokens, self._longest.get(model, 0))
        self._last.pop(conversation, None)
        self._last[conversation] = model, counted
        if len(self._last) > MOST_CONVERSATIONS:
            del self._last[next(iter(self._last))]

    def refused(self, model: str, tokens: float) -> None:
        """A request of about so many tokens was too long."""
        self._refused[model] = min(tokens, self._refused.get(model, tokens))

    def room(self, model: str, window: int | None, max_tokens: int) -> Room:
        """window: None where it is not known."""
        size = float(window or UNKNOWN_WINDOW)
        limit = UNDER * size - min(max_tokens, ANSWER_SHARE * size)
        if window is None:
            longest = self._longest.get(model, 0)
            limit = max(limit, longest + max(GROWTH * longest, GROWTH_TOKENS)) if longest else limit
            size = max(size, limit / (UNDER - ANSWER_SHARE))
        return Room(size, min(limit, UNDER_REFUSED * self._refused.get(model, limit / UNDER_REFUSED)), window is None)

    def _scale(self, model: str) -> Scale:
        return self._models.get(model) or FRESH

    def _of_exchange(self, exchange: Exchange) -> Measure:
        measure = self._kept.get(exchange)
        if measure is None:
            measure = estimate.total((NOTHING, *map(self._of_entry, exchange.shown)))
            self._kept.put(exchange, measure)
        return measure

    def _of_entry(self, entry: Entry) -> Measure:
        measure = self._kept.get(entry)
        if measure is None:
            measure = estimate.of_entry(entry)
            self._kept.put(entry, measure)
        return measure


FRESH, NOTHING = Scale(), Measure()


@lru_cache(maxsize=16)
def _of_prompt(system: str) -> Measure:
    return estimate.of_text(system, messages=1)._replace(one=1.0)


@lru_cache(maxsize=16)
def _of_tools(tools: tuple[ToolSpec, ...]) -> Measure:
    text = "".join(f"{tool.name}{tool.description}{tool.schema}" for tool in tools)
    return estimate.of_text(text, tools=len(tools))
