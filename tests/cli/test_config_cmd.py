import json
from pathlib import Path

from tests.cli.command import CommandLine

SECRET = "sk-very-secret-0123456789"
CONTENT = {
    "configVersion": 1,
    "agents": {"defaults": {"model": "gpt-5.4"}},
    "providers": {
        "openai": {"apiKey": SECRET, "apiBase": f"http://me:{SECRET}@127.0.0.1/v1", "extraHeaders": {"X-Token": SECRET}},
        "groq": {"apiKey": "${GROQ}"},
    },
}


def put(home: Path, content: object = CONTENT) -> Path:
    folder = home / ".nanobot"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(content))
    return folder / "config.json"


def test_show_says_what_differs_and_masks_secrets(nanobot: CommandLine) -> None:
    put(nanobot.home)
    ended = nanobot("config", "show", GROQ="gsk-from-environment")
    assert ended.out.splitlines() == [
        "configVersion: 1",
        "agents.defaults.model: gpt-5.4",
        "providers.openai.apiKey: ***",
        "providers.openai.apiBase: http://***@127.0.0.1/v1",
        "providers.openai.extraHeaders.X-Token: ***",
        "providers.groq.apiKey: ***",
    ]
    assert (ended.code, ended.err) == (0, "")


def test_no_secret_in_any_output(nanobot: CommandLine) -> None:
    put(nanobot.home)
    for arguments in (["show"], ["show", "--all"], ["show", "--json"], ["show", "--json", "--all"], ["check"]):
        ended = nanobot("config", *arguments, GROQ="gsk-from-environment")
        assert ended.code == 0
        assert SECRET not in ended.out + ended.err, arguments
        assert "gsk-from-environment" not in ended.out + ended.err, arguments


def test_show_all_has_every_default(nanobot: CommandLine) -> None:
    shown = json.loads(nanobot("config", "show", "--all", "--json").out)
    assert shown["agents"]["defaults"]["maxTokens"] == 8192
    assert "agents.defaults.maxTokens: 8192" in nanobot("config", "show", "--all").out.splitlines()
    assert nanobot("config", "show").out == "nothing differs from the defaults; see them with --all\n"


def test_check_lists_every_mistake(nanobot: CommandLine) -> None:
    path = put(nanobot.home, {"agents": {"defaults": {"maxTokens": 0}}, "chanels": {}})
    ended = nanobot("config", "check")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.splitlines()[:2] == [
        f"{path}: 2 mistakes in the configuration",
        "  agents.defaults.maxTokens: expected 1 or more, got 0",
    ]


def test_check_is_content_with_warnings(nanobot: CommandLine) -> None:
    put(nanobot.home, {"channels": {"discord": {}}})
    ended = nanobot("config", "check")
    assert (ended.code, ended.out) == (0, "ok\n")
    assert ended.err == "warning: not used here, known from HKUDS/nanobot: channels.discord\n"
    (nanobot.home / ".nanobot" / "config.json").unlink()
    assert nanobot("config", "check").out == "ok: there is no file, the defaults are in force\n"


def test_path_and_schema(nanobot: CommandLine, tmp_path: Path) -> None:
    assert nanobot("config", "path").out == f"{nanobot.home}/.nanobot/config.json\n"
    assert nanobot("config", "path", "--config", str(tmp_path / "x.yaml")).out == f"{tmp_path}/x.yaml\n"
    assert json.loads(nanobot("config", "schema").out)["$schema"].endswith("2020-12/schema")
