"""Child processes that die with their scope and with us, kill -9 included.

`open_child` starts a command inside a wrapper (lifeline.py, which see, as the spawner.py of this process forks it) and ends
it, whatever it has started and wherever that went, when the body ends or is cancelled: first TERM to the command's group
through the wrapper, a grace, then its lifeline ends, at which the wrapper kills every descendant, then the spawner kills the
wrapper and what that leaves, then KILL for what is left in its session. The end is shielded and bounded by `END_S`; after it
no process, zombie or descriptor of the child remains, or a warning in the log says which. A child is never killed past its
wrapper: what called setsid would live on. What becomes of the spawner is nothing to children that run.

`run` is the common case on top: one command, its output captured with bounds. Deadlines are the caller's scopes.

The environment of a child is an allow list (`clean_env`): what is not named there, keys above all, it does not see.
"""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import attrs
import trio
from loguru import logger

from nanobot.config.schema import ExecConfig
from nanobot.processes import lifeline, spawning
from nanobot.processes.spawning import Request, Wrapper

GRACE_S = 0.3
"""From TERM to KILL: `/stop` promises a second."""
KILL_S = 2.0
"""For the kernel to take down what got KILL; a process that waits for a disk or a network file system may need longer."""
END_S = GRACE_S + 5 * KILL_S + 1.0
"""For all of an end at its worst: wrapper asked, left to it, wrapper killed, spawner killed, session killed, wrapper again."""
ATTEMPTS = 2
"""Spawners that a start tries: one that was killed or is stuck shows only when it is used."""
DRAIN_S = 0.2
"""After the end of a command: output that a stranger with our pipe may still write is not waited for longer."""
CHUNK = 65536
"""Bytes of one read: what a Linux pipe holds."""

ALLOWED_ENV = ("HOME", "LANG", "LC_ALL", "PATH", "TERM", "TMPDIR")
FALLBACK_ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}


def clean_env(config: ExecConfig, environ: Mapping[str, str]) -> dict[str, str]:
    """What a command may see of our environment: an allow list, with the configured folders added to PATH."""
    env = {name: environ[name] for name in (*ALLOWED_ENV, *config.allowed_env_keys) if name in environ}
    env = {**FALLBACK_ENV, **env}
    env["PATH"] = ":".join(part for part in (config.path_prepend, env["PATH"], config.path_append) if part)
    return env


@attrs.define(eq=False)
class Child:
    """A running command. Its streams are closed with its scope."""

    _wrapper: Wrapper
    stdin: trio.abc.SendStream | None
    stdout: trio.abc.ReceiveStream
    """Standard output; standard error too where merged."""
    stderr: trio.abc.ReceiveStream | None

    @property
    def pid(self) -> int:
        """Process id of the wrapper, which is also the session that the command starts in."""
        return self._wrapper.pid

    async def wait(self) -> int:
        """Wait until the command and everything it started is gone. Returns its exit status, 128 + n for signal n."""
        return await self._wrapper.ended()

    def terminate(self) -> None:
        """Ask the command's process group to end (TERM)."""
        self._wrapper.terminate()


@asynccontextmanager
async def open_child(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    stdin: bool = False,
    merged: bool = True,
    inherit_fds: Iterable[int] = (),
) -> AsyncGenerator[Child]:
    """Run `argv` while the body runs.

    stdin: give it a pipe; else it reads end of file. merged: standard error goes where standard output goes.
    inherit_fds: descriptors (a lock) that stay open until the last process of it is gone; the command does not see them.
    A program that cannot be run shows as status 126 or 127 and a line of output, as in a shell.

    Raises: OSError where nothing can be started (no folder `cwd`, too long a command or environment, no processes or
    descriptors left). ValueError where `argv` or `env` hold what cannot be passed on, such as a null byte.
    """
    request = Request.of(argv, cwd, env)
    with ExitStack() as ours, ExitStack() as theirs:
        into, to_child = _pipe(theirs, ours, to_child=True) if stdin else (_nothing(theirs), None)
        out, from_child = _pipe(theirs, ours)
        err, errors = (out, None) if merged else _pipe(theirs, ours)
        wrapper = await _start(request, (into, out, err, *inherit_fds))
        theirs.close()
        try:
            yield Child(wrapper, to_child, from_child, errors)
        finally:
            with trio.move_on_after(END_S, shield=True):
                await _end(wrapper)


def _nothing(theirs: ExitStack) -> int:
    fd = os.open(os.devnull, os.O_RDONLY)
    theirs.callback(os.close, fd)
    return fd


def _pipe(theirs: ExitStack, ours: ExitStack, *, to_child: bool = False) -> tuple[int, trio.lowlevel.FdStream]:
    """Their end and ours."""
    read, write = os.pipe()
    their_end, our_end = (read, write) if to_child else (write, read)
    theirs.callback(os.close, their_end)
    stream = trio.lowlevel.FdStream(our_end)
    ours.callback(stream.close)
    return their_end, stream


