"""The errors that cross module boundaries. Each says what happened and a way out for the reader; none imports anything of ours.

NanobotError
├─ ConfigError           a mistake of the user's in config or command line: exit 2
├─ InUse                 somebody else holds the session or the data directory: exit 1
├─ JournalError          journal/journal.py
│  ├─ JournalDamaged     bytes on disk are not what was written: listed, never resumed
│  ├─ JournalTooNew      written by a later version: refused untouched
│  └─ JournalUnwritable  the disk refuses: full, broken, read-only
├─ StoreUnusable         a database of ours cannot be read or written
├─ ProviderError         providers/port.py: what a model call can end in
└─ ToolError             tools/port.py: a call that failed in a way the model can act on
"""

from __future__ import annotations

from collections.abc import Sequence


class NanobotError(Exception):
    """Base of all errors of ours that a user may see. `str()` is a plain sentence with a way out."""


class ConfigError(NanobotError):
    """The configuration cannot be used. `mistakes` holds every mistake found, one line each, with its path in the file."""

    def __init__(self, mistakes: Sequence[str], *, file: str | None = None) -> None:
        self.mistakes = tuple(mistakes)
        self.file = file
        where = f"{file}: " if file else ""
        head = "1 mistake" if len(self.mistakes) == 1 else f"{len(self.mistakes)} mistakes"
        super().__init__(f"{where}{head} in the configuration\n" + "\n".join(f"  {line}" for line in self.mistakes))


class InUse(NanobotError):
    """Another process holds the lock. `holder` is its process id, None if unknown."""

    def __init__(self, what: str, holder: int | None) -> None:
        self.what, self.holder = what, holder
        by = f"process {holder}" if holder is not None else "another process"
        super().__init__(f"{what} is in use by {by}")


class JournalError(NanobotError):
    """A journal cannot be read or written."""


class JournalDamaged(JournalError):
    """A line fails its CRC or its JSON, in the middle of a segment. `file` and `line` (from 1) say where."""

    def __init__(self, file: str, line: int, reason: str) -> None:
        self.file, self.line, self.reason = file, line, reason
        super().__init__(f"{file}, line {line}: {reason}")


class JournalTooNew(JournalError):
    """The file needs a later version of nanobot. It was not touched."""

    def __init__(self, file: str, needs: str) -> None:
        self.file, self.needs = file, needs
        super().__init__(
            f"{file} was written by a newer nanobot (it needs {needs}); it was left untouched. Update nanobot to open it"
        )


class JournalUnwritable(JournalError):
    """A write or fsync failed and no new segment could be written either. What was acknowledged is safe."""


class StoreUnusable(NanobotError):
    """A database of ours cannot be read or written, or needs a later version. What was committed is safe, as far as it can be."""


class DiskFull(NanobotError):
    """Less than the reserve (bytes) is free; what runs can still be written to its end."""

    def __init__(self, folder: str, reserve: int) -> None:
        super().__init__(
            f"less than {reserve // 2**20} MiB is free for {folder}, so no new message is taken. Free space and send it again"
        )


class ToolError(NanobotError):
    """A tool call failed; the text tells the model what to do differently."""
