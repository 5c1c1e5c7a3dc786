"""Threads for file operations that block: our own, daemons, at most `MOST` in the process.

Not Trio's thread pool: an fsync may hang for ever (a network mount, a worn card), and a pool thread would hang the exit of
the process with it. A writer is started when work waits and none is idle, and ends when it has been idle for a while.

`run` is shielded from cancellation while it is fast: an append once begun is waited for, and its result is handed over.
After `SLOW` seconds the shield falls: the operation shows in `stats().slow`, a cancelled caller is let go, and what became
of the operation is unknown until the journal is opened again.

Leaving `open_writers` waits until everything handed over is done and the threads are gone, `CLOSING` seconds at most.
"""

from __future__ import annotations

import collections
import contextlib
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TypeVar

import attrs
import outcome
import trio

from nanobot.errors import JournalUnwritable

MOST = 8
"""Threads. On one disk 8 bring about twice the syncs per second of one, and more bring none."""
IDLE = 10.0
"""Seconds until an idle thread ends: longer than the pauses in a turn with tools."""
SLOW = 10.0
"""Seconds. A disk that needs longer for one line is broken or far away, and people should see it."""
CLOSING = 10.0
"""Seconds that a shutdown waits for operations in flight."""
_SAMPLES = 1000

T = TypeVar("T")


@attrs.frozen
class WriterStats:
    """What `status` shows of the writers."""

    queued: int
    threads: int
    p50_ms: float
    """Median from hand-over to done, of the last 1,000; 0 if there were none."""
    p99_ms: float
    slow: tuple[str, ...]
    """What has waited or run for over `SLOW` seconds, oldest first."""


@attrs.define(eq=False)
class _Job:
    what: str
    perform: Callable[[], None]
    tell: Callable[[], None]
    since: float = attrs.field(factory=time.monotonic)


@attrs.define(eq=False)
class Writers:
    """See the module. Made by `open_writers`."""

    _waiting: queue.SimpleQueue[_Job | None] = attrs.field(factory=queue.SimpleQueue, init=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    """Guards what follows; held for moments, never while work is done."""
    _open: dict[_Job, None] = attrs.field(factory=dict, init=False)
    """What waits or runs, oldest first."""
    _threads: set[threading.Thread] = attrs.field(factory=set, init=False)
    _took: collections.deque[float] = attrs.field(factory=lambda: collections.deque(maxlen=_SAMPLES), init=False)
    _on_empty: Callable[[], None] | None = attrs.field(default=None, init=False)

    async def run(self, what: str, work: Callable[[], T]) -> T:
        """Runs `work` in a writer and returns or raises what it does. `what` names it for people.

        Raises: Cancelled only where the operation takes longer than `SLOW`; else cancellation waits for the next checkpoint.
        """
        done = trio.Event()
        results: list[outcome.Outcome[T]] = []
        tell = partial(_tell, trio.lowlevel.current_trio_token(), done)
        self._submit(_Job(what, lambda: results.append(outcome.capture(work)), tell))
        with trio.move_on_after(SLOW, shield=True):
            await done.wait()
        if not done.is_set():
            await done.wait()
        return results[0].unwrap()

    def stats(self) -> WriterStats:
        """A value to show; costs a sort of 1,000 numbers."""
        with self._lock:
            jobs, threads, took = tuple(self._open), len(self._threads), sorted(self._took) or [0.0]
        late = time.monotonic() - SLOW
        slow = tuple(job.what for job in jobs if job.since < late)
        queued = max(0, len(jobs) - threads)
        return WriterStats(queued, threads, took[len(took) // 2] * 1e3, took[len(took) * 99 // 100] * 1e3, slow)

    def hanging(self) -> tuple[str, ...]:
        """What waits or runs, oldest first."""
        with self._lock:
            return tuple(job.what for job in self._open)

    async def close(self) -> None:
        """Takes no more work, and returns when all is done and no thread is left."""
        empty = trio.Event()
        with self._lock:
            self._on_empty = partial(_tell, trio.lowlevel.current_trio_token(), empty)
            threads = tuple(self._threads)
            self._waiting.put(None)
        if threads:
            await empty.wait()
        for thread in threads:
            thread.join()

    def _submit(self, job: _Job) -> None:
        with self._lock:
            if self._on_empty is not None:
                raise RuntimeError("the writers are closed")
            self._open[job] = None
            self._waiting.put(job)
            if len(self._threads) < min(MOST, len(self._open)):
                thread = threading.Thread(target=self._serve, name="journal writer", daemon=True)
                self._threads.add(thread)
                thread.start()

    def _serve(self) -> None:
        while True:
            try:
                job = self._waiting.get(timeout=IDLE)
            except queue.Empty:
                job = None
            if job is not None:
                self._do(job)
            elif self._leave():
                return

    def _do(self, job: _Job) -> None:
        job.perform()
        with self._lock:
            del self._open[job]
            self._took.append(time.monotonic() - job.since)
        job.tell()

    def _leave(self) -> bool:
        """Ends this thread, unless work came in the last moment: under the lock none can."""
        with self._lock:
            if not self._waiting.empty():
                return False
            self._threads.discard(threading.current_thread())
            if self._on_empty is not None:
                self._waiting.put(None)  # the next one leaves too
                if not self._threads:
                    self._on_empty()
            return True


def _tell(token: trio.lowlevel.TrioToken, event: trio.Event) -> None:
    try:
        token.run_sync_soon(event.set)
    except trio.RunFinishedError:
        pass  # whoever waited has been let go, and the process is ending


@contextlib.asynccontextmanager
async def open_writers() -> AsyncIterator[Writers]:
    """Raises: JournalUnwritable at the end, if operations still hang after `CLOSING` seconds; it names them."""
    writers = Writers()
    try:
        yield writers
    finally:
        with trio.move_on_after(CLOSING, shield=True) as closing:
            await writers.close()
        if closing.cancelled_caught:
            raise JournalUnwritable(f"the disk does not answer: {', '.join(writers.hanging())} hangs and was given up")
