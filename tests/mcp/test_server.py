"""Servers that hang, die, lie and flood: each ends a call with an error by its deadline, and changes nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from nanobot.config.schema import McpServerConfig
from nanobot.mcp import server as owner
from nanobot.mcp.framing import Lines
from nanobot.mcp.line import TOO_LARGE
from nanobot.mcp.listing import MOST_TOOLS
from nanobot.tools.registry import Tools
from tests.fakes.mcp_server import ABOUT
from tests.fakes.processes import children, descriptors, until_gone, until_some, with_tag
from tests.mcp.kit import PATIENCE_S, configured, keeping, misbehaving, one

AT_ONCE_S = 1.0


async def test_a_good_neighbour(tmp_path: Path) -> None:
    async with one(tmp_path) as kept:
        assert kept.names() == sorted(f"mcp_one_{name}" for name in ABOUT)
        result = await kept.call("mcp_one_echo", text="hello")
        assert (result.text, result.failed, result.tainted) == ("hello", False, True)
        assert dict(kept.node().facts)["server"] == "misbehaving 1, protocol 2025-11-25"


async def test_it_sees_an_allow_list_of_the_environment(tmp_path: Path) -> None:
    config = configured(one=misbehaving(env={"TOKEN_FOR_IT": "t"}))
    async with keeping(tmp_path, config, OPENAI_API_KEY="secret", LANG="de_DE.UTF-8") as kept:
        seen = json.loads((await kept.call("mcp_one_environment")).text)
    assert seen.keys() - {"LC_CTYPE", "PWD", "SHLVL", "_"} == {"PATH", "LANG", "TOKEN_FOR_IT"}


@pytest.mark.parametrize(
    ("tool", "said"),
    [
        ("fail", "Error: there is no such city"),
        ("error", "Error: the server says: no<U+001B>[2J"),
        ("nonsense", "Error: what the server answered is no result of the protocol"),
        ("huge", f"Error: the server says: {TOO_LARGE}"),
        ("crumbs", f"Error: the server says: {TOO_LARGE}"),
        ("huge_id_last", f"Error: the server says: {TOO_LARGE}"),
    ],
)
async def test_an_error_is_told_and_the_server_lives_on(tmp_path: Path, tool: str, said: str) -> None:
    async with one(tmp_path) as kept:
        beside: list[str] = []

        async def other() -> None:
            beside.append((await kept.call("mcp_one_echo", text="beside")).text)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            result = await kept.call(f"mcp_one_{tool}")
        assert (result.text, result.failed, result.tainted) == (said, True, True)
        assert beside == ["beside"]
        assert (await kept.call("mcp_one_echo", text="after")).text == "after"
        assert kept.node().restarts == 0


@pytest.mark.parametrize(("tool", "text"), [("rude", "a<U+001B>[2Jb<U+202E>c"), ("noise", "quiet"), ("ask", "asked")])
async def test_what_does_no_harm(tmp_path: Path, tool: str, text: str) -> None:
    async with one(tmp_path) as kept:
        assert (await kept.call(f"mcp_one_{tool}")).text == text
        assert kept.node().restarts == 0


async def test_pictures(tmp_path: Path) -> None:
    async with one(tmp_path) as kept:
        result = await kept.call("mcp_one_picture")
    assert [image.mime for image in result.attachments] == ["image/png"]
    assert "application/octet-stream" in result.text
    assert "no base64" in result.text


async def test_a_call_that_hangs_is_cancelled_at_once_and_the_server_told(tmp_path: Path) -> None:
    told = tmp_path / "cancelled"
    async with keeping(tmp_path, configured(one=misbehaving(env={"CANCELLED": str(told)}))) as kept:
        with trio.move_on_after(0.2) as scope:
            await kept.call("mcp_one_hang")
        assert trio.current_time() - scope.deadline < owner.LET_GO_S
        assert (await kept.call("mcp_one_echo", text="after")).text == "after"
        assert told.read_text().strip().isdigit()
        assert kept.node().restarts == 0


async def test_a_server_that_dies_in_a_call_is_started_anew(tmp_path: Path) -> None:
    async with one(tmp_path) as kept:
        result = await kept.call("mcp_one_die")
        assert result.failed
        assert result.text == "Error: the connection to one ended: it ended with exit code 3: I am dying of it"
        assert (await kept.call("mcp_one_echo", text="again")).text == "again"
        assert kept.node().restarts == 1
        assert kept.changes == 1  # what it offers stood all the time


async def test_a_flood_ends_the_server_and_not_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanobot.mcp.stdio.Lines", partial(Lines, discard=30_000_000))
    async with one(tmp_path) as kept:
        result = await kept.call("mcp_one_flood")
        assert "it sent a line of more than 28 MiB" in result.text
        assert (await kept.call("mcp_one_echo", text="again")).text == "again"


@pytest.mark.parametrize("tool", ["chatter", "garbage", "requests", "answers", "parcels"])
async def test_chatter_ends_the_server_and_not_us(tmp_path: Path, tool: str) -> None:
    async with one(tmp_path) as kept:
        assert re.search(r"it sent more than \S+ (MiB of )?messages in a second", (await kept.call(f"mcp_one_{tool}")).text)
        assert (await kept.call("mcp_one_echo", text="again")).text == "again"


async def test_a_server_that_reads_nothing_more_holds_nobody(tmp_path: Path) -> None:
    async with one(tmp_path) as kept:
        assert (await kept.call("mcp_one_stop_reading")).text == "good night"
        with trio.move_on_after(0.3) as scope:
            await kept.call("mcp_one_echo", text="x" * 2_000_000)  # more than a pipe takes
        assert trio.current_time() - scope.deadline < AT_ONCE_S
        await kept.until(lambda: kept.node().restarts == 1)
        assert (await kept.call("mcp_one_echo", text="again")).text == "again"


async def test_what_is_asked_while_it_starts_waits_for_it(tmp_path: Path) -> None:
    async with one(tmp_path) as kept:
        tools, turn = Tools(kept.servers.tools, 16_000), kept.turn()
        await kept.servers.restart("one")
        result = await tools.run("mcp_one_echo", '{"text": "early"}', turn)
        assert result.text == "early"


async def test_what_is_asked_of_one_that_is_given_up_ends_at_once(tmp_path: Path) -> None:
    async with keeping(tmp_path, configured(one=misbehaving(), two=misbehaving())) as kept:
        await kept.until_up()
        tools, turn = Tools(kept.servers.tools, 16_000), kept.turn()
        object.__setattr__(kept.get().config, "command", "no-such-program")
        await kept.servers.restart("one")
        await kept.until(lambda: kept.node().state == "parked")
        start = time.monotonic()
        result = await tools.run("mcp_one_echo", '{"text": "x"}', turn)
        assert time.monotonic() - start < AT_ONCE_S
        assert "the server one cannot be reached now: its program cannot be run: " in result.text
        assert all(name.startswith("mcp_two_") for name in kept.names())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("[1]", "the arguments must be an object"),
        ('{"text": ', "the arguments are not valid JSON"),
        ("[" * 9000, "not valid JSON"),
    ],
)
async def test_arguments_that_are_none(tmp_path: Path, arguments: str, said: str) -> None:
    async with one(tmp_path) as kept:
        result = await Tools(kept.servers.tools, 16_000).run("mcp_one_echo", arguments, kept.turn())
    assert result.failed
    assert said in result.text


# --- lists


async def test_malformed_tools_hide_no_others(tmp_path: Path) -> None:
    async with one(tmp_path, "malformed") as kept:
        assert {"mcp_one_echo", "mcp_one_odd_output", "mcp_one_odd_annotations"} <= set(kept.names())
        assert int(dict(kept.node().facts)["left out"]) == 9
        assert (await kept.call("mcp_one_echo", text="hello")).text == "hello"


@pytest.mark.parametrize("trait", ["crowded", "endless"])
async def test_lists_without_measure_are_cut(tmp_path: Path, trait: str) -> None:
    async with one(tmp_path, trait) as kept:
        assert 0 < len(kept.names()) <= MOST_TOOLS


async def test_changed_lists_are_read_again(tmp_path: Path) -> None:
    async with one(tmp_path) as kept:
        before = kept.names()
        await kept.call("mcp_one_grow")
        await kept.until(lambda: "mcp_one_grown_0" in kept.names())
        assert kept.names() == sorted([*before, "mcp_one_grown_0"])


async def test_a_server_that_cries_is_not_looked_at_all_the_time(tmp_path: Path) -> None:
    async with one(tmp_path) as kept:
        await kept.call("mcp_one_cry")
        assert (await kept.call("mcp_one_echo", text="still")).text == "still"
        assert kept.changes == 1


async def test_only_what_is_enabled(tmp_path: Path) -> None:
    async with keeping(tmp_path, configured(one=misbehaving(enabled_tools=("echo", "mcp_one_hang")))) as kept:
        assert kept.names() == ["mcp_one_echo", "mcp_one_hang"]


# --- starts and ends


@pytest.mark.parametrize(
    ("traits", "state", "error"),
    [
        (("exits",), "waiting", "it ended with exit code 4: there is no key"),
        (("no-such-program",), "parked", "its program cannot be run: "),
    ],
)
async def test_a_server_that_does_not_start(tmp_path: Path, traits: tuple[str, ...], state: str, error: str) -> None:
    broken = misbehaving(*traits) if "exits" in traits else McpServerConfig(command=traits[0])
    async with keeping(tmp_path, configured(one=broken, two=misbehaving())) as kept:
        await kept.until(lambda: kept.node().state == state)
        assert kept.node().error.startswith(error)
        assert (await kept.call("mcp_two_echo", text="I do")).text == "I do"


async def test_a_program_that_is_no_server_and_never_quiet(tmp_path: Path) -> None:
    async with keeping(tmp_path, configured(one=McpServerConfig(command="yes"))) as kept:
        await kept.until(lambda: kept.node().error)
        assert "messages in a second that nobody had asked for" in kept.node().error


async def test_a_silent_one_is_waited_for_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "START_S", 0.5)
    async with keeping(tmp_path, configured(one=misbehaving("silent"))) as kept:
        await kept.until(lambda: kept.node().state == "waiting")
        assert kept.node().error == "it did not answer within 0.5 s"


async def test_nobody_waits_longer_than_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanobot.mcp.servers.SETTLE_S", 2.0)
    async with keeping(tmp_path, configured(one=misbehaving("silent")), settle=False) as kept:
        start = trio.current_time()
        await kept.servers.settled()
        assert 1.5 < trio.current_time() - start < 2.5
        start = trio.current_time()
        await kept.servers.settled()
        assert trio.current_time() - start < 0.1


@pytest.mark.parametrize("traits", [(), ("stubborn",), ("orphan",), ("silent",), ("stubborn", "orphan")])
async def test_nothing_is_left_after_the_end(tmp_path: Path, traits: tuple[str, ...]) -> None:
    tag = f"NANOBOT_TEST={tmp_path}"
    before, others = descriptors(), children()
    async with trio.open_nursery() as nursery:
        servers = {f"s{n}": misbehaving(*traits, env={"NANOBOT_TEST": str(tmp_path)}) for n in range(5)}
        async with keeping(tmp_path, configured(**servers), settle=False) as kept:
            nursery.start_soon(until_some, tag, 5)
            if "silent" not in traits:
                for name in servers:
                    await kept.until_up(name)
            await until_some(tag, 5)
            start = time.monotonic()
        assert time.monotonic() - start < AT_ONCE_S
    assert with_tag(tag) == []
    assert children() <= others
    assert descriptors() == before


async def test_a_call_ends_with_its_server(tmp_path: Path) -> None:
    said: list[str] = []
    async with one(tmp_path) as kept, trio.open_nursery() as nursery:

        async def hang() -> None:
            said.append((await kept.call("mcp_one_hang")).text)

        nursery.start_soon(hang)
        await trio.testing.wait_all_tasks_blocked(0.2)
        await kept.servers.restart("one")
    assert said == ["Error: the connection to one ended: it is being ended"]


KILLED = """
import sys, trio
from pathlib import Path
from tests.mcp.kit import configured, keeping, misbehaving

