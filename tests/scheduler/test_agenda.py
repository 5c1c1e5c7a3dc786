"""Which job is next, and what edits do to that."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanobot.config.schema import CronConfig
from nanobot.scheduler.agenda import Agenda
from nanobot.scheduler.jobs import Cron, Every, Job, JobId, Slot
from nanobot.scheduler.runs import Head
from nanobot.scheduler.slots import next_slot
from tests.scheduler.scene import HOUR, T0_MS, job, once

H = HOUR * 1000
CONFIG = CronConfig(catch_up="all")


def load(agenda: Agenda, *jobs: Job, edited_h: float = 0, now_h: float = 0) -> set[JobId]:
    heads, gone = agenda.changes(jobs, at(edited_h), at(now_h))
    agenda.load(jobs, heads, "UTC")
    return gone


def run_until(agenda: Agenda, now_h: float) -> dict[JobId, tuple[Slot, ...]]:
    found = agenda.due(at(now_h), "UTC", CONFIG)
    agenda.committed(found, "UTC")
    return {id: fate.run for id, fate in found.items()}


def at(hours: float) -> int:
    return T0_MS + int(hours * H)


def test_a_new_job_is_due_from_when_it_was_made() -> None:
    agenda = Agenda()
    load(agenda, job(1), job(2, created_ms=at(-5)), once(3), now_h=0.5)
    assert run_until(agenda, 1) == {"00000001": (at(1),), "00000002": (at(1),), "00000003": (at(1),)}


def test_a_job_made_while_nanobot_was_off_is_made_up_for() -> None:
    agenda = Agenda()
    load(agenda, job(), now_h=2.5)
    assert run_until(agenda, 2.5) == {"00000001": (at(1), at(2))}


def test_what_a_long_pause_leaves_is_settled_piece_by_piece_and_wholly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanobot.scheduler.agenda.MOST_AT_ONCE", 4)
    agenda = Agenda()
    load(agenda, *(job(number, created_ms=T0_MS - number) for number in (1, 2, 3)), now_h=2)
    rounds = [run_until(agenda, 2), run_until(agenda, 2), run_until(agenda, 2)]
    assert [len(found) for found in rounds] == [2, 1, 0]
    assert {slots for found in rounds for slots in found.values()} == {(at(1), at(2))}


def test_a_job_that_says_nothing_of_its_past_has_none() -> None:
    """Of HKUDS/nanobot, which says when it ran last; made by hand, the file's time counts."""
    agenda = Agenda()
    load(agenda, job(1, created_ms=at(-50), ran_ms=at(1)), job(2, created_ms=0), edited_h=2, now_h=2.5)
    assert run_until(agenda, 2.5) == {"00000001": (at(2),)}


def test_another_schedule_counts_from_the_edit_and_never_before_what_was_committed() -> None:
    agenda = Agenda()
    load(agenda, job())
    run_until(agenda, 2)
    load(agenda, job(schedule=Every(H // 2, T0_MS)), edited_h=3.6, now_h=3.7)
    assert run_until(agenda, 4) == {"00000001": (at(4),)}
    load(agenda, job(schedule=Every(H // 2, T0_MS), updated_ms=at(1)), edited_h=1, now_h=5)
    assert run_until(agenda, 4.5) == {"00000001": (at(4.5),)}


def test_what_was_off_is_due_from_when_it_is_on() -> None:
    agenda = Agenda()
    load(agenda, job(enabled=False))
    assert agenda.next() is None
    load(agenda, job(updated_ms=at(2.5)), edited_h=2.5, now_h=2.6)
    assert run_until(agenda, 3) == {"00000001": (at(3),)}


def test_another_name_changes_nothing() -> None:
    agenda = Agenda()
    load(agenda, job())
    assert agenda.changes([job(name="other", updated_ms=at(1.5))], at(1.5), at(1.5)) == ({}, set())


def test_an_edit_from_the_future_counts_as_one_of_now() -> None:
    agenda = Agenda()
    load(agenda, job(created_ms=at(1000)), now_h=0.5)
    assert run_until(agenda, 1) == {"00000001": (at(1),)}


def test_a_job_that_went_is_not_due() -> None:
    agenda = Agenda()
    load(agenda, job(1), job(2))
    assert load(agenda, job(2)) == {"00000001"}
    assert run_until(agenda, 1) == {"00000002": (at(1),)}


def test_clocks_of_another_zone() -> None:
    agenda, jobs = Agenda(), [job(schedule=Cron("0 9 * * *"))]
    load(agenda, *jobs)
    before = agenda.next()
    agenda.load(jobs, {}, "Asia/Tokyo", anew=True)
    assert agenda.next() != before
    assert agenda.next() == next_slot(jobs[0].schedule, T0_MS, "Asia/Tokyo")


def test_heads_of_an_earlier_life_count() -> None:
    agenda = Agenda()
    agenda.heads = {JobId("00000001"): Head(Slot(at(3)), 0, f"every {H} {T0_MS}")}
    load(agenda, job(), now_h=3.5)
    assert run_until(agenda, 4) == {"00000001": (at(4),)}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([600, 900, 3600, 0]), st.booleans()), max_size=25))
def test_the_heap_says_the_least_of_all_next_slots(edits: list[tuple[int, int, bool]]) -> None:
    agenda, jobs, now = Agenda(), dict[int, Job](), 0.0
    for number, every_s, enabled in edits:
        now += 0.3
        if every_s:
            jobs[number] = job(number, Every(every_s * 1000, T0_MS), enabled=enabled, updated_ms=at(now))
        else:
            jobs.pop(number, None)
        load(agenda, *jobs.values(), edited_h=now, now_h=now)
        run_until(agenda, now)
        nexts = [slot for one in jobs.values() if (slot := agenda.next_of(one.id)) is not None]
        assert agenda.next() == min(nexts, default=None)
        assert all(slot > at(now) for slot in nexts)
        assert len(nexts) == sum(one.enabled for one in jobs.values())
    assert attrs.asdict(agenda)["jobs"].keys() == {one.id for one in jobs.values()}
