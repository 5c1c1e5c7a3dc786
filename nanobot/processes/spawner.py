"""The spawner: one small warm process that forks the wrapper (lifeline.py) of every child, so that none needs a Python start.

Run by `python -I -S` with one descriptor, a socket to its owner (spawning.py); standard library only, single threaded. What
comes on that socket are frames: `FORK` with descriptors, which are the wrapper's control socket, standard input, output and
error and what it is to hold; `KILL` with the process id of a wrapper. A wrapper that cannot be forked is told on its socket.

It keeps of every wrapper the control socket, and nothing else of what it was given, until the wrapper is reaped and what a
killed wrapper left is dead: so the owner sees the end of that socket when nothing is left, neither process nor zombie. What a
killed wrapper leaves becomes a child of ours (child subreaper, Linux), wherever it went, and is killed.

It ends with its owner: at once when no wrapper is left, else after `ENDING_S`; wrappers end by their own sockets. Signals that
ask for an end (a service manager sends TERM to all of a service) are ignored: the owner may still have something to run.

Measured over 20 children on two quiet cores (tests/bench/child_cost.py): 0.9 MiB a child with everything counted, where a Python
as the wrapper of each has 3.7 to itself; 3 to 4 ms a child beyond a bare posix_spawn, where that takes 28 to 30. A wrapper shares
the pages of the spawner until it writes to them: few imports and a frozen collector keep that so. What two children left behind
could not be told apart by one process for all of them, which would be cheaper still.
"""

import errno
import gc
import os
import select
import signal
import socket
import time
from typing import NoReturn

from nanobot.processes import lifeline

FORK, KILL = b"f", b"k"
ENDING_S = 0.7  # a second is promised for the end after the owner's
SHORTEST_PAUSE_S = 0.001  # between two rounds of killing orphans
MOST_DESCRIPTORS = 253  # of one message, linux/net/scm.h


def main(fd: int) -> NoReturn:
    owner = socket.socket(fileno=fd)
    owner.set_inheritable(False)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGCHLD):  # wrappers inherit the handlers; for us TERM means nothing
        signal.signal(number, lambda *_: None)
    lifeline.adopt_orphans()
    spawner = Spawner(owner, lifeline.watch_signals())
    gc.disable()
    gc.freeze()
    spawner.serve()
    os._exit(0)


class Spawner:
    def __init__(self, owner: socket.socket, wake: int) -> None:
        self._owner, self._wake = owner, wake
        self._wrappers: dict[int, socket.socket] = {}
        self._lost: list[socket.socket] = []  # of wrappers that were killed and whose orphans are not all dead
        self._pause = SHORTEST_PAUSE_S

    def serve(self) -> None:
        """Until the owner is gone."""
        poll = select.poll()
        poll.register(self._owner, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        until: float | None = None
        while until is None or (time.monotonic() < until and (self._wrappers or self._lost)):
            left = None if until is None else max(0.0, until - time.monotonic())
            ready = {fd for fd, _ in poll.poll(self._poll_ms(left))}
            if self._wake in ready:
                os.read(self._wake, 512)
            self._reap()
            self._sweep()
            if self._owner.fileno() in ready and not self._obey():
                poll.unregister(self._owner)
                until = time.monotonic() + ENDING_S
                for pid in self._wrappers:
                    os.kill(pid, signal.SIGCONT)  # one that is stopped would not see that its owner is gone

    def _poll_ms(self, left: float | None) -> float | None:
        pauses = [seconds for seconds in (left, self._pause if self._lost else None) if seconds is not None]
        return min(pauses) * 1000 if pauses else None

    def _obey(self) -> bool:
        """Do what the owner asks for; False when it is gone."""
        try:
            data, fds, cut = _received(self._owner)
        except OSError:
            return False
        kind, number = data[:1], int.from_bytes(data[1:], "big")
        if kind == KILL and number in self._wrappers:
            os.kill(number, signal.SIGKILL)
        if kind == FORK and not cut:
            self._fork(socket.socket(fileno=fds.pop(0)), fds[:3])
        for fd in fds:
            os.close(fd)
        return bool(data)

    def _fork(self, control: socket.socket, streams: list[int]) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            lifeline.tell(control, lifeline.NOT_RUN, error.errno or errno.EAGAIN)
            control.close()
            return
        if pid == 0:
            self._become_wrapper(control, streams)
        self._wrappers[pid] = control

    def _become_wrapper(self, control: socket.socket, streams: list[int]) -> NoReturn:
        status = 1
        try:
            os.close(self._wake)
            for other in (self._owner, *self._wrappers.values(), *self._lost):
                other.close()
            lifeline.main(control, streams)
            status = 0
        finally:
            os._exit(status)

    def _reap(self) -> None:
        while True:
            try:
                pid, word = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if (control := self._wrappers.pop(pid, None)) is not None:
                if word == 0:
                    control.close()
                else:
                    self._lost.append(control)
                    self._pause = SHORTEST_PAUSE_S

    def _sweep(self) -> None:
        """Kill what killed wrappers left: every child of ours that is no wrapper, and what is below it."""
        if not self._lost:
            return
        if family := lifeline.descendants(os.getpid(), spared=frozenset(self._wrappers)):
            lifeline.kill_family(family)
            self._pause = min(2 * self._pause, lifeline.LONGEST_PAUSE_S)
            return
        for control in self._lost:
            control.close()
        self._lost.clear()


def _received(owner: socket.socket) -> tuple[bytes, list[int], bool]:
    """A frame, its descriptors, and whether some were lost because we have no room. Raises: OSError."""
    data, fds, flags, _ = socket.recv_fds(owner, lifeline.FRAME, MOST_DESCRIPTORS)
    for fd in fds:
        os.set_inheritable(fd, False)
    return data, list(fds), bool(flags & socket.MSG_CTRUNC)
