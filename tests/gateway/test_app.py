"""The daemon put together, in this process: what it tells its owner of its own past, and how its end begins."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from nanobot.config.paths import Places, places
from nanobot.config.schema import Config, GatewayConfig
from nanobot.control.client import connect
from nanobot.control.wish import Ending
from nanobot.daemon.backlog import open_backlog, store_in
from nanobot.gateway.app import Run, open_gateway, serve
from nanobot.journal.writers import open_writers
from nanobot.supervise.status import Node

PATIENCE_S = 10.0
NO_PROCESS = 2**22 + 1
"""Beyond any number that Linux gives to a process."""


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    config, lock = Config(gateway=GatewayConfig(http=False, drain_s=0.0)), os.open(tmp_path, os.O_RDONLY)
    yield Run(config, places(tmp_path / "config.json"), {}, lock, lambda: config)
    os.close(lock)


def notices(tree: Node) -> str:
    """What waits to be told."""
    return "\n".join(text for node in tree.children if node.name == "notices" for _, text in node.facts)


async def test_nothing_is_told_of_a_good_past(run: Run) -> None:
    async with open_gateway(run) as desk:
        assert notices(desk.tree()) == ""


async def test_the_owner_hears_that_nothing_was_taken_up(run: Run) -> None:
    starts = run.places.data / "starts"
    starts.mkdir()
    for number in range(3):
        (starts / f"{NO_PROCESS}-{run.clock() - number:.3f}").touch()
    async with open_gateway(run) as desk:
        assert "died several times" in notices(desk.tree())


async def test_the_owner_hears_that_the_gateways_own_journal_is_damaged(run: Run) -> None:
    await damage(run.places)
    async with open_gateway(run) as desk:
        assert "own journal is damaged" in notices(desk.tree())


async def test_a_pairing_file_that_is_damaged_is_told_from_a_thread(run: Run) -> None:
    run.places.pairing.write_text("{broken")
    async with open_gateway(run) as desk:
        await trio.to_thread.run_sync(say, run.places.data, "/pairing list")
        await wait_all_tasks_blocked()
        assert "pairing.json cannot be read" in notices(desk.tree())


@pytest.mark.parametrize("ending", [Ending.STOPPED, Ending.RESTART])
async def test_whoever_ends_it_the_clock_of_the_end_begins(run: Run, ending: Ending) -> None:
    begun: list[str] = []
    run = attrs.evolve(run, leaving=lambda: begun.append("leaving"))
    run.wish.end(ending)
    assert (await serve(run), begun) == (ending, ["leaving"])


def say(data: Path, text: str) -> None:
    """As a terminal; returns when the answer is there. Blocks."""
    with connect(data, {"do": "ask", "session": "cli:direct"}, PATIENCE_S) as line:
        line.send({"type": "say", "id": "1", "text": text, "files": []})
        while (frame := line.receive(PATIENCE_S)) and frame.get("type") != "answer":
            pass


async def damage(where: Places) -> None:
    """One line in the middle of it is not what was written."""
    async with open_writers() as writers, open_backlog(store_in(where.data, writers), lambda: 0.0) as backlog:
        for chat in ("telegram:default:1", "telegram:default:2"):
            await backlog.note_owner(chat)
    (journal,) = (where.data / "gateway").rglob("*.jsonl")
    header, line, *rest = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join((header, line.replace("telegram", "telegraf"), *rest)))
