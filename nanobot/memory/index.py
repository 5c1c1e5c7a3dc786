"""What was ever said, to be found by its words: HISTORY.md and the conversations of all sessions. Every function blocks.

The index is a copy in `search.db` and never the truth: each search first looks at what has changed since the last one and
brings it up to date, for `REFRESH_S` at most; then it answers from what is true now. What it had no time for is left out of the
answer, and the answer says so (`Found.unread`); the next search goes on from there. So what was deleted or undone is never
found. A file that is missing or damaged is made anew, and gives the same answers. Reading takes no lock of a session: chats that
are under way are not disturbed.

Beside each passage its texts are kept, for excerpts; how much of an exchange that is, `passages.py` bounds.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from datetime import tzinfo
from pathlib import Path
from typing import TypeVar

import attrs

from nanobot.archive.reading import short
from nanobot.config.paths import Places
from nanobot.config.schema import Config
from nanobot.database import Database
from nanobot.errors import StoreUnusable
from nanobot.memory import tables, words
from nanobot.memory.excerpts import excerpt
from nanobot.memory.passages import Passage, Role
from nanobot.memory.port import HISTORY, zone_named
from nanobot.memory.refresh import Refresh
from nanobot.memory.sources import Sources
from nanobot.memory.tables import ROLES, SCHEMA
from nanobot.memory.words import Search
from nanobot.messages import SessionKey

REFRESH_S = 8.0
"""Seconds that a search spends on reading what is new, but for the last step. Who waits for an answer waits no longer."""
MOST_HITS = 50
WEIGHTS = {Role.PERSON: 1.0, Role.ASSISTANT: 1.0, Role.TOOL: 0.3, Role.HISTORY: 1.5}
"""Of a word, by where it stands: an entry of the history was written to be found, a tool's result was not."""
_NOT_CURED = frozenset(
    [
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
    ]
)
"""Errors after which a new file would be no better."""

T = TypeVar("T")


@attrs.frozen
class Scope:
    """What may be found."""

    session: str | None = None
    """Only what people and the assistant said in this session, by its key; None: everything."""

    @property
    def roles(self) -> tuple[Role, ...]:
        return ROLES if self.session is None else (Role.PERSON, Role.ASSISTANT)


EVERYTHING = Scope()


@attrs.frozen
class Query:
    """What is looked for. Empty words: the newest that the rest fits."""

    words: str = ""
    after: float | None = None
    before: float | None = None
    """Seconds since the epoch: at or after, and before."""
    chat: str | None = None
    """Key of a session."""
    role: Role | None = None
    most: int = 10


@attrs.frozen
class Hit:
    """A passage that was found."""

    id: str
    """For `read`."""
    at: float
    """Seconds since the epoch; 0 where that is not known."""
    chat: str
    """Key of the session; for an entry of the history whose words it tells, empty where they are the owner's own."""
    role: Role
    """Whose words the excerpt is from."""
    speakers: tuple[str, ...]
    """Principals who spoke in it."""
    excerpt: str
    strange: bool
    """The excerpt may hold text of strangers."""


@attrs.frozen
class Found:
    """What there is. `unread`: sources that there was no time for; search again to have them, too."""

    hits: tuple[Hit, ...] = ()
    more: bool = False
    """There are more than were asked for."""
    unread: int = 0
    troubles: tuple[str, ...] = ()
    """What of the sources cannot be read."""


@attrs.frozen
class Whole:
    """A passage with all that is kept of it."""

    id: str
    chat: str
    passage: Passage


