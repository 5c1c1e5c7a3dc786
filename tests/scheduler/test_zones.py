"""Every rule by which clocks of the world are changed, over ten years: daily jobs, and hourly and quarter-hourly ones in the week
around each change, kept by a service that is killed at random commits and whose clock jumps: each slot has one record.

Zones with the same changes follow one rule; that they are the same is looked at for every one of them. With NANOBOT_TEST_DEEP=1
it is all ten years, without it two of them (in 2030, Morocco changes its clocks four times).
"""

from __future__ import annotations

import os
import random
import zoneinfo
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

import attrs
import pytest

from nanobot.scheduler import zones
from nanobot.scheduler.jobs import Cron, Slot
from nanobot.scheduler.slots import next_slot, slots_between
from nanobot.scheduler.zones import BadSchedule, Change
from tests.scheduler.oracle import Clock, clock, due

DEEP = bool(os.environ.get("NANOBOT_TEST_DEEP"))
TEN_YEARS = range(2026, 2036)
YEARS = TEN_YEARS if DEEP else (2026, 2030)
RULES = 25
"""At least so many are in any database for these years: that of 2026 has 30, and one for zones that never change."""
QUARTER_S, DAY_S, DAY_MS = 900, 86_400, 86_400_000


def begin_of(year: int) -> int:
    return round(datetime(year, 1, 1, tzinfo=UTC).timestamp())


BEGIN, END = begin_of(TEN_YEARS[0]), begin_of(TEN_YEARS[-1] + 1)


# --- the rules


def ahead(zone: ZoneInfo, at: int) -> int:
    """Seconds that the clock is ahead of UTC."""
    offset = datetime.fromtimestamp(at, zone).utcoffset()
    assert offset is not None
    return offset // timedelta(seconds=1)


def found_changes(zone: ZoneInfo) -> Iterator[Change]:
    """By looking at the clock every five days, and then at quarters of an hour."""
    before = ahead(zone, BEGIN)
    for low in range(BEGIN, END, 5 * DAY_S):
        after = ahead(zone, low + 5 * DAY_S)
        if before != after:
            yield Change(turned(zone, after, range(low, low + 5 * DAY_S + 1, QUARTER_S)), before, after)
        before = after


def turned(zone: ZoneInfo, offset: int, moments: range) -> int:
    return moments[bisect_left(moments, True, key=lambda at: ahead(zone, at) == offset)]


@cache
def rules() -> dict[tuple[Change, ...], list[str]]:
    """The zones of each rule."""
    found: dict[tuple[Change, ...], list[str]] = defaultdict(list)
    for name in sorted(available_timezones()):
        found[tuple(found_changes(ZoneInfo(name)))].append(name)
    return found


def representatives() -> list[tuple[str, tuple[Change, ...]]]:
    return [(names[0], changes) for changes, names in rules().items() if changes]


def test_there_are_many_rules_and_their_changes_are_found() -> None:
    assert len(rules()) >= RULES
    for name, changes in representatives():
        assert tuple(change for year in TEN_YEARS for change in zones.changes(ZoneInfo(name), year)) == changes


def test_zones_of_one_rule_show_the_same() -> None:
    """At each change, in the second before it, and between on every third day (or every day)."""
    for changes, names in rules().items():
        if changes:
            between = range(BEGIN, END, (1 if DEEP else 3) * DAY_S)
            moments = [*between, *(change.at for change in changes), *(change.at - 1 for change in changes)]
            wanted = [ahead(ZoneInfo(names[0]), at) for at in moments]
            for name in names[1:]:
                assert [ahead(ZoneInfo(name), at) for at in moments] == wanted, name


