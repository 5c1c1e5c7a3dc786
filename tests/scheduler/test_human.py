"""Phrases: what each means on a Monday morning in Berlin, what is refused and what is said then, and back again."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanobot.scheduler import human
from nanobot.scheduler.jobs import At, Cron, Every, Schedule
from nanobot.scheduler.slots import BadSchedule
from tests.scheduler.oracle import ms

BERLIN = "Europe/Berlin"
NOW = ms(BERLIN, 2026, 11, 23, 10)  # a Monday
MINUTE, HOUR = 60_000, 3_600_000


def at(*wall: int) -> At:
    return At(ms(BERLIN, *wall))


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("in 20 minutes", At(NOW + 20 * MINUTE)),
        ("In 2 hours", At(NOW + 2 * HOUR)),
        ("in an hour", At(NOW + HOUR)),
        ("in half an hour", At(NOW + 30 * MINUTE)),
        ("in 1h30m", At(NOW + 90 * MINUTE)),
        ("in 2 hours and 30 minutes", At(NOW + 150 * MINUTE)),
        ("20 minutes from now", At(NOW + 20 * MINUTE)),
        ("in 3 days", at(2026, 11, 26, 10)),
        ("in 3 days at 9", at(2026, 11, 26, 9)),
        ("tomorrow at 8", at(2026, 11, 24, 8)),
        ("tomorrow morning", at(2026, 11, 24, 8)),
        ("tomorrow in the evening at 7", at(2026, 11, 24, 19)),
        ("the day after tomorrow at noon", at(2026, 11, 25, 12)),
        ("today at 6pm", at(2026, 11, 23, 18)),
        ("tonight", at(2026, 11, 23, 20)),
        ("tonight at 9", at(2026, 11, 23, 21)),
        ("at 9 tonight", at(2026, 11, 23, 21)),
        ("at 9", at(2026, 11, 24, 9)),
        ("at 11", at(2026, 11, 23, 11)),
        ("18:30", at(2026, 11, 23, 18, 30)),
        ("at 18.30", at(2026, 11, 23, 18, 30)),
        ("midnight", at(2026, 11, 24)),
        ("9 p.m.", at(2026, 11, 23, 21)),
        ("12am", at(2026, 11, 24)),
        ("friday at 17:00", at(2026, 11, 27, 17)),
        ("next friday at 17:00", at(2026, 11, 27, 17)),
        ("next monday at 11", at(2026, 11, 30, 11)),
        ("on Monday at 11", at(2026, 11, 23, 11)),
        ("monday at 9", at(2026, 11, 30, 9)),
        ("24 December at 18:00", at(2026, 12, 24, 18)),
        ("on Jan 2nd at 8 o'clock", at(2027, 1, 2, 8)),
        ("29 february at 9", at(2028, 2, 29, 9)),
        ("Thu 24 Dec 2026 at 18:00", at(2026, 12, 24, 18)),
        ("2026-12-24 18:00", at(2026, 12, 24, 18)),
        ("2026-12-24t18:00:30", At(ms(BERLIN, 2026, 12, 24, 18) + 30_000)),
        ("2026-12-24T18:00:00+05:30", At(ms("Asia/Kolkata", 2026, 12, 24, 18))),
        ("2026-12-24T18:00Z", At(ms("UTC", 2026, 12, 24, 18))),
        ("2026-12-24 at 6pm", at(2026, 12, 24, 18)),
        ("2027-03-28 02:30", at(2027, 3, 28, 3)),
        ("2027-10-31 02:30", at(2027, 10, 31, 2, 30)),
        ("tomorrow at 9 (Asia/Tokyo)", At(ms("Asia/Tokyo", 2026, 11, 24, 9))),
    ],
)
def test_once(said: str, means: At) -> None:
    assert human.read(said, NOW, BERLIN) == means


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("every 90 seconds", Every(90_000, NOW)),
        ("every 2 hours", Every(2 * HOUR, NOW)),
        ("every hour", Every(HOUR, NOW)),
        ("hourly", Every(HOUR, NOW)),
        ("every half hour", Every(30 * MINUTE, NOW)),
        ("every 2 days", Every(48 * HOUR, NOW)),
        ("every day at 18:30", Cron("30 18 * * *")),
        ("daily at 9am", Cron("0 9 * * *")),
        ("every morning at 7:30", Cron("30 7 * * *")),
        ("every evening", Cron("0 18 * * *")),
        ("every day at 9, 12 and 18", Cron("0 9,12,18 * * *")),
        ("every day at 9:00 and 9:30", Cron("0,30 9 * * *")),
        ("every weekday at 9", Cron("0 9 * * 1-5")),
        ("at 9 on weekdays", Cron("0 9 * * 1-5")),
        ("every weekend at 10", Cron("0 10 * * 6,0")),
        ("mondays at 9", Cron("0 9 * * 1")),
        ("every monday and thursday at 7pm", Cron("0 19 * * 1,4")),
        ("each Sun, Wed, and Fri at 7:15", Cron("15 7 * * 3,5,0")),
        ("weekly on monday at 9", Cron("0 9 * * 1")),
        ("Monday to Saturday at 8", Cron("0 8 * * 1-6")),
        ("every month on the 1st at 8", Cron("0 8 1 * *")),
        ("on the 1st and 15th of every month at 8", Cron("0 8 1,15 * *")),
        ("monthly on the last day at 18", Cron("0 18 L * *")),
        ("every last friday of the month at 17", Cron("0 17 * * 5L")),
        ("the first monday of each month at 9", Cron("0 9 * * 1#1")),
        ("every year on 24 December at 18:00", Cron("0 18 24 12 *")),
        ("every day at 9 in Asia/Tokyo", Cron("0 9 * * *", "Asia/Tokyo")),
        ("0 9 * * 1-5", Cron("0 9 * * 1-5")),
        ("*/15 9-17 * * MON-FRI", Cron("*/15 9-17 * * MON-FRI")),
        ("@daily", Cron("@daily")),
        ("0 9 * * 1-5 America/New_York", Cron("0 9 * * 1-5", "America/New_York")),
    ],
)
def test_again_and_again(said: str, means: Schedule) -> None:
    assert human.read(said, NOW, BERLIN) == means


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("", "say it like: in 20 minutes"),
        ("whenever you like", "say it like: in 20 minutes"),
        ("next week", "not understood"),
        ("5", "not understood"),
        ("12/24/2026 at 9", "not understood"),
        ("x" * 1000, "too long"),
        ("every day", 'such as "every day at 9"'),
        ("tomorrow", 'such as "tomorrow at 9"'),
        ("every month at 9", "on which day"),
        ("every 3 days at 9", "an interval has no time of the day"),
        ("every day at 9:00 and 21:30", "one job for each"),
        ("tomorrow at 8 and 9", "one job for each"),
        ("monday and thursday at 9", 'say "every monday and thursday"'),
        ("on the 24th at 9", "every month on the 24th"),
        ("tonight at 2", "may be 2:00 or 14:00"),
        ("friday at midnight", "the beginning or the end"),
        ("today at 8", "is over: it was Mon 23 Nov 2026 at 08:00"),
        ("2020-01-01 10:00", "is over"),
        ("25:00", "no time of the day"),
        ("at 13pm", "no time of the day"),
        ("31 february at 9", "no day 31"),
        ("2026-02-30 10:00", "no time"),
        ("fri 24 dec 2026 at 18:00", "another day of the week"),
        ("fri 24 dec at 18:00", "needs the year"),
        ("every 0.2 seconds", "at least 1 s"),
        ("in 999999 weeks", "more than a hundred years"),
        ("0 9 * *", "4 fields"),
        ("0 0 31 2 *", "no such day"),
        ("every day at 9 in Europe/Berln", "did you mean Europe/Berlin"),
        ("every 2 hours Europe/Berln", "did you mean Europe/Berlin"),
    ],
)
def test_what_is_refused_and_what_is_said_then(said: str, told: str) -> None:
    with pytest.raises(BadSchedule) as caught:
        human.read(said, NOW, BERLIN)
    assert told in str(caught.value)


WORDS = "every in at on the 1st monday weekday day month year 9 18:30 7pm 2 hours minutes tomorrow next and night * 0"


@given(st.lists(st.sampled_from(WORDS.split()), max_size=8))
def test_any_words_are_a_schedule_or_refused(words: list[str]) -> None:
    try:
        schedule = human.read(" ".join(words), NOW, BERLIN)
    except BadSchedule:
        return
    assert human.preview(schedule, NOW, BERLIN, 1)


# --- back


DAYS = ("* * *", "* * 1-5", "* * 1", "* * 6,0", "* * 1,4", "1 * *", "1,15,22,31 * *", "L * *", "* * 5L", "* * 0#2", "24 12 *")
days = st.sampled_from(DAYS)
times = st.one_of(
    st.builds("{} {}".format, st.integers(0, 59), st.integers(0, 23)),
    st.builds("{} {},{}".format, st.integers(0, 59), st.integers(0, 11), st.integers(12, 23)),
)
said_by_phrases = st.one_of(
    st.builds(lambda at, day, zone: Cron(f"{at} {day}", zone), times, days, st.sampled_from(["", "Asia/Tokyo", "UTC"])),
    st.builds(lambda seconds: Every(seconds * 1000, NOW), st.integers(1, 40 * 86_400)),
    st.builds(lambda ms: Every(ms, NOW), st.integers(1000, 10**8)),
    st.builds(lambda seconds: At(NOW + seconds * 1000), st.integers(1, 10**9)).filter(lambda at: not second_time(at)),
)


def second_time(at: At) -> bool:
    """Whether the clock shows it for the second time: said is the first."""
    return bool(datetime.fromtimestamp(at.at_ms / 1000, ZoneInfo(BERLIN)).fold)


@given(said_by_phrases)
def test_what_is_said_is_understood_again(schedule: Schedule) -> None:
    assert human.read(human.words(schedule, BERLIN), NOW, BERLIN) == schedule


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        (Cron("0 9 * * 1-5", BERLIN), "every weekday at 09:00"),
        (Cron("0 9,18 * * *", "Asia/Tokyo"), "every day at 09:00 and 18:00 (Asia/Tokyo)"),
        (Cron("0 9 * * 7,1"), "every Monday and Sunday at 09:00"),
        (Cron("0 8 1,22,31 * *"), "every month on the 1st, 22nd and 31st at 08:00"),
        (Cron("*/15 9-17 * * 1-5"), "every 15th minute from 09:00 through 17:59 on Monday through Friday (*/15 9-17 * * 1-5)"),
        (Every(90 * MINUTE, 0), "every 90 minutes"),
        (Every(24 * HOUR, 0), "every 24 hours"),
        (Every(1500, 0), "every 1.5 seconds"),
        (At(NOW), "once, Mon 23 Nov 2026 at 10:00"),
    ],
)
def test_words(schedule: Schedule, said: str) -> None:
    assert human.words(schedule, BERLIN) == said


@pytest.mark.parametrize("schedule", [Cron("no"), Cron("0 9 * * *", "Nowhere/Else"), Every(0, 0), At(10**18)])
def test_what_is_no_schedule_is_said_to_be_none(schedule: Schedule) -> None:
    """Files of others may hold anything."""
    assert human.words(schedule, BERLIN).startswith("never: ")
    assert human.preview(schedule, NOW, BERLIN) == []


def test_a_preview_shows_the_clock_of_the_job_and_its_changes() -> None:
    hourly = Cron("0 2-3 24-25 10 *", BERLIN)
    assert human.preview(hourly, ms(BERLIN, 2026, 10, 24), "UTC", 3) == [
        "Sat 24 Oct 2026, 02:00 CEST",
        "Sat 24 Oct 2026, 03:00 CEST",
        "Sun 25 Oct 2026, 02:00 CEST",
    ]
    assert human.preview(Every(90_000, NOW), NOW, "UTC", 1) == ["Mon 23 Nov 2026, 09:01:30 UTC"]
    assert human.preview(At(NOW), NOW, BERLIN) == []
