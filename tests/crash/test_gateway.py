"""A slice of the campaign through the gateway, as a process of its own: rounds are forked, and pytest has threads."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROUNDS = 12


@pytest.mark.slow
def test_what_was_accepted_is_answered_once_whatever_is_killed(tmp_path: Path) -> None:
    arguments = ("--through", "gateway", "--rounds", str(ROUNDS), "--seed", "1", "--keep", str(tmp_path))
    campaign = subprocess.run(
        [sys.executable, "-m", "tests.crash.campaign", *arguments], capture_output=True, text=True, timeout=300, check=False
    )

    assert campaign.returncode == 0, campaign.stdout + campaign.stderr
    kills = re.search(rf"^{ROUNDS} rounds, (\d+) kills", campaign.stdout, re.M)
    assert kills is not None
    assert int(kills[1]) >= ROUNDS, "a kill a round, but for those that an end in order was faster than"
