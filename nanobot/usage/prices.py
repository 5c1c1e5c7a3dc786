"""What tokens cost, by `usage.prices`. Pure.

A price is found by the model's name as the service gives it: the same name, else without what stands before a slash
(`openai/gpt-4o`), else without the date behind it (`gpt-4o-2024-08-06`). A model without a price costs an unknown amount, which
is said and not counted as nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from nanobot.config.schema import PriceConfig
from nanobot.messages import Usage

MILLION = 1_000_000
_DATE = re.compile(r"[-@](20\d{2}-?\d{2}-?\d{2}|\d{4}|latest)$")


def price_of(model: str, prices: Mapping[str, PriceConfig]) -> PriceConfig | None:
    short = {_plain(name): price for name, price in prices.items()}
    for name in (_plain(model), _DATE.sub("", _plain(model))):
        found = prices.get(model) or short.get(name)
        if found is not None:
            return found
    return None


def cost(usage: Usage, price: PriceConfig) -> float:
    """Tokens from the cache at their own price, where there is one; the others that were read, and those written."""
    cached = min(usage.cached, usage.input)
    cached_price = price.input if price.cached is None else price.cached
    return ((usage.input - cached) * price.input + cached * cached_price + usage.output * price.output) / MILLION


def _plain(name: str) -> str:
    return name.rpartition("/")[2].lower()
