"""`apply_patch`: all of it or none, whatever does not fit, fails or dies, with the rules of the other tools that write."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from nanobot.config.schema import PolicyRule
from nanobot.errors import ToolError
from nanobot.messages import Effect
from nanobot.security import policy
from nanobot.security.ledger import Ledger
from nanobot.tools import patch, patch_files
from nanobot.tools.patch import MOST_EDITS
from nanobot.tools.patch_files import Change
from nanobot.tools.port import Intent
from tests.fakes import nobody
from tests.tools.kit import Kit, make_kit

Edit = dict[str, str]


def add(path: str, text: str = "new\n") -> Edit:
    return {"path": path, "action": "add", "new_text": text}


def replace(path: str, old: str, new: str) -> Edit:
    return {"path": path, "action": "replace", "old_text": old, "new_text": new}


def delete(path: str) -> Edit:
    return {"path": path, "action": "delete"}


def tree(kit: Kit) -> dict[str, str]:
    files = {path for path in kit.workspace.rglob("*") if path.is_file()}
    return {str(path.relative_to(kit.workspace)): path.read_text(errors="replace") for path in files}


def left(kit: Kit) -> list[str]:
    """Records of patches that are not over."""
    assert kit.turn.data is not None
    folder = kit.turn.data / patch.FOLDER
    return os.listdir(folder) if folder.exists() else []


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    kit = make_kit(tmp_path)
    for name in ("a.txt", "b.txt", "c.txt"):
        kit.put(name, f"one\ntwo {name}\n")
    return kit


# --- what it does


async def test_several_files_are_changed_as_one(kit: Kit) -> None:
    (kit.workspace / "a.txt").chmod(0o750)
    edits = [replace("a.txt", "two", "2"), add("new/er/d.txt", "four\n"), delete("b.txt"), replace("a.txt", "one", "1")]
    assert await kit.text("apply_patch", edits=edits) == "Changed a.txt\nAdded new/er/d.txt\nDeleted b.txt"
    assert tree(kit) == {"a.txt": "1\n2 a.txt\n", "c.txt": "one\ntwo c.txt\n", "new/er/d.txt": "four\n"}
    assert ((kit.workspace / "a.txt").stat().st_mode & 0o777, left(kit)) == (0o750, [])


async def test_a_dry_run_shows_and_changes_nothing(kit: Kit) -> None:
    before = tree(kit)
    edits = [replace("a.txt", "two", "2"), add("new/d.txt", "four"), delete("b.txt")]
    text = await kit.text("apply_patch", edits=edits, dry_run=True)
    assert "-two a.txt\n+2 a.txt\n" in text
    assert "+four\n\\ No newline at end of file\n" in text
    assert "delete b.txt" in text
    assert (tree(kit), os.listdir(kit.workspace), left(kit)) == (before, os.listdir(kit.workspace), [])
    assert not (kit.workspace / "new").exists()


async def test_a_diff_parts_lines_where_the_file_does(kit: Kit) -> None:
    text = await kit.text("apply_patch", edits=[replace("a.txt", "two", "2\u2028\x0c3")], dry_run=True)
    assert text.splitlines(keepends=True) != text.split("\n")
    assert "\n+2\u2028\x0c3 a.txt\n" in text
    assert "No newline" not in text


async def test_edits_of_one_file_build_on_each_other(kit: Kit) -> None:
    edits = [delete("a.txt"), add("a.txt", "x"), replace("./a.txt", "x", "y"), add("t", "1"), delete("t")]
    assert await kit.text("apply_patch", edits=edits) == "Changed a.txt"
    assert tree(kit)["a.txt"] == "y"


async def test_a_file_that_is_no_text_can_be_deleted(kit: Kit) -> None:
    kit.put("raw", b"\xff\xfe\x00")
    assert await kit.text("apply_patch", edits=[delete("raw")]) == "Deleted raw"


# --- what does not fit


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        (replace("b.txt", "three", "3"), "edit 2, replace b.txt: old_text is not in the file"),
        (replace("b.txt", "o", "0"), "edit 2, replace b.txt: old_text is found 2 times"),
        (replace("b.txt", "", "0"), "old_text is empty"),
        (replace("none.txt", "a", "b"), "there is no such file. Use add"),
        (add("b.txt"), "it is there already"),
        (delete("none.txt"), "there is no such file"),
        (delete("folder"), "is a folder"),
        (delete("other.txt"), "it is a link. Name the file that it leads to"),
        (delete("dangling"), "it is a link"),
        (add("../out.txt"), "there is no right to write it"),
        (add("../config.json"), "there is no right to write it"),
        (add("link/out.txt"), "there is no right to write it"),
        (replace("raw", "a", "b"), "it is not UTF-8 text (byte 0)"),
        (add("sign\u202e"), "a sign that does not show"),
        ({"path": "b.txt", "action": "move"}, "must be one of replace, add, delete"),
    ],
    ids=str,
)
async def test_one_mistake_and_nothing_is_done(edit: Edit, complaint: str, kit: Kit, tmp_path: Path) -> None:
    kit.put("raw", b"\xff")
    (kit.workspace / "folder").mkdir()
    (kit.workspace / "link").symlink_to(tmp_path)
    (kit.workspace / "other.txt").symlink_to("c.txt")
    (kit.workspace / "dangling").symlink_to("nowhere")
    before = tree(kit)
    assert complaint in await kit.refused("apply_patch", edits=[replace("a.txt", "two", "2"), edit, add("new/d.txt")])
    assert (tree(kit), (kit.workspace / "new").exists(), left(kit)) == (before, False, [])


async def test_all_mistakes_are_told_at_once(kit: Kit) -> None:
    text = await kit.refused("apply_patch", edits=[replace("a.txt", "zzz", "y"), delete("b.txt"), delete("none")])
    assert [line.split(",")[0] for line in text.splitlines() if line.startswith("- ")] == ["- edit 1", "- edit 3"]


@pytest.mark.parametrize("count", [0, MOST_EDITS + 1])
async def test_only_so_many_edits(count: int, kit: Kit) -> None:
    text = await kit.refused("apply_patch", edits=[add(f"{n}.txt") for n in range(count)])
    assert f"'edits' must have at least 1 and at most {MOST_EDITS} items, not {count}" in text


async def test_only_so_much(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patch, "LARGEST_PATCH", 30)
    assert "more than 30 bytes" in await kit.refused("apply_patch", edits=[add("x", "x" * 20), add("y", "y" * 20)])
    assert "x" not in tree(kit)


# --- what fails in the middle


def after(calls: int, error: Exception) -> Callable[..., None]:
    """As `os.rename`, and an error instead of that call and of none after it."""
    count, real = [0], os.rename

    def failing(*args: Any, **more: Any) -> None:
        count[0] += 1
        if count[0] == calls:
            raise error
        real(*args, **more)

    return failing


@pytest.mark.parametrize("calls", [1, 2, 3])
async def test_a_write_that_fails_takes_the_others_back(calls: int, kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    inodes = {name: (kit.workspace / name).stat().st_ino for name in tree(kit)}
    before = tree(kit)
    monkeypatch.setattr(os, "rename", after(calls, OSError(5, "Input/output error")))
    edits = [replace("a.txt", "two", "2"), delete("b.txt"), add("new/d.txt"), replace("c.txt", "two", "2")]
    assert "Nothing was changed:" in await kit.refused("apply_patch", edits=edits)
    assert (tree(kit), (kit.workspace / "new").exists(), left(kit)) == (before, False, [])
    assert {name: (kit.workspace / name).stat().st_ino for name in before} == inodes  # the very files, not copies


async def test_a_name_that_cannot_be_is_no_trouble_for_ever(kit: Kit) -> None:
    """It was taken for something that cannot be taken back, by this patch and by all after it."""
    before = tree(kit)
    for path in ("n" * 300, f"{'n' * 300}/x"):
        text = await kit.refused("apply_patch", edits=[add("new/d.txt"), replace("a.txt", "two", "2"), add(path)])
        assert "Nothing was changed: " in text
        assert "File name too long" in text
    assert (tree(kit), (kit.workspace / "new").exists(), left(kit)) == (before, False, [])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may go everywhere")
@pytest.mark.parametrize("mode", [0o000, 0o300, 0o500])
async def test_a_folder_that_is_closed_is_no_trouble_for_ever(mode: int, kit: Kit) -> None:
    """Nor did it use to be taken back, because it could not be looked into."""
    kit.put("closed/x", "")
    before = tree(kit)
    (kit.workspace / "closed").chmod(mode)
    text = await kit.refused("apply_patch", edits=[replace("a.txt", "two", "2"), add("closed/d.txt")])
    (kit.workspace / "closed").chmod(0o700)
    assert "Nothing was changed: closed/d.txt: Permission denied" in text
    assert (tree(kit), left(kit)) == (before, [])


def test_closed_folders_as_nobody() -> None:
    nobody.run_again("tests/tools/test_patch.py::test_a_folder_that_is_closed_is_no_trouble_for_ever")


async def test_what_can_be_taken_back_is_whatever_happens_to_the_rest(
    kit: Kit, monkeypatch: pytest.MonkeyPatch, claimed_errors: list[str]
) -> None:
    undo = patch_files._undo_step

    def stuck(step: patch_files._Step, folder: int) -> None:
        if step.name == "b.txt":
            raise OSError(errno.EIO, "Input/output error")
        undo(step, folder)

    monkeypatch.setattr(patch_files, "_undo_step", stuck)
    before = (kit.workspace / "a.txt").read_text()
    edits = [replace("a.txt", "two", "2"), replace("b.txt", "two", "2"), add("n" * 300)]
    assert "could not be taken back (Input/output error)" in await kit.refused("apply_patch", edits=edits)
    assert (kit.workspace / "a.txt").read_text() == before
    monkeypatch.undo()
    assert await kit.text("apply_patch", edits=[replace("c.txt", "two", "2")]) == "Changed c.txt"
    assert (left(kit), [path.name for path in kit.workspace.glob(".*")]) == ([], [])
    assert len(claimed_errors) == 1


async def test_what_cannot_be_taken_back_is_said_and_done_by_the_next_one(
    kit: Kit, monkeypatch: pytest.MonkeyPatch, claimed_errors: list[str]
) -> None:
    before = tree(kit)
    with monkeypatch.context() as broken:
        count, real = [0], os.rename

        def failing(*args: Any, **more: Any) -> None:
            count[0] += 1
            if count[0] > 1:
                raise OSError(5, "Input/output error")
            real(*args, **more)

        broken.setattr(os, "rename", failing)
        text = await kit.refused("apply_patch", edits=[replace("a.txt", "two", "2"), replace("b.txt", "two", "2")])
        assert "could not be taken back (Input/output error): look at a.txt, b.txt" in text
        assert "Nothing was changed" not in text
    assert tree(kit)["a.txt"] == "one\n2 a.txt\n"
    assert claimed_errors
    await kit.text("apply_patch", edits=[add("d.txt", "four")])
    assert (tree(kit), left(kit)) == ({**before, "d.txt": "four"}, [])


@pytest.mark.parametrize("when", ["a.txt", "b.txt"])
async def test_a_change_of_somebody_else_is_not_lost(when: str, kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its file is prepared, and after that."""
    prepare = patch_files._prepare

    def meanwhile(change: Any, *more: Any) -> None:
        prepare(change, *more)
        if change.path == when:
            (kit.workspace / "b.txt").write_text("theirs, saved while we were at it")

    monkeypatch.setattr(patch_files, "_prepare", meanwhile)
    edits = [replace("a.txt", "two", "2"), replace("b.txt", "two", "2")]
    assert "b.txt was changed by somebody else" in await kit.refused("apply_patch", edits=edits)
    assert (tree(kit)["a.txt"], tree(kit)["b.txt"]) == ("one\ntwo a.txt\n", "theirs, saved while we were at it")
    assert len(tree(kit)) == 3


