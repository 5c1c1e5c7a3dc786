"""What becomes of the slots since the last committed one: a table of pauses, and every slot's fate exactly once."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanobot.config.schema import CatchUp, CronConfig
from nanobot.scheduler.catchup import MOST, ON_TIME_MS, Terms, settle
from nanobot.scheduler.jobs import At, Cron, Every, Schedule, Slot
from nanobot.scheduler.slots import next_slot, slots_between
from tests.scheduler.scene import HOUR, T0_MS, job

H = HOUR * 1000
HOURLY = Every(H, T0_MS)
DAY = 24 * H


def at(hours: float) -> int:
    return T0_MS + int(hours * H)


@pytest.mark.parametrize(
    ("catch_up", "now_h", "run_h", "missed_h"),
    [
        ("skip", 1, [1], []),
        ("skip", 1.5, [], [1]),
        ("skip", 3.01, [3], [1, 2]),
        ("once", 3.5, [3], [1, 2]),
        ("all", 3.5, [1, 2, 3], []),
        ("all", 3.01, [1, 2, 3], []),
    ],
)
def test_a_pause_by_policy(catch_up: CatchUp, now_h: float, run_h: list[int], missed_h: list[int]) -> None:
    found = settle(HOURLY, Slot(T0_MS), at(now_h), "UTC", Terms(catch_up, DAY))
    assert found is not None
    assert (list(found.run), list(found.missed)) == ([at(h) for h in run_h], [at(h) for h in missed_h])
    assert (found.upto, found.older) == (at(int(now_h)), None)


def test_nothing_is_due_before_the_next_slot_or_after_the_last() -> None:
    assert settle(HOURLY, Slot(T0_MS), at(0.99), "UTC", Terms("all", DAY)) is None
    assert settle(At(T0_MS), Slot(T0_MS), at(5), "UTC", Terms("all", DAY)) is None


@pytest.mark.parametrize("schedule", [HOURLY, Cron("0 * * * *")])
def test_what_is_older_than_the_horizon_has_one_record_together(schedule: Schedule) -> None:
    found = settle(schedule, Slot(T0_MS), at(1000), "UTC", Terms("all", 3 * H))
    assert found is not None
    assert found.older == next_slot(schedule, T0_MS, "UTC")
    assert len(found.run) in (3, 4)
    assert min(found.run) >= at(997)


@pytest.mark.parametrize("schedule", [At(at(1)), Every(500 * H, at(-499))])
def test_a_single_slot_that_is_too_old_is_settled_all_the_same(schedule: Schedule) -> None:
    found = settle(schedule, Slot(T0_MS), at(100), "UTC", Terms("once", DAY))
    assert found is not None
    assert (found.run, found.missed, found.older) == ((), (), at(1))
    assert settle(schedule, found.upto, at(100), "UTC", Terms("once", DAY)) is None


def test_a_year_of_seconds_is_bounded() -> None:
    now = T0_MS + 365 * DAY
    found = settle(Every(1000, T0_MS), Slot(T0_MS), now, "UTC", Terms("all", 365 * DAY))
    assert found is not None
    assert (len(found.run), found.run[-1], found.older) == (MOST, now, T0_MS + 1000)


def test_a_dense_month_in_a_silent_year_gives_its_newest() -> None:
    """The steps backwards meet all of it at once."""
    december, may = 1_764_547_200_000, 1_777_593_600_000
    found = settle(Cron("* * * 12 *"), Slot(december - 1), may, "UTC", Terms("all", 365 * DAY))
    assert found is not None
    last = december + 31 * DAY - 60_000
    assert (found.run[0], found.run[-1]) == (last - (MOST - 1) * 60_000, last)


def test_a_job_says_for_itself_what_it_wants() -> None:
    assert Terms.of(job(), CronConfig(catch_up="all", horizon_s=7)) == Terms("all", 7000)
    assert Terms.of(job(catch_up="skip", horizon_s=0.0), CronConfig()) == Terms("skip", 0)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 400),
    st.lists(st.integers(1, 900), min_size=1, max_size=12),
    st.sampled_from(["skip", "once", "all"]),
    st.integers(0, 5000),
)
def test_every_slot_of_the_horizon_has_one_fate_however_often_one_looks(
    every_s: int, pauses_s: list[int], catch_up: CatchUp, horizon_s: int
) -> None:
    schedule, now, upto = Every(every_s * 1000, T0_MS), T0_MS, Slot(T0_MS)
    fates: list[int] = []
    for pause_s in pauses_s:
        now += pause_s * 1000
        found = settle(schedule, upto, now, "UTC", Terms(catch_up, horizon_s * 1000))
        due = slots_between(schedule, upto, now, "UTC", 10_000)
        assert (found is None) == (not due)
        if found is not None:
            oldest = now - max(horizon_s * 1000, ON_TIME_MS)
            assert sorted((*found.run, *found.missed)) == [slot for slot in due if slot >= oldest][-MOST:]
            fates += [*found.run, *found.missed, *([] if found.older is None else [found.older])]
            upto = found.upto
            assert next_slot(schedule, upto, "UTC") == next_slot(schedule, now, "UTC")
    assert len(fates) == len(set(fates))
