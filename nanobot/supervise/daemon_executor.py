"""The executor of an asyncio loop of ours: daemon threads, so that a name lookup which hangs never holds the process.

`shutdown` takes no more work, cancels what waits and waits for nothing; `busy` says which threads are still at work, and
`when_empty` tells when the last one has ended.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

MOST = 8
"""Threads of one worker: SDKs use them for name lookups and small files."""

P = ParamSpec("P")
T = TypeVar("T")


class DaemonExecutor(ThreadPoolExecutor):
    """A ThreadPoolExecutor by name only: asyncio accepts nothing else as a loop's default."""

    def __init__(self, name: str) -> None:
        super().__init__(max_workers=1)
        self._name = name
        self._guard = threading.Lock()
        self._jobs: queue.SimpleQueue[tuple[Future[object], Callable[[], None]] | None] = queue.SimpleQueue()
        self._crew: set[threading.Thread] = set()
        self._leaving: list[threading.Thread] = []
        self._idle = 0
        self._started = 0
        self._down = False
        self._on_empty: Callable[[], None] = lambda: None

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Raises: RuntimeError after `shutdown`."""
        future: Future[T] = Future()
        with self._guard:
            if self._down:
                raise RuntimeError(f"the executor of {self._name} is shut down")
            self._jobs.put((future, partial(_perform, future, partial(fn, *args, **kwargs))))  # type: ignore[arg-type]
            if self._idle:
                self._idle -= 1
            elif len(self._crew) < MOST:
                self._hire()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Never waits, and always cancels what has not begun, whatever is asked for."""
        with self._guard:
            self._down = True
            while not self._jobs.empty():
                job = self._jobs.get()
                if job is not None:
                    job[0].cancel()
            for _ in self._crew:
                self._jobs.put(None)

    def busy(self) -> tuple[threading.Thread, ...]:
        """The threads that have not ended."""
        with self._guard:
            return tuple(self._crew)

    def when_empty(self, tell: Callable[[], None]) -> None:
        """Call `tell` once no thread is left, in the last one or at once."""
        with self._guard:
            self._on_empty = tell
            empty = not self._crew
        if empty:
            tell()

    def join(self) -> None:
        """Wait for threads that are past their last job, which takes microseconds."""
        for thread in self._leaving:
            thread.join()

    def _hire(self) -> None:
        self._started += 1
        thread = threading.Thread(target=self._serve, name=f"asyncio:{self._name}:exec-{self._started}", daemon=True)
        self._crew.add(thread)
        thread.start()

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            job[1]()
            with self._guard:
                if self._jobs.empty():
                    self._idle += 1
        with self._guard:
            self._crew.discard(threading.current_thread())
            self._leaving.append(threading.current_thread())
            tell = self._on_empty if not self._crew else None
        if tell is not None:
            tell()


def _perform(future: Future[T], work: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(work())
    except BaseException as exc:  # noqa: ASYNC103, BLE001 -- a thread's edge: it is raised where the result is awaited
        future.set_exception(exc)
