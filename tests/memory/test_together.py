"""Several who save at once, threads and processes: no update is lost, and none is there twice."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nanobot.memory import checks
from tests.memory.kit import Place
from tests.memory.together import save_all

CHATS = [f"cli:default:{number}" for number in range(8)]


def check(place: Place, chats: Sequence[str], times: int) -> None:
    store = place.store()
    said = [(chat, number) for chat in chats for number in range(times)]
    assert [store.cursor(chat) for chat in chats] == [times] * len(chats)
    assert place.read() == store.current().text
    assert sorted(checks.facts(place.read())) == sorted(f"{chat} says {number}" for chat, number in said)
    assert sorted(place.entries) == sorted(f"{chat} said {number}" for chat, number in said)
    assert [one.author for one in store.versions(most=1000)] == ["consolidation"] * len(said)


@pytest.mark.parametrize("shared", [True, False], ids=["one store", "a store each"])
def test_eight_sessions_at_once(tmp_path: Path, *, shared: bool) -> None:
    place = Place(tmp_path)
    store = place.store()
    with ThreadPoolExecutor(len(CHATS)) as pool:
        list(pool.map(lambda chat: save_all(store if shared else place.store(), chat, 5), CHATS))
    check(place, CHATS, 5)


@pytest.mark.parametrize("count", [2, 8])
def test_processes_at_once(tmp_path: Path, count: int) -> None:
    command = [sys.executable, "-m", "tests.memory.together", str(tmp_path)]
    place, times = Place(tmp_path), 40 // count
    place.store().close()
    running = [
        subprocess.Popen([*command, chat, str(times)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for chat in CHATS[:count]
    ]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
    for process in running:
        process.communicate(timeout=60)
        assert process.returncode == 0
    check(place, CHATS[:count], times)
