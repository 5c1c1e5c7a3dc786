"""`nanobot chat` in a terminal: a real process on a pty, a scripted model on loopback."""

from __future__ import annotations

import os
import re
import signal
import stat
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from tests.cli.chats import Around, home_with
from tests.fakes.llm import Answer, Asked, Scripted, ToolCall, echo, model_server
from tests.fakes.llm_wire import rate_limited
from tests.fakes.tty import Tty, terminal

ENTER, ALT_ENTER, CTRL_C, CTRL_D = "\r", "\x1b\r", "\x03", "\x04"
GREETING = "/help lists the commands"


async def leave(tty: Tty) -> int:
    await tty.types(CTRL_D)
    return await tty.ended()


async def test_the_prompt_comes_first_and_what_is_typed_meanwhile_is_answered(around: Around, tmp_path: Path) -> None:
    async with (
        model_server(echo) as server,
        around(home_with(tmp_path, server.base)) as home,
        terminal("chat", home=home) as tty,
    ):
        await tty.shows("you>")
        assert GREETING not in tty.screen.text
        await tty.types("say early" + ENTER)
        await tty.shows(GREETING, "\nearly")
        assert await leave(tty) == 0


async def test_an_answer_is_shown_while_it_arrives_and_once(around: Around, tmp_path: Path) -> None:
    go_on = trio.Event()

    async def script(_asked: Asked) -> Scripted:
        return Answer("first **block**\n\nsecond block", pieces=2, stall="middle") if not go_on.is_set() else Answer("again")

    async with (
        model_server(script) as server,
        around(home_with(tmp_path, server.base)) as home,
        terminal("chat", home=home) as tty,
    ):
        await tty.shows(GREETING)
        await tty.types("hi" + ENTER)
        await tty.shows("first block", "answering")
        go_on.set()
        await tty.types(CTRL_C)
        await tty.shows("Stopped.")
        assert tty.screen.text.count("first block") == 1
        await tty.types("more" + ENTER)
        await tty.shows("\nagain")
        await tty.shows("idle")
        assert tty.screen.text.count("\nagain\n") == 1
        assert await leave(tty) == 0


async def test_a_message_in_the_middle_of_a_turn_joins_it(around: Around, tmp_path: Path) -> None:
    def script(asked: Asked) -> Scripted:
        return echo(asked) if asked.results else Answer(calls=(ToolCall("exec", {"command": "cat fifo"}),))

    async with model_server(script) as server, around(home_with(tmp_path, server.base)) as home:
        async with terminal("chat", home=home) as tty:
            await tty.shows(GREETING)
            fifo = home / ".nanobot/workspace/fifo"
            os.mkfifo(fifo)
            await tty.types("say one" + ENTER)
            await tty.shows("running exec cat fifo")
            await tty.types("say two" + ENTER)
            await tty.shows("noted")
            await trio.Path(fifo).write_text("done")
            await tty.shows("· exec cat fifo", "\ntwo")
            assert await leave(tty) == 0
        assert len(server.requests) == 2


async def test_ctrl_c_stops_the_turn_within_a_second_and_twice_leaves(around: Around, tmp_path: Path) -> None:
    script = [Answer(calls=(ToolCall("exec", {"command": "sleep 60"}),))]
    async with (
        model_server(script) as server,
        around(home_with(tmp_path, server.base)) as home,
        terminal("chat", home=home) as tty,
    ):
        await tty.shows(GREETING)
        await tty.types("work" + ENTER)
        await tty.shows("running exec sleep 60")
        start = time.monotonic()
        await tty.types(CTRL_C)
        await tty.shows("Stopped. Cut while running: exec")
        assert time.monotonic() - start < 1.0
        await tty.types(CTRL_C)
        assert await tty.ended() == 130


@pytest.mark.parametrize("word", ["exit", "quit", ":q", "/exit", "/quit", CTRL_D])
async def test_words_that_leave(word: str, tmp_path: Path) -> None:
    async with terminal("chat", home=tmp_path) as tty:
        await tty.shows("you>")
        await tty.types(word if word == CTRL_D else word + ENTER)
        assert await tty.ended() == 0


async def test_the_terminal_is_left_as_it_was_found(around: Around, tmp_path: Path) -> None:
    async with around(tmp_path) as home, terminal("chat", home=home) as tty:
        before = tty.modes()
        await tty.shows("you>")
        assert tty.modes() != before
        tty.process.send_signal(signal.SIGTERM)
        assert await tty.ended() == 143
        assert tty.modes() == before


async def test_history_is_private_and_several_lines_are_one_message(tmp_path: Path) -> None:
    async with model_server(echo) as server:
        home = home_with(tmp_path, server.base)
        async with terminal("chat", home=home) as tty:
            await tty.shows(GREETING)
            await tty.types(f"say one{ALT_ENTER}two{ENTER}")
            await tty.shows("\none")
            assert "say one\ntwo" in server.requests[0].texts[-1]
            assert await leave(tty) == 0
    history = home / ".nanobot/history/cli_history"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert "+say one\n+two\n" in history.read_text()


async def test_slash_commands_are_completed_and_answered(around: Around, tmp_path: Path) -> None:
    async with around(tmp_path) as home, terminal("chat", home=home) as tty:
        await tty.shows(GREETING)
        await tty.types("/stat")
        await tty.shows("show what this session does")
        await tty.types("us" + ENTER)
        await tty.shows("Session: cli:direct", "Tokens so far")
        await tty.types("/nothing" + ENTER)
        await tty.shows("There is no command /nothing")
        assert await leave(tty) == 0


