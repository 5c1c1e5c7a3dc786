"""`nanobot guide`, and that the guide tells the truth: about every command, option, key, tool and slash command there is."""

from __future__ import annotations

import os
import pty
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import App

from nanobot.cli import app as command_line
from nanobot.cli.chatting.talk import COMMANDS as CHAT_COMMANDS
from nanobot.cli.guide import PAGES, drawable, read, topics
from nanobot.config.schema import Config
from nanobot.config.tree import Section, Table, keys_of
from nanobot.guide import generate
from nanobot.processes.sandbox import Isolation
from nanobot.session.commands import TABLE
from nanobot.tools.registry import build_tools
from tests.cli.command import CommandLine, process
from tests.cli.test_entry import HEAVY, ROOT, imported

TEXTS = {name: (PAGES / f"{name}.md").read_text() for name in topics()}
TYPED = re.compile(r"(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?nanobot(?P<arguments>| .*)")
INHERITED = {"--help", "-h"}
"""Every command has them; the page of the guide says so once."""


def apps() -> Iterator[tuple[tuple[str, ...], App]]:
    """Every command and subcommand, by its words."""
    built = command_line.build()
    for command in command_line.COMMANDS:
        top = built[command.name]
        yield (command.name,), top
        for name in top:
            if not name.startswith("-"):
                yield (command.name, name), top[name]


def options(app: App) -> set[str]:
    if app.default_command is None:
        return set()
    names = {name for argument in app.assemble_argument_collection() for name in argument.names}
    return {name for name in names if name.startswith("-")}


@pytest.mark.parametrize(("words", "app"), list(apps()), ids=lambda value: " ".join(value) if isinstance(value, tuple) else "")
def test_every_command_and_option_is_on_its_page(words: tuple[str, ...], app: App) -> None:
    page = TEXTS[words[0]]
    assert f"nanobot {' '.join(words)}" in page
    assert {name for name in options(app) - INHERITED if not re.search(rf"(?<![\w-]){name}(?![\w-])", page)} == set()


def test_the_options_are_really_found() -> None:
    """The test above could pass by finding none."""
    found = {words: options(app) for words, app in apps()}
    assert {"--all", "--json", "--config", "-c"} <= found["sessions", "show"]
    assert {"--message", "-m", "--no-markdown"} <= found["chat",]


def config_paths(cls: type, prefix: str = "") -> Iterator[str]:
    for key in keys_of(cls):
        path = f"{prefix}{key.name}"
        yield path
        match key.shape:
            case Section(below):
                yield from config_paths(below, f"{path}.")
            case Table(Section(below)):
                yield from config_paths(below, f"{path}.NAME.")
            case _:
                pass


def test_every_key_of_the_configuration_is_explained() -> None:
    paths = list(config_paths(Config))
    assert "agents.defaults.deadlines.firstToken" in paths
    assert "providers.NAME.apiKey" in paths
    assert [path for path in paths if f"- `{path}`: " not in TEXTS["config"]] == []


def test_every_tool_is_explained() -> None:
    names = [spec.name for spec in build_tools(Config(), Isolation(sandboxed=True)).specs()]
    assert len(names) >= 7
    assert [name for name in names if f"### `{name}`" not in TEXTS["tools"]] == []


def test_every_slash_command_is_explained() -> None:
    assert [name for name in (*TABLE, *CHAT_COMMANDS) if f"`{name}" not in TEXTS["chat"]] == []


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_made_from_the_code_is_up_to_date(name: str) -> None:
    assert generate.made(TEXTS[name]) == TEXTS[name], "renew it: python -m nanobot.guide.generate"


def test_every_part_is_on_a_page() -> None:
    found = [part for text in TEXTS.values() for part in re.findall(r"<!-- made: (\w+) -->", text)]
    assert sorted(found) == sorted(generate.PARTS)


