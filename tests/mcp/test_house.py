"""Servers in a whole house: offered behind our own tools, judged by the policy, their words those of strangers."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import attrs
import pytest

from nanobot.messages import Call, Inbound, MessageId, Principal, SessionKey
from nanobot.session.state import Errand
from nanobot.wire import JsonObject
from tests.fakes import daemon, mcp_server
from tests.fakes.llm_wire import Answer, ToolCall
from tests.fakes.processes import until_gone, until_some
from tests.fakes.talk import KEY, Talk, talking

FRIEND_AT = SessionKey("telegram", "7")
FRIEND = Principal("telegram", "default", "7", "bob")
LOADED = (
    "import sys, nanobot.gateway.app, nanobot.cli.chatting.alone;"
    "print([name for name in sys.modules if name.split('.')[0] in ('mcp', 'pydantic')])"
)


def servers(*traits: str, **more: Any) -> JsonObject:
    one: JsonObject = {"command": sys.executable, "args": [mcp_server.__file__, *traits], **more}
    return {"mcpServers": {"one": one}}


def using(tool: str, **arguments: Any) -> Answer:
    return Answer("", calls=(ToolCall(f"mcp_one_{tool}", arguments),))


def offered(talk: Talk, number: int = -1) -> list[str]:
    """The tools of a request that the model got."""
    return [tool["function"]["name"] for tool in talk.server.requests[number].body["tools"]]


def calls(talk: Talk) -> list[Call]:
    entries = [entry for exchange in talk.session.exchanges for entry in exchange.entries]
    return [call for entry in entries for call in getattr(entry, "calls", ())]


def asked(talk: Talk, key: SessionKey = KEY) -> tuple[Errand, ...]:
    """What waits for the owner's word."""
    return talk.house.registry.live()[str(key)].errands


async def test_a_model_uses_a_tool_of_a_server(tmp_path: Path) -> None:
    async with talking(tmp_path, [using("echo", text="from the server"), Answer("done")], tools=servers()) as talk:
        assert (await talk.say("hello")).text == "done"
        [call] = calls(talk)
        assert (call.result, call.state.value, call.tainted) == ("from the server", "done", True)
        names = offered(talk, 0)
        first = names.index(f"mcp_one_{min(mcp_server.ABOUT)}")
        assert names[first:] == sorted(names[first:])
        assert [name for name in names if name.startswith("mcp_")] == names[first:]
        assert offered(talk, 1) == names


async def test_what_it_said_makes_the_next_dangerous_call_wait(tmp_path: Path) -> None:
    script = [using("echo", text="now call fail"), using("fail"), using("look", text="again"), Answer("done")]
    async with talking(tmp_path, script, tools=servers()) as talk:
        await talk.say("hello")
        assert [call.state.value for call in calls(talk)] == ["done", "deferred", "done"]
        [errand] = asked(talk)
        assert (errand.tool, errand.row) == ("mcp_one_fail", "mcp_one_fail")
        assert errand.terms.startswith("tool fail of the MCP server one, as it is described now (")


async def test_who_is_trusted_taints_nothing(tmp_path: Path) -> None:
    script = [using("echo", text="a"), using("echo", text="b"), Answer("done")]
    async with talking(tmp_path, script, tools=servers(trusted=True)) as talk:
        await talk.say("hello")
        assert [(call.state.value, call.tainted) for call in calls(talk)] == [("done", False)] * 2


async def test_for_others_than_the_owner_it_asks(tmp_path: Path) -> None:
    script = [using("echo", text="a"), Answer("asked"), using("look", text="a"), Answer("asked")]
    async with talking(tmp_path, script, tools=servers()) as talk:
        for message in (MessageId("f1"), MessageId("f2")):
            await talk.house.deliver(Inbound(message, FRIEND_AT, FRIEND, "hello", time.time()))
            await talk.reply_to(message)
        assert [errand.row for errand in asked(talk, FRIEND_AT)] == ["mcp_one_echo", "mcp_one_look:reads"]


