"""Children that live, end and live again, under a virtual clock; in real time where a thread takes part."""

from __future__ import annotations

import contextvars
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
from loguru import logger
from trio.testing import MockClock, wait_all_tasks_blocked

from nanobot.supervise import supervisor as module
from nanobot.supervise.asyncio_worker import AsyncioWorker, WorkerStuck
from nanobot.supervise.policy import Cause, ChildFailed
from nanobot.supervise.status import Node
from nanobot.supervise.supervisor import STOP_S, Child, ChildStuck, Supervisor, UnknownChild

if TYPE_CHECKING:
    from loguru import Message

End = Callable[[], Awaitable[object]]
"""What a life does once it is up."""


@attrs.define
class Scripted:
    """A child whose lives go as written, the last one again and again."""

    ends: tuple[End, ...]
    starts: list[float] = attrs.field(factory=list)
    living: int = 0

    async def __call__(self, *, task_status: trio.TaskStatus[None]) -> None:
        self.starts.append(trio.current_time())
        self.living += 1
        try:
            task_status.started()
            await self.ends[min(len(self.starts), len(self.ends)) - 1]()
        finally:
            self.living -= 1


def scripted(*ends: End) -> Scripted:
    return Scripted(ends)


def failing(cause: Cause, retry_after: float | None = None) -> End:
    async def end() -> None:
        raise ChildFailed("it broke", cause=cause, retry_after=retry_after)

    return end


def lasting(seconds: float, then: End) -> End:
    async def end() -> None:
        await trio.sleep(seconds)
        await then()

    return end


async def crash() -> None:
    raise KeyError("a bug")


async def hang() -> None:
    raise WorkerStuck("its thread hung")


async def come_back() -> None:
    pass


SLOW_S = 3.0


async def slow() -> None:
    """Lives until it is cancelled, and then takes its time."""
    try:
        await trio.sleep_forever()
    finally:
        with trio.move_on_after(SLOW_S, shield=True):
            await trio.sleep_forever()


@attrs.define
class Told:
    """What was told of the children, in order."""

    nodes: list[Node] = attrs.field(factory=list)

    def states(self, name: str) -> list[str]:
        return [node.state for node in self.nodes if node.name == name]


@asynccontextmanager
async def supervised(told: Told | None = None, **serves: module.Serve) -> AsyncIterator[Supervisor]:
    """A supervisor with these children, ended with the block. Its waits are not shortened by chance."""
    supervisor = Supervisor(trio.current_time, (told or Told()).nodes.append, lambda: 1.0)
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        for name, serve in serves.items():
            supervisor.add(Child(name, "channel", serve))
        yield supervisor
        nursery.cancel_scope.cancel()


def only(supervisor: Supervisor) -> Node:
    (node,) = supervisor.nodes()
    return node


# --- states


async def test_it_is_starting_until_the_child_says_that_it_is_up(autojump_clock: MockClock) -> None:
    connected = trio.Event()

    async def serve(*, task_status: trio.TaskStatus[None]) -> None:
        await connected.wait()
        task_status.started()
        await trio.sleep(5)
        task_status.started()  # once is enough
        await trio.sleep_forever()

    async with supervised(it=serve) as supervisor:
        await trio.sleep(3)
        assert only(supervisor) == Node("it", "channel", "starting", since=0)
        connected.set()
        await trio.sleep(10)
        assert only(supervisor) == Node("it", "channel", "up", since=3)


def waiting(until: float, error: str) -> Node:
    return Node("it", "channel", "waiting", since=0, error=error, waiting="its next start", until=until)


PARKED = Node("it", "channel", "parked", since=0, error="it broke", waiting="somebody to restart it")


