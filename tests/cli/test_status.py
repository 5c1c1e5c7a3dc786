from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from nanobot.cli import health, live
from nanobot.config.paths import places
from nanobot.control.tree import session_node
from nanobot.messages import ErrandId, MessageId
from nanobot.session.state import Errand, ErrandKind, Session
from nanobot.supervise.status import Node
from tests.cli.command import CommandLine, process
from tests.cli.test_config_cmd import SECRET, put
from tests.cli.test_entry import HEAVY, imported
from tests.fakes.gateway import STARTED, FakeGateway, listening, tree
from tests.fakes.tty import terminal

TELEGRAM = Node(
    "telegram",
    "channel",
    "waiting",
    STARTED,
    3,
    "HTTP 502 from api.telegram.org",
    "its restart",
    STARTED + 20,
    (("account", "me"),),
)


def test_before_anything_is_set_up(nanobot: CommandLine) -> None:
    ended = nanobot("status")
    folder = nanobot.home / ".nanobot"
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        f"config     {folder}/config.json (missing: defaults are in force; create it with: nanobot onboard)",
        f"data       {folder}",
        f"workspace  {folder}/workspace (missing: create it with: nanobot onboard)",
        "model      demo, from demo (no key is configured)",
        "sessions   0",
        "gateway    not running; start it with: nanobot gateway",
    ]
    assert not folder.exists()


def test_a_line_for_each_provider(nanobot: CommandLine) -> None:
    put(nanobot.home)
    (nanobot.home / ".nanobot" / "journals" / "cli%3adirect").mkdir(parents=True)
    lines = nanobot("status", GROQ="gsk-abcdef", DEEPSEEK_API_KEY="sk-deep").out.splitlines()
    assert lines[3:] == [
        "model      gpt-5.4, from openai (the model gpt-5.4 is served by it)",
        "sessions   1",
        "gateway    not running; start it with: nanobot gateway",
        "provider   openai: key set, at http://***@127.0.0.1/v1",
        "provider   groq: key set",
        "provider   deepseek: key from DEEPSEEK_API_KEY",
    ]


def test_an_effort_that_is_not_asked_for_is_noted(nanobot: CommandLine) -> None:
    environ = {"OPENAI_API_KEY": "k", "NANOBOT_AGENTS__DEFAULTS__REASONING_EFFORT": "high"}
    (line,) = (line for line in nanobot("status", **environ).out.splitlines() if line.startswith("note "))
    assert line.startswith('note       reasoningEffort is "high", but nothing is asked of gpt-5.4')
    assert len(json.loads(nanobot("status", "--json", **environ).out)["notes"]) == 1


def test_json_says_the_same_without_secrets(nanobot: CommandLine) -> None:
    put(nanobot.home)
    ended = nanobot("status", "--json", GROQ="gsk-abcdef")
    told = json.loads(ended.out)
    assert told["model"] == {"name": "gpt-5.4", "provider": "openai", "why": "the model gpt-5.4 is served by it"}
    assert told["providers"][0] == {"name": "openai", "key": "set", "base": "http://***@127.0.0.1/v1"}
    assert SECRET not in ended.out
    assert "gsk-abcdef" not in ended.out


def test_a_model_without_its_key_is_a_mistake(nanobot: CommandLine) -> None:
    ended = nanobot("status", NANOBOT_AGENTS__DEFAULTS__MODEL="claude-opus-4-5")
    assert ended.code == 2
    assert "ANTHROPIC_API_KEY" in ended.err


def test_a_key_of_the_environment_is_not_shown_wherever_it_turns_up(nanobot: CommandLine) -> None:
    ended = nanobot("status", NANOBOT_AGENTS__DEFAULTS__MODEL="openai/plainlookingkey", OPENAI_API_KEY="plainlookingkey")
    assert ended.code == 0
    assert "plainlookingkey" not in ended.out


# --- the gateway


def data(nanobot: CommandLine) -> Path:
    return nanobot.home / ".nanobot"