@attrs.frozen
class Index:
    """See the module. Opened for each search: cheap, and nothing is held that another process may have replaced."""

    path: Path
    sources: Sources
    zone: tzinfo | None = None
    """Of the times in HISTORY.md; None is the machine's."""
    clock: Callable[[], float] = time.monotonic

    def search(self, query: Query, scope: Scope = EVERYTHING, *, refresh_s: float = REFRESH_S) -> Found:
        """Raises: StoreUnusable. JournalError if the journals cannot be listed."""
        search = words.read(query.words)
        asked = _Asked(query, search, scope, max(1, min(query.most, MOST_HITS)))
        return self._fresh(refresh_s, lambda connection, unread: _found(connection, asked, unread))

    def read(self, id: str, scope: Scope = EVERYTHING, *, refresh_s: float = REFRESH_S) -> Whole | None:
        """What a hit is a part of; None where there is no such thing, or no more. Raises: as `search`."""
        return self._fresh(refresh_s, lambda connection, unread: _whole(connection, id, scope, unread))

    def refresh(self, refresh_s: float = REFRESH_S) -> int:
        """Bring it up to date; how many sources were not reached. Raises: as `search`."""
        return self._fresh(refresh_s, lambda _connection, unread: len(unread))

    # --- inside

    def _fresh(self, refresh_s: float, ask: Callable[[sqlite3.Connection, Sequence[str]], T]) -> T:
        """What is asked of the index when it is up to date, but for the sources that it is told."""
        try:
            return self._once(refresh_s, ask)
        except StoreUnusable as exc:
            if not _is_damage(exc.__cause__):
                raise
        except UnicodeDecodeError:  # of a damaged file even what is wrong with it cannot always be read
            pass
        self._discard(self.path, self.path.with_name(f"{self.path.name}-journal"))
        return self._once(refresh_s, ask)

    def _once(self, refresh_s: float, ask: Callable[[sqlite3.Connection, Sequence[str]], T]) -> T:
        with closing(Database(self.path, SCHEMA, rebuildable=True)) as db:
            unread = Refresh(db, self.sources, self.zone, self.clock).run(refresh_s)
            with db.reading() as connection:
                answer = ask(connection, unread)
        self._discard()
        return answer

    def _discard(self, *files: Path) -> None:
        """And what was put aside because it was damaged: no use to anybody, and it holds what people believe deleted."""
        for file in (*files, *self.path.parent.glob(f"{self.path.name}.damaged-*")):
            with suppress(FileNotFoundError):
                file.unlink()


def index_at(places: Places, config: Config) -> Index:
    """The index of an instance."""
    return Index(places.search, Sources(places.journals, places.workspace(config)), zone_named(config.agents.defaults.timezone))


def _is_damage(cause: BaseException | None) -> bool:
    code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    return isinstance(cause, sqlite3.Error) and code & 0xFF not in _NOT_CURED


# --- the question

_COLUMNS = "s.name, s.key, p.ordinal, p.at, p.chat, p.strange, p.speakers, t.person, t.assistant, t.tool, t.history"
_FROM = "passages p JOIN sources s ON s.id = p.source JOIN texts t ON t.id = p.id"
_Row = tuple[str, str, int, float, str, int, str, str | None, str | None, str | None, str | None]
_Value = str | int | float


@attrs.frozen
class _Asked:
    query: Query
    search: Search
    scope: Scope
    most: int

    @property
    def roles(self) -> tuple[Role, ...]:
        """Whose words are looked at."""
        return tuple(role for role in self.scope.roles if self.query.role in (None, role))


def _found(connection: sqlite3.Connection, asked: _Asked, unread: Sequence[str]) -> Found:
    rows = list(_rows(connection, asked, unread)) if asked.roles else []
    hits = tuple(_hit(row, asked) for row in rows[: asked.most])
    only, values = ("", ()) if asked.scope.session is None else (" WHERE s.key = ?", (asked.scope.session,))
    troubles = connection.execute(f"SELECT t.text FROM troubles t JOIN sources s ON s.id = t.source{only}", values)
    return Found(hits, len(rows) > asked.most, len(unread), tuple(text for (text,) in troubles))


