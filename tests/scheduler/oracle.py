"""When cron expressions are due, by walking over every minute and looking at the clock: slow, and nothing of slots.py in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

Named = Callable[[datetime], bool]
"""Whether an expression names this time of a clock."""
Clock = list[tuple[int, datetime]]
"""Moments in milliseconds, at even distances, and what the clock shows then."""


def ms(zone: str, *wall: int, fold: int = 0) -> int:
    """When the clock of a zone shows that."""
    return round(datetime(*wall, tzinfo=ZoneInfo(zone), fold=fold).timestamp() * 1000)  # type: ignore[misc, arg-type]


def clock(zone: str, begin_ms: int, end_ms: int, *, minutes: int = 1) -> Clock:
    """From begin, which is a whole minute, to the end, that too. Another distance than a minute is right where neither a change
    of the clock nor a named time can fall between."""
    at = ZoneInfo(zone)
    moments = range(begin_ms, end_ms + 1, minutes * 60_000)
    return [(moment, datetime.fromtimestamp(moment // 1000, at).replace(tzinfo=None)) for moment in moments]


def due(expr: str, walked: Clock) -> Iterator[int]:
    """The slots within the walk; changes of the clock in its first day are not seen through."""
    named = named_by(expr)
    yield from (_due_through(named, walked) if runs_through(expr) else _due_fixed(named, walked))


def _due_fixed(named: Named, walked: Clock) -> Iterator[int]:
    """A moment is due if the clock comes past a named time in it for the first time."""
    step = timedelta(milliseconds=walked[1][0] - walked[0][0])
    latest = walked[0][1] - step
    for moment, wall in walked:
        passed = False
        while latest < wall:
            latest += step
            passed = passed or named(latest)
        if passed:
            yield moment


def _due_through(named: Named, walked: Clock) -> Iterator[int]:
    """A moment is due if the clock shows a named time, or would show one if it had not been put forward; the latter for as long
    after a gap as the gap was."""
    step = timedelta(milliseconds=walked[1][0] - walked[0][0])
    before, gap, rest = walked[0][1] - step, timedelta(0), timedelta(0)
    for moment, wall in walked:
        if wall - before > step:
            gap = rest = wall - before - step
        if named(wall) or (rest and named(wall - gap)):
            yield moment
        before, rest = wall, max(rest - step, timedelta(0))


# --- expressions of numbers, lists, ranges, stars and steps


def runs_through(expr: str) -> bool:
    return any(sign in part for part in expr.split()[:2] for sign in "*/")


def named_by(expr: str) -> Named:
    parts, spans = expr.split(), (range(60), range(24), range(1, 32), range(1, 13), range(7))
    minute, hour, day, month, weekday = (_values(part, span) for part, span in zip(parts, spans, strict=True))
    both = parts[2].startswith("*") or parts[4].startswith("*")

    def named(wall: datetime) -> bool:
        if wall.minute not in minute or wall.hour not in hour or wall.month not in month:
            return False
        days = (wall.day in day, wall.isoweekday() % 7 in weekday)
        return all(days) if both else any(days)

    return named


def _values(part: str, span: range) -> set[int]:
    values: set[int] = set()
    for term in part.split(","):
        ends, _, step = term.partition("/")
        first, _, last = ends.partition("-")
        low = span[0] if first == "*" else int(first)
        high = span[-1] if first == "*" or (step and not last) else int(last or first)
        values.update(range(low, high + 1, int(step or 1)))
    return values
