"""Unclean starts are counted by what dead processes left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nanobot.errors import InUse
from nanobot.gateway import starts

NOW = 1_000_000.0


def dead_process() -> int:
    done = subprocess.Popen([sys.executable, "-c", "pass"])
    done.wait()
    return done.pid


def test_after_three_unclean_starts_nothing_is_resumed(tmp_path: Path) -> None:
    resumed = []
    for number in range(5):
        with starts.counted(tmp_path, NOW + number) as resume:
            resumed.append(resume)
            (own,) = [f for f in (tmp_path / "starts").iterdir() if f.name.startswith(f"{os.getpid()}-")]
            own.rename(own.with_name(f"{dead_process()}-{NOW + number}"))
    assert resumed == [True, True, True, False, False]


def test_a_clean_end_and_a_living_process_do_not_count(tmp_path: Path) -> None:
    for number in range(5):
        with starts.counted(tmp_path, NOW + number), starts.counted(tmp_path, NOW + number + 0.5) as resume:
            assert resume
    assert list((tmp_path / "starts").iterdir()) == []


def test_old_ones_are_forgotten_and_swept(tmp_path: Path) -> None:
    (tmp_path / "starts").mkdir()
    for number in range(4):
        (tmp_path / "starts" / f"{dead_process()}-{NOW + number}").touch()
    with starts.counted(tmp_path, NOW + starts.WINDOW_S + 10) as resume:
        assert resume
    assert list((tmp_path / "starts").iterdir()) == []


@pytest.mark.parametrize("name", ["notes.txt", f"{10**30}-{NOW}"])
def test_foreign_files_are_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / "starts").mkdir()
    (tmp_path / "starts" / name).touch()
    with starts.counted(tmp_path, NOW) as resume:
        assert resume
    assert (tmp_path / "starts" / name).exists()


def test_a_file_with_our_own_number_is_of_an_earlier_process(tmp_path: Path) -> None:
    """In a container every start has the same number."""
    (tmp_path / "starts").mkdir()
    for number in range(starts.MOST):
        (tmp_path / "starts" / f"{os.getpid()}-{NOW + number}").touch()
    with starts.counted(tmp_path, NOW + 10) as resume:
        assert not resume


@pytest.mark.parametrize(
    ("error", "left"),
    [(InUse("session x", 1), 0), (ExceptionGroup("nursery", [InUse("session x", 1)]), 0), (ZeroDivisionError(), 1)],
)
def test_an_end_with_a_sentence_is_clean_and_a_bug_is_not(tmp_path: Path, error: Exception, left: int) -> None:
    with pytest.raises((ExceptionGroup, ZeroDivisionError)), starts.counted(tmp_path, NOW):
        raise error
    assert len(list((tmp_path / "starts").iterdir())) == left
