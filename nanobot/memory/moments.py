"""Times in the past as people write them: `2026-11-23 10:30`, `2026-11`, `yesterday`, `3 weeks ago`, `last month`. Pure.

A text means a span: `since` it is since its beginning, `until` it until its end, so that `until yesterday` takes in all of
yesterday.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta, tzinfo

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
UNDERSTOOD = (
    "2026-11-23, 2026-11-23 10:30, 2026-11, 2026, today, yesterday, monday, 3 days ago, 2 weeks ago, this week, last month, "
    "last 12 hours"
)
_SECONDS = {"minute": 60, "hour": 3600, "day": 86400, "week": 7 * 86400}
_AGO = re.compile(r"(\d{1,6}|an?|one) (minute|hour|day|week|month|year)s? ago")
_LAST = re.compile(r"(?:the )?(?:last|past) (\d{1,6}) (minute|hour|day|week|month|year)s?")
_RELATIVE = re.compile(r"(this|last|past) (week|month|year)")
_MONTH = re.compile(r"(\d{4})(?:-(\d\d))?")
_WEEKDAY = re.compile(rf"(?:last |on )?({'|'.join(DAYS)})")
Span = tuple[datetime, datetime]


class BadMoment(ValueError):
    """A text that is no time; the message says what would be."""


def read(text: str, now: float, zone: tzinfo | None) -> tuple[float, float]:
    """The span that a text means, in seconds since the epoch. zone: of the times in it; None is the machine's.

    Raises: BadMoment.
    """
    here = datetime.fromtimestamp(now, zone).replace(tzinfo=None)
    words = " ".join(text.lower().split())
    try:
        begin, end = _named(words, here) or _relative(words, here) or _iso(text.strip())
        return _seconds(begin, zone), _seconds(end, zone)
    except (ValueError, OverflowError, OSError) as exc:
        raise BadMoment(f"{text[:60]!r} is no time that is understood. These are: {UNDERSTOOD}") from exc


def _seconds(moment: datetime, zone: tzinfo | None) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp()


def _named(words: str, here: datetime) -> Span | None:
    day = re.fullmatch(_WEEKDAY, words)
    if day is not None:
        return _day(here.date() - timedelta(days=(here.weekday() - DAYS.index(day[1]) - 1) % 7 + 1))
    match words:
        case "now":
            return here, here
        case "today":
            return _day(here.date())
        case "yesterday":
            return _day(here.date() - timedelta(days=1))
        case "the day before yesterday" | "day before yesterday":
            return _day(here.date() - timedelta(days=2))
        case _:
            return None


def _relative(words: str, here: datetime) -> Span | None:
    if (ago := _AGO.fullmatch(words)) is not None:
        moment = _before(here, int(ago[1]) if ago[1].isdecimal() else 1, ago[2])
        return (moment, moment + timedelta(minutes=1)) if ago[2] in ("minute", "hour") else _day(moment.date())
    if (last := _LAST.fullmatch(words)) is not None:
        return _before(here, int(last[1]), last[2]), here
    if (unit := _RELATIVE.fullmatch(words)) is not None:
        begin, end = _unit(unit[2], here.date())
        return (begin, end) if unit[1] == "this" else _unit(unit[2], begin.date() - timedelta(days=1))
    return None


def _before(here: datetime, count: int, unit: str) -> datetime:
    if unit in _SECONDS:
        return here - timedelta(seconds=count * _SECONDS[unit])
    months = here.year * 12 + here.month - 1 - count * (12 if unit == "year" else 1)
    first = date(months // 12, months % 12 + 1, 1)
    longest = (_next_month(first) - first).days
    return here.replace(year=first.year, month=first.month, day=min(here.day, longest))


def _unit(unit: str, day: date) -> Span:
    """The week, month or year in which the day is."""
    match unit:
        case "week":
            begin = day - timedelta(days=day.weekday())
            return _span(begin, begin + timedelta(days=7))
        case "month":
            return _span(day.replace(day=1), _next_month(day.replace(day=1)))
        case _:
            return _span(date(day.year, 1, 1), date(day.year + 1, 1, 1))


def _iso(text: str) -> Span:
    """Raises: ValueError."""
    if (month := _MONTH.fullmatch(text)) is not None:
        return _unit("month" if month[2] else "year", date(int(month[1]), int(month[2] or 1), 1))
    if len(text) == len("2026-11-23"):
        return _day(date.fromisoformat(text))
    moment = datetime.fromisoformat(text)
    return moment, moment + (timedelta(seconds=1) if moment.second else timedelta(minutes=1))


def _day(day: date) -> Span:
    return _span(day, day + timedelta(days=1))


def _span(begin: date, end: date) -> Span:
    return datetime.combine(begin, time()), datetime.combine(end, time())


def _next_month(first: date) -> date:
    return (first + timedelta(days=31)).replace(day=1)