@pytest.mark.parametrize(
    ("end", "node"),
    [
        (failing(Cause.TRANSIENT), waiting(1, "it broke")),
        (failing(Cause.RATE_LIMITED, 40), waiting(40, "it broke")),
        (come_back, waiting(1, "it returned, and should live")),
        (crash, waiting(1, "KeyError: 'a bug'")),
        (failing(Cause.AUTH), PARKED),
        (failing(Cause.CONFIG), PARKED),
        (failing(Cause.STUCK), PARKED),
        (hang, attrs.evolve(PARKED, error="WorkerStuck: its thread hung")),
    ],
)
async def test_each_way_out_is_shown(end: End, node: Node, autojump_clock: MockClock, claimed_errors: list[str]) -> None:
    async with supervised(it=scripted(end)) as supervisor:
        await trio.sleep(0.5)
        assert only(supervisor) == node


async def test_every_change_is_told_and_none_between_an_exit_and_its_restart_is_missing(autojump_clock: MockClock) -> None:
    told = Told()
    async with supervised(told, it=scripted(failing(Cause.TRANSIENT), trio.sleep_forever)) as supervisor:
        await trio.sleep(5)
        assert told.states("it") == ["starting", "up", "stopping", "waiting", "starting", "up"]
        assert told.nodes[-1] == only(supervisor) == Node("it", "channel", "up", since=1, restarts=1, error="it broke")


async def test_it_is_stopping_while_it_cleans_up(autojump_clock: MockClock) -> None:
    async def serve(*, task_status: trio.TaskStatus[None]) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.move_on_after(3, shield=True):
                task_status.started()  # too late: nobody may believe that it is up
                await trio.sleep_forever()

    async with supervised(it=serve) as supervisor, trio.open_nursery() as nursery:
        await trio.sleep(1)
        nursery.start_soon(supervisor.remove, "it")
        await trio.sleep(1)
        assert only(supervisor) == Node("it", "channel", "stopping", since=1)
        await trio.sleep(2.1)
        assert supervisor.nodes() == ()


async def test_facts_of_a_child_are_lines_of_its_node(autojump_clock: MockClock) -> None:
    async with supervised() as supervisor:
        supervisor.add(Child("it", "channel", scripted(trio.sleep_forever), facts=lambda: (("proof", "2 s ago"),)))
        assert only(supervisor).facts == (("proof", "2 s ago"),)


async def test_secrets_are_not_shown(autojump_clock: MockClock) -> None:
    async def leak() -> None:
        raise ChildFailed("GET https://me:hunter22@example.org/ failed")

    async with supervised(it=scripted(leak)) as supervisor:
        await wait_all_tasks_blocked()
        assert only(supervisor).error == "GET https://***@example.org/ failed"


# --- the policy at work


async def test_it_lives_again_a_second_after_a_crash(autojump_clock: MockClock, claimed_errors: list[str]) -> None:
    child = scripted(crash, trio.sleep_forever)
    async with supervised(it=child) as supervisor:
        await trio.sleep(2)
        assert child.starts == [0, 1]
        assert only(supervisor).state == "up"


@pytest.mark.parametrize("end", [come_back, crash, failing(Cause.TRANSIENT)])
async def test_a_restart_storm_is_ten_starts_then_one_in_a_quarter_of_an_hour(
    end: End, autojump_clock: MockClock, claimed_errors: list[str]
) -> None:
    child = scripted(end)
    async with supervised(it=child) as supervisor:
        await trio.sleep(600)
        assert child.starts == [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]
        assert (only(supervisor).state, only(supervisor).until) == ("parked", 243 + 900)
        await trio.sleep(3600)
        assert child.starts[10:] == [243 + 900, 243 + 1800, 243 + 2700, 243 + 3600]


async def test_health_makes_it_forget_its_failures(autojump_clock: MockClock) -> None:
    fail = failing(Cause.TRANSIENT)
    child = scripted(fail, fail, lasting(300, fail), trio.sleep_forever)
    async with supervised(it=child):
        await trio.sleep(1000)
        assert child.starts == [0, 1, 3, 304]


async def test_time_spent_connecting_is_not_health(autojump_clock: MockClock) -> None:
    starts = []

    async def serve(*, task_status: trio.TaskStatus[None]) -> None:
        starts.append(trio.current_time())
        await trio.sleep(400)
        raise ChildFailed("no answer")

    async with supervised(it=serve):
        await trio.sleep(2000)
        assert starts == [0, 401, 803, 1207, 1615]


