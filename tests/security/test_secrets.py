"""No secret leaves its place: a whole run of the gateway with planted keys, and a search of all that it wrote and said.

The model is a process that tries to get at the keys with every tool, and a service that repeats the key it was called with in
every kind of error. Searched are the data directory but for the two files that hold keys, the log, standard output and
standard error of every command, HTTP bodies, frames of the page, and the requests that the model was sent.
"""

from __future__ import annotations

import base64
import json
import secrets
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, quote_plus

import attrs
import pytest
import trio

from nanobot.wire import JsonObject
from tests.fakes import ws
from tests.fakes.daemon import PATIENCE_S, Daemon, environment, running
from tests.fakes.llm import Answer, Asked, Fault, Garbage, Scripted, ToolCall

HOLDERS = {"config.json", "gateway-token"}
PRINTED = " | tr '\\0' '\\n'"


# --- the model: what it does stands in the user's message


def script(asked: Asked) -> Scripted:
    """`call NAME JSON` makes a call and tells its result; `fail KIND` repeats the keys that came with the request. What is asked
    for memory is remembered whole."""
    if asked.results:
        return Answer(f"I was told: {asked.results[-1]}", burst=True)
    orders = [line for text in asked.texts for line in text.splitlines() if line.startswith(("call ", "fail "))]
    if not orders:  # memory is asked for, of a conversation that is shown line by line
        call = ToolCall("save_memory", {"history_entry": asked.texts[-1], "memory_update": "- a key"})
        return Answer(calls=(call,), burst=True)
    verb, name, *rest = orders[-1].split(" ", 2)
    if verb == "call":
        return Answer(calls=(ToolCall(name, rest[0]),), burst=True)
    return FAILURES[name](f"{asked.headers['authorization'].removeprefix('Bearer ')} {asked.headers['x-extra']}")


def _fault(status: int) -> Callable[[str], Scripted]:
    def made(keys: str) -> Scripted:
        words = {"message": f"Wrong key {keys}, {quote(keys)}, {base64.b64encode(keys.encode()).decode()}", "type": "error"}
        return Fault(status, words, words)

    return made


FAILURES: dict[str, Callable[[str], Scripted]] = {
    **{str(status): _fault(status) for status in (400, 401, 402, 403, 404, 422, 429, 500)},
    "garbage": lambda keys: Garbage(f"<h1>{keys}</h1>".encode()),
    "stream": lambda keys: Garbage(f"data: {{{keys}\n\n".encode(), "text/event-stream"),
    "event": lambda keys: Garbage(f'data: {{"error": {{"message": "no: {keys}"}}}}\n\n'.encode(), "text/event-stream"),
    "comment": lambda keys: Garbage(f": {keys}\n\nevent: error\ndata: {keys}\n\n".encode(), "text/event-stream"),
}


@contextmanager
def model(folder: Path) -> Iterator[str]:
    """Its address. Requests are lines of `requests`."""
    port = folder / "port"
    options = ["--port-file", str(port), "--script", f"{__name__}:script", "--log", str(folder / "requests")]
    with subprocess.Popen([sys.executable, "-m", "tests.fakes.llm", *options]) as process:
        try:
            until = time.monotonic() + PATIENCE_S
            while not port.exists():
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.02)
            yield f"http://127.0.0.1:{port.read_text()}/v1"
        finally:
            process.kill()


# --- the search


