"""What tokens cost, and which price is whose."""

from __future__ import annotations

import pytest

from nanobot.config.schema import PriceConfig
from nanobot.messages import Usage
from nanobot.usage.prices import cost, price_of

PRICES = {"gpt-5": PriceConfig(1.0, 10.0), "gpt-5-mini": PriceConfig(0.1, 1.0), "anthropic/Claude-x": PriceConfig(3.0, 15.0)}


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-5", "gpt-5"),
        ("openai/gpt-5", "gpt-5"),
        ("gpt-5-2026-08-07", "gpt-5"),
        ("openai/gpt-5-mini-20260807", "gpt-5-mini"),
        ("claude-x@20260101", "anthropic/Claude-x"),
        ("claude-x-latest", "anthropic/Claude-x"),
        ("gpt-5-nano", None),
        ("gpt-55", None),
        ("", None),
    ],
)
def test_the_price_of_a_model(model: str, name: str | None) -> None:
    assert price_of(model, PRICES) is (None if name is None else PRICES[name])


@pytest.mark.parametrize(
    ("usage", "price", "amount"),
    [
        (Usage(1_000_000, 100_000), PriceConfig(2.0, 10.0), 3.0),
        (Usage(1_000_000, 0, 600_000), PriceConfig(2.0, 10.0, 0.5), 0.8 + 0.3),
        (Usage(1_000_000, 0, 600_000), PriceConfig(2.0, 10.0), 2.0),
        (Usage(1_000_000, 0, 1_000_000), PriceConfig(2.0, 10.0, 0.0), 0.0),
        (Usage(10, 0, 20), PriceConfig(2.0, 10.0, 1.0), 10 / 1e6),
    ],
    ids=["read and written", "cached at its price", "no price for cached", "cached for nothing", "more cached than read"],
)
def test_what_it_costs(usage: Usage, price: PriceConfig, amount: float) -> None:
    assert cost(usage, price) == pytest.approx(amount)