@pytest.mark.parametrize("cause", [Cause.AUTH, Cause.CONFIG])
async def test_only_a_person_brings_back_what_only_a_person_can_mend(cause: Cause, autojump_clock: MockClock) -> None:
    child = scripted(failing(cause), trio.sleep_forever)
    async with supervised(it=child) as supervisor:
        await trio.sleep(80000)
        assert child.starts == [0]
        await supervisor.restart("it")
        await wait_all_tasks_blocked()
        assert (only(supervisor).state, only(supervisor).restarts) == ("up", 1)


async def test_a_restart_forgets_the_failures(autojump_clock: MockClock) -> None:
    child = scripted(failing(Cause.TRANSIENT))
    async with supervised(it=child) as supervisor:
        await trio.sleep(250)  # parked
        await supervisor.restart("it")
        await trio.sleep(4)
        assert child.starts[10:] == [250, 251, 253]


async def test_a_restart_ends_a_wait(autojump_clock: MockClock) -> None:
    child = scripted(failing(Cause.RATE_LIMITED, 3600), trio.sleep_forever)
    async with supervised(it=child) as supervisor:
        await trio.sleep(10)
        await supervisor.restart("it")
        await wait_all_tasks_blocked()
        assert child.starts == [0, 10]


@pytest.mark.parametrize(
    ("errors", "shown"),
    [
        ([ChildFailed("slow"), ChildFailed("wrong token", cause=Cause.AUTH), KeyError("x")], "wrong token"),
        ([ChildFailed("slow"), ExceptionGroup("", [KeyError("x")])], "KeyError: 'x'"),
    ],
)
async def test_the_gravest_of_several_errors_counts(
    errors: list[Exception], shown: str, autojump_clock: MockClock, claimed_errors: list[str]
) -> None:
    async def end() -> None:
        raise ExceptionGroup("several", errors)

    async with supervised(it=scripted(end)) as supervisor:
        await wait_all_tasks_blocked()
        assert only(supervisor).error == shown


# --- the log


@pytest.mark.parametrize(
    ("end", "level"),
    [(crash, "ERROR"), (failing(Cause.TRANSIENT), "WARNING"), (failing(Cause.AUTH), "WARNING"), (come_back, "WARNING")],
)
async def test_a_bug_is_an_error_in_the_log_and_what_was_expected_is_a_warning(
    end: End, level: str, autojump_clock: MockClock, claimed_errors: list[str]
) -> None:
    records: list[tuple[str, bool]] = []

    def keep(message: Message) -> None:
        records.append((message.record["level"].name, message.record["exception"] is not None))

    sink = logger.add(keep, level="WARNING")
    async with supervised(it=scripted(end)):
        await wait_all_tasks_blocked()
    logger.remove(sink)
    assert records == [(level, True)]


async def test_an_end_that_was_asked_for_is_no_failure_even_if_the_child_returns(autojump_clock: MockClock) -> None:
    async def obey() -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:  # noqa: ASYNC103
            return

    lines: list[str] = []
    sink = logger.add(lines.append, level="WARNING")
    async with supervised(it=scripted(obey), other=scripted(obey)) as supervisor:
        await wait_all_tasks_blocked()
        await supervisor.remove("it")
    logger.remove(sink)
    assert lines == []


async def test_what_a_child_logs_bears_its_name_in_all_its_tasks(autojump_clock: MockClock) -> None:
    found = []

    async def speak() -> None:
        logger.warning("hello")
        await trio.sleep_forever()

    async def end() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(speak)

    sink = logger.add(lambda message: found.append(message.record["extra"]), level="WARNING")
    with logger.contextualize(home="here"):
        async with supervised(it=scripted(end)):
            await wait_all_tasks_blocked()
    logger.remove(sink)
    assert found == [{"home": "here", "channel": "it"}]


# --- siblings


