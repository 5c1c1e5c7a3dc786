"""When a child is started again: a table of what each cause means, and what holds for every history."""

from __future__ import annotations

import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanobot.config.schema import RestartConfig
from nanobot.supervise.policy import Cause, Exit, Park, Policy, Wait, decide

POLICY = Policy()
PASSING = (Cause.TRANSIENT, Cause.RATE_LIMITED, Cause.RETURNED, Cause.BUG)
FOR_GOOD = (Cause.AUTH, Cause.CONFIG, Cause.STUCK)


def ends(number: int, cause: Cause = Cause.TRANSIENT, *, healthy_s: float = 0.0, retry_after: float | None = None) -> list[Exit]:
    return [Exit(0.0, cause, "x", retry_after, healthy_s)] * number


def test_every_cause_is_in_the_tables_below() -> None:
    assert set(PASSING) | set(FOR_GOOD) == set(Cause)


@pytest.mark.parametrize("cause", PASSING)
def test_a_passing_cause_waits_twice_as_long_each_time_then_is_parked_and_tried_slowly(cause: Cause) -> None:
    steps = [decide(POLICY, ends(row, cause), 1.0) for row in range(1, 12)]
    assert steps == [*map(Wait, (1, 2, 4, 8, 16, 32, 60, 60, 60)), Park(900), Park(900)]


@pytest.mark.parametrize("cause", FOR_GOOD)
def test_what_only_a_person_can_change_is_parked_at_once_and_for_good(cause: Cause) -> None:
    assert decide(POLICY, ends(1, cause), 0.5) == Park(None)


@pytest.mark.parametrize(
    ("row", "retry_after", "step"),
    [
        (1, 0.2, Wait(1)),
        (1, 30, Wait(30)),
        (1, 3600, Wait(3600)),
        (5, 10, Wait(16)),
        (10, 30, Park(900)),
        (10, 3600, Park(3600)),
        (1, -5, Wait(1)),
        (1, math.nan, Wait(1)),
        (1, math.inf, Wait(math.inf)),
    ],
)
def test_the_time_that_was_asked_for_is_waited_for(row: int, retry_after: float, step: Wait | Park) -> None:
    assert decide(POLICY, ends(row, Cause.RATE_LIMITED, retry_after=retry_after), 1.0) == step


@pytest.mark.parametrize(("healthy_s", "step"), [(299.0, Park(900)), (300.0, Wait(1))])
def test_health_ends_the_row(healthy_s: float, step: Wait | Park) -> None:
    assert decide(POLICY, ends(9) + ends(1, healthy_s=healthy_s), 1.0) == step


def test_the_row_goes_on_after_the_failure_that_ended_a_healthy_life() -> None:
    assert decide(POLICY, ends(5) + ends(1, healthy_s=301) + ends(2), 1.0) == Wait(4)


histories = st.lists(
    st.builds(
        Exit,
        at=st.just(0.0),
        cause=st.sampled_from(Cause),
        error=st.just(""),
        retry_after=st.none() | st.floats(0, 1e6),
        healthy_s=st.floats(0, 1e4),
    ),
    min_size=1,
    max_size=30,
)
policies = st.builds(
    Policy,
    first_s=st.floats(0.05, 100),
    longest_s=st.floats(0.05, 1000),
    park_after=st.integers(1, 20),
    healthy_s=st.floats(0.1, 1e4),
)
jitters = st.floats(0, 1, exclude_max=True)


@given(policies, histories, jitters)
def test_no_wait_is_below_half_of_the_shortest_or_what_was_asked_nor_above_both(
    policy: Policy, exits: list[Exit], jitter: float
) -> None:
    asked = exits[-1].retry_after or 0.0
    match decide(policy, exits, jitter):
        case Wait(seconds):
            assert max(min(policy.first_s, policy.longest_s) / 2, asked) <= seconds <= max(policy.longest_s, asked)
        case Park(None):
            assert exits[-1].cause in FOR_GOOD
        case Park(retry_s):
            assert retry_s == max(policy.slow_retry_s, asked)


@given(policies, histories, jitters)
def test_only_the_last_exits_count_so_that_a_history_may_be_cut(policy: Policy, exits: list[Exit], jitter: float) -> None:
    assert decide(policy, exits, jitter) == decide(policy, exits[-policy.park_after :], jitter)


@given(st.integers(1, 8), jitters, jitters)
def test_waits_grow_whatever_is_drawn(row: int, drawn: float, drawn_next: float) -> None:
    policy = attrs.evolve(POLICY, longest_s=1e9)
    first, second = decide(policy, ends(row), drawn), decide(policy, ends(row + 1), drawn_next)
    assert isinstance(first, Wait)
    assert isinstance(second, Wait)
    assert first.seconds <= second.seconds


@given(policies, st.integers(1, 40))
def test_no_row_of_failures_is_longer_than_the_policy_says(policy: Policy, row: int) -> None:
    assert isinstance(decide(policy, ends(row), 0.0), Park) == (row >= policy.park_after)


def test_the_longest_row_that_the_configuration_allows_can_be_counted() -> None:
    policy = Policy(first_s=3600, park_after=1000)
    assert decide(policy, ends(999), 1.0) == Wait(60)


def test_the_figures_are_those_of_the_configuration() -> None:
    config = RestartConfig(first_s=2, longest_s=3, park_after=4, healthy_s=5, slow_retry_s=6)
    assert attrs.asdict(Policy.of(config)) == attrs.asdict(config)
