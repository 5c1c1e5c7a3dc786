"""Which skills there are, and what a prompt says of them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import attrs
import pytest

from nanobot.agent.context import SystemPrompt
from nanobot.messages import MessageId, Said
from nanobot.skills.catalog import MOST_INLINED, MOST_LISTED, Source, State
from nanobot.skills.places import BUILTIN, GUIDE, is_name
from nanobot.skills.shelf import MOST_SKILLS
from tests.skills.kit import Instance, instance, text
from tests.tools.kit import make_kit


@pytest.fixture
def home(tmp_path: Path) -> Instance:
    return instance(tmp_path)


# --- which there are


def test_the_workspace_wins_by_folder_name(home: Instance) -> None:
    home.put("github", text("Mine.", name="weather"))
    found = {entry.name: entry.skill for entry in home.shelf(builtin=BUILTIN).look().entries}
    assert (found["github"].source, found["github"].front.description) == (Source.WORKSPACE, "Mine.")
    assert found["weather"].source is Source.BUILTIN


def test_a_broken_one_of_the_workspace_wins_as_well(home: Instance) -> None:
    home.put("github", "")
    entry = home.shelf(builtin=BUILTIN).look().find("github")
    assert entry is not None
    assert (entry.state, entry.why) == (State.BROKEN, "its SKILL.md is empty")


def test_what_is_no_skill_is_passed_over(home: Instance) -> None:
    home.put("empty", "x", file="notes.md")
    home.put(".git", text())
    (home.workspace / "skills" / "file").write_text("")
    assert home.shelf().look().entries == ()


@pytest.mark.parametrize("name", ["a b", "esc\x1b[31m", "line\nfeed", "-rf", "a" * 65, "bidi\u202e"])
def test_a_folder_with_an_odd_name_is_broken_and_in_no_prompt(name: str, home: Instance) -> None:
    home.put(name, text("Obey."))
    catalog = home.shelf().look()
    assert [entry.state for entry in catalog.entries] == [State.BROKEN]
    assert not set(catalog.entries[0].name) & set("\x1b\n\u202e")
    assert "Obey" not in SystemPrompt(home.workspace, home.shelf()).text()
    assert home.shelf().find(name) is None


def test_names_are_never_paths() -> None:
    assert not any(map(is_name, ["..", ".", "", "a/b", "../x", "/x", ".x", "a\0", "a\n"]))
    assert all(map(is_name, ["a", "skill-creator", "研究", "Größe", "v1.2", "_x"]))


@pytest.mark.parametrize("what", ["folder", "file", "skills", "data", "pipe"])
def test_what_leads_out_of_the_workspace_is_not_read(what: str, home: Instance, tmp_path: Path) -> None:
    outside = tmp_path / "outside" / "x"
    outside.mkdir(parents=True)
    (outside / "SKILL.md").write_text(text("sk-secret", "sk-secret"))
    (home.data / "config.json").write_text(text("sk-secret", "sk-secret"))
    folder = home.workspace / "skills"
    if what == "skills":
        folder.symlink_to(outside.parent)
    elif what == "folder":
        folder.mkdir()
        (folder / "x").symlink_to(outside)
    else:
        (folder / "x").mkdir(parents=True)
        if what == "pipe":
            os.mkfifo(folder / "x" / "SKILL.md")
        else:
            (folder / "x" / "SKILL.md").symlink_to(outside / "SKILL.md" if what == "file" else home.data / "config.json")
    catalog = home.shelf().look()
    told = [*catalog.remarks, *(entry.why for entry in catalog.entries)]
    words = {"skills": "leads out of the workspace", "data": "the assistant's own data", "pipe": "a named pipe"}
    assert words.get(what, "outside the workspace") in told[0]
    assert "sk-secret" not in SystemPrompt(home.workspace, home.shelf()).text()
    if what != "skills":
        entry = home.shelf().find("x")
        assert entry is not None
        assert entry.state is State.BROKEN


def test_a_link_within_the_workspace_is_followed(home: Instance) -> None:
    home.put("real", text("Good."))
    (home.workspace / "skills" / "other").symlink_to("real")
    assert home.entry("other").state is State.READY


def test_of_2000_skills_the_first_are_known_and_it_is_said(home: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(2000):
        home.put(f"s{number:04}", text(f"Number {number}."))
    shelf = home.shelf()
    catalog = shelf.look()
    assert [entry.name for entry in catalog.entries] == [f"s{number:04}" for number in range(MOST_SKILLS)]
    assert "more than 200 skills" in catalog.remarks[0]
    later = shelf.find("s1999")
    assert later is not None
    assert later.skill.front.description == "Number 1999."
    monkeypatch.setattr("nanobot.skills.reading.of_workspace", None)  # nothing is read again
    before = time.perf_counter()
    for _ in range(20):
        assert shelf.look() is catalog
    assert (time.perf_counter() - before) / 20 < 0.1, "it stands before each model call"


# --- what they need


@pytest.mark.parametrize(
    ("requires", "environ", "lacks"),
    [
        ('{"bins": ["sh"]}', {}, ()),
        ('{"bins": ["sh", "no-such-program"]}', {}, ("the program no-such-program",)),
        ('{"env": ["A_KEY"]}', {}, ("the variable A_KEY",)),
        ('{"env": ["A_KEY"]}', {"A_KEY": "x"}, ("the variable A_KEY in tools.exec.allowedEnvKeys",)),
        ('{"env": ["LANG"]}', {"LANG": "C"}, ()),
    ],
)
def test_requirements(requires: str, environ: dict[str, str], lacks: tuple[str, ...], home: Instance) -> None:
    home.put("x", text(metadata=f'{{"nanobot": {{"requires": {requires}}}}}'))
    entry = home.entry("x", **environ)
    assert (entry.lacks, entry.state) == (lacks, State.LACKING if lacks else State.READY)


def test_another_system(home: Instance) -> None:
    home.put("x", text(metadata='{"nanobot": {"os": ["windows"]}}'))
    assert home.entry("x").lacks == ("another system (win32)",)


def test_packages_that_are_not_installed(home: Instance) -> None:
    home.put("good", text())
    home.put("good", "six==1.0", file="requirements.txt")
    home.put("bad", text())
    home.put("bad", "-e .", file="requirements.txt")
    assert home.entry("good").lacks == ("its Python packages (nanobot skills install good)",)
    assert home.entry("bad").lacks == ("Python packages that are not installed (see nanobot skills check)",)
    assert "option of pip" in home.entry("bad").skill.remarks[0]


def test_disabled_skills(home: Instance) -> None:
    home.put("x", text())
    catalog = home.shelf(builtin=BUILTIN, disabled=("x", "weather", "wether")).look()
    states = {entry.name: entry.state for entry in catalog.entries}
    assert (states["x"], states["weather"], states["cron"]) == (State.DISABLED, State.DISABLED, State.READY)
    assert catalog.remarks == ("agents.defaults.disabledSkills names wether, and there is no such skill",)


# --- whose word they are


@pytest.mark.parametrize("strange", ["skills/mine/requirements.txt", "notes/SKILL.md"])
def test_a_link_hides_nothing_that_strangers_wrote(strange: str, home: Instance) -> None:
    """The packages stand beside the link, not beside what it leads to."""
    home.put("mine", "icalendar", "requirements.txt")
    (home.workspace / "notes").mkdir()
    (home.workspace / "notes" / "SKILL.md").write_text(text())
    (home.workspace / "skills" / "mine" / "SKILL.md").symlink_to(home.workspace / "notes" / "SKILL.md")
    assert home.entry("mine").state is State.LACKING
    ledger = home.corner.ledger
    assert ledger is not None
    with ledger.writing(home.workspace / strange, tainted=True, whole=True):
        pass
    assert home.entry("mine").state is State.HELD


@pytest.mark.parametrize("file", ["SKILL.md", "requirements.txt"])
def test_what_was_written_in_a_tainted_turn_is_held_until_it_is_rewritten_in_a_clean_one(file: str, home: Instance) -> None:
    home.put("x", text("Obey."))
    home.put("x", "a", file="requirements.txt")
    path = home.workspace / "skills" / "x" / file
    shelf = home.shelf()
    prompt = SystemPrompt(home.workspace, shelf)
    assert "Obey." in prompt.text()
    ledger = home.corner.ledger
    assert ledger is not None
    with ledger.writing(path, tainted=True, whole=True):
        pass
    entry = shelf.look().find("x")
    assert entry is not None
    assert entry.state is State.HELD
    assert "Obey." not in prompt.text()
    with ledger.writing(path, tainted=False, whole=True):
        pass
    assert "Obey." in prompt.text()


def test_while_the_ledger_is_damaged_the_workspace_teaches_nothing(home: Instance, claimed_errors: list[str]) -> None:
    home.put("x", text("Obey."))
    (home.data / "tainted.json").write_text("{")
    found = home.shelf(builtin=BUILTIN).look()
    assert "is damaged" in claimed_errors[0]
    assert {entry.state for entry in found.entries if entry.skill.source is Source.WORKSPACE} == {State.HELD}
    assert {entry.state for entry in found.entries if entry.skill.source is Source.BUILTIN} <= {State.READY, State.LACKING}


# --- the prompt


def test_the_prompt_changes_only_with_a_file_of_a_skill(home: Instance) -> None:
    prompt = SystemPrompt(home.workspace, home.shelf())
    bare = prompt.text()
    path = home.put("x", text("One."))
    with_one = prompt.text()
    assert with_one.startswith(bare)
    assert f"In {path.parent.parent}:\n- x: One." in with_one
    home.put("x", "notes", file="references/more.md")
    (home.workspace / "notes.md").write_text("x")
    assert prompt.text() is with_one
    path.write_text(text("Two!"))
    assert "- x: Two!" in prompt.text()
    path.unlink()
    assert prompt.text() == bare


def test_the_order_is_soul_active_skills_the_list_then_memory(home: Instance) -> None:
    (home.workspace / "SOUL.md").write_text("my soul")
    (home.workspace / "memory").mkdir()
    (home.workspace / "memory" / "MEMORY.md").write_text("I know")
    home.put("inlined", text("Not listed.", "ALWAYS {baseDir}/x", always="true"))
    home.put("listed", text("LISTED", metadata='{"nanobot": {"requires": {"bins": ["no-such"]}}}'))
    prompt = SystemPrompt(home.workspace, home.shelf()).text()
    words = [
        "my soul",
        "## Skill inlined",
        f"ALWAYS {home.workspace}/skills/inlined/x",
        "LISTED",
        "[lacks the program no-such]",
        "I know",
    ]
    places = [prompt.index(word) for word in words]
    assert places == sorted(places)
    assert "Not listed." not in prompt


def test_an_always_skill_that_lacks_something_is_listed_instead(home: Instance) -> None:
    home.put("x", text("Listed.", "BODY", always="true", metadata='{"nanobot": {"requires": {"bins": ["no-such"]}}}'))
    prompt = SystemPrompt(home.workspace, home.shelf()).text()
    assert "Listed." in prompt
    assert "BODY" not in prompt


def test_what_stands_in_every_prompt_is_bounded(home: Instance) -> None:
    for number in range(20):
        home.put(f"always{number:02}", text("Long.", "word " * 6000, always="true"))
    for number in range(180):
        home.put(f"listed{number:03}", text("word " * 100))
    prompt = SystemPrompt(home.workspace, home.shelf()).text()
    assert len(prompt) < MOST_INLINED + MOST_LISTED + 20_000
    assert "more are not listed here" in prompt


# --- $name


def said(words: str, **more: object) -> Said:
    return attrs.evolve(Said(MessageId("m"), words, 0.0, "me"), **more)  # type: ignore[arg-type]


def test_a_named_skill_is_put_before_the_model_and_what_was_said_stays(home: Instance) -> None:
    path = home.put("expenses", text("Listed.", "BODY in {baseDir}"))
    prompt = SystemPrompt(home.workspace, home.shelf())
    before = prompt.text()
    message = said("book it with $expenses.")
    assert f"BODY in {path.parent}" in prompt.named([message], "me")
    assert message.text == "book it with $expenses."
    assert prompt.text() is before


@pytest.mark.parametrize(
    "words", ["costs $5", "echo $HOME", "US$expenses", r"\$expenses", "$$expenses", "$other", "$../expenses", "$"]
)
def test_what_names_none(words: str, home: Instance) -> None:
    home.put("expenses", text())
    assert SystemPrompt(home.workspace, home.shelf()).named([said(words)], "me") == ""


@pytest.mark.parametrize("more", [{"principal": "other"}, {"tainted": True}, {"ours": True}])
def test_only_the_words_of_the_person_of_the_turn_count(more: dict[str, object], home: Instance) -> None:
    home.put("x", text())
    assert SystemPrompt(home.workspace, home.shelf()).named([said("$x", **more)], "me") == ""


def test_a_skill_that_may_not_be_used_is_said_to_be_none(home: Instance) -> None:
    home.put("x", text("Obey.", "OBEY"))
    named = SystemPrompt(home.workspace, home.shelf(disabled=("x",))).named([said("$x")], "me")
    assert "not used here: it is in agents.defaults.disabledSkills" in named
    assert "OBEY" not in named


def test_at_most_four_are_named(home: Instance) -> None:
    for number in range(9):
        home.put(f"s{number}", text(body=f"BODY{number}"))
    words = " ".join(f"$s{number} $none{number}" for number in range(9))
    assert SystemPrompt(home.workspace, home.shelf()).named([said(words)], "me").count("BODY") == 4


# --- what comes along


def test_what_comes_along_is_in_order() -> None:
    found = Instance(Path("/nonexistent")).shelf(builtin=BUILTIN).look().entries
    assert [entry.name for entry in found] == sorted(path.parent.name for path in BUILTIN.glob("*/SKILL.md"))
    assert len(found) >= 10
    for entry in found:
        assert entry.skill.remarks == ()
        assert entry.offered
        assert 30 < len(entry.skill.front.description) < 100
        assert len(entry.skill.body.splitlines()) < 100
    assert not any(entry.skill.front.always for entry in found), "windows are small"


async def test_the_guide_and_the_skills_of_the_package_can_be_read_and_not_written(tmp_path: Path) -> None:
    kit = make_kit(tmp_path)
    kit = attrs.evolve(kit, turn=attrs.evolve(kit.turn, readable=(BUILTIN, GUIDE)))
    assert "# skills: what the assistant is taught" in await kit.text("read_file", path=str(GUIDE / "skills.md"))
    assert "skills.md" in await kit.text("list_dir", path=str(GUIDE))
    assert "Your own manual" in await kit.text("read_file", path=str(BUILTIN / "guide" / "SKILL.md"))
    assert "# skills:" in await kit.text("read_file", path=str(BUILTIN / "guide" / "../../../guide/skills.md"))
    assert "no right to write" in await kit.refused("write_file", path=str(GUIDE / "skills.md"), content="x")
