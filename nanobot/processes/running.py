"""Commands that may outlive the call that starts them: the table of the house, and the one task that all of them live in.

Who owns a process: the call that starts it, until it hands it over; then whoever waits for its `outcome`, the session's
errand. Cancelling the owner ends the process, and returns when nothing of it is left. One that was handed over and that nobody
claims within `CLAIM_S` ends as well, and so does everything when `run` is cancelled. No process is ever without an owner.

Its output is bounded as that of every command (`Capture`); beside that the first and last bytes since the last look are kept,
so that a reader who comes rarely sees both ends of what is new. An end is told once: by the look that a tool call takes, or by
the outcome.

Only who started a process sees it: `Processes.of` gives a session and principal the view of their own.
"""

from __future__ import annotations

import codecs
import math
import select
import time
from collections.abc import AsyncIterator, Callable, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import NoReturn

import attrs
import trio

from nanobot.errors import ToolError
from nanobot.processes.children import CHUNK, DRAIN_S, END_S, GRACE_S, Capture, Child, open_child

MOST_IN_SESSION = 8
"""Processes of one session at a time: a server or two, a watcher and some builds. More is a loop that starts them."""
MOST_IN_HOUSE = 32
"""In all: each costs a wrapper, some descriptors and up to 4 × `keep` bytes here, beside what it does itself."""
CLAIM_S = 10.0
"""From handing over to being claimed: a line on a slow disk, no more."""
QUIET_S = 0.1
"""News are whole when nothing more has come for so long: an answer of several lines is one look."""


@attrs.frozen
class Ended:
    """How a command ended: its status, and our reason where we ended it."""

    status: int
    reason: str = ""

    @property
    def failed(self) -> bool:
        return self.status != 0 or bool(self.reason)

    def __str__(self) -> str:
        signal = f" (signal {self.status - 128})" if 128 < self.status < 128 + 65 else ""
        return f"Exit code: none, {self.reason}" if self.reason else f"Exit code: {self.status}{signal}"


@attrs.frozen
class Look:
    """What a command wrote, or what is new of it: `total` bytes, of which the first and the last are here."""

    head: bytes
    tail: bytes
    total: int
    file: Path | None
    """Holds all that it ever wrote, if that is in a file."""
    ended: Ended | None = None


@attrs.frozen
class Outcome:
    """The end of a process that was handed over, for the session."""

    text: str
    tainted: bool = False
    told: bool = False
    """A look has told it already."""


@attrs.frozen
class Command:
    """What is to run, and what the tools have to know of it later."""

    text: str
    """As the model wrote it."""
    argv: Sequence[str]
    cwd: Path
    env: Mapping[str, str]
    seconds: float
    """After which it is ended."""
    file: Path
    """For its output where that gets long."""
    keep: int
    """Bytes at each end of a look."""
    limit: int
    """Bytes of output after which it is ended."""
    row: str
    """Of the policy table, and under which terms: what it is fed is judged as the command was."""
    terms: str
    tainted: bool
    """What it writes may come from strangers."""
    tell: Callable[[Running, Look], str]
    """Its end as a text for the model."""
    inherit_fds: tuple[int, ...] = ()

    @property
    def late(self) -> str:
        """Why it was ended, where it took too long."""
        return f"timed out after {self.seconds:g} s; everything it started is gone"

    @property
    def too_much(self) -> str:
        return f"it wrote more than {self.limit:,} bytes and was stopped"


@attrs.define(eq=False)
class Ends:
    """The first and last `keep` bytes of a stream."""

    keep: int
    total: int = 0
    head: bytearray = attrs.field(factory=bytearray, init=False)
    tail: bytearray = attrs.field(factory=bytearray, init=False)

    def take(self, chunk: bytes) -> None:
        self.total += len(chunk)
        into_head = max(0, self.keep - len(self.head))
        self.head += chunk[:into_head]
        self.tail += chunk[into_head:]
        del self.tail[: max(0, len(self.tail) - self.keep)]

    def give_back(self) -> bytes:
        """Take out the beginning of a character that is not whole yet."""
        end = self.tail or self.head
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        decoder.decode(bytes(end[-4:]))
        begun = decoder.getstate()[0]
        del end[len(end) - len(begun) :]
        self.total -= len(begun)
        return begun


