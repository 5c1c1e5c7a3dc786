"""Commands that go on beside the turn, as the model uses them: real ones, and nothing of them stays behind."""

from __future__ import annotations

import itertools
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from nanobot.config.schema import ExecConfig
from nanobot.errors import ToolError
from nanobot.messages import CallId, Principal
from nanobot.processes.running import Outcome, Processes
from nanobot.processes.sandbox import Isolation, probe
from nanobot.tools.background import KILL_PROCESS, LIST_PROCESSES, WRITE_STDIN, KillProcess, WriteStdin
from nanobot.tools.port import Intent, Result
from nanobot.tools.registry import Tools, bound
from nanobot.tools.shell import exec_tool
from tests.fakes import processes as facts
from tests.tools.kit import ENVIRON, NO_SANDBOX, Kit, make_turn

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and subreapers")

CAP = 2000
STUBBORN = "trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep 1000' & sleep 1000"
"""Three processes with the wrapper; one leaves the session, and none listens to TERM."""


@attrs.define
class Session:
    """What a session does with the tools: calls, and waiting for the outcome of what was left running."""

    kit: Kit
    processes: Processes
    tag: str
    nursery: trio.Nursery
    _calls: Iterator[int] = attrs.field(factory=itertools.count, init=False)

    async def exec(self, command: str, yield_time: float | None = 0.0, **arguments: object) -> Result:
        turn = attrs.evolve(self.kit.turn, call=CallId(f"c{next(self._calls)}"))
        return await attrs.evolve(self.kit, turn=turn).call("exec", command=command, yield_time=yield_time, **arguments)

    async def left(self, command: str, says: str = "") -> str:
        """The id of a command that goes on, when it has said that."""
        result = await self.exec(command)
        assert result.background is not None, result.text
        heard = result.text.partition("It goes on")[0]
        while says not in heard:
            heard += (await self.write(result.background.id, wait=20)).text
        return result.background.id

    async def write(self, process: str, text: str = "", **arguments: object) -> Result:
        return await self.kit.call("write_stdin", process=process, text=text, **arguments)

    async def outcome(self, process: str) -> Outcome:
        return await self.processes.outcome(str(self.kit.turn.session), process)


def tools(isolation: Isolation, tag: str) -> Tools:
    run = exec_tool(ExecConfig(allowed_env_keys=(tag,)), ENVIRON | {tag: "1"}, CAP, isolation=isolation)
    return Tools([bound(run), bound(WRITE_STDIN), bound(LIST_PROCESSES), bound(KILL_PROCESS)], CAP)


@asynccontextmanager
async def opened(data: Path, isolation: Isolation = NO_SANDBOX) -> AsyncIterator[Session]:
    processes, tag, turn = Processes(claim_s=1000), f"TAG_{uuid.uuid4().hex}", make_turn(data)
    turn = attrs.evolve(turn, processes=processes.of(str(turn.session), str(turn.principal)))
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(processes.run)
            yield Session(Kit(turn, tools(isolation, tag)), processes, tag, nursery)
            nursery.cancel_scope.cancel()
    assert facts.with_tag(tag) == []


@pytest.fixture(params=["sandbox", "bare"])
async def session(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Session]:
    found = await probe(ExecConfig(), ENVIRON) if request.param == "sandbox" else NO_SANDBOX
    if request.param == "sandbox" and not found.sandboxed:
        pytest.skip(found.reason)
    async with opened(tmp_path, found) as session:
        yield session


# --- going on


async def test_what_ends_before_the_yield_is_answered_as_always(session: Session) -> None:
    result = await session.exec("echo out; echo err >&2; exit 3", 20)
    assert (result.text, result.failed, result.background) == ("out\nerr\nExit code: 3", True, None)
    assert session.processes.listed == ()


async def test_what_runs_on_says_what_it_wrote_and_how_to_go_on(session: Session) -> None:
    result = await session.exec("echo begun; read line", 0.3)
    assert result.text.startswith("begun\nIt goes on as process c0, for at most 24 h in all;")
    assert result.background is not None
    assert (result.background.id, result.background.text) == ("c0", "`echo begun; read line`")
    assert not result.failed


async def test_its_end_is_told_with_what_was_not_seen_yet(session: Session) -> None:
    process = await session.left("echo one; read line; echo got $line; exit 4", "one")
    await session.kit.turn.processes.find(process).feed(bytearray(b"it\n"))  # type: ignore[union-attr]
    outcome = await session.outcome(process)
    assert outcome.text.startswith("The background process c0, `echo one; read line; echo got $line; exit 4`, ended after 0.")
    assert outcome.text.endswith(" s.\ngot it\nExit code: 4")
    assert not outcome.told


async def test_its_time_counts_from_its_start(session: Session) -> None:
    result = await session.exec("sleep 1000", 0.05, timeout=0.3)
    assert result.background is not None
    assert (await session.outcome("c0")).text.endswith("Exit code: none, timed out after 0.3 s; everything it started is gone")


