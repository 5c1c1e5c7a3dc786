"""The scheduler with real sessions, files and threads: what is due runs, once, whatever happens. Facts are awaited, not times."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from nanobot.config.schema import CatchUp, CronConfig
from nanobot.errors import NanobotError
from nanobot.messages import Effect, Origin, Reply, Said, SessionKey, TurnEnd, Usage
from nanobot.scheduler import lines
from nanobot.scheduler import service as service_module
from nanobot.scheduler.books import Books
from nanobot.scheduler.jobs import Every, Outcome
from nanobot.scheduler.lines import Gates
from nanobot.session import events as ev
from nanobot.session.state import Session, Turn
from tests.scheduler.scene import HOUR, ME, T0, T0_MS, Scene, Wall, job, once, scene
from tests.session.house_fakes import FakeMind, Thought, World, answer, call, said

CHAT = "cli:default:direct"


def held(release: trio.Event, usage: Usage | None = None) -> Thought:
    """An answer that waits."""

    async def think(_session: Session, turn: Turn) -> ev.ModelAnswered:
        await release.wait()
        reply = Reply("done", usage=usage or Usage())
        return ev.ModelAnswered(turn.number, turn.step, trio.current_time(), reply)

    return think


# --- a slot and its turn


async def test_a_due_job_runs_in_a_conversation_of_its_own_and_is_recorded(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        here.world.mind.thoughts = [held(_set(), Usage(30, 12))]
        here.put(job(name="Water the\nplants", tainted=True))
        here.set_clock(HOUR)
        assert await here.ended(1) == [Outcome.OK]
        run = here.of()[0]
        assert (run.slot, run.due_ms, run.tokens, run.session) == (T0_MS + HOUR * 1000, run.slot, 42, "cron:default:00000001")
        assert here.runs.committed("00000001") == run.slot
        assert run.started_ms is not None
        assert run.ended_ms is not None
        entry = here.world.mind.seen[0].entries[0]
        assert isinstance(entry, Said)
        assert (entry.id, entry.origin, entry.principal, entry.tainted) == (f"job:00000001:{run.slot}", Origin.JOB, ME, True)
        assert entry.text.startswith('Scheduled work "Water the plants", due 2026-09-21')
        assert entry.text.endswith("\n\nsay it")


async def test_a_job_of_a_chat_answers_there(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        here.put(job(session=CHAT))
        here.set_clock(HOUR)
        await here.ended(1)
        assert here.world.outlet.sent == ["done"]
        assert [e.end for e in here.session(CHAT).exchanges] == [TurnEnd.ANSWERED]


async def test_a_job_that_is_off_or_gone_does_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        here.put(job(1, enabled=False), job(2), job(3))
        await here.taken_up(2)
        here.put(job(1, enabled=False), job(3))
        await here.taken_up(1)
        here.set_clock(HOUR)
        await here.ended(1, 3)
        assert (here.of(1), here.of(2)) == ([], [])


async def test_what_a_job_for_once_leaves(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        here.put(once(1, delete_after_run=True), once(2))
        here.set_clock(HOUR)
        await here.until(lambda: [left.id for left in here.store.read()] == ["00000002"])
        assert (here.outcomes(1), here.outcomes(2)) == ([Outcome.OK], [Outcome.OK])
        row = here.store.look().rows[here.store.read()[0].id]
        assert row["state"] == {
            "nextRunAtMs": None,
            "lastRunAtMs": here.of(2)[0].started_ms,
            "lastStatus": "ok",
            "lastError": None,
        }


async def test_a_job_can_be_run_by_hand_and_its_schedule_is_not_touched(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        here.put(job(enabled=False))
        here.wall.at = T0 + 0.5 * HOUR
        slots = [await here.service.run_now("00000001"), await here.service.run_now("00000001")]
        assert await here.ended(2) == [Outcome.OK, Outcome.OK]
        assert slots == [T0_MS + HOUR * 500, T0_MS + HOUR * 500 + 1]
        assert all(run.by_hand for run in here.of())
        assert here.runs.committed("00000001") == T0_MS
        with pytest.raises(NanobotError, match="There is no job"):
            await here.service.run_now("nobody")


# --- the chat it runs in


async def test_a_run_waits_outside_of_a_busy_chat_and_comes_after_it(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        person = trio.Event()
        here.world.mind.thoughts = [held(person)]
        await here.registry.deliver(key(CHAT), said(1))
        here.put(job(session=CHAT))
        here.set_clock(HOUR)
        await here.until(lambda: here.facts().get("waiting") == "1")
        assert here.session(CHAT).inbox == ()
        person.set()
        await here.ended(1)
        assert [len(turn.inputs) for turn in here.world.mind.seen] == [1, 1]


async def test_a_chat_that_stays_busy_is_skipped_and_it_is_told(tmp_path: Path) -> None:
    async with scene(tmp_path, CronConfig(busy_s=0.05)) as here:
        here.world.mind.thoughts = [held(trio.Event())]
        await here.registry.deliver(key(CHAT), said(1))
        here.put(job(session=CHAT))
        here.set_clock(HOUR)
        assert await here.ended(1) == [Outcome.BUSY]
        assert "was not free" in here.of()[0].error
        assert len(here.told) == 1
        assert "skipped: busy" in here.told[0]


async def test_people_who_speak_while_it_runs_get_a_turn_of_their_own(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        going = trio.Event()
        here.world.mind.thoughts = [held(going)]
        here.put(job(session=CHAT))
        here.set_clock(HOUR)
        await here.until(lambda: len(here.world.mind.seen) == 1)
        await here.registry.deliver(key(CHAT), said(1, principal=ME))
        going.set()
        await here.until(lambda: len(here.world.mind.seen) == 2)
        assert [turn.inputs for turn in here.world.mind.seen] == [(f"job:00000001:{T0_MS + HOUR * 1000}",), ("m1",)]


async def test_a_chat_that_is_stuck_delays_no_other(tmp_path: Path) -> None:
    async with scene(tmp_path, CronConfig(parallel=1)) as here:
        here.world.mind.thoughts = [_hang_in_the_chat] * 5
        here.put(*(job(number, session=CHAT if number < 4 else "") for number in range(1, 6)))
        here.set_clock(HOUR)
        assert await here.ended(1, 4) == await here.ended(1, 5) == [Outcome.OK]
        assert [here.outcomes(n) for n in (1, 2, 3)] == [[Outcome.RUNNING]] * 3
        await here.until(lambda: here.facts()["waiting"] == "2")


async def test_a_session_that_cannot_be_opened_at_all_takes_nobodys_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its disk hangs: the one place in parallel is given back after a while."""
    monkeypatch.setattr(lines, "HOLD_S", 0.05)
    async with scene(tmp_path, CronConfig(parallel=1)) as here:
        opened = here.registry.open

        async def hang(wanted: SessionKey) -> Session:
            return await (opened(wanted) if "00000002" in str(wanted) else _hang())

        here.service._lines._sessions = _Sessions(hang, here.registry.deliver)
        here.put(job(1), job(2))
        here.set_clock(HOUR)
        assert await here.ended(1, 2) == [Outcome.OK]


