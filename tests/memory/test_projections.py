"""The files: behind the database after a kill, ahead of it after a person's edit, and never in between."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from nanobot.memory import files
from nanobot.memory.port import HISTORY, MEMORY, Author, Outdated, Saved
from nanobot.memory.projections import BY_HAND, Changer
from nanobot.memory.store import MemoryStore
from tests.memory.kit import CHAT, FIVE, Place, save

MORE = FIVE + "- by hand\n"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def store(place: Place) -> MemoryStore:
    return place.store()


class Died(BaseException):
    """As if killed there."""


def dying(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def die(*_: object, **__: object) -> None:
        raise Died

    monkeypatch.setattr(f"nanobot.memory.projections.{name}", die)


def unshown(place: Place, monkeypatch: pytest.MonkeyPatch, text: str, base: int, start: int) -> None:
    """A save that is in the database and not in the files."""
    with monkeypatch.context() as patch:
        dying(patch, "Projections.show")
        dying(patch, "Projections.show_history")
        with pytest.raises(Died):
            place.store().save(save(text, base, start=start, end=start + 1, entry=f"said {start}"))


def changes(store: MemoryStore, document: str = MEMORY) -> list[tuple[str, str]]:
    return [(str(one.author), store.version(document, one.number).text) for one in reversed(store.versions(document))]


# --- edits by hand


@pytest.mark.parametrize("document", [MEMORY, "SOUL.md", "USER.md", "AGENTS.md", "memory/users/eve-1234.md"])
def test_an_edit_by_hand_is_a_version(place: Place, store: MemoryStore, document: str) -> None:
    place.write("first\n", document)
    assert store.look() == ""
    place.write("second\n", document)
    assert store.look() == ""
    assert changes(store, document) == [("hand", "first\n"), ("hand", "second\n")]
    assert store.look() == ""
    assert len(changes(store, document)) == 2


def test_who_changed_a_file_can_be_told(place: Place, store: MemoryStore) -> None:
    place.write("I am\n", "SOUL.md")
    store.look(Changer(Author.ASSISTANT, CHAT, "write_file"))
    assert store.current("SOUL.md").author is Author.ASSISTANT
    assert store.current("SOUL.md").session == CHAT


def test_an_update_is_merged_with_an_edit_that_came_between(place: Place, store: MemoryStore) -> None:
    store.save(save(FIVE))
    place.write(FIVE.replace("two", "2"))
    taken = store.save(save(MORE, 1, start=2, end=3))
    assert isinstance(taken, Saved)
    assert taken.rebased
    assert place.read() == MORE.replace("two", "2")
    assert [author for author, _ in changes(store)] == ["consolidation", "hand", "consolidation"]


def test_an_edit_of_the_same_lines_counts_before_an_update(place: Place, store: MemoryStore) -> None:
    store.save(save(FIVE))
    place.write(FIVE.replace("two", "2"))
    outdated = store.save(save(FIVE.replace("two", "II"), 1, start=2, end=3))
    assert isinstance(outdated, Outdated)
    assert outdated.version.text == place.read() == FIVE.replace("two", "2")
    assert store.cursor(CHAT) == 2


@pytest.mark.parametrize(("edited", "then"), [("- six\n" + FIVE, "- six\n" + MORE), (FIVE + "- six\n", MORE + "- six\n")])
def test_an_edit_of_a_file_that_was_behind_loses_neither(
    place: Place, store: MemoryStore, monkeypatch: pytest.MonkeyPatch, edited: str, then: str
) -> None:
    store.save(save(FIVE))
    unshown(place, monkeypatch, MORE, 1, 2)
    place.write(edited)
    store.look()
    assert sorted(place.read().splitlines()) == sorted(then.splitlines())
    assert [author for author, _ in changes(store)] == ["consolidation", "consolidation", "hand", "consolidation"]


def test_where_both_changed_the_same_lines_the_edit_counts_and_the_other_waits(
    place: Place, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(save(FIVE))
    unshown(place, monkeypatch, FIVE.replace("two", "II"), 1, 2)
    place.write(FIVE.replace("two", "2"))
    store.look()
    assert place.read() == store.current().text == FIVE.replace("two", "2")
    assert [one.text for one in store.proposals()] == [FIVE.replace("two", "II")]


def test_an_edit_while_the_file_is_being_written_is_kept(
    place: Place, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the last moment: what is written was judged against what is there no more."""
    store.save(save(FIVE))
    real, edits = os.fsync, ["- at last\n" + FIVE]

    def fsync(handle: int) -> None:
        if edits and os.readlink(f"/proc/self/fd/{handle}").endswith(".tmp"):
            place.write(edits.pop())
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    taken = store.save(save(MORE, 1, start=2, end=3))
    assert isinstance(taken, Saved)
    assert place.read() == "- at last\n" + MORE
    assert ("hand", "- at last\n" + FIVE) in changes(store)


