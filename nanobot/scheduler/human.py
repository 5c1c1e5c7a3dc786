"""Times as people say them, in English: "every weekday at 9", "in 20 minutes", "2026-12-24 18:00", `0 9 * * 1-5`. Pure.

`read` takes what it understands in one way only; the rest is refused with what would do. Hours are those of a 24-hour clock
unless am or pm is said. A date without a year and a time without a day are the next to come; "next friday" is the first Friday
after today. `words` and `preview` (saying.py) are the way back.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import attrs

from nanobot.scheduler import slots, zones
from nanobot.scheduler.clock_words import length, split_times
from nanobot.scheduler.day_words import After, Dated, Repeating, Weekday, days
from nanobot.scheduler.jobs import At, Cron, Every, Schedule
from nanobot.scheduler.saying import preview, words
from nanobot.scheduler.zones import BadSchedule

__all__ = ["UNDERSTOOD", "preview", "read", "words"]

MOST_CHARS = 200
"""Of a phrase: longer ones are no phrases."""
UNDERSTOOD = (
    "say it like: in 20 minutes; tomorrow at 8; next friday at 17:30; 2026-12-24 18:00; every 2 hours; every day at 18:30; "
    "every weekday at 9; every monday and thursday at 7pm; every month on the 1st at 8; or as a cron expression: 0 9 * * 1-5"
)
_PLAIN = (
    (r"[,]|\b(?:please|on|the|once|o'?clock)\b", " "),
    (r"\beach\b", "every"),
    (r"\b(?:daily|everyday)\b", "every day"),
    (r"\b(hour|week|month|year)ly\b", r"every \1"),
    (r"\bannually\b", "every year"),
    (r"\b(?:every )?(?:week|work|working )days?\b", "every weekday"),
    (r"\b(?:every |at )?weekends?\b", "every weekend"),
    (r"\bof (?:(?:every|a) )?month\b", "every month"),
    (r"\b(?:of|from)\b", " "),
    (r"\btonight\b", "today night"),
    (r"\bin (morning|afternoon|evening)\b", r"\1"),
    (r"\bat (noon|midnight|night)\b", r"\1"),
    (r"\b(at \S+) (morning|afternoon|evening|night)\b", r"\2 \1"),
    (r"(?:in )?(.+) now", r"in \1"),  # `20 minutes from now`
)
"""What is said in several ways, in one, and without the words that carry nothing."""
_ZONE = re.compile(r"(?P<rest>.*?\S)\s+(?:in\s+)?\(?(?P<zone>[A-Za-z]\w+/[A-Za-z_][\w+/-]*|UTC)\)?", re.DOTALL)
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?(?P<offset>Z|[+-]\d{2}:?\d{2})?", re.IGNORECASE)
_CRON = re.compile(r"@\w+|[\d*?][\d*/,?-]*(?: [\w*/,?#-]+){1,5}")


@attrs.frozen
class _Now:
    now_ms: int
    zone: ZoneInfo

    @property
    def wall(self) -> datetime:
        """What the clock shows; without the zone."""
        return zones.wall(self.zone, self.now_ms / 1000).replace(tzinfo=None)

    def at(self, wall: datetime) -> At:
        return At(zones.instant(self.zone, wall) * 1000)


def read(text: str, now_ms: int, zone: str) -> Schedule:
    """What is meant by `text` when it is said at `now_ms` by somebody in `zone` (empty: the machine's). A cron expression names a
    zone only if the text does: without one it goes by the zone that is set when it is due.

    Raises:
        BadSchedule: it is not understood, may mean one of two, is over, or never comes.
    """
    said = " ".join(text.split())
    if not said or len(said) > MOST_CHARS:
        raise BadSchedule(f"{'nothing was said' if not said else 'that is too long'}; {UNDERSTOOD}")
    named = _ZONE.fullmatch(said)
    own_zone = named["zone"] if named else ""
    said = named["rest"] if named else said
    now = _Now(now_ms, zones.find(own_zone or zone))
    try:
        schedule = _cron(said) or _iso(said, now) or _phrase(said, now)
    except OverflowError:
        raise BadSchedule(f"{said!r} is too far away") from None
    if schedule is None:
        raise BadSchedule(f"{said!r} is not understood; {UNDERSTOOD}")
    schedule = attrs.evolve(schedule, zone=own_zone) if isinstance(schedule, Cron) else schedule
    slots.check(schedule)
    if isinstance(schedule, At) and schedule.at_ms <= now_ms:
        raise BadSchedule(f"{said!r} is over: it was {words(schedule, zone).removeprefix('once, ')}")
    return schedule


def _cron(said: str) -> Cron | None:
    """Recognised by its first field, which no phrase begins with, and the second or a sign that no phrase has."""
    if not _CRON.fullmatch(said):
        return None
    looks_so = said.startswith("@") or re.match(r"[\d*/,?-]+ [\d*/,?-]+ [\w*]", said) or "*" in said
    return Cron(said) if looks_so else None


def _iso(said: str, now: _Now) -> At | None:
    found = _ISO.fullmatch(said)
    if found is None:
        return None
    try:
        moment = datetime.fromisoformat(said.upper())
    except ValueError as exc:
        raise BadSchedule(f"{said!r} is no time: {exc}") from None
    return At(round(moment.timestamp() * 1000)) if found["offset"] else now.at(moment)


def _phrase(said: str, now: _Now) -> Schedule | None:
    phrase = said.casefold().rstrip(".!")
    for pattern, plain in _PLAIN:
        phrase = " ".join(re.sub(pattern, plain, phrase).split())
    return _in(phrase, now) or _every(phrase, now) or _calendar(phrase, now)


def _in(phrase: str, now: _Now) -> At | None:
    long = length(phrase.removeprefix("in ")) if phrase.startswith("in ") else None
    if long is None:
        return None
    begin = now.at(now.wall + timedelta(days=long.days)).at_ms if long.days else now.now_ms
    return At(begin + long.rest_ms)


def _every(phrase: str, now: _Now) -> Every | None:
    long = length(phrase.removeprefix("every ")) if phrase.startswith("every ") else None
    if long is None or phrase in ("every day", "every week"):
        return None
    return Every(long.total_ms, now.now_ms)


def _calendar(phrase: str, now: _Now) -> Schedule | None:
    which, times = split_times(phrase)
    if not which and times:
        return _next_time(times, now)
    named = days(which) if which else None
    if named is None:
        _check_beginning(which, times)
        return None
    if not times:
        raise BadSchedule(f'say the time of the day, too, such as "{phrase} at 9"')
    if isinstance(named, Repeating):
        return _repeating(named, times)
    if "midnight" in phrase:
        raise BadSchedule("midnight may be the beginning or the end of that day; say 0:00 of one of the two")
    return now.at(datetime.combine(_day_of(named, _single(times), now), _single(times)))


def _check_beginning(which: str, times: Sequence[time]) -> None:
    """Says what is missing of a phrase that begins well. Raises: BadSchedule."""
    if which in ("every week", "every month", "every year"):
        raise BadSchedule(f'{which} on which day? Such as "every monday at 9", "every month on the 1st at 9"')
    if times and which.startswith("every ") and length(which.removeprefix("every ")):
        raise BadSchedule('an interval has no time of the day: say "every 2 days" or "every monday and thursday at 9"')


def _next_time(times: Sequence[time], now: _Now) -> At:
    today, at = now.wall, _single(times)
    first = now.at(datetime.combine(today, at))
    return first if first.at_ms > now.now_ms else now.at(datetime.combine(today + timedelta(days=1), at))


def _day_of(named: After | Weekday | Dated, at: time, now: _Now) -> date:
    today = now.wall.date()
    match named:
        case After(count):
            return today + timedelta(days=count)
        case Weekday(number, today_too):
            ahead = (number - today.isoweekday()) % 7
            over = now.at(datetime.combine(today, at)).at_ms <= now.now_ms
            return today + timedelta(days=7 if ahead == 0 and (over or not today_too) else ahead)
        case Dated(day, month, year):
            years = [year] if year is not None else range(today.year, today.year + 9)  # a 29 February comes within 8
            there = [date(one, month, day) for one in years if (month, day) != (2, 29) or _is_leap(one)]
            return next((one for one in there if now.at(datetime.combine(one, at)).at_ms > now.now_ms), there[0])


def _is_leap(year: int) -> bool:
    return date(year, 3, 1) - date(year, 2, 1) == timedelta(days=29)


def _single(times: Sequence[time]) -> time:
    if len(times) != 1:
        raise BadSchedule("that is several times; make one job for each")
    return times[0]


def _repeating(named: Repeating, times: Sequence[time]) -> Cron:
    hours, minutes = (sorted({getattr(at, unit) for at in times}) for unit in ("hour", "minute"))
    if any(at.second for at in times):
        raise BadSchedule("what repeats begins with a minute")
    if len(hours) * len(minutes) != len(times):
        raise BadSchedule("those times of the day are no single job; make one job for each")
    fields = (minutes, hours)
    return Cron(" ".join((*(",".join(map(str, field)) for field in fields), named.day, named.month, named.weekday)))
