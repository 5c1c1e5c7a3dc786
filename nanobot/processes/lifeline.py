"""The wrapper around every child process: forked by the spawner (spawner.py), standard library only.

Theory of operation. One socket ties it to its owner. The owner holds the only other end; when that is closed, or the owner
goes away in any manner, kill -9 included, the socket reports its end and every descendant is killed. None can hide: this
process is a *child subreaper* (Linux), so one that forked twice or called setsid becomes a child of ours when its parent ends.
Descriptors that came with it (a lock) are held until the last descendant is gone and are never seen by the command.

The owner sends: the length of a request (`LENGTH` bytes) and the request, which is (argv, cwd, env) in marshal; then `TERM`,
any number of times. The wrapper sends frames, a kind and a number:
- `HELLO` its process id, then, when it has read the request,
- `NO_FOLDER` or `NOT_RUN` with an errno, which is the end, or `STARTED`, and
- `ENDED` the command's status when no descendant is left: 128 + n where signal n ended it, 126 and 127 as in a shell.

- TERM, from the owner or as a signal, is passed to the command's process group, and what is left may then take its time.
- When the command ends by itself, what it left running gets `LINGER_S` (a `tee` that still flushes), then it is killed.

No descendant is left when this process has ended, unless somebody killed it; then they are children of the spawner, which
kills them. On systems without subreapers only the command's process group is in reach.
"""

import ctypes
import errno
import marshal
import os
import select
import signal
import socket
import sys
import time

LIBC = ctypes.CDLL(None)
LINGER_S = 0.2  # long enough for a pipeline's last writer, too short to wait for on purpose
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
LOST_OWNER = 128 + signal.SIGKILL
LONGEST_PAUSE_S = 0.5  # between two rounds of killing what cannot die yet (waits for a disk, belongs to root)

HELLO, NO_FOLDER, NOT_RUN, STARTED, ENDED = b"H", b"F", b"N", b"S", b"E"
FRAME = 5  # bytes: the kind and a number
LENGTH = 8  # bytes before a request that say how long it is
TERM = b"T"

OURS_TO_TELL = {errno.E2BIG, errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
"""Errors of a start that say nothing of the program; the others show as in a shell."""
RESET = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ)
"""What the spawner, we or Python ignore and commands expect."""


def main(control: socket.socket, streams: list[int]) -> None:
    """Serve one child to its end. streams: what the command gets as 0, 1, 2. SIGTERM and SIGCHLD have handlers already."""
    os.setsid()
    adopt_orphans()
    wake = watch_signals()
    tell(control, HELLO, os.getpid())
    if (command := _start(control, streams)) is None:
        return
    for fd in streams:  # end of file and broken pipe must tell of the command, not of its wrapper
        os.close(fd)
    os.chdir("/")
    tell(control, STARTED, 0)
    status = _serve(command, control, wake)
    _kill_all(command)
    tell(control, ENDED, status)


def frame(kind: bytes, number: int) -> bytes:
    return kind + number.to_bytes(FRAME - 1, "big")


def tell(control: socket.socket, kind: bytes, number: int) -> None:
    try:
        control.sendall(frame(kind, number))
    except OSError:  # the owner is gone
        pass


def adopt_orphans() -> None:
    """Descendants whose parent ends become our children, not those of process 1."""
    if sys.platform == "linux":
        LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)


