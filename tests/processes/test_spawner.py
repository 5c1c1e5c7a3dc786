"""The spawner may die, hang or be refused at any moment: no child is lost by it, and it is never left behind."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from textwrap import dedent

import pytest
import trio
import trio.testing

from nanobot.processes import lifeline, spawning
from nanobot.processes.children import END_S, Capture, Child, open_child, run
from tests.fakes import nobody, processes
from tests.processes.test_children import TREES

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and subreapers")

REPOSITORY = Path(__file__).parents[2]
ENV = {"PATH": os.environ["PATH"]}
TAG = f"TAG={os.getpid()}"
Main = Callable[[], Awaitable[None]]
InARun = Callable[[Main], None]


@pytest.fixture
def in_a_run() -> InARun:
    """Calls `trio.run`; after it nothing of it may be left: process, spawner, zombie or descriptor."""

    def check(main: Main) -> None:
        before = processes.descriptors(), processes.children()
        trio.run(main)
        assert (processes.descriptors(), processes.children()) == before
        assert processes.with_tag(TAG) == []

    return check


def sh(command: str) -> AbstractAsyncContextManager[Child]:
    return open_child(["/bin/sh", "-c", command], cwd=Path("/"), env={**ENV, "TAG": str(os.getpid())})


async def spoken(command: str, folder: Path) -> tuple[int, bytes | None]:
    """Status and output."""
    output = Capture(folder / "full", 1000, 10_000)
    with trio.fail_after(20):
        status = await run(["/bin/sh", "-c", command], output, cwd=folder, env=ENV)
    return status, output.whole


def test_it_belongs_to_a_trio_run_and_is_kept_for_it(in_a_run: InARun, tmp_path: Path) -> None:
    pids = []

    async def main() -> None:
        for _ in range(3):
            assert await spoken("echo hi", tmp_path) == (0, b"hi\n")
            pids.append((await spawning.ready()).pid)

    in_a_run(main)
    in_a_run(main)
    assert len(set(pids[:3])) == len(set(pids[3:])) == 1
    assert len(set(pids)) == 2


def test_children_at_once_start_one_spawner(in_a_run: InARun, tmp_path: Path) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(spoken, "echo hi", tmp_path)
        assert len(processes.children()) == 0, "a second spawner"

    in_a_run(main)


def test_children_outlive_it_and_tell_their_ends(in_a_run: InARun) -> None:
    async def main() -> None:
        async with sh("sleep 0.2; exit 5") as first, sh("exec sleep 1000") as second:
            before = await spawning.ready()
            os.kill(before.pid, signal.SIGKILL)
            async with sh("exit 3") as third:
                assert await third.wait() == 3
            assert (await spawning.ready()).pid != before.pid
            second.terminate()
            assert await second.wait() == 128 + signal.SIGTERM
            assert await first.wait() == 5

    in_a_run(main)


@pytest.mark.parametrize(("command", "number"), TREES.values(), ids=TREES)
def test_children_that_outlive_it_end_with_their_scope(command: str, number: int, in_a_run: InARun) -> None:
    async def main() -> None:
        async with sh(command):
            await processes.until_some(TAG, number)
            os.kill((await spawning.ready()).pid, signal.SIGKILL)
        assert processes.with_tag(TAG) == []

    in_a_run(main)


def test_when_its_wrapper_is_killed_after_it_the_session_is_ended(in_a_run: InARun) -> None:
    async def main() -> None:
        async with sh("trap '' TERM; sleep 1000 & sleep 1000") as child:
            await processes.until_some(TAG, 3)
            os.kill((await spawning.ready()).pid, signal.SIGKILL)
            os.kill(child.pid, signal.SIGKILL)
            assert await child.wait() == 128 + signal.SIGKILL
        assert processes.with_tag(TAG) == []

    in_a_run(main)


def test_a_start_under_way_when_it_is_killed_goes_to_the_next(in_a_run: InARun, tmp_path: Path) -> None:
    async def main() -> None:
        spawner = await spawning.ready()
        os.kill(spawner.pid, signal.SIGSTOP)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(spoken, "echo x >>ran", tmp_path)
            await trio.testing.wait_all_tasks_blocked()
            os.kill(spawner.pid, signal.SIGKILL)
        assert (tmp_path / "ran").read_text() == "x\n"

    in_a_run(main)


def test_killed_at_any_moment_of_a_start_the_command_runs_once(in_a_run: InARun, tmp_path: Path) -> None:
    async def main() -> None:
        for moment in range(40):
            await spoken("true", tmp_path)
            spawner = await spawning.ready()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(spoken, "echo x >>ran", tmp_path)
                await trio.sleep(moment / 10_000)
                os.kill(spawner.pid, signal.SIGKILL)
            assert (tmp_path / "ran").read_text() == "x\n" * (moment + 1)

    in_a_run(main)


def test_one_that_is_stopped_is_replaced(in_a_run: InARun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawning, "ANSWER_S", 0.3)

    async def main() -> None:
        async with sh("exit 4") as child:
            spawner = await spawning.ready()
            os.kill(spawner.pid, signal.SIGSTOP)
            start = time.monotonic()
            assert await child.wait() == 4
            assert await spoken("echo hi", tmp_path) == (0, b"hi\n")
            assert time.monotonic() - start < END_S / 2

    in_a_run(main)


def test_an_answer_that_is_late_does_not_run_a_command_twice(
    in_a_run: InARun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deaf(wrapper: spawning.Wrapper) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(spawning.Wrapper, "_hello", deaf)
    monkeypatch.setattr(spawning, "ANSWER_S", 0.5)

    async def main() -> None:
        with pytest.raises(ChildProcessError, match="does not answer"):
            await spoken("echo x >>ran", tmp_path)
        assert (tmp_path / "ran").read_text() == "x\n"

    in_a_run(main)


def test_a_start_that_is_cancelled_while_it_is_stopped_ends_it(in_a_run: InARun) -> None:
    async def main() -> None:
        os.kill((await spawning.ready()).pid, signal.SIGSTOP)
        start = time.monotonic()
        with trio.move_on_after(0.1):
            async with sh("sleep 1000"):
                raise AssertionError("who started it?")
        assert time.monotonic() - start < END_S

    in_a_run(main)


def test_without_a_python_that_runs_it_is_an_error(in_a_run: InARun, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        for executable, text in (("/bin/false", "does not answer"), ("/nonexistent", "No such file")):
            monkeypatch.setattr(sys, "executable", executable)
            with pytest.raises(OSError, match=text):
                async with sh("true"):
                    pass

    in_a_run(main)


@pytest.mark.parametrize("room", range(14))
def test_a_first_start_without_descriptors_is_an_error_and_costs_none(room: int, in_a_run: InARun) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def main() -> None:
        await trio.to_thread.run_sync(int)
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(processes.descriptors()) + room, hard))
        try:
            async with sh("exit 3") as child:
                assert await child.wait() == 3
        except OSError as error:
            assert error.errno == errno.EMFILE  # noqa: PT017
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    in_a_run(main)


@pytest.mark.skipif(os.geteuid() == 0, reason="root has no limit of processes; nobody has, below")
def test_without_processes_it_is_an_error_and_the_next_one_starts(in_a_run: InARun, tmp_path: Path) -> None:
    async def main() -> None:
        spawner = await spawning.ready()
        before = resource.prlimit(spawner.pid, resource.RLIMIT_NPROC)
        resource.prlimit(spawner.pid, resource.RLIMIT_NPROC, (0, before[1]))
        with pytest.raises(BlockingIOError, match="Resource temporarily unavailable"):
            async with sh("true"):
                pass
        resource.prlimit(spawner.pid, resource.RLIMIT_NPROC, before)
        assert await spoken("echo hi", tmp_path) == (0, b"hi\n")
        assert (await spawning.ready()) is spawner

    in_a_run(main)


def test_one_without_room_for_descriptors_is_replaced(in_a_run: InARun, tmp_path: Path) -> None:
    async def main() -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        for room in range(5):
            spawner = await spawning.ready()
            assert await spoken("true", tmp_path) == (0, b"")
            resource.prlimit(spawner.pid, resource.RLIMIT_NOFILE, (6 + room, hard))
            assert await spoken("echo hi", tmp_path) == (0, b"hi\n")

    in_a_run(main)


def test_it_holds_nothing_of_what_it_passes_on(in_a_run: InARun, tmp_path: Path) -> None:
    async def main() -> None:
        assert await spoken("true", tmp_path) == (0, b"")
        spawner = await spawning.ready()
        base = held(spawner.pid)
        with (tmp_path / "lock").open("w") as lock:
            async with open_child(["cat"], cwd=tmp_path, env=ENV, stdin=True, inherit_fds=[lock.fileno()]) as child:
                assert child.stdin is not None
                await child.stdin.send_all(b"x")
                await child.stdout.receive_some()
                assert held(spawner.pid) == sorted([*base, "socket"]), "the wrapper's control socket and no more"
        assert held(spawner.pid) == base

    in_a_run(main)


def test_a_wrapper_holds_nothing_of_its_siblings(in_a_run: InARun) -> None:
    async def main() -> None:
        async with sh("sleep 1000") as first, sh("sleep 1000") as second:
            assert held(first.pid) == held(second.pid)

    in_a_run(main)


def held(pid: int) -> list[str]:
    """What kinds of things a process has open."""
    return sorted(os.readlink(fd).split(":")[0] for fd in Path(f"/proc/{pid}/fd").iterdir())


OWNER = dedent("""
    import os, signal, trio
    from pathlib import Path
    from nanobot.processes.children import open_child
    from tests.processes.test_children import TREES

    async def main():
        async with trio.open_nursery() as nursery:
            for command, _ in TREES.values():
                nursery.start_soon(one, command)

    async def one(command):
        async with open_child(["/bin/sh", "-c", command], cwd=Path("/"), env=dict(os.environ)):
            await trio.sleep_forever()

    trio.run(main)
