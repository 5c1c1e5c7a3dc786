import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from nanobot.config.load import load
from nanobot.config.schema import Config, Secret
from nanobot.errors import ConfigError

# One mistake each: the file, and the one line it must yield.
MISTAKES: list[tuple[dict[str, Any], str]] = [
    (
        {"xyzzy": {}},
        "xyzzy: unknown key; known here: configVersion, agents, providers, tools, channels, transcription, gateway, memory, "
        "usage, retention",
    ),
    (
        {"agents": {"defaults": {"timezone": "Berlin"}}},
        "agents.defaults.timezone: there is no time zone 'Berlin'; did you mean Europe/Berlin?",
    ),
    ({"gateway": {"heartbeat": {"quiet": "night"}}}, "gateway.heartbeat.quiet: expected hours such as 22:00-07:00"),
    ({"usage": {"caps": [{"of": "everything"}]}}, "usage.caps[0]: expected tokens or money, the limit"),
    ({"model": "x"}, "model: unknown key; did you mean agents.defaults.model?"),
    ({"agents": []}, "agents: expected an object, got a list"),
    ({"agents": {"defaults": {"temprature": 1}}}, "agents.defaults.temprature: unknown key; did you mean temperature?"),
    ({"agents": {"defaults": {"maxTokens": "many"}}}, "agents.defaults.maxTokens: expected a whole number, got text"),
    ({"agents": {"defaults": {"maxTokens": 1.5}}}, "agents.defaults.maxTokens: expected a whole number, got a number"),
    ({"agents": {"defaults": {"maxTokens": True}}}, "agents.defaults.maxTokens: expected a whole number, got true"),
    ({"agents": {"defaults": {"maxTokens": 0}}}, "agents.defaults.maxTokens: expected 1 or more, got 0"),
    ({"agents": {"defaults": {"temperature": 2.5}}}, "agents.defaults.temperature: expected 0 to 2, got 2.5"),
    ({"agents": {"defaults": {"stream": "false"}}}, "agents.defaults.stream: expected true or false, got text"),
    (
        {"agents": {"defaults": {"reasoning_effort": "hihg"}}},
        "agents.defaults.reasoningEffort: expected one of none, minimal, low, medium, high, xhigh, max, adaptive;"
        " did you mean high?",
    ),
    (
        {"agents": {"defaults": {"maxTokens": 1, "max_tokens": 2}}},
        "agents.defaults.maxTokens: is there twice, as camelCase and as snake_case",
    ),
    ({"agents": {"models": {"gpt-4.1": {"maxTokens": 0}}}}, 'agents.models["gpt-4.1"].maxTokens: expected 1 or more, got 0'),
    ({"gateway": {"owners": "telegram:1"}}, "gateway.owners: expected a list, got text"),
    ({"gateway": {"owners": ["a:b", None]}}, "gateway.owners[1]: expected text, got null"),
    ({"providers": {"openai": {"apiKey": 12345}}}, "providers.openai.apiKey: expected text, got a number"),
    ({"providers": {"openai": {"extraHeaders": {"X": 1}}}}, "providers.openai.extraHeaders.X: expected text, got a number"),
    ({"providers": {"openai": {"apiKey": "${NOPE}"}}}, "providers.openai.apiKey: the environment variable NOPE is not set"),
    (
        {"providers": {"opnai": {"apiKey": "sk"}}},
        "providers.opnai.apiBase: opnai is no known provider; a provider of your own needs its address; did you mean openai?",
    ),
    ({"configVersion": "1"}, "configVersion: expected a whole number, got text"),
    (
        {"configVersion": 2},
        "configVersion: this nanobot reads version 1; a newer one wrote this file: update nanobot",
    ),
]
VARIABLES = [
    ("AGENTS__DEFAULTS__MAX_TOKENS", "many", "expected a whole number"),
    ("AGENTS__DEFAULTS__STREAM", "perhaps", "expected true or false"),
    ("AGENTS__DEFAULTS__TEMPERATURE", "warm", "expected a number"),
    ("AGENTS__DEFAULT__MODEL", "x", "no setting DEFAULT in agents; did you mean DEFAULTS?"),
    ("AGENTS__DEFAULTS__MODEL__X", "x", "agents.defaults.model has no keys below it"),
    ("CHANELS__X", "x", "no setting CHANELS at the root"),
    ("GATEWAY__OWNERS", "telegram:1", 'expected a list in JSON, such as ["one", "two"]'),
    ("AGENTS", "[]", 'expected an object in JSON, such as {"name": "value"}'),
]
NOT_WELL_FORMED = [
    ("config.json", '{\n  "agents": {,}\n}', "line 2, column 14: expecting property name enclosed in double quotes"),
    ("config.json", '{"agents": {}, "agents": {}}', "the key 'agents' is there twice in one object"),
    ("config.json", '{"retention": {"toolResultsMb": Infinity}}', "Infinity is not a number that JSON has"),
    ("config.json", "[" * 100_000, "nested too deeply"),
    ("config.json", "[]", "expected an object with keys such as agents and providers"),
    ("config.yaml", "agents:\n  x: [1\n", "line 3, column 1: expected ',' or ']', but got '<stream end>'"),
    ("config.yaml", "a: 1\na: 2\n", "line 2, column 1: this key is there twice"),
    ("config.yaml", "1: x\n", "the key 1 must be text: put it in quotes"),
    ("config.yaml", "providers: *SecretToken\n", "line 1, column 12: found undefined alias …"),
    ("config.yaml", "a: &a [*a]\n", "nested too deeply"),
]


