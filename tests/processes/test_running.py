"""The house's processes: whoever owns one ends it, nobody's does not live, and an end is told once. Real child processes."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from nanobot.errors import ToolError
from nanobot.processes import running, spawning
from nanobot.processes.running import Command, Ends, Look, OwnProcesses, Processes, Running
from tests.fakes import processes as facts

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and subreapers")


@attrs.define
class House:
    """The table under test, in a nursery of its own."""

    processes: Processes
    folder: Path
    tag: str
    nursery: trio.Nursery
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        with self.scope:
            await self.processes.run(task_status)

    def own(self, session: str = "s", principal: str = "me") -> OwnProcesses:
        return self.processes.of(session, principal)

    def command(self, text: str, *, seconds: float = 1000, keep: int = 1000, limit: int = 1_000_000) -> Command:
        env = {"PATH": os.environ["PATH"], self.tag: "1"}
        file = self.folder / uuid.uuid4().hex
        argv = ["/bin/sh", "-c", text]
        return Command(text, argv, self.folder, env, seconds, file, keep, limit, "exec", "", True, _tell)

    async def left_running(self, text: str, id: str = "p", *, own: OwnProcesses | None = None, keep: int = 1000) -> Running:
        """A process that its call has handed over."""
        own = own or self.own()
        async with own.started(id, self.command(text, keep=keep)) as process:
            own.hand_over(process)
        return process


def _tell(process: Running, look: Look) -> str:
    return f"{process.id}: {(look.head + look.tail).decode()}{look.ended}"


@asynccontextmanager
async def opened(folder: Path, claim_s: float = 1000) -> AsyncIterator[House]:
    """Afterwards nothing of it may be left: process, zombie or descriptor."""
    await trio.to_thread.run_sync(int)  # Trio's own thread is no leak, nor is the spawner
    await spawning.ready()
    before, tag = facts.descriptors(), f"TAG_{uuid.uuid4().hex}"
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            house = House(Processes(claim_s), folder, tag, nursery)
            await nursery.start(house.run)
            yield house
            house.scope.cancel()
    assert facts.with_tag(tag) == []
    assert facts.descriptors() == before


async def test_one_that_was_not_handed_over_ends_with_its_call(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        async with house.own().started("p", house.command("seq 1 9999; sleep 1000")) as process:
            await process.news()
            assert house.own().listed == (), "nobody else may use it yet"
        assert facts.with_tag(house.tag) == []
        assert house.processes.listed == ()
        assert list(tmp_path.iterdir()) == [], "its output went with it"


async def test_one_that_was_handed_over_lives_and_its_end_is_an_outcome(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        process = await house.left_running("read line; echo got $line; exit 3")
        await process.feed(bytearray(b"it\n"))
        outcome = await house.processes.outcome("s", "p")
        assert (outcome.text, outcome.tainted, outcome.told) == ("p: got it\nExit code: 3", True, False)
        assert house.processes.listed == ()


async def test_cancelling_who_waits_for_the_outcome_ends_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        await house.left_running("trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep 1000' & sleep 1000")
        with trio.CancelScope() as scope:
            house.nursery.start_soon(_when_there, house, 3, scope)
            await house.processes.outcome("s", "p")
        assert scope.cancelled_caught
        assert facts.with_tag(house.tag) == []
        assert house.processes.listed == ()


async def _when_there(house: House, count: int, scope: trio.CancelScope) -> None:
    await facts.until_some(house.tag, count)
    scope.cancel()


async def test_one_that_nobody_claims_ends(tmp_path: Path) -> None:
    async with opened(tmp_path, claim_s=0.05) as house:
        process = await house.left_running("sleep 1000")
        await process.gone.wait()
        assert facts.with_tag(house.tag) == []
        assert "nobody asked for its outcome" in (await house.processes.outcome("s", "p")).text


async def test_one_that_was_claimed_is_left_alone(tmp_path: Path) -> None:
    async with opened(tmp_path, claim_s=0.05) as house:
        await house.left_running("sleep 0.3")
        assert (await house.processes.outcome("s", "p")).text == "p: Exit code: 0"


async def test_one_that_ended_before_it_was_claimed_tells_its_end(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        process = await house.left_running("echo bye")
        await process.gone.wait()
        assert (await house.processes.outcome("s", "p")).text == "p: bye\nExit code: 0"


async def test_one_that_is_dropped_ends(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        process = await house.left_running("sleep 1000")
        house.processes.drop("s", "another")
        house.processes.drop("s", "p")
        await process.gone.wait()
        assert (facts.with_tag(house.tag), house.processes.listed) == ([], ())


async def test_a_call_that_is_under_way_is_not_dropped(tmp_path: Path) -> None:
    async with opened(tmp_path) as house, house.own().started("p", house.command("echo on")) as process:
        house.processes.drop("s", "p")
        await process.gone.wait()
        assert str(process.look().ended) == "Exit code: 0"


async def test_all_end_with_the_house(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        several = [await house.left_running("sleep 1000", id) for id in "abc"]
        house.scope.cancel()
        for process in several:
            await process.gone.wait()
            assert str(process.ended) == "Exit code: none, nanobot was stopped"


async def test_its_time_runs_out(tmp_path: Path) -> None:
    async with opened(tmp_path) as house, house.own().started("p", house.command("sleep 1000", seconds=0.2)) as process:
        await process.gone.wait()
        assert str(process.ended) == "Exit code: none, timed out after 0.2 s; everything it started is gone"


async def test_what_cannot_be_started_is_an_error(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        command = attrs.evolve(house.command("true"), cwd=tmp_path / "nowhere")
        with pytest.raises(OSError, match="nowhere"):
            async with house.own().started("p", command):
                pass
        assert house.processes.listed == ()


async def test_there_is_a_limit_to_a_session_and_to_the_house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "MOST_IN_SESSION", 2)
    monkeypatch.setattr(running, "MOST_IN_HOUSE", 3)
    async with opened(tmp_path) as house:
        for id in ("a", "b"):
            await house.left_running("sleep 1000", id)
        with pytest.raises(ToolError, match="2 processes of this session run already: a, b"):
            await house.left_running("true", "c")
        other = house.own("t")
        await house.left_running("sleep 1000", own=other)
        with pytest.raises(ToolError, match="3 background processes run already"):
            await house.left_running("true", "d", own=house.own("u"))
        house.processes.drop("s", "a")
        await house.left_running("true", "c")


async def test_only_who_started_it_sees_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        process = await house.left_running("sleep 1000")
        assert house.own().find("p") is process
        for stranger in (house.own(principal="you"), house.own(session="t")):
            assert (stranger.find("p"), stranger.listed) == (None, ())


async def test_an_end_is_told_once(tmp_path: Path) -> None:
    """By who looks at it just then, else by the outcome; a look that is cut tells nothing."""

    async def look_on(process: Running, scope: trio.CancelScope) -> None:
        with scope:
            async with process.hand:
                await process.gone.wait()
                await trio.lowlevel.checkpoint()  # the outcome knows by now
                process.look()

    async with opened(tmp_path) as house:
        for cut in (False, True):
            process, scope = await house.left_running("read line"), trio.CancelScope()
            house.nursery.start_soon(look_on, process, scope)
            house.nursery.start_soon(process.close_input)
            if cut:
                scope.cancel()
            outcome = await house.processes.outcome("s", "p")
            assert outcome.told is not cut


async def test_a_look_shows_what_is_new(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        process = await house.left_running("echo one; read line; echo two; read line", keep=1000)
        looks = []
        for _ in range(2):
            await process.news()
            looks.append(process.look().head)
            await process.feed(bytearray(b"\n"))
        assert looks == [b"one\n", b"two\n"]
        assert (await house.processes.outcome("s", "p")).text == "p: Exit code: 0"


async def test_news_is_both_ends_and_a_file_has_all(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        process = await house.left_running("seq 1 9; read line; seq 10 9999", keep=10)
        await process.news()
        assert process.look().file is None
        await process.close_input()
        await process.gone.wait()
        look = process.look()
        assert (look.head, look.tail) == (b"10\n11\n12\n1", b"9998\n9999\n"[-10:])
        assert look.file is not None
        assert look.file.read_bytes() == b"".join(b"%d\n" % n for n in range(1, 10000))
        assert look.total == look.file.stat().st_size - 18


async def test_output_without_end_is_stopped(tmp_path: Path) -> None:
    async with opened(tmp_path) as house, house.own().started("p", house.command("yes", limit=200_000)) as process:
        await process.gone.wait()
        assert process.written == 200_000
        assert "it wrote more than 200,000 bytes and was stopped" in str(process.ended)


async def test_half_a_character_waits_for_its_other_half(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        process = await house.left_running("printf 'a\\303'; read line; printf '\\244b'; read line; printf '\\360\\237'")
        await process.news()
        assert process.look().head == b"a"
        await process.feed(bytearray(b"\n"))
        await process.news()
        assert process.look().head.decode() == "äb"
        await process.close_input()
        await process.gone.wait()
        assert process.look().head == b"\xf0\x9f", "at the end there is no other half"


@pytest.mark.parametrize("sizes", [[5], [3, 3, 3], [1] * 30, [100], [7, 1, 50]])
def test_the_ends_of_a_stream(sizes: list[int]) -> None:
    ends, stream = Ends(10), bytes(range(200))[: sum(sizes)]
    at = 0
    for size in sizes:
        ends.take(stream[at : at + size])
        at += size
    assert ends.total == len(stream)
    assert (bytes(ends.head), bytes(ends.tail)) == (stream[:10], stream[10:][-10:])
