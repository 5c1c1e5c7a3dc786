"""A session's folder as files: names of segments, how a file is born, how old ones go, and what can be read of them.

No file is ever changed in place here: a segment is born complete (temporary name, fsync, rename, fsync of the folder).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from nanobot.errors import JournalDamaged
from nanobot.journal import segment
from nanobot.journal.disk import Disk, read_all, read_from, write_all
from nanobot.journal.segment import Header, Line, Segment

TEMPORARY = "cut.tmp"
_SUFFIX = ".jsonl"
_BACKWARDS = 4096
"""Bytes read at first when looking for a last line; most lines are far shorter."""


def segment_path(folder: str, number: int) -> str:
    return f"{folder}/{number:08}.jsonl"


def segment_numbers(disk: Disk, folder: str) -> list[int]:
    """Ascending; the last one is live. Raises: OSError."""
    stems = (name.removesuffix(_SUFFIX) for name in disk.names(folder) if name.endswith(_SUFFIX))
    return sorted(int(stem) for stem in stems if len(stem) == 8 and stem.isdecimal() and stem.isascii())


def write_temporary(disk: Disk, folder: str, data: bytes) -> int:
    """A file with `data` on disk, under the temporary name. Returns it open. Raises: OSError."""
    fd = disk.create_file(f"{folder}/{TEMPORARY}")
    with contextlib.ExitStack() as undo:
        undo.callback(disk.close, fd)
        write_all(disk, fd, data, 0)
        disk.fsync(fd, "cut file")
        undo.pop_all()
    return fd


def remove_temporary(disk: Disk, folder: str) -> None:
    """What a cut left that a crash ended. Raises: OSError."""
    if disk.exists(f"{folder}/{TEMPORARY}"):
        disk.unlink(f"{folder}/{TEMPORARY}")


def remove_before(disk: Disk, folder: str, lock: int, number: int) -> None:
    """Removes the segments older than `number`, durably. Raises: OSError."""
    older = [found for found in segment_numbers(disk, folder) if found < number]
    for found in older:
        disk.unlink(segment_path(folder, found))
    if older:
        disk.fsync(lock, "forget folder")


def make_root(disk: Disk, path: str) -> None:
    """Makes the folder, and what is missing above it. Its name is synced also if it was there: who made it may have been
    killed before that.

    Raises: OSError.
    """
    parent = path.rpartition("/")[0] or "/"
    existed = disk.exists(path)
    if not existed:
        if not disk.exists(parent):
            make_root(disk, parent)
        disk.make_folder(path)
    try:
        sync_name(disk, path, "root")
    except PermissionError:
        if not existed:
            raise  # else it is a mount point or a home that an administrator made, above which we may not read


def sync_name(disk: Disk, path: str, site: str) -> None:
    """Makes the name of a new folder durable. Where that fails the folder goes, and the next try makes it anew: to sync it
    again would be to believe a sync that had nothing to write.

    Raises: OSError.
    """
    try:
        fd = disk.open_folder(path.rpartition("/")[0] or "/")
        try:
            disk.fsync(fd, site)
        finally:
            disk.close(fd)
    except OSError:
        with contextlib.suppress(OSError):
            disk.remove_folder(path)
        raise


@contextlib.contextmanager
def opened(disk: Disk, path: str) -> Iterator[int]:
    """Raises: OSError."""
    fd = disk.open_file(path)
    try:
        yield fd
    finally:
        disk.close(fd)


def read_newest(disk: Disk, folder: str, numbers: Sequence[int]) -> tuple[Segment | None, JournalDamaged | None]:
    """The live segment; if not even its header can be read, the newest one before it, to salvage what was said.

    Raises: JournalTooNew. OSError if a file cannot be opened; one that cannot be read is damaged.
    """
    damaged: JournalDamaged | None = None
    for number in reversed(numbers):
        path = segment_path(folder, number)
        with opened(disk, path) as fd:
            try:
                found = segment.read(read_all(disk, fd), path)
            except JournalDamaged as exc:
                damaged = damaged or exc
            except OSError as exc:
                damaged = damaged or JournalDamaged(path, 1, f"the file cannot be read: {exc.strerror}")
            else:
                return found, damaged or found.damage
    return None, damaged


def read_last(disk: Disk, path: str) -> Line | Header | None:
    """The last line, read backwards; None if it is torn. Raises: OSError. JournalTooNew."""
    with opened(disk, path) as fd:
        text = _last_text(disk, fd)
    if text is None:
        return None
    try:
        return segment.read_line(text) or segment.read_header(text, path)
    except JournalDamaged:
        return None


def _last_text(disk: Disk, fd: int) -> bytes | None:
    size = disk.size(fd)
    count = _BACKWARDS
    while True:
        start = max(0, size - count)
        data = read_from(disk, fd, start, size - start)
        if not data.endswith(b"\n"):
            return None
        before = data.rfind(b"\n", 0, -1)
        if before >= 0 or start == 0:
            return data[before + 1 : -1]
        count *= 8
