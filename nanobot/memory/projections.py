"""Documents and HISTORY.md as files, made from what the database holds. Every function works inside a transaction, and blocks.

Theory of operation. The database is the truth. A file may be behind it, because we were killed in between, or ahead of it,
because a person has edited it. What tells the two apart is what we remember of the file as we last saw it:

    a document has the hash of its latest version       in order
    it has the hash of the version last shown           behind: the latest is written over it
    it has any other                                    edited: what it says becomes the next version

A version that was saved but not shown when the file was edited is merged with the edit, on top of it; where that cannot be, the
edit counts and what was saved is kept as a proposal. A document is replaced in one step, and only if it still says
what it said when it was judged.

Of HISTORY.md we remember how long it was when we last wrote it, and its end. What stands behind that and is a beginning of what
we were about to write is our own torn write and is completed; anything else was written by hand and is left as it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import attrs

from nanobot.errors import StoreUnusable
from nanobot.memory import merging, rows
from nanobot.memory.files import Appended, Workspace
from nanobot.memory.port import HISTORY, REPORTED, USERS, Author, Version
from nanobot.memory.rows import Content, Entry, Proposal

MOST_TRIES = 5
"""Times that a document is looked at anew because it was changed while we were about to write it."""
TAIL = 4096
"""Bytes at the end of HISTORY.md by which we know it again."""
NEAR_END = 2**20
"""Bytes at its end in which entries are looked for, once it is not as we left it."""
SURE = 24
"""Bytes at its end that are taken for the beginning of an entry, torn: the time and some more."""


class Taints(Protocol):
    """Who remembers which files hold text of strangers (security/ledger.py)."""

    def writing(self, path: Path, *, tainted: bool, whole: bool) -> AbstractContextManager[None]: ...


@attrs.frozen
class Changer:
    """Who is taken for the author of what a file says anew."""

    author: Author = Author.HAND
    session: str = ""
    reason: str = ""


BY_HAND = Changer()


@attrs.frozen
class Projections:
    workspace: Workspace
    taints: Taints | None = None

    def look(self, db: sqlite3.Connection, document: str, at: float, by: Changer = BY_HAND) -> Content:
        """The document as it is now; what the file says anew is a version then. Raises: OSError."""
        top = rows.latest(db, document)
        try:
            found = self.workspace.read(document)
        except FileNotFoundError:
            if top.version.number:
                raise
            return top  # a workspace that was never there
        if self._expected(db, document, found, top):
            return top
        if by.author is Author.HAND:
            found = self.workspace.settled(document)
            if self._expected(db, document, found, top):
                return top
        return self._edited(db, document, found or b"", Version(document, 0, "", by.author, by.session, by.reason, at))

    def show(self, db: sqlite3.Connection, document: str, at: float) -> None:
        """Bring the file to the latest version. Raises: OSError, StoreUnusable."""
        for _ in range(MOST_TRIES):
            top = self.look(db, document, at)
            number = top.version.number
            seen = rows.shown(db, document)
            if seen == number:
                return
            before = rows.content(db, document, seen).data
            expected = self.workspace.read(document)
            if (expected or b"") != before:
                continue
            with self._noted(document):
                if self.workspace.replace(document, top.data, expected):
                    rows.set_shown(db, document, number)
                    return
        raise StoreUnusable(f"{document} is being changed by somebody else all the time; it is written when that has ended")

    def is_behind(self, db: sqlite3.Connection, document: str) -> bool:
        return rows.shown(db, document) != rows.latest(db, document).version.number

    def show_history(self, db: sqlite3.Connection) -> None:
        """Append the entries that are not in HISTORY.md yet. Raises: OSError."""
        entries = rows.entries(db, shown=False)
        if not entries:
            return
        size, tail = rows.history_shown(db)
        with self._noted_history(entries), self.workspace.appending(HISTORY) as file:
            if missing := _missing(file, size, tail, [entry.text for entry in entries]):
                file.append(missing)
            rows.set_history_shown(db, file.size, _tail(file, file.size))

    # --- inside

    def _expected(self, db: sqlite3.Connection, document: str, found: bytes | None, top: Content) -> bool:
        """Whether the file is as we know it: as its latest version, or still as the one last shown."""
        if (found or b"") == top.data:
            rows.set_shown(db, document, top.version.number)
            return True
        return (found or b"") == rows.content(db, document, rows.shown(db, document)).data

    def _edited(self, db: sqlite3.Connection, document: str, data: bytes, by: Version) -> Content:
        top, base = rows.latest(db, document), rows.content(db, document, rows.shown(db, document))
        edit = attrs.evolve(by, text=data.decode("utf-8", "replace"))
        edit = rows.add_version(db, edit, data)
        rows.set_shown(db, document, edit.number)
        if top.version.number == base.version.number:
            return Content(edit, data)
        both = merging.merged(base.version.text, top.version.text, edit.text)
        if both is None:
            why = "The file was edited in the same lines before this could be written"
            saved = top.version
            rows.propose(db, Proposal("", document, edit.number, saved.text, saved.session, why, by.at))
            return Content(edit, data)
        if both == edit.text:
            return Content(edit, data)
        again = attrs.evolve(top.version, text=both, reason="merged with an edit of the file", at=by.at)
        return Content(rows.add_version(db, again), both.encode())

    def _noted(self, document: str) -> AbstractContextManager[None]:
        strangers = document == REPORTED or document.startswith(f"{USERS}/")
        return self._writing(document, whole=True) if strangers else contextlib.nullcontext()

    def _noted_history(self, entries: Sequence[Entry]) -> AbstractContextManager[None]:
        tainted = any(entry.reported for entry in entries)
        return self._writing(HISTORY, whole=False) if tainted else contextlib.nullcontext()

    def _writing(self, document: str, *, whole: bool) -> AbstractContextManager[None]:
        if self.taints is None:
            return contextlib.nullcontext()
        return self.taints.writing((self.workspace.path / document).resolve(), tainted=True, whole=whole)


def _missing(file: Appended, size: int, tail: bytes, texts: Sequence[str]) -> bytes:
    """What is to be appended, so that each text is there once."""
    chunks = [f"{text}\n\n".encode() for text in texts]
    end = file.size
    ours = size <= end <= size + NEAR_END and _tail(file, size) == tail
    start = size if ours else max(0, end - NEAR_END)
    rest = file.part(start, end)
    if ours:
        whole = _lead(file.part(size - 2, size)) + b"".join(chunks)
        if whole.startswith(rest):
            return whole[len(rest) :]
    missing = [chunk for chunk in chunks if chunk.rstrip() not in rest]
    if not missing:
        return b""
    torn = _torn(rest, missing[0])
    return missing[0][torn:] + b"".join(missing[1:]) if torn else _lead(rest[-2:]) + b"".join(missing)


def _torn(rest: bytes, chunk: bytes) -> int:
    """How much of the chunk is the end of the file already; 0 where it is too little to be told from something else."""
    longest = min(len(rest), len(chunk) - 1)
    return next((length for length in range(longest, SURE - 1, -1) if rest.endswith(chunk[:length])), 0)


def _lead(end: bytes) -> bytes:
    """What parts an entry from the end of what stands before it."""
    if not end or end == b"\n\n":
        return b""
    return b"\n" if end.endswith(b"\n") else b"\n\n"


def _tail(file: Appended, end: int) -> bytes:
    return hashlib.sha256(file.part(end - TAIL, end)).digest() if end > 0 else b""
