"""A slice of the failure table (failures.py): a failure of each build's own, with the real house; the others go on talking."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from nanobot.config.schema import RestartConfig
from tests.channels.failures import HEALTHY_S, Hall, Outcome, disordered, doubled, inflict, lost, open_hall
from tests.fakes.channels import Sort

QUICK = RestartConfig(first_s=0.1, healthy_s=HEALTHY_S)


async def one(place: Path, build: str, sort: Sort) -> tuple[Hall, Outcome]:
    async with open_hall(place, QUICK) as hall:
        async with trio.open_nursery() as nursery:
            for talker in hall.talkers:
                nursery.start_soon(talker.run)
            outcome = await inflict(hall, build, sort)
            nursery.cancel_scope.cancel()
        await hall.until(lambda: not any(map(lost, hall.networks.values())))
    return hall, outcome


@pytest.mark.parametrize(
    ("build", "sort", "state", "why"),
    [
        ("asyncio", Sort.RAISE, "restarted", "Broken: ordered"),
        ("native", Sort.RETURN, "restarted", "it stopped without saying why"),
        ("blocking", Sort.HALF_OPEN, "restarted", "no sign of life for 1 s"),
        ("native", Sort.REVOKED, "parked", "the token is not valid any more"),
        ("asyncio", Sort.RATE_LIMITED, "up", ""),
        ("asyncio", Sort.REFUSE, "restarted", "no sign of life for 1 s"),
        ("blocking", Sort.BLOCK, "stuck", "asyncio:blocking in"),
    ],
)
async def test_a_failure_of_one_channel(  # noqa: PLR0917
    tmp_path: Path, claimed_errors: list[str], build: str, sort: Sort, state: str, why: str
) -> None:
    """It ends as it should, the others go on meanwhile, and nothing is lost, doubled or out of order."""
    hall, outcome = await one(tmp_path, build, sort)
    assert (outcome.state, why in outcome.why) == (state, True)
    assert outcome.others
    for network in hall.networks.values():
        assert network.acknowledged
        assert (lost(network), disordered(network), doubled(network)) == ([], [], 0)
    assert bool(claimed_errors) == (sort in (Sort.RAISE, Sort.BLOCK))
