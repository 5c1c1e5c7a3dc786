"""Blocking libraries in a thread of their own: what crosses, in which order, and that nothing stays behind."""

from __future__ import annotations

import contextvars
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from nanobot.supervise.asyncio_worker import WorkerClosed, WorkerStuck
from nanobot.supervise.blocking import BlockingWorker
from nanobot.supervise.remains import Census

VAR = contextvars.ContextVar("VAR", default="unset")


@asynccontextmanager
async def running(stop: Callable[[], object] = lambda: None) -> AsyncIterator[BlockingWorker]:
    """A worker that takes calls, stopped with the block."""
    worker = BlockingWorker("mail", stop=stop)
    async with served(worker):
        yield worker


@asynccontextmanager
async def served(worker: BlockingWorker) -> AsyncIterator[None]:
    """It takes calls in the block; nothing of it may be left after."""
    before = Census.now()
    async with trio.open_nursery() as nursery:
        await nursery.start(worker.run)
        yield
        nursery.cancel_scope.cancel()
    assert Census.now().beyond(before) == ()


def meeting() -> tuple[threading.Event, Callable[[], None], trio.Event]:
    """An event to release a call that blocks, that call, and the event that it has begun."""
    release, begun, token = threading.Event(), trio.Event(), trio.lowlevel.current_trio_token()

    def block() -> None:
        token.run_sync_soon(begun.set)
        assert release.wait(20)

    return release, block, begun


async def test_calls_run_one_after_another_in_one_thread_with_the_callers_context() -> None:
    seen: list[tuple[int, str, str]] = []
    VAR.set("mine")
    async with running() as worker, trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(worker.call, lambda n: seen.append((n, threading.current_thread().name, VAR.get())), number)
            await trio.testing.wait_all_tasks_blocked()
    assert seen == [(number, "asyncio:mail", "mine") for number in range(20)]


async def test_results_and_errors_cross_as_they_are() -> None:
    async with running() as worker:
        assert await worker.call(divmod, 7, 2) == (3, 1)
        with pytest.raises(ConnectionResetError, match="gone"):
            await worker.call(fail)
        assert await worker.call(divmod, 7, 2) == (3, 1)


def fail() -> None:
    raise ConnectionResetError("gone")


async def test_a_cancelled_call_returns_at_once_and_the_next_waits_for_the_thread() -> None:
    release, block, begun = meeting()
    done: list[str] = []
    async with running() as worker, trio.open_nursery() as nursery:
        async with trio.open_nursery() as cancelled_nursery:
            cancelled_nursery.start_soon(worker.call, block)
            await begun.wait()
            cancelled_nursery.cancel_scope.cancel()
        nursery.start_soon(worker.call, done.append, "next")
        await trio.testing.wait_all_tasks_blocked()
        assert done == []
        release.set()
    assert done == ["next"]


async def test_a_call_that_was_cancelled_before_it_began_never_runs() -> None:
    release, block, begun = meeting()
    done: list[str] = []
    async with running() as worker, trio.open_nursery() as nursery:
        nursery.start_soon(worker.call, block)
        await begun.wait()
        with trio.move_on_after(0):
            await worker.call(done.append, "too late")
        release.set()
        await worker.call(done.append, "in time")
    assert done == ["in time"]


async def test_stop_takes_the_ground_from_under_a_blocking_call() -> None:
    ours, theirs = socket.socketpair()
    worker = BlockingWorker("mail", stop=lambda: ours.shutdown(socket.SHUT_RDWR))
    received: list[bytes] = []

    async def receive() -> None:
        received.append(await worker.call(ours.recv, 1))

    with ours, theirs:
        async with trio.open_nursery() as callers_nursery, served(worker):
            callers_nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
    assert received == [b""]


async def test_calls_that_wait_when_it_ends_are_performed_and_later_ones_refused() -> None:
    release, block, begun = meeting()
    done: list[str] = []
    worker = BlockingWorker("mail", stop=release.set)
    async with trio.open_nursery() as callers_nursery, served(worker):
        callers_nursery.start_soon(worker.call, block)
        await begun.wait()
        callers_nursery.start_soon(worker.call, done.append, "waited")
        await trio.testing.wait_all_tasks_blocked()
    assert done == ["waited"]
    with pytest.raises(WorkerClosed):
        await worker.call(done.append, "too late")


async def test_a_thread_that_does_not_end_is_named_with_its_stack_and_its_caller_answered() -> None:
    release, block, begun = meeting()
    worker = BlockingWorker("mail", stop_s=0.1)

    async def call() -> None:
        with pytest.raises(WorkerClosed):
            await worker.call(block)

    stuck = pytest.RaisesExc(WorkerStuck, match=r"\nasyncio:mail:\n(.|\n)*assert release.wait\(20\)")
    async with trio.open_nursery() as callers_nursery:
        with pytest.RaisesGroup(stuck, flatten_subgroups=True):
            async with trio.open_nursery() as nursery:
                await nursery.start(worker.run)
                callers_nursery.start_soon(call)
                await begun.wait()
                nursery.cancel_scope.cancel()
    release.set()
    with trio.fail_after(10):
        while any(thread.name == "asyncio:mail" for thread in threading.enumerate()):  # noqa: ASYNC110  # a given-up thread
            await trio.sleep(0.005)


async def test_what_stop_raises_is_raised_and_the_thread_ends_all_the_same() -> None:
    with pytest.RaisesGroup(ConnectionResetError, flatten_subgroups=True):
        async with running(fail):
            pass
    assert "asyncio:mail" not in [thread.name for thread in threading.enumerate()]