async def test_a_second_slot_is_skipped_while_the_first_still_waits(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        here.world.mind.thoughts = [held(trio.Event())]
        await here.registry.deliver(key(CHAT), said(1))
        here.put(job(session=CHAT))
        here.set_clock(HOUR)
        await here.until(lambda: len(here.of()) == 1)
        here.set_clock(2 * HOUR)
        assert await here.ended(1) == [Outcome.RUNNING, Outcome.BUSY]
        assert "still waits" in here.of()[1].error


# --- bounds


@pytest.mark.parametrize(
    ("bounds", "usage", "why"),
    [({"deadline_s": 0.05}, Usage(), "longer than it may"), ({"tokens": 100}, Usage(90, 20), "more tokens than it may")],
)
async def test_a_run_over_its_bounds_is_ended_and_says_so(tmp_path: Path, bounds: dict[str, Any], usage: Usage, why: str) -> None:
    async with scene(tmp_path) as here:
        here.world.hands.held["exec"] = trio.Event()
        first = Reply("", (call("exec", Effect.WRITES),), usage=usage)

        async def think(_session: Session, turn: Turn) -> ev.ModelAnswered:
            return ev.ModelAnswered(turn.number, turn.step, trio.current_time(), first)

        here.world.mind.thoughts = [think]
        here.put(job(session=CHAT, **bounds))
        here.set_clock(HOUR)
        assert await here.ended(1) == [Outcome.FAILED]
        assert why in here.of()[0].error
        await here.until(lambda: bool(here.world.outlet.sent))
        assert why in here.world.outlet.sent[0]
        assert here.told == [], "the chat was told"


async def test_a_failure_in_a_conversation_of_its_own_is_told_once_in_a_row(tmp_path: Path) -> None:
    async def fail(_session: Session, turn: Turn) -> ev.ModelFailed:
        return ev.ModelFailed(turn.number, turn.step, trio.current_time(), "auth", "the key is wrong")

    async with scene(tmp_path) as here:
        here.world.mind.thoughts = [fail, fail, answer("done"), fail]
        here.put(job())
        for count in range(1, 5):
            here.set_clock(count * HOUR)
            await here.ended(count)
        assert here.outcomes() == [Outcome.FAILED, Outcome.FAILED, Outcome.OK, Outcome.FAILED]
        await here.until(lambda: len(here.told) == 2)
        assert all("the key is wrong" in text for text in here.told)


@pytest.mark.parametrize(
    ("gates", "outcome"),
    [
        (Gates(may_run=lambda _job: "the budget of the day is used up"), Outcome.CAPPED),
        (Gates(reachable=lambda channel: f"{channel} is not enabled"), Outcome.FAILED),
        (Gates(let_in=lambda principal: f"{principal} may not speak any more"), Outcome.BARRED),
    ],
)
async def test_what_may_not_begin_is_recorded_and_told(tmp_path: Path, gates: Gates, outcome: Outcome) -> None:
    async with scene(tmp_path, gates=gates) as here:
        here.put(job(session="telegram:42"))
        here.set_clock(HOUR)
        assert await here.ended(1) == [outcome]
        assert here.world.mind.seen == []
        assert len(here.told) == 1
        assert here.of()[0].error in here.told[0]


async def test_the_owner_is_told_once_of_all_jobs_of_who_was_shut_out_and_again_the_next_time(tmp_path: Path) -> None:
    why = ""
    async with scene(tmp_path, gates=Gates(let_in=lambda _who: why)) as here:
        here.put(job(1), job(2))
        for hour, shut in enumerate([True, True, False, True], 1):
            why = "they were shut out" if shut else ""
            here.set_clock(hour * HOUR)
            await here.ended(hour, 1)
            await here.ended(hour, 2)
        assert here.outcomes() == [Outcome.BARRED, Outcome.BARRED, Outcome.OK, Outcome.BARRED]
        assert len(here.told) == 2


async def test_who_is_told_of_work_that_may_not_begin_may_be_in_its_own_chat(tmp_path: Path) -> None:
    """A notice about a channel waits for another one: only where the channel itself is the reason is that of use."""
    async with scene(tmp_path, gates=Gates(may_run=lambda _job: "the budget is used up")) as here:
        here.put(job(session="telegram:42"))
        here.set_clock(HOUR)
        await here.ended(1)
        assert here.about == [""]


# --- pauses, clocks, crashes


CASES: list[tuple[CatchUp, int, list[Outcome]]] = [
    ("skip", 3, [Outcome.MISSED, Outcome.MISSED, Outcome.MISSED]),
    ("once", 3, [Outcome.MISSED, Outcome.MISSED, Outcome.OK]),
    ("all", 3, [Outcome.OK, Outcome.OK, Outcome.OK]),
]


@pytest.mark.parametrize(("catch_up", "hours", "expected"), CASES)
async def test_what_was_missed_while_nanobot_was_off(
    tmp_path: Path, catch_up: CatchUp, hours: int, expected: list[Outcome]
) -> None:
    async with scene(tmp_path) as here:
        here.put(job(catch_up=catch_up))
        await here.taken_up(1)
    async with scene(tmp_path, wall=_wall((hours + 0.5) * HOUR)) as here:
        assert await here.ended(hours) == expected
        assert len(here.world.mind.seen) == expected.count(Outcome.OK)


async def test_a_clock_that_is_set_back_and_forth_makes_nothing_due_twice(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        here.put(job(catch_up="all"))
        for after_h, ended in [(1, 1), (-20, 1), (0.9, 1), (1.1, 1), (2, 2), (1, 2), (3, 3)]:
            here.set_clock(after_h * HOUR)
            await here.ended(ended)
        assert [run.slot for run in here.of()] == [T0_MS + hour * HOUR * 1000 for hour in (1, 2, 3)]
        assert len(here.world.mind.seen) == 3


@pytest.mark.parametrize("restart", [False, True])
async def test_a_clock_that_was_far_ahead_for_a_moment_does_not_silence_jobs_until_then(tmp_path: Path, *, restart: bool) -> None:
    async with scene(tmp_path) as here:
        here.put(job(catch_up="skip"))
        here.set_clock(365 * 24 * HOUR)
        await here.until(lambda: len(here.of()) > 1)
        ahead = len(await here.ended(len(here.of())))
        if not restart:
            here.set_clock(1.5 * HOUR)
            await here.until(lambda: here.facts()["next"] == "2026-09-21 16:13:20")
            assert "set back" in here.told[-1]
    async with scene(tmp_path, wall=Wall(T0 + 1.5 * HOUR)) as here:
        await here.until(lambda: here.facts()["next"] == "2026-09-21 16:13:20")
        for hour in (2, 3):
            here.set_clock(hour * HOUR)
            await here.ended(ahead + hour - 1)
        assert [(run.slot - T0_MS) / HOUR / 1000 for run in here.of()[:3]] == [1, 2, 3]
        assert here.outcomes()[1:3] == [Outcome.OK] * 2
        assert len(here.told) == int(restart), "it is told once"


async def test_a_run_that_never_reached_its_session_is_brought_there_after_the_start(tmp_path: Path) -> None:
    here: Scene
    async with scene(tmp_path) as here:
        here.put(job())
        await here.taken_up(1)
        here.service._lines._sessions = _Sessions(_hang, _hang)
        here.set_clock(HOUR)
        await here.until(lambda: here.outcomes() == [Outcome.RUNNING])
    async with scene(tmp_path, wall=_wall(HOUR + 1)) as here:
        assert await here.ended(1) == [Outcome.OK]
        assert len(here.world.mind.seen) == 1


async def test_a_run_that_never_reached_its_session_is_missed_after_the_horizon(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        here.put(once())
        await here.taken_up(1)
        here.service._lines._sessions = _Sessions(_hang, _hang)
        here.set_clock(HOUR)
        await here.until(lambda: here.outcomes() == [Outcome.RUNNING])
    async with scene(tmp_path, wall=_wall(50 * HOUR)) as here:
        assert await here.ended(1) == [Outcome.MISSED]
        assert here.world.mind.seen == []
        assert "skipped: missed" in here.told[0]


async def test_a_run_in_the_middle_of_which_nanobot_died_is_taken_up_and_it_is_recorded(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        here.world.mind.thoughts = [held(trio.Event())]
        here.put(job())
        here.set_clock(HOUR)
        await here.until(lambda: len(here.world.mind.seen) == 1)
    going = trio.Event()
    async with scene(tmp_path, world=World(FakeMind([held(going)])), wall=_wall(HOUR + 1)) as here:
        await here.until(lambda: here.facts().get("under way") == "job 1")
        going.set()
        assert await here.ended(1) == [Outcome.OK]
        assert "taken up again" in here.of()[0].error


async def test_a_run_that_kills_nanobot_is_recorded_as_crashed_and_told(tmp_path: Path) -> None:
    for attempt in range(2):
        world = World(FakeMind([held(trio.Event())]))  # before it starts, because it takes up the turn at once
        async with scene(tmp_path, world=world, wall=_wall(attempt * HOUR)) as here:
            if not attempt:
                here.put(job())
                here.set_clock(HOUR)
            await here.until(lambda: len(here.world.mind.seen) == 1)
    async with scene(tmp_path, wall=_wall(HOUR + 3)) as here:
        assert await here.ended(1) == [Outcome.CRASHED]
        await here.until(lambda: bool(here.told))
        assert here.world.mind.seen == []
        assert "crashed" in here.told[0]


async def test_a_run_that_ended_just_before_nanobot_died_is_closed_without_another_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Books, "note", lambda *_known: None)
        async with scene(tmp_path) as here:
            here.world.mind.thoughts = [held(_set(), Usage(3, 4))]
            here.put(job())
            here.set_clock(HOUR)
            await here.until(lambda: here.world.outlet.sent == ["done"])
            assert here.outcomes() == [Outcome.RUNNING]
    async with scene(tmp_path, wall=_wall(HOUR + 1)) as here:
        assert await here.ended(1) == [Outcome.OK]
        assert here.world.mind.seen == []
        assert here.of()[0].tokens == 7


async def test_a_job_for_once_that_ended_just_before_nanobot_died_is_taken_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Books, "told", lambda *_known: None)
        async with scene(tmp_path) as here:
            here.put(once(delete_after_run=True))
            here.set_clock(HOUR)
            await here.ended(1)
    async with scene(tmp_path, wall=_wall(HOUR + 1)) as here:
        await here.until(lambda: here.store.read() == ())
        assert here.outcomes() == [Outcome.OK]


# --- edits


async def test_an_edit_by_hand_is_seen_without_being_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "LOOK_S", 0.02)
    async with scene(tmp_path) as here:
        here.put(job())
        await here.taken_up(1)
        text = here.store.path.read_text()
        here.store.path.write_text(text.replace('"everyMs": 3600000', '"every_ms": "600000"'))
        here.wall.at = T0 + 600
        assert await here.ended(1) == [Outcome.OK]


async def test_another_schedule_counts_from_the_edit(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        here.put(job())
        here.set_clock(HOUR)
        await here.ended(1)
        here.set_clock(1.5 * HOUR)
        before = here.facts()["next"]
        here.put(job(schedule=Every(HOUR * 100, T0_MS)))
        await here.until(lambda: here.facts()["next"] != before)
        here.set_clock(1.65 * HOUR)
        assert await here.ended(2) == [Outcome.OK, Outcome.OK]
        assert here.of()[1].slot == T0_MS + int(1.6 * HOUR) * 1000


async def test_a_damaged_file_is_kept_aside_and_the_jobs_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "SETTLE_S", 0.05)
    monkeypatch.setattr(service_module, "LOOK_S", 0.02)
    async with scene(tmp_path) as here:
        here.put(job())
        await here.taken_up(1)
        here.store.path.write_text('{"version": 1, "jobs": [')
        await here.until(lambda: bool(here.told))
        await here.until(lambda: "kept aside" in here.facts())
        assert [one.id for one in here.store.read()] == ["00000001"]
        [kept] = here.store.path.parent.glob("jobs.json.corrupt-*")
        assert kept.read_text() == '{"version": 1, "jobs": ['
        assert str(kept) in here.told[0]
        here.set_clock(HOUR)
        assert await here.ended(1) == [Outcome.OK]


async def test_a_file_that_an_editor_is_just_writing_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "LOOK_S", 0.01)
    async with scene(tmp_path) as here:
        here.put(job())
        await here.taken_up(1)
        text = here.store.path.read_text()
        here.store.path.write_text(text[:100])
        await trio.sleep(0.1)  # many looks
        here.store.path.write_text(text)
        await here.until(lambda: here.service._doubt is None)
        assert here.told == []
        assert here.store.read() == (attrs.evolve(job(), updated_ms=T0_MS),)