""")


@asynccontextmanager
async def owner() -> AsyncIterator[trio.Process]:
    """A process that owns every kind of tree."""
    command = [sys.executable, "-c", OWNER]
    process = await trio.lowlevel.open_process(command, env={**os.environ, "TAG": str(os.getpid())}, cwd=REPOSITORY)
    try:
        await processes.until_some(TAG, 1 + sum(number for _, number in TREES.values()))
        yield process
    finally:
        process.kill()
        with trio.move_on_after(20, shield=True):
            await process.wait()


@pytest.mark.parametrize("stopped", ["nothing", "wrappers", "spawner", "all"])
async def test_kill_9_of_the_owner_leaves_nothing(stopped: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with owner() as process:
        (spawner,) = processes.children(process.pid)
        wrappers = processes.children(spawner)
        assert len(wrappers) == len(TREES)
        for pid in {"nothing": set(), "wrappers": wrappers, "spawner": {spawner}, "all": {spawner, *wrappers}}[stopped]:
            os.kill(pid, signal.SIGSTOP)
        family = lifeline.descendants(process.pid)
        process.kill()
        seconds = max(await processes.until_ended(family, within=1.0), await processes.until_gone(TAG, within=1.0))
    with capsys.disabled():
        print(f"\nkill -9 of the owner, {stopped} stopped: {len(family)} processes gone after {seconds * 1000:.0f} ms")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGABRT])
async def test_other_ends_of_the_owner_leave_nothing(number: signal.Signals) -> None:
    async with owner() as process:
        family = lifeline.descendants(process.pid)
        process.send_signal(number)
        with trio.fail_after(10):
            await process.wait()
        await processes.until_ended(family, within=1.0)
    assert processes.with_tag(TAG) == []


async def test_a_service_manager_that_asks_every_process_to_end_does_not_end_it() -> None:
    before = await spawning.ready()
    async with sh("trap '' TERM; echo up; read x") as child:
        assert await child.stdout.receive_some() == b"up\n"
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            os.kill(before.pid, number)
            with contextlib.suppress(ProcessLookupError):  # the first of them asks the wrapper to end, and it may have
                os.kill(child.pid, number)
        async with sh("exit 3") as other:
            assert await other.wait() == 3
    assert await spawning.ready() is before


@pytest.mark.slow
def test_the_same_as_nobody() -> None:
    nobody.run_again("tests/processes/test_children.py", "tests/processes/test_spawner.py")
