"""Where what can be found comes from: the journals of sessions and HISTORY.md, read without locks and changing nothing.

A source is told to have changed by its stamp. Of a session that is the number of its live segment, its size and its time, for
older segments never change; of HISTORY.md its size and its time. Every function blocks.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import attrs

from nanobot.archive.conversation import Piece, piece
from nanobot.archive.reading import ReadingDisk
from nanobot.errors import JournalError
from nanobot.journal import folder as files
from nanobot.journal.disk import read_all
from nanobot.memory.files import Workspace
from nanobot.memory.port import HISTORY

MOST_HISTORY = 2**26
"""Bytes of HISTORY.md that are read, the last ones where it is longer: a hundred years of it."""


@attrs.frozen
class Folder:
    """A session's journal as its folder shows it."""

    name: str
    numbers: tuple[int, ...]
    """Of its segments, ascending; never empty."""
    stamp: str
    """Of the live one."""
    changed_at: float


@attrs.frozen
class Sources:
    """See the module. Both paths are absolute."""

    journals: Path
    workspace: Path
    _disk: ReadingDisk = attrs.field(factory=ReadingDisk)

    def folders(self) -> Iterator[Folder]:
        """Every journal, in no order. Raises: JournalError if they cannot be listed."""
        try:
            names = os.listdir(self.journals)
        except FileNotFoundError:
            return
        except OSError as exc:
            raise JournalError(f"{self.journals} cannot be listed: {exc.strerror}") from exc
        for name in names:
            folder = self._look(name)
            if folder is not None:
                yield folder

    def stamp(self, name: str, number: int) -> str:
        """Of a segment as it is now, empty where it is gone."""
        try:
            return _stamp(os.stat(self._path(name, number)))
        except OSError:
            return ""

    def segment(self, name: str, number: int) -> Piece | None:
        """None for one that a deletion has taken away meanwhile. Raises: JournalError, JournalTooNew, JournalDamaged."""
        path = self._path(name, number)
        try:
            with files.opened(self._disk, path) as fd:
                data = read_all(self._disk, fd)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise JournalError(f"{path} cannot be read: {exc.strerror}") from exc
        return piece(path, data)

    def history_stamp(self) -> str:
        """Empty where there is no HISTORY.md."""
        try:
            return _stamp(os.stat(self.workspace / HISTORY))
        except OSError:
            return ""

    def history(self) -> bytes:
        """HISTORY.md, empty where there is none. Raises: OSError, also where it is a link out of the workspace."""
        try:
            with Workspace(self.workspace).reading(HISTORY) as file:
                return file.part(file.size - MOST_HISTORY, file.size)
        except FileNotFoundError:
            return b""

    def _look(self, name: str) -> Folder | None:
        """None for what is no journal, or goes just now."""
        try:
            numbers = files.segment_numbers(self._disk, f"{self.journals}/{name}")
            if not numbers:
                return None
            found = os.stat(self._path(name, numbers[-1]))
        except OSError:
            return None
        return Folder(name, tuple(numbers), _stamp(found), found.st_mtime)

    def _path(self, name: str, number: int) -> str:
        return files.segment_path(f"{self.journals}/{name}", number)


def _stamp(found: os.stat_result) -> str:
    return f"{found.st_size}:{found.st_mtime_ns}" if stat.S_ISREG(found.st_mode) else ""
