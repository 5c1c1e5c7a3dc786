"""Saves, versions, proposals: what is taken, on top of what, and what is kept."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from nanobot.errors import StoreUnusable
from nanobot.memory import rows
from nanobot.memory.port import MEMORY, REPORTED, Author, Moved, Outdated, Refused, Save, Saved, Update, user_document
from nanobot.memory.rows import Verdict
from nanobot.memory.store import MemoryStore, NoSuch
from nanobot.messages import Principal
from nanobot.security.ledger import Ledger
from tests.memory.kit import AT, CHAT, FIVE, Place, save


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def store(place: Place) -> MemoryStore:
    return place.store()


# --- saves


def test_a_save_is_the_next_version_an_entry_and_the_cursor(place: Place, store: MemoryStore) -> None:
    taken = store.save(save(FIVE, entry="counted to five"))
    assert isinstance(taken, Saved)
    assert (taken.cursor, taken.rebased, taken.behind) == (2, False, "")
    again = place.store()
    assert (again.cursor(CHAT), again.cursor("cli:default:other")) == (2, 0)
    assert again.current() == taken.version
    assert (place.read(), place.entries) == (FIVE, ["counted to five"])


def test_a_span_is_taken_once(place: Place, store: MemoryStore) -> None:
    store.save(save(FIVE))
    assert store.save(save(FIVE)) == Moved(2)
    assert store.save(save(FIVE, start=1, end=8)) == Moved(2)
    assert store.save(save(FIVE, start=5, end=8)) == Moved(2)
    assert place.entries == ["talked"]


def test_without_an_update_memory_stays(place: Place, store: MemoryStore) -> None:
    assert store.save(save()) == Saved(2)
    assert store.current().number == 0
    assert not (place.workspace / MEMORY).exists()
    assert place.entries == ["talked"]


def test_an_update_that_changes_nothing_is_no_version(store: MemoryStore) -> None:
    store.save(save(FIVE))
    taken = store.save(save(FIVE, 1, start=2, end=3))
    assert isinstance(taken, Saved)
    assert (taken.version, taken.cursor) == (store.version(MEMORY, 1), 3)


def test_two_saves_on_the_same_version_are_both_kept(place: Place, store: MemoryStore) -> None:
    store.save(save(FIVE))
    store.save(save(FIVE + "- from one\n", 1, session="cli:default:one"))
    taken = store.save(save(FIVE + "- from two\n", 1, session="cli:default:two"))
    assert isinstance(taken, Saved)
    assert taken.rebased
    assert place.read() == FIVE + "- from one\n- from two\n"


def test_an_update_of_lines_that_were_changed_meanwhile_changes_nothing(place: Place, store: MemoryStore) -> None:
    store.save(save(FIVE))
    store.save(save(FIVE.replace("five", "5"), 1, session="cli:default:one"))
    outdated = store.save(save(FIVE.replace("five", "V"), 1, session="cli:default:two"))
    assert outdated == Outdated(store.current())
    assert store.cursor("cli:default:two") == 0
    assert len(place.entries) == 2


@pytest.mark.parametrize(("text", "why"), [("# Person\n- one\n", "drops 4 of 5"), ("", "empty"), (FIVE + "\x00", "control")])
def test_a_refused_update_is_a_proposal_and_its_span_is_done(place: Place, store: MemoryStore, text: str, why: str) -> None:
    store.save(save(FIVE))
    refused = store.save(save(text, 1, start=2, end=4, entry="forgot a lot"))
    assert isinstance(refused, Refused)
    assert why in refused.why
    assert (store.cursor(CHAT), place.read(), place.entries) == (4, FIVE, ["talked", "forgot a lot"])
    waiting = store.proposals()
    assert [(one.id, one.base, one.why, one.session) for one in waiting] == [(refused.proposal, 1, refused.why, CHAT)]


def test_what_was_merged_can_be_too_long(place: Place, store: MemoryStore) -> None:
    store.save(save(FIVE))
    store.save(save(FIVE + "x" * 40_000 + "\n", 1, session="cli:default:one"))
    refused = store.save(save("y" * 40_000 + "\n" + FIVE, 1, session="cli:default:two"))
    assert isinstance(refused, Refused)
    assert "KiB long" in refused.why


@pytest.mark.parametrize(
    "wrong",
    [
        save(start=2, end=2),
        save(start=-1),
        save(entry=" "),
        Save(CHAT, 0, 1, "x", AT, Update("memory/HISTORY.md", 0, "x")),
        Save(CHAT, 0, 1, "x", AT, Update("memory/users/../../x.md", 0, "x"), reported="x"),
        Save(CHAT, 0, 1, "x", AT, Update(REPORTED, 0, "x")),
        Save(CHAT, 0, 1, "x", AT, Update(MEMORY, 0, "x"), reported="telegram:-1"),
    ],
)
def test_what_cannot_be_is_no_save(store: MemoryStore, wrong: Save) -> None:
    with pytest.raises(ValueError, match=r"."):
        store.save(wrong)
    assert store.cursor(CHAT) == 0


def test_a_cursor_can_skip_what_never_comes_and_never_goes_back(store: MemoryStore) -> None:
    store.skip(CHAT, 7)
    store.skip(CHAT, 3)
    assert store.cursor(CHAT) == 7
    assert isinstance(store.save(save(start=7, end=8)), Saved)


# --- what others said


def test_words_of_others_are_marked_and_noted_as_theirs(place: Place) -> None:
    ledger = Ledger(place.path / "tainted.json", place.workspace)
    store = place.store(ledger)
    store.save(save(FIVE))
    assert not ledger.taints(place.workspace / "memory/HISTORY.md")
    said = Save("telegram:default:-100", 0, 4, "Eve sang", AT, Update(REPORTED, 0, "- Eve sings\n"), "telegram:-100")
    assert isinstance(store.save(said), Saved)
    assert place.read(REPORTED) == "- [from telegram:-100, 2026-11-23] Eve sings\n"
    assert place.entries[1] == "[from telegram:-100, 2026-11-23] Eve sang"
    tainted = [name for name in (MEMORY, REPORTED, "memory/HISTORY.md") if ledger.taints(place.workspace / name)]
    assert tainted == [REPORTED, "memory/HISTORY.md"]


def test_a_person_has_a_file_of_their_own(place: Place, store: MemoryStore) -> None:
    eve = user_document(Principal("telegram", "default", "7", "7"))
    said = Save("telegram:default:7", 0, 4, "Eve sang", AT, Update(eve, 0, "- sings\n"), "telegram:7")
    assert isinstance(store.save(said), Saved)
    assert (place.read(eve), store.current().text) == ("- sings\n", "")


def test_names_of_persons_files_do_not_meet() -> None:
    people = [
        Principal("telegram", "default", "c", user) for user in ("a/b", "a:b", "a b", "A/B", "../x", "é", "\ud800", "x" * 300)
    ]
    names = {user_document(one) for one in people}
    assert len(names) == len(people)
    assert all(name.count("/") == 2 and len(name) < 80 and name.isascii() and name == name.lower() for name in names)
    assert user_document(people[0]) == user_document(attrs.evolve(people[0], chat="another", owner=True))


# --- versions


def test_every_version_is_kept_and_can_be_put_on_top(place: Place, store: MemoryStore) -> None:
    store.save(save(FIVE))
    store.save(save(FIVE + "- six\n", 1, start=2, end=3))
    assert store.restore(MEMORY, 1).number == 3
    assert place.read() == FIVE
    assert [store.version(MEMORY, number).text for number in (1, 2, 3)] == [FIVE, FIVE + "- six\n", FIVE]
    logged = [(one.number, one.author, one.added, one.dropped) for one in reversed(store.versions(MEMORY))]
    assert logged == [(1, Author.CONSOLIDATION, 5, 0), (2, Author.CONSOLIDATION, 1, 0), (3, Author.RESTORE, 0, 1)]
    assert store.diff(MEMORY, 1, 2).splitlines()[-1] == "+- six"


def test_a_text_is_kept_once(place: Place, store: MemoryStore) -> None:
    store.save(save(FIVE))
    for _ in range(3):
        place.write("other\n")
        store.current()
        place.write(FIVE)
        store.current()
    with store._database.reading() as db:
        assert db.execute("SELECT COUNT(*) FROM versions").fetchone() == (7,)
        assert db.execute("SELECT COUNT(*) FROM texts").fetchone() == (2,)


@pytest.mark.parametrize("number", [9, -1])
def test_a_version_that_is_not_there(store: MemoryStore, number: int) -> None:
    with pytest.raises(NoSuch, match="has no version"):
        store.restore(MEMORY, number)


# --- proposals


def proposed(store: MemoryStore) -> str:
    store.save(save(FIVE))
    refused = store.save(save("# Person\n- one\n- six\n", 1, start=2, end=4))
    assert isinstance(refused, Refused)
    return refused.proposal


def test_an_accepted_proposal_is_the_next_version_with_what_came_since(place: Place, store: MemoryStore) -> None:
    id = proposed(store)
    store.save(save("# Title\n" + FIVE, 1, start=4, end=5))
    assert store.accept(id).author is Author.PROPOSAL
    assert place.read() == "# Title\n# Person\n- one\n- six\n"
    assert (store.proposals(), store.proposal(id).verdict) == ([], Verdict.ACCEPTED)


def test_a_refused_proposal_changes_nothing(place: Place, store: MemoryStore) -> None:
    id = proposed(store)
    store.refuse(id)
    assert (place.read(), store.proposals(), store.proposal(id).verdict) == (FIVE, [], Verdict.REFUSED)


@pytest.mark.parametrize("decide", [MemoryStore.accept, MemoryStore.refuse])
def test_a_proposal_is_decided_once(store: MemoryStore, decide: object) -> None:
    id = proposed(store)
    store.refuse(id)
    with pytest.raises(NoSuch, match="refused already"):
        decide(store, id)  # type: ignore[operator]
    with pytest.raises(NoSuch, match="no proposal 'abc'"):
        decide(store, "abc")  # type: ignore[operator]


def test_a_proposal_whose_lines_were_changed_is_not_accepted(place: Place, store: MemoryStore) -> None:
    id = proposed(store)
    place.write(FIVE.replace("two", "2"))
    with pytest.raises(NoSuch, match="changed in the same lines"):
        store.accept(id)
    assert len(store.proposals()) == 1


def test_there_is_a_bound_of_proposals(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MOST_OPEN", 3)
    monkeypatch.setattr(rows, "MOST_DECIDED", 4)
    store.save(save(FIVE))
    for number in range(10):
        store.save(save(f"- {number}\n", 1, start=2 + number, end=3 + number))
    everything = store.proposals(None)
    assert [one.text for one in everything] == [f"- {number}\n" for number in range(3, 10)]
    assert [one.text for one in store.proposals()] == ["- 7\n", "- 8\n", "- 9\n"]
    with store._database.reading() as db:
        assert db.execute("SELECT COUNT(*) FROM texts").fetchone() == (8,)


# --- the database itself


def test_a_damaged_database_is_left_as_it_is(place: Place) -> None:
    (place.path / "memory.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreUnusable, match=r"memory\.db cannot be used"):
        place.store().current()
    assert (place.path / "memory.db").read_bytes() == b"no database at all" * 100
