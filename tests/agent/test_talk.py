"""Whole turns through the house with a scripted model: tools, steering, commands, limits, history, and what is sent."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
import trio

from nanobot.messages import Attachment, CallState, Reply, TurnEnd
from nanobot.session import sentences
from nanobot.session.state import AwaitingTool, Thinking
from tests.fakes.llm import Asked
from tests.fakes.llm_wire import Answer, Scripted, ToolCall
from tests.fakes.talk import Talk, talking
from tests.providers.support import PNG, WIRES

MARK = re.compile(rb',?"cache_control":\{"type":"ephemeral"\}')
BLOCK = b"[Runtime context"


def write(path: str, content: str) -> ToolCall:
    return ToolCall("write_file", {"path": path, "content": content})


def read(path: str) -> ToolCall:
    return ToolCall("read_file", {"path": path})


def outcomes(talk: Talk, exchange: int = -1) -> list[tuple[str, CallState]]:
    entries = talk.session.exchanges[exchange].entries
    return [(c.name, c.state) for e in entries if isinstance(e, Reply) for c in e.calls]


@pytest.mark.parametrize("wire", WIRES)
async def test_tools_run_and_their_results_reach_the_model(tmp_path: Path, wire: str) -> None:
    script = [Answer("I write.", calls=(write("a.txt", "hello"), read("a.txt"))), Answer("It says hello.")]
    async with talking(tmp_path, script, wire=wire) as talk:
        assert (await talk.say("write and read")).text == "It says hello."
        assert outcomes(talk) == [("write_file", CallState.DONE), ("read_file", CallState.DONE)]
        assert talk.server.requests[1].results == ["Made a.txt: 5 bytes, 1 line", "1| hello"]
    assert (tmp_path / "workspace" / "a.txt").read_text() == "hello"


@pytest.mark.parametrize("wire", WIRES)
async def test_every_request_begins_with_the_bytes_of_the_one_before(tmp_path: Path, wire: str) -> None:
    """Over tool rounds, media, several turns and a clock that goes on: only the runtime block at the end is new."""
    (tmp_path / "a.png").write_bytes(PNG)
    picture = Attachment(str(tmp_path / "a.png"), "image/png", "a.png", len(PNG))
    script: list[Scripted] = [
        Answer("", calls=(write("a.txt", "x"), read("a.txt")), thinking="hm" if wire == "openai" else ""),
        Answer("done"),
        Answer("a dot"),
        Answer("", calls=(read("a.txt"),)),
        Answer("bye"),
    ]
    async with talking(tmp_path, script, wire=wire) as talk:
        await talk.say("write")
        await talk.say("look at this", picture)
        await talk.say("read it")
        bodies = [MARK.sub(b"", asked.raw) for asked in talk.server.requests]
    assert len(bodies) == 5
    for before, after in pairwise(bodies):
        stem = before[: before.rindex(BLOCK)]  # and without the few bytes that open the block
        assert after.startswith(stem[:-40]), (stem[-200:], after[len(stem) - 200 : len(stem)])


async def test_the_runtime_block_is_last_and_never_saved(tmp_path: Path) -> None:
    async with talking(tmp_path, [Answer("one"), Answer("two")]) as talk:
        await talk.say("first")
        await talk.say("second")
        body = talk.server.requests[1].body
        blocks = [m for m in body["messages"] if BLOCK.decode() in json.dumps(m)]
        assert blocks == [body["messages"][-1]]
    assert BLOCK not in b"".join(file.read_bytes() for file in tmp_path.glob("journals/*/*.jsonl"))


async def test_a_message_in_mid_turn_joins_before_the_next_model_call(tmp_path: Path) -> None:
    script = [Answer("", calls=(ToolCall("exec", {"command": "sleep 0.3"}),)), Answer("both answered")]
    async with talking(tmp_path, script) as talk:
        first = await talk.tell("wait a bit")
        await talk.until(lambda: isinstance(talk.session.state, AwaitingTool))
        second = await talk.tell("and this")
        reply = await talk.reply_to(first)
        assert (reply.reply_to, reply.also_answers) == (first, (second,))
        assert "and this" in "".join(talk.server.requests[1].texts)


async def test_stop_ends_everything_of_a_turn_within_a_second_and_the_next_turn_works(tmp_path: Path) -> None:
    marker = "sleep 61.25"
    script = [Answer("", calls=(ToolCall("exec", {"command": f"({marker} &) ; {marker}"}),)), Answer("fine")]
    async with talking(tmp_path, script) as talk:
        asked = await talk.tell("wait")
        await talk.until(lambda: isinstance(talk.session.state, AwaitingTool))
        await running(marker, True)
        before = trio.current_time()
        reply = await talk.say("/stop")
        assert trio.current_time() - before < 1.0
        assert asked in reply.also_answers
        await running(marker, False)
        assert talk.session.exchanges[-1].end is TurnEnd.STOPPED
        assert (await talk.say("still there?")).text == "fine"


async def running(marker: str, wanted: bool) -> None:
    """Wait until a process with that command line is there, or gone."""
    words = marker.encode().replace(b" ", b"\0")

    def found() -> bool:
        return any(words in _cmdline(entry) for entry in Path("/proc").iterdir() if entry.name.isdigit())

    with trio.fail_after(5):
        while await trio.to_thread.run_sync(found) is not wanted:  # noqa: ASYNC110
            await trio.sleep(0.01)  # nobody tells when a process of another has gone


def _cmdline(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


# --- the limits of a turn


async def test_the_limit_of_steps_ends_in_a_last_call_without_tools(tmp_path: Path) -> None:
    script = [*(Answer("", calls=(read(f"{n}.txt"),)) for n in range(3)), Answer("That far I came.")]
    async with talking(tmp_path, script, maxToolIterations=3) as talk:
        assert (await talk.say("go on and on")).text == "That far I came."
        assert [state for _, state in outcomes(talk)] == [CallState.FAILED, CallState.FAILED, CallState.NOT_RUN]
        assert talk.server.requests[3].body["tool_choice"] == "none"


async def test_a_call_repeated_for_the_third_time_is_refused_and_then_the_model_must_answer(tmp_path: Path) -> None:
    script = [*(Answer("", calls=(read("same.txt"),)) for _ in range(5)), Answer("It is not there.")]
    async with talking(tmp_path, script) as talk:
        assert (await talk.say("read it")).text == "It is not there."
        states = [state for _, state in outcomes(talk)]
        assert states[:4] == [CallState.FAILED, CallState.FAILED, CallState.REFUSED, CallState.REFUSED]
        assert "tool_choice" in talk.server.requests[5].body


async def test_an_answer_cut_at_its_length_is_continued_and_joined(tmp_path: Path) -> None:
    script = [Answer("One, two, ", finish="length"), Answer("three.")]
    async with talking(tmp_path, script) as talk:
        assert (await talk.say("count")).text == "One, two, three."
        assert "Continue exactly where it ends" in "".join(talk.server.requests[1].texts)


async def test_a_model_that_never_stops_is_stopped(tmp_path: Path) -> None:
    script = [Answer("more ", finish="length")] * 4
    async with talking(tmp_path, script) as talk:
        reply = await talk.say("go")
        assert reply.text.count("more") == 4
        assert reply.text.endswith(sentences.LENGTH_MARK)


async def test_empty_answers_end_in_a_last_call_and_then_in_a_sentence(tmp_path: Path) -> None:
    async with talking(tmp_path, [Answer(""), Answer(""), Answer("Here I am.")]) as talk:
        assert (await talk.say("hello?")).text == "Here I am."
    async with talking(tmp_path, [Answer("")] * 3) as talk:
        assert (await talk.say("hello?")).text == sentences.EMPTY_ANSWER


# --- commands


async def test_undo_takes_the_exchange_out_of_the_prompt_and_lists_what_it_did(tmp_path: Path) -> None:
    script = [Answer("", calls=(write("a.txt", "x"),)), Answer("done"), Answer("what?")]
    async with talking(tmp_path, script) as talk:
        await talk.say("write it")
        assert "write_file" in (await talk.say("/undo")).text
        await talk.say("next")
        assert "write it" not in "".join(talk.server.requests[2].texts)


async def test_retry_asks_before_writing_tools_run_again(tmp_path: Path) -> None:
    script = [Answer("", calls=(write("a.txt", "x"),)), Answer("done"), Answer("done again")]
    async with talking(tmp_path, script) as talk:
        await talk.say("write it")
        assert "/retry yes" in (await talk.say("/retry")).text
        assert (await talk.say("/retry yes")).text == "done again"
        assert len(talk.server.requests) == 3


async def test_new_empties_the_prompt_and_keeps_the_old_conversation_on_disk(tmp_path: Path) -> None:
    async with talking(tmp_path, [Answer("one"), Answer("two")]) as talk:
        await talk.say("a secret word: plum")
        await talk.say("/new")
        await talk.say("hello")
        assert "plum" not in talk.server.requests[1].raw.decode()
    assert b"plum" in b"".join(file.read_bytes() for file in tmp_path.glob("journals/*/*.jsonl"))


async def test_a_model_can_be_chosen_for_a_session(tmp_path: Path) -> None:
    async with talking(tmp_path, [Answer("one"), Answer("two")]) as talk:
        await talk.say("/model other")
        await talk.say("hello")
        await talk.say("/model default")
        await talk.say("hello")
        assert [asked.body["model"] for asked in talk.server.requests] == ["other", "m"]


async def test_questions_are_answered_while_a_turn_runs(tmp_path: Path) -> None:
    script = [Answer("", calls=(ToolCall("exec", {"command": "sleep 0.4"}),)), Answer("done")]
    async with talking(tmp_path, script) as talk:
        first = await talk.tell("wait")
        assert "Model: m" in (await talk.say("/status")).text
        assert "cli:direct" in (await talk.say("/sessions")).text
        assert talk.session.turn is not None
        await talk.reply_to(first)


# --- history


async def test_history_beyond_the_window_leaves_in_a_jump_and_goes_to_the_archive(tmp_path: Path) -> None:
    def script(asked: Asked) -> Scripted:
        return Answer(f"answer {asked.number}")

    async with talking(tmp_path, script, memoryWindow=8) as talk:
        for number in range(12):
            await talk.say(f"question {number}")
        lengths = [len(asked.messages) for asked in talk.server.requests]
    assert max(lengths) <= 12
    assert sorted(lengths) != lengths, "it never jumped"
    files = sorted(tmp_path.glob("journals/*/*.jsonl"))
    assert len(files) > 1
    assert b"question 0" in files[0].read_bytes()
    assert b"question 0" not in files[-1].read_bytes()


async def test_a_conversation_of_an_earlier_program_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "workspace" / "sessions"
    folder.mkdir(parents=True)
    lines = [
        {"_type": "metadata", "key": "cli:direct", "created_at": "2026-03-01T10:00:00", "metadata": {}, "last_consolidated": 0},
        {"role": "user", "content": "my cat is called Mo", "timestamp": "2026-03-01T10:00:00"},
        {"role": "assistant", "content": "Noted.", "timestamp": "2026-03-01T10:00:05"},
    ]
    original = "\n".join(map(json.dumps, lines)) + "\n"
    (folder / "cli_direct.jsonl").write_text(original)
    async with talking(tmp_path, [Answer("Mo")]) as talk:
        await talk.say("what is my cat called?")
        assert "my cat is called Mo" in "".join(talk.server.requests[0].texts)
    assert (folder / "cli_direct.jsonl").read_text() == original


async def test_a_turn_that_a_stop_of_the_house_put_aside_goes_on_at_the_next_start(tmp_path: Path) -> None:
    async with talking(tmp_path, [Answer("late", stall="before")]) as talk:
        message = await talk.tell("hello")
        await talk.server.received(1)
        assert isinstance(talk.session.state, Thinking)
    async with talking(tmp_path, [Answer("here it is")]) as talk:
        assert (await talk.reply_to(message)).text == "here it is"


async def test_a_full_disk_takes_no_message_but_obeys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nanobot.errors import DiskFull
    from nanobot.journal.disk import RealDisk

    async with talking(tmp_path, [Answer("one")]) as talk:
        monkeypatch.setattr(RealDisk, "free_bytes", lambda _self, _path: 1024)
        with pytest.raises(DiskFull, match="64 MiB"):
            await talk.tell("hello")
        assert (await talk.say("/stop")).text == sentences.NOTHING_TO_STOP
