"""Slots: what becomes of changed clocks by example, and four laws for all schedules, held against a walk over every minute."""

from __future__ import annotations

import timeit
from datetime import datetime
from functools import partial
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nanobot.scheduler import slots, zones
from nanobot.scheduler.jobs import At, Cron, Every, Schedule, Slot
from nanobot.scheduler.slots import BadSchedule, check, next_slot, slots_between
from tests.scheduler.oracle import clock, due, ms

BERLIN, LORD_HOWE, SAMOA = "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia"
DAY_MS = 86_400_000
MINUTE_MS = 60_000


def shown(found: list[Slot], zone: str) -> list[str]:
    """Hours and minutes; of a time that is shown twice, the second has a mark."""
    walls = [datetime.fromtimestamp(slot / 1000, ZoneInfo(zone)) for slot in found]
    return [f"{wall:%H:%M}{'*' * wall.fold}" for wall in walls]


def of_a_day(expr: str, zone: str, *day: int) -> list[str]:
    begin, end = ms(zone, *day), ms(zone, *day[:2], day[2] + 1)
    return shown(slots_between(Cron(expr, zone), begin - 1, end - 1, "", 200), zone)


# --- examples


@pytest.mark.parametrize(
    ("expr", "due_then"),
    [
        ("30 2 * * *", ["03:00"]),
        ("15,45 2 * * *", ["03:00"]),
        ("0 2,3,4 * * *", ["03:00", "04:00"]),
        ("59 1 * * *", ["01:59"]),
        ("0 3 * * *", ["03:00"]),
        ("*/15 2 * * *", ["03:00", "03:15", "03:30", "03:45"]),
        ("*/30 1-3 * * *", ["01:00", "01:30", "03:00", "03:30"]),
        ("30 0-4/2 * * *", ["00:30", "03:30", "04:30"]),
    ],
)
def test_what_a_gap_from_2_to_3_skips(expr: str, due_then: list[str]) -> None:
    assert of_a_day(expr, BERLIN, 2026, 3, 29) == due_then


@pytest.mark.parametrize(
    ("expr", "due_then"),
    [
        ("30 2 * * *", ["02:30"]),
        ("15,45 2 * * *", ["02:15", "02:45"]),
        ("0 3 * * *", ["03:00"]),
        ("*/30 2 * * *", ["02:00", "02:30", "02:00*", "02:30*"]),
        ("30 0-4/2 * * *", ["00:30", "02:30", "02:30*", "04:30"]),
    ],
)
def test_what_is_shown_twice_from_2_to_3(expr: str, due_then: list[str]) -> None:
    assert of_a_day(expr, BERLIN, 2026, 10, 25) == due_then


def test_every_quarter_of_an_hour_stays_one() -> None:
    for day in ((2026, 3, 29), (2026, 10, 25)):
        found = slots_between(Cron("*/15 * * * *", BERLIN), ms(BERLIN, *day) - 1, ms(BERLIN, *day[:2], day[2] + 1), "", 200)
        assert {after - before for before, after in pairwise(found)} == {15 * MINUTE_MS}


def test_a_change_of_half_an_hour() -> None:
    assert of_a_day("0 * * * *", LORD_HOWE, 2026, 10, 4)[:4] == ["00:00", "01:00", "02:30", "03:00"]
    assert of_a_day("45 1 * * *", LORD_HOWE, 2026, 4, 5) == ["01:45"]


def test_a_day_that_a_zone_left_out() -> None:
    """Samoa had no 30 December 2011."""
    begin = ms(SAMOA, 2011, 12, 29, 12)
    found = slots_between(Cron("0 9 * * *", SAMOA), begin, begin + 2 * DAY_MS, "", 5)
    walls = [datetime.fromtimestamp(slot / 1000, ZoneInfo(SAMOA)) for slot in found]
    assert [f"{wall:%d %H:%M}" for wall in walls] == ["31 00:00", "31 09:00", "01 09:00"]


@pytest.mark.parametrize("expr", ["*/15 * 31 12 *", "0 */6 * * *", "30 2 * * *"])
def test_a_day_that_was_left_out_at_the_turn_of_a_year(expr: str) -> None:
    """Kiritimati went from 30 December 1994 to 1 January 1995."""
    zone = "Pacific/Kiritimati"
    begin, end = ms("UTC", 1994, 12, 29), ms("UTC", 1995, 1, 3)
    for after in range(begin + DAY_MS, end, 11 * 3_600_000):
        walked = [slot for slot in due(expr, clock(zone, begin, end, minutes=5)) if slot > after]
        assert slots_between(Cron(expr, zone), after, end, "", 1000) == walked


