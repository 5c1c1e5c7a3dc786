"""What becomes of the slots that have come since the last committed one. Pure.

Mostly that is one, just now, and it runs. After a pause (nanobot or the machine was off, the clock was set) there may be many:
those within the horizon are made up for as the job wants it (none, the newest, all) and the others recorded as missed, one by
one; of what is older, or more than anybody would read, one record stands for all.
"""

from __future__ import annotations

from collections import deque

import attrs

from nanobot.config.schema import CatchUp, CronConfig
from nanobot.scheduler.jobs import Job, Schedule, Slot
from nanobot.scheduler.slots import LEAST_EVERY_MS, next_slot, slots_between

ON_TIME_MS = 60_000
"""Milliseconds that a slot may be late and is none that was missed: a busy machine, a start, a lid that was closed."""
MOST = 1000
"""Slots of a job that are recorded, or made up for, at once; more would push each other out of its history."""
CHUNK = 1000


@attrs.frozen
class Terms:
    """What a job wants of slots that were missed."""

    catch_up: CatchUp
    horizon_ms: int

    @classmethod
    def of(cls, job: Job, config: CronConfig) -> Terms:
        horizon_s = config.horizon_s if job.horizon_s is None else job.horizon_s
        return cls(job.catch_up or config.catch_up, int(horizon_s * 1000))

    def too_late(self, slot: Slot, now_ms: int) -> bool:
        """Whether a slot is not made up for any more."""
        may_be = 0 if self.catch_up == "skip" else self.horizon_ms
        return now_ms - slot > max(may_be, ON_TIME_MS)


@attrs.frozen
class Settled:
    """The fate of all slots up to `upto`."""

    upto: Slot
    run: tuple[Slot, ...] = ()
    missed: tuple[Slot, ...] = ()
    older: Slot | None = None
    """The first of those that are too old, or too many, to have records of their own."""


def settle(schedule: Schedule, after: Slot, now_ms: int, zone: str, terms: Terms) -> Settled | None:
    """None where nothing is due. Raises: BadSchedule."""
    first = next_slot(schedule, after, zone)
    if first is None or first > now_ms:
        return None
    oldest = now_ms - max(terms.horizon_ms, ON_TIME_MS)
    slots = _since(schedule, first, max(after, oldest - 1), now_ms, zone)
    older = first if not slots or first < slots[0] else None
    if not slots:
        return Settled(Slot(max(first, oldest - 1)), older=older)
    late = slots[-1] < now_ms - ON_TIME_MS
    run = slots if terms.catch_up == "all" else slots[-1:] if terms.catch_up == "once" or not late else []
    return Settled(slots[-1], tuple(run), tuple(slots[: len(slots) - len(run)]), older)


def _since(schedule: Schedule, first: Slot, after: int, now_ms: int, zone: str) -> list[Slot]:
    """The slots after `after`, `first` being the first of all that are due: mostly the only one."""
    second = next_slot(schedule, first, zone)
    if second is None or second > now_ms:
        return [first] if first > after else []
    return _newest(schedule, after, now_ms, zone)


def _newest(schedule: Schedule, after: int, now_ms: int, zone: str) -> list[Slot]:
    """The last `MOST` slots after `after`, looked for in growing steps backwards: there may be millions."""
    span = MOST * LEAST_EVERY_MS
    while True:
        at = max(after, now_ms - span)
        whole, count, newest = at == after, 0, deque[Slot](maxlen=MOST)
        while chunk := slots_between(schedule, at, now_ms, zone, CHUNK):
            newest.extend(chunk)
            at, count = chunk[-1], count + len(chunk)
        if whole or count >= MOST:
            return list(newest)
        span *= 2