async def _start(request: Request, fds: Sequence[int]) -> Wrapper:
    """Raises: OSError. Whatever it raises, Cancelled too, nothing is left of the attempt."""
    for _ in range(ATTEMPTS):
        wrapper = Wrapper.of(await spawning.ready())
        begun = False
        try:
            await wrapper.start(request, fds)
        except spawning.UnansweredError:
            wrapper.spawner.give_up()
        else:
            begun = True
            return wrapper
        finally:
            if not begun:
                with trio.move_on_after(END_S, shield=True):
                    await _end(wrapper)
        if wrapper.pid or not wrapper.over:  # it is late and may have run the command, which must not run twice
            break
    raise OSError(errno.ECHILD, "the process that starts commands does not answer", request.program)


async def _end(wrapper: Wrapper) -> None:
    try:
        if wrapper.started:
            wrapper.terminate()
            with trio.move_on_after(GRACE_S):
                await wrapper.ended()
        for step in (wrapper.hang_up, wrapper.kill, wrapper.spawner.give_up):
            if not wrapper.over:
                step()
                with trio.move_on_after(KILL_S):
                    await wrapper.gone()
        if wrapper.pid and (wrapper.status is None or not wrapper.over):
            await _end_session(wrapper)
    finally:
        wrapper.close()


async def _end_session(wrapper: Wrapper) -> None:
    """Its wrapper was killed, perhaps with the spawner, or cannot be killed: KILL what is below it or in its session."""
    left: set[int] = set()
    with trio.move_on_after(KILL_S):
        while left := _left_of(wrapper):
            for pid in left:
                lifeline.kill(pid)
            await trio.sleep(0.01)
    if not wrapper.over:
        lifeline.kill(wrapper.pid)
        with trio.move_on_after(KILL_S):
            await wrapper.gone()
    if left or not wrapper.over:
        logger.warning("processes of child {} do not end: {}", wrapper.pid, sorted(left) or "its wrapper")


def _left_of(wrapper: Wrapper) -> set[int]:
    in_session = {pid for pid, (_, _, session) in lifeline.processes().items() if session == wrapper.pid}
    below = set() if wrapper.over else set(lifeline.descendants(wrapper.pid))
    return (in_session | below) - {wrapper.pid}


@attrs.define(eq=False)
class Capture:
    """Output with bounds: the first and last `keep` bytes in memory, and all of it in a file once it is longer than that.

    `over` is set when more than `limit` bytes came: whoever feeds it should end the source. A file that cannot be written
    is given up (`file` is None then), never the output.
    """

    path: Path
    """Name of the file; its folder exists. Made with mode 0600 when it is needed."""
    keep: int
    limit: int
    watch: Callable[[bytes], None] = lambda _chunk: None
    """Told of every chunk as it comes; must not block."""
    total: int = 0
    """Bytes that came, those beyond the limit not counted."""
    over: bool = False
    _head: bytearray = attrs.field(factory=bytearray, init=False)
    _tail: bytearray = attrs.field(factory=bytearray, init=False)
    _fd: int | None = attrs.field(default=None, init=False)
    _broken: bool = attrs.field(default=False, init=False)

    @property
    def whole(self) -> bytes | None:
        """The output if all of it is in memory."""
        return bytes(self._head + self._tail) if self.total <= 2 * self.keep else None

    @property
    def head(self) -> bytes:
        return bytes(self._head)

    @property
    def tail(self) -> bytes:
        return bytes(self._tail)

    @property
    def file(self) -> Path | None:
        """Where all of it is, if it is in a file."""
        return self.path if self._fd is not None and not self._broken else None

    async def take(self, chunk: bytes) -> None:
        chunk = chunk[: self.limit - self.total] if self.total + len(chunk) > self.limit else chunk
        self.watch(chunk)
        before = bytes(self._head + self._tail) if self._fd is None else b""
        self.total += len(chunk)
        self.over = self.total >= self.limit
        into_head = self.keep - len(self._head)
        self._head += chunk[:into_head]
        self._tail += chunk[into_head:]
        del self._tail[: -self.keep]
        if self.whole is None and not self._broken:
            await trio.to_thread.run_sync(self._write, before + chunk)

    def _write(self, data: bytes) -> None:
        try:
            if self._fd is None:
                self._fd = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError as error:
            self._broken = True
            logger.warning("output cannot be kept in {}: {}", self.path, error)

    def close(self, *, discard: bool = False) -> None:
        """Close the file; discard: take it away as well."""
        if self._fd is not None:
            os.close(self._fd)
            if discard or self._broken:
                self.path.unlink(missing_ok=True)


async def run(argv: Sequence[str], output: Capture, *, cwd: Path, env: Mapping[str, str], inherit_fds: Iterable[int] = ()) -> int:
    """Run `argv` to its end with both outputs going to `output`; more than its limit ends the command.

    Returns the exit status, 128 + n for signal n. Raises: OSError as `open_child`.
    """
    async with open_child(argv, cwd=cwd, env=env, inherit_fds=inherit_fds) as child, trio.open_nursery() as nursery:
        nursery.start_soon(_read, child, output, nursery.cancel_scope)
        await child.wait()
        nursery.cancel_scope.deadline = trio.current_time() + DRAIN_S
    return await child.wait()


async def _read(child: Child, output: Capture, scope: trio.CancelScope) -> None:
    while chunk := await child.stdout.receive_some(CHUNK):
        await output.take(bytes(chunk))
        if output.over:
            scope.cancel()
            return