def test_a_file_that_is_changed_all_the_time_is_written_when_that_has_ended(
    place: Place, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(save(FIVE))
    with monkeypatch.context() as patch:
        patch.setattr("nanobot.memory.files.Workspace.replace", lambda *_: False)
        taken = store.save(save(MORE, 1, start=2, end=3))
    assert isinstance(taken, Saved)
    assert "is being changed by somebody else" in taken.behind
    assert (place.read(), store.look(), place.read()) == (FIVE, "", MORE)


def test_an_editor_that_writes_in_pieces_makes_one_version(place: Place, store: MemoryStore) -> None:
    store.save(save(FIVE))
    text = "".join(f"- line {number}\n" for number in range(20))
    half = threading.Event()

    def write() -> None:
        with (place.workspace / MEMORY).open("w") as file:
            for line in text.splitlines(keepends=True):
                file.write(line)
                file.flush()
                half.set()
                threading.Event().wait(0.01)

    writer = threading.Thread(target=write)
    writer.start()
    half.wait()
    assert store.current().text == text
    writer.join()
    assert [author for author, _ in changes(store)] == ["consolidation", "hand"]


def test_a_deleted_file_is_an_edit_too_and_can_be_had_back(place: Place, store: MemoryStore) -> None:
    store.save(save(FIVE))
    (place.workspace / MEMORY).unlink()
    assert (store.current().text, store.current().author) == ("", Author.HAND)
    assert not (place.workspace / MEMORY).exists()
    store.restore(MEMORY, 1)
    assert place.read() == FIVE


def test_a_workspace_that_is_away_is_no_order_to_forget(place: Place, store: MemoryStore) -> None:
    store.save(save(FIVE))
    place.workspace.rename(place.path / "away")
    assert "the workspace" in store.look()
    (place.path / "away").rename(place.workspace)
    assert (store.look(), len(changes(store))) == ("", 1)


def test_bytes_that_are_no_text_are_kept_as_they_are(place: Place, store: MemoryStore) -> None:
    (place.workspace / "memory").mkdir()
    (place.workspace / MEMORY).write_bytes(b"caf\xe9\r\n")
    assert store.current().text == "caf\ufffd\r\n"
    place.write("other\n")
    store.look()
    store.restore(MEMORY, 1)
    assert (place.workspace / MEMORY).read_bytes() == b"caf\xe9\r\n"


# --- what is no file


def long(file: Path) -> None:
    file.write_bytes(b"x" * (files.MOST_READ + 1))


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, long, lambda file: file.symlink_to("/etc/passwd")])
def test_what_is_no_document_is_left_alone_and_said(place: Place, store: MemoryStore, make: Callable[[Path], None]) -> None:
    (place.workspace / "memory").mkdir()
    make(place.workspace / MEMORY)
    before = (place.workspace / MEMORY).lstat()
    assert MEMORY in store.look()
    assert (place.workspace / MEMORY).lstat() == before
    assert isinstance(store.save(save()), Saved)


@pytest.mark.parametrize("name", ["memory", HISTORY])
def test_no_link_leads_a_write_out_of_the_workspace(place: Place, store: MemoryStore, name: str) -> None:
    outside = place.path / "outside"
    (place.workspace / name).parent.mkdir(exist_ok=True)
    if name == HISTORY:
        outside.write_text("mine\n")
    else:
        outside.mkdir()
    (place.workspace / name).symlink_to(outside)
    taken = store.save(save())
    assert isinstance(taken, Saved)
    assert "is a link out of the workspace" in taken.behind
    assert outside.read_text() == "mine\n" if outside.is_file() else not any(outside.iterdir())


def test_a_prompt_file_that_lies_elsewhere_is_the_users_own_matter(place: Place, store: MemoryStore) -> None:
    place.write("I am\n", "../dotfiles/SOUL.md")
    (place.workspace / "SOUL.md").symlink_to(place.path / "dotfiles/SOUL.md")
    assert (store.look(), store.documents(), store.troubles()) == ("", [], [])


def test_a_link_inside_the_workspace_is_followed(place: Place, store: MemoryStore) -> None:
    (place.workspace / "notes").mkdir()
    (place.workspace / "memory").symlink_to("notes")
    store.save(save(FIVE))
    assert (place.workspace / "notes/MEMORY.md").read_text() == FIVE


def test_the_mode_of_a_file_is_kept_and_nothing_is_left_beside_it(place: Place, store: MemoryStore) -> None:
    place.write("first\n")
    (place.workspace / MEMORY).chmod(0o640)
    left = place.workspace / "memory/.MEMORY.md.0123456789ab.tmp"
    left.write_text("of one who was killed")
    os.utime(left, (0, 0))
    store.save(save("first\nsecond\n", 1))
    assert (place.workspace / MEMORY).stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir(place.workspace / "memory")) == ["HISTORY.md", "MEMORY.md"]


