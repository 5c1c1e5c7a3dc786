"""The jobs, in one file that people, commands and the assistant may all edit: `<data>/cron/jobs.json` (shape.py).

* It is replaced in one step, by one writer at a time: an edit holds the lock file beside it, reads what is there, changes that
  and writes. So no edit of the command line, of the assistant and of the service undoes another.
* Entries that cannot be read (no schedule, an id that is taken) are named in `trouble`, left out, and stay as they are.
* A file that is no JSON is never written over. An edit refuses; the service puts it aside under its own name and the time
  (`set_aside`), and writes what it had. One of a later version is left alone.

Reading changes nothing. Everything here blocks.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import attrs

from nanobot.config.durable import replace
from nanobot.config.paths import made
from nanobot.errors import InUse, StoreUnusable
from nanobot.scheduler import slots
from nanobot.scheduler.jobs import Job, JobId, Schedule
from nanobot.scheduler.shape import VERSION, BadJob, State, job_of, row_of, with_state
from nanobot.wire import Json, JsonObject

MOST_BYTES = 64 * 2**20
"""Of the file: a hundred thousand jobs. More is no list of jobs, and is not read into memory."""
MOST_JOBS = 10_000
LOCK_S = 10.0
"""Seconds to wait for another writer: ours hold the lock for milliseconds."""
LOOK_S = 0.01
NAMED = 3
"""Entries that a sentence names; `nanobot cron list` has the rest."""
READABLE_JOBS = 500
"""Up to so many the file is laid out for people; more stand one a line, which is written ten times as fast."""

ASIDE = ".corrupt-"

Stamp = tuple[int, int, int] | None
"""Of the file on disk: inode, time, size; None where there is none."""


class JobsDamaged(StoreUnusable):
    """The file is no JSON, or not a list of jobs."""


@attrs.frozen
class Found:
    """What the file holds."""

    jobs: tuple[Job, ...] = ()
    trouble: str = ""
    stamp: Stamp = None
    root: JsonObject = attrs.field(factory=dict, repr=False)
    """The whole of it."""
    entries: tuple[tuple[Json, JobId | None], ...] = attrs.field(default=(), repr=False)
    """In order, with the jobs that they are."""

    kept: tuple[str, ...] = ()
    """Names of damaged files that were put aside."""

    @property
    def by_id(self) -> dict[JobId, Job]:
        return {job.id: job for job in self.jobs}

    @property
    def rows(self) -> dict[JobId, JsonObject]:
        """The entries that are jobs."""
        return {id: row for row, id in self.entries if id is not None and isinstance(row, dict)}

    @property
    def edited_ms(self) -> int:
        """When the file was written."""
        return 0 if self.stamp is None else self.stamp[1] // 1_000_000


@attrs.define(eq=False)
class JobStore:
    """See the module. `path` is `Places.jobs`."""

    path: Path
    most: int = MOST_JOBS
    """Jobs that there may be: `gateway.cron.mostJobs`."""
    clock: Callable[[], float] = time.time
    """Seconds since the epoch."""
    trouble: str = attrs.field(default="", init=False)
    """What was wrong when the file was read last, for people; empty if nothing."""

    def read(self) -> tuple[Job, ...]:
        """The jobs, in the order of the file. Raises: StoreUnusable."""
        return self.look().jobs

    def look(self) -> Found:
        """What is there, with the stamp of what was read. Raises: StoreUnusable, JobsDamaged among them."""
        try:
            found = self._load()
        except StoreUnusable as exc:
            self.trouble = str(exc)
            raise
        self.trouble = found.trouble
        return found

    def stamp(self) -> Stamp:
        """Another than before when the file has changed. Raises: nothing."""
        try:
            return _stamp(os.stat(self.path))
        except OSError:
            return None

    def edit(self, change: Callable[[tuple[Job, ...]], tuple[Job, ...]]) -> tuple[Job, ...]:
        """Change the jobs, whoever else does: `change` is given what is there and returns what should be.

        A job that differs gets the time of the edit. Raises: StoreUnusable, BadSchedule, BadJob, with nothing changed.
        """
        with self._alone():
            found, now = self.look(), int(self.clock() * 1000)
            rows = found.rows
            before = {job.id: job for job in found.jobs}
            after = [job if job == before.get(job.id) else _dated(job, before.get(job.id), now) for job in change(found.jobs)]
            self._check(after, before)
            if list(before.values()) != after:
                self._write(found, {job.id: row_of(job, rows.get(job.id)) for job in after})
            return tuple(after)

    def tell(self, states: Mapping[JobId, State], gone: Collection[JobId] = ()) -> tuple[Stamp, Stamp]:
        """Write what is told of the jobs' runs, and take out those that are done with.

        Returns the stamps of what was there and of what is there now. Raises: StoreUnusable.
        """
        with self._alone():
            found = self.look()
            before = found.rows
            rows = {id: row for id, row in before.items() if id not in gone}
            told = {id: with_state(row, states[id]) if id in states else row for id, row in rows.items()}
            if told != before:
                self._write(found, told)
            return found.stamp, self.stamp()

    def set_aside(self, jobs: tuple[Job, ...]) -> Path | None:
        """Keep a damaged file under a name of its own and write these jobs in its place; returns where it is kept.

        None if it is not damaged any more. Raises: StoreUnusable.
        """
        with self._alone():
            try:
                self.look()
            except JobsDamaged:
                kept = self.path.with_name(f"{self.path.name}{ASIDE}{time.strftime('%Y%m%d-%H%M%S', time.gmtime(self.clock()))}")
                while kept.exists():
                    kept = kept.with_name(f"{kept.name}+")
                os.rename(self.path, kept)
                self._write(Found(), {job.id: row_of(job) for job in jobs})
                return kept
            return None

    def begin(self, earlier: Path | None = None, suspect: Callable[[Path], bool] = lambda _path: False) -> str:
        """Make the file where there is none: a copy of `earlier`, HKUDS/nanobot's in the workspace, which stays as it is.

        After that nothing is ever taken from there again, because the assistant can write there. `suspect`: whether a file
        holds text of strangers; its jobs do, too, then. Returns what the owner should know of it, empty for nothing.

        Raises: StoreUnusable.
        """
        with self._alone():
            if self.stamp() is not None:
                return ""
            old, said = Found(), ""
            try:
                old = old if earlier is None else JobStore(earlier, self.most, self.clock).look()
            except StoreUnusable as exc:
                said = f"Scheduled work of HKUDS/nanobot was not taken over. {exc}"
            if old.jobs:
                said = f"Scheduled work was taken over from {earlier}, {len(old.jobs)} in number. See: nanobot cron list"
            tainted = earlier is not None and bool(old.jobs) and suspect(earlier)
            rows, jobs = old.rows, (attrs.evolve(job, tainted=job.tainted or tainted) for job in old.jobs)
            self._write(old, {job.id: row_of(job, rows[job.id]) for job in jobs})
            return said

    # --- inside

    def _load(self) -> Found:
        try:
            with open(self.path, "rb", opener=_without_waiting) as file:
                found = os.fstat(file.fileno())
                if not stat.S_ISREG(found.st_mode):
                    raise StoreUnusable(f"{self.path} is no file; move it away")
                stamp = _stamp(found)
                data = file.read(MOST_BYTES + 1)
        except FileNotFoundError:
            return Found()
        except OSError as exc:
            raise StoreUnusable(f"{self.path} cannot be read: {exc.strerror}") from exc
        if len(data) > MOST_BYTES:
            raise StoreUnusable(f"{self.path} has more than {MOST_BYTES // 2**20} MiB and is not read; move it away")
        return self._found(_root(self.path, data), stamp)

    def _found(self, root: JsonObject, stamp: Stamp) -> Found:
        jobs: dict[JobId, Job] = {}
        entries: list[tuple[Json, JobId | None]] = []
        wrong: list[str] = []
        rows = root.get("jobs", [])
        assert isinstance(rows, list)
        for number, row in enumerate(rows, 1):
            try:
                job = _checked(row, jobs, self.most)
            except (BadJob, slots.BadSchedule) as exc:
                wrong.append(f"entry {number} is left out: {exc}")
                entries.append((row, None))
            else:
                jobs[job.id] = job
                entries.append((row, job.id))
        more = f"; {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        trouble = f"{self.path}: {'; '.join(wrong[:NAMED])}{more}" if wrong else ""
        kept = tuple(sorted(file.name for file in self.path.parent.glob(f"{self.path.name}{ASIDE}*")))
        return Found(tuple(jobs.values()), trouble, stamp, root, tuple(entries), kept)

    def _check(self, after: list[Job], before: Mapping[JobId, Job]) -> None:
        if len({job.id for job in after}) < len(after):
            raise StoreUnusable("two jobs cannot have one id")
        if len(after) > max(self.most, len(before)):
            raise StoreUnusable(f"there may be {self.most} jobs (gateway.cron.mostJobs); remove some first: nanobot cron list")
        for job in after:
            if job != before.get(job.id):
                slots.check(job.schedule)
                job_of(row_of(job))

    def _write(self, found: Found, rows: Mapping[JobId, JsonObject]) -> None:
        """In the order that was; entries that are no jobs stay, new ones come last. Raises: StoreUnusable."""
        there = {id for _, id in found.entries}
        jobs: list[Json] = [row if id is None else rows[id] for row, id in found.entries if id is None or id in rows]
        jobs += [row for id, row in rows.items() if id not in there]
        root: JsonObject = {**found.root, "version": VERSION, "jobs": jobs}
        text = _text(root, jobs)
        if len(text) > MOST_BYTES:
            raise StoreUnusable(
                f"{self.path} would have more than {MOST_BYTES // 2**20} MiB; say less in each job, or remove some"
            )
        try:
            replace(self.path, text)
        except OSError as exc:
            raise StoreUnusable(f"{self.path} cannot be written: {exc.strerror}") from exc

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """The one writer. Raises: StoreUnusable."""
        try:
            made(self.path.parent)
            handle = os.open(self.path.with_name("jobs.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as exc:
            raise StoreUnusable(f"{self.path} cannot be written: {exc.strerror}") from exc
        try:
            _lock(handle, self.path)
            yield
        finally:
            os.close(handle)


def _lock(handle: int, path: Path) -> None:
    until = time.monotonic() + LOCK_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            if time.monotonic() > until:
                raise StoreUnusable(str(InUse(str(path), None))) from exc
            time.sleep(LOOK_S)
        else:
            return


def _without_waiting(path: str, flags: int) -> int:
    """A pipe in its place would hold us for ever."""
    return os.open(path, flags | os.O_NONBLOCK)


def _root(path: Path, data: bytes) -> JsonObject:
    """Raises: JobsDamaged, StoreUnusable."""
    try:
        root = json.loads(data.decode("utf-8-sig"), parse_constant=str)  # NaN becomes a text, which is no number
    except (ValueError, RecursionError) as exc:
        raise JobsDamaged(f"{path} is damaged: {exc}. Put it right, or move it away") from exc
    if not isinstance(root, dict) or not isinstance(root.get("jobs", []), list):
        raise JobsDamaged(f'{path} is damaged: it is no object with a list "jobs". Put it right, or move it away')
    match root.get("version", VERSION):
        case int() as version if version > VERSION:
            raise StoreUnusable(f"{path} was written by a later version of nanobot; it was left untouched. Update nanobot")
    return root


@lru_cache(maxsize=16_384)
def _check_schedule(schedule: Schedule) -> None:
    """Once for each: expressions are long to read. Raises: BadSchedule."""
    slots.check(schedule)


def _checked(row: Json, ids: Collection[str], most: int) -> Job:
    """Raises: BadJob, BadSchedule."""
    job = job_of(row)
    if job.id in ids:
        raise BadJob(f"another has the id {job.id}")
    if len(ids) >= most:
        raise BadJob(f"there may be {most} jobs (gateway.cron.mostJobs)")
    _check_schedule(job.schedule)
    return job


def _dated(job: Job, before: Job | None, now_ms: int) -> Job:
    return attrs.evolve(job, updated_ms=now_ms, created_ms=job.created_ms or (now_ms if before is None else 0))


def _text(root: JsonObject, jobs: list[Json]) -> str:
    if len(jobs) <= READABLE_JOBS:
        text = json.dumps(root, indent=2, ensure_ascii=False) + "\n"
    else:
        head = json.dumps({**root, "jobs": []}, ensure_ascii=False)
        lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in jobs)
        text = head.replace('"jobs": []', f'"jobs": [\n{lines}\n]', 1)
    return text.encode("utf-8", "replace").decode()  # a lone surrogate, which no file can hold, becomes a question mark


def _stamp(found: os.stat_result) -> Stamp:
    return found.st_ino, found.st_mtime_ns, found.st_size
