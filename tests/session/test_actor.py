"""The actor: what is on disk before what, what runs in which scope, and what is left when it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from nanobot.messages import CallState, Effect, Reply, Said, TurnEnd
from nanobot.session import events as ev
from nanobot.session.actor import Actor, ActorEnded
from nanobot.session.codec import decode_session
from nanobot.session.ports import Waiting
from nanobot.session.state import AwaitingTool, Idle, Session, Stopping, StopReason, Thinking
from tests.session.house_fakes import KEY, World, answer, call, command, said


@pytest.fixture
def world() -> World:
    return World()


@asynccontextmanager
async def living(
    world: World,
    session: Session | None = None,
    *,
    crashed: bool = False,
    idle_s: float = 1e6,
    may_retire: Callable[[], bool] | None = None,
) -> AsyncIterator[Actor]:
    actor = Actor(
        session or Session(KEY), world.log, world.services, world.limits, world.watch, may_retire or (lambda: True), idle_s
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(actor.run, ev.Opened(trio.current_time(), crashed))
        yield actor
        nursery.cancel_scope.cancel()


def ends(world: World) -> list[TurnEnd]:
    return [exchange.end for exchange in world.session.exchanges]


async def test_an_answer_reaches_the_chat_and_is_recorded_as_delivered(autojump_clock: MockClock, world: World) -> None:
    world.mind.thoughts = [answer("hi")]
    async with living(world) as actor:
        await actor.deliver(said(1))
        await world.until(lambda: actor.at_rest)
    assert world.outlet.sent == ["hi"]
    assert decode_session(world.log.state) == world.session
    assert (world.session.state, world.session.outbox) == (Idle(), ())


async def test_nothing_begins_and_nobody_is_told_before_the_line_is_on_disk(autojump_clock: MockClock, world: World) -> None:
    world.log.gate = trio.Event()
    async with living(world) as actor, trio.open_nursery() as nursery:
        nursery.start_soon(actor.deliver, said(1))
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert (world.mind.seen, len(nursery.child_tasks), actor.session.inbox) == ([], 1, ())
        world.log.gate.set()
        await world.until(lambda: bool(world.outlet.sent))


async def test_a_busy_turn_does_not_delay_intake_and_a_message_joins_before_the_next_model_call(
    autojump_clock: MockClock, world: World
) -> None:
    held = world.hands.held["exec"] = trio.Event()
    world.mind.thoughts = [answer("let me", call("exec"))]
    async with living(world) as actor:
        await actor.deliver(said(1))
        await world.until(lambda: bool(world.hands.running))
        with trio.fail_after(0.001):
            await actor.deliver(said(2, "and also"))
        assert isinstance(actor.session.state, AwaitingTool)
        held.set()
        await world.until(lambda: actor.at_rest)
    assert [turn.inputs for turn in world.mind.seen] == [("m1",), ("m1", "m2")]
    assert [p.text for p in _texts(world.mind.seen[1].entries)] == ["hello", "and also"]


def _texts(entries: tuple[object, ...]) -> list[Said]:
    return [entry for entry in entries if isinstance(entry, Said)]


async def test_read_only_calls_run_beside_each_other_and_writing_ones_alone(autojump_clock: MockClock, world: World) -> None:
    reads = [call("read_file", Effect.READS, n) for n in range(3)]
    world.mind.thoughts = [answer("", *reads), answer("", call("exec", number=1), call("write_file", number=2))]
    async with living(world) as actor:
        await actor.deliver(said(1))
        await world.until(lambda: len(world.hands.ran) == 3)
        assert world.hands.most_at_once == 3
        world.hands.most_at_once = 0
        await world.until(lambda: actor.at_rest)
    assert (world.hands.most_at_once, world.hands.ran[3:]) == (1, ["exec1", "write_file2"])


@pytest.mark.parametrize("slow_disk", [False, True])
async def test_stop_cancels_at_once_and_is_answered_when_all_is_gone(
    autojump_clock: MockClock, world: World, slow_disk: bool
) -> None:
    world.hands.held["exec"] = trio.Event()
    world.mind.thoughts = [answer("", call("exec"))]
    async with living(world) as actor, trio.open_nursery() as nursery:
        await actor.deliver(said(1))
        await world.until(lambda: bool(world.hands.running))
        if slow_disk:
            world.log.gate = trio.Event()
        nursery.start_soon(actor.deliver, command(1, ev.Stop()))
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not world.hands.running
        if slow_disk and world.log.gate is not None:
            assert not ends(world)
            world.log.gate.set()
        await world.until(lambda: actor.at_rest)
    assert ends(world) == [TurnEnd.STOPPED]
    assert world.outlet.sent[0].startswith("Stopped. Cut while running: exec")
    (reply,) = [e for e in world.session.exchanges[0].entries if isinstance(e, Reply)]
    assert [c.state for c in reply.calls] == [CallState.CUT]


@pytest.mark.parametrize("order", [ev.Stop(), ev.New()])
async def test_a_line_before_the_stop_begins_nothing_any_more(autojump_clock: MockClock, world: World, order: ev.Command) -> None:
    """The answer with its calls is being written when the stop comes: the turn's scope is empty before that line is there."""
    world.mind.thoughts = [answer("", call("exec"))]
    async with living(world) as actor, trio.open_nursery() as nursery:
        await actor.deliver(said(1))
        of_answer = world.log.gate = trio.Event()
        await trio.testing.wait_all_tasks_blocked(0.01)
        nursery.start_soon(actor.deliver, command(1, order))
        await trio.testing.wait_all_tasks_blocked(0.01)
        of_stop = world.log.gate = trio.Event()
        of_answer.set()
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert isinstance(actor.session.state, AwaitingTool)
        of_stop.set()
        await world.until(lambda: actor.at_rest)
    assert (world.hands.ran, world.hands.most_at_once) == ([], 0)