@attrs.define(eq=False)
class Running:
    """One process, from its start until it is told that it has ended."""

    session: str
    principal: str
    id: str
    command: Command
    since: float
    """Seconds since the epoch."""
    ended: Ended | None = None
    """Set when nothing of it is left."""
    told: bool = False
    """Somebody was shown its end."""
    handed_over: bool = False
    input_open: bool = True
    hand: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    """Held by who feeds it or waits for news: one at a time."""
    gone: trio.Event = attrs.field(factory=trio.Event, init=False)
    claimed: trio.Event = attrs.field(factory=trio.Event, init=False)
    _began: float = attrs.field(factory=trio.current_time, init=False)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _why: str = attrs.field(default="", init=False)
    _child: Child | None = attrs.field(default=None, init=False)
    _output: Capture = attrs.field(init=False)
    _fresh: Ends = attrs.field(init=False)
    _news: bool = attrs.field(default=False, init=False)
    _came: trio.Event = attrs.field(factory=trio.Event, init=False)
    _watchers: list[Callable[[bytes], None]] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        command = self.command
        self._output = Capture(command.file, command.keep, command.limit, self._take)
        self._fresh = Ends(command.keep)

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return trio.current_time() - self._began

    @property
    def written(self) -> int:
        """Bytes of output so far."""
        return self._output.total

    def stop(self, why: str) -> None:
        """End it; `gone` is set when nothing of it is left."""
        self._why = self._why or why
        self._scope.cancel(reason=why)

    def ask_to_end(self, why: str) -> None:
        """As `stop`, but what it still says in `GRACE_S` is heard, and its own exit code where it ends in that time."""
        self._why = self._why or why
        self._scope.deadline = min(self._scope.deadline, trio.current_time() + GRACE_S)
        if self._child is not None:
            self._child.terminate()

    # --- what it says

    @contextmanager
    def watched(self, watch: Callable[[bytes], None]) -> Generator[None]:
        """`watch` is told of every chunk; it must not block."""
        self._watchers.append(watch)
        try:
            yield
        finally:
            self._watchers.remove(watch)

    async def news(self) -> None:
        """Wait until there is something new to look at, and it has been quiet since; or until it has ended."""
        while self.ended is None:
            with trio.move_on_after(QUIET_S if self._news else math.inf) as quiet:
                await self._came.wait()
            if quiet.cancelled_caught:
                return

    def look(self) -> Look:
        """What is new since the last look."""
        new, self._fresh, self._news = self._fresh, Ends(self.command.keep), False
        if self.ended is None:
            self._fresh.take(new.give_back())
        self.told = self.ended is not None
        return Look(bytes(new.head), bytes(new.tail), new.total, self._output.file, self.ended)

    def _take(self, chunk: bytes) -> None:
        self._fresh.take(chunk)
        self._news = True
        self._wake()
        for watch in self._watchers:
            watch(chunk)

    def _wake(self) -> None:
        self._came.set()
        self._came = trio.Event()

    # --- what it is told

    async def feed(self, data: bytearray) -> None:
        """Write to its input; what it has taken is taken out of `data`, also when this is cancelled.

        Returns with some left where it has closed its input: `input_open` is False then.
        """
        try:
            while data and self._stdin is not None:
                await self._stdin.send_all(data[: select.PIPE_BUF])  # a pipe takes so many wholly or not at all
                del data[: select.PIPE_BUF]
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.input_open = False

    async def close_input(self) -> None:
        self.input_open = False
        if self._stdin is not None:
            await self._stdin.aclose()

    @property
    def _stdin(self) -> trio.abc.SendStream | None:
        return None if self._child is None else self._child.stdin

    # --- its life

    async def live(self, task_status: trio.TaskStatus[None]) -> None:
        """Run until it has ended and nothing of it is left. Raises: OSError if it cannot be started."""
        ended = Ended(0, "nanobot was stopped")
        try:
            with self._scope:
                ended = Ended(await self._served(task_status))
            if self._scope.cancelled_caught:
                ended = Ended(0, self._why or self.command.late)
            elif self._output.over:
                ended = Ended(ended.status, self.command.too_much)
        finally:
            self._output.close()
            self.ended, self.input_open = ended, False
            self.gone.set()
            self._wake()

    async def _served(self, task_status: trio.TaskStatus[None]) -> int:
        command = self.command
        opened = open_child(command.argv, cwd=command.cwd, env=command.env, stdin=True, inherit_fds=command.inherit_fds)
        async with opened as child, trio.open_nursery() as nursery:
            self._child = child
            self._scope.deadline = self._began + command.seconds
            nursery.start_soon(self._read, child, nursery.cancel_scope)
            task_status.started()
            await child.wait()
            nursery.cancel_scope.deadline = trio.current_time() + DRAIN_S
        return await child.wait()

    async def _read(self, child: Child, scope: trio.CancelScope) -> None:
        while chunk := await child.stdout.receive_some(CHUNK):
            await self._output.take(bytes(chunk))
            if self._output.over:
                scope.cancel()
                return


