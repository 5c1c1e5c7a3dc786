"""One pass over the sources, by which the index becomes what they are. Blocks, for as long as it is given.

Sessions are read a segment at a time, the newest conversation first; between two commits another process may have read on, so
each step asks the tables anew how far it is. A pass that has no more time leaves a session half read: who asks then must leave
out what it has of it, for a later segment may say that some of it was undone.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Mapping
from datetime import tzinfo

import attrs

from nanobot.database import Database
from nanobot.errors import JournalDamaged, JournalError, JournalTooNew
from nanobot.memory import tables
from nanobot.memory.passages import of_exchange, of_history
from nanobot.memory.port import HISTORY
from nanobot.memory.sources import Folder, Sources
from nanobot.memory.tables import State

QUANTUM_S = 0.5
"""Seconds between commits: as long another process waits that searches, too."""


@attrs.define
class Refresh:
    """See the module. `run` once."""

    _db: Database
    _sources: Sources
    _zone: tzinfo | None
    _clock: Callable[[], float]
    _forgot: bool = attrs.field(default=False, init=False)
    """Something was deleted for good."""

    def run(self, seconds: float) -> tuple[str, ...]:
        """Until all is read or the time is up, but for a step at least. Names of sources that were not reached.

        Raises: StoreUnusable. JournalError if the journals cannot be listed.
        """
        until = self._clock() + seconds
        folders = {folder.name: folder for folder in self._sources.folders()}
        with self._db.reading() as connection:
            known = tables.states(connection)
        self._forget([state for name, state in known.items() if name not in folders and name != HISTORY])
        self._read_history(known.get(HISTORY))
        changed = sorted((f for f in folders.values() if not _is_read(f, known)), key=lambda f: f.changed_at)
        while changed:
            self._some(changed, min(until, self._clock() + QUANTUM_S))
            if self._clock() >= until:
                break
        if self._forgot:
            with self._db.transaction() as connection:
                tables.purge(connection)
        return tuple(folder.name for folder in changed)

    def _forget(self, gone: list[State]) -> None:
        """Sessions whose folder is no longer there."""
        if gone:
            with self._db.transaction() as connection:
                for state in gone:
                    self._forgot = tables.drop(connection, state.id) or self._forgot
                    connection.execute("DELETE FROM sources WHERE id = ?", (state.id,))

    # --- sessions

    def _some(self, changed: list[Folder], until: float) -> None:
        """One transaction: a step at least, from the end of `changed`. What is up to date is taken off."""
        with self._db.transaction() as connection:
            while changed:
                if self._step(connection, changed[-1]):
                    changed.pop()
                if self._clock() >= until:
                    break

    def _step(self, connection: sqlite3.Connection, folder: Folder) -> bool:
        """Read the next segment that is to be read, if there is one; whether none comes after it."""
        state = tables.state(connection, folder.name)
        if state.number > folder.numbers[-1]:  # another journal stands in its place
            self._forgot = tables.drop(connection, state.id) or self._forgot
            state = attrs.evolve(state, number=-1)
        number = self._next(folder, state)
        if number is None:
            return True
        live = number == folder.numbers[-1]
        stamp = folder.stamp if live else self._sources.stamp(folder.name, number)
        if not self._segment(connection, state, number):
            return True
        connection.execute("UPDATE sources SET number = ?, stamp = ? WHERE id = ?", (number, stamp, state.id))
        return live

    def _next(self, folder: Folder, state: State) -> int | None:
        """The last that was read, if it has grown since; else the one after it."""
        if state.number in folder.numbers:
            live = state.number == folder.numbers[-1]
            if state.stamp != (folder.stamp if live else self._sources.stamp(folder.name, state.number)):
                return state.number
        return next((number for number in folder.numbers if number > state.number), None)

    def _segment(self, connection: sqlite3.Connection, state: State, number: int) -> bool:
        """Whether it was read, as far as it ever will be."""
        source = state.id
        try:
            piece = self._sources.segment(state.name, number)
        except JournalDamaged as exc:
            tables.note(connection, source, number, str(exc))
            return True
        except (JournalTooNew, JournalError) as exc:
            tables.note(connection, source, number, str(exc))
            return False
        if piece is None:
            return True
        if piece.forget and number != state.number:  # else what is there was said after the deletion
            self._forgot = tables.drop(connection, source) or self._forgot
        connection.execute("UPDATE sources SET key = ? WHERE id = ?", (piece.key, source))
        tables.note(connection, source, number, "; ".join(piece.troubles))
        there = tables.passages(connection, source, min(piece.exchanges, default=piece.count or 0))
        if piece.count is not None:
            tables.remove(connection, [id_ for n, (id_, _) in there.items() if n >= piece.count and n not in piece.exchanges])
        new = {ordinal: (piece.key, of_exchange(exchange)) for ordinal, exchange in piece.exchanges.items()}
        tables.put(connection, source, new, there)
        return True

    # --- HISTORY.md

    def _read_history(self, before: State | None) -> None:
        stamp = self._sources.history_stamp()
        if stamp == ("" if before is None else before.stamp):
            return
        with self._db.transaction() as connection:
            state = tables.state(connection, HISTORY)
            try:
                data, trouble = self._sources.history(), ""
            except OSError as exc:
                data, trouble = b"", f"{HISTORY} cannot be read: {exc.strerror or exc}"
            tables.note(connection, state.id, 0, trouble)
            state = self._history(connection, state, data)
            connection.execute(
                "UPDATE sources SET stamp = ?, number = ?, offset = ?, digest = ? WHERE id = ?",
                (stamp, state.number, state.offset, state.digest, state.id),
            )

    def _history(self, connection: sqlite3.Connection, state: State, data: bytes) -> State:
        """From the last entry that is known on where only more has come behind it; else all of it."""
        if _digest(data, state.offset) != state.digest:
            state = attrs.evolve(state, number=0, offset=0)
        text = data[state.offset :].decode("utf-8", "replace")
        entries = list(of_history(text, self._zone))
        there = tables.passages(connection, state.id, state.number)
        new = {state.number + place: (entry.chat, entry.passage) for place, entry in enumerate(entries)}
        tables.remove(connection, [id_ for ordinal, (id_, _) in there.items() if ordinal not in new])
        tables.put(connection, state.id, new, there)
        if not entries:
            return attrs.evolve(state, number=0, offset=0, digest="")
        offset = state.offset + len(text[: entries[-1].start].encode("utf-8"))
        return attrs.evolve(state, number=state.number + len(entries) - 1, offset=offset, digest=_digest(data, offset))


def _is_read(folder: Folder, known: Mapping[str, State]) -> bool:
    state = known.get(folder.name)
    return state is not None and (state.number, state.stamp) == (folder.numbers[-1], folder.stamp)


def _digest(data: bytes, end: int) -> str:
    return hashlib.sha256(data[:end]).hexdigest()