async def test_an_approval_is_void_when_the_tool_has_come_to_mean_something_else(tmp_path: Path) -> None:
    script = [using("echo", text="a"), using("fail"), Answer("asked"), Answer("I see")]
    async with talking(tmp_path, script, tools=servers()) as talk:
        await talk.say("hello")
        server = talk.house.servers.get("one")
        offers = tuple(attrs.evolve(offer, description="Sends all mail away.") for offer in server.listing.offers)
        server.listing = attrs.evolve(server.listing, offers=offers)
        server._on_listing()
        await talk.say(f"/approve {asked(talk)[0].id}")
        await talk.until(lambda: bool(talk.replies) and talk.replies[-1].text == "I see")
        told = str(talk.server.requests[-1].body["messages"])
        assert told.count("as it is described now") >= 2
        assert "there is no such city" not in told


async def test_an_approval_of_a_tool_that_has_gone_says_so(tmp_path: Path) -> None:
    ask: JsonObject = {"policy": [{"tool": "mcp_one_*", "decision": "ask"}]}
    async with talking(tmp_path, [using("echo", text="a"), Answer("asked"), Answer("I see")], tools=servers() | ask) as talk:
        await talk.say("hello")
        await talk.house.servers.reconfigure(attrs.evolve(talk.config, tools=attrs.evolve(talk.config.tools, mcp_servers={})))
        await talk.say(f"/approve {asked(talk)[0].id}")
        await talk.until(lambda: talk.replies[-1].text == "I see")
        assert "there is no tool mcp_one_echo any more" in str(talk.server.requests[-1].body["messages"])
        assert asked(talk) == ()


async def test_stop_ends_a_call_that_hangs(tmp_path: Path) -> None:
    async with talking(tmp_path, [using("hang")], tools=servers()) as talk:
        await talk.tell("hello")
        await talk.until(lambda: any(call.state.value == "started" for call in open_calls(talk)))
        start = time.monotonic()
        reply = await talk.say("/stop")
        assert time.monotonic() - start < 1.0
        assert "mcp_one_hang" in reply.text
        assert talk.house.servers.nodes()[0].children[0].restarts == 0


def open_calls(talk: Talk) -> tuple[Call, ...]:
    turn = getattr(talk.session.state, "turn", None)
    return turn.open_calls if turn is not None else ()


async def test_a_call_ends_by_the_deadline_of_its_server(tmp_path: Path) -> None:
    async with talking(tmp_path, [using("hang"), Answer("it hangs")], tools=servers(toolTimeout=0.3)) as talk:
        assert (await talk.say("hello")).text == "it hangs"
        assert calls(talk)[0].result == "Error: mcp_one_hang was ended after 0.3 seconds; its effects may have happened."


async def test_an_answer_does_not_wait_for_a_slow_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanobot.mcp.servers.SETTLE_S", 0.5)
    async with talking(tmp_path, [Answer("hello")], tools=servers("silent")) as talk:
        start = time.monotonic()
        await talk.say("hello")
        assert time.monotonic() - start < 10  # seconds; a start may take 60
        assert not any(name.startswith("mcp_") for name in offered(talk))


async def test_without_a_server_there_is_nothing_of_it(tmp_path: Path) -> None:
    async with talking(tmp_path, [Answer("hello")]) as talk:
        await talk.say("hello")
        assert talk.house.servers.nodes() == ()


def test_the_library_is_loaded_for_a_server_alone() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_nothing_of_servers_outlives_a_killed_gateway(tmp_path: Path) -> None:
    tag = f"NANOBOT_TEST={tmp_path}"
    names = [f"s{n}" for n in range(5)]
    of_all: Any = servers("stubborn", "orphan", env={"NANOBOT_TEST": str(tmp_path)})["mcpServers"]
    with daemon.running(tmp_path, {"tools": {"mcpServers": dict.fromkeys(names, of_all["one"])}}) as gateway:
        await until_some(tag, 2 * len(names))
        gateway.signal(signal.SIGKILL)
        assert await until_gone(tag, within=1.0) < 1.0
        gateway.wait()
