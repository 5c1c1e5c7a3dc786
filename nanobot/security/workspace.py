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

Inside the workspace some files are instructions: they become part of prompts (`INSTRUCTIONS`, and all that is below
`INSTRUCTION_FOLDERS`). They are told by name, whatever its case, and by what such a name leads to, so that no link gets around
it, and writing them needs `turn.may_instruct`.

Only regular files are opened. A write makes a new file beside the old one and renames it: old or new, never half; a hard link
is thereby taken off what it shared, which stays as it was. A name with signs that do not show (tools/plain.py) is not made.

What strangers wrote is told on opening (`of_strangers`): files that came with messages (`turn.media`), and files that the
ledger remembers (`turn.ledger`, ledger.py).

This is the boundary of the file tools. It is none for `exec`, whose boundary is the sandbox.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import BinaryIO

import attrs

from nanobot.errors import ToolError
from nanobot.security.areas import Access, Areas, Identity, Spot, allowed, areas_of, identity
from nanobot.tools.plain import hidden, one_line
from nanobot.tools.port import Intent, ToolTurn

WALK: int = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
LONGEST_PATH = 4096
"""Characters; Linux takes no more bytes."""
DEEPEST = 64
"""Levels that a listing goes down; each holds a descriptor open."""


@attrs.frozen
class Place:
    """A name in an open folder: what a walk ends at."""

    path: Path
    """Resolved, for messages."""
    folder: int
    """Descriptor of the folder, open while the place is in use."""
    name: str
    """`.` where the place is the folder itself."""
    spot: Spot
    areas: Areas

    def stat(self) -> os.stat_result | None:
        """Of the name itself, never of what it links to; None if it is not there."""
        try:
            return os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)
        except FileNotFoundError:
            return None


@attrs.frozen
class Opened:
    """A file that is open for reading."""

    file: BinaryIO
    _path: Path
    _spot: Spot
    _turn: ToolTurn

    def of_strangers(self) -> bool:
        """Whether what was read may be text of strangers. Ask after reading. Blocks."""
        return _of_strangers(self._path, self._spot, self._turn)


@attrs.frozen
class _Listing:
    place: Place
    turn: ToolTurn
    skip: frozenset[str]
    """Names of folders that are not entered."""
    closed: frozenset[Identity]


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
    _listing: _Listing

    def stat(self) -> os.stat_result:
        """Raises: OSError."""
        return os.stat(self._name, dir_fd=self._folder, follow_symlinks=False)

    def open(self) -> BinaryIO:
        """Raises: OSError, and ToolError for what is no regular file."""
        file = _open_regular(self._folder, self._name, self.path)
        if _identity(file.fileno()) in self._listing.closed:
            file.close()
            raise ToolError(f"{self.path} is a link to what may not be read")
        return file

    def of_strangers(self) -> bool:
        """Whether its name, and what was read from it, may be text of strangers. Blocks."""
        place = self._listing.place
        return _of_strangers(place.path / self.path, place.spot, self._listing.turn)


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


def instructs(path: str, turn: ToolTurn) -> bool:
    """Whether writing it changes what prompts are made of. Blocks. Raises: ToolError where it is no path."""
    return _foreseen(resolve(path, turn), turn).instructs


def check_write(path: str, turn: ToolTurn) -> Path:
    """The resolved path of a file that may be written as things are; nothing is made. Blocks. Raises: ToolError."""
    real = resolve(path, turn)
    _subject(real, turn)
    _demand(_foreseen(real, turn), Access.WRITE, turn, path)
    return real


def write_intent(tool: str, path: str, turn: ToolTurn) -> Intent:
    """What writing `path` means, for policy. Blocks. Raises: ToolError."""
    subject = _subject(resolve(path, turn), turn)
    if instructs(path, turn):
        return Intent(f"{tool}:instructions", subject, f"Writes {one_line(subject)}, which becomes part of my instructions.")
    return Intent(tool, subject, f"Writes {one_line(subject)}.")


