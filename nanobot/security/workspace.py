"""Which files a tool may reach, and the only functions by which the file tools reach them.

Theory of operation. A path of the model is resolved (`~` is home, anything relative is taken from the workspace, symlinks
are followed) and then walked from `/` by directory descriptors, each component opened relative to the one before and never
through a symlink. What was swapped for a symlink after resolving is therefore refused, not followed. The rule that applies
is that of the innermost *area* passed on the way, and areas are told by device and inode, so that no spelling (case, bind
mounts, `/proc/self/cwd`) gets around them:

    the workspace                     read and write
    `turn.readable`                   read
    the data directory (`turn.data`)  nothing: configuration, journals, secrets
    /proc, /sys, /dev                 nothing: they hold our own memory, environment and descriptors
    anywhere else                     read and write, nothing while `turn.restrict`

Only regular files are opened. A write makes a new file beside the old one and renames it: old or new, never half.

This is the boundary of the file tools. It is none for `exec`, whose boundary is the sandbox.
"""

from __future__ import annotations

import enum
import os
import secrets
import stat
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import attrs

from nanobot.errors import ToolError
from nanobot.tools.port import ToolTurn

WALK: int = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
SYSTEM = (Path("/proc"), Path("/sys"), Path("/dev"))
LONGEST_PATH = 4096
"""Characters; Linux takes no more bytes."""
DEEPEST = 64
"""Levels that a listing goes down; each holds a descriptor open."""

Identity = tuple[int, int]
"""Device and inode."""


class Area(enum.Enum):
    WORKSPACE = "the workspace"
    READABLE = "a folder that may only be read"
    DATA = "the assistant's own data"
    SYSTEM = "the system's own files"
    ELSEWHERE = "outside the workspace"


class Access(enum.Enum):
    READ = "read"
    WRITE = "write"


@attrs.frozen
class Place:
    """A name in an open folder: what a walk ends at."""

    path: Path
    """Resolved, for messages."""
    folder: int
    """Descriptor of the folder, open while the place is in use."""
    name: str
    """`.` where the place is the folder itself."""

    def stat(self) -> os.stat_result | None:
        """Of the name itself, never of what it links to; None if it is not there."""
        try:
            return os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)
        except FileNotFoundError:
            return None


@attrs.frozen
class Entry:
    """What a listing found. `open` is good until the next step of the listing."""

    path: str
    """Relative to where the listing began, `/` between its parts."""
    is_dir: bool
    is_file: bool
    is_link: bool
    _folder: int
    _name: str

    def stat(self) -> os.stat_result:
        """Raises: OSError."""
        return os.stat(self._name, dir_fd=self._folder, follow_symlinks=False)

    def open(self) -> BinaryIO:
        """Raises: OSError, and ToolError for what is no regular file."""
        return _open_regular(self._folder, self._name, self.path)


def resolve(path: str, turn: ToolTurn) -> Path:
    """The absolute path that `path` means, symlinks followed as far as it exists. Raises: ToolError."""
    if not path.strip() or "\0" in path or len(path) > LONGEST_PATH:
        raise ToolError(f"{path[:100]!r} is not a path")
    given = Path(path)
    try:
        given = given.expanduser() if path.startswith("~") else given
        return Path(os.path.realpath(turn.workspace / given))
    except (OSError, RuntimeError) as error:  # no home; a loop of links
        raise ToolError(f"{path} cannot be resolved: {error}") from error


def open_file(path: str, turn: ToolTurn) -> BinaryIO:
    """A regular file, opened for reading. Raises: ToolError."""
    with _walked(path, turn, Access.READ) as place, _explained(path):
        return _open_regular(place.folder, place.name, path)


def write_file(path: str, turn: ToolTurn, data: bytes, *, unless_changed: os.stat_result | None = None) -> bool:
    """Write the file whole, its folders made; the mode of one that was there is kept. True if it was there before.

    unless_changed: what `fstat` said when it was read; a file that changed since is left alone. Raises: ToolError.
    """
    with _walked(path, turn, Access.WRITE) as place, _explained(path):
        old = place.stat()
        if old is not None and not stat.S_ISREG(old.st_mode):
            raise ToolError(f"{path} is {_kind(old.st_mode)}, not a file that can be written")
        if old is not None and not os.access(place.name, os.W_OK, dir_fd=place.folder):
            raise ToolError(f"{path} is read-only")
        if unless_changed is not None and (old is None or _version(old) != _version(unless_changed)):
            raise ToolError(f"{path} was changed by somebody else in the meantime. Read it again, then repeat the edit")
        _replace(place, data, old)
        return old is not None


def check_folder(path: str, turn: ToolTurn) -> Path:
    """The resolved path of a folder that may be written, for a command to run in. Raises: ToolError."""
    with _walked(path, turn, Access.WRITE, folder=True) as place:
        return place.path


def listing(path: str, turn: ToolTurn, *, skip: frozenset[str] = frozenset(), depth: int = DEEPEST) -> Iterator[Entry]:
    """What is below a folder, names sorted, folders before what is in them; links are listed and not followed.

    Folders named in `skip` are listed and not entered; what cannot be read is left out. Raises: ToolError.
    """
    with ExitStack() as stack:
        place = stack.enter_context(_walked(path, turn, Access.READ, folder=True))
        stack.enter_context(_explained(path))
        top = os.open(".", LIST, dir_fd=place.folder)
        stack.callback(os.close, top)
        forbidden = {identity for identity, area in _areas(turn).items() if not _allowed(area, Access.READ, turn)}
        yield from _below(top, "", skip, forbidden, depth)


