"""Small SQLite databases of ours: one file each, safe against kills and power cuts, shared by processes.

A database is opened when it is first used, brought to its newest schema, and used in transactions that are there wholly or not
at all. Its methods block: call them in a thread. Everything that goes wrong with the file is a `StoreUnusable`; one that is
damaged stays as it is, unless its owner can make it anew from elsewhere and says so (`rebuildable`): then it is put aside.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs

from nanobot.config.paths import made
from nanobot.errors import StoreUnusable

BUSY_S = 10.0
"""Seconds to wait for another process that writes: ours hold the file for milliseconds."""
PRAGMAS = "PRAGMA journal_mode=DELETE; PRAGMA synchronous=EXTRA; PRAGMA foreign_keys=ON; PRAGMA trusted_schema=OFF;"
"""EXTRA syncs the folder, too: what was committed is there after a power cut (sqlite.org/pragma.html#pragma_synchronous)."""
_DAMAGED = ("malformed", "not a database", "disk image")


@attrs.define(eq=False)
class Database:
    """See the module. `schema[n]` is the script that leads from version n to n + 1; no script that was released is changed."""

    path: Path
    schema: Sequence[str]
    rebuildable: bool = False
    _lock: threading.RLock = attrs.field(factory=threading.RLock, init=False)
    _connection: sqlite3.Connection | None = attrs.field(default=None, init=False)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The one writer of the file until the block ends; an exception undoes what was done. Raises: StoreUnusable."""
        with self._lock:
            try:
                connection = self._opened()
                connection.execute("BEGIN IMMEDIATE")
            except (sqlite3.Error, OSError) as exc:
                raise self._unusable(exc) from exc
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException as exc:
                self._undo(connection)
                if isinstance(exc, sqlite3.Error):
                    raise self._unusable(exc) from exc
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """What is there now, the same for the whole block. Raises: StoreUnusable."""
        with self._lock:
            try:
                connection = self._opened()
                connection.execute("BEGIN")
                try:
                    yield connection
                finally:
                    self._undo(connection)
            except (sqlite3.Error, OSError) as exc:
                raise self._unusable(exc) from exc

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    # --- inside

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            try:
                self._connection = self._open()
            except sqlite3.DatabaseError as exc:
                if not (self.rebuildable and _is_damage(exc)):
                    raise
                os.replace(self.path, self.path.with_name(f"{self.path.name}.damaged-{int(time.time())}"))
                self._connection = self._open()
        return self._connection

    def _open(self) -> sqlite3.Connection:
        made(self.path.parent)
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            connection.executescript(PRAGMAS)
            self._bring_up(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _bring_up(self, connection: sqlite3.Connection) -> None:
        if _version(connection) > len(self.schema):
            raise StoreUnusable(f"{self.path} was written by a later version of nanobot; install that one to use it")
        while (version := _version(connection)) < len(self.schema):
            script = f"BEGIN IMMEDIATE; {self.schema[version]}; PRAGMA user_version={version + 1}; COMMIT;"
            try:
                connection.executescript(script)
            except sqlite3.Error:
                self._undo(connection)
                if _version(connection) == version:  # nobody else has done it meanwhile
                    raise

    def _undo(self, connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            connection.execute("ROLLBACK")

    def _unusable(self, exc: Exception) -> Exception:
        if isinstance(exc, sqlite3.Error | OSError):
            self.close()  # opened anew the next time, when what is wrong may be put right
            return StoreUnusable(f"{self.path} cannot be used: {exc}")
        return exc


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _is_damage(exc: sqlite3.DatabaseError) -> bool:
    return any(word in str(exc) for word in _DAMAGED)