@attrs.define(eq=False)
class Processes:
    """See the module. One for the house; `run` is its life."""

    claim_s: float = CLAIM_S
    clock: Callable[[], float] = time.time
    _nursery: trio.Nursery | None = attrs.field(default=None, init=False)
    _rows: dict[tuple[str, str], Running] = attrs.field(factory=dict, init=False)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Every process lives in here; cancelling it ends them all."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()
        raise AssertionError("it sleeps for ever")

    @property
    def listed(self) -> tuple[Running, ...]:
        """All of them, the oldest first."""
        return tuple(self._rows.values())

    def of(self, session: str, principal: str) -> OwnProcesses:
        return OwnProcesses(self, session, principal)

    @asynccontextmanager
    async def started(self, session: str, principal: str, id: str, command: Command) -> AsyncIterator[Running]:
        """Run a command for the body, which may hand it over; else it is ended with the body, and nothing of it is left.

        `id`: unique in the session. The file of its output goes as well unless its end was told.
        Raises: ToolError where there are too many, OSError if it cannot be started.
        """
        self._check_room(session)
        running = Running(session, principal, id, command, self.clock())
        assert self._nursery is not None, "Processes.run must run"
        self._rows[session, id] = running
        try:
            await self._nursery.start(running.live)
            yield running
        finally:
            if not running.handed_over:
                del self._rows[session, id]
                running.stop("its call was ended")
                with trio.move_on_after(END_S, shield=True):
                    await running.gone.wait()
                if not running.told:
                    command.file.unlink(missing_ok=True)

    def hand_over(self, running: Running) -> None:
        """It goes on when the call that started it returns, and whoever waits for its outcome owns it. No checkpoint."""
        assert self._nursery is not None
        running.handed_over = True
        self._nursery.start_soon(self._until_claimed, running, name=f"process {running.session} {running.id}")

    async def outcome(self, session: str, id: str) -> Outcome:
        """Own a process that was handed over until its end; cancelled, end it and return when nothing of it is left."""
        running = self._rows.get((session, id))
        if running is None:
            return Outcome(f"The background process {id} was ended: nobody asked for its outcome in time.")
        running.claimed.set()
        try:
            await running.gone.wait()
            async with running.hand:  # whoever looks at it just now tells its end
                told = running.told
            return Outcome(running.command.tell(running, running.look()), running.command.tainted, told)
        finally:
            self._rows.pop((session, id), None)
            running.stop("it was stopped")
            with trio.move_on_after(END_S, shield=True):
                await running.gone.wait()

    def drop(self, session: str, id: str) -> None:
        """Nobody will wait for its outcome any more: end it, if it was handed over. Must not block."""
        running = self._rows.get((session, id))
        if running is not None and running.handed_over:
            del self._rows[session, id]
            running.claimed.set()
            running.stop("it was stopped")

    async def _until_claimed(self, running: Running) -> None:
        with trio.move_on_after(self.claim_s):
            await running.claimed.wait()
        if not running.claimed.is_set():
            self.drop(running.session, running.id)

    def _check_room(self, session: str) -> None:
        mine = [running.id for running in self._rows.values() if running.session == session]
        if len(mine) >= MOST_IN_SESSION:
            raise ToolError(
                f"Not run: {len(mine)} processes of this session run already: {', '.join(mine)}. End one with kill_process first"
            )
        if len(self._rows) >= MOST_IN_HOUSE:
            raise ToolError(f"Not run: {len(self._rows)} background processes run already. Wait, or run it without yield_time")


@attrs.frozen
class OwnProcesses:
    """What one principal of one session has running."""

    _processes: Processes
    _session: str
    _principal: str

    @property
    def listed(self) -> tuple[Running, ...]:
        """Those that were handed over, the oldest first."""
        rows = (running for running in self._processes.listed if running.session == self._session)
        return tuple(running for running in rows if running.principal == self._principal and running.handed_over)

    def find(self, id: str) -> Running | None:
        return next((running for running in self.listed if running.id == id), None)

    def started(self, id: str, command: Command) -> AbstractAsyncContextManager[Running]:
        """As `Processes.started`."""
        return self._processes.started(self._session, self._principal, id, command)

    def hand_over(self, running: Running) -> None:
        """As `Processes.hand_over`."""
        self._processes.hand_over(running)
