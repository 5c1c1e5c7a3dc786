"""Times in the past, in words."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanobot.memory.moments import BadMoment, read

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 23, 14, 30, tzinfo=BERLIN).timestamp()
"""A Monday."""


def span(text: str) -> tuple[str, str]:
    begin, end = (datetime.fromtimestamp(moment, BERLIN) for moment in read(text, NOW, BERLIN))
    return f"{begin:%Y-%m-%d %H:%M}", f"{end:%Y-%m-%d %H:%M}"


@pytest.mark.parametrize(
    ("text", "begin", "end"),
    [
        ("2026-11-20", "2026-11-20 00:00", "2026-11-21 00:00"),
        ("2026-11-20 10:30", "2026-11-20 10:30", "2026-11-20 10:31"),
        ("2026-11-20T10:30:00+00:00", "2026-11-20 11:30", "2026-11-20 11:31"),
        ("2026-02", "2026-02-01 00:00", "2026-03-01 00:00"),
        ("2025-12", "2025-12-01 00:00", "2026-01-01 00:00"),
        ("2025", "2025-01-01 00:00", "2026-01-01 00:00"),
        ("today", "2026-11-23 00:00", "2026-11-24 00:00"),
        (" Yesterday ", "2026-11-22 00:00", "2026-11-23 00:00"),
        ("the day before yesterday", "2026-11-21 00:00", "2026-11-22 00:00"),
        ("sunday", "2026-11-22 00:00", "2026-11-23 00:00"),
        ("last monday", "2026-11-16 00:00", "2026-11-17 00:00"),
        ("tuesday", "2026-11-17 00:00", "2026-11-18 00:00"),
        ("3 days ago", "2026-11-20 00:00", "2026-11-21 00:00"),
        ("a week ago", "2026-11-16 00:00", "2026-11-17 00:00"),
        ("9 months ago", "2026-02-23 00:00", "2026-02-24 00:00"),
        ("2 hours ago", "2026-11-23 12:30", "2026-11-23 12:31"),
        ("last 2 hours", "2026-11-23 12:30", "2026-11-23 14:30"),
        ("the past 1 year", "2025-11-23 14:30", "2026-11-23 14:30"),
        ("this week", "2026-11-23 00:00", "2026-11-30 00:00"),
        ("last week", "2026-11-16 00:00", "2026-11-23 00:00"),
        ("last month", "2026-10-01 00:00", "2026-11-01 00:00"),
        ("last year", "2025-01-01 00:00", "2026-01-01 00:00"),
        ("now", "2026-11-23 14:30", "2026-11-23 14:30"),
    ],
)
def test_what_a_text_means(text: str, begin: str, end: str) -> None:
    assert span(text) == (begin, end)


def test_a_month_before_a_long_one_ends_in_a_short_one() -> None:
    at = datetime(2026, 3, 31, 12, tzinfo=BERLIN).timestamp()
    begin, _ = read("1 month ago", at, BERLIN)
    assert datetime.fromtimestamp(begin, BERLIN).date().isoformat() == "2026-02-28"


@pytest.mark.parametrize("text", ["", "soon", "2026-13", "2026-02-30", "999999 years ago", "0000", "9999", "2026-W07-1x"])
def test_what_is_no_time_says_what_would_be(text: str) -> None:
    with pytest.raises(BadMoment, match="yesterday"):
        read(text, NOW, BERLIN)


@given(st.text() | st.from_regex(r"\d{1,6} (day|week|month|year)s? ago") | st.from_regex(r"\d{4}(-\d\d){0,2}"))
def test_any_text_is_a_span_or_no_time(text: str) -> None:
    try:
        begin, end = read(text, NOW, BERLIN)
    except BadMoment:
        return
    assert begin <= end
