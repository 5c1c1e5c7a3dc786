"""The census of what lives: one leaky child of each sort is run through the supervisor, and what it leaves is named."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from nanobot.supervise import supervisor as module
from nanobot.supervise.remains import Census, tasks, where
from nanobot.supervise.supervisor import Child, ChildStuck, Supervisor

Leak = Callable[[ExitStack], str]
"""Leaves something behind, which the stack takes away after the test; returns a part of its name."""


def a_thread(after: ExitStack) -> str:
    release = threading.Event()
    thread = threading.Thread(target=release.wait, name="leaky thread")
    thread.start()
    after.callback(thread.join)
    after.callback(release.set)
    return "thread leaky thread"


def a_socket(after: ExitStack) -> str:
    return f"descriptor {after.enter_context(socket.socket()).fileno()} socket:["


def a_file(after: ExitStack) -> str:
    return f"descriptor {after.enter_context(Path(__file__).open()).fileno()} {__file__}"


def a_process(after: ExitStack) -> str:
    process = after.enter_context(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))
    after.callback(process.kill)
    return f"process {process.pid} ("


def a_zombie(after: ExitStack) -> str:
    process = after.enter_context(subprocess.Popen(["true"]))
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    return f"process {process.pid} (true) Z"


def nothing(_after: ExitStack) -> str:
    return ""


async def beyond_a_life_of(serve: Callable[[], Awaitable[object]]) -> tuple[str, ...]:
    """What is there after the life of a child that was not there before."""

    async def live(*, task_status: trio.TaskStatus[None]) -> None:
        await serve()
        task_status.started()
        await trio.sleep_forever()

    up = trio.Event()
    async with trio.open_nursery() as nursery:
        supervisor = Supervisor(trio.current_time, lambda node: up.set() if node.state == "up" else None)
        await nursery.start(supervisor.run)
        await trio.to_thread.run_sync(lambda: None)  # Trio keeps the thread
        before = Census.now()
        supervisor.add(Child("leaky", "channel", live))
        await up.wait()
        assert "task leaky" in Census.now().beyond(before)
        try:
            await supervisor.remove("leaky")
        except ChildStuck:
            pass
        found = Census.now().beyond(before)
        nursery.cancel_scope.cancel()
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="it cannot tell without /proc")
@pytest.mark.parametrize("leak", [a_thread, a_socket, a_file, a_process, a_zombie])
async def test_what_a_leaky_child_leaves_is_named(leak: Leak) -> None:
    with ExitStack() as after:
        names: list[str] = []

        async def serve() -> None:
            names.append(leak(after))

        found = await beyond_a_life_of(serve)
        assert any(name.startswith(names[0]) for name in found), found


async def test_a_task_in_a_foreign_nursery_is_named(monkeypatch: pytest.MonkeyPatch, claimed_errors: list[str]) -> None:
    monkeypatch.setattr(module, "STOP_S", 0.05)
    async with trio.open_nursery() as foreign_nursery:

        async def serve() -> None:
            foreign_nursery.start_soon(trio.sleep_forever, name="leaky task")

        found = await beyond_a_life_of(serve)
        assert "task leaky task" in found
        assert not any(name.startswith("descriptor") for name in found)
        foreign_nursery.cancel_scope.cancel()
    assert "task leaky task" in claimed_errors[0]


async def test_a_tidy_child_leaves_nothing() -> None:
    async def serve() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(trio.to_thread.run_sync, lambda: None)
        with socket.socket(), Path(__file__).open():  # noqa: ASYNC230  # a descriptor
            await trio.run_process(["true"])

    assert await beyond_a_life_of(serve) == ()


async def test_a_thread_of_trio_that_is_at_work_is_named() -> None:
    before, release = Census.now(), threading.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: trio.to_thread.run_sync(release.wait, thread_name="hanging lookup"))
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(10):
            while "thread hanging lookup" not in Census.now().beyond(before):  # noqa: ASYNC110  # a thread that begins
                await trio.sleep(0.005)
        release.set()


def test_outside_of_trio_there_are_no_tasks_to_see() -> None:
    assert not any(name.startswith("task") for name in Census.now().things.values())
    assert list(tasks()) == []


def test_without_proc_it_says_what_it_cannot_tell(tmp_path: Path) -> None:
    census = Census.now(tmp_path / "proc")
    assert census.unseen == ("sockets", "descriptors", "child processes")
    assert "thread MainThread" in census.things.values()


async def test_where_a_task_waits() -> None:
    async def deep() -> None:
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(deep, name="sleeper")
        await trio.testing.wait_all_tasks_blocked()
        (task,) = [task for task in tasks() if task.name == "sleeper"]
        text = where(task)
        nursery.cancel_scope.cancel()
    assert text.startswith("task sleeper:\n")
    assert f'File "{__file__}"' in text
    assert "in deep\n" in text
