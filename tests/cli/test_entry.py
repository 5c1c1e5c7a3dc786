import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import nanobot as package
from nanobot.cli import app, helptext
from nanobot.errors import ConfigError, InUse
from tests.cli.command import CommandLine, process

ROOT = Path(__file__).parents[2]
LIGHT = {"nanobot", "nanobot.__main__"}
HEAVY = {"trio", "openai", "anthropic", "prompt_toolkit", "loguru", "yaml", "httpx2"}


def imported(*arguments: str, home: Path) -> set[str]:
    """Every module that a run of the command line imports."""
    command = [sys.executable, "-X", "importtime", "-m", "nanobot", *arguments]
    environ = {"HOME": str(home)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=True)
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_is_the_stored_text(tmp_path: Path, arguments: list[str]) -> None:
    ended = process(*arguments, home=tmp_path)
    assert (ended.code, ended.out, ended.err) == (0, helptext.STORED.read_text(), "")


def test_the_stored_help_is_that_of_the_commands() -> None:
    assert helptext.STORED.read_text() == helptext.live(), "renew it: python -m nanobot.cli.helptext"


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_version(tmp_path: Path, flag: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert process(flag, home=tmp_path).out == f"nanobot {project['version']}\n"
    assert package.__version__ == project["version"]


def test_help_imports_nothing(tmp_path: Path) -> None:
    ours = {name for name in imported("--help", home=tmp_path) if name.startswith("nanobot")}
    assert ours <= LIGHT
    assert not imported("--help", home=tmp_path) & {"attrs", "cyclopts", "json", "argparse"}


@pytest.mark.parametrize("arguments", [["status"], ["config", "show"], ["onboard", "--yes"]])
def test_small_commands_import_nothing_heavy(tmp_path: Path, arguments: list[str]) -> None:
    assert not imported(*arguments, home=tmp_path) & HEAVY


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["chta"], "There is no command chta. Did you mean chat?\n"),
        (["xyzzy"], "There is no command xyzzy. See: nanobot --help\n"),
        (["status", "--jsn"], "Unknown option: --jsn. Did you mean --json?\nSee: nanobot status --help\n"),
        (["completion", "tcsh"], 'Invalid value "tcsh" for SHELL. Choose from: "bash", "zsh", "fish".\n'),
        (["status", "--config", "/nowhere/c.json"], "/nowhere/c.json: 1 mistake in the configuration\n  there is no such file; "),
    ],
)
def test_a_mistake_in_usage_is_told_on_stderr(nanobot: CommandLine, arguments: list[str], sentence: str) -> None:
    ended = nanobot(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(sentence)


@pytest.mark.parametrize(
    ("error", "code", "err"),
    [
        (ConfigError(["x: wrong"]), 2, "1 mistake in the configuration\n  x: wrong\n"),
        (InUse("cli:direct", 7), 1, "cli:direct is in use by process 7\n"),
        (InUse("key sk-abcdefghijklmnopqrstuv", None), 1, "key *** is in use by another process\n"),
        (PermissionError(13, "Permission denied", "/x"), 1, "/x: Permission denied\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_how_a_command_ends(
    nanobot: CommandLine, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, err: str
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr("nanobot.cli.config_cmd.document", fail)
    ended = nanobot("config", "schema")
    assert (ended.code, ended.out, ended.err) == (code, "", err)


def test_a_reader_that_goes_away_ends_it_quietly(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "nanobot", "config", "path"]
    done = subprocess.run(command, env={"HOME": str(tmp_path)}, stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_commands_are_found_where_the_table_says() -> None:
    """Each name is registered; its module is imported only when it is run."""
    built = app.build()
    for command in app.COMMANDS:
        assert command.name in built
        assert command.alias is None or command.alias in built
