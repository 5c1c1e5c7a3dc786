"""A slice of tests/memory/kills.py, in a process of its own, which forks those that are killed."""

from __future__ import annotations

import subprocess
import sys


def test_killed_at_any_moment_nothing_is_lost_and_nothing_is_there_twice() -> None:
    command = [sys.executable, "-m", "tests.memory.kills", "--rounds", "25"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "nothing lost" in ended.stdout
