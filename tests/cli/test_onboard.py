import json
import stat
from pathlib import Path

import pytest

from nanobot.cli import workspace
from nanobot.config.load import load
from tests.cli.command import CommandLine

FILES = ["AGENTS.md", "HEARTBEAT.md", "SOUL.md", "TOOLS.md", "USER.md", "memory/HISTORY.md", "memory/MEMORY.md"]


def below(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def typed(*answers: str) -> str:
    return "".join(f"{answer}\n" for answer in answers)


def test_yes_writes_a_configuration_and_a_workspace(nanobot: CommandLine) -> None:
    ended = nanobot("onboard", "--yes")
    folder = nanobot.home / ".nanobot"
    assert (ended.code, ended.err) == (0, "")
    assert json.loads((folder / "config.json").read_text()) == {"configVersion": 1}
    assert stat.S_IMODE((folder / "config.json").stat().st_mode) == 0o600
    assert sorted(below(folder / "workspace")) == FILES
    assert (folder / "workspace" / "skills").is_dir()
    assert (folder / "workspace" / "memory" / "HISTORY.md").read_text() == ""
    assert "nanobot chat" in ended.out


@pytest.mark.parametrize("arguments", [["--yes"], []])
def test_what_exists_is_never_overwritten(nanobot: CommandLine, arguments: list[str]) -> None:
    nanobot("onboard", "--yes")
    folder = nanobot.home / ".nanobot"
    (folder / "config.json").write_text('{"configVersion": 1, "agents": {"defaults": {"maxTokens": 5}}}')
    (folder / "workspace" / "SOUL.md").write_text("mine")
    (folder / "workspace" / "USER.md").unlink()
    before = below(folder)
    ended = nanobot("onboard", *arguments)
    assert ended.code == 0
    assert "created USER.md." in ended.out
    after = below(folder)
    assert after.pop("workspace/USER.md")
    assert after == before


def test_a_configuration_with_mistakes_is_left_alone(nanobot: CommandLine) -> None:
    path = nanobot.home / "config.json"
    path.write_text('{"chanels": {}}')
    ended = nanobot("onboard", "--yes", "--config", str(path))
    assert ended.code == 2
    assert below(nanobot.home) == {"config.json": '{"chanels": {}}'}


def test_the_questions(nanobot: CommandLine) -> None:
    answers = typed("nonsense", "anthropic", "sk-ant-typed", "claude-opus-4-5", "me", "telegram:5")
    ended = nanobot("onboard", typed=answers)
    assert ended.code == 0
    config = load(nanobot.home / ".nanobot" / "config.json", {}).config
    assert config.agents.defaults.model == "claude-opus-4-5"
    assert config.providers["anthropic"].api_key.reveal() == "sk-ant-typed"
    assert config.gateway.owners == ("telegram:5",)
    assert "No service is called nonsense." in ended.err
    assert "expected channel:user or channel:account:chat:user" in ended.err
    assert "sk-ant-typed" not in ended.out + ended.err


def test_a_key_in_the_environment_is_referred_to(nanobot: CommandLine) -> None:
    ended = nanobot("onboard", typed=typed("", "", ""), OPENAI_API_KEY="sk-environment")
    text = (nanobot.home / ".nanobot" / "config.json").read_text()
    assert json.loads(text)["providers"] == {"openai": {"apiKey": "${OPENAI_API_KEY}"}}
    assert "sk-environment" not in text + ended.out + ended.err


def test_a_server_of_ones_own_needs_its_address(nanobot: CommandLine) -> None:
    ended = nanobot("onboard", typed=typed("custom", "", "http://127.0.0.1:9000/v1", "", "", ""))
    config = load(nanobot.home / ".nanobot" / "config.json", {}).config
    assert config.providers["custom"].api_base == "http://127.0.0.1:9000/v1"
    assert "an address is needed" in ended.err


def test_a_local_server_needs_no_key(nanobot: CommandLine) -> None:
    nanobot("onboard", typed=typed("ollama", "", ""))
    config = load(nanobot.home / ".nanobot" / "config.json", {}).config
    assert (config.agents.defaults.provider, config.providers) == ("ollama", {})


@pytest.mark.parametrize("answers", [[], ["anthropic"], ["anthropic", "key", "", "bad"]])
def test_input_that_ends_early_writes_nothing(nanobot: CommandLine, answers: list[str]) -> None:
    ended = nanobot("onboard", typed=typed(*answers))
    assert (ended.code, ended.out) == (1, "")
    assert "nothing was written" in ended.err
    assert not (nanobot.home / ".nanobot").exists()


def test_an_instance_elsewhere_keeps_to_its_folder(nanobot: CommandLine, tmp_path: Path) -> None:
    nanobot("onboard", "--yes", "--config", str(tmp_path / "two" / "config.yaml"))
    config = load(tmp_path / "two" / "config.yaml", {}).config
    assert config.agents.defaults.workspace == str(tmp_path / "two" / "workspace")
    nanobot("onboard", "--yes", "--config", str(tmp_path / "three" / "config.json"), "--workspace", str(tmp_path / "work"))
    assert sorted(below(tmp_path / "work")) == FILES
    assert not (nanobot.home / ".nanobot").exists()


def test_a_disk_that_refuses_is_told(nanobot: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = nanobot("onboard", "--yes", "--config", str(tmp_path / "file" / "config.json"))
    assert ended.code == 1
    assert "Not a directory" in ended.err or "File exists" in ended.err


def test_the_workspace_follows_no_dangling_link(tmp_path: Path) -> None:
    folder = tmp_path / "workspace"
    folder.mkdir()
    (folder / "SOUL.md").symlink_to(tmp_path / "elsewhere")
    assert "SOUL.md" not in workspace.furnish(folder)
    assert not (tmp_path / "elsewhere").exists()
