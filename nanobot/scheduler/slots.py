"""When a job is due. Pure: the same schedule, moment and zone give the same slot, whoever asks and however often.

A slot is a moment in whole milliseconds; `next_slot` is the least that lies strictly after a given one, so that asking again and
again from the slot before walks through all of them, each once. A schedule of `At` and `Every` knows no clocks. A cron expression
says what a clock shows, and clocks change; the library (cronsim) reads the expression and knows the days it names, and this
module says what becomes of its times where a clock is put forward or back. There are two kinds of expressions:

* With a `*` or a step (`/`) in the minutes or the hours it *runs through*: it is about how often. It follows real time. What the
  clock shows twice is due twice, an hour apart; what it skips is due as if it had not been changed yet. So `*/15 * * * *` is
  due every quarter of an hour, whatever the clock does.
* Without one it is at *fixed times*. What the clock shows twice is due once, the first time; what it skips is due once, at the
  end of the gap, and several skipped times of one expression are one slot there.

All times that an expression names thus have a slot, and no moment has two.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from functools import lru_cache
from itertools import islice

import attrs
from cronsim import CronSim, CronSimError

from nanobot.scheduler import zones
from nanobot.scheduler.jobs import At, Cron, Every, Schedule, Slot
from nanobot.scheduler.zones import DAY, BadSchedule, Stretch

__all__ = ["END_MS", "BadSchedule", "check", "explained", "next_slot", "slots_between"]

LEAST_EVERY_MS = 1000
"""The agent's tool counts in whole seconds, and so do files of HKUDS/nanobot that it wrote."""
FAR_YEARS = 50
"""How far ahead a match is looked for. What comes most seldom, a 29 February on a given weekday, comes within 40 years."""
END_MS = 221_845_392_000_000
"""The year 9000: nothing is due from there on, and calculations stay within what `datetime` holds."""
_NEVER = END_MS
"""As a number of seconds it is later than anything."""
_EPOCH = date(1970, 1, 1)
_NO_MOMENT = datetime(1970, 1, 1)
"""The library wants one to begin at; it is not asked for moments."""
_ONE_DAY = timedelta(days=1)
_ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
_DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
_FIELDS = (range(60), range(24), range(1, 32), range(1, 13), range(7))
_RANGE = re.compile(r"(\w+)-(\w+)(?:/(\d{1,4}))?")


