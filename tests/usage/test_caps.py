"""Caps: what each counts, whom it stops, and what is said."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from nanobot.config.schema import CapConfig, PriceConfig, UsageConfig
from nanobot.messages import Usage
from nanobot.usage.caps import Standing, blind, refusal, standings, told
from nanobot.usage.days import Calendar
from nanobot.usage.ledger import Sum
from nanobot.usage.spent import Kind

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
ZONE = Calendar.of("Europe/Berlin")
ANN, BEN = "telegram:default:1:ann", "telegram:default:2:ben"


def used(tokens: int, principal: str = ANN, *, job: str = "", kind: Kind = Kind.TURN, model: str = "m") -> Sum:
    return Sum("s:t:u", kind, model, principal, job, 1, Usage(tokens - 10, 10))


def standing(cap: CapConfig, *sums: Sum, prices: dict[str, PriceConfig] | None = None) -> list[Standing]:
    config = UsageConfig(prices or {}, "EUR", (cap,))
    return list(standings(config, {"day": sums, "month": [*sums, *sums]}, ZONE, NOW))


@pytest.mark.parametrize(
    ("cap", "tokens"),
    [
        (CapConfig("everything", tokens=1), 1500),
        (CapConfig("background", tokens=1), 700),
        (CapConfig("background", per="month", tokens=1), 1400),
    ],
    ids=lambda value: f"{value.of} a {value.per}" if isinstance(value, CapConfig) else "",
)
def test_what_a_cap_counts(cap: CapConfig, tokens: int) -> None:
    sums = [
        used(800),
        used(400, job="a"),
        used(200, kind=Kind.MEMORY),
        used(100, job="heartbeat", kind=Kind.HEARTBEAT),
    ]
    [one] = standing(cap, *sums)
    assert one.tokens == tokens


@pytest.mark.parametrize(
    ("who", "persons"),
    [("*", [ANN, BEN]), (ANN, [ANN]), ("telegram:*:ben", [BEN]), ("telegram:default:1", []), ("slack:*", [])],
)
def test_a_cap_on_persons_is_one_for_each_who_is_meant(who: str, persons: list[str]) -> None:
    found = standing(CapConfig("principal", who, tokens=500), used(400), used(100, job="a"), used(300, BEN), used(900, ""))
    assert [one.who for one in found] == persons
    assert [one.reached for one in found] == [one.who == ANN for one in found], "jobs of a person are that person's"


@pytest.mark.parametrize(("tokens", "reached"), [(99, False), (100, True), (101, True)], ids=["below", "at the limit", "beyond"])
def test_when_a_limit_of_tokens_is_reached(tokens: int, reached: bool) -> None:
    assert [one.reached for one in standing(CapConfig("everything", tokens=100), used(tokens))] == [reached]


@pytest.mark.parametrize(("most", "reached"), [(0.03, False), (0.02, True)])
def test_a_limit_of_money_counts_what_has_a_price(most: float, reached: bool) -> None:
    sums = [used(10_010), used(1_000_000, model="unpriced")]
    [one] = standing(CapConfig("everything", money=most), *sums, prices={"m": PriceConfig(2.0, 0.0)})
    assert one.money == pytest.approx(0.02)
    assert one.reached is reached


@pytest.mark.parametrize(
    ("cap", "uncounted"),
    [(CapConfig("everything", money=1.0), ("unpriced",)), (CapConfig("everything", tokens=1), ())],
    ids=["of money", "of tokens"],
)
def test_what_a_limit_does_not_count_is_known(cap: CapConfig, uncounted: tuple[str, ...]) -> None:
    sums = [used(100), used(100, model="unpriced")]
    [one] = standing(cap, *sums, prices={"m": PriceConfig(2.0, 0.0)})
    assert one.uncounted == uncounted
    if uncounted:
        assert "1.00 EUR a day for everything together does not count the money for unpriced" in blind(
            one, UsageConfig({}, "EUR")
        )


STOPS = {
    "background": [(ANN, True)],
    "principal": [(ANN, False), (ANN, True)],
    "everything": [(ANN, False), (ANN, True), (BEN, False), (BEN, True)],
}


@pytest.mark.parametrize("of", STOPS)
@pytest.mark.parametrize("action", ["stop", "warn"])
def test_whom_a_cap_stops_that_is_reached(of: str, action: str) -> None:
    cap = CapConfig(of, ANN, tokens=100, action=action)  # type: ignore[arg-type]
    [one] = standing(cap, used(100, job="a"))
    cases = [(who, background) for who in (ANN, BEN) for background in (False, True)]
    stopped = [(who, background) for who, background in cases if one.stops(who, background=background)]
    expected = STOPS[of] if action == "stop" else []
    assert [case for case in stopped if of != "background" or case[0] == ANN] == expected
    [below] = standing(cap, used(99, job="a"))
    assert not any(below.stops(who, background=background) for who, background in cases)


def test_what_is_said() -> None:
    config = UsageConfig(currency="EUR")
    [one] = standing(CapConfig("principal", tokens=50_000, money=2.0, action="stop"), used(60_000))
    assert told(one, config, ZONE) == (
        "A limit is reached: 50,000 tokens or 2.00 EUR a day for ann on telegram. No turn of that begins before "
        "2026-11-24 00:00 (Europe/Berlin); what runs goes on. What used it up: nanobot usage. The limit stands in usage.caps."
    )
    assert refusal(one, config, ZONE, owner=False) == (
        "Your limit of 50,000 tokens or 2.00 EUR a day is used up, so I do not answer this. It is over at "
        "2026-11-24 00:00 (Europe/Berlin): ask again then."
    )
    assert refusal(one, config, ZONE, owner=True).endswith("usage.caps in the configuration, then nanobot gateway reload.")
    [warns] = standing(CapConfig("background", tokens=1), used(60_000, job="a"))
    assert "only a warning, and everything goes on" in told(warns, config, ZONE)


def test_what_is_said_stays_the_same_while_the_limit_does() -> None:
    """Else the owner would be told again with every call."""
    cap = CapConfig("everything", tokens=100)
    [one], [more] = standing(cap, used(100)), standing(cap, used(900))
    assert told(one, UsageConfig(), ZONE) == told(more, UsageConfig(), ZONE)
    [raised] = standing(CapConfig("everything", tokens=800), used(900))
    assert (one.name == more.name, one.name == raised.name) == (True, False)
