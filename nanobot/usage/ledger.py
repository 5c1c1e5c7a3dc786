"""The ledger of model calls: `usage.db`. Its functions block, and may be called from any thread and in several processes.

A call has a name (session, kind, turn, step) and is booked once, however often it is reported: by the house that made it, and
again from the journals (journals.py), which is how what a crash took is made up for, and how a lost ledger comes back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import attrs
from loguru import logger

from nanobot.database import Database
from nanobot.errors import StoreUnusable
from nanobot.messages import Usage
from nanobot.usage.spent import Kind, Spent, is_background

SCHEMA = (
    """
    CREATE TABLE spent (
        session TEXT NOT NULL, kind TEXT NOT NULL, turn INTEGER NOT NULL, step INTEGER NOT NULL,
        at REAL NOT NULL, model TEXT NOT NULL, principal TEXT NOT NULL, job TEXT NOT NULL,
        input INTEGER NOT NULL, output INTEGER NOT NULL, cached INTEGER NOT NULL,
        PRIMARY KEY (session, kind, turn, step)
    ) WITHOUT ROWID;
    CREATE INDEX spent_at ON spent (at);
    CREATE TABLE read_to (session TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
    CREATE TABLE told (cap TEXT NOT NULL, period TEXT NOT NULL, PRIMARY KEY (cap, period)) WITHOUT ROWID;
    """,
)
DAMAGED = "malformed"
"""What SQLite says where it cannot even look."""
_SUMS = """
SELECT session, kind, model, principal, job, COUNT(*), SUM(input), SUM(output), SUM(cached) FROM spent
WHERE at >= ? AND at < ? GROUP BY session, kind, model, principal, job
"""


@attrs.frozen
class Sum:
    """Calls that have all of this in common."""

    session: str
    kind: Kind
    model: str
    principal: str
    job: str
    calls: int
    usage: Usage

    @property
    def background(self) -> bool:
        return is_background(self.kind, self.job)

    @property
    def tokens(self) -> int:
        return self.usage.input + self.usage.output


def sum_of(spent: Spent) -> Sum:
    """Of one call."""
    return Sum(spent.session, spent.kind, spent.model, spent.principal, spent.job, 1, spent.usage)


class Ledger:
    """See the module. Every function raises StoreUnusable."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, SCHEMA, rebuildable=True)

    def check(self) -> None:
        """Put a damaged file aside; a new one is made from the journals then."""
        try:
            with self._database.reading() as connection:
                [found] = connection.execute("PRAGMA quick_check(1)").fetchone()
        except StoreUnusable as exc:
            if DAMAGED not in str(exc):
                raise
            found = DAMAGED
        if found != "ok":
            self._set_aside(str(found))

    def book(self, calls: Iterable[Spent], read_to: Mapping[str, float] = {}) -> None:
        """`read_to`: the journals of these sessions are booked up to these times, in seconds since the epoch."""
        rows = [_row(call) for call in calls]
        with self._database.transaction() as connection:
            connection.executemany("INSERT OR IGNORE INTO spent VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
            connection.executemany("INSERT OR REPLACE INTO read_to VALUES (?, ?)", read_to.items())

    def read_to(self) -> dict[str, float]:
        with self._database.reading() as connection:
            return dict(connection.execute("SELECT session, at FROM read_to").fetchall())

    def sums(self, since: float, until: float) -> tuple[Sum, ...]:
        """Of the calls in [since, until), in seconds since the epoch."""
        with self._database.reading() as connection:
            rows = connection.execute(_SUMS, (since, until)).fetchall()
        return tuple(Sum(s, Kind(k), m, p, j, n, Usage(i, o, c)) for s, k, m, p, j, n, i, o, c in rows)

    def told(self) -> set[tuple[str, str]]:
        """The caps of which the owner was told, and for which period."""
        with self._database.reading() as connection:
            return {(cap, period) for cap, period in connection.execute("SELECT cap, period FROM told")}

    def tell(self, told: Iterable[tuple[str, str]]) -> None:
        with self._database.transaction() as connection:
            connection.executemany("INSERT OR IGNORE INTO told VALUES (?, ?)", list(told))

    def sweep(self, before: float) -> int:
        """Forget the calls before that time; returns how many there were."""
        with self._database.transaction() as connection:
            return connection.execute("DELETE FROM spent WHERE at < ?", (before,)).rowcount

    def close(self) -> None:
        self._database.close()

    def _set_aside(self, why: str) -> None:
        self.close()
        path = self._database.path
        aside = path.with_name(f"{path.name}.damaged")
        try:
            path.replace(aside)
        except OSError as exc:
            raise StoreUnusable(f"{path} is damaged ({why}) and cannot be put aside: {exc.strerror}") from exc
        logger.warning("{} is damaged ({}) and was put aside; a new one is made from the journals", path, why)


def _row(call: Spent) -> tuple[object, ...]:
    key = (call.session, call.kind.value, call.turn, call.step)
    usage = call.usage
    return (*key, call.at, call.model, call.principal, call.job, usage.input, usage.output, usage.cached)