def quoted(text: str) -> Iterator[str]:
    """Every `nanobot …` command line, in code blocks and in the text."""
    blocks = "\n".join(re.findall(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    inline = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    for line in (*blocks.splitlines(), *inline):
        for part in re.split(r"[|>]|&&", line):
            if found := TYPED.fullmatch(part.strip()):
                yield shlex.join(["nanobot", *shlex.split(found["arguments"], comments=True)])


@pytest.mark.parametrize("source", [*TEXTS, "README"])
def test_every_command_line_that_is_quoted_can_be_typed(source: str) -> None:
    text = (ROOT / "README.md").read_text() if source == "README" else TEXTS[source]
    for line in set(quoted(text)):
        words = shlex.split(line)[1:]
        if words in ([], ["--help"], ["--version"], ["-V"], ["-h"]):
            continue
        command_line.build().parse_args(words, exit_on_error=False, print_error=False)
        if words[0] == "guide" and len(words) > 1 and words[1] != "TOPIC":
            assert words[1] in TEXTS, line


def test_the_quotes_are_really_found() -> None:
    assert "nanobot sessions show cli:direct --all" in set(quoted(TEXTS["sessions"]))
    assert "nanobot chat" in set(quoted(TEXTS["chat"]))
    assert "nanobot doctor --online" in set(quoted(TEXTS["status"]))
    assert "nanobot chat -m 'write notes.txt: buy milk'" in set(quoted((ROOT / "README.md").read_text()))


# --- the command


def test_without_a_topic_it_lists_them(nanobot: CommandLine) -> None:
    lines = nanobot("guide").out.splitlines()
    assert len(lines) == len(TEXTS) + 2
    assert lines[0] == "start        the first run, and a first real configuration"
    assert all(re.fullmatch(r"[a-z]+ +\w.{10,70}", line) for line in lines[:-2])


@pytest.mark.parametrize("name", TEXTS)
def test_a_page_is_printed_without_marks(nanobot: CommandLine, name: str) -> None:
    ended = nanobot("guide", name)
    assert (ended.code, ended.out.splitlines()[0]) == (0, TEXTS[name].splitlines()[0])
    assert "<!--" not in ended.out
    assert "\x1b" not in ended.out


@pytest.mark.parametrize(("topic", "hint"), [("sesions", "Did you mean sessions?"), ("xyzzy", "There are: start, chat, ")])
def test_an_unknown_topic(nanobot: CommandLine, topic: str, hint: str) -> None:
    ended = nanobot("guide", topic)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith(f"There is no page {topic} in the guide. {hint}")


def test_capitals_do_not_matter() -> None:
    assert read("Chat") == read("chat")


def on_a_terminal(home: Path, **environ: str) -> str:
    """What `nanobot guide start` writes to a terminal."""
    ours, theirs = pty.openpty()
    settings = {"HOME": str(home), "PATH": os.environ["PATH"], "TERM": "xterm-256color", **environ}
    command = [sys.executable, "-m", "nanobot", "guide", "start"]
    with subprocess.Popen(command, env=settings, stdin=theirs, stdout=theirs, stderr=theirs) as running:
        os.close(theirs)
        text = b""
        try:
            while chunk := os.read(ours, 65536):
                text += chunk
        except OSError:  # the end of a pseudo-terminal on Linux
            pass
        assert running.wait(60) == 0
    os.close(ours)
    return text.decode()


def test_it_is_drawn_on_a_terminal_only(tmp_path: Path) -> None:
    assert "\x1b[" in on_a_terminal(tmp_path)
    assert "\x1b" not in on_a_terminal(tmp_path, NO_COLOR="1")
    assert "\x1b" not in process("guide", "start", home=tmp_path).out


@pytest.mark.parametrize(("environ", "may"), [({"TERM": "xterm"}, True), ({"TERM": "dumb"}, False), ({}, False)])
def test_where_it_may_draw(environ: dict[str, str], *, may: bool) -> None:
    assert drawable(environ) is may


@pytest.mark.parametrize("arguments", [["guide"], ["guide", "chat"], ["sessions", "list"]])
def test_nothing_heavy_is_imported(tmp_path: Path, arguments: list[str]) -> None:
    assert not imported(*arguments, home=tmp_path) & (HEAVY | {"rich.markdown", "rich.console"})


def test_doctor_imports_what_starts_a_command_in_the_sandbox_and_nothing_else_heavy(tmp_path: Path) -> None:
    assert imported("doctor", home=tmp_path) & (HEAVY | {"rich.markdown", "rich.console"}) <= {"trio", "loguru"}