def watch_signals() -> int:
    """The read end of a pipe that gets the number of every signal that is handled as a byte."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    if (inherited := signal.set_wakeup_fd(write, warn_on_full_buffer=False)) >= 0:
        os.close(inherited)
    return read


def processes() -> dict[int, tuple[int, int, int]]:
    """Every process that /proc shows: its parent, group and session. Empty where there is no /proc."""
    table = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:  # it has just ended
                continue
            if fields[0] != b"Z" or int(fields[17]) > 1:  # without its first thread it looks dead, and goes on
                table[int(name)] = (int(fields[1]), int(fields[2]), int(fields[3]))
    return table


def descendants(root: int, spared: frozenset[int] = frozenset()) -> dict[int, int]:
    """Every living process below `root`, and its process group; without the `spared` and what is below those."""
    table = processes()
    found: dict[int, int] = {}
    parents = {root}
    while parents:
        children = {pid: row[1] for pid, row in table.items() if row[0] in parents and pid not in found and pid not in spared}
        found.update(children)
        parents = set(children)
    return found


def kill(pid: int, group: bool = False) -> None:
    try:
        os.killpg(pid, signal.SIGKILL) if group else os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def kill_family(family: dict[int, int]) -> None:
    """By group first: that is one step for the kernel, so that a fork bomb cannot outrun it."""
    for group in set(family.values()) - {os.getpgid(0)}:
        kill(group, group=True)
    for pid in family:
        kill(pid)


def _start(control: socket.socket, streams: list[int]) -> int | None:
    """Start what is asked for: its process id. None where there is none; the owner has been told then."""
    if (request := _request(control)) is None:
        return None
    argv, cwd, env = request
    try:
        os.chdir(cwd)
    except OSError as error:
        tell(control, NO_FOLDER, error.errno or errno.ENOENT)
        return None
    try:
        return _spawn(argv, env, streams)
    except OSError as error:
        if error.errno in OURS_TO_TELL:
            tell(control, NOT_RUN, error.errno or errno.EAGAIN)
            return None
        os.write(streams[2], b"cannot run %s: %s\n" % (argv[0], os.fsencode(os.strerror(error.errno or 0))))
        tell(control, STARTED, 0)
        tell(control, ENDED, 127 if isinstance(error, FileNotFoundError) else 126)
        return None


def _request(control: socket.socket) -> tuple[list[bytes], bytes, dict[bytes, bytes]] | None:
    """What is to be run: argv, cwd, env. None when the owner is gone before it has said all."""
    length = int.from_bytes(_receive(control, LENGTH), "big")
    data = _receive(control, length)
    if not length or len(data) < length:
        return None
    argv, cwd, env = marshal.loads(data)
    return argv, cwd, env


def _receive(control: socket.socket, size: int) -> bytes:
    data = bytearray()
    try:
        while len(data) < size and (chunk := control.recv(size - len(data))):
            data += chunk
    except OSError:  # the owner is gone
        pass
    return bytes(data)


def _spawn(argv: list[bytes], env: dict[bytes, bytes], streams: list[int]) -> int:
    """Start `argv`, looked for in the PATH of `env`, as leader of a process group. Raises: OSError."""
    name, actions = argv[0], [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(streams)]
    folders = [b""] if b"/" in name else env.get(b"PATH", os.fsencode(os.defpath)).split(b":")
    refused: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    for folder in folders:
        try:
            return os.posix_spawn(os.path.join(folder, name), argv, env, file_actions=actions, setpgroup=0, setsigdef=RESET)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            refused = error
    raise refused


def _serve(command: int, control: socket.socket, wake: int) -> int:
    """Wait until no child is left, the owner is gone, or the command's leftovers had their time."""
    status: int | None = None
    told_to_end, until = False, 0.0
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(wake, select.POLLIN)
    while True:
        left = None if status is None or told_to_end else max(0.0, until - time.monotonic()) * 1000
        ready = {fd for fd, _ in poll.poll(left)}
        asked = _asked(control) if control.fileno() in ready else False
        if asked is None or not ready:
            return LOST_OWNER if status is None else status
        if asked or (wake in ready and signal.SIGTERM in os.read(wake, 512)):
            told_to_end = True
            _terminate(command)
        ended, any_left = _reap(command)
        if ended is not None:
            status, until = ended, time.monotonic() + LINGER_S
        if not any_left:
            return LOST_OWNER if status is None else status


def _asked(control: socket.socket) -> bool | None:
    """Whether the owner wants TERM to be sent; None when it is gone."""
    try:
        return TERM in control.recv(512) or None
    except OSError:  # gone, with something of ours unread
        return None


def _terminate(command: int) -> None:
    try:
        os.killpg(command, signal.SIGTERM)
    except (ProcessLookupError, PermissionError):
        pass


def _reap(command: int) -> tuple[int | None, bool]:
    """Collect every child that ended: the command's status if it is among them, and whether a child is left."""
    status = None
    while True:
        try:
            pid, word = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status, False
        if pid == 0:
            return status, True
        if pid == command:
            code = os.waitstatus_to_exitcode(word)
            status = code if code >= 0 else 128 - code


def _kill_all(command: int) -> None:
    """Until nothing is left."""
    pause = 0.001
    if sys.platform != "linux":
        kill(command, group=True)
    while _reap(command)[1]:
        kill_family(descendants(os.getpid()))
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)