def subject_of(path: str, turn: ToolTurn) -> str:
    """The path as people read it. Raises: ToolError where it is none, or they would read another."""
    return _subject(resolve(path, turn), turn)


@contextmanager
def open_file(path: str, turn: ToolTurn) -> Generator[Opened]:
    """A regular file, open for reading. Raises: ToolError."""
    with _walked(path, turn, Access.READ) as place:
        with _explained(path):
            file = _open_regular(place.folder, place.name, path)
        with file:
            spot = place.areas.below(place.spot, place.name, _identity(file.fileno()))  # it may be another than a moment ago
            _demand(spot, Access.READ, turn, path)
            yield Opened(file, place.path, spot, turn)


def write_file(path: str, turn: ToolTurn, data: bytes, *, unless_changed: os.stat_result | None = None) -> bool:
    """Write the file whole, its folders made; the mode of one that was there is kept. True if it was there before.

    unless_changed: what `fstat` said when it was read; a file that changed since is left alone. Raises: ToolError.
    """
    with place_to_write(path, turn) as (place, old):
        if unless_changed is not None and (old is None or version(old) != version(unless_changed)):
            raise ToolError(f"{path} was changed by somebody else in the meantime. Read it again, then repeat the edit")
        with _noted(place.path, turn, whole=unless_changed is None):
            _replace(place, data, old)
        return old is not None


@contextmanager
def place_to_write(path: str, turn: ToolTurn) -> Generator[tuple[Place, os.stat_result | None]]:
    """Where a file is written, its folders made, and what is there now. Raises: ToolError, for OSErrors of the block too."""
    _subject(resolve(path, turn), turn)
    with _walked(path, turn, Access.WRITE) as place, _explained(path):
        old = place.stat()
        if old is not None and not stat.S_ISREG(old.st_mode):
            raise ToolError(f"{path} is {_kind(old.st_mode)}, not a file that can be written")
        if old is not None and not os.access(place.name, os.W_OK, dir_fd=place.folder):
            raise ToolError(f"{path} is read-only")
        yield place, old


def put_beside(place: Place, name: str, data: bytes, old: os.stat_result | None) -> None:
    """A new file `name` in the folder of `place`, on disk, with the mode and owner of `old`. Raises: OSError, nothing left."""
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, 0o666 if old is None else 0o600, dir_fd=place.folder)
    try:
        with os.fdopen(fd, "wb") as file:
            if old is not None:
                with suppress(PermissionError):
                    os.fchown(fd, old.st_uid, old.st_gid)
                os.fchmod(fd, stat.S_IMODE(old.st_mode) & 0o777)
            file.write(data)
            file.flush()
            os.fsync(fd)
    except BaseException:
        with suppress(OSError):
            os.unlink(name, dir_fd=place.folder)
        raise


def check_folder(path: str, turn: ToolTurn) -> Path:
    """The resolved path of a folder that may be written, for a command to run in. Raises: ToolError."""
    with _walked(path, turn, Access.WRITE, folder=True) as place:
        if set(str(place.path)) & set("\n\t"):
            raise ToolError(f"{one_line(path)} is not run in: its name would not be shown as one line. Rename the folder")
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
        yield from _below(_Listing(place, turn, skip, place.areas.closed(turn)), top, "", depth)


def is_file(path: str, turn: ToolTurn) -> bool:
    """Whether the path is a regular file (a folder otherwise). Raises: ToolError where it is neither there nor allowed."""
    with _walked(path, turn, Access.READ) as place, _explained(path):
        found = place.stat()
        if found is None:
            raise ToolError(f"{path} does not exist")
        return stat.S_ISREG(found.st_mode)


