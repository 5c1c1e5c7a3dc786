"""Our end of the spawner (spawner.py) and of the wrappers (lifeline.py) that it forks for us.

One spawner belongs to a Trio run: it is started when the first child is, a new one when it was killed or does not answer, and
it is gone when the run ends, since a system task of the run owns it. It is started by `subprocess`; this process is never
forked as it is. What it is given in the environment is nothing.

`Wrapper` is one child's wrapper. All that concerns it goes over a socket of its own, so it does not matter to a running child
what becomes of the spawner. No process id is ever signalled here: the spawner, which reaps them, is asked to.
"""

from __future__ import annotations

import marshal
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import trio
from loguru import logger

from nanobot.processes import lifeline, spawner

ANSWER_S = 5.0
"""For a wrapper to be forked, and to say that its command runs; each takes a millisecond. A spawner that takes longer is stopped
or stuck, and replaced; a wrapper that does counts as one whose command runs."""
LEAVE_S = 2.0
"""For the spawner to end when it is told to, and when it is killed."""
RUN = f"import sys; sys.path.append(sys.argv[1]); from {spawner.__name__} import main; main(int(sys.argv[2]))"
FOLDER = str(Path(spawner.__file__).parents[2])
"""Where our package is: last in the path of the spawner, so that nothing there hides the standard library."""


class UnansweredError(Exception):
    """The spawner is gone or stuck."""


@attrs.define(eq=False)
class Spawner:
    """A running spawner."""

    _process: trio.Process
    _socket: socket.socket
    gone: bool = False
    _sending: trio.Lock = attrs.field(factory=trio.Lock, init=False)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def keep(self) -> None:
        """Reap it when it ends; end it when cancelled."""
        try:
            await self._process.wait()
            logger.warning(
                "the process that starts commands has ended ({}), a new one comes when needed", self._process.returncode
            )
        finally:
            self.gone = True
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
            with trio.move_on_after(LEAVE_S, shield=True):
                await self._process.wait()
            self._process.kill()
            with trio.move_on_after(LEAVE_S, shield=True):
                await self._process.wait()

    async def fork(self, fds: Sequence[int]) -> None:
        """Ask for a wrapper with these descriptors. Raises: UnansweredError, OSError."""
        message = lifeline.frame(spawner.FORK, 0)
        async with self._sending:
            while not self.gone:
                try:
                    socket.send_fds(self._socket, [message], list(fds))
                except BlockingIOError:
                    await self._room()
                except ConnectionError as error:
                    raise UnansweredError from error
                else:
                    return
        raise UnansweredError

    async def _room(self) -> None:
        try:
            await trio.lowlevel.wait_writable(self._socket)
        except trio.ClosedResourceError:  # `gone` says so
            pass

    def kill(self, wrapper: int) -> None:
        """Ask it to kill a wrapper of its own."""
        try:
            self._socket.send(lifeline.frame(spawner.KILL, wrapper))
        except OSError:  # gone or stuck
            pass

    def give_up(self) -> None:
        """Kill it. Wrappers live on, and end by their own sockets."""
        self.gone = True
        self._process.kill()


@attrs.define
class _Home:
    """What a Trio run has of spawners."""

    starting: trio.Lock = attrs.field(factory=trio.Lock)
    spawner: Spawner | None = None


_HOME: trio.lowlevel.RunVar[_Home] = trio.lowlevel.RunVar("spawner")


def _home() -> _Home:
    try:
        return _HOME.get()
    except LookupError:
        home = _Home()
        _HOME.set(home)
        return home


def current() -> Spawner | None:
    """The spawner of this Trio run, if one is running and not given up."""
    found = _home().spawner
    return None if found is None or found.gone else found


async def ready() -> Spawner:
    """The spawner of this Trio run, started where there is none. Raises: OSError."""
    async with _home().starting:
        found = current()
        if found is None:
            found = _home().spawner = await _start()
        return found


