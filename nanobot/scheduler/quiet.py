"""Quiet hours: `22:00-07:00`, by the clock of a zone, over midnight where the end is not after the beginning. Pure.

A change of the clock changes nothing of that: they are quiet whenever the clock shows a time between the two, however long that
lasts (in the night of a change an hour less, or one more).
"""

from __future__ import annotations

import re
from datetime import datetime, time

import attrs

_HOURS = re.compile(r"\s*(\d{1,2}):(\d{2})\s*[-–]\s*(\d{1,2}):(\d{2})\s*")  # people type both
EXPECTED = "expected hours such as 22:00-07:00"


@attrs.frozen
class Quiet:
    """From `begin` until just before `end`."""

    begin: time
    end: time

    @classmethod
    def parse(cls, text: str) -> Quiet | None:
        """None for an empty text. Raises: ValueError."""
        if not text.strip():
            return None
        found = _HOURS.fullmatch(text)
        if found is None:
            raise ValueError(EXPECTED)
        first_hour, first_minute, last_hour, last_minute = map(int, found.groups())
        if last_hour == 24 and last_minute == 0:
            last_hour = 0
        try:
            hours = cls(time(first_hour, first_minute), time(last_hour, last_minute))
        except ValueError as exc:
            raise ValueError(EXPECTED) from exc
        if hours.begin == hours.end:
            raise ValueError(f"{EXPECTED}; to be silent all day, set enabled to false")
        return hours

    def at(self, shown: datetime) -> bool:
        """Whether it is quiet when clocks show that."""
        now = shown.time().replace(tzinfo=None)
        if self.begin < self.end:
            return self.begin <= now < self.end
        return now >= self.begin or now < self.end
