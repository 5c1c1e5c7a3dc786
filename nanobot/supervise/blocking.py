"""BlockingWorker: a library that blocks, in one daemon thread of its own, owned by a Trio task.

    worker = BlockingWorker("email", stop=lambda: connection.close())
    await nursery.start(worker.run)
    mails = await worker.call(fetch, connection)

It is an AsyncioWorker (which see: the same thread, errors and end) whose loop may be blocked:

* Calls run one after another, in the order in which they were made, with the caller's context variables.
* A cancelled call returns at once; what has begun is finished by the thread alone, and the next call waits for that.
* `run`, cancelled, calls `stop`, which takes the ground from under a blocking call (closes its socket) and must not block.
  Calls that were made before are still performed, and their callers answered; all of it has `stop_s` seconds. Then they get
  WorkerClosed, and WorkerStuck names the thread, with its stack.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import trio

from nanobot.supervise.asyncio_worker import STOP_S, AsyncioWorker, T, Ts


class BlockingWorker:
    """See the module. Runs once."""

    def __init__(self, name: str, *, stop: Callable[[], object] = lambda: None, stop_s: float = STOP_S) -> None:
        self._worker = AsyncioWorker[None](name, cancel_grace=0.0, stop_s=stop_s)
        self._stop = stop

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled; started when calls are taken. Raises, in a group: WorkerStuck, and what `stop` raises."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._worker.run, _wait)
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._stop()

    async def call(self, fn: Callable[[*Ts], T], *args: *Ts) -> T:
        """`fn(*args)` in the thread. Raises: what it raises, as it is. WorkerClosed."""
        return await self._worker.call(_perform, fn, *args)


async def _wait(worker: AsyncioWorker[None]) -> None:
    worker.ready()
    await asyncio.Event().wait()


async def _perform(fn: Callable[[*Ts], T], *args: *Ts) -> T:
    return fn(*args)
