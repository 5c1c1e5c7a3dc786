"""What became of scheduled work: `<data>/cron/runs.db`.

A slot is *committed* when its record is here, before anything is delivered: (job, slot) is unique on disk, so that no slot runs
twice whatever happens to process, clock and file of jobs. What falls due together is committed together. For each job stands
beside the history how far its slots are settled (`Head`); that stays as long as the job does, the history is bounded.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

import attrs

from nanobot.database import Database
from nanobot.scheduler.jobs import JobId, Outcome, Run, Slot

HISTORY = 1000
"""Records that a job keeps: an hourly one for six weeks; 10,000 jobs make a file of a gigabyte at the very most."""
GONE_KEEP_MS = 30 * 86_400_000
"""Milliseconds that the records of a removed job are kept: it may come back, by hand or from a copy."""
SCHEMA = (
    """
    CREATE TABLE heads (job TEXT PRIMARY KEY, committed INTEGER NOT NULL, floor INTEGER NOT NULL, shape TEXT NOT NULL,
        gone INTEGER) WITHOUT ROWID;
    CREATE TABLE runs (job TEXT NOT NULL, slot INTEGER NOT NULL, outcome TEXT NOT NULL, due INTEGER NOT NULL, started INTEGER,
        ended INTEGER, tokens INTEGER NOT NULL, error TEXT NOT NULL, by_hand INTEGER NOT NULL,
        session TEXT NOT NULL, PRIMARY KEY (job, slot)) WITHOUT ROWID;
    CREATE INDEX open_runs ON runs (job, slot) WHERE outcome = 'running';
    """,
)
_RUN = "job, slot, outcome, due, started, ended, tokens, error, by_hand, session"


@attrs.frozen
class Head:
    """How far the slots of a job are settled."""

    committed: Slot
    """All up to this one, which need not be a slot of it."""
    floor_ms: int = 0
    """When its schedule was made what it is: slots before that are none."""
    shape: str = ""
    """The schedule that this speaks of."""

    @property
    def after(self) -> Slot:
        """The next slot comes after this."""
        return Slot(max(self.committed, self.floor_ms))


@attrs.define(eq=False)
class Runs(Database):
    """See the module. `Runs(places.runs)`; every method blocks. Raises: StoreUnusable, each of them."""

    schema: Sequence[str] = SCHEMA

    # --- for everybody

    def of(self, job: str, most: int) -> list[Run]:
        """The newest of a job, the newest first."""
        with self.reading() as db:
            rows = db.execute(f"SELECT {_RUN} FROM runs WHERE job = ? ORDER BY slot DESC LIMIT ?", (job, most))
            return list(map(_run, rows))

    def newest(self, most: int) -> list[Run]:
        """Of all jobs, those that were removed too, the newest first."""
        with self.reading() as db:
            return list(map(_run, db.execute(f"SELECT {_RUN} FROM runs ORDER BY slot DESC, job LIMIT ?", (most,))))

    def last(self, jobs: Iterable[str]) -> dict[JobId, Run]:
        """The newest of each that has one."""
        query = f"SELECT {_RUN} FROM runs WHERE job = ? ORDER BY slot DESC LIMIT 1"
        with self.reading() as db:
            found = [row for job in jobs for row in db.execute(query, (job,))]
        return {run.job: run for run in map(_run, found)}

    def committed(self, job: str) -> Slot | None:
        """Up to where the slots of a job are settled; None for a job that the service has not seen yet."""
        with self.reading() as db:
            row = db.execute("SELECT max(committed, floor) FROM heads WHERE job = ?", (job,)).fetchone()
            return None if row is None else Slot(row[0])

    # --- for the service

    def heads(self) -> dict[JobId, Head]:
        """Of all jobs, those that were removed left out."""
        with self.reading() as db:
            rows = db.execute("SELECT job, committed, floor, shape FROM heads WHERE gone IS NULL")
            return {JobId(job): Head(Slot(committed), floor, shape) for job, committed, floor, shape in rows}

    def settle(self, heads: Mapping[JobId, Head], gone: Iterable[JobId], now_ms: int) -> dict[JobId, Head]:
        """Jobs are new, have another schedule, or were removed. Returns the heads that count now.

        One that comes back goes on behind what was committed then.
        """
        with self.transaction() as db:
            db.executemany(
                "INSERT INTO heads VALUES (?, ?, ?, ?, NULL) ON CONFLICT (job) DO UPDATE SET"
                " committed = max(committed, excluded.committed), floor = excluded.floor, shape = excluded.shape, gone = NULL",
                [(job, head.committed, head.floor_ms, head.shape) for job, head in heads.items()],
            )
            db.executemany("UPDATE heads SET gone = ? WHERE job = ? AND gone IS NULL", [(now_ms, job) for job in gone])
            return {job: _head(db, job) for job in heads}

    def set_back(self, heads: Mapping[JobId, Head]) -> None:
        """The clock was wrong: these count. What has run has its record, and does not run again."""
        rows = [(head.committed, head.floor_ms, job) for job, head in heads.items()]
        with self.transaction() as db:
            db.executemany("UPDATE heads SET committed = ?, floor = ? WHERE job = ?", rows)

    def commit(self, runs: Sequence[Run], heads: Mapping[JobId, Slot]) -> list[Run]:
        """Record slots and how far they are settled, all or none; returns those that were not here yet."""
        with self.transaction() as db:
            fresh = [run for run in runs if _insert(db, run)]
            db.executemany(
                "UPDATE heads SET committed = max(committed, ?) WHERE job = ?", [(slot, job) for job, slot in heads.items()]
            )
            for job in {run.job for run in fresh}:
                db.execute(
                    "DELETE FROM runs WHERE job = ?1 AND outcome != 'running' AND slot <="
                    " (SELECT slot FROM runs WHERE job = ?1 ORDER BY slot DESC LIMIT 1 OFFSET ?2)",
                    (job, HISTORY),
                )
            return fresh

    def open(self) -> list[Run]:
        """Those that are not over."""
        with self.reading() as db:
            return list(map(_run, db.execute(f"SELECT {_RUN} FROM runs WHERE outcome = 'running' ORDER BY slot, job")))

    def book(self, runs: Iterable[Run]) -> None:
        """What is known of them now; one that is over stays as it was."""
        with self.transaction() as db:
            db.executemany(
                "UPDATE runs SET outcome = ?, started = ?, ended = ?, tokens = ?, error = ?"
                " WHERE job = ? AND slot = ? AND outcome = 'running'",
                [(run.outcome.value, run.started_ms, run.ended_ms, run.tokens, run.error, run.job, run.slot) for run in runs],
            )

    def sweep(self, now_ms: int) -> None:
        """Forget jobs that were removed long ago."""
        with self.transaction() as db:
            old = [row[0] for row in db.execute("SELECT job FROM heads WHERE gone < ?", (now_ms - GONE_KEEP_MS,))]
            for table in ("runs", "heads"):
                db.executemany(f"DELETE FROM {table} WHERE job = ?", [(job,) for job in old])


def _insert(db: sqlite3.Connection, run: Run) -> bool:
    marks = ", ".join("?" * 10)
    row = attrs.astuple(attrs.evolve(run, outcome=run.outcome.value))  # type: ignore[arg-type]
    return db.execute(f"INSERT OR IGNORE INTO runs ({_RUN}) VALUES ({marks})", row).rowcount == 1


def _head(db: sqlite3.Connection, job: JobId) -> Head:
    committed, floor, shape = db.execute("SELECT committed, floor, shape FROM heads WHERE job = ?", (job,)).fetchone()
    return Head(Slot(committed), floor, shape)


def _run(row: Sequence[object]) -> Run:
    job, slot, outcome, due, started, ended, tokens, error, by_hand, session = row
    return Run(job, slot, Outcome(outcome), due, started, ended, tokens, error, bool(by_hand), session)  # type: ignore[arg-type]