@pytest.mark.parametrize(
    ("expr", "same"),
    [
        ("@daily", "0 0 * * *"),
        ("@Hourly", "0 * * * *"),
        ("0 22-4/2 * * *", "0 0,2,4,22 * * *"),
        ("0 9 * * FRI-MON", "0 9 * * 5,6,0,1"),
        ("0 9 * * mon-sun", "0 9 * * 1-7"),
        ("0 9 ? nov-feb ?", "0 9 * 1,2,11,12 *"),
    ],
)
def test_expressions_that_the_library_alone_does_not_know(expr: str, same: str) -> None:
    assert slots_between(Cron(expr), 0, 500 * DAY_MS, "UTC", 400) == slots_between(Cron(same), 0, 500 * DAY_MS, "UTC", 400)


@pytest.mark.parametrize(
    ("schedule", "says"),
    [
        (Cron("0 0 31 2 *"), "no such day comes"),
        (Cron("0 0 30,31 2 *"), "no such day comes"),
        (Cron("61 * * * *"), "wrong minute"),
        (Cron("* * * *"), "4 fields"),
        (Cron("0 0 9 * * *"), "6 fields"),
        (Cron("0 9 * * 8"), "day-of-week"),
        (Cron("*/0 * * * *"), "minute"),
        (Cron("22-4/0 * * * *"), "number"),
        (Cron(f"{'*,' * 500}* * * * *"), "too long"),
        (Cron(""), "0 fields"),
        (Cron("0 9 * * *", "Europe/Berln"), "did you mean Europe/Berlin"),
        (Cron("0 9 * * *", "berlin"), "did you mean Europe/Berlin?"),
        (Cron("0 9 * * *", "Europe"), "no time zone"),
        (Cron("0 9 * * *", "../etc/passwd"), "no time zone"),
        (Every(0, 0), "at least 1 s"),
        (At(-1), "1970"),
    ],
)
def test_what_is_no_schedule(schedule: Schedule, says: str) -> None:
    with pytest.raises(BadSchedule, match=says) as caught:
        check(schedule)
    assert len(str(caught.value)) < 300


@given(st.text("0123456789*/,-?#LW MONSUNJAN@ab²\x00", max_size=30))
def test_what_cannot_be_read_is_a_bad_schedule_and_nothing_else(expr: str) -> None:
    try:
        check(Cron(expr, "UTC"))
    except BadSchedule:
        return
    assert next_slot(Cron(expr, "UTC"), 0, "") is not None


def test_a_time_is_due_once_and_never_when_it_is_over() -> None:
    assert [next_slot(At(1000), after, "") for after in (0, 999, 1000, 1001)] == [1000, 1000, None, None]


def test_an_interval_hangs_on_its_anchor() -> None:
    every = Every(7000, 100)
    answers = {after: next_slot(every, after, "") for after in (-DAY_MS, 100, 7099, 7100, 7_000_099)}
    assert answers == {-DAY_MS: 7100, 100: 7100, 7099: 7100, 7100: 14_100, 7_000_099: 7_000_100}


def test_a_29_february_is_found_over_a_century_without_one() -> None:
    found = next_slot(Cron("0 0 29 2 *", BERLIN), ms(BERLIN, 2096, 3, 1), "")
    assert found == ms(BERLIN, 2104, 2, 29)
    sunday = next_slot(Cron("0 0 29 2 */7", BERLIN), ms(BERLIN, 2088, 3, 1), "")
    assert sunday == ms(BERLIN, 2128, 2, 29)


def test_the_zone_of_the_configuration_counts_where_a_job_names_none(monkeypatch: pytest.MonkeyPatch) -> None:
    noon = Cron("0 12 * * *")
    assert next_slot(noon, ms("UTC", 2026, 7, 1), "Asia/Tokyo") == ms("Asia/Tokyo", 2026, 7, 1, 12)
    monkeypatch.setenv("TZ", ":America/New_York")
    zones.machine.cache_clear()
    zones.find.cache_clear()
    try:
        assert next_slot(noon, ms("UTC", 2026, 7, 1), "") == ms("America/New_York", 2026, 7, 1, 12)
    finally:
        zones.machine.cache_clear()
        zones.find.cache_clear()