def forms(key: str) -> dict[str, bytes]:
    """How it may stand in a text. Written apart from the code that takes them out."""
    found = {"plain": key, "URL": quote(key, safe=""), "path": quote(key), "form": quote_plus(key)}
    found |= {"JSON": json.dumps(key)[1:-1], "repr": repr(key)[1:-1]}
    for before in range(3):
        in_base64 = base64.b64encode(b" " * before + key.encode())[4 if before else 0 :].rstrip(b"=")
        found[f"base64, {before} before"] = in_base64[: len(in_base64) // 4 * 4 - 4].decode()
    return {form: text.encode() for form, text in found.items()}


def search(texts: Mapping[str, bytes], keys: Mapping[str, str]) -> list[str]:
    """Which key stands where, and in which form."""
    needles = [(name, form, needle) for name, key in keys.items() for form, needle in forms(key).items()]
    return [f"{name} ({form}) in {place}" for place, text in texts.items() for name, form, needle in needles if needle in text]


def coded(key: str) -> str:
    return base64.b64encode(f"a={key}&b".encode()).decode()


@pytest.mark.parametrize("form", [str, quote, quote_plus, json.dumps, repr, coded])
def test_the_search_finds_what_is_there(form: Callable[[str], str]) -> None:
    key = planted("one")
    assert search({"log": f"it was {form(key)}.".encode()}, {"one": key, "two": planted("two")})
    assert not search({"log": f"it was {form(planted('three'))}.".encode()}, {"one": key})


def planted(name: str) -> str:
    """Like no service's key, so that nothing takes it out by its looks; with letters that are written otherwise elsewhere."""
    return f'Pl4nt/{name}+"{secrets.token_hex(12)}"='


@attrs.define
class Run:
    """What was said, by where it was said."""

    daemon: Daemon
    environ: dict[str, str]
    said: dict[str, bytes] = attrs.field(factory=dict)

    def command(self, *words: str) -> str:
        argv = [sys.executable, "-m", "nanobot", *words, "--config", str(self.daemon.config)]
        environ = environment(self.daemon.folder, self.environ)
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=PATIENCE_S, check=False, env=environ, stdin=subprocess.DEVNULL
        )
        return self.note(f"nanobot {shlex.join(words)}", done.stdout + done.stderr)

    def call(self, name: str, arguments: JsonObject) -> None:
        line = f"call {name} {json.dumps(arguments)}".replace("{data}", str(self.daemon.folder))
        assert "I was told" in self.command("chat", "-m", line)

    def fail(self, kind: str) -> None:
        assert "mine" in self.command("chat", "-m", f"fail {kind}"), "the service is named"

    def note(self, place: str, text: str) -> str:
        self.said[f"{len(self.said)}: {place}"] = text.encode("utf-8", "surrogateescape")
        return text

    def get(self, path: str, token: str | None) -> None:
        base, _ = self.daemon.address()
        request = urllib.request.Request(base + path, headers={"Authorization": f"Bearer {token}"} if token else {})
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                self.note(f"GET {path}", answer.read().decode())
        except urllib.error.HTTPError as refused:
            self.note(f"GET {path} refused", f"{refused.headers}{refused.read().decode()}")

    def page(self, *lines: str) -> None:
        trio.run(self._page, lines)

    async def _page(self, lines: tuple[str, ...]) -> None:
        base, token = self.daemon.address()
        async with ws.connect(int(base.rpartition(":")[2]), token) as client:
            for number, line in enumerate(lines):
                await client.send("message", id=f"m{number}", chat="c", text=line)
                answer = await client.expect("message", chat="c")
                await client.send("ack", id=answer["id"])
            await client.send("message", id="broken", chat=7, text=[])
            await client.expect("error")
        self.note("frames of the page", json.dumps(client.heard))

    def written(self, folder: Path) -> dict[str, bytes]:
        files = (path for path in folder.rglob("*") if path.is_file() and path.name not in HOLDERS)
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}


# --- the run


@pytest.fixture(scope="module")
def keys() -> dict[str, str]:
    names = ("config", "header", "token", "proxy", "environment", "referred")
    return {name: planted(name) for name in names}


def config_of(base: str, keys: Mapping[str, str]) -> JsonObject:
    return {
        "configVersion": 1,
        "agents": {"defaults": {"model": "model-one", "provider": "mine", "retryDelays": []}},
        "providers": {
            "mine": {"apiBase": base, "apiKey": keys["config"], "extraHeaders": {"X-Extra": keys["header"]}},
            "openai": {"apiKey": "${MY_OPENAI}"},
        },
        "tools": {"web": {"proxy": f"http://me:{quote(keys['proxy'], safe='')}@127.0.0.1:1"}},
        "gateway": {"port": 0, "drainS": 2, "token": keys["token"]},
    }


