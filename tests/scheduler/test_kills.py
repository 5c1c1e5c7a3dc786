"""A slice of the campaign of kills: `python -m tests.scheduler.kills --rounds N` for a long one."""

from __future__ import annotations

import subprocess
import sys

ROUNDS = 20
MOST_S = 120


def test_kills_leave_each_slot_one_record_and_one_turn() -> None:
    """In a process of its own, because it forks."""
    campaign = [sys.executable, "-m", "tests.scheduler.kills", "--rounds", str(ROUNDS), "--seed", "20261123"]
    ended = subprocess.run(campaign, capture_output=True, text=True, timeout=MOST_S, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"{ROUNDS} kills" in ended.stdout
