"""The tables of the index: what was read of each source, the passages with their texts, and the words that lead to them.

The table of words holds no texts: to forget a passage it has to be told its words again, exactly as they were (`words.indexed`).
So whatever changes there goes with a script here that empties all tables.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

import attrs

from nanobot.memory import words
from nanobot.memory.passages import Passage, Role

SCHEMA = (
    """
CREATE TABLE sources (
    id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, key TEXT NOT NULL DEFAULT '', number INTEGER NOT NULL DEFAULT -1,
    stamp TEXT NOT NULL DEFAULT '', offset INTEGER NOT NULL DEFAULT 0, digest TEXT NOT NULL DEFAULT '');
CREATE INDEX sources_key ON sources(key);
CREATE TABLE troubles (source INTEGER NOT NULL, number INTEGER NOT NULL, text TEXT NOT NULL, PRIMARY KEY (source, number));
CREATE TABLE passages (
    id INTEGER PRIMARY KEY, source INTEGER NOT NULL, ordinal INTEGER NOT NULL, at REAL NOT NULL, chat TEXT NOT NULL,
    roles INTEGER NOT NULL, strange INTEGER NOT NULL, speakers TEXT NOT NULL, UNIQUE (source, ordinal));
CREATE INDEX passages_at ON passages(at);
CREATE INDEX passages_chat ON passages(chat, at);
CREATE TABLE texts (id INTEGER PRIMARY KEY, person TEXT, assistant TEXT, tool TEXT, history TEXT);
CREATE VIRTUAL TABLE words USING fts5(person, assistant, tool, history, content='', tokenize='ascii')
""",
)
ROLES = tuple(Role)
"""In the order of the columns."""
_TEXTS = "SELECT person, assistant, tool, history FROM texts WHERE id = ?"
_SOURCE = "SELECT id, key, number, stamp, offset, digest, name FROM sources"
Kept = tuple[int, Passage]
"""A passage with its number in the tables."""


@attrs.frozen
class State:
    """How far a source was read: of a session up to segment `number`, as it was at `stamp`; of HISTORY.md up to entry `number`,
    which begins at byte `offset`, behind what has the `digest`."""

    id: int
    key: str
    number: int
    stamp: str
    offset: int
    digest: str
    name: str


def bits(roles: Iterable[Role]) -> int:
    return sum(1 << ROLES.index(role) for role in set(roles))


def texts_of(columns: Sequence[str | None], roles: Iterable[Role] = ROLES) -> dict[Role, str]:
    allowed = frozenset(roles)
    return {role: text for role, text in zip(ROLES, columns, strict=True) if text is not None and role in allowed}


def strange_of(number: int, roles: Iterable[Role] = ROLES) -> frozenset[Role]:
    return frozenset(role for role in roles if number & bits([role]))


def speakers_of(text: str) -> tuple[str, ...]:
    return tuple(text.split("\n")) if text else ()


# --- sources


def states(connection: sqlite3.Connection) -> dict[str, State]:
    return {row[-1]: State(*row) for row in connection.execute(_SOURCE)}


def state(connection: sqlite3.Connection, name: str) -> State:
    """Made if it is not there."""
    connection.execute("INSERT OR IGNORE INTO sources (name) VALUES (?)", (name,))
    return State(*connection.execute(f"{_SOURCE} WHERE name = ?", (name,)).fetchone())


def note(connection: sqlite3.Connection, source: int, number: int, trouble: str) -> None:
    """What of a part of the source could not be read, empty if all could."""
    connection.execute("DELETE FROM troubles WHERE source = ? AND number = ?", (source, number))
    if trouble:
        connection.execute("INSERT INTO troubles VALUES (?, ?, ?)", (source, number, words.clean(trouble)))


def drop(connection: sqlite3.Connection, source: int) -> bool:
    """All passages of a source; whether there were any. What was in their place on the disk is overwritten."""
    connection.execute("PRAGMA secure_delete = ON")
    ids = [id_ for (id_,) in connection.execute("SELECT id FROM passages WHERE source = ?", (source,))]
    remove(connection, ids)
    connection.execute("DELETE FROM troubles WHERE source = ?", (source,))
    return bool(ids)


def purge(connection: sqlite3.Connection) -> None:
    """The table of words forgets by and by; now it does. A second for a hundred thousand passages."""
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("INSERT INTO words (words) VALUES ('optimize')")


# --- passages


def passages(connection: sqlite3.Connection, source: int, first: int) -> dict[int, Kept]:
    """By ordinal, from `first` on."""
    rows = connection.execute(
        "SELECT p.ordinal, p.id, p.at, p.strange, p.speakers, t.person, t.assistant, t.tool, t.history "
        "FROM passages p JOIN texts t ON t.id = p.id WHERE p.source = ? AND p.ordinal >= ?",
        (source, first),
    )
    return {
        ordinal: (id_, Passage(at, texts_of(texts), strange_of(strange), speakers_of(speakers)))
        for ordinal, id_, at, strange, speakers, *texts in rows
    }


def put(
    connection: sqlite3.Connection, source: int, new: Mapping[int, tuple[str, Passage | None]], there: Mapping[int, Kept]
) -> None:
    """What is `new`, by ordinal with its chat, instead of what is there, where that is not the same."""
    for ordinal, (chat, passage) in new.items():
        kept = there.get(ordinal)
        if kept is not None and kept[1] == passage:
            continue
        if kept is not None:
            remove(connection, [kept[0]])
        if passage is not None:
            _add(connection, source, ordinal, chat, passage)


def _add(connection: sqlite3.Connection, source: int, ordinal: int, chat: str, passage: Passage) -> None:
    about = (passage.at, chat, bits(passage.texts), bits(passage.strange), "\n".join(passage.speakers))
    id_ = connection.execute(
        "INSERT INTO passages (source, ordinal, at, chat, roles, strange, speakers) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (source, ordinal, *about),
    ).lastrowid
    texts = [passage.texts.get(role) for role in ROLES]
    connection.execute("INSERT INTO texts VALUES (?, ?, ?, ?, ?)", (id_, *texts))
    connection.execute(
        "INSERT INTO words (rowid, person, assistant, tool, history) VALUES (?, ?, ?, ?, ?)", (id_, *map(_words, texts))
    )


def remove(connection: sqlite3.Connection, ids: Iterable[int]) -> None:
    for id_ in ids:
        texts = connection.execute(_TEXTS, (id_,)).fetchone()
        if texts is None:
            raise missing(id_)
        connection.execute(
            "INSERT INTO words (words, rowid, person, assistant, tool, history) VALUES ('delete', ?, ?, ?, ?, ?)",
            (id_, *map(_words, texts)),
        )
        connection.execute("DELETE FROM texts WHERE id = ?", (id_,))
        connection.execute("DELETE FROM passages WHERE id = ?", (id_,))


def missing(id_: int) -> sqlite3.DatabaseError:
    """A table has a passage that another one has not: the file is damaged."""
    return sqlite3.DatabaseError(f"passage {id_} is not there")


def _words(text: str | None) -> str | None:
    return None if text is None else words.indexed(text)
