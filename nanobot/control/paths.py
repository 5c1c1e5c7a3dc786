"""Where the control socket of a data directory is. Imports next to nothing: commands that ask should start fast.

It stands in the data directory. Where its path would be too long for the system, or no socket can be made there, it stands
in the runtime directory of the data directory's owner, else in a folder of its own below /tmp, under a name made from the
identity of the data directory. Both sides look in the same places, whatever their environment.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping

LONGEST = 107
"""Bytes of a unix socket's path: `sun_path` has 108 with its NUL."""
NAME = "control.sock"
TEMPORARY = "/tmp"
"""Not `$TMPDIR`: the gateway and those who ask must agree, and a service has another environment than a shell."""

Folder = str | os.PathLike[str]


def candidates(data: Folder, environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The paths at which the socket may be, the best first. Raises: OSError if there is no data directory."""
    there = os.stat(data)
    name = f"nanobot-{there.st_dev:x}-{there.st_ino:x}"
    runtime = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{there.st_uid}"
    found = (f"{os.path.abspath(data)}/{NAME}", f"{runtime}/{name}.sock", f"{TEMPORARY}/{name}/{NAME}")
    return tuple(path for path in found if len(os.fsencode(path)) <= LONGEST)


def make_room(path: str, data: Folder) -> None:
    """Make the folder of a candidate ready for a socket. Raises: OSError, also for a folder that others can change."""
    folder = os.path.dirname(path)
    if folder == os.path.abspath(data):
        return
    if folder.startswith(f"{TEMPORARY}/"):
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            pass
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise OSError(errno.EPERM, "this is no folder of ours alone", folder)


def clear(path: str) -> None:
    """Remove the socket of a process that is gone. Raises: OSError, also for what is no socket."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "this is no socket; move it away", path)
    os.unlink(path)


def remove(path: str, inode: int) -> None:
    """Take our socket away, and not that of a successor; with the folder that was made for it."""
    try:
        if os.lstat(path).st_ino == inode:
            os.unlink(path)
        if path.startswith(f"{TEMPORARY}/nanobot-"):
            os.rmdir(os.path.dirname(path))
    except OSError:
        pass
