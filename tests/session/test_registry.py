"""The registry on real journals: sleep and its race, failures, recovery, who owes is woken. Real threads, so real time."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from nanobot.errors import InUse, JournalTooNew
from nanobot.journal.journal import Journals
from nanobot.journal.segment import Line, encode
from nanobot.journal.store import Store
from nanobot.journal.writers import open_writers
from nanobot.messages import MessageId, Principal, Said, SessionKey, TurnEnd
from nanobot.session import events as ev
from nanobot.session import registry as registry_module
from nanobot.session.ports import Adopted, DeliveryEnd, Progress
from nanobot.session.records import Restarted
from nanobot.session.registry import Registry, SessionFailed
from nanobot.session.state import Idle, Pending, Session, Turn
from tests.session.house_fakes import World, answer, call

A, B = SessionKey("cli", "a"), SessionKey("cli", "b")
_numbers = itertools.count()


def said(key: SessionKey, text: str = "hello", *, number: int | None = None) -> ev.Received:
    who = str(Principal(key.channel, key.account, key.chat, "me"))
    name = f"m{next(_numbers) if number is None else number}"
    return ev.Received(Said(MessageId(name), text, trio.current_time(), who))


@asynccontextmanager
async def running(world: World, root: Path, *, idle_s: float = 1e6, resume: bool = True) -> AsyncIterator[Registry]:
    """A registry for as long as the block lasts; leaving it is a crash, as nothing is put aside."""

    def watch(key: str, progress: Progress) -> None:
        world.watch(progress)

    async with open_writers() as writers:
        journals = Journals(str(root))
        await writers.run("prepare", journals.prepare)
        registry = Registry(Store(journals, writers), world.services, world.limits, watch, idle_s=idle_s, resume=resume)
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: registry.run(resume_all=True, task_status=task_status))
            with trio.fail_after(20):
                yield registry
            nursery.cancel_scope.cancel()


def live(registry: Registry, key: SessionKey) -> Session:
    return registry.live()[str(key)]


async def test_sessions_run_at_the_same_time_and_share_nothing(tmp_path: Path) -> None:
    world = World()
    held = world.hands.held["exec"] = trio.Event()
    world.mind.thoughts = [answer("", call("exec"))]
    async with running(world, tmp_path) as registry:
        await registry.deliver(A, said(A))
        await world.until(lambda: bool(world.hands.running))
        await registry.deliver(B, said(B))
        await world.until(lambda: world.outlet.sent == ["done"])
        assert not isinstance(live(registry, A).state, Idle)
        held.set()
        await world.until(lambda: len(world.outlet.sent) == 2)


async def test_no_message_lands_in_an_actor_that_falls_asleep(tmp_path: Path) -> None:
    """Actors retire at once; 60 messages meet them in every moment of it, and each joins the conversation once."""
    world = World()
    async with running(world, tmp_path, idle_s=0.0) as registry:
        async with trio.open_nursery() as nursery:
            for number in range(60):
                nursery.start_soon(registry.deliver, A, said(A, number=number))
                await trio.sleep(0.001 * (number % 7))
        await world.until(lambda: _answered(world, 60))
    asked = [entry.id for turn in world.mind.seen for entry in turn.entries if isinstance(entry, Said)]
    assert sorted(asked) == sorted({MessageId(f"m{number}") for number in range(60)})


def _answered(world: World, count: int) -> bool:
    return len({message for turn in world.mind.seen for message in turn.inputs}) == count


async def test_what_a_crash_left_is_taken_up_by_the_next_start(tmp_path: Path) -> None:
    world = World()
    world.hands.held["exec"] = trio.Event()
    world.mind.thoughts = [answer("", call("exec"))]
    async with running(world, tmp_path) as registry:
        await registry.deliver(A, said(A, number=1))
        await world.until(lambda: bool(world.hands.running))
    async with running(world, tmp_path) as registry:
        await world.until(lambda: world.outlet.sent == ["done"])
        copy = said(A, number=1)
        await registry.deliver(A, copy)
        assert isinstance(live(registry, A).state, Idle)
    assert world.hands.ran == []


async def test_too_many_crashes_open_sessions_but_resume_nothing(tmp_path: Path) -> None:
    world = World()
    world.hands.held["exec"] = trio.Event()
    world.mind.thoughts = [answer("", call("exec"))]
    async with running(world, tmp_path) as registry:
        await registry.deliver(A, said(A))
        await world.until(lambda: bool(world.hands.running))
    async with running(world, tmp_path, resume=False):
        await world.until(lambda: bool(world.outlet.sent))
    assert "restarted too often" in world.outlet.sent[0]
    assert len(world.mind.seen) == 1


async def test_a_fault_in_one_session_ends_its_turn_with_a_sentence_and_touches_no_other(
    tmp_path: Path, claimed_errors: list[str]
) -> None:
    world = World()

    async def faulty(_session: Session, _turn: Turn) -> ev.ModelAnswered:
        raise ZeroDivisionError("a bug")

    world.mind.thoughts = [faulty, faulty, answer("b is fine")]
    async with running(world, tmp_path) as registry:
        await registry.deliver(A, said(A))
        await world.until(lambda: bool(world.outlet.sent))
        assert "restarted twice" in world.outlet.sent[0]
        await registry.deliver(B, said(B))
        await world.until(lambda: "b is fine" in world.outlet.sent)
        assert [e.end for e in live(registry, A).exchanges] == [TurnEnd.CRASHED]
    assert sum("failed" in line for line in claimed_errors) == 2


async def test_a_session_in_use_elsewhere_is_refused_with_its_holder(tmp_path: Path) -> None:
    world = World()
    async with running(world, tmp_path) as first, running(world, tmp_path) as second:
        await first.deliver(A, said(A))
        with pytest.raises(InUse, match="in use by process"):
            await second.deliver(A, said(A))
        await second.deliver(B, said(B))


async def test_from_a_damaged_journal_nothing_is_resumed_and_it_is_told(tmp_path: Path) -> None:
    world = World()
    world.hands.held["exec"] = trio.Event()
    world.mind.thoughts = [answer("first"), answer("", call("exec"))]
    async with running(world, tmp_path) as registry:
        await registry.deliver(A, said(A, "one"))
        await world.until(lambda: len(world.outlet.sent) == 1)
        await registry.deliver(A, said(A, "two"))
        await world.until(lambda: bool(world.hands.running))
    (file,) = tmp_path.glob("*/*.jsonl")
    lines = file.read_bytes().split(b"\n")
    lines[-4] = lines[-4].replace(b'"at"', b'"AT"')
    file.write_bytes(b"\n".join(lines))
    async with running(world, tmp_path) as registry:
        await registry.open(A)
        await world.until(lambda: len(world.outlet.sent) == 2)
        assert f"line {len(lines) - 3}" in world.outlet.sent[1]
        await registry.deliver(A, said(A, "three"))
        await world.until(lambda: len(world.outlet.sent) == 3)
    assert world.hands.ran == []
    assert file.read_bytes() == b"\n".join(lines)


async def test_a_journal_of_a_newer_version_is_refused_untouched(tmp_path: Path) -> None:
    world = World()
    async with running(world, tmp_path) as registry:
        await registry.deliver(A, said(A))
        await world.until(lambda: bool(world.outlet.sent))
    (file,) = tmp_path.glob("*/*.jsonl")
    newer = _with_unknown_record(file)
    async with running(world, tmp_path) as registry:
        with pytest.raises(JournalTooNew, match="newer nanobot"):
            await registry.deliver(A, said(A))
    assert file.read_bytes() == newer


def _with_unknown_record(file: Path) -> bytes:
    n = file.read_bytes().count(b"\n")
    file.write_bytes(file.read_bytes() + encode(Line(n + 1, 1.0, None, [{"t": "from_the_future"}])))
    return file.read_bytes()


async def test_a_sleeper_that_waits_to_send_is_woken_at_its_time(tmp_path: Path) -> None:
    world = World()
    world.outlet.answers = [lambda p, part: ev.SendFailed(p.outbound.id, part, trio.current_time(), "busy", retry_after=0.3)]
    async with running(world, tmp_path, idle_s=0.0) as registry:
        await registry.deliver(A, said(A))
        await world.until(lambda: str(A) not in registry.live())
        assert world.outlet.sent == []
        await world.until(lambda: world.outlet.sent == ["done"])


async def test_a_sleeper_that_waits_for_its_channel_is_woken_by_it(tmp_path: Path) -> None:
    world = World()
    world.outlet.answers = [lambda p, part: ev.ChannelDown(p.outbound.id, part, trio.current_time(), "parked")]
    async with running(world, tmp_path, idle_s=0.0) as registry:
        await registry.deliver(A, said(A))
        await world.until(lambda: str(A) not in registry.live())
        registry.wake_channel("cli", trio.current_time())
        await world.until(lambda: world.outlet.sent == ["done"])


async def test_a_drain_ends_every_actor_and_is_no_crash(tmp_path: Path) -> None:
    world = World()
    world.hands.held["exec"] = trio.Event()
    world.mind.thoughts = [answer("", call("exec"))]
    async with running(world, tmp_path) as registry:
        await registry.deliver(A, said(A))
        await world.until(lambda: bool(world.hands.running))
        with trio.fail_after(2):
            await registry.drain(trio.current_time())
        assert registry.live() == {}
    async with running(world, tmp_path):
        await world.until(lambda: world.outlet.sent == ["done"])
    starts = [r.crashed for p in world.progress if isinstance(p, Adopted) for r in p.records if isinstance(r, Restarted)]
    assert starts == [False]


async def test_a_drain_gives_a_turn_its_time_and_begins_no_other(tmp_path: Path) -> None:
    world = World()
    world.hands.held["exec"] = trio.Event()
    world.mind.thoughts = [answer("", call("exec"))]
    async with running(world, tmp_path) as registry, trio.open_nursery() as nursery:
        await registry.deliver(A, said(A))
        await world.until(lambda: bool(world.hands.running))
        nursery.start_soon(registry.drain, trio.current_time(), 60.0)
        await world.until(lambda: registry.live()[str(A)].draining)
        other = attrs.evolve(said(A).said, principal=str(Principal("cli", "default", "a", "somebody else")))
        await registry.deliver(A, ev.Received(other))
        world.hands.held["exec"].set()
        await world.until(lambda: registry.live() == {})
        assert world.outlet.sent == ["done"]
    async with running(world, tmp_path):
        await world.until(lambda: len(world.outlet.sent) == 2)


@pytest.mark.parametrize("ticks", range(6))
async def test_who_speaks_to_a_session_while_everything_ends_is_told_so(tmp_path: Path, ticks: int) -> None:
    told: list[str] = []

    async def speak(registry: Registry) -> None:
        try:
            await registry.deliver(A, said(A))
        except SessionFailed as error:
            told.append(str(error))
        else:
            assert ticks, "it was taken before the end began, as a quick disk allows it"

    async with trio.open_nursery() as others:
        async with running(World(), tmp_path) as registry:
            others.start_soon(speak, registry)  # noqa: ASYNC111  # that it outlives the registry is what is tested
            for _ in range(ticks):
                await trio.lowlevel.checkpoint()
        assert registry.live() == {}
    assert all("nanobot is stopping" in text for text in told)


async def test_a_network_that_takes_nothing_does_not_hold_a_drain(tmp_path: Path) -> None:
    world = World()
    world.outlet.held = trio.Event()
    async with running(world, tmp_path) as registry:
        await registry.deliver(A, said(A))
        await world.until(lambda: registry.live()[str(A)].outbox != ())
        began = trio.current_time()
        await registry.drain(began, 0.2)
        assert 0.6 < trio.current_time() - began < 5
        assert registry.live() == {}
    world.outlet.held = None
    async with running(world, tmp_path):
        await world.until(lambda: world.outlet.sent == ["done"])


# --- one session at a time


async def test_one_chat_is_woken_and_no_other(tmp_path: Path) -> None:
    world = World()
    world.outlet.answers = [lambda p, part: ev.ChannelDown(p.outbound.id, part, trio.current_time(), "nobody there")] * 2
    async with running(world, tmp_path, idle_s=0.0) as registry:
        for key in (A, B):
            await registry.deliver(key, said(key))
        await world.until(lambda: not registry.live())
        registry.wake(A, trio.current_time())
        await world.until(lambda: world.outlet.sent == ["done"] and not registry.live())
        assert [key for key, _ in await registry.outboxes("cli")] == [B]


async def test_outboxes_are_those_of_one_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one chat has sent while another was being opened is not among them."""
    world, may_open, found = World(), trio.Event(), list[SessionKey]()
    world.outlet.answers = [lambda p, part: ev.ChannelDown(p.outbound.id, part, trio.current_time(), "nobody there")] * 2
    really = Registry.open

    async def slowly(self: Registry, key: SessionKey) -> Session:
        if key == B:
            await may_open.wait()
        return await really(self, key)

    monkeypatch.setattr(Registry, "open", slowly)
    async with running(world, tmp_path) as registry, trio.open_nursery() as nursery:
        for key in (A, B):
            await registry.deliver(key, said(key))
        await world.until(lambda: all(live(registry, key).outbox for key in (A, B)))

        async def look() -> None:
            found.extend([key for key, _ in await registry.outboxes("cli")])

        nursery.start_soon(look)
        registry.wake(A, trio.current_time())
        await world.until(lambda: not live(registry, A).outbox)
        may_open.set()
    assert found == [B]