def test_looking_at_the_clock_once_a_day_misses_no_change() -> None:
    """Every three hours it shows what the changes say."""
    for name, changes in representatives():
        zone, coming, now = ZoneInfo(name), [*changes, Change(END, 0, 0)], changes[0].before
        for at in range(BEGIN, END if DEEP else begin_of(2028), DAY_S // 8):
            while coming[0].at <= at:
                now = coming.pop(0).after
            assert ahead(zone, at) == now, (name, at)


# --- a service as pure as the slots


@attrs.define
class Disk:
    """What outlives a kill."""

    records: dict[Slot, int] = attrs.field(factory=dict)
    """How many each slot has."""
    committed: int = 0

    def commit(self, slot: Slot) -> None:
        self.records[slot] = self.records.get(slot, 0) + 1
        self.committed = slot


class Killed(Exception):
    pass


@attrs.frozen
class World:
    """A clock that jumps, and death before and after commits."""

    chance: random.Random
    kills: float = 0.1
    jumps: float = 0.05

    def maybe_kill(self) -> None:
        if self.chance.random() < self.kills:
            raise Killed

    def woken(self, wanted: int) -> int:
        """When it wakes: as it wanted, or hours too early because the clock was put back, or up to two days late."""
        if self.chance.random() < self.jumps:
            return wanted + self.chance.randrange(-DAY_MS // 4, 2 * DAY_MS)
        return wanted


def one_life(disk: Disk, job: Cron, world: World, now: int, until: int) -> None:
    """From a start to a death or the end. What was missed is made up for, all of it."""
    while (slot := next_slot(job, disk.committed, "")) is not None and slot <= until:
        while slot > now:
            now = world.woken(slot)
        world.maybe_kill()
        disk.commit(slot)
        world.maybe_kill()


def records_of(job: Cron, begin: int, until: int, world: World) -> dict[Slot, int]:
    disk = Disk(committed=begin)
    while True:
        try:
            one_life(disk, job, world, disk.committed, until)
        except Killed:
            continue
        return disk.records


def test_the_model_would_show_a_slot_that_is_doubled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a service that notes how far it is only after the record."""
    job, world = Cron("0 * * * *", "Europe/Berlin"), World(random.Random(1))
    begin, until = begin_of(2026) * 1000, begin_of(2026) * 1000 + 7 * DAY_MS
    wanted = dict.fromkeys(slots_between(job, begin, until, "", 1000), 1)
    assert records_of(job, begin, until, world) == wanted

    def record_first(disk: Disk, slot: Slot) -> None:
        disk.records[slot] = disk.records.get(slot, 0) + 1
        world.maybe_kill()
        disk.committed = slot

    monkeypatch.setattr(Disk, "commit", record_first)
    assert records_of(job, begin, until, world) != wanted


# --- ten years


DAILY = {time(9): "0 9 * * *", time(1, 30): "30 1 * * *", time(2, 30): "30 2 * * *"}
OFTEN = ("0 * * * *", "*/15 * * * *")
OTHERS = ("0 */2 * * *", "*/30 2 * * *", "15,45 0-3 * * *", "0 0 * * *", "45 23 * * *")


@pytest.mark.parametrize("at", DAILY, ids=str)
def test_each_day_has_one_record(at: time) -> None:
    world = World(random.Random(f"daily {at}"))
    for name, changes in representatives():
        for year in YEARS:
            wanted = [first_moment(ZoneInfo(name), day, at, changes) * 1000 for day in days(year)]
            found = records_of(Cron(DAILY[at], name), wanted[0] - 1, wanted[-1], world)
            assert found == dict.fromkeys(wanted, 1), (name, year)


def first_moment(zone: ZoneInfo, day: date, at: time, changes: tuple[Change, ...]) -> int:
    """When a clock first shows a time of a day; if it never does, the first moment at which it is later."""
    wall = round(datetime.combine(day, at, UTC).timestamp())
    might = sorted(wall - offset for offset in {change.before for change in changes} | {change.after for change in changes})
    shown = [moment for moment in might if moment + ahead(zone, moment) == wall]
    return shown[0] if shown else next(at for at in range(might[0], might[-1] + 1, 60) if at + ahead(zone, at) > wall)


def days(year: int) -> Iterator[date]:
    return (date(year, 1, 1) + timedelta(days=day) for day in range(365))


def test_the_week_around_each_change_has_one_record_of_each_slot() -> None:
    """Of the hourly and quarter-hourly jobs, and of the daily ones and another besides."""
    world = World(random.Random("weeks"))
    for name, changes in representatives():
        for walked in weeks(name, changes):
            begin, until = walked[0][0] + DAY_MS, walked[-1][0]
            for expr in (*OFTEN, *DAILY.values(), world.chance.choice(OTHERS)):
                wanted = [slot for slot in due(expr, walked) if slot > begin]
                found = records_of(Cron(expr, name), begin, until, world)
                assert found == dict.fromkeys(wanted, 1), (name, expr, begin)


def weeks(name: str, changes: tuple[Change, ...]) -> Iterator[Clock]:
    """The week around each change, and a day before. All changes fall on a quarter of an hour, and so do all offsets and jobs."""
    for change in changes:
        if datetime.fromtimestamp(change.at, UTC).year in YEARS:
            assert change.at % QUARTER_S == change.before % QUARTER_S == change.after % QUARTER_S == 0
            begin = change.at * 1000 - 4 * DAY_MS - DAY_MS // 2
            yield clock(name, begin, begin + 8 * DAY_MS, minutes=15)


# --- names


def test_a_name_is_found_or_near_names_are_said() -> None:
    assert zones.find("US/Eastern").key == "US/Eastern"  # an older name, which some systems leave out
    with pytest.raises(BadSchedule, match="America/New_York"):
        zones.find("new york")


def test_zones_are_found_where_the_system_has_none() -> None:
    """As in small container images: what `tzdata` brings is enough."""
    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath([])
    try:
        assert ZoneInfo.no_cache("Europe/Berlin").key == "Europe/Berlin"
    finally:
        zoneinfo.reset_tzpath(before)
