"""A slice of the failure table of WhatsApp (whatsapp_failures.py), with the real house."""

from __future__ import annotations

from pathlib import Path

from tests.channels.whatsapp_failures import Outcome, campaign, open_hall
from tests.fakes.whatsapp import until


async def test_a_slice(tmp_path: Path) -> None:
    every: list[Outcome] = []
    async with open_hall(tmp_path) as hall:
        await campaign(hall, ["reset", "409", "lost answer", "half-open", "killed"], 1, every.extend)
        await until(lambda: not hall.network.waiting)
    assert [one.state for one in every] == ["up", "parked", "up", "restarted", "restarted"]
    assert "Another program" in every[1].why
    assert "no sign of life" in every[3].why
    assert "ended" in every[4].why
    assert hall.network.confirmed
    assert (hall.lost, hall.extra) == ([], 0)
