"""Documents as files of the workspace: read whole, replaced in one step, or appended to. Every function blocks.

A path is resolved, must lie in the workspace, and is then walked by descriptors without following any link, so that what runs in
the workspace cannot make this process, which may write everywhere, write elsewhere: a link put there meanwhile is
refused. Links inside the workspace are fine.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

MOST_READ = 2**20
"""Bytes of a document that versions are kept of: sixteen times what a prompt takes."""
SETTLED_S = 0.1
"""Seconds without a change after which a file that somebody else has changed is taken for whole: editors write in pieces."""
MOST_LOOKS = 20
LEFT_S = 60.0
"""Seconds after which a temporary file is nobody's any more: writing one takes milliseconds."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class LinkedOut(PermissionError):
    """The document lies elsewhere."""


@attrs.frozen
class Workspace:
    """The folder, absolute."""

    path: Path

    def read(self, document: str) -> bytes | None:
        """All of it, None where there is none. Raises: OSError."""
        try:
            with self._folder(document) as (folder, name), _opened(name, os.O_RDONLY, folder) as file:
                return _whole(file, document)
        except FileNotFoundError:
            if not self.path.is_dir():  # a workspace that is away is no order to forget everything
                raise OSError(errno.ENOENT, f"the workspace {self.path} is not there") from None
            return None

    def history(self, document: str) -> bytes:
        """All of a file of any length, empty where there is none. Raises: OSError."""
        with self.appending(document) as file:
            return file.part(0, file.size)

    def settled(self, document: str) -> bytes | None:
        """The same, waiting for whoever is writing it just now. Raises: OSError."""
        found = self.read(document)
        for _ in range(MOST_LOOKS):
            time.sleep(SETTLED_S)
            before, found = found, self.read(document)
            if found == before:
                break
        return found

    def replace(self, document: str, data: bytes, expected: bytes | None) -> bool:
        """Give it this content in one step. False, and nothing done, where it is not what was `expected`. Raises: OSError."""
        with self._folder(document, make=True) as (folder, name):
            _sweep(name, folder)
            temporary = f".{name}.{secrets.token_hex(6)}.tmp"
            mode = _mode(name, folder)
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=folder)
            try:
                try:
                    os.fchmod(handle, mode)
                    _write(handle, data)
                    os.fsync(handle)
                finally:
                    os.close(handle)
                if _found(name, folder, document) != expected:
                    os.unlink(temporary, dir_fd=folder)
                    return False
                os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=folder)
                raise
            os.fsync(folder)
            return True

    @contextmanager
    def appending(self, document: str) -> Generator[Appended]:
        """The file, made if it is missing and locked against others that append. Raises: OSError."""
        with self._folder(document, make=True) as (folder, name):
            with _opened(name, os.O_RDWR | os.O_CREAT, folder) as file:
                _lock(file)
                yield Appended(file)
            os.fsync(folder)

    @contextmanager
    def reading(self, document: str) -> Generator[Appended]:
        """The file, open to be read in parts. Raises: FileNotFoundError, OSError."""
        with self._folder(document) as (folder, name), _opened(name, os.O_RDONLY, folder) as file:
            yield Appended(file)

    def users(self, folder: str) -> Iterator[str]:
        """The documents in a folder of the workspace, as far as it can be listed."""
        with contextlib.suppress(OSError), os.scandir(self.path / folder) as found:
            yield from sorted(f"{folder}/{one.name}" for one in found if one.name.endswith(".md") and one.name[0] != ".")

    @contextmanager
    def _folder(self, document: str, *, make: bool = False) -> Generator[tuple[int, str]]:
        """The folder that it lies in, open, and its name there. Raises: OSError."""
        real = Path(os.path.realpath(self.path / document))
        home = Path(os.path.realpath(self.path))
        if not real.is_relative_to(home) or real == home:
            raise LinkedOut(errno.EPERM, f"{document} is a link out of the workspace")
        *parts, name = real.relative_to(home).parts
        handle = os.open(home, _FOLDER)
        try:
            for part in parts:
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, 0o700, dir_fd=handle)
                        os.fsync(handle)
                below = os.open(part, _FOLDER, dir_fd=handle)
                os.close(handle)
                handle = below
            yield handle, name
        finally:
            os.close(handle)


@attrs.frozen
class Appended:
    """A file that is open for appending."""

    _file: int

    @property
    def size(self) -> int:
        return os.fstat(self._file).st_size

    def part(self, start: int, end: int) -> bytes:
        """Raises: OSError."""
        start = max(0, start)
        return os.pread(self._file, max(0, end - start), start)

    def append(self, data: bytes) -> None:
        """On disk when this returns. Raises: OSError."""
        os.lseek(self._file, 0, os.SEEK_END)
        _write(self._file, data)
        os.fsync(self._file)


LOCK_S = 2.0
"""Seconds to wait for somebody who has locked the file: of ours, only one of another data directory."""


def _lock(file: int) -> None:
    """Raises: BlockingIOError."""
    until = time.monotonic() + LOCK_S
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


@contextmanager
def _opened(name: str, flags: int, folder: int) -> Generator[int]:
    """Raises: OSError."""
    file = os.open(name, flags | _FILE, 0o600, dir_fd=folder)
    try:
        yield file
    finally:
        os.close(file)


def _whole(file: int, document: str) -> bytes:
    """Raises: OSError for what is no file, or no document by its size."""
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, f"{document} is no file")
    with os.fdopen(os.dup(file), "rb") as opened:
        data = opened.read(MOST_READ + 1)
    if len(data) > MOST_READ:
        raise OSError(errno.EFBIG, f"{document} is longer than {MOST_READ // 1024} KiB")
    return data


def _found(name: str, folder: int, document: str) -> bytes | None:
    try:
        with _opened(name, os.O_RDONLY, folder) as file:
            return _whole(file, document)
    except FileNotFoundError:
        return None


def _sweep(name: str, folder: int) -> None:
    """Take away what was left by who was killed while writing."""
    for found in os.listdir(folder):
        if found.startswith(f".{name}.") and found.endswith(".tmp"):
            with contextlib.suppress(FileNotFoundError):
                if os.stat(found, dir_fd=folder, follow_symlinks=False).st_mtime < time.time() - LEFT_S:
                    os.unlink(found, dir_fd=folder)


def _mode(name: str, folder: int) -> int:
    try:
        return stat.S_IMODE(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode) & 0o777
    except FileNotFoundError:
        return 0o600


def _write(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]