async def test_a_chat_that_is_awake_is_woken_too(tmp_path: Path) -> None:
    world = World()
    world.outlet.answers = [lambda p, part: ev.ChannelDown(p.outbound.id, part, trio.current_time(), "nobody there")]
    async with running(world, tmp_path) as registry:
        await registry.deliver(A, said(A))
        await world.until(lambda: not world.outlet.answers and live(registry, A).outbox[0].channel_down)
        registry.wake(A, trio.current_time())
        await world.until(lambda: world.outlet.sent == ["done"])


async def test_what_has_not_arrived_is_known_of_who_is_awake_and_of_who_sleeps(tmp_path: Path) -> None:
    world = World()
    world.outlet.answers = [lambda p, part: ev.ChannelDown(p.outbound.id, part, trio.current_time(), "nobody there")] * 3
    async with running(world, tmp_path) as registry:
        for key in (A, B, SessionKey("telegram", "a")):
            await registry.deliver(key, said(key))
        await world.until(lambda: not world.outlet.answers and all(s.outbox for s in registry.live().values()))
        await registry.release(B)
        assert str(B) not in registry.live()
        found = await registry.outboxes("cli")
    assert {(key, pending.outbound.text) for key, outbox in found for pending in outbox} == {(A, "done"), (B, "done")}