async def test_where_there_are_no_hard_links_a_copy_is_kept(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_args: object, **_more: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    before = tree(kit)
    monkeypatch.setattr(os, "link", none)
    with monkeypatch.context() as broken:
        broken.setattr(os, "rename", after(2, OSError(28, "No space left on device")))
        edits = [replace("a.txt", "two", "2"), replace("b.txt", "two", "2")]
        assert "No space left" in await kit.refused("apply_patch", edits=edits)
    assert (tree(kit), left(kit)) == (before, [])
    assert await kit.text("apply_patch", edits=edits) == "Changed a.txt\nChanged b.txt"


async def test_a_patch_that_is_cancelled_changes_nothing(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare, before = patch_files._prepare, tree(kit)

    def cancelling(change: Any, *more: Any) -> None:
        prepare(change, *more)
        trio.from_thread.run_sync(scope.cancel)

    monkeypatch.setattr(patch_files, "_prepare", cancelling)
    with trio.CancelScope() as scope:
        await kit.call("apply_patch", edits=[replace("a.txt", "two", "2"), replace("b.txt", "two", "2")])
    assert scope.cancelled_caught
    assert (tree(kit), left(kit)) == (before, [])


async def test_two_at_once_do_not_mix(kit: Kit) -> None:
    """Each of them finds the files as it read them, or changes nothing."""
    texts: list[str] = []

    async def one(mark: str) -> None:
        edits = [replace(name, "two", mark) for name in ("a.txt", "b.txt", "c.txt")]
        texts.append((await kit.call("apply_patch", edits=edits)).text)

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(one, f"by {number}")
    assert len({text.split("\n")[1].rpartition(" ")[0] for text in tree(kit).values()}) == 1
    assert sum(text.startswith("Changed") for text in texts) == 1


def test_a_patch_that_is_under_way_is_not_taken_for_a_dead_ones(kit: Kit) -> None:
    folder, real = kit.workspace.parent / "patches", kit.workspace / "a.txt"
    begun, go_on, taken_back = threading.Event(), threading.Event(), list[int]()

    def hold() -> None:
        begun.set()
        assert go_on.wait(30)

    changes = [Change("a.txt", real, real.stat(), b"new")]
    writer = threading.Thread(target=lambda: patch_files.write_all(changes, kit.turn, folder, hold))
    other = threading.Thread(target=lambda: taken_back.append(patch_files.recover(folder)))
    writer.start()
    assert begun.wait(30)
    other.start()
    other.join(0.2)
    assert other.is_alive()
    go_on.set()
    writer.join(30)
    other.join(30)
    assert (taken_back, real.read_text()) == ([0], "new")


def test_killed_at_any_moment_it_is_whole() -> None:
    """Every place that it can be killed at, and some of those where what takes it back can; `patch_kills.py` has all."""
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None  # a kill loses nothing that was written, so no disk is needed
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        command = [sys.executable, "-W", "ignore", "-m", "tests.tools.patch_kills", folder, "40"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    rounds = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(one["whole"] for one in rounds)
    assert {one["outcome"] for one in rounds} == {"old", "new"}
    assert rounds[-1]["lived"]
    assert rounds[-1]["n"] > 60


def test_a_record_that_is_damaged_is_put_aside(tmp_path: Path, claimed_errors: list[str]) -> None:
    for number, text in enumerate(["", "[]", '{"steps": 1}', '{"steps": [{"folder": 1}], "folders": [], "done": false}']):
        (tmp_path / f"{number}.json").write_text(text)
    assert patch_files.recover(tmp_path) == 0
    assert sorted(os.listdir(tmp_path)) == [f"{number}.damaged" for number in range(4)]
    assert len(claimed_errors) == 4


# --- the rules of the tools that write


async def test_instructions_are_changed_only_by_whom_they_may(kit: Kit) -> None:
    before = tree(kit)
    edits = [replace("a.txt", "two", "2"), add("skills/new/SKILL.md"), add("Agents.md")]
    closed = attrs.evolve(kit, turn=attrs.evolve(kit.turn, may_instruct=False))
    text = await closed.refused("apply_patch", edits=edits)
    assert [line[:8] for line in text.splitlines() if "part of your instructions" in line] == ["- edit 2", "- edit 3"]
    assert tree(kit) == before
    assert (await kit.text("apply_patch", edits=edits)).count("Added") == 2


@pytest.mark.parametrize(
    ("edits", "intent"),
    [
        ([add("x"), add("./y")], Intent("apply_patch", "x\ny", "Writes x, y.")),
        ([add("x"), delete("x")], Intent("apply_patch", "x", "Writes x.")),
        (
            [add("memory/x")],
            Intent("apply_patch:instructions", "memory/x", "Writes memory/x, which becomes part of my instructions."),
        ),
        (
            [add("x"), delete("SOUL.md")],
            Intent(
                "apply_patch:instructions", "x\nSOUL.md", "Writes x, SOUL.md, of which SOUL.md becomes part of my instructions."
            ),
        ),
    ],
)
def test_what_it_would_do_is_told(edits: list[Edit], intent: Intent, kit: Kit) -> None:
    assert kit.tools.intent("apply_patch", json.dumps({"edits": edits}), kit.turn) == intent


@pytest.mark.parametrize(
    ("decision", "subject", "decided"),
    [
        ("allow", "notes/a\nnotes/b", "allow"),
        ("allow", "notes/a\nSOUL.md", "ask"),
        ("deny", "x\nnotes/b", "deny"),
        ("deny", "x\ny", "ask"),
    ],
)
def test_a_rule_allows_all_files_of_a_patch_or_none(decision: Any, subject: str, decided: str) -> None:
    rule = PolicyRule("apply_patch*", "notes/*", decision=decision)
    case = policy.Case("apply_patch:instructions", Effect.WRITES, subject, "owner", "cli", tainted=True)
    assert policy.decide(case, [rule]) == decided


def with_ledger(kit: Kit, *, tainted: bool) -> tuple[Kit, Ledger]:
    assert kit.turn.data is not None
    ledger = Ledger(kit.turn.data / "tainted.json", kit.workspace)
    return attrs.evolve(kit, turn=attrs.evolve(kit.turn, ledger=ledger, tainted=tainted)), ledger


async def test_what_a_tainted_turn_writes_is_remembered_until_a_clean_one_writes_it_anew(kit: Kit) -> None:
    tainted, ledger = with_ledger(kit, tainted=True)
    await tainted.text("apply_patch", edits=[replace("a.txt", "two", "obey me"), add("d.txt", "obey me"), delete("c.txt")])
    assert [ledger.taints(kit.workspace / name) for name in ("a.txt", "b.txt", "d.txt")] == [True, False, True]
    clean, _ = with_ledger(kit, tainted=False)
    await clean.text("apply_patch", edits=[replace("a.txt", "one", "1"), delete("d.txt")])
    assert ledger.taints(kit.workspace / "a.txt")  # the strangers' words still stand there
    await clean.text("apply_patch", edits=[add("d.txt", "mine")])
    assert not ledger.taints(kit.workspace / "d.txt")


@pytest.mark.parametrize("dry_run", [True, False])
async def test_lines_of_a_strangers_file_taint_who_is_shown_them(dry_run: bool, kit: Kit) -> None:
    tainted, _ = with_ledger(kit, tainted=True)
    await tainted.text("apply_patch", edits=[replace("a.txt", "two", "obey me")])
    clean, _ = with_ledger(kit, tainted=False)
    missed = await clean.call("apply_patch", edits=[replace("a.txt", "obey you", "x")], dry_run=dry_run)
    shown = await clean.call("apply_patch", edits=[replace("a.txt", "obey me", "x")], dry_run=True)
    own = await clean.call("apply_patch", edits=[replace("b.txt", "two", "2")], dry_run=True)
    assert [missed.failed, missed.tainted, shown.tainted, own.tainted] == [True, True, True, False]


class Full:
    """A ledger that can note nothing more."""

    def taints(self, _path: Path) -> bool:
        return True

    def writing(self, path: Path, *, tainted: bool, whole: bool) -> AbstractContextManager[None]:
        raise ToolError(f"{path.name} was not written: that cannot be noted")


async def test_nothing_is_written_that_cannot_be_noted(kit: Kit) -> None:
    before = tree(kit)
    full = attrs.evolve(kit, turn=attrs.evolve(kit.turn, ledger=Full(), tainted=True))
    assert "Nothing was changed: a.txt was not written" in await full.refused("apply_patch", edits=[replace("a.txt", "two", "x")])
    assert (tree(kit), left(kit)) == (before, [])
