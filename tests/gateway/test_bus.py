"""The way in: whatever happens to a session, a message is durable or refused, in order, and in its session in the end."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from nanobot.channels.port import NotTaken
from nanobot.daemon.backlog import MOST_KEPT, Backlog, Kept, State, open_backlog, store_in
from nanobot.errors import DiskFull, InUse, JournalDamaged, JournalError
from nanobot.gateway import bus as module
from nanobot.gateway.bus import FIRST_S, LONGEST_S, PATIENCE_S, Bus
from nanobot.journal.journal import Journals
from nanobot.journal.store import Store
from nanobot.journal.writers import open_writers
from nanobot.messages import Inbound, Said, SessionKey
from nanobot.session import events as ev
from nanobot.session.registry import Registry, SessionFailed
from tests.fakes.backlog import in_memory, message
from tests.session.house_fakes import MemoryLog, World

IN_USE = InUse("session telegram:42", 4711)


@attrs.define(eq=False)
class FakeSessions:
    """Takes messages once each, as sessions do. `troubles`: what the session of a chat raises; a float: it hangs so long."""

    troubles: dict[str, Exception | float] = attrs.field(factory=dict)
    taken: list[str] = attrs.field(factory=list)
    attempts: list[tuple[float, str]] = attrs.field(factory=list)
    gate: trio.Event | None = None

    async def deliver(self, inbound: Inbound) -> None:
        self.attempts.append((trio.current_time(), inbound.id))
        await trio.lowlevel.checkpoint()
        if self.gate is not None:
            await self.gate.wait()
        trouble = self.troubles.get(inbound.key.chat)
        if isinstance(trouble, Exception):
            raise trouble
        if trouble is not None:
            await trio.sleep(trouble)
        if inbound.id not in self.taken:
            self.taken.append(inbound.id)


@attrs.define(eq=False)
class Setup:
    sessions: FakeSessions = attrs.field(factory=FakeSessions)
    log: MemoryLog = attrs.field(factory=MemoryLog)
    told: list[tuple[str, str]] = attrs.field(factory=list)
    backlog: Backlog = attrs.field(init=False)
    bus: Bus = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.backlog = in_memory(self.log)
        self.bus = self.another()

    def another(self) -> Bus:
        bus = Bus(self.backlog, lambda text, about: self.told.append((text, about)), trio.current_time)
        bus.sessions = self.sessions
        return bus

    @property
    def kept(self) -> list[str]:
        return [kept.inbound.id for kept in self.backlog.state.kept]


@asynccontextmanager
async def handing_over(bus: Bus) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(bus.run)
        yield
        nursery.cancel_scope.cancel()


# --- taking


async def test_what_a_session_takes_is_written_by_nobody_else() -> None:
    setup = Setup()
    await setup.bus.deliver(message(1))
    assert (setup.sessions.taken, setup.kept, setup.log.lines) == (["m1"], [], [])


@pytest.mark.parametrize(
    ("trouble", "why"),
    [
        (IN_USE, "session telegram:42 is in use by process 4711"),
        (JournalDamaged("x.jsonl", 3, "bad"), "x.jsonl, line 3: bad"),
        (JournalError("cannot be opened"), "cannot be opened"),
        (SessionFailed("it failed"), "it failed"),
        (1e6, "nothing was written for 10 seconds"),
    ],
)
async def test_what_a_session_cannot_take_is_kept_and_told(
    autojump_clock: MockClock, trouble: Exception | float, why: str
) -> None:
    setup = Setup(FakeSessions({"42": trouble}))
    with trio.fail_after(PATIENCE_S + 0.1):
        await setup.bus.deliver(message(1))
    assert (setup.sessions.taken, setup.kept, len(setup.log.lines)) == ([], ["m1"], 1)
    assert setup.told == [
        (f"Messages of telegram:42 wait: {why}. They are handed over, in order, as soon as that is over.", "telegram")
    ]


def broken_disk(setup: Setup) -> None:
    setup.sessions.troubles["42"] = IN_USE
    setup.log.failures = 1


def hanging_disk(setup: Setup) -> None:
    setup.sessions.troubles["42"] = 1e6
    setup.log.gate = trio.Event()


def full_backlog(setup: Setup) -> None:
    setup.sessions.troubles["42"] = IN_USE
    setup.backlog.state = State(tuple(Kept(n, message(-n, "7"), "in use", 1.0) for n in range(MOST_KEPT)))


@pytest.mark.parametrize(
    ("prepare", "code"),
    [
        (lambda setup: setup.sessions.troubles.update({"42": DiskFull("/data", 2**20)}), "disk_full"),
        (lambda setup: setup.bus.close(), "stopping"),
        (broken_disk, "not_written"),
        (hanging_disk, "not_written"),
        (full_backlog, "not_written"),
    ],
    ids=["disk full", "stopping", "the backlog cannot be written", "the disk hangs", "too much is kept"],
)
async def test_what_cannot_be_made_durable_is_refused(
    autojump_clock: MockClock, prepare: Callable[[Setup], None], code: str
) -> None:
    setup = Setup()
    prepare(setup)
    with trio.fail_after(2 * PATIENCE_S + 0.1), pytest.raises(NotTaken) as refused:
        await setup.bus.deliver(message(1))
    news = (f"A message on telegram was refused: {refused.value}", "telegram")
    assert (refused.value.code, setup.told) == (code, [] if code == "stopping" else [news])
    assert "m1" not in setup.kept


async def test_the_owner_is_told_once_for_each_session_and_cause() -> None:
    setup = Setup(FakeSessions({"42": IN_USE, "7": IN_USE}))
    for number in range(3):
        await setup.bus.deliver(message(number))
        await setup.bus.deliver(message(number, "7"))
    assert [text.partition(" wait")[0] for text, _ in setup.told] == ["Messages of telegram:42", "Messages of telegram:7"]


async def test_a_copy_of_a_kept_message_is_taken_and_kept_once() -> None:
    setup = Setup(FakeSessions({"42": IN_USE}))
    for _ in range(2):
        await setup.bus.deliver(message(1))
    assert (setup.kept, len(setup.log.lines)) == (["m1"], 1)


# --- order


async def test_nothing_overtakes_a_kept_message_and_other_chats_go_on() -> None:
    setup = Setup(FakeSessions({"42": IN_USE}))
    await setup.bus.deliver(message(1))
    setup.sessions.troubles.clear()
    await setup.bus.deliver(message(2))
    await setup.bus.deliver(message(3, "7"))
    assert (setup.kept, setup.sessions.taken) == (["m1", "m2"], ["m3"])


async def test_nothing_overtakes_a_message_that_is_being_kept() -> None:
    gate = trio.Event()
    setup = Setup(FakeSessions({"42": IN_USE}), MemoryLog(gate=gate))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(setup.bus.deliver, message(1))
        await wait_all_tasks_blocked()
        setup.sessions.troubles.clear()
        nursery.start_soon(setup.bus.deliver, message(2))
        await wait_all_tasks_blocked()
        gate.set()
    assert (setup.kept, setup.sessions.taken) == (["m1", "m2"], [])


async def test_messages_that_fail_together_are_kept_in_the_order_they_came() -> None:
    gate = trio.Event()
    setup = Setup(FakeSessions({"42": IN_USE}, gate=gate))
    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(setup.bus.deliver, message(number))
            await wait_all_tasks_blocked()
        gate.set()
    assert setup.kept == [f"m{number}" for number in range(20)]
    assert len(setup.told) == 1


# --- handing over


async def test_what_is_kept_is_handed_over_in_order_when_the_session_takes_again(autojump_clock: MockClock) -> None:
    setup = Setup(FakeSessions({"42": IN_USE}))
    async with handing_over(setup.bus):
        for number in (1, 2, 3):
            await setup.bus.deliver(message(number))
        await trio.sleep(100)
        assert setup.sessions.taken == []
        setup.sessions.troubles.clear()
        await trio.sleep(LONGEST_S)
        assert (setup.sessions.taken, setup.kept) == (["m1", "m2", "m3"], [])
        await setup.bus.deliver(message(4))
    assert setup.sessions.taken[-1] == "m4"


async def test_attempts_come_at_growing_intervals(autojump_clock: MockClock) -> None:
    setup = Setup(FakeSessions({"42": IN_USE}))
    async with handing_over(setup.bus):
        await setup.bus.deliver(message(1))
        await trio.sleep(50)
        await setup.bus.deliver(message(2))
        await trio.sleep(350)
    times = [at for at, _ in setup.sessions.attempts]
    waits = [round(after - before, 3) for before, after in itertools.pairwise(times)]
    assert waits == [FIRST_S, 2, 4, 8, 16, 32, LONGEST_S, LONGEST_S, LONGEST_S, LONGEST_S, LONGEST_S][: len(waits)]
    assert len(waits) >= 10


async def test_a_session_that_hangs_delays_no_other(autojump_clock: MockClock) -> None:
    setup = Setup(FakeSessions({"42": 1e6, "7": IN_USE}))
    async with handing_over(setup.bus):
        await setup.bus.deliver(message(1))
        await setup.bus.deliver(message(2, "7"))
        del setup.sessions.troubles["7"]
        await trio.sleep(FIRST_S + 0.1)
        assert setup.sessions.taken == ["m2"]


async def test_after_a_start_what_was_kept_comes_first(autojump_clock: MockClock) -> None:
    setup = Setup(FakeSessions({"42": IN_USE}))
    for number in (1, 2, 3):
        await setup.bus.deliver(message(number))
    setup.sessions.troubles.clear()
    later = setup.another()
    await later.deliver(message(4))
    async with handing_over(later):
        await trio.sleep(2 * FIRST_S)
    assert (setup.sessions.taken, setup.kept) == (["m1", "m2", "m3", "m4"], [])


async def test_a_message_taken_without_a_record_of_it_is_handed_over_again(autojump_clock: MockClock) -> None:
    setup = Setup(FakeSessions({"42": IN_USE}))
    await setup.bus.deliver(message(1))
    setup.sessions.troubles.clear()
    setup.log.failures = 1
    async with handing_over(setup.bus):
        await trio.sleep(10)
    assert ([name for _, name in setup.sessions.attempts], setup.kept) == (["m1", "m1", "m1"], [])
    assert setup.sessions.taken == ["m1"]


async def test_a_session_that_fails_anew_is_told_anew(autojump_clock: MockClock) -> None:
    setup = Setup()
    async with handing_over(setup.bus):
        for number in (1, 2):
            setup.sessions.troubles["42"] = IN_USE
            await setup.bus.deliver(message(number))
            setup.sessions.troubles.clear()
            await trio.sleep(10)
    assert len(setup.told) == 2


# --- where the owner is


async def test_the_owners_private_chat_is_noted_and_no_other(autojump_clock: MockClock) -> None:
    setup = Setup()
    async with handing_over(setup.bus):
        for inbound in (
            message(1, "mine", owner=True),
            message(2, "mine", owner=True),
            message(3, "room", owner=True, direct=False),
            message(4, "other"),
            attrs.evolve(message(5, "job", owner=True), key=SessionKey("cron", "job")),
        ):
            await setup.bus.deliver(inbound)
            await trio.sleep(1)
    assert setup.backlog.state.chats == ("telegram:default:mine",)
    assert len(setup.log.lines) == 1


# --- with real journals and threads


async def test_a_session_that_another_process_holds_gets_its_messages_when_it_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_S", 0.01)
    monkeypatch.setattr(module, "LONGEST_S", 0.01)
    world, told, key = World(), list[str](), str(message(1).key)
    journals = Journals(str(tmp_path / "journals"))
    async with open_writers() as writers, open_backlog(store_in(tmp_path, writers), trio.current_time) as backlog:
        await writers.run("prepare", journals.prepare)
        held, _ = journals.open(key)
        registry = Registry(Store(journals, writers), world.services, world.limits, lambda _key, p: world.watch(p))
        bus = Bus(backlog, lambda text, _about: told.append(text), trio.current_time)
        bus.sessions = RealSessions(registry)
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: registry.run(resume_all=True, task_status=task_status))
            await nursery.start(bus.run)
            with trio.fail_after(20):
                for number in (1, 2, 3):
                    await bus.deliver(message(number))
                assert [kept.inbound.id for kept in backlog.state.kept] == ["m1", "m2", "m3"]
                held.close()
                await world.until(lambda: not backlog.state.kept)
            nursery.cancel_scope.cancel()
    asked = [entry.id for turn in world.mind.seen for entry in turn.entries if isinstance(entry, Said)]
    assert list(dict.fromkeys(asked)) == ["m1", "m2", "m3"]
    assert len(told) == 1


@attrs.frozen
class RealSessions:
    registry: Registry

    async def deliver(self, inbound: Inbound) -> None:
        said = Said(inbound.id, inbound.text, inbound.at, str(inbound.principal))
        await self.registry.deliver(SessionKey(inbound.key.channel, inbound.key.chat), ev.Received(said))
