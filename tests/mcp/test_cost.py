"""A slice of tests/mcp/cost.py: nothing grows, nothing is left, nobody waits."""

from __future__ import annotations

import re
from pathlib import Path

from tests.mcp.cost import restarts, stops

NUMBER = 12


async def test_restarts_leave_nothing(tmp_path: Path) -> None:
    early, late = [re.findall(r"(\d+) (descriptors|children|tasks|threads)", line) for line in await restarts(tmp_path, NUMBER)]
    grown = {what: int(after) - int(before) for (before, what), (after, _) in zip(early, late, strict=True)}
    assert [what for what in ("descriptors", "children", "tasks") if grown[what] > 0] == []
    assert grown["threads"] <= 1


async def test_of_a_stopped_call_nothing_is_left(tmp_path: Path) -> None:
    assert max(await stops(tmp_path, NUMBER)) < 1.0
