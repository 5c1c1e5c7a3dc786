"""Time zones by name, and when their clocks change. Values are whole seconds since the epoch; nothing is kept but what was read.

The database is the system's, else that of the package `tzdata`, which comes with nanobot: container images and other small
systems often have none, and some leave out older names such as `US/Eastern`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

import attrs

DAY = 86_400
LONGEST_GAP = 2 * DAY
"""Islands that crossed the date line left out a day and up to 40 minutes."""
LOCALTIME = Path("/etc/localtime")
_SECOND = timedelta(seconds=1)
_EPOCH = datetime(1970, 1, 1)


class BadSchedule(ValueError):
    """What was asked for is no schedule. `str()` says in plain words what is wrong and what would do."""


@attrs.frozen
class Change:
    """The clock is put forward or back at the second `at`: what it shows is UTC plus `before`, from then on plus `after`."""

    at: int
    before: int
    after: int


@attrs.frozen
class Stretch:
    """From `begin` until just before `end` the clock shows UTC plus `offset`; `before` is the offset until `begin`."""

    begin: int
    end: int
    offset: int
    before: int


@lru_cache(maxsize=1024)
def find(name: str) -> ZoneInfo:
    """The zone of that IANA name; the machine's for an empty one.

    Raises:
        BadSchedule: there is none; near names are said.
    """
    if not name:
        return machine()
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise BadSchedule(f"there is no time zone {name!r}; {_near(name)}") from None


@lru_cache(maxsize=1)
def machine() -> ZoneInfo:
    """The machine's own zone: TZ, else /etc/localtime, else UTC. Looked up once in the life of a process."""
    for place in (os.environ.get("TZ", "").removeprefix(":"), os.path.realpath(LOCALTIME)):
        name = place.rpartition("zoneinfo/")[2]
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            continue
    try:
        with LOCALTIME.open("rb") as file:
            return ZoneInfo.from_file(file, key="localtime")
    except (ValueError, OSError):
        return ZoneInfo("UTC")


@lru_cache(maxsize=8192)
def changes(zone: ZoneInfo, year: int) -> tuple[Change, ...]:
    """The changes of the clock in that year (of UTC), in order. The clock is looked at once a day: two changes are never so close
    that the second takes back the first (a test holds this against every zone)."""
    begin, end = _begin_of(year), _begin_of(year + 1)
    found: list[Change] = []
    was = offset_at(zone, begin - 1)
    for day in range(begin, end, DAY):
        now = offset_at(zone, day + DAY - 1)
        if now != was:
            found.append(Change(_first_second_of(zone, now, day - 1, day + DAY - 1), was, now))
        was = now
    return tuple(found)


def stretches(zone: ZoneInfo, start: int, years: int) -> Iterator[Stretch]:
    """Between changes the clock runs evenly: those runs, from the one that holds `start`, for that many years. One that goes over
    the end of a year comes again, longer. A gap that ended shortly before `start` is known."""
    first = (_EPOCH + timedelta(seconds=start - LONGEST_GAP)).year
    last: Change | None = None
    for year in range(first, first + years + 1):
        for change in changes(zone, year):
            last = last or Change(0, change.before, change.before)
            if change.at > start:
                yield Stretch(last.at, change.at, last.after, last.before)
            last = change
        last = last or Change(0, offset := offset_at(zone, start), offset)
        if (end := _begin_of(year + 1)) > start:
            yield Stretch(last.at, end, last.after, last.before)


def instant(zone: ZoneInfo, wall: datetime) -> int:
    """When the clock shows `wall` (naive). Of a time that it shows twice it is the first, of one that it skips the gap's end."""
    first, second = (round(wall.replace(tzinfo=zone, fold=fold).timestamp()) for fold in (0, 1))
    if first <= second:
        return first
    years = range(wall.year - 1, wall.year + 2)
    return next(change.at for year in years for change in changes(zone, year) if second < change.at <= first)


def wall(zone: ZoneInfo, at: float) -> datetime:
    """What the clock shows at that second; with the zone."""
    return datetime.fromtimestamp(at, zone)


def offset_at(zone: ZoneInfo, at: int) -> int:
    """Seconds that the zone's clock is ahead of UTC."""
    offset = datetime.fromtimestamp(at, zone).utcoffset()
    return 0 if offset is None else offset // _SECOND


def _first_second_of(zone: ZoneInfo, offset: int, low: int, high: int) -> int:
    """The first second of that offset: `low` has another one, `high` has it."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if offset_at(zone, middle) == offset else (middle, high)
    return high


def _begin_of(year: int) -> int:
    return (datetime(year, 1, 1) - _EPOCH).days * DAY


def _near(name: str) -> str:
    known = {zone.casefold(): zone for zone in sorted(available_timezones())}
    wanted = name.casefold().replace(" ", "_")
    cities = [zone for folded, zone in known.items() if folded.rpartition("/")[2] == wanted.rpartition("/")[2]]
    near = cities or [known[folded] for folded in difflib.get_close_matches(wanted, known, n=3, cutoff=0.6)]
    return f"did you mean {' or '.join(near[:3])}?" if near else "names are like Europe/Berlin, America/New_York or UTC"