def is_file(path: str, turn: ToolTurn) -> bool:
    """Whether the path is a regular file (a folder otherwise). Raises: ToolError where it is neither there nor allowed."""
    with _walked(path, turn, Access.READ) as place, _explained(path):
        found = place.stat()
        if found is None:
            raise ToolError(f"{path} does not exist")
        return stat.S_ISREG(found.st_mode)


def _below(folder: int, prefix: str, skip: frozenset[str], forbidden: set[Identity], depth: int) -> Iterator[Entry]:
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        is_dir = entry.is_dir(follow_symlinks=False)
        name = prefix + entry.name
        item = Entry(name, is_dir, entry.is_file(follow_symlinks=False), entry.is_symlink(), folder, entry.name)
        if not is_dir:
            yield item
            continue
        try:
            child = os.open(entry.name, LIST, dir_fd=folder)
        except OSError:  # gone, swapped for a link, or not ours to read
            continue
        try:
            if _identity(child) in forbidden:
                continue
            yield item
            if depth > 1 and entry.name not in skip:
                yield from _below(child, f"{name}/", skip, forbidden, depth - 1)
        finally:
            os.close(child)


# -- the walk -----------------------------------------------------------------------------------------------------------


@contextmanager
def _walked(path: str, turn: ToolTurn, access: Access, *, folder: bool = False) -> Generator[Place]:
    """Walk to where `path` is, folders made if it is to be written; folder: it must be a folder, and is entered."""
    real = resolve(path, turn)
    areas = _areas(turn)
    names = real.parts[1:] if folder else real.parts[1:-1]
    fd = os.open("/", WALK)
    try:
        area = areas.get(_identity(fd), Area.ELSEWHERE)
        for name in names:
            try:
                fd = _step(fd, name, make=access is Access.WRITE and not folder and _allowed(area, access, turn))
            except OSError as error:
                _demand(area, access, turn, path)
                raise ToolError(_sentence(path, error)) from error
            area = areas.get(_identity(fd), area)
        name = "." if folder or not real.name else real.name
        with suppress(OSError):
            last = os.stat(name, dir_fd=fd, follow_symlinks=False)
            area = areas.get((last.st_dev, last.st_ino), area)
        _demand(area, access, turn, path)
        yield Place(real, fd, name)
    finally:
        os.close(fd)


def _step(parent: int, name: str, *, make: bool) -> int:
    """Open the folder `name` and close its parent. Raises: OSError, the parent still open."""
    try:
        child = os.open(name, WALK, dir_fd=parent)
    except FileNotFoundError:
        if not make:
            raise
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=parent)
        child = os.open(name, WALK, dir_fd=parent)
    os.close(parent)
    return child


def _areas(turn: ToolTurn) -> dict[Identity, Area]:
    """Later rows win where two are the same folder."""
    rows = [(folder, Area.SYSTEM) for folder in SYSTEM]
    rows += [(turn.workspace, Area.WORKSPACE)]
    rows += [(folder, Area.READABLE) for folder in turn.readable if folder != turn.workspace]
    rows += [(turn.data, Area.DATA)] if turn.data is not None else []
    areas: dict[Identity, Area] = {}
    for folder, area in rows:
        with suppress(OSError):
            found = os.stat(folder)
            areas[found.st_dev, found.st_ino] = area
    return areas


def _allowed(area: Area, access: Access, turn: ToolTurn) -> bool:
    match area:
        case Area.WORKSPACE:
            return True
        case Area.READABLE:
            return access is Access.READ
        case Area.DATA | Area.SYSTEM:
            return False
        case Area.ELSEWHERE:
            return not turn.restrict


def _demand(area: Area, access: Access, turn: ToolTurn, path: str) -> None:
    if not _allowed(area, access, turn):
        advice = f"Use a path inside the workspace, {turn.workspace}"
        raise ToolError(f"{path} is {area.value}: there is no right to {access.value} it. {advice}")


def _identity(fd: int) -> Identity:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


# -- files --------------------------------------------------------------------------------------------------------------


def _open_regular(folder: int, name: str, path: str) -> BinaryIO:
    before = os.stat(name, dir_fd=folder, follow_symlinks=False)  # opening a device or a pipe may already do something
    if not stat.S_ISREG(before.st_mode):
        raise ToolError(f"{path} is {_kind(before.st_mode)}, not a file")
    fd = os.open(name, READ, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise ToolError(f"{path} is no longer a file")
    return os.fdopen(fd, "rb")


def _replace(place: Place, data: bytes, old: os.stat_result | None) -> None:
    temporary = f".{secrets.token_hex(12)}.tmp"
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o666 if old is None else 0o600, dir_fd=place.folder)
    try:
        with os.fdopen(fd, "wb") as file:
            if old is not None:
                with suppress(PermissionError):
                    os.fchown(fd, old.st_uid, old.st_gid)
                os.fchmod(fd, stat.S_IMODE(old.st_mode) & 0o777)
            file.write(data)
            file.flush()
            os.fsync(fd)
        os.rename(temporary, place.name, src_dir_fd=place.folder, dst_dir_fd=place.folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=place.folder)
        raise


def _version(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


@contextmanager
def _explained(path: str) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise ToolError(_sentence(path, error)) from error


def _sentence(path: str, error: OSError) -> str:
    match error:
        case FileNotFoundError():
            return f"{path} does not exist"
        case PermissionError():
            return f"{path} cannot be opened: permission denied"
        case NotADirectoryError():
            return f"{path} cannot be reached: a part of it is a file or a link that was just put there"
        case _:
            return f"{path}: {error.strerror or error}"


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFLNK: "a link",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")
