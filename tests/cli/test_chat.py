"""`nanobot chat` with one message: real processes, a scripted model on loopback."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest
import trio

from tests.cli.chats import Around, chat, command, environ, home_with, started
from tests.fakes.llm import Answer, Asked, Fault, Scripted, ToolCall, echo, model_server
from tests.fakes.llm_wire import rate_limited

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360000002000001e221bc330000000049454e44ae426082"
)
REFUSED = Fault(401, {"message": "bad key", "type": "invalid_request_error"}, {"message": "bad key"})


def stalls_first(asked: Asked) -> Scripted:
    """The first request is never answered, the others echo."""
    return Answer("never", stall="before") if asked.number == 1 else echo(asked)


# --- answers


async def test_the_answer_alone_is_on_stdout(around: Around, tmp_path: Path) -> None:
    async with model_server([Answer("# Hello\n\nfrom the model")]) as server, around(home_with(tmp_path, server.base)) as home:
        done = await chat("-m", "hi", home=home)
    assert (done.code, done.out, done.err) == (0, "# Hello\n\nfrom the model\n", "")


async def test_standard_input_is_the_message(around: Around, tmp_path: Path) -> None:
    async with model_server(echo) as server, around(home_with(tmp_path, server.base)) as home:
        done = await chat(home=home, typed="say one\nand more\n")
        assert "say one\nand more\n" in server.requests[0].texts[-1]
    assert (done.code, done.out) == (0, "one\n")


async def test_an_option_wins_over_standard_input(tmp_path: Path) -> None:
    async with model_server(echo) as server:
        done = await chat("-m", "say two", home=home_with(tmp_path, server.base), typed="say one")
    assert (done.code, done.out) == (0, "two\n")


async def test_without_a_configuration_the_demo_answers_without_escape_codes(around: Around, tmp_path: Path) -> None:
    async with around(tmp_path) as home:
        done = await chat("-m", "help", home=home)
    assert done.code == 0
    assert done.out.startswith("This is nanobot's built-in demo")
    assert "\x1b" not in done.out + done.err


async def test_json_tells_text_usage_and_tools(around: Around, tmp_path: Path) -> None:
    script = [Answer(calls=(ToolCall("list_dir", {"path": "."}), ToolCall("read_file", {"path": "no"}))), Answer("done")]
    async with model_server(script) as server, around(home_with(tmp_path, server.base)) as home:
        done = await chat("-m", "look", "--json", "-s", "cli:there", home=home)
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out) == {
        "session": "cli:there",
        "text": "done",
        "failed": False,
        "usage": {"input": 200, "output": 20, "cached": 80},
        "tools": [{"name": "list_dir", "state": "done"}, {"name": "read_file", "state": "failed"}],
    }


async def test_a_failed_turn_leaves_stdout_empty(around: Around, tmp_path: Path) -> None:
    async with model_server([REFUSED]) as server, around(home_with(tmp_path, server.base)) as home:
        done = await chat("-m", "hi", home=home)
    assert (done.code, done.out) == (1, "")
    assert "key" in done.err
    assert "Traceback" not in done.err


async def test_a_failed_turn_is_an_object_too(around: Around, tmp_path: Path) -> None:
    async with model_server([REFUSED]) as server, around(home_with(tmp_path, server.base)) as home:
        done = await chat("-m", "hi", "--json", home=home)
    told = json.loads(done.out)
    assert (done.code, told["failed"], told["text"]) == (1, True, "")
    assert told["error"] in done.err


async def test_a_wait_is_told(around: Around, tmp_path: Path) -> None:
    async with model_server([rate_limited("1"), Answer("now")]) as server, around(home_with(tmp_path, server.base)) as home:
        done = await chat("-m", "hi", home=home)
    assert (done.code, done.out) == (0, "now\n")
    assert "again in" in done.err


async def test_a_command_is_answered_without_the_model(around: Around, tmp_path: Path) -> None:
    async with around(tmp_path) as home:
        done = await chat("-m", "/status", home=home)
    assert (done.code, done.out.splitlines()[0]) == (0, "Session: cli:direct")


async def test_the_log_is_shown_when_asked_for(tmp_path: Path) -> None:
    mistake = Answer(calls=(ToolCall("no_such_tool"),))
    async with model_server([mistake, Answer("ok")]) as server:
        done = await chat("-m", "hi", "--logs", home=home_with(tmp_path, server.base))
    assert (done.code, done.out) == (0, "ok\n")


# --- files


async def test_an_image_is_shown_to_the_model_and_another_file_can_be_read(around: Around, tmp_path: Path) -> None:
    (tmp_path / "dot.png").write_bytes(PNG)
    (tmp_path / "notes.txt").write_text("the word is heron")

    def script(asked: Asked) -> Scripted:
        if asked.results:
            return Answer(asked.results[-1])
        path = next(text for text in asked.texts if "[file:" in text).partition("[file: ")[2].partition("]")[0]
        return Answer(calls=(ToolCall("read_file", {"path": path}),))

    async with model_server(script) as server, around(home_with(tmp_path, server.base)) as home:
        files = ("--attach", str(tmp_path / "dot.png"), "--attach", str(tmp_path / "notes.txt"))
        done = await chat("-m", "what is in these", *files, home=home)
        assert "heron" in done.out, done.err
        assert "image_url" in json.dumps(server.requests[0].body)


# --- mistakes


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-m", "hi", "-s", "nonsense"), "not a session key"),
        (("-m", "hi", "--attach", "/no/such/file"), "there is no file"),
        (("-m", "  "), "nothing to send"),
        ((), "nothing to send"),
        (("-m", "hi", "--config", "/no/such/config.json"), "no such file"),
        (("-m", "hi", "--no-such-option"), "no-such-option"),
    ],
)
async def test_a_mistake_is_a_sentence_and_code_2(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    done = await chat(*arguments, home=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "Traceback" not in done.err


async def test_a_model_that_nobody_serves_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"configVersion": 1, "agents": {"defaults": {"model": "claude-opus-4-5"}}}')
    done = await chat("-m", "hi", "--config", str(tmp_path / "config.json"), home=tmp_path)
    assert done.code == 2
    assert "ANTHROPIC_API_KEY" in done.err


# --- who else is there


async def test_a_session_in_use_is_refused_with_the_holder(tmp_path: Path) -> None:
    async with model_server(stalls_first) as server:
        home = home_with(tmp_path, server.base)
        async with started("-m", "wait", home=home) as first:
            await server.received(1)
            done = await chat("-m", "hi", home=home)
            assert (done.code, done.out) == (1, "")
            assert f"session cli:direct is in use by process {first.process.pid}" in done.err
            other = await chat("-m", "say else", "-s", "cli:other", home=home)
            assert (other.code, other.out) == (0, "else\n")


async def test_a_data_directory_that_is_held_alone_is_refused_with_the_holder(tmp_path: Path) -> None:
    (tmp_path / ".nanobot").mkdir()
    with (tmp_path / ".nanobot/lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = await chat("-m", "hi", home=tmp_path)
    assert (done.code, done.out) == (1, "")
    assert f"is in use by process {os.getpid()}" in done.err


# --- what ends in the middle


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)])
async def test_a_turn_that_was_cut_off_is_answered_by_the_next_start(number: signal.Signals, code: int, tmp_path: Path) -> None:
    async with model_server(stalls_first) as server:
        home = home_with(tmp_path, server.base)
        async with started("-m", "say one", home=home) as first:
            await server.received(1)
            first.process.send_signal(number)
            cut = await first.ended()
        done = await chat("-m", "say two", home=home)
    assert (cut.code, cut.out) == (code, "")
    assert ("put aside" in cut.err) == (number != signal.SIGKILL)
    assert (done.code, done.out) == (0, "two\n")
    assert "resuming" in done.err


async def test_an_interrupt_stops_the_turn_and_says_so(around: Around, tmp_path: Path) -> None:
    async with (
        model_server(stalls_first) as server,
        around(home_with(tmp_path, server.base)) as home,
        started("-m", "hi", home=home) as running,
    ):
        await server.received(1)
        start = time.monotonic()
        running.process.send_signal(signal.SIGINT)
        done = await running.ended()
    assert (done.code, done.out) == (130, "")
    assert "Stopped." in done.err
    assert time.monotonic() - start < 2.0


# --- who reads


async def test_a_reader_that_leaves_early_is_no_error(around: Around, tmp_path: Path) -> None:
    async with model_server([Answer("line\n" * 60_000, burst=True)]) as server, around(home_with(tmp_path, server.base)) as home:
        pipe = f"{shlex.join(command('-m', 'hi'))} | head -1"
        done = await trio.run_process(
            ["sh", "-c", pipe], env=environ(home), capture_stdout=True, capture_stderr=True, stdin=subprocess.DEVNULL
        )
    assert (done.stdout, done.stderr) == (b"line\n", b"")


async def test_an_answer_that_cannot_be_written_is_kept_for_the_next_start(around: Around, tmp_path: Path) -> None:
    async with model_server(echo) as server, around(home_with(tmp_path, server.base)) as home:
        full = f"{shlex.join(command('-m', 'say one'))} > /dev/full"
        done = await trio.run_process(["sh", "-c", full], env=environ(home), capture_stderr=True, check=False)
        again = await chat("-m", "say two", home=home)
    assert done.returncode == 1
    assert b"No space left" in done.stderr
    assert (again.code, again.out) == (0, "two\n")
    assert "one" in again.err
