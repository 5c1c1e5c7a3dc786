"""Schedules in words for people, and when they are next due. Pure.

`words` says a schedule so that `human.read` understands it again, but for cron expressions that no phrase says: those are
explained, with the expression.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from nanobot.scheduler import slots, zones
from nanobot.scheduler.clock_words import UNITS_MS
from nanobot.scheduler.day_words import DAYS, MONTHS, NTH
from nanobot.scheduler.jobs import At, Cron, Every, Schedule
from nanobot.scheduler.zones import BadSchedule

_UNITS_BY_SIZE = [(unit, size) for unit, size in reversed(UNITS_MS.items()) if unit != "week"]


def words(schedule: Schedule, zone: str) -> str:
    """A schedule for people; `zone` is theirs, and another one is named. Never raises: what is no schedule is said to be none."""
    try:
        slots.check(schedule)
        match schedule:
            case At(at_ms):
                return f"once, {_moment(at_ms, zone, ' at ')}"
            case Every(every_ms):
                return f"every {_length(every_ms)}"
            case Cron(expr, own):
                return (_cron_phrase(expr) or _explained(expr)) + (f" ({own})" if own and own != zone else "")
    except BadSchedule as exc:
        return f"never: {exc}"


def preview(schedule: Schedule, after_ms: int, zone: str, count: int = 5) -> list[str]:
    """When it is next due, on the clock of its own zone, else of `zone`. Empty if it is never due, or no schedule."""
    try:
        found = slots.slots_between(schedule, after_ms, slots.END_MS, zone, count)
        where = schedule.zone or zone if isinstance(schedule, Cron) else zone
        return [f"{_moment(slot, where, ', ')} {zones.wall(zones.find(where), slot / 1000):%Z}" for slot in found]
    except BadSchedule:
        return []


def _moment(at_ms: int, zone: str, joint: str) -> str:
    wall = zones.wall(zones.find(zone), at_ms // 1000)
    clock = f"{wall:%H:%M:%S}" if wall.second else f"{wall:%H:%M}"
    return f"{DAYS[wall.weekday()][:3]} {wall.day} {MONTHS[wall.month - 1][:3]} {wall.year}{joint}{clock}"


def _length(ms: int) -> str:
    if ms % UNITS_MS["second"]:
        return f"{ms / 1000:.3f}".rstrip("0") + " seconds"
    unit, size = next((unit, size) for unit, size in _UNITS_BY_SIZE if ms % size == 0 and (unit != "day" or ms > size))
    return unit if ms == size else f"{ms // size} {unit}s"


def _cron_phrase(expr: str) -> str | None:
    fields = expr.split()
    if len(fields) != 5:
        return None
    minutes, hours = _numbers(fields[0]), _numbers(fields[1])
    which = _days_phrase(*fields[2:]) if min(len(minutes), len(hours)) == 1 else None
    return f"{which} at {_listed([f'{hour:02}:{minute:02}' for hour in hours for minute in minutes])}" if which else None


def _days_phrase(day: str, month: str, weekday: str) -> str | None:
    match (day, month, weekday):
        case ("*", "*", "*"):
            return "every day"
        case ("*", "*", "1-5"):
            return "every weekday"
        case ("*", "*", _) if found := re.fullmatch(r"([0-6])(?:#([1-5])|L)", weekday):
            which = NTH[int(found[2]) - 1] if found[2] else "last"
            return f"every month on the {which} {_day_name(int(found[1]))}"
        case ("*", "*", _) if (numbers := _numbers(weekday)) and max(numbers) <= 7:
            return f"every {_listed([_day_name(number) for number in sorted({number or 7 for number in numbers})])}"
        case ("L", "*", "*"):
            return "every month on the last day"
        case (_, "*", "*") if numbers := _numbers(day):
            return f"every month on the {_listed([_nth(number) for number in numbers])}"
        case (_, _, "*") if len(_numbers(day)) == len(_numbers(month)) == 1:
            return f"every year on {int(day)} {MONTHS[int(month) - 1]}"
        case _:
            return None


def _explained(expr: str) -> str:
    text = slots.explained(expr)
    return f"{text[:1].lower()}{text[1:]} ({expr})"


def _numbers(field: str) -> list[int]:
    """Of a list of numbers; none if it is something else."""
    return [int(number) for number in field.split(",")] if re.fullmatch(r"\d{1,2}(?:,\d{1,2})*", field) else []


def _day_name(number: int) -> str:
    return DAYS[(number - 1) % 7]


def _nth(number: int) -> str:
    ending = "th" if number in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
