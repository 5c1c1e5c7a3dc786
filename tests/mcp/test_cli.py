"""`nanobot mcp`, and what doctor says of servers."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from nanobot.cli.checks_mcp import mcp
from nanobot.cli.findings import Facts, Verdict
from nanobot.config.load import load
from nanobot.config.paths import Places
from nanobot.config.schema import Config, McpServerConfig, ToolsConfig
from nanobot.mcp.auth_file import AuthFile, Login
from tests.cli.command import CommandLine
from tests.fakes import daemon, mcp_server

SERVER = {"command": sys.executable, "args": [mcp_server.__file__]}


@pytest.fixture
def nanobot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(tmp_path, monkeypatch, capsys)


@pytest.fixture
def file(nanobot: CommandLine) -> Path:
    """The configuration, not there yet."""
    folder = nanobot.home / ".nanobot"
    folder.mkdir(mode=0o700)
    return folder / "config.json"


def servers_in(file: Path) -> Any:
    return json.loads(file.read_text())["tools"]["mcpServers"]


def test_a_program_is_added_listed_tried_and_removed(nanobot: CommandLine, file: Path) -> None:
    added = nanobot(
        "mcp", "add", "one", "--env", "KEY=${SOME_KEY}", "--", sys.executable, mcp_server.__file__, "-x", SOME_KEY="k"
    )
    assert (added.code, added.out.split(".")[0]) == (0, "one was added")
    assert servers_in(file) == {
        "one": {"command": sys.executable, "args": [mcp_server.__file__, "-x"], "env": {"KEY": "${SOME_KEY}"}}
    }
    assert json.loads(file.read_text())["configVersion"] == 1
    listed = nanobot("mcp", "list", SOME_KEY="k").out
    assert listed.startswith("one  ")
    assert "The gateway is not running" in listed
    tried = nanobot("mcp", "test", "one", SOME_KEY="k")
    assert tried.code == 0
    assert tried.out.splitlines()[0] == "one answers: misbehaving 1, protocol 2025-11-25"
    assert "  mcp_one_look (reads)  Changes nothing, it says." in tried.out.splitlines()
    assert nanobot("mcp", "remove", "one", SOME_KEY="k").code == 0
    assert servers_in(file) == {}


def test_for_programs(nanobot: CommandLine, file: Path) -> None:
    server = {**SERVER, "args": [mcp_server.__file__, "malformed"]}
    file.write_text(json.dumps({"configVersion": 1, "tools": {"mcpServers": {"one": server}}}))
    assert json.loads(nanobot("mcp", "list", "--json").out)["servers"][0]["name"] == "one"
    tried = json.loads(nanobot("mcp", "test", "one", "--json").out)
    [echo] = [offer for offer in tried["offers"] if offer["there"] == "echo"]
    assert (echo["name"], echo["kind"], echo["reads"]) == ("mcp_one_echo", "tool", False)
    assert len(tried["leftOut"]) == 9


@pytest.mark.parametrize(
    ("url", "network"),
    [
        ("https://mcp.example.com/mcp", None),
        ("http://127.0.0.1:8000/mcp", "127.0.0.0/8"),
        ("http://localhost:8000/sse", "127.0.0.0/8"),
        ("http://[::1]:8000/mcp", "::1/128"),
        ("http://192.168.1.7/mcp", "192.168.1.7/32"),
    ],
)
def test_an_address_of_the_inside_is_opened_for_that_server_alone(
    nanobot: CommandLine, file: Path, url: str, network: str | None
) -> None:
    ended = nanobot("mcp", "add", "one", "--url", url, "--header", "x-key=k")
    assert ended.code == 0
    assert servers_in(file)["one"].get("networks", [None]) == [network]
    assert servers_in(file)["one"]["headers"] == {"x-key": "k"}
    assert ("lets this server, and nothing else" in ended.out) is (network is not None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["add", "one"], "A server is a program"),
        (["add", "one", "--url", "https://a.example", "--", "npx"], "A server is a program"),
        (["add", "", "--", "npx"], "is no name for a server"),
        (["add", "a b/c", "--", "npx"], "is no name for a server"),
        (["add", "a\x1b[2J", "--", "npx"], r"a\u001b[2J"),
        (["add", "x" * 33, "--", "npx"], "is no name for a server"),
        (["add", "my_own", "--", "npx"], "would be called like those of my own"),
        (["add", "one", "--url", "http://[::1"], "http://[::1 is no address"),
        (["add", "one", "--url", "a.example/mcp"], "is no address"),
        (["add", "one", "--url", "https://"], "is no address"),
        (["add", "one", "--url", "https://a.example:99999"], "is no address"),
        (["add", "one", "--url", "https://a.example", "--env", "A=1"], "--env is for a program"),
        (["add", "one", "--header", "A=1", "--", "npx"], "--header for an address"),
        (["add", "one", "--env", "A B=1", "--", "npx"], "--env and --header take NAME=VALUE"),
        (["test", "bad"], "bad cannot be used: url is no address"),
        (["add", "one", "--env", "KEY", "--", "npx"], "--env and --header take NAME=VALUE"),
        (["test", "none"], "There is no MCP server none. There are: files, my own, bad"),
        (["login", "files"], "files is a program of this machine and needs no login"),
        (["remove", "none"], "names no MCP server none. It names: files, my own, bad"),
        (["restart", "files"], "The gateway is not running"),
        (["test", "files"], "files cannot be used: its program cannot be run: "),
    ],
)
def test_what_is_wrong_is_said(nanobot: CommandLine, file: Path, words: list[str], said: str) -> None:
    missing = {"command": "no-such-program"}
    servers = {"files": missing, "my own": missing, "bad": {"url": "https://a.example:99999/?token=secret"}}
    file.write_text(json.dumps({"configVersion": 1, "tools": {"mcpServers": servers}}))
    before = file.read_text()
    ended = nanobot("mcp", *words)
    assert (ended.code, ended.out) == (1, "")
    assert said in ended.err
    assert "token" not in ended.err
    assert file.read_text() == before


def test_a_list_shows_where_a_server_is_and_no_secret(nanobot: CommandLine, file: Path) -> None:
    urls = ["https://me:secret@a.example:8443/mcp?token=secret", "http://[::1"]
    servers = {f"s{n}": {"url": url} for n, url in enumerate(urls)}
    file.write_text(json.dumps({"configVersion": 1, "tools": {"mcpServers": servers}}))
    assert [line.split()[1:] for line in nanobot("mcp", "list").out.splitlines()[:2]] == [
        ["https://a.example:8443/mcp"],
        ["(no", "address)"],
    ]


def test_all_else_in_the_file_stays_as_it_is(nanobot: CommandLine, file: Path) -> None:
    written = {"agents": {"defaults": {"model": "${MODEL}"}}, "tools": {"mcp_servers": {"a": SERVER}}}
    file.write_text(json.dumps(written))
    assert nanobot("mcp", "add", "b", "--", "npx", MODEL="m").code == 0
    now = json.loads(file.read_text())
    assert now["agents"] == written["agents"]
    assert list(now["tools"]["mcp_servers"]) == ["a", "b"]
    assert "configVersion" not in now


def test_comments_are_not_lost(nanobot: CommandLine) -> None:
    file = nanobot.home / ".nanobot" / "config.yaml"
    file.parent.mkdir(mode=0o700)
    file.write_text("# mine\nconfigVersion: 1\n")
    ended = nanobot("mcp", "add", "one", "--", "npx")
    assert ended.code == 1
    assert "holds comments, which this command would lose" in ended.err
    assert file.read_text() == "# mine\nconfigVersion: 1\n"


def test_a_login_goes_with_its_server(nanobot: CommandLine, file: Path) -> None:
    file.write_text(json.dumps({"configVersion": 1, "tools": {"mcpServers": {"one": {"url": "https://a.example/mcp"}}}}))
    logins = AuthFile.below(file.parent)
    logins.put("one", Login("https://a.example/mcp", {"access_token": "a-secret-token"}, {}))
    assert nanobot("mcp", "remove", "one").code == 0
    assert logins.of("one", "https://a.example/mcp") is None


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[daemon.Daemon]:
    config = {"tools": {"mcpServers": {"good": SERVER, "bad": {"command": "no-such-program"}}}}
    with daemon.running(tmp_path, config) as running:  # type: ignore[arg-type]  # nothing but JSON is in it
        yield running


def test_the_gateway_shows_its_servers_takes_new_ones_up_and_connects_anew(gateway: daemon.Daemon) -> None:
    def nodes() -> dict[str, Any]:
        tree: Any = gateway.status()
        groups = [group for group in tree["children"] if group["name"] == "mcp"]
        return {node["name"]: node for group in groups for node in group.get("children", ())}

    wait_until(lambda: nodes().get("good", {}).get("state") == "up" and nodes()["bad"]["state"] == "parked")
    assert nodes()["bad"]["error"].startswith("its program cannot be run")
    listed = daemon.nanobot("mcp", "list", folder=gateway.folder).stdout
    assert "parked" in listed
    assert f"offers {len(mcp_server.ABOUT)}" in listed
    assert daemon.nanobot("mcp", "restart", "bad", folder=gateway.folder).returncode == 0
    assert daemon.nanobot("mcp", "remove", "bad", folder=gateway.folder).returncode == 0
    since = nodes()["good"]["since"]
    gateway.ask(do="reload")
    wait_until(lambda: list(nodes()) == ["good"])
    assert nodes()["good"]["since"] == since


def wait_until(fact: Callable[[], object]) -> None:
    until = time.monotonic() + daemon.PATIENCE_S
    while not fact():
        assert time.monotonic() < until
        time.sleep(0.05)


# --- doctor


def facts(**servers: McpServerConfig) -> Facts:
    config = attrs.evolve(Config(), tools=attrs.evolve(ToolsConfig(), mcp_servers=servers))
    return Facts(Places(Path("/nowhere/config.json"), named=False), {"PATH": "/usr/bin:/bin"}, config)


@pytest.mark.parametrize(
    ("server", "verdict", "said"),
    [
        (McpServerConfig(command="sh"), Verdict.OK, "nanobot mcp test one"),
        (McpServerConfig(url="https://a.example/mcp"), Verdict.OK, "1 set up"),
        (McpServerConfig(), Verdict.BAD, "neither command nor url"),
        (McpServerConfig(command="sh", url="https://a.example"), Verdict.BAD, "leave one of them out"),
        (McpServerConfig(command="no-such-program"), Verdict.BAD, "there is no program no-such-program on the PATH"),
        (McpServerConfig(url="ftp://a.example"), Verdict.BAD, "no address that begins with https://"),
        (McpServerConfig(url="http://127.0.0.1:1/mcp"), Verdict.WARN, '"networks": ["127.0.0.0/8"]'),
        (McpServerConfig(url="http://127.0.0.1:1/mcp", networks=("127.0.0.0/8",)), Verdict.OK, "1 set up"),
        (McpServerConfig(url="http://a.example/mcp"), Verdict.WARN, "not encrypted"),
        (McpServerConfig(url="https://a.example/mcp", headers={"x-key": " "}), Verdict.WARN, "the header x-key is empty"),
    ],
)
def test_doctor(server: McpServerConfig, verdict: Verdict, said: str) -> None:
    found = mcp(facts(one=server))
    assert (found.verdict, said in found.text) == (verdict, True)


def test_doctor_names_the_extra_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    found = mcp(facts(one=McpServerConfig(command="sh")))
    assert (found.verdict, "pip install 'nanobot[mcp]'" in found.text) == (Verdict.BAD, True)


def test_a_file_of_hkuds_loads(tmp_path: Path) -> None:
    section = {
        "type": None,
        "command": "npx",
        "args": ["-y", "x"],
        "env": {"A": "b"},
        "url": "",
        "headers": {},
        "toolTimeout": 30,
        "enabledTools": ["*"],
    }
    (tmp_path / "config.json").write_text(json.dumps({"tools": {"mcpServers": {"my server": section}}}))
    loaded = load(tmp_path / "config.json", {})
    assert loaded.warnings == ()
    assert loaded.config.tools.mcp_servers["my server"] == McpServerConfig(command="npx", args=("-y", "x"), env={"A": "b"})
    assert "'b'" not in repr(loaded.config)
