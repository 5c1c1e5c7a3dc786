"""The bridge between Trio and an asyncio loop in a thread: what crosses it, and that nothing stays behind it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import os
import statistics
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from nanobot.supervise.asyncio_worker import AsyncioCancelled, AsyncioWorker, WorkerClosed, WorkerStuck

VAR = contextvars.ContextVar("VAR", default="unset")
Main = Callable[[AsyncioWorker[int]], Awaitable[object]]


class Boom(Exception):
    pass


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("asyncio:")]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def idle(worker: AsyncioWorker[int]) -> None:
    worker.ready("up")
    await asyncio.Event().wait()


async def echo(value: int) -> int:
    return value


@asynccontextmanager
async def running(
    main: Main = idle, *, capacity: int = 64, grace: float = 1.0, stop: float = 2.0
) -> AsyncIterator[AsyncioWorker[int]]:
    """A worker that is up, stopped at the end of the block, when nothing of it may be left."""
    worker = AsyncioWorker[int]("w", capacity=capacity, cancel_grace=grace, stop_s=stop)
    async with trio.open_nursery() as nursery:
        await nursery.start(worker.run, main)
        yield worker
        nursery.cancel_scope.cancel()
    assert threads() == []


async def timed(work: Callable[[], Awaitable[object]], times: int) -> float:
    """Median seconds."""
    took = []
    for _ in range(times):
        start = time.perf_counter()
        await work()
        took.append(time.perf_counter() - start)
    return statistics.median(took)


# --- calls


async def test_a_call_costs_no_more_than_two_hops_to_a_thread_of_trio() -> None:
    async with running() as worker:
        ours = await timed(lambda: worker.call(echo, 1), 1000)
    hop = await timed(lambda: trio.to_thread.run_sync(lambda: None), 1000)
    assert ours < 3 * hop


async def test_fifty_callers_each_get_their_own_results() -> None:
    async def caller(base: int) -> None:
        assert [await worker.call(echo, base + n) for n in range(20)] == [base + n for n in range(20)]

    async with running() as worker, trio.open_nursery() as nursery:
        for base in range(0, 5000, 100):
            nursery.start_soon(caller, base)


async def test_an_error_crosses_as_it_is_with_the_frames_of_both_sides() -> None:
    async def bad() -> None:
        raise Boom("x")

    async with running() as worker:
        with pytest.raises(Boom) as caught:
            await worker.call(bad)
    assert caught.traceback[-1].name == "bad"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)], ids=repr)
async def test_what_would_end_an_asyncio_loop_is_only_the_result_of_the_call(error: BaseException) -> None:
    async def bad() -> None:
        raise error

    async with running() as worker:
        with pytest.raises(type(error)):
            await worker.call(bad)
        assert await worker.call(echo, 1) == 1


async def test_context_variables_go_over_and_do_not_come_back() -> None:
    async def look() -> tuple[str, str]:
        before = VAR.get()
        VAR.set("inner")
        return before, threading.current_thread().name

    VAR.set("outer")
    async with running() as worker:
        assert await worker.call(look) == ("outer", "asyncio:w")
    assert VAR.get() == "outer"


# --- cancelling a call


async def cancelled_after_start(worker: AsyncioWorker[int], work: Callable[[trio.Event], Awaitable[object]]) -> float:
    """Cancel a call once its task runs; the seconds until the caller is free."""
    token, started = trio.lowlevel.current_trio_token(), trio.Event()

    async def over_there() -> object:
        token.run_sync_soon(started.set)
        return await work(started)

    took = -1.0
    async with trio.open_nursery() as nursery:

        async def caller() -> None:
            nonlocal took
            with trio.CancelScope() as scope:
                scopes.append(scope)
                await worker.call(over_there)
            assert scope.cancelled_caught
            took = time.perf_counter() - at

        scopes: list[trio.CancelScope] = []
        nursery.start_soon(caller)
        await started.wait()
        at = time.perf_counter()
        scopes[0].cancel()
    return took


async def test_a_cancelled_caller_cancels_the_task() -> None:
    seen: list[str] = []

    async def slow(_started: object) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async with running() as worker:
        assert await cancelled_after_start(worker, slow) < 0.5
    assert seen == ["cancelled"]


async def test_a_task_that_ignores_it_is_left_after_the_grace() -> None:
    async def stubborn(_started: object) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await asyncio.sleep(60)

    async with running(grace=0.2) as worker:
        assert 0.2 <= await cancelled_after_start(worker, stubborn) < 0.7


async def test_a_result_that_comes_after_the_cancel_is_dropped() -> None:
    async def finishing(_started: object) -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        return "late"

    async with running() as worker:
        await cancelled_after_start(worker, finishing)


async def test_an_error_of_its_cleanup_is_raised() -> None:
    async def failing(_started: object) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise Boom("cleanup failed")

    async with running() as worker:
        with pytest.RaisesGroup(Boom, flatten_subgroups=True):
            await cancelled_after_start(worker, failing)


async def test_a_caller_that_is_cancelled_already_leaves_nothing() -> None:
    async with running() as worker:
        with trio.CancelScope() as scope:
            scope.cancel()
            await worker.call(asyncio.sleep, 60)
        assert scope.cancelled_caught


async def test_a_task_that_cancels_itself_is_an_error_not_a_cancellation() -> None:
    async def selfish() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    async with running() as worker:
        with pytest.raises(AsyncioCancelled):
            await worker.call(selfish)


# --- the end of main


async def test_when_main_dies_its_error_is_raised_calls_in_flight_end_and_the_inbound_ends() -> None:
    async def dies(worker: AsyncioWorker[int]) -> None:
        die = asyncio.Event()
        await worker.deliver(1)
        worker.ready(die)
        await die.wait()
        raise Boom("main")

    async def kill(die: asyncio.Event) -> None:
        die.set()
        await asyncio.sleep(60)

    got: list[object] = []
    worker = AsyncioWorker[int]("w")
    with pytest.RaisesGroup(Boom, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            die = await nursery.start(worker.run, dies)
            with trio.CancelScope(shield=True):
                with pytest.raises(WorkerClosed):
                    await worker.call(kill, die)
                got = [item async for item in worker.inbound]
                with pytest.raises(WorkerClosed):
                    await worker.call(echo, 1)
    assert got == [1]
    assert threads() == []


async def test_main_that_fails_before_it_is_ready_fails_the_start() -> None:
    async def early(_worker: AsyncioWorker[int]) -> None:
        raise Boom("early")

    with pytest.RaisesGroup(Boom, flatten_subgroups=True):
        async with running(early):
            pass
    assert threads() == []


async def test_a_worker_runs_once() -> None:
    async with running() as worker:
        with pytest.raises(RuntimeError, match="once"):
            await worker.run(idle)


async def test_main_that_swallows_the_first_cancel_is_ended_all_the_same() -> None:
    async def swallows(worker: AsyncioWorker[int]) -> None:
        worker.ready()
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)

    start = time.perf_counter()
    async with running(swallows, stop=2.0):
        pass
    assert time.perf_counter() - start < 2.5


# --- inbound


async def test_a_full_inbound_holds_the_source_and_keeps_the_order() -> None:
    sent = 0

    async def source(worker: AsyncioWorker[int]) -> None:
        nonlocal sent
        worker.ready()
        for n in range(100):
            await worker.deliver(n)
            sent += 1

    worker = AsyncioWorker[int]("w", capacity=4)
    async with trio.open_nursery() as nursery:
        await nursery.start(worker.run, source)
        with trio.fail_after(5):
            while sent < 4:
                await worker.call(asyncio.sleep, 0)
            await worker.call(asyncio.sleep, 0)
        assert sent == 4
        assert [n async for n in worker.inbound] == list(range(100))


async def test_a_callback_is_told_that_the_inbound_is_full() -> None:
    refused: list[int] = []

    async def source(worker: AsyncioWorker[int]) -> None:
        refused.extend(n for n in range(10) if not worker.deliver_nowait(n))
        await idle(worker)

    async with running(source, capacity=4):
        assert refused == [4, 5, 6, 7, 8, 9]


async def test_a_source_that_is_held_can_be_stopped() -> None:
    async def source(worker: AsyncioWorker[int]) -> None:
        worker.ready()
        while True:
            await worker.deliver(0)

    start = time.perf_counter()
    async with running(source, capacity=2):
        pass
    assert time.perf_counter() - start < 1.0


# --- what remains


async def test_a_loop_that_hangs_is_named_with_the_line_where_it_hangs() -> None:
    release = threading.Event()

    async def block() -> None:
        release.wait(20)

    start = time.perf_counter()
    with pytest.RaisesGroup(pytest.RaisesExc(WorkerStuck, match=r"asyncio:w:\n(.|\n)*release\.wait"), flatten_subgroups=True):
        async with running(grace=0.1, stop=0.3) as worker:
            with trio.move_on_after(0.1):
                await worker.call(block)
    assert time.perf_counter() - start < 1.5
    await gone(release)


async def test_an_executor_thread_counts_as_what_remains() -> None:
    release = threading.Event()

    async def lookup() -> None:
        asyncio.get_running_loop().run_in_executor(None, release.wait, 20)

    with pytest.RaisesGroup(pytest.RaisesExc(WorkerStuck, match=r"asyncio:w:exec-1:\n(.|\n)*wait"), flatten_subgroups=True):
        async with running(stop=0.3) as worker:
            await worker.call(lookup)
    assert threads() == ["asyncio:w:exec-1"]
    await gone(release)


async def test_an_executor_thread_that_ends_in_time_is_waited_for() -> None:
    async def lookup() -> int:
        loop = asyncio.get_running_loop()
        loop.run_in_executor(None, time.sleep, 0.2)
        return await loop.run_in_executor(None, len, "abc")

    async with running() as worker:
        assert await worker.call(lookup) == 3


async def test_stubborn_tasks_and_forgotten_sockets_are_swept() -> None:
    kept: list[object] = []

    async def messy(worker: AsyncioWorker[int]) -> None:
        async def zombie() -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
            await asyncio.sleep(60)

        kept.extend(asyncio.create_task(zombie()) for _ in range(3))
        server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
        kept.append(await asyncio.open_connection(*server.sockets[0].getsockname()[:2]))
        server.close()
        await idle(worker)

    gc.collect()  # of tests before
    before = descriptors()
    async with running(messy) as worker:
        pass
    assert worker.leaked_transports > 0
    kept.clear()
    gc.collect()
    assert descriptors() == before


async def test_many_workers_take_nothing_from_trios_threads_and_leave_nothing() -> None:
    before = descriptors()
    async with trio.open_nursery() as nursery:
        workers = [AsyncioWorker[int](f"w{n}") for n in range(60)]
        for worker in workers:
            assert await nursery.start(worker.run, idle) == "up"
        assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
        nursery.cancel_scope.cancel()
    assert (threads(), descriptors()) == ([], before)


async def gone(release: threading.Event) -> None:
    """Let the hanging thread go, so that no test sees it."""
    release.set()
    with trio.fail_after(5):
        while threads():  # noqa: ASYNC110  # threads set no event of ours
            await trio.sleep(0.01)
