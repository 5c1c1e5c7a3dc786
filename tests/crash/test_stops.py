"""A slice of the campaign of stops: every kind of child, stopped in its call, after it, and by kill -9 of the owner."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
WITHIN_S = 3
"""The promise is a second, which the campaign holds; here other tests may be running."""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and subreapers")
def test_what_is_stopped_is_gone() -> None:
    command = [sys.executable, "-m", "tests.crash.stops", "--rounds", "8", "--kills", "4", "--within", str(WITHIN_S)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"12 of 12 within {WITHIN_S} s" in done.stdout