def next_slot(schedule: Schedule, after_ms: int, default_zone: str) -> Slot | None:
    """The first slot strictly after `after_ms`; None if there is none any more. `default_zone` is for a cron expression that
    names none; empty means the machine's.

    Raises:
        BadSchedule: it is none (see `check`).
    """
    if after_ms >= END_MS:
        return None
    match schedule:
        case At(at_ms):
            return Slot(at_ms) if at_ms > after_ms else None
        case Every(every_ms, anchor_ms):
            _check_interval(every_ms)
            return Slot(anchor_ms + max(1, (after_ms - anchor_ms) // every_ms + 1) * every_ms)
        case Cron(expr, zone):
            return _next_of(_parsed(expr), zone or default_zone, max(after_ms, 0) // 1000 + 1)


def slots_between(schedule: Schedule, after_ms: int, until_ms: int, default_zone: str, most: int) -> list[Slot]:
    """The slots after `after_ms` up to and with `until_ms`, the first `most` of them.

    Raises:
        BadSchedule: it is none.
    """
    return list(islice(_walk(schedule, after_ms, until_ms, default_zone), most))


def check(schedule: Schedule) -> None:
    """
    Raises:
        BadSchedule: it can never be due, or is not written as it must be; the text says how.
    """
    match schedule:
        case At(at_ms):
            if not 0 <= at_ms < END_MS:
                raise BadSchedule("a time lies between the years 1970 and 9000")
        case Every(every_ms):
            _check_interval(every_ms)
        case Cron(expr, zone):
            zones.find(zone)
            if _parsed(expr).first(0) >= _NEVER:
                raise BadSchedule(f"{expr!r} is never due: no such day comes")


def explained(expr: str) -> str:
    """A cron expression in the library's words. Raises: BadSchedule."""
    return _parsed(expr).sim.explain()


def _walk(schedule: Schedule, after_ms: int, until_ms: int, default_zone: str) -> Iterator[Slot]:
    slot = next_slot(schedule, after_ms, default_zone)
    while slot is not None and slot <= until_ms:
        yield slot
        slot = next_slot(schedule, slot, default_zone)


def _check_interval(every_ms: int) -> None:
    if not LEAST_EVERY_MS <= every_ms < END_MS:
        raise BadSchedule(f"an interval has at least {LEAST_EVERY_MS // 1000} s")


# --- clocks that change. Moments and wall times are whole seconds since the epoch; a wall time is a moment plus the offset.


def _next_of(times: _Times, zone: str, start: int) -> Slot | None:
    """The first slot at or after the second `start`."""
    search = _Search(times)
    first_of = _first_running_through if times.runs_through else _first_of_fixed
    for stretch in zones.stretches(zones.find(zone), start, FAR_YEARS):
        found = first_of(search, stretch, max(start, stretch.begin))
        if found < stretch.end:
            return Slot(found * 1000)
    return None


def _first_running_through(search: _Search, stretch: Stretch, start: int) -> int:
    """What the clock shows, and in a gap also what it would show had it not been changed."""
    gap_end = stretch.begin + stretch.offset
    if start + stretch.before < gap_end and (skipped := search.first(start + stretch.before)) < gap_end:
        return min(skipped - stretch.before, search.first(start + stretch.offset) - stretch.offset)
    return search.first(start + stretch.offset) - stretch.offset


def _first_of_fixed(search: _Search, stretch: Stretch, start: int) -> int:
    """What the clock shows and has not shown before; at the end of a gap what it skipped."""
    seen, gap_end = stretch.begin + stretch.before, stretch.begin + stretch.offset
    if start == stretch.begin and seen < gap_end and search.first(seen) < gap_end:
        return start
    return search.first(max(start + stretch.offset, seen)) - stretch.offset


# --- a clock that never changes


@attrs.frozen
class _Times:
    """What an expression names, on a clock that never changes."""

    sim: CronSim
    """Knows which days match. Never moved."""
    seconds: tuple[int, ...]
    """Of each matching day, in order."""
    runs_through: bool

    def first(self, wall: int) -> int:
        """The first matching wall time at or after `wall`; `_NEVER` if there is none within `FAR_YEARS`."""
        day_number, second = divmod(wall, DAY)
        day = _EPOCH + day_number * _ONE_DAY
        at = bisect_left(self.seconds, second)
        if at < len(self.seconds) and day.month in self.sim.months and self.sim.match_day(day):
            return day_number * DAY + self.seconds[at]
        next_day = self._first_day(day + _ONE_DAY)
        return _NEVER if next_day is None else (next_day - _EPOCH).days * DAY + self.seconds[0]

    def _first_day(self, day: date) -> date | None:
        end = day.replace(year=day.year + FAR_YEARS, day=1)
        while day < end:
            if day.month not in self.sim.months:
                day = (day.replace(day=1) + 31 * _ONE_DAY).replace(day=1)
            elif self.sim.match_day(day):
                return day
            else:
                day += _ONE_DAY
        return None


@attrs.define
class _Search:
    """Remembers the last match: it holds for every wall time from the one that was asked about up to it."""

    times: _Times
    _asked: int = 0
    _found: int = -1

    def first(self, wall: int) -> int:
        if not self._asked <= wall <= self._found:
            self._asked, self._found = wall, self.times.first(wall)
        return self._found


# --- reading an expression


@lru_cache(maxsize=1024)
def _parsed(expr: str) -> _Times:
    fields = _ALIASES.get(expr.strip().lower(), expr).upper().replace("?", "*").split()
    shown = repr(expr[:_SHOWN_CHARS])
    if len(expr) > _MOST_CHARS:
        raise BadSchedule(f"{shown}… is too long; {_FORM}")
    if len(fields) != 5:
        raise BadSchedule(f"{shown} has {len(fields)} {'field' if len(fields) == 1 else 'fields'}; {_FORM}")
    try:
        sim = CronSim(" ".join(_unwound(field, span) for field, span in zip(fields, _FIELDS, strict=True)), _NO_MOMENT)
    except CronSimError as exc:
        field = str(exc).removeprefix("Bad ")
        never = ", or no such day comes in these months" if field == "day-of-month" else ""
        raise BadSchedule(f"{shown} has a wrong {field}{never}; {_FORM}") from exc
    except ValueError as exc:  # a step of 0
        raise BadSchedule(f"{shown} has a wrong number; {_FORM}") from exc
    seconds = tuple(hour * 3600 + minute * 60 for hour in sorted(sim.hours) for minute in sorted(sim.minutes))
    return _Times(sim, seconds, runs_through=any(sign in field for field in fields[:2] for sign in "*/"))


_SHOWN_CHARS = 60
_MOST_CHARS = 1000
"""Enough to name every minute, hour and day."""
_FORM = 'a cron expression has five: minute hour day-of-month month day-of-week, such as "0 9 * * 1-5" for weekdays at 9'


def _unwound(field: str, span: range) -> str:
    """Ranges that go over the end, such as 22-4 and FRI-MON, as a list of values: the library knows only those that rise."""
    return ",".join(_unwound_range(term, span) for term in field.split(","))


def _unwound_range(term: str, span: range) -> str:
    found = _RANGE.fullmatch(term)
    if found is None:
        return term
    first, last = (_number(word, span) for word in found.group(1, 2))
    if first is None or last is None or first <= last:
        return term
    return ",".join(str(span[(value - span[0]) % len(span)]) for value in range(first, last + len(span) + 1, int(found[3] or 1)))


def _number(word: str, span: range) -> int | None:
    """The value of a field's word; None if it is none, for the library to refuse."""
    names = {7: _DAYS, 12: _MONTHS}.get(len(span), [])
    value = names.index(word) + span[0] if word in names else int(word) if word.isascii() and word.isdigit() else -1
    if value == 7 and span == _FIELDS[-1]:  # Sunday's other number
        value = 0
    return value if value in span else None