async def test_entries_that_are_no_jobs_are_told_and_delay_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        here.store.path.write_text('{"jobs": [{"id": "../x"}, {"id": "a", "payload": {"message": "m"}}]}')
        here.service.changed()
        await here.until(lambda: bool(here.told))
        here.put(job())
        here.set_clock(HOUR)
        assert await here.ended(1) == [Outcome.OK]
        assert "2 jobs" not in here.facts()["jobs"]
        assert "entry 1 is left out" in here.facts()["trouble"]


def _set() -> trio.Event:
    event = trio.Event()
    event.set()
    return event


def _wall(after_s: float) -> Wall:
    return Wall(T0 + after_s)


def key(text: str) -> SessionKey:
    return SessionKey.parse(text)


async def _hang_in_the_chat(session: Session, turn: Turn) -> ev.ModelAnswered:
    if session.key == CHAT:
        await trio.sleep_forever()
    return ev.ModelAnswered(turn.number, turn.step, trio.current_time(), Reply("done"))


async def _hang(*_args: object) -> Session:
    await trio.sleep_forever()


@attrs.frozen
class _Sessions:
    """In the place of the registry."""

    open: Callable[..., Coroutine[Any, Any, Session]]
    deliver: Callable[..., Coroutine[Any, Any, Any]]
