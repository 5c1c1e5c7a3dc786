"""What memory's database holds, a row at a time. Every function works in the transaction whose connection it is given.

Texts are kept once, compressed, under their hash. Versions, entries and cursors are only added to, and never deleted; so are
proposals, but for the oldest of those that were decided.
"""

from __future__ import annotations

import enum
import hashlib
import secrets
import sqlite3
import zlib

import attrs

from nanobot.memory import checks
from nanobot.memory.port import Author, Save, Version

SCHEMA = (
    """
    CREATE TABLE texts (hash BLOB PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE versions (
        document TEXT, number INTEGER, hash BLOB NOT NULL REFERENCES texts, author TEXT NOT NULL, session TEXT NOT NULL,
        reason TEXT NOT NULL, at REAL NOT NULL, added INTEGER NOT NULL, dropped INTEGER NOT NULL,
        PRIMARY KEY (document, number));
    CREATE TABLE files (document TEXT PRIMARY KEY, shown INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE cursors (session TEXT PRIMARY KEY, cursor INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE entries (
        number INTEGER PRIMARY KEY, session TEXT NOT NULL, "from" INTEGER NOT NULL, "to" INTEGER NOT NULL, at REAL NOT NULL,
        reported TEXT NOT NULL, text TEXT NOT NULL, shown INTEGER NOT NULL);
    CREATE INDEX entries_to_show ON entries (shown, number);
    CREATE TABLE history (one INTEGER PRIMARY KEY CHECK (one = 1), size INTEGER NOT NULL, tail BLOB NOT NULL);
    CREATE TABLE proposals (
        id TEXT PRIMARY KEY, document TEXT NOT NULL, base INTEGER NOT NULL, hash BLOB NOT NULL REFERENCES texts,
        session TEXT NOT NULL, why TEXT NOT NULL, at REAL NOT NULL, verdict TEXT NOT NULL);
    """,
)
MOST_OPEN = 30
"""Proposals that wait; where one more comes, the oldest lapses. Nobody reads more."""
MOST_DECIDED = 200
"""Decided ones that are kept, the latest."""


class Verdict(enum.StrEnum):
    OPEN = "open"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    LAPSED = "lapsed"
    """More came than anybody decided on."""


@attrs.frozen
class Proposal:
    """An update that was not taken."""

    id: str
    document: str
    base: int
    """The version that it was made against."""
    text: str
    session: str
    why: str
    """A sentence."""
    at: float
    """Seconds since the epoch."""
    verdict: Verdict = Verdict.OPEN


@attrs.frozen
class Logged:
    """A version without its text."""

    document: str
    number: int
    author: Author
    session: str
    reason: str
    at: float
    added: int
    """Facts that are in it and were not in the one before; one that was reworded is added and dropped."""
    dropped: int


@attrs.frozen
class Content:
    """A version with its bytes, as they are or should be on disk."""

    version: Version
    data: bytes


@attrs.frozen
class Entry:
    """Of HISTORY.md."""

    number: int
    text: str
    reported: str


# --- versions


def latest(db: sqlite3.Connection, document: str) -> Content:
    """Number 0 and nothing where there is none."""
    found = db.execute("SELECT MAX(number) FROM versions WHERE document = ?", (document,)).fetchone()[0]
    return content(db, document, found or 0)


def content(db: sqlite3.Connection, document: str, number: int) -> Content:
    """Raises: LookupError where there is no such version; 0 is the document that says nothing."""
    if number == 0:
        return Content(Version(document, 0, ""), b"")
    row = db.execute(
        "SELECT author, session, reason, at, data FROM versions JOIN texts USING (hash) WHERE document = ? AND number = ?",
        (document, number),
    ).fetchone()
    if row is None:
        raise LookupError(f"{document} has no version {number}")
    author, session, reason, at, packed = row
    data = zlib.decompress(packed)
    return Content(Version(document, number, data.decode("utf-8", "replace"), Author(author), session, reason, at), data)


