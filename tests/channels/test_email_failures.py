"""A slice of the failures of e-mail (email_failures.py), with the real house: each is got over, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanobot.config.schema import RestartConfig
from tests.channels.email_failures import HEALTHY_S, IN, OUT, PEOPLE, balance, inflict, open_hall, settle, shortened

QUICK = RestartConfig(first_s=0.1, healthy_s=HEALTHY_S)


@pytest.mark.parametrize(
    ("sort", "way", "state", "why"),
    [
        ("reset", IN, "restarted", ""),
        ("garbage", IN, "restarted", ""),
        ("auth", IN, "parked", "refuses imapUsername and imapPassword"),
        ("auth", OUT, "parked", "refuses smtpUsername and smtpPassword"),
        ("clean close", OUT, "up", ""),
        ("goodbye", OUT, "up", ""),
        ("lost answer", IN, "restarted", ""),
        ("lost answer", OUT, "up", ""),
    ],
)
async def test_a_failure(tmp_path: Path, sort: str, way: str, state: str, why: str) -> None:
    with shortened():
        async with open_hall(tmp_path, QUICK) as hall:
            before = hall.say(PEOPLE[1])
            outcome = await inflict(hall, sort, way)
            await settle(hall)
            found = balance(hall)
    assert (outcome.state, hall.has_answered(before)) == (state, True)
    assert why in outcome.why
    assert found[1] == 0
    assert found[2] <= int((sort, way) == ("lost answer", OUT))
