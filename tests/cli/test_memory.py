"""`nanobot memory`: what a person sees of what is remembered, and how they put it right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from nanobot.memory.port import HISTORY, MEMORY
from nanobot.memory.store import MemoryStore
from nanobot.security.ledger import Ledger
from tests.cli.command import CommandLine, Ended
from tests.memory.kit import FIVE, Place, save

Memory = Callable[..., Ended]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "config.json").write_text(json.dumps({"configVersion": 1, "agents": {"defaults": {"workspace": "workspace"}}}))
    return Place(tmp_path)


@pytest.fixture
def store(place: Place) -> MemoryStore:
    return place.store()


@pytest.fixture
def memory(nanobot: CommandLine, place: Place) -> Memory:
    return lambda *words: nanobot("memory", *words, "--config", str(place.path / "config.json"))


def test_at_first_nothing_is_remembered(memory: Memory) -> None:
    assert memory("show").out == "Nothing is remembered yet.\n"
    assert memory("log").out == "There are no versions yet.\n"
    assert memory("diff").out == "They say the same.\n"
    assert memory("proposals").out == "No proposal waits.\n"


def test_what_is_remembered_and_how_it_came_to_be(memory: Memory, place: Place, store: MemoryStore) -> None:
    store.save(save(FIVE))
    place.write(FIVE + "- six\n")
    assert memory("show").out == FIVE + "- six\n"
    assert memory("show", "--version", "1").out == FIVE
    by_hand, by_consolidation = memory("log").out.splitlines()
    assert by_hand.startswith("MEMORY.md 2 ")
    assert by_hand.endswith("  +1 -0  hand")
    assert by_consolidation.endswith("  +5 -0  consolidation in telegram:default:42")
    assert memory("diff").out.splitlines()[-1] == "+- six"
    assert memory("diff", "0", "1").out.splitlines()[0] == "--- memory/MEMORY.md 0"


def test_for_programs(memory: Memory, store: MemoryStore) -> None:
    store.save(save(FIVE))
    shown = json.loads(memory("show", "--json").out)
    assert (shown["version"], shown["author"], shown["facts"], shown["text"]) == (1, "consolidation", 5, FIVE)
    assert [one["added"] for one in json.loads(memory("log", "--json").out)] == [5]
    assert json.loads(memory("diff", "--json").out)["diff"].endswith("+- five")


def test_an_earlier_version_is_put_on_top(memory: Memory, place: Place, store: MemoryStore) -> None:
    store.save(save(FIVE))
    place.write("")
    assert memory("restore", "1").out == "memory/MEMORY.md says what version 1 said; that is version 3 now.\n"
    assert place.read() == FIVE


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (["restore", "9"], 1, "memory/MEMORY.md has no version 9"),
        (["restore"], 2, "Which version? See: nanobot memory log"),
        (["show", "--file", "nope.md"], 1, "No versions are kept of nope.md. Of these they are: MEMORY.md"),
        (["show", "--version", "9"], 1, "memory/MEMORY.md has no version 9"),
        (["proposals", "accept", "zz"], 1, "There is no proposal 'zz'"),
        (["search", "--after", "soon"], 2, "'soon' is no time that is understood"),
        (["search", "--chat", "x"], 2, "'x' is not a session key"),
    ],
)
def test_what_cannot_be_done(memory: Memory, store: MemoryStore, words: list[str], code: int, why: str) -> None:
    store.save(save(FIVE))
    ended = memory(*words)
    assert (ended.code, ended.out) == (code, "")
    assert ended.err.startswith(why)


@pytest.mark.parametrize("name", ["SOUL.md", "MEMORY.md", "memory/MEMORY.md"])
def test_a_file_is_named_as_people_do(memory: Memory, place: Place, name: str) -> None:
    place.write("I am\n", "SOUL.md")
    place.write("I am\n")
    assert memory("show", "--file", name).out == "I am\n"


@pytest.mark.parametrize(("answer", "then"), [("accept", "# Person\n- one\n"), ("refuse", FIVE)])
def test_a_proposal_is_decided_on(memory: Memory, place: Place, store: MemoryStore, answer: str, then: str) -> None:
    store.save(save(FIVE))
    store.save(save("# Person\n- one\n", 1, start=2, end=3))
    id = store.proposals()[0].id
    assert memory("proposals").out.split() == memory("proposals", "list").out.split()
    assert memory("proposals").out.startswith(f"{id}  ")
    assert "-- two" in memory("proposals", "show", id).out.splitlines()
    assert json.loads(memory("proposals", "show", id, "--json").out)["base"] == 1
    assert memory("proposals", answer, id).code == 0
    assert place.read() == then
    assert memory("proposals").out == "No proposal waits.\n"
    assert len(json.loads(memory("proposals", "list", "--all", "--json").out)) == 1


def test_the_history_is_made_whole(memory: Memory, place: Place, store: MemoryStore) -> None:
    store.save(save())
    (place.workspace / HISTORY).unlink()
    assert memory("restore", "--file", "HISTORY.md").out.endswith("are there again: 1.\n")
    assert place.entries == ["talked"]


def test_what_strangers_wrote_has_no_power_over_the_terminal(memory: Memory, place: Place) -> None:
    place.write("- \x1b[2J\n")
    assert memory("show").out == "- \\x1b[2J\n"


def test_words_are_found_in_the_history(memory: Memory, store: MemoryStore) -> None:
    store.save(save(entry="Ann likes tea"))
    assert "Ann likes **tea**" in memory("search", "tea").out
    assert memory("search", "coffee").out == "Nothing was found.\n"
    assert [hit["role"] for hit in json.loads(memory("search", "tea", "--json").out)["hits"]] == ["history"]


def test_what_is_in_the_way_of_a_file_is_said(memory: Memory, place: Place) -> None:
    (place.workspace / MEMORY).mkdir(parents=True)
    ended = memory("log")
    assert ended.code == 0
    assert ended.err == "warning: memory/MEMORY.md is no file\n"


def test_a_file_that_strangers_had_a_word_in_is_taken_by_the_owners_word(
    memory: Memory, nanobot: CommandLine, place: Place
) -> None:
    workspace, config = place.path / "workspace", str(place.path / "config.json")
    ledger = Ledger(place.path / "tainted.json", workspace)
    workspace.mkdir(exist_ok=True)
    with ledger.writing(workspace / "SOUL.md", tainted=True, whole=True):
        (workspace / "SOUL.md").write_text("Be brief.")
    assert "so not in prompts: SOUL.md. Read it, then: nanobot memory trust" in nanobot("doctor", "--config", config).out
    assert memory("trust", "SOUL.md").out == "SOUL.md stands in prompts again.\n"
    assert not ledger.taints(workspace / "SOUL.md")
    assert memory("trust", "SOUL.md").out == "SOUL.md is not held.\n"
    assert memory("trust", "page.txt").code == 1


def test_while_the_ledger_is_damaged_nothing_is_taken(memory: Memory, place: Place, claimed_errors: list[str]) -> None:
    (place.path / "tainted.json").write_text("{")
    ended = memory("trust", "memory/MEMORY.md")
    assert (ended.code, "Not done: " in ended.err) == (1, True)
    assert "is damaged" in claimed_errors[0]