def _below(listing: _Listing, folder: int, prefix: str, depth: int) -> Iterator[Entry]:
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        is_dir, is_file = entry.is_dir(follow_symlinks=False), entry.is_file(follow_symlinks=False)
        name, is_link = prefix + entry.name, entry.is_symlink()
        item = Entry(name, is_dir, is_file, is_link, folder, entry.name, listing)
        if not is_dir:
            yield item
            continue
        try:
            child = os.open(entry.name, LIST, dir_fd=folder)
        except OSError:  # gone, swapped for a link, or not ours to read
            continue
        try:
            if _identity(child) in listing.closed:
                continue
            yield item
            if depth > 1 and entry.name not in listing.skip:
                yield from _below(listing, child, f"{name}/", depth - 1)
        finally:
            os.close(child)


def _of_strangers(path: Path, spot: Spot, turn: ToolTurn) -> bool:
    return spot.from_outside or (turn.ledger is not None and turn.ledger.taints(path))


def _noted(path: Path, turn: ToolTurn, *, whole: bool) -> AbstractContextManager[None]:
    return nullcontext() if turn.ledger is None else turn.ledger.writing(path, tainted=turn.tainted, whole=whole)


def _subject(real: Path, turn: ToolTurn) -> str:
    """The path as people read it. Raises: ToolError where they would read another."""
    subject = str(real.relative_to(turn.workspace) if real.is_relative_to(turn.workspace) else real)
    if reason := hidden(subject):
        raise ToolError(f"The path is not written to: {reason}. Choose a name without it")
    return subject


# -- the walk -----------------------------------------------------------------------------------------------------------


@contextmanager
def _walked(path: str, turn: ToolTurn, access: Access, *, folder: bool = False) -> Generator[Place]:
    """Walk to where `path` is, folders made if it is to be written; folder: it must be a folder, and is entered."""
    real = resolve(path, turn)
    areas = areas_of(turn)
    makes = access is Access.WRITE and not folder
    fd = os.open("/", WALK)
    try:
        spot = areas.top
        for name in real.parts[1:] if folder else real.parts[1:-1]:
            coming = areas.below(spot, name, None)
            try:
                fd = _step(fd, name, make=makes and _refusal(coming, access, turn) is None)
            except OSError as error:
                _demand(coming, access, turn, path)
                raise ToolError(_sentence(path, error)) from error
            spot = areas.below(spot, name, _identity(fd))
        name = "." if folder or not real.name else real.name
        spot = spot if name == "." else areas.below(spot, name, _identity_below(fd, name))
        _demand(attrs.evolve(spot, instructs=spot.instructs and not folder), access, turn, path)
        yield Place(real, fd, name, spot, areas)
    finally:
        os.close(fd)


def _foreseen(real: Path, turn: ToolTurn) -> Spot:
    """What holds at a resolved path as things are: for saying so beforehand, the walk has the last word."""
    areas = areas_of(turn)
    here, spot = Path("/"), areas.top
    for name in real.parts[1:]:
        here /= name
        spot = areas.below(spot, name, identity(here))
    return spot


def _demand(spot: Spot, access: Access, turn: ToolTurn, path: str) -> None:
    if reason := _refusal(spot, access, turn):
        raise ToolError(f"{path} {reason}")


def _refusal(spot: Spot, access: Access, turn: ToolTurn) -> str | None:
    if not allowed(spot.area, access, turn):
        advice = f"Use a path inside the workspace, {turn.workspace}"
        return f"is {spot.area.value}: there is no right to {access.value} it. {advice}"
    if access is Access.WRITE and spot.instructs and not turn.may_instruct:
        return "becomes part of your instructions, which may not be changed in this conversation. Write to another file"
    return None


def _identity(fd: int) -> Identity:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


def _identity_below(folder: int, name: str) -> Identity | None:
    """Of the name itself, never of what it links to."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return None
    return found.st_dev, found.st_ino


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
    put_beside(place, temporary, data, old)
    try:
        os.rename(temporary, place.name, src_dir_fd=place.folder, dst_dir_fd=place.folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=place.folder)
        raise


def version(found: os.stat_result) -> tuple[int, int, int, int]:
    """The same for as long as nobody writes the file or puts another in its place."""
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