async def test_a_file_goes_with_the_next_message(around: Around, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("heron")
    async with (
        model_server(echo) as server,
        around(home_with(tmp_path, server.base)) as home,
        terminal("chat", home=home) as tty,
    ):
        await tty.shows(GREETING)
        await tty.types("/attach /no/such/file" + ENTER)
        await tty.shows("there is no file /no/such/file")
        await tty.types(f"/attach {tmp_path / 'notes.txt'}{ENTER}")
        await tty.shows("notes.txt goes with your next message")
        await tty.types("say it" + ENTER)
        await tty.shows("\nit")
        assert any("[file: " in text for text in server.requests[0].texts)
        assert await leave(tty) == 0


async def test_a_wait_is_shown_with_its_seconds(around: Around, tmp_path: Path) -> None:
    script: list[Scripted] = [rate_limited("2"), Answer("now it works")]
    async with (
        model_server(script) as server,
        around(home_with(tmp_path, server.base)) as home,
        terminal("chat", home=home) as tty,
    ):
        await tty.shows(GREETING)
        await tty.types("hi" + ENTER)
        await tty.shows("again in 2 s")
        await tty.shows("now it works")
        assert await leave(tty) == 0


async def test_a_turn_that_is_left_is_gone_on_with_by_the_next_chat(tmp_path: Path) -> None:
    def script(asked: Asked) -> Scripted:
        return Answer("never", stall="before") if asked.number == 1 else echo(asked)

    async with model_server(script) as server:
        home = home_with(tmp_path, server.base)
        async with terminal("chat", home=home) as tty:
            await tty.shows(GREETING)
            await tty.types("say later" + ENTER)
            await server.received(1)
            await leave(tty)
            await tty.shows("put aside")
        async with terminal("chat", home=home) as tty:
            await tty.shows("resuming", "\nlater")
            assert await leave(tty) == 0


async def test_a_mistake_in_the_configuration_takes_the_prompt_away_and_is_told(tmp_path: Path) -> None:
    (tmp_path / ".nanobot").mkdir()
    (tmp_path / ".nanobot/config.json").write_text('{"configVersion": 1, "agentss": {}}')
    async with terminal("chat", home=tmp_path) as tty:
        before = tty.modes()
        assert await tty.ended() == 2
        await tty.shows("agentss")
        assert tty.modes() == before


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
async def test_no_escape_codes_where_they_are_not_wanted(environ: dict[str, str], tmp_path: Path) -> None:
    calls = Answer("I look.", calls=(ToolCall("list_dir", {"path": "."}),))
    async with model_server([calls, Answer("**done**")]) as server:
        async with terminal("chat", home=home_with(tmp_path, server.base), **environ) as tty:
            await tty.types("look" + "\n")
            await tty.shows(GREETING, "· list_dir .", "**done**")
            await tty.types(CTRL_C)
            await tty.shows("Ctrl-C again leaves")
            assert await leave(tty) == 0
        assert b"\x1b" not in tty.raw


async def test_what_a_model_writes_does_not_steer_the_terminal(around: Around, tmp_path: Path) -> None:
    async with (
        model_server([Answer("be\x1b[2Jware \x1b]0;title\x07end", burst=True)]) as server,
        around(home_with(tmp_path, server.base)) as home,
    ):
        async with terminal("chat", home=home) as tty:
            await tty.shows(GREETING)
            await tty.types("hi" + ENTER)
            await tty.shows("end")
            assert await leave(tty) == 0
        assert b"\x1b[2J" not in tty.raw
        assert b"\x1b]0;" not in tty.raw


async def test_json_is_for_one_message(tmp_path: Path) -> None:
    async with terminal("chat", "--json", home=tmp_path) as tty:
        await tty.shows("--json needs a message")
        assert await tty.ended() == 2


@pytest.mark.slow
async def test_the_prompt_comes_before_everything_but_its_library(tmp_path: Path) -> None:
    """Against importing the two libraries that draw it and read the command line, in the same minute."""
    prompts, bares = [], []
    for _ in range(5):
        start = time.monotonic()
        async with terminal("chat", home=tmp_path) as tty:
            await tty.shows("you>")
            prompts.append(time.monotonic() - start)
            await leave(tty)
        start = time.monotonic()
        await trio.run_process([sys.executable, "-c", "import prompt_toolkit, cyclopts"])
        bares.append(time.monotonic() - start)
    prompt, bare = statistics.median(prompts), statistics.median(bares)
    print(f"prompt {prompt:.3f} s, bare imports {bare:.3f} s, ratio {prompt / bare:.2f}")
    assert prompt < 1.5 * bare


def test_the_prompt_needs_nothing_heavy() -> None:
    """What is imported until the prompt is there, told by the interpreter."""
    source = "import nanobot.cli.app, nanobot.cli.chat, nanobot.cli.chatting.opening, nanobot.cli.chatting.prompting"
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", source], capture_output=True, text=True, check=True)
    loaded = set(re.findall(r"\| +([a-z_0-9]+)$", done.stderr, re.MULTILINE))
    assert "prompt_toolkit" in loaded
    assert not loaded & {"trio", "cattrs", "rich", "openai", "anthropic", "loguru", "httpx2"}
