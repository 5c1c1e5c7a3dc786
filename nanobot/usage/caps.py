"""Limits of what may be used up (`usage.caps`): how each stands, which of them stop what, and how that is said. Pure.

Of several, each counts. A cap on `principal` is one for each person whom its `who` means, owners and the jobs of that person
included. What is stopped is the beginning of turns: one that runs goes on to its end. Consolidation is background work and waits,
too: what leaves a conversation meanwhile is remembered when the cap is over (agent/consolidation.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import attrs

from nanobot.config.schema import CapConfig, PriceConfig, UsageConfig
from nanobot.messages import Principal
from nanobot.usage.days import Calendar, Per, Period
from nanobot.usage.ledger import Sum
from nanobot.usage.prices import cost, price_of

WHAT = {"background": "background work (jobs, heartbeat, memory)", "everything": "everything together"}


@attrs.frozen
class Standing:
    """A cap in its present period, for one person where it is on persons."""

    cap: CapConfig
    who: str
    """`str(Principal)`, empty where it is not on persons."""
    period: Period
    tokens: int
    money: float
    """As far as the prices are known."""
    uncounted: tuple[str, ...] = ()
    """Models that a limit of money cannot count, having no price."""

    @property
    def reached(self) -> bool:
        of_tokens = self.cap.tokens is not None and self.tokens >= self.cap.tokens
        return of_tokens or (self.cap.money is not None and self.money >= self.cap.money)

    @property
    def name(self) -> str:
        """The same as long as the limit stays as it is: one that was raised, and reached again, is told again."""
        cap = self.cap
        return "|".join(map(str, (cap.of, cap.who, cap.per, cap.tokens, cap.money, cap.action, self.who)))

    def stops(self, principal: str, *, background: bool) -> bool:
        """Whether no turn of theirs may begin."""
        if self.cap.action != "stop" or not self.reached:
            return False
        match self.cap.of:
            case "background":
                return background
            case "principal":
                return principal == self.who
            case "everything":
                return True


Sums = Mapping[Per, Sequence[Sum]]
"""What was used up in the present day and month."""


def standings(config: UsageConfig, sums: Sums, calendar: Calendar, now: float) -> Iterator[Standing]:
    """How each cap stands; of those on persons, one for each who has used something."""
    for cap in config.caps:
        period, of_period = calendar.period(cap.per, now), sums[cap.per]
        if cap.of == "principal":
            for who in sorted({one.principal for one in of_period if one.principal and _means(cap.who, one.principal)}):
                yield _standing(config, cap, who, period, [one for one in of_period if one.principal == who])
        else:
            counted = [one for one in of_period if cap.of == "everything" or one.background]
            yield _standing(config, cap, "", period, counted)


def money(sums: Sequence[Sum], prices: Mapping[str, PriceConfig]) -> float:
    """As far as the prices are known."""
    priced = ((one.usage, price_of(one.model, prices)) for one in sums)
    return sum(cost(usage, price) for usage, price in priced if price is not None)


def _standing(config: UsageConfig, cap: CapConfig, who: str, period: Period, sums: Sequence[Sum]) -> Standing:
    unpriced = {one.model or "unknown" for one in sums if one.tokens and price_of(one.model, config.prices) is None}
    uncounted = () if cap.money is None else tuple(sorted(unpriced))
    return Standing(cap, who, period, sum(one.tokens for one in sums), money(sums, config.prices), uncounted)


def _means(pattern: str, principal: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), principal, re.DOTALL) is not None


# --- words


def limit(cap: CapConfig, currency: str) -> str:
    """`100,000 tokens or 2.00 USD a day`."""
    tokens = [] if cap.tokens is None else [f"{cap.tokens:,} tokens"]
    amount = [] if cap.money is None else [f"{cap.money:,.2f} {currency}"]
    return f"{' or '.join(tokens + amount)} a {cap.per}"


def told(standing: Standing, config: UsageConfig, calendar: Calendar) -> str:
    """For the owner, when it is reached: the same words for the whole period."""
    cap = standing.cap
    what = _what(standing)
    over = calendar.shown(standing.period.end)
    if cap.action == "warn":
        then = f"That is only a warning, and everything goes on. It counts anew from {over}"
    else:
        then = f"No turn of that begins before {over}; what runs goes on"
    way_out = "What used it up: nanobot usage. The limit stands in usage.caps"
    return f"A limit is reached: {limit(cap, config.currency)} for {what}. {then}. {way_out}."


def blind(standing: Standing, config: UsageConfig) -> str:
    """For the owner, where a limit is not kept as they may believe."""
    return (
        f"The limit of {limit(standing.cap, config.currency)} for {_what(standing)} does not count the money for"
        f" {', '.join(standing.uncounted)}: there is no price in usage.prices."
    )


def refusal(standing: Standing, config: UsageConfig, calendar: Calendar, *, owner: bool) -> str:
    """For who waits for an answer."""
    cap = standing.cap
    whose = {"principal": "Your limit", "everything": "The limit for all of us", "background": "The limit for background work"}
    text = f"{whose[cap.of]} of {limit(cap, config.currency)} is used up, so I do not answer this. It is over at"
    way_out = " To raise it: usage.caps in the configuration, then nanobot gateway reload." if owner else ""
    return f"{text} {calendar.shown(standing.period.end)}: ask again then.{way_out}"


def _what(standing: Standing) -> str:
    return WHAT.get(standing.cap.of) or _person(standing.who)


def _person(principal: str) -> str:
    try:
        who = Principal.parse(principal)
    except ValueError:
        return principal
    return f"{who.user} on {who.channel}"