def test_the_live_tree_is_shown(nanobot: CommandLine) -> None:
    with listening(data(nanobot), FakeGateway(tree(TELEGRAM, Node("web", "channel", "up", STARTED - 9000)))):
        ended = nanobot("status", COLUMNS="80")
    said, empty, *shown = ended.out.splitlines()[5:]
    assert (ended.code, empty) == (0, "")
    assert said.startswith(f"gateway    process {os.getpid()}, nanobot ")
    assert [line.split()[:2] for line in shown if not line.startswith(" " * 20)] == [
        ["gateway", "up"],
        ["control", "up"],
        ["channels", "up"],
        ["telegram", "waiting"],
        ["web", "up"],
    ]


def test_the_tree_in_lines() -> None:
    web = Node("web", "channel", "up", STARTED - 9000, facts=(("connections", "2"),))
    found = list(live.lines(tree(TELEGRAM, web), STARTED + 12))
    assert found == [
        "gateway       up       12 s",
        "  control     up       12 s",
        "  channels    up       12 s",
        "    telegram  waiting  12 s   waits for its restart, 8 s more; 3 restarts; last",
        "                              error: HTTP 502 from api.telegram.org; account me",
        "    web       up       3 h    connections 2",
    ]
    assert max(map(len, found)) <= live.WIDTH


def test_what_waits_for_the_owner_is_shown_with_the_way_to_answer(nanobot: CommandLine) -> None:
    errand = Errand(ErrandId("a1b2c3"), ErrandKind.APPROVAL, "rm -rf build", "", MessageId("m"), tool="exec", expires_at=7200.0)
    node = session_node(Session("telegram:default:42", errands=(errand,)))
    assert list(live.lines(node, 0.0, 100)) == [
        "telegram:42  idle            open requests 1",
        "  a1b2c3     waiting         waits for the owner's word: exec rm -rf build, 2 h more; answer",
        "                             /approve a1b2c3 or /deny a1b2c3 in a chat of the owner",
    ]
    with listening(data(nanobot), FakeGateway(tree(node))):
        assert "/approve a1b2c3 or /deny a1b2c3" in " ".join(nanobot("status").out.split())


def test_what_others_wrote_cannot_steer_the_terminal() -> None:
    (line,) = live.lines(Node("x\x1b[2J", "channel", "up", 0.0, error="\x1b]0;owned\x07"), 0.0, 120)
    assert line == "x\\x1b[2J  up              last error: \\x1b]0;owned\\x07"


def test_a_long_name_leaves_room_for_the_rest() -> None:
    chat = Node("matrix:!" + "x" * 100, "session", "idle", STARTED)
    for line in live.lines(tree(chat), STARTED + 5):
        assert len(line) <= live.WIDTH
        assert line.split()[-3:][1:] == ["5", "s"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s"), (99, "99 s"), (100, "2 min"), (5999, "100 min"), (6000, "2 h"), (172_799, "48 h"), (172_800, "2 days")],
)
def test_spans_of_time(seconds: float, text: str) -> None:
    assert live.ago(seconds) == text


