"""What is offered of what servers list."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanobot.mcp.listing import MOST_TOOLS
from nanobot.mcp.tools import shares
from tests.mcp.kit import configured, keeping, misbehaving, one


@pytest.mark.parametrize(
    ("wanted", "got"),
    [
        ([], []),
        ([3, 4], [3, 4]),
        ([2000], [100]),
        ([2000, 5], [95, 5]),
        ([2000, 2000, 10], [45, 45, 10]),
        ([1] * 150, [0] * 50 + [1] * 100),
    ],
)
def test_who_wants_little_gets_it(wanted: list[int], got: list[int]) -> None:
    assert shares(wanted, 100) == got


async def test_a_server_of_thousands_leaves_room_for_the_others(tmp_path: Path) -> None:
    """Some services refuse each request with more than 128 tools, ours among them."""
    servers = {"loud": misbehaving("crowded"), "loud2": misbehaving("crowded"), "good": misbehaving()}
    async with keeping(tmp_path, configured(**servers)) as kept:
        for name in servers:
            await kept.until_up(name)
        assert len(kept.names()) <= MOST_TOOLS
        assert "mcp_good_echo" in kept.names()
        assert dict(kept.node("loud").facts)["left out for other servers"].isdigit()


async def test_a_tool_that_becomes_another_of_the_same_name_is_asked_as_that(tmp_path: Path) -> None:
    """`in place` and `in.place` are one name here, and with one description one tool to a model."""
    async with one(tmp_path) as kept:
        for changes, raw in ((2, "in place"), (3, "in.place")):
            await kept.call("mcp_one_swap")
            await kept.until(lambda changes=changes: kept.changes == changes)  # type: ignore[misc]
            assert (await kept.call("mcp_one_in_place")).text == raw
