"""Several files written as one: all of them, or none, whatever fails and whenever the process dies.

Theory of operation. First a record of what is about to happen is on disk, in a folder of ours outside the workspace. Then,
beside each file, its new content is written under a name of its own and the old file gets a second name (a hard link). Only
then the new ones take their places, and deleted ones lose theirs. When all have, the record says `done`, and the second names
and the record go. Whatever goes wrong before `done`, there is one way back, `_undo`: what is in place and is ours makes room
for the old file again. It does no harm to do it twice, so that a process that is killed, in it too, leaves what the next one
finishes: `recover`, at start and before each patch.

What somebody else has written in a file meanwhile is never touched: a file is ours if its bytes are what we wrote. A lock on the
folder keeps patches of several processes apart, and a living process's record from being taken for a dead one's.

All of it blocks.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path

import attrs
from loguru import logger

from nanobot.config.durable import replace
from nanobot.config.paths import made
from nanobot.errors import ToolError
from nanobot.security import workspace
from nanobot.security.workspace import Place
from nanobot.tools.port import ToolTurn
from nanobot.wire import Json

NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""What file systems without hard links say."""
ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
"""What is said of a name that nothing has, or can have."""
OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""A folder that is synced."""

Version = tuple[int, int, int, int]


@attrs.frozen
class Change:
    """What becomes of one file."""

    path: str
    """As the model wrote it."""
    real: Path
    old: os.stat_result | None
    """As it was when the change was made up; None: nothing was there."""
    data: bytes | None
    """All of its new content; None: it is deleted."""


@attrs.frozen
class _Step:
    """A change, as the record has it."""

    folder: str
    name: str
    fresh: str
    """Name of the new content beside it, until that takes its place."""
    kept: str
    """Second name of the old file."""
    old: Version | None
    size: int = 0
    digest: str = ""
    """Of the new content; empty where there is none."""

    @classmethod
    def of(cls, change: Change) -> _Step:
        token = secrets.token_hex(10)
        old = None if change.old is None else workspace.version(change.old)
        step = cls(str(change.real.parent), change.real.name, f".{token}.new.tmp", f".{token}.old.tmp", old)
        if change.data is None:
            return step
        return attrs.evolve(step, size=len(change.data), digest=hashlib.sha256(change.data).hexdigest())


@attrs.frozen
class _Plan:
    steps: tuple[_Step, ...]
    folders: tuple[str, ...] = ()
    """That are made for it, those above before those below."""
    done: bool = False

    @classmethod
    def of(cls, changes: Sequence[Change]) -> _Plan:
        folders = (folder for change in changes if change.data is not None for folder in change.real.parents)
        missing = {str(folder) for folder in folders if _is_missing(folder)}
        return cls(tuple(map(_Step.of, changes)), tuple(sorted(missing)))


def write_all(changes: Sequence[Change], turn: ToolTurn, folder: Path, go_on: Callable[[], None] = lambda: None) -> None:
    """Make all changes, or none. `go_on` is called before each file is prepared; it may raise.

    Raises: ToolError, and what `go_on` raises, with everything as it was.
    """
    with _alone(folder):
        _recover(folder)
        _check(changes)
        plan, record = _Plan.of(changes), folder / f"{secrets.token_hex(8)}.json"
        try:
            with _noted(changes, turn):
                _save(record, plan)
                _carry_out(changes, plan, turn, go_on)
                _save(record, attrs.evolve(plan, done=True))
        except ToolError as error:
            _take_back(record, plan)
            raise ToolError(f"Nothing was changed: {error}") from error
        except BaseException:  # cancelled: `go_on` says so
            _take_back(record, plan)
            raise
        _tidy(record, plan)


def recover(folder: Path) -> int:
    """Take back what processes that were killed have left half done; returns how many patches. What cannot be is in the log."""
    if not folder.is_dir():
        return 0
    try:
        with _alone(folder):
            return _recover(folder)
    except (OSError, ToolError) as error:
        logger.error("patches that were cut short cannot be taken back: {}", error)
        return 0


def _check(changes: Sequence[Change]) -> None:
    """What could not be taken back is not begun. Raises: ToolError."""
    for change in changes:
        try:
            with _folder(change.real.parent):
                pass
        except OSError as error:
            raise ToolError(f"Nothing was changed: {change.path}: {error.strerror or error}") from error


# --- doing it


def _carry_out(changes: Sequence[Change], plan: _Plan, turn: ToolTurn, go_on: Callable[[], None]) -> None:
    with ExitStack() as stack:
        places = []
        for change, step in zip(changes, plan.steps, strict=True):
            go_on()
            place, now = stack.enter_context(workspace.place_to_write(change.path, turn))
            with _told(change.path):
                _prepare(change, step, place, now)
            places.append(place)
        _sync(changes, places)
        for change, step, place in zip(changes, plan.steps, places, strict=True):
            with _told(change.path):
                _put(change, step, place)
        _sync(changes, places)


def _prepare(change: Change, step: _Step, place: Place, now: os.stat_result | None) -> None:
    """All that can be done before anything changes."""
    _unchanged(change, place, now)
    if change.data is not None:
        workspace.put_beside(place, step.fresh, change.data, change.old)
    if change.old is None:
        return
    try:
        os.link(place.name, step.kept, src_dir_fd=place.folder, dst_dir_fd=place.folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        workspace.put_beside(place, step.kept, _content(place.folder, place.name), change.old)


def _put(change: Change, step: _Step, place: Place) -> None:
    _unchanged(change, place, place.stat())
    if change.data is None:
        os.unlink(place.name, dir_fd=place.folder)
    else:
        os.rename(step.fresh, place.name, src_dir_fd=place.folder, dst_dir_fd=place.folder)


def _unchanged(change: Change, place: Place, now: os.stat_result | None) -> None:
    """Raises: ToolError."""
    same = now is change.old is None or (now is not None and change.old is not None and _same(now, change.old))
    if not same or place.path != change.real:
        raise ToolError(f"{change.path} was changed by somebody else in the meantime. Read it again, then repeat the patch")


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return workspace.version(one) == workspace.version(other)


def _sync(changes: Sequence[Change], places: Sequence[Place]) -> None:
    """The names in the folders are on disk."""
    by_folder = {change.real.parent: (change, place) for change, place in zip(changes, places, strict=True)}
    for change, place in by_folder.values():
        with _told(change.path), _opened(place.folder) as fd:
            os.fsync(fd)


@contextmanager
def _noted(changes: Sequence[Change], turn: ToolTurn) -> Generator[None]:
    """Around the writing: the ledger knows what strangers may have written, and nobody else writes meanwhile by its lock.

    A whole new file in a clean turn is taken off it before it is there, so that nobody's note is lost. Raises: ToolError.
    """
    ledger = turn.ledger
    if ledger is None:
        yield
        return
    written = [change for change in changes if change.data is not None]
    for change in written:
        with ledger.writing(change.real, tainted=turn.tainted, whole=change.old is None):
            pass
    lock = ledger.writing(written[0].real, tainted=turn.tainted, whole=False) if written else nullcontext()
    with lock:
        if turn.tainted and not all(ledger.taints(change.real) for change in written):
            raise ToolError("the files are being written by somebody else. Try again")
        yield


# --- taking it back


def _take_back(record: Path, plan: _Plan) -> None:
    """Raises: ToolError where that fails; it is tried again by the next one then."""
    try:
        _undo(plan)
        record.unlink(missing_ok=True)
    except OSError as error:
        names = ", ".join(step.name for step in plan.steps)
        logger.error("a patch of {} could not be taken back: {}", names, error)
        raise ToolError(
            f"it failed, and could not be taken back ({error.strerror or error}): look at {names}. "
            "What is left will be put back before the next patch"
        ) from error


def _recover(folder: Path) -> int:
    count = 0
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):  # a record that was being written
            path.unlink(missing_ok=True)
        elif path.suffix == ".json":
            count += _recover_one(path)
    return count


def _recover_one(record: Path) -> int:
    try:
        plan = _read(record)
    except (ValueError, KeyError, TypeError) as error:
        logger.error("{} is damaged, so what a patch has left cannot be put back: {}", record, error)
        record.rename(record.with_suffix(".damaged"))
        return 0
    try:
        if plan.done:
            _tidy(record, plan)
            return 0
        _undo(plan)
        record.unlink()
    except OSError as error:
        logger.error("a patch that was cut short cannot be taken back: {}", error)
        return 0
    logger.warning("a patch of {} was cut short and is taken back", ", ".join(step.name for step in plan.steps))
    return 1


def _undo(plan: _Plan) -> None:
    """All that can be; then, raises: OSError for the last that could not."""
    trouble: OSError | None = None
    for step in reversed(plan.steps):
        try:
            with _folder(Path(step.folder)) as folder:
                if folder is not None:
                    _undo_step(step, folder)
        except OSError as error:
            trouble = error
    if trouble is not None:
        raise trouble
    for made_for_it in map(Path, reversed(plan.folders)):
        with _folder(made_for_it.parent) as folder:
            if folder is not None:
                with suppress(OSError):  # somebody else has put something there
                    os.rmdir(made_for_it.name, dir_fd=folder)


def _undo_step(step: _Step, folder: int) -> None:
    kept, ours = _stat(folder, step.kept) is not None, _is_ours(step, folder)
    deleted = not step.digest and _stat(folder, step.name) is None
    if kept and (ours or deleted):
        os.rename(step.kept, step.name, src_dir_fd=folder, dst_dir_fd=folder)
    elif ours and step.old is None:
        os.unlink(step.name, dir_fd=folder)
    _drop(step, folder)
    os.fsync(folder)


def _is_ours(step: _Step, folder: int) -> bool:
    """Whether what is there is what the step has put there."""
    found = _stat(folder, step.name)
    if not step.digest or found is None or not stat.S_ISREG(found.st_mode) or found.st_size != step.size:
        return False
    if step.old is not None and workspace.version(found) == step.old:
        return False
    return hashlib.sha256(_content(folder, step.name)).hexdigest() == step.digest


def _tidy(record: Path, plan: _Plan) -> None:
    """After it is done. What cannot be cleaned up now is by the next one."""
    try:
        for step in plan.steps:
            with _folder(Path(step.folder)) as folder:
                if folder is not None:
                    _drop(step, folder)
        record.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("what a patch has left behind cannot be removed now: {}", error)


def _drop(step: _Step, folder: int) -> None:
    for name in (step.fresh, step.kept):
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)


# --- the record


def _save(record: Path, plan: _Plan) -> None:
    """Raises: ToolError."""
    try:
        replace(record, json.dumps(attrs.asdict(plan)))
    except OSError as error:
        raise ToolError(f"it cannot be noted what is to be done: {error.strerror or error}") from error


def _read(record: Path) -> _Plan:
    """Raises: ValueError, KeyError, TypeError."""
    found: dict[str, Json] = json.loads(record.read_bytes())
    steps, folders = found["steps"], found["folders"]
    if not isinstance(steps, list) or not isinstance(folders, list):
        raise TypeError("it holds something else")
    return _Plan(tuple(map(_step_of, steps)), tuple(map(str, folders)), done=found["done"] is True)


def _step_of(found: Json) -> _Step:
    if not isinstance(found, dict):
        raise TypeError("it holds something else")
    texts = [found[name] for name in ("folder", "name", "fresh", "kept", "digest")]
    old, size = found["old"], found["size"]
    if not all(isinstance(text, str) for text in texts) or not isinstance(size, int):
        raise TypeError("it holds something else")
    folder, name, fresh, kept, digest = map(str, texts)
    return _Step(folder, name, fresh, kept, _version_of(old), size, digest)


def _version_of(found: Json) -> Version | None:
    if found is None:
        return None
    if not isinstance(found, list):
        raise TypeError("it holds something else")
    device, inode, time, size = (number if isinstance(number, int) else -1 for number in found)
    return device, inode, time, size


# --- folders and files


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """Nobody else writes or takes back a patch of this instance meanwhile. Raises: ToolError."""
    try:
        fd = os.open(made(folder), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ToolError(f"{folder} cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


@contextmanager
def _folder(path: Path) -> Generator[int | None]:
    """The folder of that resolved path, no link followed; None where it is not there. Raises: OSError."""
    fd = os.open("/", workspace.WALK)
    try:
        for name in path.parts[1:]:
            try:
                child = os.open(name, workspace.WALK, dir_fd=fd)
            except OSError as error:
                if error.errno not in ABSENT:
                    raise
                yield None  # never made, gone, or something else by now
                return
            os.close(fd)
            fd = child
        with _opened(fd) as folder:
            yield folder
    finally:
        os.close(fd)


@contextmanager
def _opened(folder: int) -> Generator[int]:
    """The same folder, so that it can be synced."""
    fd = os.open(".", OPEN, dir_fd=folder)
    try:
        yield fd
    finally:
        os.close(fd)


def _is_missing(folder: Path) -> bool:
    try:
        folder.stat()
    except OSError as error:
        return error.errno in ABSENT
    return False


def _stat(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in ABSENT:
            raise
        return None


def _content(folder: int, name: str) -> bytes:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    with os.fdopen(fd, "rb") as file:
        return file.read()


@contextmanager
def _told(path: str) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise ToolError(f"{path}: {error.strerror or error}") from error
