"""The few file operations a journal needs, as a port: tests record them, fail them, and cut the power between them.

Each operation does one system call and promises no more than that call does. In particular nothing is on disk before an
`fsync` of that very file or folder returned, and after one that failed nothing may be believed: the kernel has marked the
pages clean, so that the next `fsync` succeeds without having written them.

All raise OSError as the kernel does. Paths are absolute.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Protocol

FILE_MODE = 0o600
FOLDER_MODE = 0o700


class Disk(Protocol):
    """See the module. `site` of an fsync names the promise that it keeps, for tests that take one away."""

    def names(self, folder: str) -> list[str]: ...
    def exists(self, path: str) -> bool: ...
    def make_folder(self, path: str) -> None: ...
    def remove_folder(self, path: str) -> None: ...
    def open_folder(self, path: str) -> int: ...
    def open_file(self, path: str) -> int:
        """For reading and writing; it must exist."""
        ...

    def create_file(self, path: str) -> int:
        """For reading and writing; emptied if it exists."""
        ...

    def close(self, fd: int) -> None: ...
    def size(self, fd: int) -> int: ...
    def read(self, fd: int, offset: int, count: int) -> bytes: ...
    def write(self, fd: int, data: bytes, offset: int) -> int:
        """Returns how many bytes were taken, which may be fewer."""
        ...

    def truncate(self, fd: int, size: int) -> None: ...
    def fsync(self, fd: int, site: str) -> None: ...
    def rename(self, old: str, new: str) -> None: ...
    def unlink(self, path: str) -> None: ...
    def lock(self, folder_fd: int) -> bool:
        """Takes the lock of an open folder, held until it is closed. False if somebody holds it."""
        ...

    def holder(self, folder_fd: int) -> int | None:
        """The process that holds the lock, as far as the system tells."""
        ...

    def free_bytes(self, path: str) -> int: ...


class RealDisk:
    """The operating system's files."""

    def names(self, folder: str) -> list[str]:
        return os.listdir(folder)

    def exists(self, path: str) -> bool:
        return os.path.lexists(path)

    def make_folder(self, path: str) -> None:
        os.mkdir(path, FOLDER_MODE)

    def remove_folder(self, path: str) -> None:
        os.rmdir(path)

    def open_folder(self, path: str) -> int:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def open_file(self, path: str) -> int:
        return os.open(path, os.O_RDWR)

    def create_file(self, path: str) -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, FILE_MODE)

    def close(self, fd: int) -> None:
        os.close(fd)

    def size(self, fd: int) -> int:
        return os.fstat(fd).st_size

    def read(self, fd: int, offset: int, count: int) -> bytes:
        return os.pread(fd, count, offset)

    def write(self, fd: int, data: bytes, offset: int) -> int:
        return os.pwrite(fd, data, offset)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def fsync(self, fd: int, site: str) -> None:
        os.fsync(fd)

    def rename(self, old: str, new: str) -> None:
        os.rename(old, new)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def lock(self, folder_fd: int) -> bool:
        try:
            fcntl.flock(folder_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def holder(self, folder_fd: int) -> int | None:
        stat = os.fstat(folder_fd)
        wanted = f"{os.major(stat.st_dev):02x}:{os.minor(stat.st_dev):02x}:{stat.st_ino}"
        try:
            locks = Path("/proc/locks").read_text().splitlines()
        except OSError:
            return None
        # 1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF
        pids = [int(fields[4]) for fields in map(str.split, locks) if wanted in fields and fields[4].isdigit()]
        return next((pid for pid in pids if pid > 0), None)

    def free_bytes(self, path: str) -> int:
        space = os.statvfs(path)
        return space.f_bavail * space.f_frsize


def write_all(disk: Disk, fd: int, data: bytes, offset: int) -> None:
    """One write. A short one is a failure, not a reason to write the rest: the disk is full or broken.

    Raises: OSError.
    """
    taken = disk.write(fd, data, offset)
    if taken != len(data):
        raise OSError(errno.ENOSPC, f"only {taken} of {len(data)} bytes were written")


def read_all(disk: Disk, fd: int) -> bytes:
    """The whole file.

    Raises: OSError.
    """
    return read_from(disk, fd, 0, disk.size(fd))


def read_from(disk: Disk, fd: int, offset: int, count: int) -> bytes:
    """Up to `count` bytes, fewer only at the end of the file.

    Raises: OSError.
    """
    parts: list[bytes] = []
    while count > 0 and (part := disk.read(fd, offset, count)):
        parts.append(part)
        offset += len(part)
        count -= len(part)
    return b"".join(parts)
