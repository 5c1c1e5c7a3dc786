"""The wrapper around every child process: `lifeline.py FD[,FD...] COMMAND...`, run by `python -I -S`, standard library only.

Theory of operation. The first FD is the read end of a pipe whose only write end the owner holds; nothing is ever written
to it. When the owner closes it, or goes away in any manner, kill -9 included, the pipe reports end of file and every
descendant is killed. None can hide: this process is a *child subreaper* (Linux), so one that forked twice or called setsid
becomes a child of ours when its parent ends. The further FDs (a lock) are held until the last descendant is gone and are
never seen by the command.

- SIGTERM is passed to the command's process group, and what is left may then take its time: the owner closes the pipe.
- When the command ends by itself, what it left running gets `LINGER_S` (a `tee` that still flushes), then it is killed.
- Without any child left, the command's exit status is passed on: 128 + n where signal n ended it, 126 and 127 as in a shell.

No descendant is left when this process has ended, unless somebody killed it; the owner sees that (a negative return code)
and kills what is in its session. On systems without subreapers only the command's process group is in reach.
"""

import ctypes
import os
import select
import signal
import sys
import time

LINGER_S = 0.2  # long enough for a pipeline's last writer, too short to wait for on purpose
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
LOST_OWNER = 128 + signal.SIGKILL
LONGEST_PAUSE_S = 0.5  # between two rounds of killing what cannot die yet (waits for a disk, belongs to root)


def main(arguments: list[str]) -> int:
    lifeline, *held = [int(text) for text in arguments[0].split(",")]
    for fd in (lifeline, *held):
        os.set_inheritable(fd, False)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    wake = _watch_signals()
    command = _start(arguments[1:])
    _let_go_of_standard_streams()
    status = _serve(command, lifeline, wake)
    _kill_all(command)
    return status


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
            if fields[0] != b"Z":
                table[int(name)] = (int(fields[1]), int(fields[2]), int(fields[3]))
    return table


def descendants(root: int) -> dict[int, int]:
    """Every living process below `root`, and its process group."""
    table = processes()
    found: dict[int, int] = {}
    parents = {root}
    while parents:
        children = {pid: row[1] for pid, row in table.items() if row[0] in parents and pid not in found}
        found.update(children)
        parents = set(children)
    return found


def kill(pid: int, group: bool = False) -> None:
    try:
        os.killpg(pid, signal.SIGKILL) if group else os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def _watch_signals() -> int:
    """The read end of a pipe that gets the number of every SIGTERM and SIGCHLD as a byte."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    return read


def _start(command: list[str]) -> int:
    caught = {signal.SIGTERM, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, caught)  # a handler must not run in the child: the wake-up pipe is ours
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in (*caught, signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores the last two, commands expect them
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, caught)
        _become(command)
    try:
        os.setpgid(pid, pid)  # in both, so that neither has to wait for the other
    except OSError:  # it has already begun the command
        pass
    signal.pthread_sigmask(signal.SIG_UNBLOCK, caught)
    return pid


def _become(command: list[str]) -> None:
    code = 126
    try:
        os.execvp(command[0], command)
    except OSError as error:
        code = 127 if isinstance(error, FileNotFoundError) else 126
        os.write(2, os.fsencode(f"cannot run {command[0]}: {error.strerror}\n"))
    finally:
        os._exit(code)


def _let_go_of_standard_streams() -> None:
    """End of file and broken pipe must tell of the command, not of its wrapper."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    os.close(nothing)


def _serve(command: int, lifeline: int, wake: int) -> int:
    """Wait until no child is left, the owner is gone, or the command's leftovers had their time."""
    status: int | None = None
    told_to_end, until = False, 0.0
    while True:
        left = None if status is None or told_to_end else max(0.0, until - time.monotonic())
        ready = select.select([lifeline, wake], [], [], left)[0]
        if lifeline in ready or not ready:
            return LOST_OWNER if status is None else status
        if signal.SIGTERM in os.read(wake, 512):
            told_to_end = True
            _terminate(command)
        ended, any_left = _reap(command)
        if ended is not None:
            status, until = ended, time.monotonic() + LINGER_S
        if not any_left:
            return LOST_OWNER if status is None else status


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
    """Until nothing is left. By group first: that is one step for the kernel, so that a fork bomb cannot outrun it."""
    pause = 0.001
    own_group = os.getpgid(0)
    if sys.platform != "linux":
        kill(command, group=True)
    while _reap(command)[1]:
        family = descendants(os.getpid())
        for group in set(family.values()) - {own_group}:
            kill(group, group=True)
        for pid in family:
            kill(pid)
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))
