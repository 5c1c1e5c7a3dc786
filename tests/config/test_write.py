import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings

from nanobot.config import yaml_core
from nanobot.config.durable import replace
from nanobot.config.load import load
from nanobot.config.schema import AgentDefaults, AgentsConfig, Config, ProviderConfig, Secret
from nanobot.config.write import write
from nanobot.wire import Json
from tests.config.strategies import configs, json_values

CONFIG = Config(
    config_version=1,
    agents=AgentsConfig(defaults=AgentDefaults(max_tokens=5)),
    providers={"openai": ProviderConfig(api_key=Secret("sk-secret"))},
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@given(config=configs())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=50)
def test_what_is_written_is_read_back(tmp_path: Path, config: Config) -> None:
    write(config, tmp_path / "config.json")
    assert load(tmp_path / "config.json", {}).config == config


def test_what_is_written_as_yaml_is_read_back(tmp_path: Path) -> None:
    write(CONFIG, tmp_path / "config.yaml")
    assert load(tmp_path / "config.yaml", {}).config == CONFIG


@given(json_values)
@example(["08", "0o7", "1e5", "12:30", "off", "2026-01-01", "\x85", "~", "<<", "ä"])
def test_yaml_means_what_was_written(value: Json) -> None:
    assert yaml_core.parse(yaml_core.render(value)) == value


def test_only_what_differs_is_written(tmp_path: Path) -> None:
    write(CONFIG, tmp_path / "config.json")
    assert json.loads((tmp_path / "config.json").read_text()) == {
        "configVersion": 1,
        "agents": {"defaults": {"maxTokens": 5}},
        "providers": {"openai": {"apiKey": "sk-secret"}},
    }


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        write(CONFIG, tmp_path / "new" / "config.json")
    finally:
        os.umask(old)
    assert (mode(tmp_path / "new"), mode(tmp_path / "new" / "config.json")) == (0o700, 0o600)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace(tmp_path / "config.json", "old")

    def refuse(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space"):
        replace(tmp_path / "config.json", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    assert (tmp_path / "config.json").read_text() == "old"


def test_file_and_folder_are_synced_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    rename = os.replace

    def sync(handle: int) -> None:
        order.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")

    def swap(old: str, new: Path) -> None:
        order.append("rename")
        rename(old, new)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", swap)
    replace(tmp_path / "config.json", "text")
    assert order == ["file", "rename", "folder"]