async def test_a_journal_is_let_go_of_when_nothing_runs_in_it(tmp_path: Path) -> None:
    world = World()
    held = world.hands.held["exec"] = trio.Event()
    world.mind.thoughts = [answer("", call("exec"))]
    released = trio.Event()

    async def release(registry: Registry) -> None:
        await registry.release(A)
        released.set()

    async with running(world, tmp_path) as registry, trio.open_nursery() as nursery:
        await registry.deliver(A, said(A))
        await world.until(lambda: bool(world.hands.running))
        nursery.start_soon(release, registry)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert not released.is_set()
        held.set()
        await released.wait()
        async with running(World(), tmp_path) as other:
            assert (await other.open(A)).exchanges
        await registry.release(A)


async def test_a_session_that_is_let_go_of_loses_no_message_that_comes_meanwhile(tmp_path: Path) -> None:
    world = World()
    async with running(world, tmp_path) as registry:
        for number in range(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(registry.deliver, A, said(A, number=number))
                nursery.start_soon(registry.release, A)
        await world.until(lambda: _answered(world, 20))


async def test_what_begins_after_a_change_of_the_configuration_uses_it(tmp_path: Path) -> None:
    world, changed = World(), World()
    changed.mind.thoughts = [answer("from another model")] * 2
    async with running(world, tmp_path) as registry:
        await registry.deliver(A, said(A))
        await world.until(lambda: world.outlet.sent == ["done"])
        registry.reconfigure(changed.services, changed.limits)
        for key in (A, B):
            await registry.deliver(key, said(key))
        await world.until(lambda: changed.outlet.sent == ["from another model"] * 2)


async def test_who_fails_again_and_again_is_left_alone_for_a_while_and_it_can_be_seen(
    tmp_path: Path, claimed_errors: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_module, "FAILURE_WINDOW_S", 1.0)
    world = World()

    class Broken:
        async def send(self, session: Session, pending: Pending, part: int) -> DeliveryEnd:
            raise ZeroDivisionError("a bug")

    broken = attrs.evolve(world.services, outlet=Broken())
    async with running(world, tmp_path) as registry:
        registry.reconfigure(broken, world.limits)
        await registry.deliver(A, said(A))
        await world.until(lambda: any(f.until is not None for f in registry.failing().values()))
        failing = registry.failing()[str(A)]
        assert "a bug" in failing.why
        assert len(failing.times) == registry_module.MOST_FAILURES + 1
        registry.reconfigure(world.services, world.limits)
        assert world.outlet.sent == []
        await world.until(lambda: world.outlet.sent == ["done"])
        assert trio.current_time() >= (failing.until or 0.0)
        await world.until(lambda: not registry.failing())
    assert len(claimed_errors) == registry_module.MOST_FAILURES + 1