# --- HISTORY.md


def history(place: Place) -> str:
    return place.read(HISTORY)


def test_a_save_that_was_not_shown_is_shown_by_the_next_look(
    place: Place, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    unshown(place, monkeypatch, FIVE, 0, 0)
    assert not (place.workspace / MEMORY).exists()
    store.look(BY_HAND)
    assert (place.read(), place.entries) == (FIVE, ["said 0"])


@pytest.mark.parametrize("cut", [0, 1, 10, 25, -2, -1, None])
def test_a_torn_entry_is_completed(place: Place, store: MemoryStore, monkeypatch: pytest.MonkeyPatch, cut: int | None) -> None:
    """Killed while it was appended: the database knows nothing of what is in the file already."""
    store.save(save())
    before = history(place)
    unshown(place, monkeypatch, FIVE, 0, 2)
    unshown(place, monkeypatch, FIVE, 1, 3)
    whole = before + "[2026-11-23 00:00] said 2\n\n[2026-11-23 00:00] said 3\n\n"
    with (place.workspace / HISTORY).open("a") as file:
        file.write(whole[len(before) :][:cut])
    store.look()
    assert history(place) == whole
    assert store.look() == ""
    assert history(place) == whole


@pytest.mark.parametrize(
    ("edit", "then"),
    [
        (lambda text: text + "mine", "[2026-11-23 00:00] talked\n\nmine\n\n[2026-11-23 00:00] said 2\n\n"),
        (lambda _text: "", "[2026-11-23 00:00] said 2\n\n"),
        (lambda text: "title\n" + text, "title\n[2026-11-23 00:00] talked\n\n[2026-11-23 00:00] said 2\n\n"),
        (lambda text: text.replace("talked", "spoke"), "[2026-11-23 00:00] spoke\n\n[2026-11-23 00:00] said 2\n\n"),
        (
            lambda text: text.replace("talked", "spoke") + "[2026-11-23 00:00] said 2\n\nmine\n",
            "[2026-11-23 00:00] spoke\n\n[2026-11-23 00:00] said 2\n\nmine\n",
        ),
        (
            lambda text: text.replace("talked", "spoke") + "[2026-11-23 00:00] said ",
            "[2026-11-23 00:00] spoke\n\n[2026-11-23 00:00] said 2\n\n",
        ),
    ],
    ids=["appended", "emptied", "prepended", "changed", "changed, entry there", "changed, entry torn"],
)
def test_what_a_person_did_to_the_history_is_left_as_it_is(
    place: Place, store: MemoryStore, monkeypatch: pytest.MonkeyPatch, edit: Callable[[str], str], then: str
) -> None:
    store.save(save())
    unshown(place, monkeypatch, FIVE, 0, 2)
    place.write(edit(history(place)), HISTORY)
    store.look()
    assert history(place) == then


def test_the_history_of_another_program_is_gone_on_with(place: Place, store: MemoryStore) -> None:
    place.write("[2025-01-01 00:00] of old\n", HISTORY)
    store.save(save())
    assert history(place) == "[2025-01-01 00:00] of old\n\n[2026-11-23 00:00] talked\n\n"


def test_entries_that_are_gone_can_be_had_back(place: Place, store: MemoryStore) -> None:
    store.save(save())
    store.save(save(start=2, end=3, entry="walked"))
    place.write("[2026-11-23 00:00] walked\n\n", HISTORY)
    assert store.complete_history() == 1
    assert place.entries == ["walked", "talked"]
    assert store.complete_history() == 0


# --- power


def test_what_is_told_to_be_there_was_synced_in_that_order(
    place: Place, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9 proves nothing about a power cut: what is renamed must be on disk before, the name after it."""
    done: list[str] = []

    def watched(name: str) -> None:
        real = getattr(os, name)

        def call(what: int | str, *rest: object, **more: object) -> object:
            path = os.readlink(f"/proc/self/fd/{what}") if isinstance(what, int) else what
            done.append(f"{name} {re.sub('[.]MEMORY.md[.].*', 'temporary', Path(path).name)}")
            return real(what, *rest, **more)

        monkeypatch.setattr(os, name, call)

    store.save(save(FIVE))
    for name in ("write", "fsync", "rename"):
        watched(name)
    store.save(save(MORE, 1, start=2, end=3))
    replaced = ["write temporary", "fsync temporary", "rename temporary", "fsync memory"]
    assert done == [*replaced, "write HISTORY.md", "fsync HISTORY.md", "fsync memory"]
