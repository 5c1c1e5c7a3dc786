"""The writer threads, and the journals as async code sees them: cancellation, a disk that hangs, and what stays behind."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from nanobot.errors import InUse, JournalUnwritable
from nanobot.journal import writers as module
from nanobot.journal.journal import Journals
from nanobot.journal.store import Store
from nanobot.journal.writers import open_writers
from nanobot.wire import Json

KEY = "cli:default:me"


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "journal writer"]


async def test_results_and_errors_come_back() -> None:
    async with open_writers() as writers:
        assert await writers.run("a sum", lambda: 1 + 1) == 2
        with pytest.raises(ZeroDivisionError):
            await writers.run("a mistake", lambda: 1 / 0)
        assert (writers.stats().queued, writers.stats().slow) == (0, ())
        assert writers.stats().p99_ms >= writers.stats().p50_ms > 0


async def test_at_most_so_many_threads() -> None:
    gate = threading.Event()
    async with open_writers() as writers, trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(writers.run, f"wait {number}", gate.wait)
        await trio.testing.wait_all_tasks_blocked()
        stats = writers.stats()
        gate.set()
    assert (stats.threads, stats.queued) == (module.MOST, 20 - module.MOST)


async def test_an_idle_writer_ends_and_the_next_work_starts_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE", 0.01)
    async with open_writers() as writers:
        for _ in range(3):
            name = await writers.run("who", threading.current_thread)
            name.join()
            assert writers.stats().threads == 0


async def test_idle_ends_and_new_work_never_miss_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE", 0.0005)
    async with open_writers() as writers:
        with trio.fail_after(20):
            for number in range(300):
                await writers.run("nothing", lambda: None)
                await trio.sleep(0.0001 * (number % 10))


async def test_what_has_begun_is_waited_for_also_by_a_cancelled_caller() -> None:
    gate = threading.Event()
    async with open_writers() as writers:
        with trio.CancelScope() as scope:
            scope.cancel()
            trio.lowlevel.current_trio_token().run_sync_soon(gate.set)
            assert await writers.run("an append", gate.wait)
            await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught


async def test_a_disk_that_hangs_is_seen_and_lets_a_cancelled_caller_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLOW", 0.02)
    gate = threading.Event()
    async with open_writers() as writers:
        with trio.move_on_after(0.001) as scope:
            await writers.run("append to x", gate.wait)
        assert scope.cancelled_caught
        assert writers.stats().slow == ("append to x",)
        gate.set()


async def test_the_end_names_what_still_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLOW", 0.01)
    monkeypatch.setattr(module, "CLOSING", 0.02)
    gate = threading.Event()
    hung: list[threading.Thread] = []

    def hang() -> None:
        hung.append(threading.current_thread())
        gate.wait()

    async def end_with_a_hanging_append() -> None:
        async with open_writers() as writers:
            with trio.move_on_after(0.001):
                await writers.run("append to x", hang)

    with pytest.raises(JournalUnwritable, match="append to x hangs"):
        await end_with_a_hanging_append()
    gate.set()
    hung[0].join()


async def test_a_session_through_the_store(tmp_path: Path) -> None:
    async with open_writers() as writers:
        store = Store(Journals(f"{tmp_path}/journals"), writers)
        await writers.run("root", store.journals.prepare)
        opened, loaded = await store.open(KEY)
        assert loaded.created
        with pytest.raises(InUse):
            await store.open(KEY)
        await opened.cut([], owes=None, at=1.0)
        await opened.append(["a"], owes="now", at=2.0, snapshot_after=lambda: ["a"])
        assert [seen.key for seen in await store.owing()] == [KEY]
        await opened.sleep(owes=None, at=3.0)
        await opened.close()
        assert await store.owing() == ()
        assert len(await store.survey()) == 1
        assert not await store.low_space()
        opened, loaded = await store.open(KEY)
        assert (loaded.records, loaded.slept) == (("a",), True)
        await opened.close()


async def test_a_journal_is_let_go_only_after_an_append_that_was_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLOW", 0.02)
    gate = threading.Event()

    def hanging_snapshot() -> Json:
        gate.wait()
        return []

    async with open_writers() as writers, trio.open_nursery() as nursery:
        store = Store(Journals(f"{tmp_path}/journals"), writers)
        await writers.run("root", store.journals.prepare)
        opened, _ = await store.open(KEY)
        with trio.move_on_after(0.001):
            await opened.append(["a"], owes=None, at=1.0, snapshot_after=hanging_snapshot)
        nursery.start_soon(opened.close)
        await trio.testing.wait_all_tasks_blocked(0.05)
        with pytest.raises(InUse):
            await store.open(KEY)
        gate.set()


async def test_what_an_append_costs(tmp_path: Path) -> None:
    """Prints; the bound is a ratio to the same write and fsync, and generous: this is no place to fail on a busy machine."""
    rounds = 300
    record: Json = {"said": "x" * 400}
    async with open_writers() as writers:
        store = Store(Journals(f"{tmp_path}/journals"), writers)
        await writers.run("root", store.journals.prepare)
        opened, _ = await store.open(KEY)
        await opened.cut([], owes=None, at=1.0)
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(rounds):
            await opened.append([record], owes="now", at=1.0, snapshot_after=list)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        bare = time.perf_counter()
        with (tmp_path / "bare").open("wb", buffering=0) as file:
            for _ in range(rounds):
                file.write(bytes(500))
                os.fsync(file.fileno())
        bare = time.perf_counter() - bare
        await opened.close()
    per = 1000 / rounds
    print(f"\nappend: {wall * per:.2f} ms wall, {cpu * per:.2f} ms CPU; write and fsync alone: {bare * per:.2f} ms wall")
    assert wall < 10 * bare