async def test_a_copy_of_an_old_stop_stops_nothing(autojump_clock: MockClock, world: World) -> None:
    world.hands.held["exec"] = trio.Event()
    world.mind.thoughts = [answer("", call("exec"))]
    async with living(world) as actor:
        await actor.deliver(command(1, ev.Stop()))
        await actor.deliver(said(1))
        await world.until(lambda: bool(world.hands.running))
        await actor.deliver(command(1, ev.Stop()))
        assert isinstance(actor.session.state, AwaitingTool)
        assert world.hands.running


async def test_stop_and_answer_in_one_line_begin_nothing(autojump_clock: MockClock, world: World) -> None:
    """The model's calls and the stop are decided together: the calls must not start after it."""
    gate = trio.Event()

    async def thought(session: Session, turn: object) -> ev.ModelAnswered | ev.ModelFailed | ev.ContextFull:
        await gate.wait()
        return await answer("", call("exec"))(session, world.mind.seen[-1])

    world.mind.thoughts = [thought]
    async with living(world) as actor, trio.open_nursery() as nursery:
        await actor.deliver(said(1))
        world.log.gate = trio.Event()
        nursery.start_soon(actor.deliver, said(2, principal="cli:default:direct:other"))
        await trio.testing.wait_all_tasks_blocked(0.01)
        gate.set()
        await trio.testing.wait_all_tasks_blocked(0.01)
        nursery.start_soon(actor.deliver, command(1, ev.Stop()))
        await trio.testing.wait_all_tasks_blocked(0.01)
        world.log.gate.set()
        await world.until(lambda: actor.at_rest)
    assert world.hands.ran == []
    assert ends(world)[0] is TurnEnd.STOPPED


async def test_a_turn_that_takes_too_long_is_ended_and_says_so(autojump_clock: MockClock, world: World) -> None:
    world.turn_deadline = 60.0
    world.hands.held["exec"] = trio.Event()
    world.mind.thoughts = [answer("", call("exec"))]
    async with living(world) as actor:
        await actor.deliver(said(1))
        await world.until(lambda: isinstance(actor.session.state, Idle))
    assert ends(world) == [TurnEnd.DEADLINE]
    assert trio.current_time() >= 60.0


async def test_the_same_line_is_tried_again_while_the_disk_refuses(autojump_clock: MockClock, world: World) -> None:
    world.log.failures = 3
    async with living(world) as actor:
        before = trio.current_time()
        await actor.deliver(said(1))
        assert trio.current_time() - before >= 3.5
        await world.until(lambda: bool(world.outlet.sent))
    assert sum(isinstance(p, Waiting) and "disk is full" in p.what for p in world.progress) == 3
    assert len(world.mind.seen) == 1


async def test_a_caller_whose_event_was_not_written_is_told(autojump_clock: MockClock, world: World) -> None:
    world.log.gate = trio.Event()
    results: list[str] = []

    async def speak(actor: Actor) -> None:
        try:
            await actor.deliver(said(1))
        except ActorEnded:
            results.append("ended")

    async with trio.open_nursery() as nursery:
        async with living(world) as actor:
            nursery.start_soon(speak, actor)  # noqa: ASYNC111  # that it ends before is the test
            await trio.testing.wait_all_tasks_blocked(0.01)
        with pytest.raises(ActorEnded):
            await actor.deliver(said(2))
    assert results == ["ended"]


async def test_failed_sends_are_tried_again_at_their_time(autojump_clock: MockClock, world: World) -> None:
    world.outlet.answers = [
        lambda p, part: ev.SendFailed(p.outbound.id, part, trio.current_time(), "busy"),
        lambda p, part: ev.SendFailed(p.outbound.id, part, trio.current_time(), "slow down", retry_after=30.0),
    ]
    async with living(world) as actor:
        await actor.deliver(said(1))
        await world.until(lambda: bool(world.outlet.sent))
    assert 31.0 <= trio.current_time() <= 33.0


