"""Files of HKUDS/nanobot load unchanged, and what they say that we do not do is told."""

import json
from pathlib import Path
from typing import Any

import pytest

from nanobot.config import foreign
from nanobot.config.load import load
from nanobot.config.schema import Config, HeartbeatConfig, Secret
from nanobot.errors import ConfigError
from nanobot.providers.registry import BY_NAME

FILES = Path(__file__).with_name("files")
UNSET = 'count as not set, because older versions wrote them unasked; to turn them on, add "configVersion": 1'
NOT_USED = "not used here, known from HKUDS/nanobot: "
THEIRS = ("discord", "feishu", "mochat", "dingtalk", "slack", "qq", "matrix")
THEIR_CHANNELS = "".join(f"channels.{name}, " for name in THEIRS)


def read(name: str, change: dict[str, Any] | None = None, *, into: Path | None = None) -> tuple[Config, tuple[str, ...]]:
    path = FILES / name
    if change is not None:
        assert into is not None
        path = into / name
        path.write_text(json.dumps({**json.loads((FILES / name).read_text()), **change}))
    loaded = load(path, {"SLACK": "xoxb-1", "ROUTER": "sk-or-1"})
    return loaded.config, loaded.warnings


def test_an_early_file_with_every_key_written_out() -> None:
    config, warnings = read("early.json")
    assert warnings == (
        f"gateway.host: 0.0.0.0 and tools.restrictToWorkspace: false {UNSET}",
        NOT_USED + THEIR_CHANNELS.removesuffix(", "),
    )
    assert config.gateway.heartbeat == HeartbeatConfig(interval_s=1800)
    defaults = config.agents.defaults
    assert (defaults.model, defaults.temperature, defaults.memory_window) == ("anthropic/claude-opus-4-5", 0.1, 100)
    assert config.providers["anthropic"].api_key == Secret("sk-ant-early")
    assert config.tools.restrict_to_workspace


def test_a_late_file() -> None:
    config, warnings = read("late.json")
    assert warnings == (
        "tools.exec.timeout: 0 (no limit) counts as 86400 seconds here",
        NOT_USED
        + "agents.defaults.modelPreset, agents.defaults.fallbackModels, agents.defaults.contextWindowTokens, "
        + "agents.defaults.dream, modelPresets, providers.openai.apiType, "
        + "channels.showReasoning, channels.sendMaxRetries, channels.slack, gateway.restartMode, api, "
        + "tools.my, providers.bedrock",
    )
    assert config.providers["openrouter"].api_key == Secret("sk-or-1")
    assert config.providers["my-server"].api_base == "http://127.0.0.1:9000/v1"
    assert config.tools.exec.timeout == 86400
    assert config.agents.defaults.reasoning_effort == "xhigh"


def test_with_our_version_the_defaults_that_open_the_machine_count(tmp_path: Path) -> None:
    config, warnings = read("early.json", {"configVersion": 1}, into=tmp_path)
    assert not config.tools.restrict_to_workspace
    assert warnings == (NOT_USED + THEIR_CHANNELS.removesuffix(", "),)


@pytest.mark.parametrize(
    ("search", "said", "name", "key", "base"),
    [
        ({"apiKey": "b", "maxResults": 7}, "", None, "b", ""),
        ({"provider": "tavily", "apiKey": "t", "baseUrl": ""}, "", "tavily", "t", ""),
        ({"provider": "searxng", "baseUrl": "http://s.example"}, "", "searxng", "", "http://s.example"),
        ({"provider": "brave", "apiKey": "b", "baseUrl": "http://s.example"}, "baseUrl counts as not set", "brave", "b", ""),
        ({"provider": "bocha", "apiKey": "c"}, "bocha is not served here, so duckduckgo is used", None, "", ""),
    ],
)
def test_their_search_services(
    tmp_path: Path, *, search: dict[str, Any], said: str, name: str | None, key: str, base: str
) -> None:
    config, warnings = read("early.json", {"tools": {"web": {"search": search}}}, into=tmp_path)
    found = config.tools.web.search
    assert (found.provider, found.api_key, found.base_url) == (name, Secret(key), base)
    assert [said in line for line in warnings if "tools.web.search" in line] == ([True] if said else [])


@pytest.mark.parametrize(("old", "new"), [(True, True), (False, True)])
def test_the_old_place_of_restrict_to_workspace(tmp_path: Path, old: bool, new: bool) -> None:
    config, warnings = read("early.json", {"tools": {"exec": {"restrict_to_workspace": old}}}, into=tmp_path)
    assert config.tools.restrict_to_workspace is new
    assert ("tools.restrictToWorkspace: false" in warnings[0]) is not old


def test_what_is_neither_ours_nor_theirs_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="modelPrests: unknown key"):
        read("late.json", {"modelPrests": {}}, into=tmp_path)


def test_no_variable_is_wanted_for_what_is_not_used(tmp_path: Path) -> None:
    config, _ = read("early.json", {"channels": {"discord": {"token": "${NOT_SET}"}}}, into=tmp_path)
    assert config.agents.defaults.max_tokens == 8192


def test_the_known_providers_are_those_of_the_registry() -> None:
    assert set(foreign.PROVIDERS) == set(BY_NAME)