@pytest.mark.parametrize(
    "misbehave",
    [come_back, crash, failing(Cause.TRANSIENT), failing(Cause.RATE_LIMITED, 5), failing(Cause.AUTH), failing(Cause.CONFIG)],
)
async def test_nine_children_do_not_notice_what_the_tenth_does(
    misbehave: End, autojump_clock: MockClock, claimed_errors: list[str]
) -> None:
    beats = dict.fromkeys(map(str, range(9)), 0)

    def beating(name: str) -> Scripted:
        async def beat() -> None:
            while True:
                await trio.sleep(1)
                beats[name] += 1

        return scripted(beat)

    good = {name: beating(name) for name in beats}
    async with supervised(None, bad=scripted(misbehave), **good) as supervisor:
        await trio.sleep(100.5)
        assert set(beats.values()) == {100}
        assert [node.restarts for node in supervisor.nodes() if node.name != "bad"] == [0] * 9


# --- what does not end


def refusing(until: trio.Event) -> End:
    async def end() -> None:
        with trio.move_on_after(10_000, shield=True):  # so that a test that fails ends
            await until.wait()

    return end


def swallowing(until: trio.Event) -> End:
    async def end() -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:  # noqa: ASYNC103
            await refusing(until)()  # noqa: ASYNC102  # as bad as it gets

    return end


@pytest.fixture(params=[refusing, swallowing])
def stubborn(request: pytest.FixtureRequest) -> Callable[[trio.Event], End]:
    made: Callable[[trio.Event], End] = request.param
    return made


async def test_what_refuses_to_end_is_said_to_be_stuck_and_where(
    stubborn: Callable[[trio.Event], End], autojump_clock: MockClock, claimed_errors: list[str]
) -> None:
    release = trio.Event()
    child, good = scripted(stubborn(release)), scripted(trio.sleep_forever)
    async with supervised(it=child, good=good) as supervisor:
        await trio.sleep(1)
        for _ in range(2):
            with pytest.raises(ChildStuck, match=r"it does not end(.|\n)*test_supervisor.py.*in end\n"):
                await supervisor.restart("it")
        assert trio.current_time() == 1 + STOP_S
        node, other = supervisor.nodes()
        assert (node.state, node.since, child.starts) == ("stuck", 1 + STOP_S, [0])
        assert "await until.wait()" in node.error
        assert (other.state, other.restarts) == ("up", 0)
        await trio.sleep(60)
        assert child.starts == [0]
        release.set()
    assert "it does not end" in claimed_errors[0]


async def test_what_ends_late_is_parked_and_may_be_restarted(autojump_clock: MockClock, claimed_errors: list[str]) -> None:
    release = trio.Event()
    child = scripted(refusing(release), trio.sleep_forever)
    async with supervised(it=child) as supervisor:
        await wait_all_tasks_blocked()
        with pytest.raises(ChildStuck):
            await supervisor.restart("it")
        release.set()
        await trio.sleep(60)
        assert (only(supervisor).state, only(supervisor).waiting, child.starts) == ("parked", "somebody to restart it", [0])
        await supervisor.restart("it")
        await wait_all_tasks_blocked()
        assert (only(supervisor).state, child.living) == ("up", 1)


async def test_what_was_to_be_removed_and_ends_late_is_removed_then(autojump_clock: MockClock, claimed_errors: list[str]) -> None:
    release = trio.Event()
    async with supervised(it=scripted(refusing(release))) as supervisor:
        await wait_all_tasks_blocked()
        with pytest.raises(ChildStuck):
            await supervisor.remove("it")
        assert only(supervisor).state == "stuck"
        release.set()
        await trio.sleep(1)
        assert supervisor.nodes() == ()


async def test_run_ends_all_at_once_and_in_time_though_one_refuses(autojump_clock: MockClock, claimed_errors: list[str]) -> None:
    told, release, slow_ones = Told(), trio.Event(), [scripted(slow) for _ in range(5)]
    async with supervised(told, bad=scripted(refusing(release)), **{str(n): one for n, one in enumerate(slow_ones)}):
        await trio.sleep(1)
    assert trio.current_time() == 1 + STOP_S
    assert [one.living for one in slow_ones] == [0] * 5
    assert told.states("bad")[-1] == "stuck"
    release.set()
    await wait_all_tasks_blocked()