async def test_an_idle_actor_retires_only_if_it_may_and_never_with_mail(autojump_clock: MockClock, world: World) -> None:
    grants = [False, True]
    async with living(world, idle_s=10.0, may_retire=lambda: grants.pop(0)) as actor:
        await actor.deliver(said(1))
        await world.until(lambda: not grants)
        with pytest.raises(ActorEnded):
            await actor.deliver(said(2))
    assert 20.0 <= trio.current_time() <= 21.0


async def test_a_question_is_answered_beside_a_running_turn_and_stop_reaches_it(autojump_clock: MockClock, world: World) -> None:
    world.errands.held = trio.Event()
    async with living(world) as actor:
        await actor.deliver(command(1, ev.Ask("/status")))
        assert [e.text for e in actor.session.errands] == ["/status"]
        await actor.deliver(command(2, ev.Stop()))
        await world.until(lambda: actor.at_rest)
    assert world.outlet.sent == ["Stopped: /status."]


async def test_a_drain_puts_the_turn_aside_and_the_next_start_goes_on_with_it(autojump_clock: MockClock, world: World) -> None:
    world.hands.held["exec"] = trio.Event()
    world.mind.thoughts = [answer("", call("exec"))]
    async with living(world, idle_s=1e6) as actor:
        await actor.deliver(said(1))
        await world.until(lambda: bool(world.hands.running))
        await actor.deliver(ev.DrainAsked(trio.current_time()))
        await world.until(lambda: actor.at_rest)
        assert isinstance(actor.session.state, Thinking)
    async with living(world, decode_session(world.log.state)) as actor:
        await world.until(lambda: bool(world.outlet.sent))
    assert (world.outlet.sent, ends(world)) == (["done"], [TurnEnd.ANSWERED])
    assert world.hands.ran == []


async def test_after_a_crash_the_model_call_is_made_once_more_and_a_second_crash_ends_the_turn(
    autojump_clock: MockClock, world: World
) -> None:
    async def hang(_session: Session, _turn: object) -> ev.ModelAnswered:
        await trio.sleep_forever()
        raise AssertionError

    world.mind.thoughts = [hang, hang]
    async with living(world) as actor:
        await actor.deliver(said(1))
        await world.until(lambda: len(world.mind.seen) == 1)
    async with living(world, decode_session(world.log.state), crashed=True):
        await world.until(lambda: len(world.mind.seen) == 2)
    async with living(world, decode_session(world.log.state), crashed=True):
        await world.until(lambda: bool(world.outlet.sent))
    assert len(world.mind.seen) == 2
    assert ends(world) == [TurnEnd.CRASHED]
    assert "restarted twice" in world.outlet.sent[0]


async def test_a_session_found_stopping_ends_its_turn(autojump_clock: MockClock, world: World) -> None:
    world.hands.held["exec"] = trio.Event()
    world.mind.thoughts = [answer("", call("exec"))]
    async with living(world) as actor:
        await actor.deliver(said(1))
        await world.until(lambda: bool(world.hands.running))
    before = decode_session(world.log.state)
    assert before.turn is not None
    stopping = Session(KEY, state=Stopping(before.turn, StopReason.STOP), next_turn=before.next_turn)
    async with living(world, stopping, crashed=True):
        await world.until(lambda: bool(world.outlet.sent))
    assert ends(world) == [TurnEnd.STOPPED]


async def test_history_that_leaves_the_prompt_begins_a_new_segment(autojump_clock: MockClock, world: World) -> None:
    async with living(world) as actor:
        await actor.deliver(said(1))
        await world.until(lambda: actor.at_rest)
        await actor.deliver(command(1, ev.New()))
        await world.until(lambda: actor.at_rest)
    assert len(world.log.cuts) == 1
    assert decode_session(world.log.cuts[0]).exchanges == ()


async def test_a_burst_is_one_line(autojump_clock: MockClock, world: World) -> None:
    world.log.gate = trio.Event()
    async with living(world) as actor, trio.open_nursery() as nursery:
        nursery.start_soon(actor.deliver, said(0))
        await trio.testing.wait_all_tasks_blocked(0.01)
        for number in range(1, 11):
            nursery.start_soon(actor.deliver, said(number))
        await trio.testing.wait_all_tasks_blocked(0.01)
        world.log.gate.set()
        await world.until(lambda: len(actor.session.seen) == 11)
        accepted = [sum(r["t"] == "accepted" for r in rows if isinstance(r, dict)) for rows, _ in world.log.lines]
        nursery.cancel_scope.cancel()
    assert accepted[:2] == [1, 10]
