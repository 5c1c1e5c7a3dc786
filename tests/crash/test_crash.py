"""A slice of the campaign, as a process of its own: rounds are forked, and pytest has threads."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.rounds import THINKING, WRITING, WRITTEN

SLICE = (("house", 45), ("cli", 3))


@pytest.mark.slow
@pytest.mark.parametrize(("through", "rounds"), SLICE)
def test_what_was_acknowledged_survives_kill_9(through: str, rounds: int, tmp_path: Path) -> None:
    arguments = ("--rounds", str(rounds), "--seed", "1", "--through", through, "--keep", str(tmp_path))
    campaign = subprocess.run(
        [sys.executable, "-m", "tests.crash.campaign", *arguments], capture_output=True, text=True, timeout=300, check=False
    )

    assert campaign.returncode == 0, campaign.stdout + campaign.stderr
    assert f"{rounds} rounds" in campaign.stdout
    if through == "house":
        assert all(re.search(rf"^{re.escape(state)} +[1-9]", campaign.stdout, re.M) for state in (THINKING, WRITING, WRITTEN))
