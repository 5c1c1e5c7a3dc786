"""Days and months in a zone: their length when clocks change, and which one a moment lies in."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest

from nanobot.usage.days import Calendar

HOUR = 3600.0


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("zone", "now", "name", "begin", "hours"),
    [
        ("Europe/Berlin", "2026-11-23 22:59:59", "2026-11-23", "2026-11-22 23:00", 24),
        ("Europe/Berlin", "2026-11-23 23:00:00", "2026-11-24", "2026-11-23 23:00", 24),
        ("Europe/Berlin", "2026-03-29 10:00", "2026-03-29", "2026-03-28 23:00", 23),
        ("Europe/Berlin", "2026-10-25 00:30", "2026-10-25", "2026-10-24 22:00", 25),
        ("Africa/Cairo", "2026-04-24 08:00", "2026-04-24", "2026-04-23 22:00", 23),
        ("Asia/Kolkata", "2026-11-23 18:29:59", "2026-11-23", "2026-11-22 18:30", 24),
        ("Pacific/Kiritimati", "2026-11-23 10:00", "2026-11-24", "2026-11-23 10:00", 24),
        ("UTC", "2026-12-31 23:59:59", "2026-12-31", "2026-12-31 00:00", 24),
    ],
)
def test_a_day(zone: str, now: str, name: str, begin: str, hours: int) -> None:
    day = Calendar.of(zone).period("day", at(now))
    assert (day.name, day.begin, day.end - day.begin) == (name, at(begin), hours * HOUR)


@pytest.mark.parametrize(
    ("now", "name", "begin", "end"),
    [
        ("2026-12-31 23:30", "2027-01", "2026-12-31 23:00", "2027-01-31 23:00"),
        ("2026-03-15 12:00", "2026-03", "2026-02-28 23:00", "2026-03-31 22:00"),
    ],
)
def test_a_month(now: str, name: str, begin: str, end: str) -> None:
    month = Calendar.of("Europe/Berlin").period("month", at(now))
    assert (month.name, month.begin, month.end) == (name, at(begin), at(end))


def test_the_last_days_end_where_the_next_begin() -> None:
    days = Calendar.of("Europe/Berlin").last_days(at("2026-11-02 12:00"), 10)
    assert [day.name for day in days][::9] == ["2026-10-24", "2026-11-02"]
    assert all(one.end == next.begin for one, next in itertools.pairwise(days))


def test_a_zone_that_nobody_knows_is_the_machines(claimed_errors: list[str]) -> None:
    assert Calendar.of("Europe/Atlantis") == Calendar.of("")