@pytest.mark.parametrize("seconds", [2.0, 60.0])
async def test_a_task_left_in_a_foreign_nursery_holds_the_restart_and_is_named(
    seconds: float, autojump_clock: MockClock, claimed_errors: list[str]
) -> None:
    async def straggle() -> None:
        await trio.sleep(seconds)

    async with trio.open_nursery() as foreign_nursery:

        async def leak() -> None:
            foreign_nursery.start_soon(straggle, name="straggler")
            raise ChildFailed("it broke")

        child = scripted(leak, trio.sleep_forever)
        async with supervised(it=child) as supervisor:
            await trio.sleep(1)
            assert only(supervisor).state == "stopping"
            await trio.sleep(50)
            if seconds < STOP_S:
                assert child.starts == [0, pytest.approx(seconds + 1, abs=0.5)]
            else:
                assert child.starts == [0]
                assert only(supervisor).state == "stuck"
                assert "it broke\ntask straggler:\n" in only(supervisor).error
                assert "in straggle\n" in only(supervisor).error
                await trio.sleep(50)
                assert only(supervisor).state == "parked"


async def test_a_task_that_is_to_outlive_the_child_is_started_in_another_context(autojump_clock: MockClock) -> None:
    context = contextvars.copy_context()
    async with trio.open_nursery() as sessions_nursery:

        async def hand_over() -> None:
            context.run(sessions_nursery.start_soon, trio.sleep_forever)
            raise ChildFailed("it broke")

        async with supervised(it=scripted(hand_over, trio.sleep_forever)) as supervisor:
            await trio.sleep(1.5)
            assert only(supervisor).state == "up"
        sessions_nursery.cancel_scope.cancel()


async def test_a_thread_that_hangs_is_named_and_there_are_never_two_of_it(
    monkeypatch: pytest.MonkeyPatch, claimed_errors: list[str]
) -> None:
    monkeypatch.setattr(module, "STOP_S", 0.3)
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    release, starts, told = threading.Event(), list[int](), Told()

    async def main(worker: AsyncioWorker[None]) -> None:
        worker.ready()
        release.wait(20)

    async def serve(*, task_status: trio.TaskStatus[None]) -> None:
        starts.append(1)
        await AsyncioWorker[None]("sdk", stop_s=0.1).run(main, task_status=task_status)  # type: ignore[arg-type]

    async with supervised(told, it=serve) as supervisor:
        await until(supervisor, "up")
        with pytest.raises(ChildStuck):
            await supervisor.restart("it")
        assert only(supervisor).state == "stuck"
        assert "\nasyncio:sdk:\n" in only(supervisor).error
        assert "release.wait(20)" in only(supervisor).error
        with pytest.raises(ChildStuck):
            await supervisor.restart("it")
        assert len(starts) == 1
        release.set()
        await until(supervisor, "parked")
        await supervisor.restart("it")
        assert only(supervisor).state == "starting"


async def until(supervisor: Supervisor, state: str) -> None:
    with trio.fail_after(10):
        while only(supervisor).state != state:  # noqa: ASYNC110  # its thread sets no event of ours
            await trio.sleep(0.005)


async def test_a_dead_life_is_not_kept_in_memory(autojump_clock: MockClock) -> None:
    class Connection:
        pass

    connections: list[weakref.ref[Connection]] = []

    async def end() -> None:
        connection = Connection()
        connections.append(weakref.ref(connection))
        await failing(Cause.TRANSIENT)()

    async with supervised(it=scripted(end)):
        await trio.sleep(0.5)
        gc.collect()
        assert [connection() for connection in connections] == [None]


# --- who asks


