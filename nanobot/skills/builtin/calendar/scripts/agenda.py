"""What is in a calendar file (ICS) on some days: one line for each event, repetitions worked out.

    python3 agenda.py FILE.ics [--from 2026-03-02] [--days 7] [--zone Europe/Berlin] [--free 09:00-18:00]

Needs Python 3.10 or later and nothing else. Understands RRULE (daily, weekly, monthly, yearly; INTERVAL, COUNT, UNTIL, BYDAY,
BYMONTHDAY, BYMONTH), EXDATE, RDATE, single dates moved by RECURRENCE-ID, and cancelled events. What it does not understand
is said on standard error, and the event is shown with its first date. Files are bounded by MOST_BYTES, repetitions by MOST_STEPS.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

UTC = timezone.utc  # noqa: UP017 -- the alias is of 3.11
MOST_BYTES = 20_000_000
MOST_STEPS = 20_000
DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
FREQUENCIES = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")
UNDERSTOOD = {"FREQ", "INTERVAL", "COUNT", "UNTIL", "BYDAY", "BYMONTHDAY", "BYMONTH", "WKST"}
Line = tuple[str, dict[str, str], str]
Event = dict[str, list[Line]]


def lines(text: str) -> Iterator[Line]:
    """Name, parameters and value of each line, long ones joined."""
    for line in re.sub(r"\r?\n[ \t]", "", text).splitlines():
        head, colon, value = _parted(line)
        if colon:
            name, *rest = head.split(";")
            pairs = (part.partition("=") for part in rest)
            yield name.upper(), {key.upper(): given.strip('"') for key, _, given in pairs}, value


def _parted(line: str) -> tuple[str, str, str]:
    """At the first colon that is not in quotes."""
    found = re.match(r'((?:[^":]|"[^"]*")*)(:)(.*)', line)
    return (found[1], found[2], found[3]) if found else (line, "", "")


def events(text: str) -> Iterator[Event]:
    event: Event | None = None
    inner = 0
    for line in lines(text):
        name, _, value = line
        if name == "BEGIN" and value.upper() == "VEVENT":
            event, inner = {}, 0
        elif name == "END" and value.upper() == "VEVENT" and event is not None:
            yield event
            event = None
        elif name in ("BEGIN", "END"):
            inner += 1 if name == "BEGIN" else -1
        elif event is not None and inner == 0:
            event.setdefault(name, []).append(line)


def moment(line: Line, zone: tzinfo) -> datetime:
    """With its zone; a date is its midnight here. Raises: ValueError."""
    _, parameters, value = line
    if re.fullmatch(r"\d{8}", value):
        return datetime.combine(datetime.strptime(value, "%Y%m%d").date(), time(), zone)
    found = datetime.strptime(value.rstrip("Z"), "%Y%m%dT%H%M%S")
    if value.endswith("Z"):
        return found.replace(tzinfo=UTC)
    return found.replace(tzinfo=_zone(parameters.get("TZID", ""), zone))


def _zone(name: str, otherwise: tzinfo) -> tzinfo:
    try:
        return ZoneInfo(name) if name else otherwise
    except (KeyError, ValueError, OSError):
        print(f"not understood: time zone {name!r}, taken as the one here", file=sys.stderr)
        return otherwise


def length(event: Event, start: datetime, zone: tzinfo) -> timedelta:
    if "DTEND" in event:
        return max(timedelta(), moment(event["DTEND"][0], zone) - start)
    if "DURATION" in event and (
        found := re.fullmatch(r"P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:\d+S)?)?", event["DURATION"][0][2])
    ):
        weeks, days, hours, minutes = (int(part or 0) for part in found.groups())
        return timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes)
    return timedelta(days=1) if whole_day(event) else timedelta()


def whole_day(event: Event) -> bool:
    return len(event["DTSTART"][0][2]) == 8


def starts(event: Event, zone: tzinfo, until: datetime) -> Iterator[datetime]:
    """When it begins, each time, in order, up to `until`. Local times stay what they are over changes of the clock."""
    first = moment(event["DTSTART"][0], zone)
    gone = {moment((n, p, one), zone) for n, p, value in event.get("EXDATE", []) for one in value.split(",")}
    more = [moment((n, p, one), zone) for n, p, value in event.get("RDATE", []) for one in value.split(",")]
    found = more + (list(repeated(event["RRULE"][0][2], first, until)) if "RRULE" in event else [first])
    yield from sorted({one for one in found if one not in gone and one < until})


def repeated(text: str, first: datetime, until: datetime) -> Iterator[datetime]:
    """Raises: ValueError for a rule that is not understood."""
    rule = dict(part.split("=", 1) for part in text.upper().split(";") if "=" in part)
    interval = max(1, int(rule.get("INTERVAL", 1)))
    if strange := set(rule) - UNDERSTOOD:
        raise ValueError(f"repetition by {', '.join(sorted(strange))}")
    if rule.get("FREQ") not in FREQUENCIES or (rule["FREQ"] == "WEEKLY" and interval > 1 and rule.get("WKST", "MO") != "MO"):
        raise ValueError(f"repetition {text[:60]}")
    end = until
    if "UNTIL" in rule:
        end = min(
            end,
            moment(("UNTIL", {}, rule["UNTIL"]), first.tzinfo or UTC) + timedelta(days=len(rule["UNTIL"]) == 8, seconds=1),
        )
    left = int(rule.get("COUNT", MOST_STEPS))
    for step, period in enumerate(_periods(rule["FREQ"], interval, first.date())):
        for day in sorted(_days(rule, period, first.date())):
            at = datetime.combine(day, first.time(), first.tzinfo)
            if at < first:
                continue
            if at >= end or left == 0:
                return
            left -= 1
            yield at
        if step > MOST_STEPS or datetime.combine(period, time(), first.tzinfo) > end:
            return


def _periods(freq: str, interval: int, first: date) -> Iterator[date]:
    """The first day of each day, week, month or year in which it may happen."""
    number = 0
    while True:
        try:
            if freq in ("DAILY", "WEEKLY"):
                begin = first if freq == "DAILY" else first - timedelta(days=first.weekday())
                yield begin + timedelta(days=number * interval * (7 if freq == "WEEKLY" else 1))
            else:
                months = first.year * 12 + first.month - 1 + number * interval
                months = months if freq == "MONTHLY" else (first.year + number * interval) * 12
                yield date(months // 12, months % 12 + 1, 1)
        except (ValueError, OverflowError):  # after the year 9999
            return
        number += 1


def _days(rule: dict[str, str], period: date, first: date) -> Iterator[date]:
    """The days of one period."""
    wanted = [
        (int(found[1] or 0), DAYS.index(found[2]))
        for found in re.finditer(r"([+-]?\d*)(MO|TU|WE|TH|FR|SA|SU)", rule.get("BYDAY", ""))
    ]
    months = [int(one) for one in rule.get("BYMONTH", "").split(",") if one]
    dates = [int(one) for one in rule.get("BYMONTHDAY", "").split(",") if one]
    match rule["FREQ"]:
        case "DAILY":
            found = [period] if not wanted or period.weekday() in [day for _, day in wanted] else []
        case "WEEKLY":
            found = [period + timedelta(days=day) for _, day in wanted or [(0, first.weekday())]]
        case "MONTHLY":
            found = list(_in_month(period, wanted, dates or ([] if wanted else [first.day])))
        case _:
            by_day = dates or ([] if wanted else [first.day])
            found = [day for month in months or [first.month] for day in _in_month(period.replace(month=month), wanted, by_day)]
    yield from (day for day in found if not months or day.month in months)


def _in_month(begin: date, wanted: list[tuple[int, int]], dates: list[int]) -> Iterator[date]:
    days = [begin + timedelta(days=number) for number in range(31)]
    days = [day for day in days if day.month == begin.month]
    yield from (days[number - 1 if number > 0 else number] for number in dates if 0 < abs(number) <= len(days))
    for which, weekday in wanted:
        fitting = [day for day in days if day.weekday() == weekday]
        yield from fitting if which == 0 else fitting[which - 1 : which] if which > 0 else fitting[which : which + 1 or None]


def agenda(text: str, begin: datetime, end: datetime, zone: tzinfo) -> list[tuple[datetime, datetime, Event]]:
    """What happens between the two moments, in order."""
    everything = [event for event in events(text) if "DTSTART" in event]
    moved = {_single(event, zone) for event in everything}
    found: list[tuple[datetime, datetime, Event]] = []
    for event in everything:
        try:
            first = moment(event["DTSTART"][0], zone)
            lasts = length(event, first, zone)
        except ValueError as error:
            print(f"not understood: {_value(event, 'SUMMARY')}: {error}", file=sys.stderr)
            continue
        try:
            times = list(starts(event, zone, end))
        except (ValueError, KeyError) as error:
            print(f"not understood, so shown with its first date alone: {_value(event, 'SUMMARY')}: {error}", file=sys.stderr)
            times = [first]
        single = "RECURRENCE-ID" in event
        times = [at for at in times if single or (_value(event, "UID"), at) not in moved]
        if _value(event, "STATUS").upper() != "CANCELLED":
            found += [(at, at + lasts, event) for at in times if at < end and max(at + lasts, at + timedelta(seconds=1)) > begin]
    return sorted(found, key=lambda one: (one[0], one[1]))


def _single(event: Event, zone: tzinfo) -> tuple[str, datetime] | None:
    """The one date of a series that an event stands for."""
    try:
        return (_value(event, "UID"), moment(event["RECURRENCE-ID"][0], zone)) if "RECURRENCE-ID" in event else None
    except ValueError:
        return None


def _value(event: Event, name: str) -> str:
    """As a line of plain text."""
    text = re.sub(r"\\([nN,;\\])", lambda one: " " if one[1] in "nN" else one[1], event.get(name, [("", {}, "")])[0][2])
    return "".join(sign if sign.isprintable() else " " for sign in text)[:300]


def shown(begin: datetime, end: datetime, event: Event, zone: tzinfo) -> str:
    here, there = begin.astimezone(zone), end.astimezone(zone)
    place = f" ({_value(event, 'LOCATION')})" if "LOCATION" in event else ""
    if whole_day(event):
        last = there - timedelta(days=1)
        when = f"{here:%a %Y-%m-%d} all day" + (f", until {last:%a %Y-%m-%d}" if last.date() > here.date() else "")
    else:
        when = f"{here:%a %Y-%m-%d %H:%M}-" + (f"{there:%H:%M}" if here.date() == there.date() else f"{there:%a %Y-%m-%d %H:%M}")
    return f"{when}  {_value(event, 'SUMMARY') or '(no title)'}{place}"


def free(found: list[tuple[datetime, datetime, Event]], begin: datetime, days: int, hours: str, zone: tzinfo) -> Iterator[str]:
    """The gaps within the hours of each day; what is marked as free, and what lasts all day, blocks nothing."""
    opens, closes = (time.fromisoformat(part) for part in hours.split("-"))
    busy = [(b, e) for b, e, event in found if _value(event, "TRANSP").upper() != "TRANSPARENT" and not whole_day(event)]
    for number in range(days):
        day = begin.date() + timedelta(days=number)
        at, close = datetime.combine(day, opens, zone), datetime.combine(day, closes, zone)
        for b, e in [*busy, (close, close)]:
            if at < min(b, close):
                yield f"{at:%a %Y-%m-%d %H:%M}-{min(b, close).astimezone(zone):%H:%M}  free"
            at = max(at, e.astimezone(zone))


def main() -> int:
    parser = argparse.ArgumentParser(description="What is in a calendar file on some days.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--from", dest="begin", type=date.fromisoformat, default=date.today())
    parser.add_argument("--days", type=int, default=7, choices=range(1, 367), metavar="1-366")
    parser.add_argument("--zone", default="")
    parser.add_argument("--free", default="", metavar="09:00-18:00")
    given = parser.parse_args()
    zone = _zone(given.zone, datetime.now().astimezone().tzinfo or UTC)
    with given.file.open("rb") as file:
        text = file.read(MOST_BYTES).decode("utf-8", "replace")
    if "BEGIN:VCALENDAR" not in text.upper():
        print(f"{given.file} is no calendar (ICS)", file=sys.stderr)
        return 1
    begin = datetime.combine(given.begin, time(), zone)
    found = agenda(text, begin, datetime.combine(given.begin + timedelta(days=given.days), time(), zone), zone)
    for line in free(found, begin, given.days, given.free, zone) if given.free else (shown(*one, zone) for one in found):
        print(line)
    if not found and not given.free:
        print("nothing")
    return 0


if __name__ == "__main__":
    sys.exit(main())
