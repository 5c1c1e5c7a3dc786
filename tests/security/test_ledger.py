"""Text of strangers in files: what is written in a tainted conversation taints whoever reads it later."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from nanobot.errors import ToolError
from nanobot.security import ledger
from nanobot.security.ledger import Ledger
from tests.tools.kit import PNG, Kit, make_kit

NAME = "tainted.json"
WRITES = [
    ("write_file", {"path": "note.md", "content": "obey me\n"}),
    ("edit_file", {"path": "note.md", "old_text": "old", "new_text": "obey me"}),
]
READS: list[tuple[str, dict[str, object]]] = [
    ("read_file", {"path": "note.md"}),
    ("read_file", {"path": "link.md"}),
    ("read_file", {"path": "up/../note.md"}),
    ("grep", {"pattern": "me", "path": "note.md"}),
    ("grep", {"pattern": "me"}),
    ("grep", {"pattern": "me", "output_mode": "content", "path": ".."}),
    ("list_dir", {}),
    ("list_dir", {"recursive": True}),
    ("find_files", {"glob": "note*"}),
    ("edit_file", {"path": "note.md", "old_text": "obey you", "new_text": ""}),
]


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    kit = make_kit(tmp_path)
    kit.put("note.md", "old\n")
    kit.put("other.md", "harmless\n")
    (kit.workspace / "link.md").symlink_to("note.md")
    (kit.workspace / "up").mkdir()
    return with_ledger(kit)


def with_ledger(kit: Kit, *, tainted: bool = False) -> Kit:
    """The next process: nothing of it is in memory."""
    return attrs.evolve(kit, turn=attrs.evolve(kit.turn, ledger=Ledger(file_of(kit), kit.workspace), tainted=tainted))


def file_of(kit: Kit) -> Path:
    assert kit.turn.data is not None
    return kit.turn.data / NAME


@pytest.mark.parametrize(("tool", "arguments"), WRITES)
async def test_what_was_written_taints_who_reads_it(tool: str, arguments: dict[str, str], kit: Kit) -> None:
    await with_ledger(kit, tainted=True).text(tool, **arguments)
    later = with_ledger(kit)
    for name, reading in READS:
        if reading.get("path") != "..":  # refused
            assert (await later.call(name, **reading)).tainted, name
    for name, clean in [("read_file", {"path": "other.md"}), ("grep", {"pattern": "harmless"}), ("find_files", {"glob": "o*"})]:
        result = await later.call(name, **clean)
        assert (result.tainted, result.failed) == (False, False)
    assert file_of(kit).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("name", "reading"), READS)
async def test_what_was_written_cleanly_taints_nobody(name: str, reading: dict[str, object], kit: Kit) -> None:
    await kit.text("write_file", path="note.md", content="obey me\n")
    assert not (await kit.call(name, **reading)).tainted
    assert not file_of(kit).exists()


async def test_only_a_whole_rewrite_in_a_clean_conversation_takes_it_off(kit: Kit) -> None:
    await with_ledger(kit, tainted=True).text("write_file", path="note.md", content="obey me")
    await kit.text("edit_file", path="note.md", old_text="obey", new_text="thank")
    assert (await kit.call("read_file", path="note.md")).tainted
    await kit.text("write_file", path="link.md", content="new")
    assert not (await kit.call("read_file", path="note.md")).tainted
    assert json.loads(file_of(kit).read_text()) == {"files": [], "full": False}


async def test_a_picture_of_strangers_is_one_too(kit: Kit) -> None:
    kit.put("a.png", PNG)
    assert not (await kit.call("read_file", path="a.png")).tainted
    tainted = attrs.evolve(kit, turn=attrs.evolve(kit.turn, media=kit.workspace))
    assert (await tainted.call("read_file", path="a.png")).tainted


async def test_files_that_came_with_messages(kit: Kit) -> None:
    data = kit.turn.data
    assert data is not None
    media = data / "media/telegram"
    media.mkdir(parents=True)
    (media / "m1-0.txt").write_text("obey me")
    readable = attrs.evolve(kit, turn=attrs.evolve(kit.turn, media=media, readable=(kit.turn.results, media)))
    path = str(media)
    for name, arguments in [
        ("read_file", {"path": f"{path}/m1-0.txt"}),
        ("grep", {"path": path, "pattern": "obey"}),
        ("find_files", {"path": path}),
        ("list_dir", {"path": path}),
    ]:
        result = await readable.call(name, **arguments)
        assert (result.tainted, result.failed) == (True, False)
    assert not (await readable.call("grep", path=path, pattern="nothing")).tainted, "no hit, nothing read"


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_text('{"files": ["no'),
        lambda file: file.write_text("[]"),
        lambda file: file.write_text('{"files": [1], "full": false}'),
        lambda file: file.write_text('{"files": []}'),
        lambda file: file.write_bytes(b"\xff\xfe"),
        lambda file: file.write_text("[" * 100_000),
        lambda file: (file.unlink(), file.mkdir()),
    ],
)
async def test_a_damaged_ledger_trusts_no_file(damage: Callable[[Path], object], kit: Kit, claimed_errors: list[str]) -> None:
    await with_ledger(kit, tainted=True).text("write_file", path="note.md", content="x")
    damage(file_of(kit))
    assert (await kit.call("read_file", path="other.md")).tainted
    await kit.text("write_file", path="other.md", content="clean")
    assert (await kit.call("read_file", path="other.md")).tainted, "it is not written over"
    [line] = claimed_errors
    assert f"rm '{file_of(kit)}'" in line
    file_of(kit).rmdir() if file_of(kit).is_dir() else file_of(kit).unlink()
    assert not (await kit.call("read_file", path="other.md")).tainted, "the owner mended it"


async def test_a_full_ledger_forgets_what_is_gone_and_nothing_else(
    kit: Kit, monkeypatch: pytest.MonkeyPatch, claimed_errors: list[str]
) -> None:
    monkeypatch.setattr(ledger, "MOST_FILES", 3)
    stranger = with_ledger(kit, tainted=True)
    for name in ("1", "2", "3"):
        await stranger.text("write_file", path=name, content="x")
    (kit.workspace / "1").unlink()
    await stranger.text("write_file", path="4", content="x")
    assert not (await kit.call("read_file", path="other.md")).tainted
    assert (await kit.call("read_file", path="4")).tainted
    await stranger.text("write_file", path="5", content="x")
    for name in ("2", "3", "4", "5", "other.md"):
        assert (await with_ledger(kit).call("read_file", path=name)).tainted
    assert {line.partition(": ")[0] for line in claimed_errors} == {f"{file_of(kit)} is full, with 3 files"}
    await kit.text("write_file", path="2", content="x")
    assert (await kit.call("read_file", path="other.md")).tainted, "room alone does not bring back what was not noted"


async def test_what_cannot_be_noted_is_not_written(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_path: Path, _text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ledger, "replace", full)
    told = await with_ledger(kit, tainted=True).refused("write_file", path="note.md", content="x")
    assert "cannot be noted: No space left on device" in told
    assert (kit.workspace / "note.md").read_text() == "old\n"
    await kit.text("write_file", path="note.md", content="clean work goes on")


def test_files_outside_and_odd_names_are_known(tmp_path: Path) -> None:
    notes = Ledger(tmp_path / NAME, tmp_path / "workspace")
    paths = [tmp_path / "elsewhere", tmp_path / "workspace" / os.fsdecode(b"\xff\n")]
    for path in paths:
        with notes.writing(path, tainted=True, whole=True):
            pass
    assert all(Ledger(tmp_path / NAME, tmp_path / "workspace").taints(path) for path in paths)
    assert set(json.loads((tmp_path / NAME).read_text())["files"]) == {str(tmp_path / "elsewhere"), "\udcff\n"}


def test_a_write_that_fails_leaves_the_file_a_strangers(tmp_path: Path) -> None:
    notes = Ledger(tmp_path / NAME, tmp_path)
    path = tmp_path / "a"
    with pytest.raises(ToolError), notes.writing(path, tainted=True, whole=True):
        raise ToolError("the disk is full")
    assert notes.taints(path)
    with pytest.raises(ToolError), notes.writing(path, tainted=False, whole=True):
        raise ToolError("the disk is full")
    assert notes.taints(path)


def test_many_writers_lose_nothing(tmp_path: Path) -> None:
    """Two ledgers, as two processes have them; a file is written on one while the other forgets its own."""
    both = [Ledger(tmp_path / NAME, tmp_path) for _ in range(2)]

    def write(number: int) -> None:
        for name in range(20):
            with both[number].writing(tmp_path / f"{number}-{name}", tainted=True, whole=True):
                (tmp_path / f"{number}-{name}").touch()
            if name % 2:
                with both[number].writing(tmp_path / f"{number}-{name}", tainted=False, whole=True):
                    pass

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = {f"{number}-{name}" for number in range(2) for name in range(0, 20, 2)}
    assert set(json.loads((tmp_path / NAME).read_text())["files"]) == kept
