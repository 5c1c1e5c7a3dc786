"""The English of times of the day (`at 9 and 18:30`, `7pm`) and of lengths of time (`20 minutes`, `1h30m`). Pure.

Phrases are in lower case with single spaces and without the words that carry nothing (human.py takes them out). Patterns are
strings: `re` compiles them when the first phrase comes, not when nanobot starts.
"""

from __future__ import annotations

import re
from datetime import time

import attrs

from nanobot.scheduler.zones import BadSchedule

PARTS = {"morning": time(8), "noon": time(12), "afternoon": time(15), "evening": time(18), "night": time(20), "midnight": time(0)}
"""What a part of the day means where no time is said; the preview shows it."""
LONGEST_DAYS = 36_600
"""A hundred years: as long a time as a person can mean."""
AND = r" and | "
_LATE_FROM = {"afternoon": 1, "evening": 4, "night": 6}
"""From which hour on a number up to 11 beside a part of the day is of its second half: at night, 2 may be 2:00."""
_HALF = r"(?: ?[ap]\.?m\b\.?)"
_SURE = rf"(?:\d{{1,2}}[:.]\d{{2}}(?::\d{{2}})?{_HALF}?|\d{{1,2}}{_HALF}|{'|'.join(PARTS)})"
_TIMES = rf"(?:at (?:{_SURE}|\d{{1,2}})(?:(?: and| at| and at)? (?:{_SURE}|\d{{1,2}}))*|{_SURE}(?:(?: and)? {_SURE})*)"
"""A bare number is a time only behind `at`."""
_AT_END = rf"(?:(?P<days>.*?) )??(?P<times>{_TIMES})"
_AT_BEGINNING = rf"(?P<times>{_TIMES}) (?P<days>.+)"
_TIME = r"(\d{1,2})(?:[:.](\d{2}))?(?::(\d{2}))?(?: ?([ap])\.?m\.?)?"
_ONE = rf"{_SURE}|\d{{1,2}}"


def split_times(phrase: str) -> tuple[str, tuple[time, ...]]:
    """The days of a phrase, and its times of the day, which stand behind them or before; none if it says none.

    Raises:
        BadSchedule: a time that there is not, or that may be one of two.
    """
    found = re.fullmatch(_AT_END, phrase)
    if found is None or (found["days"] or "").startswith("at "):  # `at 9 tomorrow evening`
        found = re.fullmatch(_AT_BEGINNING, phrase)
    if found is None:
        return phrase, ()
    days, _, part = (found["days"] or "").rpartition(" ")
    if part not in PARTS:
        days, part = found["days"] or "", ""
    return days, tuple(dict.fromkeys(_time(word, part) for word in re.findall(_ONE, found["times"])))


def _time(word: str, part: str) -> time:
    """part: of the day, said beside it (`tomorrow evening at 8`); empty if none was."""
    if word in PARTS:
        return PARTS[word]
    found = re.fullmatch(_TIME, word)
    assert found is not None
    hour, minute, second = (int(digits or 0) for digits in found.group(1, 2, 3))
    try:
        return time(_hour(hour, found[4], part), minute, second)
    except ValueError as exc:
        raise exc if isinstance(exc, BadSchedule) else BadSchedule(f"{word} is no time of the day") from None


def _hour(hour: int, half: str | None, part: str) -> int:
    if half:
        if not 1 <= hour <= 12:
            raise BadSchedule(f"{hour} {half}m is no time of the day; with am and pm it is 1 to 12")
        return hour % 12 + (12 if half == "p" else 0)
    if not part or hour > 12 or (part == "morning" and hour < 12):
        return hour
    if part not in _LATE_FROM or hour < _LATE_FROM[part] or hour == 12:
        raise BadSchedule(f"{part} at {hour} may be {hour % 12}:00 or {hour % 12 + 12}:00; say that, without {part}")
    return hour + 12


# --- lengths of time

UNITS_MS = {"second": 1000, "minute": 60_000, "hour": 3_600_000, "day": 86_400_000, "week": 604_800_000}
_SHORT = {"s": "second", "sec": "second", "m": "minute", "min": "minute", "h": "hour", "hr": "hour", "d": "day", "w": "week"}
_NUMBERS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9}
_NUMBERS |= {"ten": 10, "twelve": 12, "fifteen": 15, "twenty": 20, "thirty": 30, "forty": 40, "forty-five": 45, "ninety": 90}
_LONGEST_FIRST = sorted((*UNITS_MS, *_SHORT), key=len, reverse=True)
_PIECE = (
    r"(?:(?P<digits>\d{1,12}(?:\.\d{1,3})?) ?|(?P<half>half(?: an?)? )|(?P<word>[a-z-]+) )?"
    rf"(?P<unit>{'|'.join(_LONGEST_FIRST)})s?(?![a-z])"
)


@attrs.frozen
class Length:
    """Days go by the calendar, the rest by the clock."""

    days: int = 0
    rest_ms: int = 0

    @property
    def total_ms(self) -> int:
        return self.days * UNITS_MS["day"] + self.rest_ms


def length(text: str) -> Length | None:
    """`20 minutes`, `1h30m`, `half an hour`, `2 days and an hour`; None if it is something else.

    Raises:
        BadSchedule: it is longer than people mean.
    """
    total, at = Length(), 0
    while at < len(text):
        piece = re.match(_PIECE, text[at:])
        amount = _amount(piece) if piece else None
        if piece is None or amount is None:
            return None
        total = _plus(total, amount, piece["unit"])
        at += piece.end()
        at += joint.end() if (joint := re.match(AND, text[at:])) else 0
    if total.total_ms > LONGEST_DAYS * UNITS_MS["day"]:
        raise BadSchedule(f"{text!r} is more than a hundred years")
    return total if total.total_ms else None


def _amount(piece: re.Match[str]) -> float | None:
    if piece["word"]:
        return _NUMBERS.get(piece["word"])
    return 0.5 if piece["half"] else float(piece["digits"] or 1)


def _plus(total: Length, amount: float, word: str) -> Length:
    unit = _SHORT.get(word, word)
    if unit in ("day", "week") and amount.is_integer():
        return attrs.evolve(total, days=total.days + int(amount) * UNITS_MS[unit] // UNITS_MS["day"])
    return attrs.evolve(total, rest_ms=total.rest_ms + round(amount * UNITS_MS[unit]))