def test_a_gateway_that_hangs_is_said_and_an_error(nanobot: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    data(nanobot).mkdir()
    monkeypatch.setattr(live, "ASK_S", 0.05)
    with socket.socket(socket.AF_UNIX) as hanging:
        hanging.bind(f"{data(nanobot)}/control.sock")
        hanging.listen()
        ended, told = nanobot("status"), nanobot("status", "--json")
    sentence = f"The gateway (process {os.getpid()}) does not answer. Its log says more: nanobot gateway logs"
    assert (ended.code, told.code, f"gateway    {sentence}" in ended.out) == (1, 1, True)
    assert (json.loads(told.out)["gateway"], json.loads(told.out)["gatewayProblem"]) == (None, sentence)


def test_json_has_the_tree_with_exact_times(nanobot: CommandLine) -> None:
    with listening(data(nanobot), FakeGateway(tree(TELEGRAM))):
        told = json.loads(nanobot("status", "--json").out)["gateway"]
    assert (told["pid"], told["state"]) == (os.getpid(), "up")
    (telegram,) = told["children"][1]["children"]
    assert telegram == {
        "name": "telegram",
        "kind": "channel",
        "state": "waiting",
        "since": STARTED,
        "restarts": 3,
        "error": "HTTP 502 from api.telegram.org",
        "waiting": "its restart",
        "until": STARTED + 20,
        "facts": {"account": "me"},
    }


def test_a_tree_of_a_later_version_is_read_as_far_as_it_is_known() -> None:
    said = live.Running({"name": "gateway", "state": "up", "mood": "good", "children": [{"name": "web", "facts": {"n": 1}}, 7]})
    assert said.tree == Node("gateway", "", "up", 0.0, children=(Node("web", "", "", 0.0, facts=(("n", ""),)),))


# --- --health


@pytest.mark.parametrize(("state", "code"), [("up", 0), ("starting", 1), ("stopping", 1)])
def test_health_is_an_exit_code_and_a_line(nanobot: CommandLine, state: str, code: int) -> None:
    with listening(data(nanobot), FakeGateway(tree(Node("telegram", "channel", "parked", STARTED), state=state))):
        ended = nanobot("status", "--health")
        quick = process("status", "--health", home=nanobot.home)
    assert (ended.code, ended.out) == (code, f"{state}; telegram is parked\n")
    assert quick == ended


@pytest.mark.parametrize(
    "arguments", [["--config", "FILE", "--health"], ["--health", "-c", "FILE"], ["--health", "--config=FILE"]]
)
def test_health_without_a_gateway(nanobot: CommandLine, arguments: list[str]) -> None:
    """However it is asked, and whoever answers: the short way or the command line."""
    words = ["status", *(word.replace("FILE", str(nanobot.home / "c.json")) for word in arguments)]
    sentence = "The gateway is not running. Start it: nanobot gateway\n"
    assert [(ended.code, ended.out) for ended in (nanobot(*words), process(*words, home=nanobot.home))] == [(1, sentence)] * 2
    with listening(nanobot.home, FakeGateway()):
        assert process(*words, home=nanobot.home).out == "up\n"


def test_health_looks_where_the_configuration_would_be(nanobot: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(nanobot.home))
    assert os.path.expanduser(health.FOLDER) == str(places().data)


def test_health_imports_nothing_that_it_can_do_without(tmp_path: Path) -> None:
    with listening(tmp_path / ".nanobot", FakeGateway()):
        found = imported("status", "--health", home=tmp_path)
    assert "nanobot.control.client" in found
    assert not found & (HEAVY | {"attrs", "cyclopts", "pathlib", "nanobot.cli.app"})


def test_status_imports_nothing_heavy_with_a_gateway_either(tmp_path: Path) -> None:
    with listening(tmp_path / ".nanobot", FakeGateway()):
        assert not imported("status", home=tmp_path) & HEAVY


# --- --watch


async def test_watching_on_a_terminal_follows_the_gateway(tmp_path: Path) -> None:
    folder = tmp_path / ".nanobot"
    async with terminal("status", "--watch", home=tmp_path) as tty:
        await tty.shows("The gateway is not running")
        with listening(folder, FakeGateway(tree(TELEGRAM))) as gateway:
            await tty.shows("telegram  waiting")
            gateway.root = tree(Node("telegram", "channel", "up", STARTED))
            await tty.shows("telegram  up")
        await tty.shows("The gateway is not running")
        await tty.types("\x03")
        assert await tty.ended() == 0


def test_watching_without_a_terminal_says_what_changes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nanobot", "status", "--watch"]
    environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    with (
        listening(tmp_path / ".nanobot", FakeGateway(tree(TELEGRAM))) as gateway,
        subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as watching,
    ):
        assert watching.stdout is not None
        first = [watching.stdout.readline().split(maxsplit=2)[2] for _ in range(4)]
        gateway.root = tree(Node("telegram", "channel", "up", STARTED))
        changed = watching.stdout.readline().split(maxsplit=2)[2]
        watching.send_signal(2)
        assert watching.wait(10) == 0
    assert first == [
        "gateway: up\n",
        "gateway/control: up\n",
        "gateway/channels: up\n",
        "gateway/channels/telegram: waiting; waits for its restart; last error: HTTP 502 from api.telegram.org\n",
    ]
    assert changed == "gateway/channels/telegram: up\n"