def _rows(connection: sqlite3.Connection, asked: _Asked, unread: Sequence[str]) -> Iterator[_Row]:
    """The best first, of the same worth the newest, and one more than is shown. Sorted by numbers alone: texts come later."""
    where, values = _within(asked.scope, unread)
    for condition, value in _conditions(asked):
        where.append(condition)
        values.append(value)
    if asked.search.wanted:
        weights = ", ".join(str(WEIGHTS[role]) for role in ROLES)
        begin, order = "words JOIN passages p ON p.id = words.rowid", f"round(bm25(words, {weights}), 1), p.at DESC"
    else:
        begin, order = "passages p", "p.at DESC"
    ids = f"SELECT p.id FROM {begin} WHERE {' AND '.join(where)} ORDER BY {order}, p.chat, p.ordinal DESC LIMIT {asked.most + 1}"
    for (id_,) in connection.execute(ids, values).fetchall():
        row: _Row | None = connection.execute(f"SELECT {_COLUMNS} FROM {_FROM} WHERE p.id = ?", (id_,)).fetchone()
        if row is None:
            raise tables.missing(id_)
        yield row


def _conditions(asked: _Asked) -> Iterator[tuple[str, _Value]]:
    query, columns = asked.query, " ".join(asked.roles)
    if asked.search.wanted:
        yield "words MATCH ?", f"{{{columns}}} : ({words.expression(asked.search.wanted, ' AND ')})"
    else:
        yield "p.roles & ?", tables.bits(asked.roles)
    if asked.search.unwanted:
        unwanted = f"{{{columns}}} : ({words.expression(asked.search.unwanted, ' OR ')})"
        yield "p.id NOT IN (SELECT rowid FROM words WHERE words MATCH ?)", unwanted
    if query.after is not None:
        yield "p.at >= ?", query.after
    if query.before is not None:
        yield "p.at < ?", query.before
    if query.chat is not None:
        yield "p.chat = ?", query.chat


def _within(scope: Scope, unread: Sequence[str]) -> tuple[list[str], list[_Value]]:
    """What may be found at all: nothing of a source that is not what it is on disk."""
    where: list[str] = []
    values: list[_Value] = []
    if unread:
        where.append("p.source NOT IN (SELECT id FROM sources WHERE name IN (SELECT value FROM json_each(?)))")
        values.append(json.dumps([*unread]))
    if scope.session is not None:
        where.append("p.source IN (SELECT id FROM sources WHERE key = ? AND name != ?)")
        values += [scope.session, HISTORY]
    return where, values


def _hit(row: _Row, asked: _Asked) -> Hit:
    """With the excerpt in which most of the words stand."""
    cut = {role: excerpt(text, asked.search.wanted) for role, text in tables.texts_of(row[7:], asked.roles).items()}
    role = max(cut, key=lambda role: cut[role].terms)
    strange = role in tables.strange_of(row[5])
    return Hit(_id(row), row[3], row[4], role, tables.speakers_of(row[6]), cut[role].text, strange)


def _id(row: _Row) -> str:
    return f"{'history' if row[0] == HISTORY else short(row[1])}#{row[2]}"


def _whole(connection: sqlite3.Connection, id: str, scope: Scope, unread: Sequence[str]) -> Whole | None:
    source, _, number = id.strip().rpartition("#")
    if not (number.isdecimal() and number.isascii()) or len(number) > 15:
        return None
    with suppress(ValueError):
        source = str(SessionKey.parse(source))
    where, values = _within(scope, unread)
    which = ("s.name = ?", HISTORY) if source == "history" else ("s.key = ?", words.clean(source))
    sql = f"SELECT {_COLUMNS} FROM {_FROM} WHERE {which[0]} AND {' AND '.join(['p.ordinal = ?', *where])}"
    row: _Row | None = connection.execute(sql, (which[1], int(number), *values)).fetchone()
    texts = {} if row is None else tables.texts_of(row[7:], scope.roles)
    if row is None or not texts:
        return None
    passage = Passage(row[3], texts, tables.strange_of(row[5], texts), tables.speakers_of(row[6]))
    return Whole(_id(row), row[4], passage)
