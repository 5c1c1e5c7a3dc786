"""Quiet hours, over midnight and over changes of the clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from nanobot.scheduler.quiet import Quiet

BERLIN = ZoneInfo("Europe/Berlin")


def quiet_minutes(hours: str, day: str, zone: ZoneInfo = BERLIN) -> int:
    """How many minutes of the 24 hours from noon of that day are quiet; walked in real time."""
    quiet = Quiet.parse(hours)
    assert quiet is not None
    noon = datetime.fromisoformat(f"{day} 12:00").replace(tzinfo=zone)
    until = (noon + timedelta(days=1)).astimezone(UTC)
    at, found = noon.astimezone(UTC), 0
    while at < until:
        found += quiet.at(at.astimezone(zone))
        at += timedelta(minutes=1)
    return found


@pytest.mark.parametrize(
    ("hours", "shown", "quiet"),
    [
        ("22:00-07:00", "21:59:59", False),
        ("22:00-07:00", "22:00", True),
        ("22:00-07:00", "23:59", True),
        ("22:00-07:00", "00:00", True),
        ("22:00-07:00", "06:59:59", True),
        ("22:00-07:00", "07:00", False),
        ("13:00 - 14:30", "13:00", True),
        ("13:00 - 14:30", "14:30", False),
        ("20:00-24:00", "23:59", True),
        ("20:00-24:00", "00:00", False),
        ("0:00-6:30", "00:00", True),
    ],
)
def test_by_the_clock(hours: str, shown: str, quiet: bool) -> None:
    found = Quiet.parse(hours)
    assert found is not None
    assert found.at(datetime.fromisoformat(f"2026-11-23 {shown}")) is quiet


@pytest.mark.parametrize(
    ("hours", "day", "minutes"),
    [
        ("22:00-07:00", "2026-11-23", 540),
        ("22:00-07:00", "2026-03-28", 480),
        ("22:00-07:00", "2026-10-24", 600),
        ("02:00-03:00", "2026-03-28", 0),
        ("02:00-03:00", "2026-10-24", 120),
        ("02:30-02:45", "2026-10-24", 30),
    ],
    ids=["any night", "an hour less", "an hour more", "skipped", "twice", "a quarter twice"],
)
def test_when_clocks_change(hours: str, day: str, minutes: int) -> None:
    assert quiet_minutes(hours, day) == minutes


@pytest.mark.parametrize("text", ["22-7", "25:00-07:00", "22:60-07:00", "22:00", "22:00-22:00", "00:00-24:00", "night"])
def test_what_are_no_hours(text: str) -> None:
    with pytest.raises(ValueError, match="expected hours"):
        Quiet.parse(text)


def test_no_hours_at_all() -> None:
    assert Quiet.parse(" ") is None
