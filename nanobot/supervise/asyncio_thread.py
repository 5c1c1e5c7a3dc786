"""One asyncio loop in one daemon thread: the asyncio side of asyncio_worker.py, which see.

The thread runs one main task. `request_stop` cancels it, and again, because some SDKs swallow the first CancelledError, and
then stops the loop under it. What the main task left behind is swept: tasks are cancelled up to `SWEEPS` times, generators
closed, open transports aborted. Errors of any kind travel as values: asyncio lets KeyboardInterrupt and SystemExit of a
task end the loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from types import FrameType
from typing import Generic, TypeVar

import attrs
import outcome

from nanobot.supervise.daemon_executor import DaemonExecutor

T = TypeVar("T")
U = TypeVar("U")

SWEEPS = 3
SWEEP_SHARE = 1 / 32
"""Of the stop's seconds, for the tasks of one sweep."""
INSIST = (0.4, 0.2, 0.2)
"""Of the stop's seconds, after each cancel of the main task: the first leaves it time to close, the last ends the loop."""
BOOT_S = 5.0
"""Seconds for a thread to make its loop; it takes microseconds, so this bounds a bug."""
FRAMES = 6

BackgroundError = Callable[[dict[str, object]], None]
"""Told what asyncio's exception handler is told: errors that no task awaited."""


@attrs.define(eq=False)
class AsyncioThread(Generic[T]):
    """See the module. Runs once."""

    name: str
    stop_s: float
    on_background_error: BackgroundError | None
    thread: threading.Thread | None = attrs.field(default=None, init=False)
    executor: DaemonExecutor = attrs.field(init=False)
    sweeping: bool = attrs.field(default=False, init=False)
    """No new calls: set in the thread, read by both."""
    leaked_transports: int = attrs.field(default=0, init=False)
    """Sockets that the main task left open and that had to be aborted."""
    _loop: asyncio.AbstractEventLoop | None = attrs.field(default=None, init=False)
    _booted: threading.Event = attrs.field(factory=threading.Event, init=False)
    _main: asyncio.Task[outcome.Outcome[T]] | None = attrs.field(default=None, init=False)

    @executor.default
    def _executor(self) -> DaemonExecutor:
        return DaemonExecutor(self.name)

    # --- from any thread

    def start(self, main: Callable[[], Awaitable[T]], finished: Callable[[outcome.Outcome[T]], None]) -> None:
        """`finished` is the last thing that the thread calls. It inherits the caller's context variables."""
        run = partial(contextvars.copy_context().run, self._run, main, finished)
        self.thread = threading.Thread(target=run, name=f"asyncio:{self.name}", daemon=True)
        self.thread.start()

    def post(self, work: Callable[[], None]) -> bool:
        """Do it on the loop; False if that does not run any more."""
        if self._loop is None and not (self.thread is not None and self.thread.is_alive() and self._booted.wait(BOOT_S)):
            return False
        if self._loop is None:
            return False
        try:
            self._loop.call_soon_threadsafe(work)
        except RuntimeError:  # the loop is closed
            return False
        return True

    def remains(self) -> tuple[threading.Thread, ...]:
        """What still runs of it: its own thread, and those of its executor."""
        own = (self.thread,) if self.thread is not None and self.thread.is_alive() else ()
        return (*own, *self.executor.busy())

    # --- on the loop

    def spawn(self, work: Callable[[], Awaitable[U]], context: contextvars.Context) -> asyncio.Task[outcome.Outcome[U]]:
        """A task whose result is what came of `work`."""
        assert self._loop is not None
        return self._loop.create_task(_captured(work), context=context)

    def request_stop(self, tries: int = 0) -> None:
        """Cancel the main task; insist."""
        if self._main is None or self._main.done() or self._loop is None:
            return
        if tries == len(INSIST):
            self._loop.stop()  # run_until_complete gives up, and the sweep follows
            return
        self._main.cancel()
        self._loop.call_later(self.stop_s * INSIST[tries], self.request_stop, tries + 1)

    # --- the thread

    def _run(self, main: Callable[[], Awaitable[T]], finished: Callable[[outcome.Outcome[T]], None]) -> None:
        finished(_flat(outcome.capture(self._serve, main)))

    def _serve(self, main: Callable[[], Awaitable[T]]) -> outcome.Outcome[T]:
        loop = asyncio.new_event_loop()
        loop.set_default_executor(self.executor)
        loop.set_exception_handler(self._background)
        asyncio.set_event_loop(loop)
        try:
            self._main = loop.create_task(_captured(main), name=f"{self.name}:main")
            self._loop = loop
            self._booted.set()
            result = _flat(outcome.capture(loop.run_until_complete, self._main))
            if not self._main.done():
                result = outcome.Error(asyncio.CancelledError())
            self.sweeping = True
            self._sweep(loop)
            return result
        finally:
            self._booted.set()
            asyncio.set_event_loop(None)
            loop.close()
            self.executor.shutdown(wait=False)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing that the main task has left behind outlives the loop."""
        for _ in range(SWEEPS):
            left = [task for task in asyncio.all_tasks(loop) if not task.done()]
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.wait(left, timeout=self.stop_s * SWEEP_SHARE))
        loop.run_until_complete(loop.shutdown_asyncgens())
        _turn(loop, 1)  # transports that were closed say so
        # selector loops keep what is open in a private weak map: without it this line does nothing
        leaked = [transport for transport in list(getattr(loop, "_transports", {}).values()) if transport is not None]
        self.leaked_transports = len(leaked)
        for transport in leaked:
            transport.abort()
        _turn(loop, SWEEPS)

    def _background(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        if self.on_background_error is not None:
            self.on_background_error(context)
        else:
            loop.default_exception_handler(context)


def stacks(threads: Iterable[threading.Thread]) -> str:
    """Where each thread is now, for people."""
    frames = sys._current_frames()
    return "\n".join(f"{thread.name}:\n{_stack(frames.get(thread.ident or 0))}" for thread in threads)


def _stack(frame: object) -> str:
    return "".join(traceback.format_stack(frame)[-FRAMES:]) if isinstance(frame, FrameType) else "  (it has just ended)\n"


async def _captured(work: Callable[[], Awaitable[T]]) -> outcome.Outcome[T]:
    """What came of it as a value, but for a cancellation, which asyncio must see."""
    result = await outcome.acapture(work)
    if isinstance(result, outcome.Error) and isinstance(result.error, asyncio.CancelledError):
        raise result.error
    return result


def _flat(result: outcome.Outcome[outcome.Outcome[T]]) -> outcome.Outcome[T]:
    return result if isinstance(result, outcome.Error) else result.unwrap()


def _turn(loop: asyncio.AbstractEventLoop, times: int) -> None:
    for _ in range(times):
        loop.run_until_complete(asyncio.sleep(0))