def test_a_clock_far_from_the_truth_does_no_harm() -> None:
    daily = Cron("0 12 * * *", BERLIN)
    assert next_slot(daily, -(10**18), "") == ms(BERLIN, 1970, 1, 1, 12)
    assert next_slot(daily, 10**18, "") is None
    assert next_slot(daily, slots.END_MS - 1, "") is not None


def test_the_next_slot_is_found_quickly() -> None:
    """10,000 jobs are looked at when nanobot starts. Some ten microseconds each; the bound is for a busy machine."""
    for expr in ("0 9 * * 1-5", "*/15 * * * *", "30 2 1 * *"):
        job, now = Cron(expr, BERLIN), ms(BERLIN, 2026, 11, 23, 12)
        next_slot(job, now, "")
        took = timeit.repeat(partial(next_slot, job, now, ""), number=200, repeat=5)
        assert min(took) / 200 < 200e-6


# --- laws

PIECES = {
    "minute": ["0", "30", "*", "*/15", "7,37", "10-20", "59"],
    "hour": ["2", "1", "0", "*", "*/2", "0,2,23", "1-3", "3"],
    "day": ["*", "*", "*", "29", "*/3", "1,15", "31"],
    "month": ["*", "*", "3,10", "*/2"],
    "weekday": ["*", "*", "0", "1-5", "*/2"],
}
exprs = st.tuples(*(st.sampled_from(piece) for piece in PIECES.values())).map(" ".join)
CHANGES = {
    BERLIN: (2026, 3, 29),
    LORD_HOWE: (2026, 10, 4),
    "Africa/Casablanca": (2026, 2, 15),
    "America/New_York": (2026, 11, 1),
    "America/Santiago": (2026, 9, 6),
    "Asia/Beirut": (2026, 3, 29),
    "Asia/Kolkata": (2026, 1, 1),
    "Pacific/Chatham": (2026, 4, 5),
}
"""A day on which the clock is changed, where it is."""
zone_names = st.sampled_from(sorted(CHANGES))


@st.composite
def crons(draw: st.DrawFn) -> Cron:
    cron = Cron(draw(exprs), draw(zone_names))
    try:
        check(cron)
    except BadSchedule:
        assume(False)
    return cron


schedules = st.one_of(
    crons(),
    st.builds(Every, st.integers(1000, 40 * DAY_MS), st.integers(0, 2 * 10**12)),
    st.builds(At, st.integers(0, 2 * 10**12)),
)
moments = st.one_of(st.integers(0, 2 * 10**12), st.sampled_from([ms(zone, *day) for zone, day in CHANGES.items()]))
near = st.integers(-2 * DAY_MS, 2 * DAY_MS)


@given(schedules, moments, near)
def test_a_slot_lies_strictly_after(schedule: Schedule, begin: int, more: int) -> None:
    slot = next_slot(schedule, begin + more, "")
    assert slot is None or slot > begin + more


@given(schedules, moments, near, st.integers(0, 2 * DAY_MS))
def test_it_is_the_same_from_wherever_one_asks(schedule: Schedule, begin: int, more: int, further: int) -> None:
    """Later questions have later answers, and between a question and its answer there is no other."""
    early, late = begin + more, begin + more + further
    first, second = next_slot(schedule, early, ""), next_slot(schedule, late, "")
    if first is None or first > late:
        assert second == first
    else:
        assert second is None or second > first
        assert next_slot(schedule, first - 1, "") == first


@settings(max_examples=60, deadline=None)
@given(st.data(), exprs, zone_names)
def test_it_is_what_a_walk_over_every_minute_finds(data: st.DataObject, expr: str, zone: str) -> None:
    """Three days about a change of the clock, or a month later, begun a day before."""
    cron = Cron(expr, zone)
    try:
        check(cron)
    except BadSchedule:
        assume(False)
    begin = ms(zone, *CHANGES[zone]) - 2 * DAY_MS + data.draw(st.sampled_from([0, 30 * DAY_MS]))
    end = begin + 4 * DAY_MS
    walked = [slot for slot in due(expr, clock(zone, begin, end)) if slot > begin + DAY_MS]
    assert slots_between(cron, begin + DAY_MS, end, "", 10_000) == walked
