"""`nanobot doctor`: from a healthy instance each test breaks one thing and sees one line change."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import attrs
import pytest

import nanobot.guide
from nanobot.cli import live
from nanobot.cli.checks import CHECKS, examine
from nanobot.cli.doctor import gather
from nanobot.cli.findings import Facts, Finding, Verdict, bad, ok, warn
from nanobot.cli.findings import isolation as really
from nanobot.journal import names
from nanobot.memory.store import MemoryStore
from nanobot.processes.sandbox import Isolation
from nanobot.scheduler.jobs import JobId, Outcome, Run, Slot
from nanobot.scheduler.runs import Runs
from nanobot.supervise.status import Node
from tests.cli.command import CommandLine
from tests.fakes.gateway import STARTED, FakeGateway, listening, tree
from tests.session.talks import KEY, journals_in, written

OWNED = {"owners": ["telegram:1"]}
CONFIG = {
    "configVersion": 1,
    "agents": {"defaults": {"model": "gpt-5.4"}},
    "providers": {"openai": {"apiKey": "${OPENAI_API_KEY}"}},
    "tools": {"exec": {"enable": False}},
    "gateway": OWNED,
}
ENVIRON = {"OPENAI_API_KEY": "sk-abcdefghijklmnopqrstuv", "PATH": os.environ["PATH"]}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where nothing is wrong."""
    written(journals_in(tmp_path), KEY, lambda one: one.exchange("hi", "hello"))
    data = tmp_path / ".nanobot"
    (data / "workspace").mkdir()
    put(data / "config.json", CONFIG)
    return tmp_path


def put(path: Path, config: object) -> None:
    path.write_text(json.dumps(config))
    path.chmod(0o600)


def changed(**parts: object) -> str:
    return json.dumps({**CONFIG, **parts})


def facts(home: Path, monkeypatch: pytest.MonkeyPatch, **environ: str) -> Facts:
    for name in list(os.environ):
        if name.startswith("NANOBOT_") or name.endswith("_API_KEY"):
            monkeypatch.delenv(name)
    for name, value in {**ENVIRON, "HOME": str(home), **environ}.items():
        monkeypatch.setenv(name, value)
    return attrs.evolve(gather(None), now=1_790_100_000.0, isolated=lambda *_: Isolation(True), free_bytes=lambda _path: 2**40)


