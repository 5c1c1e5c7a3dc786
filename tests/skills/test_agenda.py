"""The script of the calendar skill, run as a command runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nanobot.skills.places import BUILTIN

SCRIPT = BUILTIN / "calendar" / "scripts" / "agenda.py"
ZONE = "Europe/Berlin"


def event(*lines: str, uid: str = "1", summary: str = "Event") -> str:
    return "\r\n".join(["BEGIN:VEVENT", f"UID:{uid}", f"SUMMARY:{summary}", *lines, "END:VEVENT"])


def agenda(tmp_path: Path, *parts: str, begin: str = "2026-03-02", days: int = 7, more: tuple[str, ...] = ()) -> list[str]:
    file = tmp_path / "a.ics"
    file.write_text("\r\n".join(["BEGIN:VCALENDAR", "VERSION:2.0", *parts, "END:VCALENDAR", ""]), newline="")
    return run(file, begin, days, *more)[0]


def run(file: Path, begin: str, days: int, *more: str) -> tuple[list[str], str, int]:
    command = [sys.executable, str(SCRIPT), str(file), "--from", begin, "--days", str(days), "--zone", ZONE, *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    return done.stdout.splitlines(), done.stderr, done.returncode


START = "DTSTART;TZID=Europe/Berlin:20260302T090000"
SINGLE = "RECURRENCE-ID;TZID=Europe/Berlin"
HOUR = "DTEND;TZID=Europe/Berlin:20260302T100000"


@pytest.mark.parametrize(
    ("lines", "shown"),
    [
        ([START, HOUR], "Mon 2026-03-02 09:00-10:00  Event"),
        ([START, "DURATION:PT1H30M"], "Mon 2026-03-02 09:00-10:30  Event"),
        (["DTSTART:20260302T080000Z", "DTEND:20260302T090000Z"], "Mon 2026-03-02 09:00-10:00  Event"),
        (["DTSTART;TZID=America/New_York:20260302T080000", "DURATION:PT1H"], "Mon 2026-03-02 14:00-15:00  Event"),
        (["DTSTART;VALUE=DATE:20260303", "DTEND;VALUE=DATE:20260304"], "Tue 2026-03-03 all day  Event"),
        (["DTSTART;VALUE=DATE:20260303", "DTEND;VALUE=DATE:20260305"], "Tue 2026-03-03 all day, until Wed 2026-03-04  Event"),
        ([START, HOUR, "LOCATION:Main St. 1\\, Berlin"], "Mon 2026-03-02 09:00-10:00  Event (Main St. 1, Berlin)"),
        ([START, "DTEND;TZID=Europe/Berlin:20260303T010000"], "Mon 2026-03-02 09:00-Tue 2026-03-03 01:00  Event"),
        ([START, HOUR, "BEGIN:VALARM", "DTSTART:19990101T000000Z", "END:VALARM"], "Mon 2026-03-02 09:00-10:00  Event"),
    ],
)
def test_one_event(lines: list[str], shown: str, tmp_path: Path) -> None:
    assert agenda(tmp_path, event(*lines)) == [shown]


@pytest.mark.parametrize(
    ("rule", "begin", "days", "dates"),
    [
        ("FREQ=DAILY;COUNT=3", "2026-03-01", 30, ["03-02", "03-03", "03-04"]),
        ("FREQ=DAILY;INTERVAL=10", "2026-03-01", 30, ["03-02", "03-12", "03-22"]),
        ("FREQ=WEEKLY;BYDAY=MO,WE;UNTIL=20260311T080000Z", "2026-03-01", 30, ["03-02", "03-04", "03-09", "03-11"]),
        ("FREQ=WEEKLY;INTERVAL=2", "2026-03-01", 31, ["03-02", "03-16", "03-30"]),
        ("FREQ=MONTHLY", "2026-03-01", 100, ["03-02", "04-02", "05-02", "06-02"]),
        ("FREQ=MONTHLY;BYDAY=1MO", "2026-03-01", 70, ["03-02", "04-06", "05-04"]),
        ("FREQ=MONTHLY;BYDAY=-1FR", "2026-03-01", 70, ["03-27", "04-24"]),
        ("FREQ=MONTHLY;BYMONTHDAY=31", "2026-03-01", 100, ["03-31", "05-31"]),
        ("FREQ=YEARLY", "2027-03-01", 10, ["03-02"]),
        ("FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU", "2026-03-01", 366, ["03-29"]),
    ],
)
def test_repetitions(rule: str, begin: str, days: int, dates: list[str], tmp_path: Path) -> None:
    lines = agenda(tmp_path, event(START, HOUR, f"RRULE:{rule}"), begin=begin, days=days)
    assert [line[9:14] for line in lines] == dates


def test_the_local_time_stays_over_a_change_of_the_clock(tmp_path: Path) -> None:
    lines = agenda(tmp_path, event(START, HOUR, "RRULE:FREQ=WEEKLY"), begin="2026-03-23", days=14)
    assert [line[4:26] for line in lines] == ["2026-03-23 09:00-10:00", "2026-03-30 09:00-10:00"]


def test_days_off_moved_dates_and_cancelled_ones(tmp_path: Path) -> None:
    series = event(START, HOUR, "RRULE:FREQ=DAILY;COUNT=5", "EXDATE;TZID=Europe/Berlin:20260303T090000")
    moved = event(
        "RECURRENCE-ID;TZID=Europe/Berlin:20260304T090000",
        "DTSTART;TZID=Europe/Berlin:20260304T150000",
        "DURATION:PT1H",
        summary="Moved",
    )
    gone = event(f"{SINGLE}:20260305T090000", START.replace("0302", "0305"), "STATUS:CANCELLED")
    lines = agenda(tmp_path, series, moved, gone)
    assert [line[4:] for line in lines] == [
        "2026-03-02 09:00-10:00  Event",
        "2026-03-04 15:00-16:00  Moved",
        "2026-03-06 09:00-10:00  Event",
    ]


def test_free_times(tmp_path: Path) -> None:
    whole_day = event("DTSTART;VALUE=DATE:20260302", uid="2")
    busy = event(START.replace("T09", "T10"), HOUR.replace("T10", "T12"), uid="3")
    lines = agenda(tmp_path, whole_day, busy, days=1, more=("--free", "09:00-18:00"))
    assert lines == ["Mon 2026-03-02 09:00-10:00  free", "Mon 2026-03-02 12:00-18:00  free"]


def test_long_lines_are_joined_and_nothing_steers_the_terminal(tmp_path: Path) -> None:
    lines = agenda(tmp_path, event(START, HOUR, summary="A long\r\n er title\x1b[2J with\\nlines"))
    assert lines == ["Mon 2026-03-02 09:00-10:00  A longer title [2J with lines"]


@pytest.mark.parametrize(
    "rule", ["FREQ=SECONDLY", "FREQ=DAILY;BYSETPOS=1", "FREQ=WEEKLY;INTERVAL=2;WKST=SU", "nonsense", "FREQ=DAILY;COUNT=x"]
)
def test_what_is_not_understood_is_said(rule: str, tmp_path: Path) -> None:
    file = tmp_path / "a.ics"
    file.write_text(f"BEGIN:VCALENDAR\n{event(START, HOUR, f'RRULE:{rule}')}\nEND:VCALENDAR")
    out, err, code = run(file, "2026-03-02", 7)
    assert (len(out), code) == (1, 0)
    assert "not understood" in err


@pytest.mark.parametrize(
    "rule",
    ["FREQ=DAILY", "FREQ=DAILY;INTERVAL=0", "FREQ=MONTHLY;BYDAY=99MO", "FREQ=YEARLY;INTERVAL=99999999", "FREQ=DAILY;BYDAY=9"],
)
def test_rules_without_an_end_end(rule: str, tmp_path: Path) -> None:
    old = START.replace("2026", "1970")
    file = tmp_path / "a.ics"
    file.write_text(f"BEGIN:VCALENDAR\n{event(old, f'RRULE:{rule}')}\nEND:VCALENDAR")
    assert run(file, "2026-03-02", 366)[2] == 0


@pytest.mark.parametrize("text", ["", "<html>", "BEGIN:VEVENT\nEND:VEVENT"])
def test_what_is_no_calendar(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.ics").write_text(text)
    out, err, code = run(tmp_path / "a.ics", "2026-03-02", 7)
    assert (out, code) == ([], 1)
    assert "no calendar" in err


@pytest.mark.parametrize(
    "start", ["DTSTART:nonsense", "DTSTART:20269999T990000", "DTSTART;TZID=No/Where:20260302T090000", "DTSTART:"]
)
def test_a_damaged_event_does_not_hide_the_others(start: str, tmp_path: Path) -> None:
    lines = agenda(tmp_path, event(start, uid="2", summary="Odd"), event(START, HOUR))
    assert "Mon 2026-03-02 09:00-10:00  Event" in lines