def add_version(db: sqlite3.Connection, version: Version, data: bytes | None = None) -> Version:
    """Put it on top; its number is given to it. data: where the text is not all that the file holds."""
    before = latest(db, version.document).version
    version = attrs.evolve(version, number=before.number + 1)
    added, dropped = len(checks.gone(version.text, before.text)), len(checks.gone(before.text, version.text))
    hashed = _keep(db, version.text.encode() if data is None else data)
    row = (version.document, version.number, hashed, version.author, version.session, version.reason, version.at, added, dropped)
    db.execute("INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    return version


def log(db: sqlite3.Connection, document: str | None, most: int) -> list[Logged]:
    """The latest first."""
    rows = db.execute(
        "SELECT document, number, author, session, reason, at, added, dropped FROM versions "
        "WHERE :document IS NULL OR document = :document ORDER BY rowid DESC LIMIT :most",
        {"document": document, "most": most},
    )
    return [Logged(name, number, Author(author), *rest) for name, number, author, *rest in rows]


def documents(db: sqlite3.Connection) -> list[str]:
    return [row[0] for row in db.execute("SELECT DISTINCT document FROM versions ORDER BY document")]


def shown(db: sqlite3.Connection, document: str) -> int:
    """The version that the file was last known to be."""
    row = db.execute("SELECT shown FROM files WHERE document = ?", (document,)).fetchone()
    return row[0] if row else 0


def set_shown(db: sqlite3.Connection, document: str, number: int) -> None:
    if shown(db, document) != number:
        db.execute("INSERT OR REPLACE INTO files VALUES (?, ?)", (document, number))


# --- saves


def cursor(db: sqlite3.Connection, session: str) -> int:
    row = db.execute("SELECT cursor FROM cursors WHERE session = ?", (session,)).fetchone()
    return row[0] if row else 0


def set_cursor(db: sqlite3.Connection, session: str, to: int) -> None:
    db.execute("INSERT OR REPLACE INTO cursors VALUES (?, ?)", (session, to))


def add_entry(db: sqlite3.Connection, save: Save) -> None:
    db.execute(
        'INSERT INTO entries (session, "from", "to", at, reported, text, shown) VALUES (?, ?, ?, ?, ?, ?, 0)',
        (save.session, save.start, save.end, save.at, save.reported, save.entry),
    )


def entries(db: sqlite3.Connection, *, shown: bool) -> list[Entry]:
    """Oldest first: those that were written into HISTORY.md, or those that are still to be."""
    found = db.execute("SELECT number, text, reported FROM entries WHERE shown = ? ORDER BY number", (shown,))
    return [Entry(*row) for row in found]


def show_again(db: sqlite3.Connection, entry: Entry) -> None:
    db.execute("UPDATE entries SET shown = 0 WHERE number = ?", (entry.number,))


def history_shown(db: sqlite3.Connection) -> tuple[int, bytes]:
    """How long HISTORY.md was when we last wrote it, and what its end was."""
    row = db.execute("SELECT size, tail FROM history").fetchone()
    return (row[0], row[1]) if row else (0, b"")


def set_history_shown(db: sqlite3.Connection, size: int, tail: bytes) -> None:
    db.execute("INSERT OR REPLACE INTO history VALUES (1, ?, ?)", (size, tail))
    db.execute("UPDATE entries SET shown = 1 WHERE shown = 0")


# --- proposals

_PROPOSAL = "SELECT id, document, base, data, session, why, at, verdict FROM proposals JOIN texts USING (hash)"
_Row = tuple[str, str, int, bytes, str, str, float, str]


def propose(db: sqlite3.Connection, proposal: Proposal) -> str:
    """Keep it, under an id that is given to it."""
    id = secrets.token_hex(3)
    while db.execute("SELECT 1 FROM proposals WHERE id = ?", (id,)).fetchone():
        id = secrets.token_hex(3)
    hashed = _keep(db, proposal.text.encode("utf-8", "backslashreplace"))
    row = (id, proposal.document, proposal.base, hashed, proposal.session, proposal.why, proposal.at, Verdict.OPEN)
    db.execute("INSERT INTO proposals VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    _forget(db)
    return id


def proposals(db: sqlite3.Connection, verdict: Verdict | None) -> list[Proposal]:
    """Oldest first; None: all."""
    where = "WHERE :verdict IS NULL OR verdict = :verdict ORDER BY proposals.rowid"
    return [_proposal(row) for row in db.execute(f"{_PROPOSAL} {where}", {"verdict": verdict})]


def proposal(db: sqlite3.Connection, id: str) -> Proposal | None:
    row = db.execute(f"{_PROPOSAL} WHERE id = ?", (id,)).fetchone()
    return _proposal(row) if row else None


def decide(db: sqlite3.Connection, id: str, verdict: Verdict) -> None:
    db.execute("UPDATE proposals SET verdict = ? WHERE id = ?", (verdict, id))
    _forget(db)


def _proposal(row: _Row) -> Proposal:
    id, document, base, data, session, why, at, verdict = row
    return Proposal(id, document, base, zlib.decompress(data).decode(), session, why, at, Verdict(verdict))


def _forget(db: sqlite3.Connection) -> None:
    ids = db.execute("SELECT id FROM proposals WHERE verdict = 'open' ORDER BY rowid DESC LIMIT -1 OFFSET ?", (MOST_OPEN,))
    for (id,) in ids.fetchall():
        db.execute("UPDATE proposals SET verdict = ? WHERE id = ?", (Verdict.LAPSED, id))
    decided = "SELECT id, hash FROM proposals WHERE verdict != 'open' ORDER BY rowid DESC LIMIT -1 OFFSET ?"
    for id, hashed in db.execute(decided, (MOST_DECIDED,)).fetchall():
        db.execute("DELETE FROM proposals WHERE id = ?", (id,))
        db.execute(
            "DELETE FROM texts WHERE hash = :hash AND NOT EXISTS (SELECT 1 FROM versions WHERE hash = :hash) "
            "AND NOT EXISTS (SELECT 1 FROM proposals WHERE hash = :hash)",
            {"hash": hashed},
        )


def _keep(db: sqlite3.Connection, data: bytes) -> bytes:
    hashed = hashlib.sha256(data).digest()
    db.execute("INSERT OR IGNORE INTO texts VALUES (?, ?)", (hashed, zlib.compress(data)))
    return hashed
