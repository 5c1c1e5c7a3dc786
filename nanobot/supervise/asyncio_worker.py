"""AsyncioWorker: an SDK that knows asyncio only, on a loop in a daemon thread of its own, owned by a Trio task.

    worker = AsyncioWorker[Update]("telegram")
    bot = await nursery.start(worker.run, main)     # main(worker) calls worker.ready(bot) once it is connected
    await worker.call(bot.send, chat, text)         # 155 µs; errors and cancellation cross both ways
    async for update in worker.inbound: ...         # at most `capacity` wait here; then `deliver` waits over there

Contract:
* Not Trio's thread pool: any number of workers cannot starve it, and a hung one cannot hold the process.
* `run` returns and raises what `main` does, also before `ready`. Cancelled, it cancels `main` and insists.
* A cancelled `call` cancels its task and waits `cancel_grace` seconds for it; if the task fails then, that is raised; one
  that ignores it is left to the final sweep.
* Leaving `run` for any reason means: thread, loop, tasks, sockets and executor threads are gone, or `WorkerStuck`, at the
  latest after `stop_s` seconds, names each thread that still runs, with its stack. Calls in flight get `WorkerClosed`.
* Order: the loop's thread ends, then calls in flight are failed, then executor threads are waited for.

Trio's side: `run`, `call`, `inbound`. Asyncio's side: `ready`, `deliver`, `deliver_nowait`.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Generic, NoReturn, Self, TypeVar, TypeVarTuple

import attrs
import outcome
import trio

from nanobot.errors import NanobotError
from nanobot.supervise.asyncio_thread import AsyncioThread, BackgroundError, stacks
from nanobot.supervise.credits import Credits

T = TypeVar("T")
Item = TypeVar("Item")
Ts = TypeVarTuple("Ts")

CAPACITY = 64
"""Items that wait for Trio: a burst of one poll of a chat network."""
CANCEL_GRACE_S = 1.0
STOP_S = 2.0


class WorkerClosed(NanobotError):
    """The worker does not run: not yet, not any more, or it is stopping."""


class WorkerStuck(NanobotError):
    """Threads of the worker did not end in time and were given up; the text says which, and where each hangs."""


class AsyncioCancelled(NanobotError):
    """The asyncio task was cancelled by somebody other than its Trio caller."""


@attrs.define(eq=False)
class _Call(Generic[T]):
    """A call in flight."""

    work: Callable[[], Awaitable[T]]
    context: contextvars.Context = attrs.field(factory=contextvars.copy_context)
    done: trio.Event = attrs.field(factory=trio.Event)
    result: outcome.Outcome[T] | None = None
    task: asyncio.Task[outcome.Outcome[T]] | None = None
    cancelled: bool = False

    def finish(self, result: outcome.Outcome[T]) -> None:
        """On Trio's side; the first result stands."""
        if self.result is None:
            self.result = result
            self.done.set()

    def fail(self, error: BaseException) -> None:
        self.finish(outcome.Error(error))

    @property
    def was_cancelled(self) -> bool:
        return isinstance(self.result, outcome.Error) and isinstance(self.result.error, asyncio.CancelledError)


@attrs.define(eq=False)
class Inbound(Generic[Item]):
    """Trio's end of the inbound channel; it ends with the worker. Taking an item gives its credit back."""

    _items: trio.MemoryReceiveChannel[Item]
    _taken: Callable[[], object]

    async def receive(self) -> Item:
        """Raises: trio.EndOfChannel."""
        item = await self._items.receive()
        self._taken()
        return item

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None


