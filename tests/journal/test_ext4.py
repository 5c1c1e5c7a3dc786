"""The failed append on a real ext4: what Linux does to a write it could not bring to disk, and that our way keeps the lines.

The file system lives in an image whose free blocks are holes, on a tmpfs that is full at the moment of the write. The
power cut is a copy of the image. Needs root, loop devices and mkfs.ext4; a few seconds.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from nanobot.errors import JournalUnwritable
from nanobot.journal.journal import Journal, Journals, Loaded

KEY = "cli:default:me"
BLOCK = 4096
IMAGE_SIZE = 64 * 2**20
STORE_SIZE = 32 * 2**20
LINE = "x" * (64 * BLOCK)
"""Long enough to need blocks that the image does not have yet."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a loop device needs root")
needs_tools = pytest.mark.skipif(
    not all(map(shutil.which, ("mkfs.ext4", "dumpe2fs", "mount", "umount", "losetup"))), reason="no ext4 tools here"
)
pytestmark = [needs_root, needs_tools]


def run(*words: object) -> str:
    return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True).stdout


@contextlib.contextmanager
def mounted(source: object, where: Path, *options: str) -> Iterator[Path]:
    where.mkdir()
    try:
        run("mount", *options, source, where)
    except subprocess.CalledProcessError as exc:
        pytest.skip(f"cannot mount here: {exc.stderr.strip()}")
    try:
        yield where
    finally:
        run("umount", "-l", where)


@attrs.frozen
class Device:
    """An ext4 on a store that can be full."""

    store: Path
    root: Path

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        filler = self.store / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(BLOCK))
        yield
        filler.unlink()

    def power_cut(self, where: Path) -> contextlib.AbstractContextManager[Path]:
        """What is on the device now, mounted elsewhere."""
        copy = where / "copy"
        run("cp", "--sparse=always", self.store / "image", copy)
        return mounted(copy, where / "after", "-o", "loop")


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    with mounted("none", tmp_path / "store", "-t", "tmpfs", "-o", f"size={STORE_SIZE},huge=never") as store:
        image = store / "image"
        make_image(image)
        with mounted(image, tmp_path / "root", "-o", "loop") as root:
            yield Device(store, root)


def make_image(image: Path) -> None:
    """Every block of the file system's own is there, journal included, so that only new data can meet a full store."""
    with image.open("wb") as file:
        file.truncate(IMAGE_SIZE)
    run("mkfs.ext4", "-q", "-b", BLOCK, "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", image)
    free = {
        block
        for line in re.findall(r"^  Free blocks: (.*)$", run("dumpe2fs", image), re.MULTILINE)
        for first, last in re.findall(r"(\d+)(?:-(\d+))?", line)
        for block in range(int(first), int(last or first) + 1)
    }
    with image.open("r+b", buffering=0) as file:
        for block in range(IMAGE_SIZE // BLOCK):
            if block not in free:
                content = os.pread(file.fileno(), BLOCK, block * BLOCK)
                os.pwrite(file.fileno(), content, block * BLOCK)


def say(journal: Journal, said: list[str], text: str) -> None:
    """Acknowledged, so to speak, when it returns."""
    journal.append([text], owes=None, at=1.0, snapshot_after=lambda: [*said, text])
    said.append(text)


def held(loaded: Loaded) -> list[object]:
    return [*(loaded.snapshot if isinstance(loaded.snapshot, list) else []), *loaded.records]


def test_what_was_acknowledged_outlives_a_failed_append_and_a_power_cut(device: Device, tmp_path: Path) -> None:
    journals = Journals(f"{device.root}/data/journals")
    journals.prepare()
    journal, _ = journals.open(KEY)
    said: list[str] = []
    for number in range(3):
        say(journal, said, f"before {number}")
    with device.full(), pytest.raises(JournalUnwritable):
        say(journal, said, LINE)
    say(journal, said, LINE)
    say(journal, said, "after")
    with device.power_cut(tmp_path) as root:
        copied, loaded = Journals(f"{root}/data/journals").open(KEY)
        copied.close()
    journal.close()
    assert loaded.damaged is None
    assert held(loaded) == said


def test_the_same_with_room_for_the_cut_only(device: Device, tmp_path: Path) -> None:
    """The disk has room again between the failed append and its cut."""
    journals = Journals(f"{device.root}/data/journals")
    journals.prepare()
    journal, _ = journals.open(KEY)
    said: list[str] = []
    say(journal, said, "before")
    store = contextlib.ExitStack()
    store.enter_context(device.full())

    def snapshot() -> list[object]:
        store.close()
        return [*said, LINE]

    journal.append([LINE], owes=None, at=1.0, snapshot_after=lambda: [str(each) for each in snapshot()])
    said.append(LINE)
    assert len(os.listdir(f"{journals.root}/cli+default+me")) == 2, "the append failed and was cut"
    say(journal, said, "after")
    with device.power_cut(tmp_path) as root:
        copied, loaded = Journals(f"{root}/data/journals").open(KEY)
        copied.close()
    journal.close()
    assert (loaded.damaged, held(loaded)) == (None, said)


def test_control_syncing_again_loses_the_line_it_has_confirmed(device: Device, tmp_path: Path) -> None:
    path = device.root / "naive"
    line, after = LINE.encode() + b"\n", b"after\n"
    with path.open("wb", buffering=0) as file:
        with device.full():
            os.pwrite(file.fileno(), line, 0)
            with pytest.raises(OSError) as failed:
                os.fsync(file.fileno())
        os.fsync(file.fileno())
        os.pwrite(file.fileno(), after, len(line))
        os.fsync(file.fileno())
    assert path.read_bytes() == line + after, "the page cache still shows it"
    with device.power_cut(tmp_path) as root:
        content = (root / "naive").read_bytes()
    print(
        f"\nfirst fsync: {failed.value.strerror}; second: fine; after the cut {content.count(0)} of {len(content)} bytes are NUL"
    )
    assert not content.startswith(line)
