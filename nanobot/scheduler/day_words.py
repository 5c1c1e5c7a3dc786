"""The English of days: `every monday and thursday`, `every month 1st`, `next friday`, `24 december 2026`. Pure; knows no present.

Phrases are in lower case with single spaces and without the words that carry nothing (human.py takes them out).
"""

from __future__ import annotations

import re
from datetime import date

import attrs

from nanobot.scheduler.clock_words import AND, length
from nanobot.scheduler.zones import BadSchedule

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_FIRST_HALF = ("January", "February", "March", "April", "May", "June")
MONTHS = (*_FIRST_HALF, "July", "August", "September", "October", "November", "December")
NTH = ("first", "second", "third", "fourth", "fifth")
LEAP_YEAR = 2000


@attrs.frozen
class After:
    """The day that comes so many days after today."""

    days: int


@attrs.frozen
class Weekday:
    """The next day of that name; `number` as in cron, Sunday is 0."""

    number: int
    today_too: bool


@attrs.frozen
class Dated:
    day: int
    month: int
    year: int | None = None


@attrs.frozen
class Repeating:
    """The last three fields of a cron expression."""

    day: str = "*"
    month: str = "*"
    weekday: str = "*"


_DAY_NUMBERS = {name[:size].lower(): (at + 1) % 7 for at, name in enumerate(DAYS) for size in (3, 4, 5, len(name))}
_MONTH_NUMBERS = {name[:size].lower(): at for at, name in enumerate(MONTHS, 1) for size in (3, 4, len(name))}


_DAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*)"
_MONTH = r"(?:(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?)"
"""What they may be at a glance; the tables decide."""
_DATE = (
    rf"(?:(?P<name>{_DAY}) )?(?:(?P<day>\d{{1,2}})(?:st|nd|rd|th|\.)? (?P<month>{_MONTH})"
    rf"|(?P<month2>{_MONTH}) (?P<day2>\d{{1,2}})(?:st|nd|rd|th)?)(?: (?P<year>\d{{4}}))?"
)
_ISO = r"(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})"
_ONE_DAY = rf"(next |this |coming )?({_DAY})"
_MANY_DAYS = rf"(?:every (?:week )?)?{_DAY}(?:(?: and)? {_DAY})*"
_SPAN = rf"(?:every )?({_DAY}) ?(?:-|–|to|through|until) ?({_DAY})"
_NUMBERED = r"\d{1,2}(?:st|nd|rd|th)"
_WHICH = rf"(?:{_NUMBERED}(?:(?: and)? {_NUMBERED})*|last day|(?:{'|'.join(NTH)}|last) {_DAY})"
_MONTHLY = rf"every month ({_WHICH})|(?:every )?({_WHICH}) every month"


def days(phrase: str) -> After | Weekday | Dated | Repeating | None:
    """The days that a phrase names, its times left out; None if it names none.

    Raises:
        BadSchedule: a day that there is not, or words that may mean one of two.
    """
    for read in (_fixed, _after, _dated, _weekday, _weekly, _monthly, _yearly):
        if (found := read(phrase)) is not None:
            return found
    return None


def _fixed(phrase: str) -> After | Repeating | None:
    match phrase:
        case "every day" | "every":  # `every morning`
            return Repeating()
        case "every weekday":
            return Repeating(weekday="1-5")
        case "every weekend":
            return Repeating(weekday="6,0")
        case "today" | "this":  # `this evening`
            return After(0)
        case "tomorrow":
            return After(1)
        case "day after tomorrow":
            return After(2)
        case _:
            return None


def _after(phrase: str) -> After | None:
    found = length(phrase.removeprefix("in ")) if phrase.startswith("in ") else None
    return After(found.days) if found and not found.rest_ms else None


def _dated(phrase: str) -> Dated | None:
    if found := re.fullmatch(_ISO, phrase):
        return _there(Dated(int(found["day"]), int(found["month"]), int(found["year"])))
    if not (found := re.fullmatch(_DATE, phrase)):
        return None
    month = _MONTH_NUMBERS.get((found["month"] or found["month2"]).removesuffix("."))
    if month is None:
        return None
    dated = _there(Dated(int(found["day"] or found["day2"]), month, int(found["year"]) if found["year"] else None))
    if found["name"] and dated.year is None:
        raise BadSchedule("a day of the week with a date needs the year, too")
    if found["name"] and date(dated.year or 0, month, dated.day).isoweekday() % 7 != _DAY_NUMBERS.get(found["name"]):
        raise BadSchedule(f"{phrase} is another day of the week")
    return dated


def _there(dated: Dated) -> Dated:
    try:
        date(LEAP_YEAR if dated.year is None else dated.year, dated.month, dated.day)
    except ValueError:
        raise BadSchedule(f"there is no day {dated.day} in that month") from None
    return dated


def _weekday(phrase: str) -> Weekday | None:
    found = re.fullmatch(_ONE_DAY, phrase)
    number = _DAY_NUMBERS.get(found[2]) if found else None
    return None if found is None or number is None else Weekday(number, today_too=found[1] != "next ")


def _weekly(phrase: str) -> Repeating | None:
    if (found := re.fullmatch(_SPAN, phrase)) and all(name in _DAY_NUMBERS for name in found.groups()):
        return Repeating(weekday=f"{_DAY_NUMBERS[found[1]]}-{_DAY_NUMBERS[found[2]] or 7}")
    names = re.split(AND, re.sub(r"^every (week )?", "", phrase)) if re.fullmatch(_MANY_DAYS, phrase) else []
    numbers = {_DAY_NUMBERS.get(name, _DAY_NUMBERS.get(name.removesuffix("s"))) for name in names}
    if not names or None in numbers:
        return None
    if not phrase.startswith("every") and any(name in _DAY_NUMBERS for name in names):
        raise BadSchedule(f'say "every {phrase}" for each week, or make one job for each day')
    return Repeating(weekday=",".join(str(number) for number in sorted(numbers, key=lambda number: number or 7)))


def _monthly(phrase: str) -> Repeating | None:
    if re.fullmatch(_NUMBERED, phrase):
        raise BadSchedule(f'say "every month on the {phrase}", or a day with its month')
    if not (found := re.fullmatch(_MONTHLY, phrase)):
        return None
    which = found[1] or found[2]
    first, _, name = which.partition(" ")
    if which == "last day":
        return Repeating(day="L")
    if name in _DAY_NUMBERS:
        return Repeating(weekday=f"{_DAY_NUMBERS[name]}L" if first == "last" else f"{_DAY_NUMBERS[name]}#{NTH.index(first) + 1}")
    numbers = sorted({int(digits) for digits in re.findall(r"\d+", which)})
    if not 1 <= numbers[0] <= numbers[-1] <= 31:
        raise BadSchedule("the days of a month are 1 to 31")
    return Repeating(day=",".join(str(number) for number in numbers))


def _yearly(phrase: str) -> Repeating | None:
    found = re.fullmatch(r"every (?:year )?(.+)", phrase) or re.fullmatch(r"(.+) every year", phrase)
    dated = _dated(found[1]) if found else None
    if dated is None:
        return None
    if dated.year is not None:
        raise BadSchedule("a day of every year is said without a year")
    return Repeating(str(dated.day), str(dated.month))
