"""The journal of one session: what was acknowledged is in it, whatever is killed, unplugged or full.

A folder per session, locked (flock) while open; numbered segments (segment.py), the highest is live. Two operations write:

* `append`: one line, one write at the known end, one fsync. It returns when the line is on disk.
* `cut`: a snapshot becomes the first line of the next segment: temporary file, fsync, rename, fsync of the folder. It is
  the only rewrite, whole or absent, and serves birth, import, a moved cursor, size, an older format, repair and deletion.

What makes it hold:

* A failed or short write or a failed fsync retires the segment: it is cut back to its durable end, never synced again, and
  the state goes to new blocks by a cut. Until that has succeeded `must_cut` stands and nothing else can be written.
* A segment that does not end in a mark of sleep was left by a crash: its last line may be in the page cache only. It is
  cut when opened, before anything it says is shown or acknowledged. The first append overwrites the mark.
* A second writer (the lock does not work on some shared mounts) is noticed by a file that grew or a next segment that is
  there. Then this journal writes no more.
* From damaged bytes conversation is salvaged for reading, and nothing is written until the caller accepts the damage.

Everything here blocks, knows no clock, and never looks into a record. store.py runs it in writer threads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import attrs

from nanobot.errors import InUse, JournalDamaged, JournalError, JournalUnwritable
from nanobot.journal import folder as files
from nanobot.journal import names, segment
from nanobot.journal import survey as all_sessions
from nanobot.journal.disk import Disk, RealDisk, write_all
from nanobot.journal.segment import Header, Line, Owes, Segment
from nanobot.wire import Json

RESERVE = 64 * 2**20
"""Bytes. Below it intake stops, so that the turns which run can still be written to their end."""
SMALLEST_CUT = 256 * 2**10
"""Bytes. A smaller segment is not worth a cut: it is parsed in 3 ms."""
GROWTH = 3
"""A live segment is cut when it is so many times its snapshot: what is read at open stays within a constant of the state."""


@attrs.frozen
class Loaded:
    """What a journal held when it was opened: state is the fold of `records` over `snapshot`."""

    snapshot: Json = None
    records: tuple[Json, ...] = ()
    owes: Owes = None
    at: float = 0.0
    """Time of the last line, seconds since the epoch."""
    format: int = segment.FORMAT
    created: bool = False
    """There was no journal: the first write is its birth."""
    slept: bool = False
    """It was left in order. Otherwise something crashed, and `must_cut` stands."""
    damaged: JournalDamaged | None = None
    """Nothing may be resumed, run or sent from this; what is here is for people to read."""


@attrs.define(eq=False, kw_only=True)
class Journal:
    """An open journal, and its one writer. Close it: the lock goes with it."""

    key: str
    n: int = 0
    """Number of the last line on disk."""
    must_cut: bool = True
    """The next write is a cut; `append` sees to it, but nothing may be shown or acknowledged before."""
    damaged: JournalDamaged | None = None
    _disk: Disk
    _folder: str
    _lock: int
    _number: int = 0
    _fd: int | None = None
    _end: int = 0
    """Where the next line goes."""
    _size: int = 0
    """Behind `_end` there is at most a mark of sleep."""
    _owes: Owes = None
    _header_size: int = 0
    _taken: bool = False

    @property
    def oversize(self) -> bool:
        """Whether a cut would make it smaller by enough to be worth it."""
        return self._end > max(GROWTH * self._header_size, SMALLEST_CUT)

    def append(self, records: Sequence[Json], *, owes: Owes, at: float, snapshot_after: Callable[[], Json]) -> None:
        """Writes one line, or the state with it (`snapshot_after`) where only a cut will do. Durable when it returns.

        Raises: JournalUnwritable if the disk refuses both: then nothing has happened, and the line may be tried again.
            InUse if somebody else writes here. JournalDamaged if the damage was not accepted.
        """
        if self.damaged is not None:
            raise self.damaged
        if self.must_cut or self._write(Line(self.n + 1, at, owes, records), "append") is not None:
            self.cut(snapshot_after(), owes=owes, at=at)

    def cut(self, snapshot: Json, *, owes: Owes, at: float, accept_damage: bool = False, forget: bool = False) -> None:
        """Begins a new segment with `snapshot`. `forget` removes the older ones: a deletion keeps what the snapshot keeps.

        Raises: JournalUnwritable, InUse, JournalDamaged as `append` does. After JournalUnwritable from `forget` the
            deletion may stand while old files remain; the next open removes them.
        """
        if self.damaged is not None and not accept_damage:
            raise self.damaged
        data = segment.encode(Header(self.key, snapshot, self.n + 1, at, owes, forget))
        with _unwritable(self.key, self._folder):
            self._check_alone()
            self.must_cut = True
            self._adopt(self._bear(data), len(data), owes)
            if forget:
                files.remove_before(self._disk, self._folder, self._lock, self._number)

    def sleep(self, *, owes: Owes, at: float) -> None:
        """Marks that nothing is in flight, so that the next open is not a crash. Nothing to do where nothing was written.

        Raises: JournalUnwritable: the next open will be treated as after a crash. InUse.
        """
        asleep = self._size != self._end
        if self.must_cut or (asleep and owes == self._owes):
            return
        with _unwritable(self.key, self._folder):
            failed = self._write(Line(self.n + 1, at, owes, slept=True), "sleep")
            if failed is not None:
                raise failed

    def go_on(self, found: Segment) -> None:
        """Appends to the live segment instead of cutting: right only for one that was read whole and ends in sleep.

        Raises: OSError.
        """
        self._fd = self._disk.open_file(files.segment_path(self._folder, self._number))
        self._end, self._size, self._header_size = found.end, self._disk.size(self._fd), found.header_size
        self.must_cut = False

    def close(self) -> None:
        """Lets the files and the lock go. Writes nothing."""
        self._close_segment()
        self._disk.close(self._lock)

    def _write(self, line: Line, site: str) -> OSError | None:
        """One line at the durable end, over a mark of sleep if there is one. After an error the segment is retired."""
        assert self._fd is not None, "a journal without a segment must be cut"
        data = segment.encode(line)
        try:
            self._check_alone(self._disk.size(self._fd))
            if self._size != self._end:
                self._disk.truncate(self._fd, self._end)
            write_all(self._disk, self._fd, data, self._end)
            self._disk.fsync(self._fd, site)
        except OSError as exc:
            self._retire(self._fd)
            return exc
        self._size = self._end + len(data)
        self._owes = line.owes
        if not line.slept:
            self.n, self._end = line.n, self._size
        return None

    def _retire(self, fd: int) -> None:
        """Takes the line nobody may believe out of the page cache, where the next process would read it."""
        self.must_cut = True
        with contextlib.suppress(OSError):
            self._disk.truncate(fd, self._end)

    def _bear(self, data: bytes) -> int:
        """The next segment, complete and durable under its name. A number once taken is never used again."""
        fd = files.write_temporary(self._disk, self._folder, data)
        with contextlib.ExitStack() as undo:
            undo.callback(self._disk.close, fd)
            self._disk.rename(f"{self._folder}/{files.TEMPORARY}", files.segment_path(self._folder, self._number + 1))
            self._number += 1
            self._disk.fsync(self._lock, "cut folder")
            undo.pop_all()
        return fd

    def _adopt(self, fd: int, size: int, owes: Owes) -> None:
        self._close_segment()
        self._fd, self._end, self._size, self._header_size, self._owes = fd, size, size, size, owes
        self.n, self.must_cut, self.damaged = self.n + 1, False, None

    def _check_alone(self, size: int | None = None) -> None:
        grown = size is not None and size != self._size
        if self._taken or grown or self._disk.exists(files.segment_path(self._folder, self._number + 1)):
            self._taken = True
            raise InUse(f"session {self.key}", None)

    def _close_segment(self) -> None:
        if self._fd is not None:
            self._disk.close(self._fd)
        self._fd = None


@attrs.define(eq=False)
class Journals:
    """All journals of a data directory, under the absolute path `root`. Blocks, keeps nothing: any thread may call it."""

    root: str
    disk: Disk = attrs.field(factory=RealDisk)

    def prepare(self) -> None:
        """Makes the data directory and the root (0700), durably. Once per start, before the first `open`.

        Raises: JournalUnwritable.
        """
        with _unwritable("all sessions", self.root):
            files.make_root(self.disk, self.root.rpartition("/")[0])
            files.make_root(self.disk, self.root)

    def open(self, key: str) -> tuple[Journal, Loaded]:
        """Opens the journal of `key` for its one writer; makes its folder if there is none.

        Raises: InUse with its holder. JournalTooNew, the files untouched. JournalDamaged if it belongs to another key.
            JournalUnwritable if there is none and none can be made. JournalError if it cannot be read.
        """
        folder = f"{self.root}/{names.encode(key)}"
        with contextlib.ExitStack() as undo:
            with _unwritable(key, folder):
                lock, numbers = self._enter(key, folder)
            undo.callback(self.disk.close, lock)
            try:
                opened = self._open_live(key, folder, lock, numbers)
            except OSError as exc:
                raise JournalError(f"the journal of {key} cannot be opened: {exc.strerror} ({folder})") from exc
            undo.pop_all()
        return opened

    def survey(self) -> tuple[all_sessions.Seen, ...]:
        """Every session. Raises: JournalError if the root cannot be listed."""
        return all_sessions.survey(self.disk, self.root)

    def owing(self) -> tuple[all_sessions.Seen, ...]:
        """Those that have something left to do; a torn end counts as now. Raises: JournalError."""
        return tuple(seen for seen in self.survey() if seen.owes is not None)

    def low_space(self) -> bool:
        """Whether less than `RESERVE` is free. False where the system does not tell."""
        try:
            return self.disk.free_bytes(self.root) < RESERVE
        except OSError:
            return False

    def _enter(self, key: str, folder: str) -> tuple[int, list[int]]:
        if not self.disk.exists(folder):
            with contextlib.suppress(FileExistsError):
                self.disk.make_folder(folder)
        lock = self.disk.open_folder(folder)
        with contextlib.ExitStack() as undo:
            undo.callback(self.disk.close, lock)
            if not self.disk.lock(lock):
                raise InUse(f"session {key}", self.disk.holder(lock))
            files.remove_temporary(self.disk, folder)
            numbers = files.segment_numbers(self.disk, folder)
            if not numbers:
                files.sync_name(self.disk, folder, "birth root")
            undo.pop_all()
        return lock, numbers

    def _open_live(self, key: str, folder: str, lock: int, numbers: list[int]) -> tuple[Journal, Loaded]:
        if not numbers:
            return Journal(key=key, disk=self.disk, folder=folder, lock=lock), Loaded(created=True)
        live = numbers[-1]
        found, damaged = files.read_newest(self.disk, folder, numbers)
        if found is None:
            journal = Journal(key=key, disk=self.disk, folder=folder, lock=lock, number=live, damaged=damaged)
            return journal, Loaded(damaged=damaged)
        if found.header.key != key:
            reason = f"this journal belongs to {found.header.key}, not to {key}"
            raise JournalDamaged(files.segment_path(folder, live), 1, reason)
        if found.header.forget and damaged is None:
            files.remove_before(self.disk, folder, lock, live)
        journal = Journal(
            key=key, n=found.n, disk=self.disk, folder=folder, lock=lock, number=live, damaged=damaged, owes=found.last.owes
        )
        if found.slept and damaged is None and found.header.format == segment.FORMAT:
            journal.go_on(found)
        return journal, _loaded(found, damaged)


def _loaded(found: Segment, damaged: JournalDamaged | None) -> Loaded:
    return Loaded(
        found.header.snapshot,
        found.records,
        found.last.owes,
        found.last.at,
        found.header.format,
        slept=found.slept and damaged is None,
        damaged=damaged,
    )


@contextlib.contextmanager
def _unwritable(key: str, folder: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise JournalUnwritable(
            f"the journal of {key} cannot be written: {exc.strerror} ({folder}). "
            "What was acknowledged is safe. Free space or look at the disk; it is tried again"
        ) from exc