@attrs.define
class File:
    """The configuration file of a test."""

    path: Path

    def holds(self, content: object, **environ: str) -> Config:
        self.path.write_text(json.dumps(content))
        return load(self.path, environ).config

    def mistakes(self, content: object, **environ: str) -> tuple[str, ...]:
        with pytest.raises(ConfigError) as caught:
            self.holds(content, **environ)
        assert caught.value.file == str(self.path)
        return caught.value.mistakes


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path / "config.json")


@pytest.mark.parametrize(("content", "line"), MISTAKES, ids=[line.partition(":")[0] for _, line in MISTAKES])
def test_each_mistake_is_one_line(file: File, content: dict[str, Any], line: str) -> None:
    assert file.mistakes(content) == (line,)


def test_all_mistakes_are_told_at_once(file: File) -> None:
    content = {"agents": {"defaults": {"stream": 1, "maxTokens": 0}, "x": 1}, "tools": {"file": 3}, "retention": {"y": 0}}
    found = file.mistakes(content, NANOBOT_GATEWAY__OWNERS="x")
    assert [line.partition(":")[0] for line in found] == [
        "agents.defaults.maxTokens",
        "agents.defaults.stream",
        "agents.x",
        "tools.file",
        "retention.y",
        "NANOBOT_GATEWAY__OWNERS",
    ]


@pytest.mark.parametrize(("name", "text", "line"), NOT_WELL_FORMED)
def test_a_file_that_is_not_well_formed_says_where(tmp_path: Path, name: str, text: str, line: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / name, {})
    assert caught.value.mistakes == (line,)


def test_what_is_no_text_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(ConfigError, match="byte 7: not UTF-8 text"):
        load(tmp_path / "config.json", {})
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path, {})


def test_no_file_means_the_defaults(tmp_path: Path) -> None:
    assert load(tmp_path / "config.json", {}).config == Config()


def test_both_spellings_are_read_and_names_of_the_user_stay(file: File) -> None:
    config = file.holds(
        {
            "agents": {"defaults": {"max_tokens": 5}, "models": {"my_model": {"maxTokens": 6}}},
            "providers": {"my_own": {"api_base": "http://127.0.0.1/v1", "extra_headers": {"x_y": "z"}, "extraBody": {"a_b": 1}}},
        }
    )
    assert config.agents.defaults.max_tokens == 5
    assert config.agents.models["my_model"].max_tokens == 6
    own = config.providers["my_own"]
    assert (own.api_base, own.extra_headers, own.extra_body) == ("http://127.0.0.1/v1", {"x_y": "z"}, {"a_b": 1})


