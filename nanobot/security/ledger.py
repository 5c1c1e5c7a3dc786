"""Which files hold text of strangers: those that were written while a conversation was tainted, in `<data>/tainted.json`.

A file is noted before it is written and taken off after a whole rewrite in a clean turn, or when it is gone, all under a lock
on the data directory, which other processes that use it respect too. Reading it makes the reader tainted again, however much
later and in whatever session. It errs towards the stranger: what cannot be noted is not written; while the ledger is
damaged or full, every file counts as a stranger's until the owner has mended it (the log says how).

It knows files by their path, so it does not follow what a command moves or copies. Every function blocks.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import attrs
from loguru import logger

from nanobot.config.durable import replace
from nanobot.errors import ToolError

MOST_FILES = 10_000
"""Names that are kept, about a megabyte; more come only from work that goes wrong."""
CONSEQUENCE = "every file counts as written by strangers"
WAY_OUT = "To trust all files of the workspace as they are"

Stamp = tuple[int, int, int, int] | None
"""Of a file on disk: device, inode, time, size; None where there is none."""


@attrs.frozen
class Noted:
    """What the file on disk says."""

    stamp: Stamp = None
    files: frozenset[str] = frozenset()
    everything: bool = False
    """Damaged or full: nothing is known to be clean."""
    folders: frozenset[str] = frozenset()
    """In which they lie: their names, too, were given while strangers had a word in it."""


class Ledger:
    """One per process. Its functions may be called from any thread."""

    def __init__(self, file: Path, workspace: Path) -> None:
        """file: `Places.tainted`. workspace: absolute and resolved; files in it are known relative to it."""
        self._file, self._workspace = file, workspace
        self._noted = Noted()

    def taints(self, path: Path) -> bool:
        """Whether what was read from the resolved path is a stranger's. Ask after reading. Raises: nothing."""
        noted = self._current()
        return noted.everything or self._name(path) in noted.files or self._name(path) in noted.folders

    @contextmanager
    def writing(self, path: Path, *, tainted: bool, whole: bool) -> Generator[None]:
        """Around the writing of a file. whole: nothing of what was there stays. Raises: ToolError before it begins."""
        try:
            folder = os.open(self._file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise _not_noted(path, error) from error
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            if tainted:
                self._add(path)
            yield
            if whole and not tainted:
                self._remove(path)
        finally:
            os.close(folder)

    def _add(self, path: Path) -> None:
        noted, name = self._current(), self._name(path)
        if noted.everything or name in noted.files:
            return
        files = frozenset(filter(self._is_there, noted.files)) | {name}
        full = len(files) > MOST_FILES
        try:
            self._save(noted.files if full else files, full=full)
        except OSError as error:
            raise _not_noted(path, error) from error

    def _remove(self, path: Path) -> None:
        noted, name = self._current(), self._name(path)
        if name not in noted.files:
            return
        try:
            self._save(noted.files - {name}, full=noted.everything)
        except OSError as error:  # it stays a stranger's: safe
            logger.warning("{} cannot be taken off {}: {}", name, self._file, error)

    def _current(self) -> Noted:
        """As it is on disk now: another process, or the owner's hand, may have changed it."""
        stamp = _stamp(self._file)
        if self._noted.stamp != stamp:
            noted, reason = self._load(stamp)
            if reason and not self._noted.everything:
                logger.error("{} {}: {}. {}: rm '{}'", self._file, reason, CONSEQUENCE, WAY_OUT, self._file)
            self._noted = noted
        return self._noted

    def _load(self, stamp: Stamp) -> tuple[Noted, str]:
        """What it says, and why that is of no use, empty where it is."""
        if stamp is None:
            return Noted(), ""
        try:
            noted = _parsed(self._file.read_bytes(), stamp)
        except (OSError, ValueError, RecursionError) as error:
            return Noted(stamp, everything=True), f"is damaged ({error})"
        return noted, f"is full, with {len(noted.files)} files" if noted.everything else ""

    def _save(self, files: frozenset[str], *, full: bool) -> None:
        replace(self._file, json.dumps({"files": sorted(files), "full": full}))

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self._workspace) if path.is_relative_to(self._workspace) else path)

    def _is_there(self, name: str) -> bool:
        """Where that cannot be known, it is."""
        try:
            os.lstat(self._workspace / name)
        except FileNotFoundError:
            return not self._workspace.is_dir()
        except OSError:
            return True
        return True


def _not_noted(path: Path, error: OSError) -> ToolError:
    return ToolError(
        f"{path.name} was not written: text of strangers is in this conversation, and that it may hold some cannot be noted: "
        f"{error.strerror}"
    )


def _stamp(file: Path) -> Stamp:
    try:
        found = os.stat(file)
    except FileNotFoundError:
        return None
    except OSError:
        return (0, 0, 0, 0)
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _parsed(data: bytes, stamp: Stamp) -> Noted:
    """Raises: ValueError."""
    found = json.loads(data)
    files, full = (found.get("files"), found.get("full")) if isinstance(found, dict) else (None, None)
    if not isinstance(files, list) or not isinstance(full, bool) or not all(isinstance(name, str) for name in files):
        raise ValueError("it holds something else")
    folders = (str(folder) for name in files for folder in Path(name).parents)
    return Noted(stamp, frozenset(files), full, frozenset(folders) - {".", "/"})