async def test_a_timeout_before_the_yield(session: Session) -> None:
    assert (await session.exec("sleep 1000", 20, timeout=0.2)).text.startswith("Exit code: none, timed out after 0.2 s")


async def test_long_output_is_shown_in_part_and_kept_whole(session: Session) -> None:
    result = await session.exec("seq 1 5000; read line", 0.5)
    (file,) = session.kit.turn.results.iterdir()
    assert f'read it with read_file(path="{file}")' in result.text
    assert len(result.text) <= CAP
    assert file.read_text() == "".join(f"{n}\n" for n in range(1, 5001))
    news = await session.write("c0", close=True, wait=20)
    assert news.text == "Exit code: 1"


async def test_without_the_house_nothing_goes_on(session: Session) -> None:
    alone = attrs.evolve(session.kit, turn=attrs.evolve(session.kit.turn, processes=None))
    assert "no background processes here. Leave yield_time out" in await alone.refused("exec", command="true", yield_time=1)
    assert "None runs" in await alone.refused("write_stdin", process="c0")
    assert await alone.text("list_processes") == "No process of yours runs."


# --- feeding it


async def test_a_conversation(session: Session) -> None:
    process = await session.left("cat")
    assert (await session.write(process, "hello\n", wait=20)).text == "hello\nc0 runs on."
    assert (await session.write(process, "bye", close=True, wait=20)).text == "bye\nExit code: 0"
    assert (await session.outcome(process)).told


async def test_an_answer_of_several_lines_is_one_look(session: Session) -> None:
    process = await session.left("while read line; do echo 1; sleep 0.02; echo 2; sleep 0.02; echo 3; done")
    assert (await session.write(process, "\n", wait=20)).text == "1\n2\n3\nc0 runs on."


async def test_one_that_does_not_read_says_how_far_it_came(session: Session) -> None:
    process = await session.left("sleep 1000")
    text = "x" * 60_000
    assert not (await session.write(process, text, wait=0.1)).failed, "a pipe holds it"
    result = await session.write(process, text, wait=0.2)
    assert result.failed
    assert "c0 runs on.\nError: it did not read more within 0.2 s: of 60,000 bytes it took the first 4,096." in result.text


@pytest.mark.parametrize("session", ["bare"], indirect=True)  # the sandbox itself holds that input open
async def test_one_that_has_closed_its_input_says_so(session: Session) -> None:
    process = await session.left("exec <&-; echo closed; sleep 1000", "closed")
    result = await session.write(process, "hello\n", wait=0.1)
    assert "Error: it has closed its input: of 6 bytes it took the first 0." in result.text


async def test_whoever_watches_sees_lines_while_a_call_waits(session: Session) -> None:
    lines: list[str] = []
    session.kit = attrs.evolve(session.kit, turn=attrs.evolve(session.kit.turn, progress=lines.append))
    process = await session.left("read line; echo one; read line; echo two")
    await session.write(process, "\n", wait=20)
    assert lines == ["one"]
    await session.processes.listed[0].feed(bytearray(b"\n"))
    await session.outcome(process)
    assert lines == ["one"], "nobody waits any more"


# --- listing and ending


async def test_the_list(session: Session) -> None:
    assert await session.kit.text("list_processes") == "No process of yours runs."
    await session.left("echo 12345; cat", "12345")
    await session.left("sleep 1000")
    one, two = (await session.kit.text("list_processes")).splitlines()
    assert one.startswith("c0: `echo 12345; cat`, runs, started ")
    assert one.endswith(" s ago, 6 bytes of output")
    assert two.startswith("c1: `sleep 1000`, runs")


async def test_killing_one_shows_its_last_words(session: Session) -> None:
    process = await session.left("trap 'echo bye; exit' TERM; echo ready; while :; do :; done", "ready")
    assert (await session.kit.call("kill_process", process=process)).text == "bye\nExit code: 0"
    assert facts.with_tag(session.tag) == []
    assert (await session.outcome(process)).told


async def test_killing_one_that_does_not_listen(session: Session) -> None:
    process = await session.left(STUBBORN)
    await facts.until_some(session.tag, 3)
    assert await session.kit.text("kill_process", process=process) == "Exit code: none, ended by kill_process"
    assert facts.with_tag(session.tag) == []


async def test_for_another_principal_there_is_none(session: Session) -> None:
    process = await session.left("sleep 1000")
    turn = session.kit.turn
    other = Principal("test", "default", "1", "you", owner=True)
    turn = attrs.evolve(turn, principal=other, processes=session.processes.of(str(turn.session), str(other)))
    kit = attrs.evolve(session.kit, turn=turn)
    for tool in ("write_stdin", "kill_process"):
        assert "There is no process 'c0' of yours. None runs" in await kit.refused(tool, process=process)
    assert await kit.text("list_processes") == "No process of yours runs."


