"""`nanobot chat` while a gateway runs: what only that way can meet. Real processes, which are killed in the middle."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from nanobot.cli.chatting.meeting import LONGEST_SAY
from nanobot.control.frames import snapshot
from nanobot.control.port import Connection
from nanobot.control.server import MOST_FRAME
from nanobot.messages import Outbound, OutboundId
from nanobot.session.sentences import NEW_CONVERSATION
from nanobot.session.state import Pending, Session
from nanobot.wire import JsonObject
from tests.cli.chats import chat, environ, home_with, started
from tests.cli.command import Ended
from tests.fakes.gateway import FakeGateway, listening
from tests.fakes.gateway_process import NETWORK, gateway_process, said
from tests.fakes.llm import Answer, Asked, Scripted, ToolCall, echo, model_server
from tests.fakes.tty import Tty, terminal

ENTER, CTRL_C, CTRL_D = "\r", "\x03", "\x04"
GREETING = "/help lists the commands"


@attrs.define
class Waits:
    """A model that echoes, but answers the first request only when `go_on` is set."""

    go_on: trio.Event = attrs.field(factory=trio.Event)

    async def __call__(self, asked: Asked) -> Scripted:
        if asked.number == 1:
            await self.go_on.wait()
        return echo(asked)


def stalls_first(asked: Asked) -> Scripted:
    return Answer("never", stall="before") if asked.number == 1 else echo(asked)


async def leave(tty: Tty) -> int:
    await tty.types(CTRL_D)
    return await tty.ended()


@asynccontextmanager
async def talking(home: Path, *arguments: str) -> AsyncIterator[Tty]:
    """A chat whose greeting is there."""
    async with terminal("chat", *arguments, home=home) as tty:
        await tty.shows(GREETING, "gateway")
        yield tty


# --- the gateway is killed


async def test_a_message_that_was_taken_is_answered_by_the_next_gateway(tmp_path: Path) -> None:
    async with model_server(stalls_first) as server:
        home = home_with(tmp_path, server.base)
        async with gateway_process(home) as gateway, started("-m", "say one", home=home) as asking:
            await server.received(1)
            gateway.kill()
            cut = await asking.ended()
        assert (cut.code, cut.out) == (1, "")
        assert "Your message was taken, and the answer will be delivered to cli:direct" in cut.err
        async with gateway_process(home):
            done = await chat("-m", "say two", home=home)
    assert (done.code, done.out) == (0, "two\n")
    assert sum("say one" in text for text in server.requests[-1].texts) == 1


async def test_an_interactive_chat_finds_the_next_gateway_and_sees_the_turn_end_once(tmp_path: Path) -> None:
    async with model_server(stalls_first) as server:
        home = home_with(tmp_path, server.base)
        async with gateway_process(home) as gateway, talking(home) as tty:
            await tty.types("say one" + ENTER)
            await server.received(1)
            gateway.kill()
            await tty.shows("the gateway is gone; trying to reach it again")
            async with gateway_process(home):
                await tty.shows("the gateway is back", "\none")
                await tty.types("say two" + ENTER)
                await tty.shows("\ntwo")
                assert await leave(tty) == 0
            assert tty.screen.text.count("\none\n") == 1


async def test_what_is_typed_while_no_gateway_is_there_joins_once(tmp_path: Path) -> None:
    async with model_server(echo) as server:
        home = home_with(tmp_path, server.base)
        async with gateway_process(home) as gateway, talking(home) as tty:
            gateway.kill()
            await tty.shows("the gateway is gone")
            await tty.types("say kept" + ENTER)
            await tty.shows("kept here until the gateway is back")
            async with gateway_process(home):
                await tty.shows("\nkept")
                assert await leave(tty) == 0
        assert [sum("say kept" in text for text in asked.texts) for asked in server.requests] == [1]


async def test_whoever_leaves_while_no_gateway_is_there_learns_what_was_not_taken(tmp_path: Path) -> None:
    async with gateway_process(tmp_path) as gateway, talking(tmp_path) as tty:
        gateway.kill()
        await tty.shows("the gateway is gone")
        await tty.types("help" + ENTER)
        await tty.shows("kept here")
        await tty.types(CTRL_C)
        await tty.shows("Ctrl-C again leaves")
        await tty.types(CTRL_C)
        assert await tty.ended() == 130
        await tty.shows("not taken by the gateway: help")


# --- the gateway ends in order


async def test_a_gateway_that_stops_says_so_and_the_next_one_goes_on(tmp_path: Path) -> None:
    async with model_server(stalls_first) as server:
        home = home_with(tmp_path, server.base)
        async with gateway_process(home) as gateway, talking(home) as tty:
            await tty.types("say one" + ENTER)
            await server.received(1)
            gateway.terminate()
            await tty.shows("The turn was put aside; the gateway goes on with it", "the gateway has been stopped")
            async with gateway_process(home):
                await tty.shows("the gateway is back", "\none")
                assert await leave(tty) == 0
        assert gateway.returncode == 0


async def test_a_message_to_a_gateway_that_is_stopping_is_said_to_the_next(tmp_path: Path) -> None:
    async with model_server(stalls_first) as server:
        home = home_with(tmp_path, server.base)
        async with gateway_process(home) as gateway, talking(home) as tty:
            await tty.types("say one" + ENTER)
            await server.received(1)
            gateway.terminate()
            await said(gateway, "draining")  # for two seconds, in which it takes nothing
            await tty.types("say late" + ENTER)
            await tty.shows("the gateway has been stopped")
            async with gateway_process(home):
                await tty.shows("\nlate")
                assert await leave(tty) == 0
        assert "not sent" not in tty.screen.text


# --- the chat ends


async def test_a_turn_that_is_left_goes_on_and_its_reply_waits_for_the_next_terminal(tmp_path: Path) -> None:
    script = Waits()
    async with model_server(script) as server:
        home = home_with(tmp_path, server.base)
        async with gateway_process(home):
            async with talking(home) as tty:
                await tty.types("say later" + ENTER)
                await server.received(1)
                assert await leave(tty) == 0
                await tty.shows("it goes on in the gateway; the answer will be delivered to cli:direct")
            script.go_on.set()
            async with talking(home) as tty:
                await tty.shows("\nlater")
                assert await leave(tty) == 0
        assert len(server.requests) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
async def test_a_signal_ends_the_question_and_not_the_turn(number: signal.Signals, code: int, tmp_path: Path) -> None:
    script = Waits()
    async with model_server(script) as server:
        home = home_with(tmp_path, server.base)
        async with gateway_process(home):
            async with started("-m", "say one", home=home) as asking:
                await server.received(1)
                asking.process.send_signal(number)
                cut = await asking.ended()
            script.go_on.set()
            done = await chat("-m", "say two", home=home)
    assert (cut.code, cut.out) == (code, "")
    assert "the answer will be delivered to cli:direct" in cut.err
    assert (done.code, done.out) == (0, "two\n")
    assert "one" in done.err


# --- several terminals, other sessions


async def test_two_questions_to_one_session_each_get_their_own_answer(tmp_path: Path) -> None:
    script = Waits()
    async with model_server(script) as server:
        home = home_with(tmp_path, server.base)
        async with gateway_process(home), started("-m", "say one", home=home) as first:
            await server.received(1)
            async with started("-m", "/status", home=home) as second:
                status = await second.ended()
            script.go_on.set()
            one = await first.ended()
    assert (one.code, one.out, one.err) == (0, "one\n", "")
    assert (status.code, status.err) == (0, "")
    assert status.out.startswith("Session: cli:direct")


async def test_every_terminal_of_a_session_shows_its_replies(tmp_path: Path) -> None:
    async with model_server(echo) as server:
        home = home_with(tmp_path, server.base)
        async with gateway_process(home), talking(home) as here, talking(home) as there:
            await here.types("say both" + ENTER)
            await here.shows("\nboth")
            await there.shows("\nboth")
            assert (await chat("-m", "say three", home=home)).out == "three\n"
            await there.shows("\nthree")
            assert await leave(here) == await leave(there) == 0


async def test_the_session_of_a_network_is_shown_here_and_delivered_there(tmp_path: Path) -> None:
    async with model_server(echo) as server:
        home = home_with(tmp_path, server.base)
        session = ("-s", f"{NETWORK}:42")
        async with gateway_process(home), talking(home, *session) as tty:
            await tty.types("say hello" + ENTER)
            await tty.shows("\nhello")
            done = await chat("-m", "say more", *session, home=home)
            await tty.shows("\nmore")
            await tty.types("/new" + ENTER)
            await tty.shows(NEW_CONVERSATION)  # not streamed: the reply itself
            assert await leave(tty) == 0
    assert (done.code, done.out) == (0, "more\n")
    sent = (home / ".nanobot/network.log").read_text().splitlines()
    assert sent == [f"{NETWORK}:default:42 {text}" for text in ("hello", "more", NEW_CONVERSATION)]


async def test_what_is_said_in_mid_turn_to_the_session_of_a_network_is_an_aside_here(tmp_path: Path) -> None:
    said_first = Answer(calls=(ToolCall("message", {"text": "it is 5"}),))
    async with model_server([said_first, Answer("")]) as server:
        home = home_with(tmp_path, server.base)
        async with gateway_process(home):
            done = await chat("-m", "what is 2 + 3", "-s", f"{NETWORK}:42", home=home)
    assert done == Ended(0, "it is 5\n", "it is 5\n")
    assert (home / ".nanobot/network.log").read_text() == f"{NETWORK}:default:42 it is 5\n"


# --- what a gateway may say


def hello(session: Session) -> JsonObject:
    return {"ok": {"session": snapshot(session), "model": "m", "warnings": [], "network": False, "version": "9.9"}}


async def test_a_reply_that_was_printed_is_not_printed_again(tmp_path: Path) -> None:
    """The gateway was killed before it heard that it is."""
    owing = Session("cli:default:direct", outbox=(Pending(Outbound(OutboundId("o1"), "only once", 1.0)),))
    heard: list[JsonObject | None] = []

    async def attach(_request: JsonObject, connection: Connection) -> None:
        await connection.send(hello(owing))
        await connection.send({"type": "send", "id": "o1", "part": 0})
        heard.append(await connection.receive())

    with listening(tmp_path / ".nanobot", FakeGateway(), {"attach": attach}):
        async with talking(tmp_path) as tty:
            await tty.shows("only once", "the gateway is back")
            await tty.until(lambda: len(heard) > 1, "is told twice")
            assert tty.screen.text.count("only once") == 1
    assert heard[0] == heard[1] == {"type": "sent", "id": "o1", "ok": True, "error": ""}


async def test_a_gateway_of_another_version_is_named(tmp_path: Path) -> None:
    async def attach(_request: JsonObject, connection: Connection) -> None:
        await connection.send({"ok": {"session": {"key": "k", "future": 1}, "version": "9.9"}})
        await connection.receive()

    with listening(tmp_path / ".nanobot", FakeGateway(), {"attach": attach}):
        async with terminal("chat", home=tmp_path) as tty:
            assert await tty.ended() == 1
            await tty.shows("The gateway that runs is nanobot 9.9. Start it again: nanobot gateway restart")


# --- what cannot be


async def test_another_workspace_than_the_gateways_is_a_mistake(tmp_path: Path) -> None:
    async with gateway_process(tmp_path):
        same = await chat("-m", "help", "-w", str(tmp_path / ".nanobot/workspace"), home=tmp_path)
        other = await chat("-m", "help", "-w", str(tmp_path), home=tmp_path)
    assert same.code == 0
    assert (other.code, other.out) == (2, "")
    assert "--workspace is for a chat without a gateway" in other.err


async def test_a_message_that_no_frame_holds_is_refused_with_a_way_out(tmp_path: Path) -> None:
    async with gateway_process(tmp_path):
        done = await chat(home=tmp_path, typed="x" * LONGEST_SAY)
    assert done.code == 1
    assert "--attach" in done.err
    assert LONGEST_SAY < MOST_FRAME


# --- what it costs


async def test_a_question_loads_nothing_heavy(tmp_path: Path) -> None:
    async with gateway_process(tmp_path):
        done = await trio.run_process(
            [sys.executable, "-X", "importtime", "-m", "nanobot", "chat", "-m", "help"],
            env=environ(tmp_path),
            capture_stdout=True,
            capture_stderr=True,
        )
    loaded = set(re.findall(r"\| +([a-z_0-9.]+)$", done.stderr.decode(), re.MULTILINE))
    assert "nanobot.cli.chatting.asking" in loaded
    assert b"demo" in done.stdout
    heavy = {"trio", "cattrs", "rich", "prompt_toolkit", "openai", "anthropic", "loguru", "httpx2", "nanobot.session.state"}
    assert not loaded & heavy