async def _start() -> Spawner:
    ours, theirs = socket.socketpair()
    try:
        ours.setblocking(False)
        process = await trio.lowlevel.open_process(
            [sys.executable, "-I", "-S", "-c", RUN, FOLDER, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={},
            process_group=0,  # the terminal's signals are not for it; if it is stopped when we end, the kernel wakes it up
            pass_fds=[theirs.fileno()],
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    started = Spawner(process, ours)
    trio.lowlevel.spawn_system_task(started.keep, name="spawner of child processes")
    return started


@attrs.frozen
class Request:
    """What a wrapper is to run."""

    data: bytes
    program: str
    cwd: str

    @classmethod
    def of(cls, argv: Sequence[str], cwd: Path, env: Mapping[str, str]) -> Request:
        """Raises: ValueError where something cannot be passed to a process: a null byte, a name with an equals sign."""
        folder = os.path.abspath(cwd)
        arguments = [os.fsencode(part) for part in argv]
        environment = {os.fsencode(name): os.fsencode(value) for name, value in env.items()}
        if any(b"\0" in part for part in (*arguments, os.fsencode(folder), *environment, *environment.values())):
            raise ValueError("embedded null byte")
        if any(not name or b"=" in name for name in environment):
            raise ValueError("illegal environment variable name")
        return cls(marshal.dumps((arguments, os.fsencode(folder), environment)), argv[0], folder)


@attrs.define(eq=False)
class Wrapper:
    """A child's wrapper, from the moment it is asked for."""

    spawner: Spawner
    _control: socket.socket
    _theirs: socket.socket
    pid: int = 0
    """Its process id, and the session that the command starts in; 0 until it has answered."""
    status: int | None = None
    """The command's exit status, once it and everything it started is gone."""
    started: bool = False
    """The command runs, or has run."""
    over: bool = False
    """Nothing is left of it; without a status it was killed."""
    _inbox: bytearray = attrs.field(factory=bytearray, init=False)
    _reading: trio.Lock = attrs.field(factory=trio.Lock, init=False)

    @classmethod
    def of(cls, spawner: Spawner) -> Wrapper:
        """One that is still to be started. Raises: OSError."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        return cls(spawner, ours, theirs)

    async def start(self, request: Request, fds: Sequence[int]) -> None:
        """Run `request`. fds: its standard input, output and error, and what the wrapper is to hold.

        Raises: UnansweredError: it has not answered. If it is `over` then and `pid` still unknown, nothing was run, and another
        spawner may do. OSError: it cannot be run.
        """
        with trio.move_on_after(ANSWER_S):
            await self._fork(fds)
            await self._send(len(request.data).to_bytes(lifeline.LENGTH, "big") + request.data)
            await self._hello()
        if not self.pid:
            raise UnansweredError
        with trio.move_on_after(ANSWER_S):
            match await self._receive():
                case (lifeline.NO_FOLDER, code):
                    raise OSError(code, os.strerror(code), request.cwd)
                case (lifeline.NOT_RUN, code):
                    raise OSError(code, os.strerror(code), request.program)
                case _:
                    pass
        self.started = True  # also when the command has killed or stopped its wrapper before that could say so

    async def _fork(self, fds: Sequence[int]) -> None:
        try:
            await self.spawner.fork((self._theirs.fileno(), *fds))
        finally:
            self._theirs.close()

    async def _hello(self) -> None:
        match await self._receive():
            case (lifeline.HELLO, pid):
                self.pid = pid
            case (_, code):
                raise OSError(code, os.strerror(code))
            case None:
                pass

    async def ended(self) -> int:
        """Wait until the command and everything it started is gone. Returns its status, LOST_OWNER if its wrapper was killed."""
        async with self._reading:
            while self.status is None and not self.over:
                await self._note()
        return lifeline.LOST_OWNER if self.status is None else self.status

    async def gone(self) -> None:
        """Wait until the wrapper is gone too, and reaped."""
        async with self._reading:
            while not self.over:
                await self._note()

    def terminate(self) -> None:
        """Have TERM sent to the command's process group."""
        if self.started and not self.over:
            try:
                self._control.send(lifeline.TERM)
            except OSError:  # it is gone, or stopped for long
                pass

    def hang_up(self) -> None:
        """Have everything killed: what the end of this process would do."""
        try:
            self._control.shutdown(socket.SHUT_WR)
        except OSError:  # it is gone
            pass

    def kill(self) -> None:
        """Have the wrapper killed, and what that leaves."""
        if self.pid and not self.over:
            self.spawner.kill(self.pid)

    def close(self) -> None:
        trio.lowlevel.notify_closing(self._control)
        self._control.close()
        self._theirs.close()

    async def _note(self) -> None:
        match await self._receive():
            case (lifeline.HELLO, pid):
                self.pid = pid
            case (lifeline.ENDED, status):
                self.status = status
            case _:
                pass

    async def _receive(self) -> tuple[bytes, int] | None:
        """The next frame; None at the end."""
        while len(self._inbox) < lifeline.FRAME:
            try:
                data = self._control.recv(lifeline.FRAME)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._control)
                continue
            except OSError:  # it went with something of ours unread, or we have closed
                data = b""
            if not data:
                self.over = True
                return None
            self._inbox += data
        kind, number = self._inbox[:1], self._inbox[1 : lifeline.FRAME]
        del self._inbox[: lifeline.FRAME]
        return bytes(kind), int.from_bytes(number, "big")

    async def _send(self, data: bytes) -> None:
        """Send all of it, unless the wrapper is gone; the next frame is the end then."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._control.send(rest) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._control)
            except ConnectionError:
                return
