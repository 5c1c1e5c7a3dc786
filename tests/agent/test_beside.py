"""Commands that go on beside the turns of a session: handed over, fed, told of, stopped, and ended by a restart."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import trio

from nanobot.messages import CallState, Reply
from nanobot.session.state import ErrandKind
from tests.fakes.llm_wire import Answer, Scripted, ToolCall
from tests.fakes.peers import require_peer
from tests.fakes.talk import Talk, talking

SOON_S = 1.0


@pytest.fixture(autouse=True)
def sandbox() -> None:
    require_peer("bwrap")


def background(command: str) -> Answer:
    return Answer("", calls=(ToolCall("exec", {"command": command, "yield_time": 0.1}),))


def call(name: str, **arguments: object) -> Answer:
    return Answer("", calls=(ToolCall(name, arguments),))


def shown(talk: Talk) -> str:
    """All that the model was given with its last request."""
    return "\n".join(talk.server.requests[-1].texts)


def alive(tag: str) -> list[str]:
    """The command lines of this machine that hold the tag."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has just ended
            continue
        if tag in line:
            found.append(line)
    return found


async def test_it_goes_on_beside_the_turn_and_its_end_is_told(tmp_path: Path) -> None:
    script: list[Scripted] = [background("read x; echo got $x"), Answer("It waits."), Answer("", calls=()), Answer("It got it.")]
    async with talking(tmp_path, script) as talk:
        assert (await talk.say("start it")).text == "It waits."
        (errand,) = talk.session.errands
        assert (errand.kind, errand.started) == (ErrandKind.BACKGROUND, True)
        (done,) = [c for e in talk.session.exchanges[-1].entries if isinstance(e, Reply) for c in e.calls]
        assert done.state is CallState.DEFERRED
        script[2] = call("write_stdin", process=errand.id, text="tea\n", wait=5)
        assert (await talk.say("feed it")).text == "It got it."
        assert "got tea" in shown(talk)
        await talk.until(lambda: talk.session.errands == ())
        assert len(talk.session.exchanges) == 2, "what the model has seen already makes no turn of its own"


async def test_an_end_that_nobody_saw_is_a_message(tmp_path: Path) -> None:
    async with talking(tmp_path, [background("sleep 0.5; echo done"), Answer("It runs."), Answer("It has ended.")]) as talk:
        await talk.say("start it")
        await talk.until(lambda: talk.replies[-1].text == "It has ended.")
        assert re.search(r"done\s+Exit code: 0", shown(talk))


@pytest.mark.parametrize("when", ["in the turn", "beside it"])
async def test_stop_ends_it_with_all_that_it_started(tmp_path: Path, when: str) -> None:
    tag = f"sleep 98{abs(hash(str(tmp_path))) % 10**6}"
    bad = f"trap '' TERM; setsid {tag} & {tag}"
    command = background(bad) if when == "beside it" else Answer("", calls=(ToolCall("exec", {"command": bad}),))
    async with talking(tmp_path, [command, Answer("It runs.")]) as talk:
        if when == "beside it":
            await talk.say("start it")
        else:
            await talk.tell("start it")
        with trio.fail_after(10):
            while len(alive(tag)) < 2:  # noqa: ASYNC110  # the kernel tells nobody
                await trio.sleep(0.02)
        began = trio.current_time()
        await talk.say("/stop")
        while alive(tag):  # noqa: ASYNC110
            await trio.sleep(0.01)
        assert trio.current_time() - began < 3 * SOON_S, "a second on a machine that has nothing else to do: tests/crash/stops.py"
        assert talk.session.errands == ()


async def test_a_stop_of_nanobot_ends_it_and_the_next_start_tells(tmp_path: Path) -> None:
    tag = f"sleep 97{abs(hash(str(tmp_path))) % 10**6}"
    async with talking(tmp_path, [background(tag), Answer("It runs.")]) as talk:
        await talk.say("start it")
    assert alive(tag) == []
    async with talking(tmp_path, [Answer("I see.")]) as talk:
        await talk.until(lambda: bool(talk.replies) and talk.replies[-1].text == "I see.")
        assert "nanobot was stopped, which ended this background process" in shown(talk)


async def test_somebody_else_in_the_chat_does_not_reach_it(tmp_path: Path) -> None:
    """Bound to who started it; tested to the end in tests/processes: here only that the house passes on who it is."""
    script: list[Scripted] = [background("cat"), Answer("It runs."), call("list_processes"), Answer("seen")]
    async with talking(tmp_path, script) as talk:
        await talk.say("start it")
        await talk.say("what runs?")
        assert "cat" in shown(talk)