def test_null_means_not_set_and_whole_numbers_may_be_floats(file: File) -> None:
    config = file.holds(
        {"providers": {"openai": {"apiKey": None, "extraHeaders": None}}, "agents": {"defaults": {"temperature": 1}}}
    )
    assert config.providers["openai"].extra_headers == {}
    assert isinstance(config.agents.defaults.temperature, float)


def test_an_editor_may_name_the_schema(file: File) -> None:
    assert file.holds({"$schema": "./nanobot.schema.json"}) == Config()


def test_variables_are_put_in_and_their_values_never_told(file: File) -> None:
    content = {"providers": {"openai": {"apiKey": "${A}", "extraHeaders": {"X": "v-${B}${A}"}}}}
    openai = file.holds(content, A="sk-1", B="two").providers["openai"]
    assert (openai.api_key, openai.extra_headers) == (Secret("sk-1"), {"X": "v-twosk-1"})
    assert "sk-1" not in repr(openai)
    lines = file.mistakes({"agents": {"defaults": {"maxTokens": "${A}", "reasoningEffort": "${A}"}}}, A="sk-secret")
    assert "sk-secret" not in "\n".join(lines)


def test_the_environment_wins_over_the_file(file: File) -> None:
    config = file.holds(
        {"agents": {"defaults": {"model": "from-file", "maxTokens": 5}}, "providers": {"openaiCodex": {"apiKey": "file"}}},
        NANOBOT_AGENTS__DEFAULTS__MODEL="from-${NOWHERE}",
        NANOBOT_AGENTS__DEFAULTS__STREAM="false",
        NANOBOT_AGENTS__DEFAULTS__TEMPERATURE="0.5",
        NANOBOT_AGENTS__DEFAULTS__MAX_TOKENS="",
        NANOBOT_AGENTS__MODELS='{"gpt-4.1": {"maxTokens": 7}}',
        NANOBOT_PROVIDERS__OPENAI_CODEX__API_KEY="environment",
        NANOBOT_GATEWAY__OWNERS='["telegram:1"]',
        NANOBOT_HOME="is no setting",
    )
    defaults = config.agents.defaults
    assert (defaults.model, defaults.stream, defaults.temperature, defaults.max_tokens) == ("from-${NOWHERE}", False, 0.5, 5)
    assert config.agents.models["gpt-4.1"].max_tokens == 7
    assert config.providers["openaiCodex"].api_key.reveal() == "environment"
    assert config.gateway.owners == ("telegram:1",)


@pytest.mark.parametrize(("name", "value", "text"), VARIABLES, ids=[name for name, *_ in VARIABLES])
def test_a_variable_that_cannot_be_used_is_a_mistake(file: File, name: str, value: str, text: str) -> None:
    (line,) = file.mistakes({}, **{f"NANOBOT_{name}": value})
    assert line.startswith(f"NANOBOT_{name}: {text}")


def test_a_mistake_from_the_environment_names_its_variable(file: File) -> None:
    lines = file.mistakes({}, NANOBOT_AGENTS__DEFAULTS__MAX_TOKENS="0", NANOBOT_TOOLS__FILE='{"enable": 1}')
    assert lines == (
        "agents.defaults.maxTokens (from NANOBOT_AGENTS__DEFAULTS__MAX_TOKENS): expected 1 or more, got 0",
        "tools.file.enable (from NANOBOT_TOOLS__FILE): expected true or false, got a number",
    )


def test_yaml_is_read_by_its_own_rules(tmp_path: Path) -> None:
    text = """
    providers: &p
      own: {apiBase: http://127.0.0.1/v1, extraBody: {mode: off, at: 12:30, day: 2026-01-02, n: 012, x: 1.5}}
    agents: {defaults: {stream: true, model: no}}
    """
    (tmp_path / "config.yml").write_text(text)
    config = load(tmp_path / "config.yml", {}).config
    assert config.providers["own"].extra_body == {"mode": "off", "at": "12:30", "day": "2026-01-02", "n": 12, "x": 1.5}
    assert config.agents.defaults.model == "no"
