"""`nanobot skills`, and what `nanobot doctor` says about skills."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest

from nanobot.cli.checks_skills import skills
from nanobot.cli.findings import Facts, Verdict
from nanobot.config.paths import Places
from nanobot.config.schema import AgentDefaults, AgentsConfig, Config
from nanobot.skills.proposals import Proposals
from tests.cli.command import CommandLine
from tests.skills.kit import Instance, text


@pytest.fixture
def home(tmp_path: Path) -> Instance:
    made = Instance(tmp_path.resolve() / ".nanobot")
    made.workspace.mkdir(parents=True)
    return made


@pytest.fixture
def nanobot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(tmp_path, monkeypatch, capsys)


def held(home: Instance, name: str) -> None:
    path = home.put(name, text("Obey."))
    ledger = home.corner.ledger
    assert ledger is not None
    with ledger.writing(path, tainted=True, whole=True):
        pass


def test_the_list_names_all_with_their_state(home: Instance, nanobot: CommandLine) -> None:
    home.put("mine", text("Mine.\x1b[2J"))
    home.put("constant", text(always="true"))
    home.put("bad\x1b", text())
    held(home, "strange")
    ended = nanobot("skills", "list")
    rows = {line.split()[0]: line.split()[1:3] for line in ended.out.splitlines()}
    assert ended.code == 0
    assert rows["memory"] == ["built-in", "ready"]
    assert rows["constant"] == ["workspace", "always"]
    assert rows["mine"] == ["workspace", "ready"]
    assert rows["strange"] == ["workspace", "held"]
    assert '"bad\\u001b"' in rows
    assert "\x1b" not in ended.out
    listed = json.loads(nanobot("skills", "list", "--json").out)
    assert {one["name"]: one["state"] for one in listed}["strange"] == "held"


def test_show(home: Instance, nanobot: CommandLine) -> None:
    path = home.put("mine", text("Mine.", "Do\x1b[31m it.", always="perhaps"))
    ended = nanobot("skills", "show", "mine")
    assert (ended.code, "Do\\x1b[31m it." in ended.out, str(path) in ended.out) == (0, True, True)
    assert "- always is neither true nor false" in ended.out
    assert json.loads(nanobot("skills", "show", "mine", "--json").out)["text"] == "Do\x1b[31m it."


@pytest.mark.parametrize("command", ["show", "check", "install", "trust"])
@pytest.mark.parametrize("name", ["nope", "../workspace", "/etc", "a\x1b[31m", "x" * 5000])
def test_an_unknown_name(command: str, name: str, home: Instance, nanobot: CommandLine) -> None:
    ended = nanobot("skills", command, name)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("There is no skill ")
    assert len(ended.err) < 300
    assert "\x1b" not in ended.err


def test_check_of_all_fails_for_what_is_broken_not_for_what_is_missing(home: Instance, nanobot: CommandLine) -> None:
    assert nanobot("skills", "check", PATH="/usr/bin:/bin").code == 0
    home.put("mine", "---\ndescription: x\n")
    ended = nanobot("skills", "check")
    assert ended.code == 1
    assert f"mine: its front matter has no end. Mend {home.workspace}/skills/mine/SKILL.md" in ended.out


@pytest.mark.parametrize(
    ("head", "code", "said"),
    [
        ({}, 0, "mine is ready.\n"),
        ({"metadata": "{nanobot: {requires: {bins: no-such}}}"}, 1, "mine: it lacks the program no-such\n"),
        ({"always": "perhaps"}, 0, "mine: always is neither true nor false, so it counts as false\n"),
    ],
)
def test_check_of_one(head: dict[str, str], code: int, said: str, home: Instance, nanobot: CommandLine) -> None:
    home.put("mine", text("Mine.", "Do it.", **head))
    ended = nanobot("skills", "check", "mine")
    assert (ended.code, ended.out) == (code, said)


# --- installing


@pytest.mark.parametrize(
    ("requirements", "arguments", "said"),
    [
        (None, ["--yes"], "needs no Python packages"),
        ("# none\n", ["--yes"], "needs no Python packages"),
        ("git+https://example.org/x.git", ["--yes"], "Not installed: line 1 of requirements.txt names an address"),
        ("./x", ["--yes"], "Not installed: line 1 of requirements.txt names a file"),
        ("six", [], "Without a terminal to ask in: --yes"),
    ],
)
def test_what_is_not_installed(
    requirements: str | None, arguments: list[str], said: str, home: Instance, nanobot: CommandLine
) -> None:
    home.put("mine", text())
    if requirements is not None:
        home.put("mine", requirements, file="requirements.txt")
    ended = nanobot("skills", "install", "mine", *arguments)
    assert ended.code == 1
    assert said in ended.err
    assert not (home.data / "skills").exists()


def test_no_means_no(home: Instance, nanobot: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    home.put("mine", text())
    home.put("mine", "six", file="requirements.txt")
    monkeypatch.setattr("nanobot.cli.skills.sys", attrs.make_class("Sys", {"stdin": attrs.field(default=Terminal())})())
    ended = nanobot("skills", "install", "mine", typed="\n")
    assert "Nothing was installed." in ended.err
    assert "  six" in ended.err
    assert not (home.data / "skills").exists()


class Terminal:
    def isatty(self) -> bool:
        return True


def test_what_strangers_wrote_is_not_installed_before_it_is_trusted(home: Instance, nanobot: CommandLine) -> None:
    held(home, "mine")
    home.put("mine", "six", file="requirements.txt")
    ended = nanobot("skills", "install", "mine", "--yes")
    assert (ended.code, "text of strangers" in ended.err) == (1, True)
    assert nanobot("skills", "check", "mine").code == 1
    assert nanobot("skills", "trust", "mine").out == "mine is lacking.\n"
    assert "is not held" in nanobot("skills", "trust", "mine").err
    assert "its Python packages" in nanobot("skills", "check", "mine").out


# --- proposals


def test_proposals_from_the_list_to_the_end(home: Instance, nanobot: CommandLine) -> None:
    assert nanobot("skills", "proposals", "list").out == "No proposal waits.\n"
    soul = home.workspace / "SOUL.md"
    soul.write_text("Be kind.\nBe long.\n")
    store = Proposals(home.corner)
    one, two = (
        store.make("SOUL.md", f"Be kind.\nBe {how}.\n", "Asked twice.", "cli:default:direct", 1.0).id for how in ("brief", "loud")
    )
    assert f"{one}  1970-01-01" in nanobot("skills", "proposals", "list").out
    shown = nanobot("skills", "proposals", "show", one).out
    assert "-Be long.\n+Be brief.\n" in shown
    assert "Asked twice." in shown
    assert "Rejected" in nanobot("skills", "proposals", "reject", two).out
    assert "The one before is kept in" in nanobot("skills", "proposals", "accept", one).out
    assert soul.read_text() == "Be kind.\nBe brief.\n"
    ended = nanobot("skills", "proposals", "accept", one)
    assert (ended.code, ended.err) == (1, f"The proposal {one} was accepted already\n")
    verdicts = {row["id"]: row["verdict"] for row in json.loads(nanobot("skills", "proposals", "list", "--all", "--json").out)}
    assert verdicts == {one: "accepted", two: "rejected"}
    assert nanobot("skills", "proposals", "show", "../..").code == 1


# --- doctor


def looked(home: Instance, **defaults: object) -> tuple[Verdict, str]:
    config = Config(agents=AgentsConfig(defaults=AgentDefaults(workspace=str(home.workspace), **defaults)))  # type: ignore[arg-type]
    found = skills(Facts(Places(home.data / "config.json", named=False), {"PATH": "/bin"}, config))
    return found.verdict, found.text


def test_doctor_has_nothing_to_say_of_what_comes_along(home: Instance) -> None:
    verdict, told = looked(home)
    assert verdict is Verdict.OK
    assert "can be used" in told


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("always: [x]", "mine: always is neither true nor false"),
        ("metadata: {nanobot: {requires: {bins: no-such}}}", "mine: it lacks the program no-such"),
        ("x: &a [*a]", "mine: its front matter has aliases"),
    ],
)
def test_doctor_names_what_is_wrong_in_the_workspace(head: str, said: str, home: Instance) -> None:
    home.put("mine", f"---\ndescription: x\n{head}\n---\nDo it.")
    verdict, told = looked(home)
    assert verdict is Verdict.WARN
    assert said in told
    assert "nanobot skills check" in told


def test_doctor_names_a_few_and_counts_the_rest(home: Instance) -> None:
    for number in range(9):
        home.put(f"s{number}", "")
    assert "s4: its SKILL.md is empty and 4 more" in looked(home)[1]
    assert "there is no such skill" in looked(home, disabled_skills=("nope",))[1]


def test_doctor_tells_of_proposals(home: Instance) -> None:
    Proposals(home.corner).make("SOUL.md", "x", "y", "cli:default:direct", 1.0)
    verdict, told = looked(home)
    assert (verdict, "1 proposed change waits: nanobot skills proposals list" in told) == (Verdict.OK, True)
