import json

from tests.cli.command import CommandLine
from tests.cli.test_config_cmd import SECRET, put


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
    ]
    assert not folder.exists()


def test_a_line_for_each_provider(nanobot: CommandLine) -> None:
    put(nanobot.home)
    (nanobot.home / ".nanobot" / "journals" / "cli%3adirect").mkdir(parents=True)
    lines = nanobot("status", GROQ="gsk-abcdef", DEEPSEEK_API_KEY="sk-deep").out.splitlines()
    assert lines[3:] == [
        "model      gpt-5.4, from openai (the model gpt-5.4 is served by it)",
        "sessions   1",
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