async def main():
    servers = {f"s{n}": misbehaving("orphan", "stubborn", env={"NANOBOT_TEST": sys.argv[1]}) for n in range(3)}
    async with keeping(Path(sys.argv[1]), configured(**servers)):
        print("up", flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


async def test_a_killed_owner_leaves_no_server(tmp_path: Path) -> None:
    tag = f"NANOBOT_TEST={tmp_path}"
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    run = partial(trio.run_process, command, cwd=Path(owner.__file__).parents[2], stdout=subprocess.PIPE, check=False)
    async with trio.open_nursery() as nursery:
        process = await nursery.start(run)
        with trio.fail_after(PATIENCE_S):
            assert (await process.stdout.receive_some()).startswith(b"up")
        assert len(with_tag(tag)) >= 6
        process.kill()
    assert await until_gone(tag, within=1.0) < 1.0


async def test_a_new_configuration_starts_and_ends_only_what_it_concerns(tmp_path: Path) -> None:
    async with keeping(tmp_path, configured(one=misbehaving(), two=misbehaving())) as kept:
        await kept.until_up("one")
        await kept.until_up("two")
        since = kept.node("one").since
        await kept.servers.reconfigure(configured(three=misbehaving(), one=misbehaving()))
        await kept.until_up("three")
        assert [node.name for node in kept.servers.nodes()[0].children] == ["three", "one"]
        assert kept.node("one").since == since
        assert [name.split("_")[1] for name in kept.names()] == ["three"] * len(ABOUT) + ["one"] * len(ABOUT)