ENVIRONS = "for process in /proc/[0-9]*; do cat $process/environ $process/cmdline; done 2>/dev/null" + PRINTED
COMMANDS = ["env", "cat /proc/self/environ" + PRINTED, "cat /proc/$PPID/environ" + PRINTED, ENVIRONS, "set; export -p"]
READS: list[tuple[str, JsonObject]] = [
    ("read_file", {"path": "{data}/config.json"}),
    ("read_file", {"path": "../config.json"}),
    ("read_file", {"path": "/proc/self/environ"}),
    ("read_file", {"path": "/proc/1/environ"}),
    ("grep", {"path": "{data}", "pattern": "Pl4nt", "output_mode": "content"}),
    ("grep", {"path": ".", "pattern": "Pl4nt", "output_mode": "content"}),
    ("write_file", {"path": "{data}/config.json", "content": "{}"}),
    ("edit_file", {"path": "../config.json", "old_text": "Pl4nt", "new_text": "x"}),
    ("message", {"text": "see", "attachments": ["{data}/config.json"]}),
]
IN_COMMANDS = ["cat {data}/config.json", "grep -rn Pl4nt {data} /root /tmp 2>/dev/null", "base64 -w0 {data}/config.json"]
"""What the sandbox keeps from a command."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, keys: dict[str, str]) -> Iterator[Run]:
    """A run that has done everything, still up."""
    folder = tmp_path_factory.mktemp("secrets")
    data = folder / "data"
    data.mkdir(mode=0o700)
    environ = {"ANTHROPIC_API_KEY": keys["environment"], "MY_OPENAI": keys["referred"]}
    with model(folder) as base, running(data, config_of(base, keys), environ) as daemon:
        one = Run(daemon, environ)
        for name, arguments in READS:
            one.call(name, arguments)
        for command in COMMANDS:
            one.call("exec", {"command": command})
        for kind in FAILURES:
            one.fail(kind)
        one.page('call read_file {"path": "../config.json"}', "fail 400", "fail event", "/status", "/stop")
        _ask_everything(one, keys)
        _reload_with_mistakes(one, config_of(base, keys), keys)
        yield one


def _ask_everything(run: Run, keys: Mapping[str, str]) -> None:
    for words in (
        ["status"],
        ["status", "--json"],
        ["doctor"],
        ["doctor", "--json", "--online"],
        ["gateway", "logs"],
        ["channels", "status"],
        ["outbox", "list"],
        ["sessions", "list"],
        ["sessions", "show", "cli:direct", "--all"],
        ["config", "show"],
        ["config", "check"],
        ["chat", "-m", "/status"],
    ):
        run.command(*words)
    for path in ("/", "/health", "/status.json", "/sessions.json", "/nothing", f"/?token={quote(keys['token'], safe='')}"):
        for token in (None, "wrong", keys["token"]):
            run.get(path, token)


def _reload_with_mistakes(run: Run, config: JsonObject, keys: Mapping[str, str]) -> None:
    """Each is told, by command and by signal; then the right one with another key, which is protected from then on."""
    right = json.dumps(config)
    wrong = [
        right.replace(json.dumps(keys["config"]), f"[{json.dumps(keys['config'])}]"),
        right.replace(json.dumps(keys["config"]), json.dumps(keys["config"]) + " oops"),
        right.replace('"apiKey"', '"apiKay"'),
        right.replace("${MY_OPENAI}", "${MY_OTHER}"),
        right.replace('"token"', '"tokens"'),
        right.replace('"port": 0', f'"port": {json.dumps(keys["token"])}'),
    ]
    for text in wrong:
        run.daemon.config.write_text(text)
        assert "mistake" in run.command("gateway", "reload")
        run.command("doctor")
    run.daemon.config.write_text(right.replace("model-one", "model-two"))
    run.command("gateway", "reload")
    run.fail("500")


def test_nothing_that_was_written_or_said_holds_a_key(run: Run, keys: dict[str, str]) -> None:
    folder = run.daemon.folder.parent
    found = search({**run.written(folder), **run.said}, keys)
    assert found == []
    assert len(run.said) > 60
    assert (folder / "requests").stat().st_size > 10_000


def test_a_key_that_a_reload_brought_is_protected_too(run: Run, keys: dict[str, str]) -> None:
    late = planted("late")
    before = run.daemon.config.read_text()
    run.daemon.config.write_text(before.replace(json.dumps(keys["config"])[1:-1], json.dumps(late)[1:-1]))
    assert "new settings" in run.command("gateway", "reload")
    run.fail("400")
    run.fail("event")
    run.daemon.config.write_text(before)
    run.command("gateway", "reload")
    assert search({**run.written(run.daemon.folder.parent), **run.said}, {**keys, "late": late}) == []


def test_the_token_that_it_makes_is_in_its_file_alone(tmp_path: Path) -> None:
    with running(tmp_path, {"agents": {"defaults": {"provider": "demo"}}}) as daemon:
        run = Run(daemon, {})
        token = daemon.address()[1]
        assert (tmp_path / "gateway-token").read_text().strip() == token
        run.page("hello")
        _ask_everything(run, {"token": token})
    assert search({**run.written(tmp_path), **run.said}, {"token": token}) == []


CRASH = """
import sys, threading
from nanobot.cli import checks
from nanobot.cli.app import run_cli
from nanobot.cli.terminal import opened

def crash(facts):
    key = facts.config.providers["mine"].api_key.reveal()
    def in_thread():
        raise RuntimeError(f"in a thread with {key}")
    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    raise ExceptionGroup("two", [RuntimeError(f"with {key}"), ValueError(repr(key))])

checks.CHECKS["python"] = crash
run_cli(["doctor", "--config", sys.argv[1]])
"""


def test_a_crash_shows_no_key(tmp_path: Path, keys: dict[str, str]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config_of("http://127.0.0.1:1", keys)))
    argv = [sys.executable, "-c", CRASH, str(tmp_path / "config.json")]
    done = subprocess.run(argv, capture_output=True, env=environment(tmp_path, {"MY_OPENAI": keys["referred"]}), check=False)
    assert done.returncode == 1
    assert done.stderr.count(b"RuntimeError: ") == 2
    assert done.stderr.count(b"with ***") == 2
    assert search({"stdout": done.stdout, "stderr": done.stderr}, keys) == []


def test_a_command_in_the_sandbox_does_not_see_the_files_that_hold_keys(run: Run, keys: dict[str, str]) -> None:
    for command in IN_COMMANDS:
        run.call("exec", {"command": command})
    assert search({**run.written(run.daemon.folder.parent), **run.said}, keys) == []