# --- stopping, in every phase


async def test_a_stop_before_the_yield(session: Session) -> None:
    with trio.CancelScope() as scope:
        session.nursery.start_soon(_cancel_when, session, 3, scope)
        await session.exec(STUBBORN, 20)
    assert scope.cancelled_caught
    assert facts.with_tag(session.tag) == []
    assert list(session.kit.turn.results.iterdir()) == []


@pytest.mark.parametrize("late", [-0.002, 0.0, 0.002])
async def test_a_stop_at_the_yield(late: float, session: Session) -> None:
    """Either the call ends it, or it was handed over and its errand does."""
    result = None
    with trio.move_on_after(0.1 + late):
        result = await session.exec(STUBBORN, 0.1)
    if result is not None:
        session.processes.drop(str(session.kit.turn.session), "c0")
        await facts.until_gone(session.tag, within=1.0)
    assert facts.with_tag(session.tag) == []


async def test_a_stop_after_the_yield(session: Session) -> None:
    process = await session.left(STUBBORN)
    with trio.CancelScope() as scope:
        session.nursery.start_soon(_cancel_when, session, 3, scope)
        await session.outcome(process)
    assert facts.with_tag(session.tag) == []


async def test_a_stop_while_it_is_fed(session: Session) -> None:
    process = await session.left(f"echo ready; {STUBBORN}", "ready")
    async with trio.open_nursery() as turn:
        turn.start_soon(session.outcome, process)
        turn.start_soon(session.write, process, "x" * 60_000)
        turn.start_soon(session.write, process, "x" * 60_000)
        await trio.testing.wait_all_tasks_blocked()
        turn.cancel_scope.cancel()
    assert facts.with_tag(session.tag) == []


async def test_a_stop_while_it_ends(session: Session) -> None:
    process = await session.left(STUBBORN)
    await facts.until_some(session.tag, 3)
    async with trio.open_nursery() as turn:
        turn.start_soon(session.outcome, process)
        turn.start_soon(lambda: session.kit.call("kill_process", process=process))
        await trio.testing.wait_all_tasks_blocked()
        turn.cancel_scope.cancel()
    assert facts.with_tag(session.tag) == []


async def _cancel_when(session: Session, count: int, scope: trio.CancelScope) -> None:
    await facts.until_some(session.tag, count)
    scope.cancel()


# --- what policy is told, and what is not taken


async def test_feeding_is_judged_like_the_command(tmp_path: Path) -> None:
    async with opened(tmp_path) as session:
        process, turn = await session.left("sh"), session.kit.turn
        assert WRITE_STDIN.intent is not None
        terms = f"in {turn.workspace}, without a sandbox (a test)"
        fed = WRITE_STDIN.intent(WriteStdin(process, "rm -rf build\n"), turn)
        assert fed == Intent("exec:unsandboxed", "rm -rf build\n", f"as input of `sh`, {terms}")
        assert WRITE_STDIN.intent(WriteStdin(process), turn) == Intent("write_stdin", "", terms)
        with pytest.raises(ToolError, match="There is no process 'x'"):
            WRITE_STDIN.intent(WriteStdin("x", "ls\n"), turn)
        assert KILL_PROCESS.intent is not None
        assert KILL_PROCESS.intent(KillProcess(process), turn) == Intent("kill_process", "`sh`")


@pytest.mark.parametrize("session", ["bare"], indirect=True)
async def test_what_could_reach_the_network_is_tainted(session: Session) -> None:
    process = await session.left("read line; echo hi")
    looks = [await session.write(process), await session.write(process, "\n", wait=20)]
    assert [result.tainted for result in looks] == [True, True]
    assert (await session.outcome(process)).tainted


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"text": "ls\x1b[2K"}, "a sign that does not show, U+001B"),
        ({"text": "a\0b"}, "U+0000"),
        ({"text": "x" * 65537}, "65,537 bytes are too much at once"),
        ({"wait": 31}, "'wait' must be at least 0.1 and at most 30, not 31"),
        ({"wait": 0}, "'wait' must be at least 0.1"),
        ({"process": "c9"}, "There is no process 'c9' of yours. There are: c0"),
        ({"process": "x" * 5000}, "There is no process 'xxx"),
    ],
)
async def test_what_is_not_written(arguments: dict[str, object], complaint: str, session: Session) -> None:
    await session.left("cat")
    assert complaint in await session.kit.refused("write_stdin", **{"process": "c0", **arguments})
    assert (await session.write("c0", close=True, wait=20)).text == "Exit code: 0", "it got nothing"


async def test_a_session_has_a_limit(session: Session) -> None:
    for _ in range(8):
        await session.left("sleep 1000")
    result = await session.exec("true")
    assert "8 processes of this session run already: c0, c1," in result.text
    assert not (await session.exec("true", None)).failed, "what does not go on needs no place"