async def test_a_name_that_is_unknown_or_taken(autojump_clock: MockClock) -> None:
    async with supervised(it=scripted(trio.sleep_forever)) as supervisor:
        for ask in (supervisor.restart, supervisor.remove):
            with pytest.raises(UnknownChild, match="there is no 'that'; there is it"):
                await ask("that")
        with pytest.raises(ValueError, match="'it'"):
            supervisor.add(Child("it", "channel", scripted(crash)))


@pytest.mark.parametrize("end", [trio.sleep_forever, failing(Cause.TRANSIENT), failing(Cause.AUTH)])
async def test_a_name_is_free_after_its_child_was_removed(end: End, autojump_clock: MockClock) -> None:
    first, second = scripted(end), scripted(trio.sleep_forever)
    async with supervised(it=first) as supervisor:
        await trio.sleep(0.5)
        await supervisor.remove("it")
        assert supervisor.nodes() == ()
        supervisor.add(Child("it", "channel", second))
        await trio.sleep(100)
        assert (len(first.starts), first.living, second.living) == (1, 0, 1)


async def test_a_restart_is_done_though_its_caller_goes_away(autojump_clock: MockClock) -> None:
    child = scripted(slow)
    async with supervised(it=child) as supervisor:
        await trio.sleep(1)
        with trio.move_on_after(0.5):
            await supervisor.restart("it")
        await trio.sleep(10)
        assert child.starts == [0, 1 + SLOW_S]


async def test_whoever_asks_while_all_ends_is_not_left_waiting(autojump_clock: MockClock) -> None:
    with trio.fail_after(60):
        async with trio.open_nursery() as askers_nursery, supervised(it=scripted(slow)) as supervisor:
            await trio.sleep(1)
            askers_nursery.start_soon(supervisor.restart, "it")  # noqa: ASYNC111  # the asker outlives it
            await trio.sleep(1)
    assert trio.current_time() == 1 + SLOW_S


async def test_a_child_may_ask_for_its_own_restart_and_for_another_child(autojump_clock: MockClock) -> None:
    async def ask() -> None:
        supervisor.add(Child("other", "channel", scripted(trio.sleep_forever)))
        await supervisor.restart("it")

    child = scripted(ask, trio.sleep_forever)
    async with supervised(it=child) as supervisor:
        await trio.sleep(1)
        assert child.starts == [0, 0]
        await supervisor.restart("it")  # and the other one's tasks are not its own
        await trio.sleep(1)
        assert child.starts == [0, 0, 1]


async def test_a_failure_that_others_notice_ends_the_life(autojump_clock: MockClock) -> None:
    child = scripted(trio.sleep_forever)
    async with supervised(it=child) as supervisor:
        await trio.sleep(1)
        supervisor.fail("it", ChildFailed("no proof of traffic"))
        await trio.sleep(0.5)
        assert (only(supervisor).state, only(supervisor).error) == ("waiting", "no proof of traffic")
        await trio.sleep(1)
        assert child.starts == [0, 2]


async def test_a_dead_connection_whose_child_refuses_to_end_is_not_shown_as_up(
    autojump_clock: MockClock, claimed_errors: list[str]
) -> None:
    release = trio.Event()
    async with supervised(it=scripted(refusing(release))) as supervisor:
        await wait_all_tasks_blocked()
        supervisor.fail("it", ChildFailed("no proof of traffic"))
        await trio.sleep(1)
        assert only(supervisor).state == "stopping"
        await trio.sleep(STOP_S)
        assert only(supervisor).state == "stuck"
        assert only(supervisor).error.startswith("it does not end\nno proof of traffic\ntask it:\n")
        release.set()


async def test_a_bug_in_the_supervisor_passes(autojump_clock: MockClock) -> None:
    def stumble(node: Node) -> None:
        if node.state == "waiting":
            raise ZeroDivisionError

    child = scripted(failing(Cause.TRANSIENT))
    supervisor = Supervisor(trio.current_time, stumble)
    with pytest.RaisesGroup(pytest.RaisesGroup(ZeroDivisionError)):
        async with trio.open_nursery() as nursery:
            await nursery.start(supervisor.run)
            supervisor.add(Child("it", "channel", child))
    assert child.living == 0
