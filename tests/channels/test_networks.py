"""All networks at once, in the real gateway, through its command."""

from __future__ import annotations

from pathlib import Path

from tests.channels.networks import open_networks


async def test_each_is_answered_and_a_kill_loses_nothing_in_any(tmp_path: Path) -> None:
    async with open_networks(tmp_path) as networks:
        await networks.start()
        networks.say()
        await networks.until(lambda: networks.answers() == (1, 1, 1) and networks.confirmed())
        networks.say()
        await networks.end(kill=True)
        networks.say()
        await networks.start()
        await networks.until(networks.confirmed)
        # two messages of a chat that wait together are answered together
        await networks.until(lambda: min(networks.answers()) >= 2)
        networks.say()
        before = networks.answers()
        await networks.until(lambda: all(now > then for now, then in zip(networks.answers(), before, strict=True)))
        await networks.end()
    assert all(count <= networks.said for count in networks.answers())
    assert networks.daemon.process.returncode == 0
