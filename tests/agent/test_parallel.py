"""Calls without effect run beside each other: all of them are under way before the first has its answer."""

from __future__ import annotations

from pathlib import Path

import trio

from tests.bench.parallel_calls import CALLS, Slow, answered


async def test_calls_that_change_nothing_run_beside_each_other(tmp_path: Path) -> None:
    slow = Slow(until=CALLS)
    with trio.fail_after(30):
        await answered(tmp_path, slow)
    assert slow.most == CALLS
