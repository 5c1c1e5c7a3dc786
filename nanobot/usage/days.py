"""Days and months as people count them: in `agents.defaults.timezone`. Pure; times are seconds since the epoch."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import attrs
from loguru import logger

from nanobot.scheduler.zones import BadSchedule, find, instant, machine, wall

Per = Literal["day", "month"]
PERS: tuple[Per, ...] = ("day", "month")


@attrs.frozen
class Period:
    """A day or a month. `begin` belongs to it, `end` to the next."""

    per: Per
    first: date
    begin: float
    end: float

    @property
    def name(self) -> str:
        """2026-11-23, or 2026-11."""
        return f"{self.first:%Y-%m-%d}" if self.per == "day" else f"{self.first:%Y-%m}"


@attrs.frozen
class Calendar:
    zone: ZoneInfo

    @classmethod
    def of(cls, name: str) -> Calendar:
        """`agents.defaults.timezone`. An unknown one is refused with the configuration; here it counts as the machine's."""
        try:
            return cls(find(name))
        except BadSchedule as exc:
            logger.warning("agents.defaults.timezone: {}", exc)
            return cls(machine())

    def period(self, per: Per, at: float) -> Period:
        """The one that `at` lies in."""
        today = self.clock(at).date()
        return self.day(today) if per == "day" else self._month(today.replace(day=1))

    def day(self, day: date) -> Period:
        return Period("day", day, self._begin(day), self._begin(day + timedelta(days=1)))

    def last_days(self, at: float, count: int) -> tuple[Period, ...]:
        """So many up to the one that `at` lies in, oldest first."""
        today = self.clock(at).date()
        return tuple(self.day(today - timedelta(days=back)) for back in reversed(range(count)))

    def clock(self, at: float) -> datetime:
        """What clocks show then."""
        return wall(self.zone, at)

    def shown(self, at: float) -> str:
        """For people, to the minute, with the zone."""
        return f"{self.clock(at):%Y-%m-%d %H:%M} ({self.zone.key or 'local time'})"

    def _month(self, first: date) -> Period:
        following = (first + timedelta(days=31)).replace(day=1)
        return Period("month", first, self._begin(first), self._begin(following))

    def _begin(self, day: date) -> float:
        """Where midnight is skipped, the day begins when the gap ends; where it comes twice, at the first."""
        return float(instant(self.zone, datetime.combine(day, time())))
