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

from nanobot.cli.chatting.alone import Only
from nanobot.messages import Outbound, OutboundId
from nanobot.session import events as ev
from nanobot.session.ports import DeliveryEnd, Progress, Waiting
from nanobot.session.state import Pending, Session
from tests.cli.chats import PATIENCE, Around, chat, command, environ, home_with, started
from tests.cli.command import Ended
from tests.fakes.gateway_process import NETWORK, gateway_process
from tests.fakes.llm import Answer, Asked, Fault, Scripted, ToolCall, echo, model_server
from tests.fakes.llm_wire import rate_limited

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360000002000001e221bc330000000049454e44ae426082"
)
REFUSED = Fault(401, {"message": "bad key", "type": "invalid_request_error"}, {"message": "bad key"})


def stalls_first(asked: Asked) -> Scripted:
    """The first request is never answered, the others echo."""
    return Answer("never", stall="before") if asked.number == 1 else echo(asked)


async def chat_on_a_full_disk(*arguments: str, home: Path) -> Ended:
    """A chat whose answer cannot be written."""
    full = f"{shlex.join(command(*arguments))} > /dev/full"
    with trio.fail_after(PATIENCE):
        done = await trio.run_process(["sh", "-c", full], env=environ(home), capture_stderr=True, check=False)
    return Ended(done.returncode, "", done.stderr.decode())


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


# --- what the model says before its answer, by the tool `message`


def message(text: str, **more: object) -> Answer:
    return Answer(calls=(ToolCall("message", {"text": text, **more}),))


@pytest.mark.parametrize(
    ("script", "ended"),
    [
        ([message("half way"), Answer("done")], Ended(0, "done\n", "half way\n")),
        ([message("it is 5"), Answer(" it  is 5")], Ended(0, "it is 5\n", "it is 5\n")),
        ([message("half way"), message("it is 5"), Answer("")], Ended(0, "it is 5\n", "half way\nit is 5\n")),
        ([message("it is 5"), message("I checked"), Answer("it is 5")], Ended(0, "it is 5\n", "it is 5\nI checked\n")),
    ],
    ids=["and an answer", "the same again", "and no answer", "the first again"],
)
async def test_what_is_said_in_mid_turn_is_an_aside_and_stdout_has_the_answer(
    script: list[Scripted], ended: Ended, around: Around, tmp_path: Path
) -> None:
    async with model_server(script) as server, around(home_with(tmp_path, server.base)) as home:
        assert await chat("-m", "what is 2 + 3", home=home) == ended
        assert len(server.requests) == len(script)


async def test_an_answer_that_was_said_in_mid_turn_is_the_text_of_the_object(around: Around, tmp_path: Path) -> None:
    async with model_server([message("it is 5"), Answer("")]) as server, around(home_with(tmp_path, server.base)) as home:
        done = await chat("-m", "what is 2 + 3", "--json", home=home)
    told = json.loads(done.out)
    assert (done.code, told["text"], told["failed"]) == (0, "it is 5", False)
    assert told["tools"] == [{"name": "message", "state": "done"}]


async def test_a_turn_that_fails_has_no_answer_whatever_was_said_before(around: Around, tmp_path: Path) -> None:
    async with model_server([message("half way"), REFUSED]) as server, around(home_with(tmp_path, server.base)) as home:
        done = await chat("-m", "go", home=home)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("half way\n")
    assert "key" in done.err


async def test_files_that_go_with_what_is_said_are_named(around: Around, tmp_path: Path) -> None:
    script = [message("look", attachments=["notes.txt"]), Answer("done")]
    async with model_server(script) as server, around(home_with(tmp_path, server.base)) as home:
        workspace = home / ".nanobot/workspace"
        workspace.mkdir(exist_ok=True)
        (workspace / "notes.txt").write_text("the word is heron")
        done = await chat("-m", "go", home=home)
    assert done.out == "done\n"
    text, _, file = done.err.rstrip().partition("\n· file: ")
    assert (text, Path(file).read_text()) == ("look", "the word is heron")


async def test_what_was_said_and_cannot_be_written_is_not_said_again(around: Around, tmp_path: Path) -> None:
    script = [message("it is 5"), Answer(""), Answer("two")]
    async with model_server(script) as server, around(home_with(tmp_path, server.base)) as home:
        done = await chat_on_a_full_disk("-m", "what is 2 + 3", home=home)
        again = await chat("-m", "say two", home=home)
    assert done.code == 1
    assert done.err.startswith("it is 5\n")
    assert "No space left on device. It stands above." in done.err
    assert again == Ended(0, "two\n", "")


async def test_a_message_to_another_chat_waits_for_a_gateway(tmp_path: Path) -> None:
    script = [message("the word is heron", to=f"{NETWORK}:42"), Answer("done")]
    async with model_server(script) as server:
        home = home_with(tmp_path, server.base)
        done = await chat("-m", "tell them", home=home)
        assert "no gateway runs here; it is sent when one does" in server.requests[1].results[0]
        assert done == Ended(0, "done\n", "")
        async with gateway_process(home):
            await chat("-m", "/status", "-s", f"{NETWORK}:42", home=home)  # that chat is reached
            sent = await lines_of(home / ".nanobot/network.log", 1)
    assert sent[0] == f"{NETWORK}:default:42 the word is heron"


class Witness:
    """Outlet and watcher that note whose session they are told of."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def send(self, session: Session, pending: Pending, part: int) -> DeliveryEnd:
        self.told.append(session.key)
        return ev.PartDelivered(pending.outbound.id, part, 1.0)

    def watch(self, key: str, _progress: Progress) -> None:
        self.told.append(key)


async def test_only_the_session_of_the_chat_is_shown() -> None:
    witness = Witness()
    only = Only("mine", witness, witness.watch)
    ends = []
    for key in ("mine", "other"):
        only.watch(key, Waiting("a while"))
        ends.append(await only.send(Session(key), Pending(Outbound(OutboundId("o1"), "hello", 1.0)), 0))
    assert witness.told == ["mine", "mine"]
    assert [type(end) for end in ends] == [ev.PartDelivered, ev.ChannelDown]


async def lines_of(file: Path, count: int) -> list[str]:
    """Wait until it has so many."""
    with trio.fail_after(PATIENCE):
        while True:
            lines = file.read_text().splitlines() if file.exists() else []
            if len(lines) >= count:
                return lines
            await trio.sleep(0.01)


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
        done = await chat_on_a_full_disk("-m", "say one", home=home)
        again = await chat("-m", "say two", home=home)
    assert done.code == 1
    assert "No space left" in done.err
    assert (again.code, again.out) == (0, "two\n")
    assert "one" in again.err