class AsyncioWorker(Generic[Item]):
    """See the module. Runs once. `Item` is what `deliver` hands over."""

    def __init__(
        self,
        name: str,
        *,
        capacity: int = CAPACITY,
        cancel_grace: float = CANCEL_GRACE_S,
        stop_s: float = STOP_S,
        on_background_error: BackgroundError | None = None,
    ) -> None:
        self.name = name
        self._cancel_grace, self._stop_s = cancel_grace, stop_s
        self._on_background_error = on_background_error
        self._credits = Credits(capacity)
        self._send, items = trio.open_memory_channel[Item](capacity)
        self.inbound = Inbound(items, lambda: self._post(self._credits.give))
        self._flying: set[_Call[object]] = set()
        self._thread: AsyncioThread[object] | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._accepting = False
        self._ready: list[object] = []
        self._ready_said = trio.Event()

    # --- Trio's side

    @property
    def leaked_transports(self) -> int:
        """Sockets that the SDK left open and that were aborted at the end."""
        return 0 if self._thread is None else self._thread.leaked_transports

    def where(self) -> str:
        """Where the worker's threads are now."""
        return "" if self._thread is None else stacks(self._thread.remains())

    async def run(
        self,
        main: Callable[[Self], Awaitable[object]],
        *,
        task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED,
    ) -> object:
        """Run `main(worker)` until it ends; started when it calls `ready(value)`.

        Raises: what `main` raises, as it is. AsyncioCancelled if it was cancelled from inside. WorkerStuck.
        """
        if self._thread is not None:
            raise RuntimeError("an AsyncioWorker runs once")
        self._token = trio.lowlevel.current_trio_token()
        finished, results = trio.Event(), list[outcome.Outcome[object]]()

        def end(result: outcome.Outcome[object]) -> None:
            results.append(result)
            self._to_trio(finished.set)

        self._thread = thread = AsyncioThread[object](self.name, self._stop_s, self._on_background_error)
        thread.start(partial(main, self), end)
        self._accepting = True
        try:
            await self._watch(finished, task_status)
        finally:
            await self._end(thread, finished)  # noqa: ASYNC102  # shields itself, and is bounded by stop_s
            raised = _error_of(results)
            if raised is not None and not isinstance(raised, asyncio.CancelledError):
                results[0].unwrap()  # also where `main` failed while it was being cancelled
        if isinstance(raised, asyncio.CancelledError):
            raise AsyncioCancelled(f"{self.name}: its main task was cancelled from inside") from raised
        return results[0].unwrap()

    async def call(self, work: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Run `await work(*args)` on the worker's loop.

        Raises: what it raises, as it is. WorkerClosed. AsyncioCancelled if the task was cancelled from inside.
        """
        call = _Call(partial(work, *args))
        if not self._open or not self._post(partial(self._begin, call)):
            await trio.lowlevel.checkpoint_if_cancelled()
            raise WorkerClosed(f"{self.name} is not running")
        self._flying.add(call)  # type: ignore[arg-type]  # they are only ever asked to finish
        try:
            await call.done.wait()
        except trio.Cancelled:
            await self._cancel(call)  # noqa: ASYNC102  # shields itself, and is bounded by cancel_grace
            raise
        finally:
            self._flying.discard(call)
        assert call.result is not None
        if call.was_cancelled:
            self._raise_cancelled(call.result)
        return call.result.unwrap()

    @property
    def _open(self) -> bool:
        return self._accepting and self._thread is not None and not self._thread.sweeping

    async def _watch(self, finished: trio.Event, task_status: trio.TaskStatus[object]) -> None:
        """Until the thread has ended; pass on that it is ready."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell_ready, task_status)
            await finished.wait()
            nursery.cancel_scope.cancel()

    async def _tell_ready(self, task_status: trio.TaskStatus[object]) -> None:
        await self._ready_said.wait()
        task_status.started(self._ready[0])

    async def _end(self, thread: AsyncioThread[object], finished: trio.Event) -> None:
        """Nothing of the worker remains. Raises: WorkerStuck."""
        self._accepting = False
        with trio.CancelScope(shield=True, deadline=trio.current_time() + self._stop_s):
            if not finished.is_set():
                self._post(thread.request_stop)
                await finished.wait()
            self._fail_calls()
            empty = trio.Event()
            thread.executor.when_empty(lambda: self._to_trio(empty.set))
            await empty.wait()
        thread.executor.shutdown(wait=False)
        self._fail_calls()
        self._send.close()
        left = [one for one in thread.remains() if one is not thread.thread or not finished.is_set()]
        if left:
            raise WorkerStuck(f"{self.name}: still running {self._stop_s:g} s after it was stopped\n{stacks(left)}")
        if thread.thread is not None:
            thread.thread.join()  # it is past its last statement
        thread.executor.join()

    def _fail_calls(self) -> None:
        for call in self._flying:
            call.fail(WorkerClosed(f"{self.name} was stopped"))

    async def _cancel(self, call: _Call[T]) -> None:
        """Cancel the task and wait for it. Raises: what it raised when it was cancelled."""
        self._post(partial(_cancel_task, call))
        with trio.move_on_after(self._cancel_grace, shield=True):
            await call.done.wait()
        if isinstance(call.result, outcome.Error) and not isinstance(call.result.error, asyncio.CancelledError | WorkerClosed):
            call.result.unwrap()

    def _raise_cancelled(self, result: outcome.Outcome[T]) -> NoReturn:
        cause = result.error if isinstance(result, outcome.Error) else None
        if not self._open:
            raise WorkerClosed(f"{self.name} was stopped") from cause
        raise AsyncioCancelled(f"{self.name}: the call was cancelled from inside") from cause

    def _post(self, work: Callable[[], None]) -> bool:
        return self._thread is not None and self._thread.post(work)

    # --- asyncio's side

    def ready(self, value: object = None) -> None:
        """Connected: what `nursery.start` returns is `value`."""
        self._ready.append(value)
        self._to_trio(self._ready_said.set)

    async def deliver(self, item: Item) -> None:
        """Hand an item to Trio; waits while `capacity` of them wait there."""
        await self._credits.take()
        self._to_trio(partial(self._push, item))

    def deliver_nowait(self, item: Item) -> bool:
        """From a callback on the loop: False if too many wait there."""
        if not self._credits.take_nowait():
            return False
        self._to_trio(partial(self._push, item))
        return True

    def _push(self, item: Item) -> None:
        try:
            self._send.send_nowait(item)  # there is room: that is what the credit says
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            pass  # the worker has ended, or nobody receives any more

    def _to_trio(self, work: Callable[[], object]) -> None:
        assert self._token is not None
        try:
            self._token.run_sync_soon(work)
        except trio.RunFinishedError:
            pass

    def _begin(self, call: _Call[T]) -> None:
        if call.cancelled:
            self._to_trio(partial(call.fail, asyncio.CancelledError()))
            return
        assert self._thread is not None
        call.task = self._thread.spawn(call.work, call.context)
        call.task.add_done_callback(lambda task: self._to_trio(partial(call.finish, _result_of(task))))


def _cancel_task(call: _Call[T]) -> None:
    call.cancelled = True
    if call.task is not None:
        call.task.cancel()


def _result_of(task: asyncio.Task[outcome.Outcome[T]]) -> outcome.Outcome[T]:
    return outcome.Error(asyncio.CancelledError()) if task.cancelled() else task.result()


def _error_of(results: list[outcome.Outcome[object]]) -> BaseException | None:
    return results[0].error if results and isinstance(results[0], outcome.Error) else None