def test_nothing_is_wrong(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    findings = examine(facts(home, monkeypatch))
    assert {name: found for name, found in findings.items() if found.verdict is not Verdict.OK} == {}


def in_file(name: str, text: str) -> Callable[[Path], None]:
    def write(data: Path) -> None:
        path = data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return write


def without_workspace(data: Path) -> None:
    (data / "workspace").rmdir()


def file_for_workspace(data: Path) -> None:
    (data / "workspace").rmdir()
    (data / "workspace").touch()


def damage(data: Path) -> None:
    (path,) = data.glob("journals/*/*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"damage\n", *lines[2:]]))


def too_new(data: Path) -> None:
    (path,) = data.glob("journals/*/*.jsonl")
    path.write_bytes(b'{"crc":"00000000","format":9,"least":9}\n')


def leave_unfinished(data: Path) -> None:
    written(journals_in(data.parent), "telegram:default:42", lambda one: one.ask("still there?"))


def loose_socket(data: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(f"{data}/control.sock")
    (data / "control.sock").chmod(0o666)


def journals_are_a_file(data: Path) -> None:
    for path in (data / "journals").glob("*/*"):
        path.unlink()
    (data / "journals" / names.encode(KEY)).rmdir()
    (data / "journals").rmdir()
    (data / "journals").touch(mode=0o600)


def tools(**settings: object) -> Callable[[Path], None]:
    return in_file("config.json", changed(tools={"exec": {"enable": False}, **settings}))


def web(**settings: object) -> Callable[[Path], None]:
    return in_file("config.json", changed(channels={"web": settings}))


def gateway(**settings: object) -> Callable[[Path], None]:
    return in_file("config.json", changed(gateway={**OWNED, **settings}))


def rule(**settings: object) -> dict[str, object]:
    return {"decision": "allow", **settings}


def wide(name: str, mode: int = 0o644) -> Callable[[Path], None]:
    def open_up(data: Path) -> None:
        (path,) = data.glob(name) if "*" in name else [data / name]
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if not path.exists():
            path.touch()
        path.chmod(mode)

    return open_up


def with_keys(mode: int, **parts: object) -> Callable[[Path], None]:
    def write(data: Path) -> None:
        (data / "config.json").write_text(changed(**parts))
        (data / "config.json").chmod(mode)

    return write


def a_link_for_memory(data: Path) -> None:
    a_long_memory(data)
    memory = data / "workspace" / "memory"
    memory.joinpath("MEMORY.md").unlink()
    memory.joinpath("MEMORY.md").symlink_to("/etc/hosts")


def a_long_memory(data: Path) -> None:
    in_file("workspace/memory/MEMORY.md", "x" * 70 * 1024)(data)
    with closing(MemoryStore(data / "memory.db", data / "workspace")) as store:
        store.look()


def jobs(*rows: dict[str, object]) -> Callable[[Path], None]:
    job = {"id": "11111111", "schedule": {"kind": "every", "everyMs": 60_000}, "payload": {"message": "x"}}
    return in_file("cron/jobs.json", json.dumps({"jobs": [{**job, **row} for row in rows]}))


def a_run_that_failed(data: Path) -> None:
    jobs({})(data)
    with closing(Runs(data / "cron" / "runs.db")) as runs:
        runs.commit([Run(JobId("11111111"), Slot(1), Outcome.FAILED, 1, error="no key")], {})


WITH_KEY = changed(providers={"openai": {"apiKey": "sk-abcdefghijklmnopqrstuv"}})

BREAK_FILES: list[tuple[str, Callable[[Path], None], str, Verdict, str]] = [
    ("config", in_file("config.json", changed(gatewy={})), "config", Verdict.BAD, "did you mean gateway"),
    ("their key", in_file("config.json", changed(modelPresets={})), "config", Verdict.WARN, "nanobot config show"),
    ("mode of config", lambda data: (data / "config.json").chmod(0o644), "config mode", Verdict.BAD, "chmod 600 "),
    ("mode of data", lambda data: data.chmod(0o755), "data mode", Verdict.BAD, "chmod 700 "),
    ("workspace", without_workspace, "workspace", Verdict.WARN, "nanobot onboard"),
    ("workspace a file", file_for_workspace, "workspace", Verdict.BAD, "move it away"),
    ("damage", damage, "sessions", Verdict.BAD, "nanobot sessions show"),
    ("too new", too_new, "sessions", Verdict.BAD, "newer nanobot"),
    ("no journals", journals_are_a_file, "sessions", Verdict.BAD, "ls -la"),
    ("unfinished", leave_unfinished, "unfinished", Verdict.WARN, "telegram:42. Opening one goes on with it: nanobot chat"),
    ("HKUDS", in_file("workspace/sessions/cli_direct.jsonl", "{}"), "earlier files", Verdict.WARN, "guide differences"),
    ("HKUDS, late", in_file("sessions/0123/Y2xp.jsonl", "{}"), "earlier files", Verdict.WARN, "guide differences"),
    ("a key", in_file("config.json", WITH_KEY), "keys", Verdict.WARN, '"apiKey": "${OPENAI_API_KEY}"'),
    ("no owners", in_file("config.json", changed(gateway={})), "owners", Verdict.WARN, '"owners": ["telegram:12345"]'),
    (
        "everybody",
        in_file("config.json", changed(channels={"web": {"allowFrom": ["*"]}})),
        "open to all",
        Verdict.WARN,
        "name them",
    ),
    ("host", in_file("config.json", changed(gateway={**OWNED, "host": "0.0.0.0"})), "address", Verdict.BAD, '"token": "${'),
    ("loose socket", loose_socket, "socket", Verdict.BAD, "chmod 600 "),
    (
        "hosts",
        in_file("config.json", changed(gateway={**OWNED, "allowedHosts": ["*"]})),
        "allowed hosts",
        Verdict.WARN,
        "'*' fits no",
    ),
    ("no store", in_file("memory.db", "no database" * 100), "memory", Verdict.BAD, "cannot be used: file is not a database"),
    ("no memory", a_link_for_memory, "memory", Verdict.WARN, "memory/MEMORY.md is a link out of the workspace"),
    ("long", a_long_memory, "memory", Verdict.WARN, "memory/MEMORY.md is 70 KiB long: prompts take 64 KiB"),
    ("no jobs", in_file("cron/jobs.json", "{oops"), "cron", Verdict.BAD, "is damaged"),
    ("jobs aside", in_file("cron/jobs.json.corrupt-1", ""), "cron", Verdict.WARN, "take from it what is missing"),
    ("no job", jobs({}, {"id": "2", "schedule": {}}), "cron", Verdict.WARN, "entry 2 is left out"),
    ("over", jobs({"schedule": {"kind": "at", "atMs": 1}}), "cron", Verdict.WARN, "11111111 is never due again"),
    ("over and off", jobs({"schedule": {"kind": "at", "atMs": 1}, "enabled": False}), "cron", Verdict.OK, "0 on, 1 off"),
    ("not told", jobs({"payload": {"message": "x", "sessionKey": "telegram:1"}}), "cron", Verdict.WARN, "which is not enabled"),
    ("failed", a_run_that_failed, "cron", Verdict.WARN, "11111111: its last run ended so: failed no key"),
    ("groups", web(groupPolicy="open"), "groups", Verdict.WARN, "channels.web.groupPolicy is open"),
    ("approvals", tools(approvals={"expireS": 8 * 86400}), "approvals", Verdict.WARN, "8 days"),
    ("network", tools(exec={"network": True}), "command network", Verdict.WARN, "tools.exec.network"),
    ("unrestricted", tools(restrictToWorkspace=False), "file tools", Verdict.WARN, "tools.restrictToWorkspace is false"),
    ("all networks", tools(ssrfWhitelist=["0.0.0.0/0"]), "inner networks", Verdict.BAD, "is nearly everything"),
    ("all of IPv6", tools(ssrfWhitelist=["192.168.0.0/16", "::/0"]), "inner networks", Verdict.BAD, "::/0 is nearly"),
    ("metadata", tools(ssrfWhitelist=["169.254.169.254/32"]), "inner networks", Verdict.BAD, "keys of this machine"),
    (
        "no search key",
        tools(web={"search": {"provider": "kagi"}}),
        "web search",
        Verdict.BAD,
        "or KAGI_API_KEY: nanobot guide tools",
    ),
    ("rule", tools(policy=[rule(tool="exec", who="paired")]), "policy", Verdict.WARN, "tools.policy[0] allows exec for paired"),
    (
        "rules",
        tools(policy=[rule(tool="read_file"), rule(tool="*instructions", who="owner")]),
        "policy",
        Verdict.WARN,
        "tools.policy[1] allows write_file:instructions and edit_file:instructions and apply_patch:instructions for owner, "
        "tainted, without",
    ),
    ("worst rule", tools(policy=[rule()]), "policy", Verdict.BAD, "exec:unsandboxed"),
    ("token", wide("gateway-token"), "own files", Verdict.BAD, "chmod go= "),
    ("journals", wide("journals", 0o755), "own files", Verdict.BAD, "journals"),
    ("a journal", wide("journals/*/*.jsonl", 0o640), "own files", Verdict.BAD, ".jsonl"),
    ("log", wide("logs/nanobot.log"), "own files", Verdict.BAD, "logs/nanobot.log"),
    (
        "a search key",
        with_keys(0o600, tools={"exec": {"enable": False}, "web": {"search": {"provider": "exa", "apiKey": "e-hush"}}}),
        "keys",
        Verdict.WARN,
        '"apiKey": "${SEARCH_API_KEY}"',
    ),
    ("another secret", with_keys(0o600, gateway={**OWNED, "token": "hush-hush"}), "keys", Verdict.WARN, "gateway.token in plain"),
]
HIDDEN = {
    *("workspace", "model", "owners", "sandbox", "address", "open to all", "allowed hosts", "groups", "policy", "approvals"),
    *("command network", "file tools", "inner networks", "web search", "mcp", "skills", "memory", "cron"),
    *("telegram", "email", "whatsapp"),
}
"""What is not looked at while the configuration does not load."""


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_keys_that_others_can_read(home: Path, monkeypatch: pytest.MonkeyPatch, mode: int) -> None:
    with_keys(mode, providers={"mine": {"apiBase": "http://x", "apiKey": "k", "extraHeaders": {"X-A": "b"}}})(home / ".nanobot")
    found = examine(facts(home, monkeypatch))["keys"]
    assert found.verdict is Verdict.BAD
    assert found.text.startswith("providers.mine.apiKey, providers.mine.extraHeaders.X-A in plain text, and others")


@pytest.mark.parametrize(
    ("rules", "verdict"),
    [
        ([rule(tool="exec", who="owner", tainted=False)], Verdict.OK),
        ([rule(tool="web_fetch"), {"tool": "exec", "decision": "deny"}], Verdict.OK),
        ([rule(tool="exec", who="owner")], Verdict.WARN),
        ([rule(tool="exec:unsandboxed", who="owner", pattern="git *")], Verdict.BAD),
    ],
)
def test_rules_that_are_not_dangerous_and_those_that_are(
    home: Path, monkeypatch: pytest.MonkeyPatch, rules: list[dict[str, object]], verdict: Verdict
) -> None:
    tools(policy=rules)(home / ".nanobot")
    assert examine(facts(home, monkeypatch))["policy"].verdict is verdict


def test_open_groups_with_rights(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = {"policy": [rule(tool="exec", who="group")]}
    in_file("config.json", changed(channels={"web": {"groupPolicy": "open"}}, tools=rules))(home / ".nanobot")
    found = examine(facts(home, monkeypatch))["groups"]
    assert (found.verdict, "groups may use exec:" in found.text) == (Verdict.BAD, True)


NONE = Isolation(False, "it is not installed: install it")


@pytest.mark.parametrize(
    ("isolation", "settings", "expected"),
    [
        (Isolation(True), {}, ok("commands run in bubblewrap")),
        (NONE, {}, warn(f"there is none for commands, so each one asks you: {NONE.reason}")),
        (NONE, {"sandbox": "bwrap"}, bad(f"no command can run, because tools.exec.sandbox is bwrap and {NONE.reason}")),
        (NONE, {"enable": False}, ok("not needed: exec is off")),
    ],
)
def test_the_sandbox(
    home: Path, monkeypatch: pytest.MonkeyPatch, isolation: Isolation, settings: dict[str, object], expected: Finding
) -> None:
    in_file("config.json", changed(tools={"exec": settings}))(home / ".nanobot")
    seen = attrs.evolve(facts(home, monkeypatch), isolated=lambda _config, _environ: isolation)
    assert examine(seen)["sandbox"] == expected


def test_the_sandbox_is_really_tried(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_file("config.json", changed(tools={}))(home / ".nanobot")
    real = attrs.evolve(facts(home, monkeypatch), isolated=really)
    assert examine(real)["sandbox"].verdict in (Verdict.OK, Verdict.WARN)
    without = attrs.evolve(real, environ={**ENVIRON, "PATH": "/nowhere"})
    assert "install" in examine(without)["sandbox"].text


def test_the_guide_has_a_line_for_each_check() -> None:
    page = (Path(nanobot.guide.__file__).parent / "doctor.md").read_text()
    assert [name for name in CHECKS if f"`{name}`" not in page] == []


@pytest.mark.parametrize("case", BREAK_FILES, ids=lambda case: case[0])
def test_one_thing_broken_on_disk(
    home: Path, monkeypatch: pytest.MonkeyPatch, case: tuple[str, Callable[[Path], None], str, Verdict, str]
) -> None:
    label, break_it, line, verdict, mend = case
    before = examine(facts(home, monkeypatch))
    break_it(home / ".nanobot")
    after = examine(facts(home, monkeypatch))
    others = {name for name in CHECKS if before[name].verdict is not after[name].verdict} - {line}
    assert others == (HIDDEN if label == "config" else set())
    assert after[line].verdict is verdict
    assert mend in after[line].text


BREAK_FACTS: list[tuple[str, dict[str, object], Verdict, str]] = [
    ("python", {"python": (3, 10)}, Verdict.BAD, "install Python 3.11"),
    ("encoding", {"encoding": "ISO-8859-1"}, Verdict.WARN, "export LC_ALL=C.UTF-8"),
    ("clock", {"now": 0.0}, Verdict.BAD, "set-ntp"),
    ("clock", {"now": 1_789_000_000.0}, Verdict.WARN, "dated in the future"),
    ("space", {"free_bytes": lambda _path: 63 * 2**20}, Verdict.BAD, "63 MiB free, less than the 64 "),
    ("git", {"environ": {**ENVIRON, "PATH": "/nowhere"}}, Verdict.WARN, "apt install git"),
]


@pytest.mark.parametrize("case", BREAK_FACTS, ids=lambda case: case[0])
def test_one_fact_of_the_machine(
    home: Path, monkeypatch: pytest.MonkeyPatch, case: tuple[str, dict[str, object], Verdict, str]
) -> None:
    line, change, verdict, mend = case
    healthy = facts(home, monkeypatch)
    before, after = examine(healthy), examine(attrs.evolve(healthy, **change))  # type: ignore[arg-type]
    assert {name for name in CHECKS if before[name] != after[name]} == {line}
    assert after[line].verdict is verdict
    assert mend in after[line].text


@pytest.mark.parametrize(
    ("defaults", "verdict", "mend"),
    [
        ({"model": "claude-opus-4-5"}, Verdict.BAD, "ANTHROPIC_API_KEY"),
        ({"provider": "demo"}, Verdict.WARN, "nanobot onboard"),
        ({"provider": "none"}, Verdict.BAD, "no provider is called"),
    ],
)
def test_the_model(home: Path, monkeypatch: pytest.MonkeyPatch, defaults: dict[str, str], verdict: Verdict, mend: str) -> None:
    before = examine(facts(home, monkeypatch))
    put(home / ".nanobot" / "config.json", {**CONFIG, "agents": {"defaults": defaults}})
    after = examine(facts(home, monkeypatch))
    assert {name for name in CHECKS if before[name] != after[name]} == {"model"}
    assert (after["model"].verdict, mend in after["model"].text) == (verdict, True)


def test_who_is_running(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    healthy = facts(home, monkeypatch)
    lock = os.open(home / ".nanobot" / "lock", os.O_CREAT | os.O_RDWR)
    assert examine(healthy)["running"].text == "nanobot is not running", "a file alone is no lock"
    fcntl.flock(lock, fcntl.LOCK_SH)
    assert examine(healthy)["running"] == Finding(Verdict.OK, f"nanobot is running (process {os.getpid()})")
    os.close(lock)


PARKED = Node("telegram", "channel", "parked", STARTED, error="the token was revoked")
STUCK = Node("slack", "channel", "stuck", STARTED)
MEND_PARKED = "telegram is parked (the token was revoked); mend what it says, then: nanobot channels restart telegram"


@pytest.mark.parametrize(
    ("channels", "verdict", "text"),
    [
        ([], Verdict.OK, f"running (process {os.getpid()}), and all of it lives"),
        ([PARKED], Verdict.BAD, MEND_PARKED),
        ([PARKED, STUCK], Verdict.BAD, f"{MEND_PARKED}; slack is stuck: nanobot gateway restart"),
    ],
    ids=["well", "one parked", "two in trouble"],
)
def test_a_running_gateway(
    home: Path, monkeypatch: pytest.MonkeyPatch, channels: list[Node], verdict: Verdict, text: str
) -> None:
    healthy = facts(home, monkeypatch)
    assert examine(healthy)["gateway"] == Finding(Verdict.OK, "not running")
    with listening(home / ".nanobot", FakeGateway(tree(*channels))):
        after = examine(healthy)
    assert after["gateway"] == Finding(verdict, text)
    assert after["socket"] == Finding(Verdict.OK, "600")


def test_a_gateway_that_does_not_answer(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "ASK_S", 0.05)
    with socket.socket(socket.AF_UNIX) as hanging:
        hanging.bind(f"{home}/.nanobot/control.sock")
        hanging.listen()
        found = examine(facts(home, monkeypatch))["gateway"]
    assert (found.verdict, "does not answer. Its log says more: nanobot gateway logs" in found.text) == (Verdict.BAD, True)


@pytest.mark.parametrize(
    ("settings", "verdict", "text"),
    [
        ({}, Verdict.OK, "127.0.0.1 port 18790, this machine alone"),
        ({"host": "localhost"}, Verdict.OK, "localhost port 18790, this machine alone"),
        ({"host": "::1"}, Verdict.OK, "::1 port 18790, this machine alone"),
        ({"host": "0.0.0.0", "token": "hush-hush-hush"}, Verdict.WARN, "0.0.0.0 port 18790, open to others, who need the token"),
        ({"host": "0.0.0.0", "http": False}, Verdict.OK, "not listened on"),
        ({"host": "house.local"}, Verdict.BAD, "house.local port 18790 is open to others, so it needs a token: "),
    ],
)
def test_who_reaches_the_page(
    home: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], verdict: Verdict, text: str
) -> None:
    put(home / ".nanobot" / "config.json", {**CONFIG, "gateway": {**OWNED, **settings}})
    found = examine(facts(home, monkeypatch))["address"]
    assert (found.verdict, found.text[: len(text)]) == (verdict, text)


def test_a_lock_that_a_child_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who took it is gone; what inherited it lives on."""
    healthy = facts(home, monkeypatch)
    (home / ".nanobot" / "lock").touch()
    monkeypatch.setattr("nanobot.cli.checks.RealDisk.holder", lambda _disk, _fd: 2**22 + 1)
    found = examine(healthy)["running"]
    assert (found.verdict, "lslocks" in found.text) == (Verdict.WARN, True)


def test_a_folder_that_refuses(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    healthy = facts(home, monkeypatch)
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != home / ".nanobot")
    after = examine(healthy)
    assert {name for name, found in after.items() if found.verdict is not Verdict.OK} == {"data folder"}
    assert "sudo chown" in after["data folder"].text


def test_it_changes_nothing_and_makes_nothing(nanobot: CommandLine) -> None:
    ended = nanobot("doctor")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.endswith("\nNothing is broken.\n")
    assert list(nanobot.home.iterdir()) == []


def test_what_is_bad_is_an_exit_code_and_a_last_line(nanobot: CommandLine, home: Path) -> None:
    (home / ".nanobot").chmod(0o755)
    ended = nanobot("doctor", **ENVIRON)
    assert (ended.code, ended.out.splitlines()[-1]) == (1, "To be mended: data mode.")
    told = json.loads(nanobot("doctor", "--json", **ENVIRON).out)
    assert told["data mode"]["verdict"] == "bad"
    assert set(told) == set(CHECKS)


def test_it_shows_no_key(nanobot: CommandLine, home: Path) -> None:
    put(home / ".nanobot" / "config.json", json.loads(WITH_KEY))
    assert "sk-abc" not in nanobot("doctor", **ENVIRON).out


# --- online


@contextmanager
def service(status: int) -> Iterator[tuple[str, list[tuple[str, dict[str, str]]]]]:
    """A model service on loopback that answers everything with `status`, and what it was asked."""
    asked: list[tuple[str, dict[str, str]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, dict(self.headers)))
            self.send_response(status)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "verdict", "text"),
    [
        (200, "ok", "openai takes the key"),
        (401, "bad", "openai refuses the key (HTTP 401): set providers.openai.apiKey"),
        (404, "ok", "openai answers, and has no list of models"),
        (503, "warn", "openai answers with HTTP 503, perhaps for a while; later again: nanobot doctor --online"),
    ],
)
def test_online_asks_the_service(nanobot: CommandLine, home: Path, status: int, verdict: str, text: str) -> None:
    with service(status) as (address, asked):
        base = {"NANOBOT_PROVIDERS__OPENAI__API_BASE": f"{address}/v1"}
        ended = nanobot("doctor", "--online", "--json", **ENVIRON, **base)
    assert json.loads(ended.out)["online"] == {"verdict": verdict, "text": text}
    ((path, headers),) = asked
    assert (path, headers["authorization"]) == ("/v1/models", f"Bearer {ENVIRON['OPENAI_API_KEY']}")


def test_online_speaks_anthropic(nanobot: CommandLine, home: Path) -> None:
    with service(200) as (address, asked):
        section = json.dumps({"apiKey": "sk-ant-abcdefghijklmnop", "apiBase": address})
        wanted = {"NANOBOT_AGENTS__DEFAULTS__MODEL": "claude-x", "NANOBOT_PROVIDERS__ANTHROPIC": section}
        nanobot("doctor", "--online", **ENVIRON, **wanted)
    ((path, headers),) = asked
    assert (path, headers["x-api-key"]) == ("/v1/models", "sk-ant-abcdefghijklmnop")


def test_online_where_nobody_answers(nanobot: CommandLine, home: Path) -> None:
    base = {"NANOBOT_PROVIDERS__OPENAI__API_BASE": "http://127.0.0.1:1/v1"}
    ended = nanobot("doctor", "--online", **ENVIRON, **base)
    assert ended.code == 1
    assert "openai cannot be reached at http://127.0.0.1:1/v1/models" in ended.out


def test_without_online_nobody_is_asked(nanobot: CommandLine, home: Path) -> None:
    with service(200) as (address, asked):
        nanobot("doctor", **ENVIRON, NANOBOT_PROVIDERS__OPENAI__API_BASE=address)
    assert asked == []
