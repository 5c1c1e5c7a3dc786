"""The database of runs: a slot once, all or none, bounded, and what stays of a job that went."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from nanobot.errors import StoreUnusable
from nanobot.scheduler.jobs import JobId, Outcome, Run, Slot
from nanobot.scheduler.runs import GONE_KEEP_MS, HISTORY, Head, Runs
from tests.scheduler.scene import T0_MS

A, B = JobId("a"), JobId("b")


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    runs = Runs(tmp_path / "cron" / "runs.db")
    yield runs
    runs.close()


def run(slot: int, job: JobId = A, outcome: Outcome = Outcome.RUNNING) -> Run:
    return Run(job, Slot(T0_MS + slot), outcome, T0_MS + slot, session=f"cron:default:{job}")


def slots(runs: Runs, job: JobId = A) -> list[int]:
    return [found.slot - T0_MS for found in runs.of(job, 10_000)]


def test_what_was_committed_is_there_after_a_reopening(runs: Runs, tmp_path: Path) -> None:
    whole = attrs.evolve(run(1), started_ms=2, ended_ms=3, tokens=4, error="e", by_hand=True, outcome=Outcome.FAILED)
    runs.settle({A: Head(Slot(5), 7, "shape")}, (), T0_MS)
    runs.commit([whole, run(1, B)], {A: Slot(T0_MS + 1)})
    again = Runs(tmp_path / "cron" / "runs.db")
    assert again.of(A, 5) == [whole]
    assert again.heads() == {A: Head(Slot(T0_MS + 1), 7, "shape")}
    assert again.last([A, B, "c"]) == {A: whole, B: run(1, B)}
    assert again.open() == [run(1, B)]
    again.close()


def test_a_slot_is_committed_once(runs: Runs) -> None:
    assert runs.commit([run(1), run(2)], {}) == [run(1), run(2)]
    assert runs.commit([run(2), run(3)], {}) == [run(3)]
    assert slots(runs) == [3, 2, 1]


def test_a_commit_is_there_wholly_or_not_at_all(runs: Runs) -> None:
    runs.settle({A: Head(Slot(0))}, (), T0_MS)
    broken = attrs.evolve(run(2), slot=Slot(2**70))
    with pytest.raises(OverflowError):
        runs.commit([run(1), broken], {A: Slot(9)})
    assert (slots(runs), runs.committed(A)) == ([], 0)


def test_how_far_slots_are_settled_never_goes_back(runs: Runs) -> None:
    runs.settle({A: Head(Slot(100))}, (), T0_MS)
    runs.commit([], {A: Slot(50)})
    assert runs.settle({A: Head(Slot(10), 20, "other")}, (), T0_MS) == {A: Head(Slot(100), 20, "other")}
    assert (runs.committed(A), runs.committed(B)) == (100, None)


def test_what_is_over_stays_as_it_was(runs: Runs) -> None:
    runs.commit([run(1)], {})
    over = attrs.evolve(run(1), outcome=Outcome.OK, ended_ms=5)
    runs.book([over])
    runs.book([run(1), attrs.evolve(over, outcome=Outcome.CRASHED)])
    assert runs.of(A, 1) == [over]


def test_the_history_is_bounded_and_keeps_what_is_not_over(runs: Runs) -> None:
    runs.commit([run(0), *(run(slot, outcome=Outcome.OK) for slot in range(1, HISTORY))], {})
    runs.commit([run(slot, outcome=Outcome.OK) for slot in range(HISTORY, HISTORY + 50)], {})
    assert slots(runs) == [*range(HISTORY + 49, 49, -1), 0]


def test_a_job_that_went_and_comes_back_goes_on_behind_its_last_slot(runs: Runs) -> None:
    runs.settle({A: Head(Slot(100), 0, "x")}, (), T0_MS)
    runs.settle({}, [A], T0_MS)
    assert runs.heads() == {}
    assert runs.settle({A: Head(Slot(40), 60, "x")}, (), T0_MS)[A].after == 100


def test_a_job_that_went_long_ago_is_forgotten(runs: Runs) -> None:
    runs.settle({A: Head(Slot(100)), B: Head(Slot(100))}, (), T0_MS)
    runs.commit([run(1), run(1, B)], {})
    runs.settle({}, [A], T0_MS)
    runs.sweep(T0_MS + GONE_KEEP_MS)
    assert slots(runs) == [1]
    runs.sweep(T0_MS + GONE_KEEP_MS + 1)
    assert (slots(runs), runs.committed(A), slots(runs, B)) == ([], None, [1])


def test_a_file_that_is_no_database_is_said_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "runs.db").write_text("no database, and long enough to be looked at as one" * 10)
    with pytest.raises(StoreUnusable):
        Runs(tmp_path / "runs.db").heads()
    assert (tmp_path / "runs.db").read_text().startswith("no database")
