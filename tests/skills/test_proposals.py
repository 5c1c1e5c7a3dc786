"""Changes that the assistant proposes: nothing changes before a person has said so, and what was there is kept."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest

from nanobot.errors import ToolError
from nanobot.messages import Effect
from nanobot.security.policy import WHO, Case, decide
from nanobot.skills import proposals as module
from nanobot.skills.proposals import MOST_OPEN, MOST_TEXT, NoProposal, Proposals, Verdict
from tests.skills.kit import instance
from tests.tools.kit import Kit, make_kit

NEW = "Be brief.\n"


@pytest.fixture
def store(tmp_path: Path) -> Proposals:
    here = instance(tmp_path)
    (here.workspace / "SOUL.md").write_text("Be kind.\n")
    return Proposals(here.corner)


def soul(store: Proposals) -> Path:
    return store._corner.workspace / "SOUL.md"


def make(store: Proposals, path: str = "SOUL.md", text: str = NEW, at: float = 1.0) -> str:
    return store.make(path, text, "You keep asking for it.", "cli:default:direct", at).id


def test_accepting_puts_it_in_force_and_keeps_the_version_before(store: Proposals) -> None:
    id = make(store)
    assert soul(store).read_text() == "Be kind.\n"
    old = store.accept(id)
    assert old is not None
    assert (soul(store).read_text(), old.read_text(), store.get(id).verdict) == (NEW, "Be kind.\n", Verdict.ACCEPTED)
    assert old.stat().st_mode & 0o777 == 0o600


def test_rejecting_changes_nothing(store: Proposals) -> None:
    id = make(store)
    store.reject(id)
    assert (soul(store).read_text(), store.get(id).verdict) == ("Be kind.\n", Verdict.REJECTED)
    for decide_again in (store.accept, store.reject):
        with pytest.raises(NoProposal, match="was rejected already"):
            decide_again(id)


def test_a_new_skill(store: Proposals) -> None:
    id = make(store, "skills/books/SKILL.md")
    assert store.accept(id) is None
    assert (soul(store).parent / "skills" / "books" / "SKILL.md").read_text() == NEW


@pytest.mark.parametrize("text", ["Be kind. Mostly.\n", None])
def test_what_was_changed_since_is_not_overwritten(text: str | None, store: Proposals) -> None:
    id = make(store)
    soul(store).unlink() if text is None else soul(store).write_text(text)
    with pytest.raises(NoProposal, match="was changed since"):
        store.accept(id)
    assert text == (soul(store).read_text() if soul(store).exists() else None)


def test_of_two_the_second_must_be_made_anew(store: Proposals) -> None:
    first, second = make(store), make(store, text="Be quick.\n")
    store.accept(first)
    with pytest.raises(NoProposal, match="was changed since"):
        store.accept(second)


PATHS = [
    "AGENTS.md",
    "soul.md",
    "./SOUL.md",
    "/etc/passwd",
    "../SOUL.md",
    "skills/x",
    "skills//SKILL.md",
    "skills/../SOUL.md",
    "skills/x/../../AGENTS.md",
    "skills/x/.env",
    "skills/x/a\x1b[31m",
    "skills/x/" + "a/" * 6 + "b",
    "memory/MEMORY.md",
    "skills\\x\\SKILL.md",
    "",
    "x" * 100_000,
]


@pytest.mark.parametrize("path", PATHS)
def test_what_may_not_be_proposed(path: str, store: Proposals) -> None:
    with pytest.raises(ToolError, match="cannot be proposed"):
        make(store, path)
    assert store.all() == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x" * (MOST_TEXT + 1), "longer than 64 KiB"),
        (" \n", "is empty"),
        ("Be kind\u202e.", "is not proposed: it holds a sign that does not show"),
        ("Be kind\x1b[2K.", "is not proposed: it holds a sign that does not show"),
        ("half \ud800", "is not proposed"),
        ("Be kind.\n", "says exactly that already"),
    ],
)
def test_texts_that_nobody_can_judge(text: str, reason: str, store: Proposals) -> None:
    with pytest.raises(ToolError, match=reason):
        make(store, text=text)


def test_a_link_out_of_the_workspace_is_neither_shown_nor_written(store: Proposals, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("sk-secret")
    soul(store).unlink()
    soul(store).symlink_to(tmp_path / "secret")
    with pytest.raises(ToolError, match="outside the workspace"):
        make(store)
    soul(store).unlink()
    id = make(store)
    soul(store).symlink_to(tmp_path / "gone")
    with pytest.raises(ToolError):
        store.accept(id)
    assert not (tmp_path / "gone").exists()


def test_there_are_never_too_many(store: Proposals, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_KEPT", 3)
    for number in range(8):
        store.reject(make(store, text=f"{number}", at=number))
    assert [one.at for one in store.all()][-4:] == [4, 5, 6, 7]
    assert len(store.all()) <= 5
    for number in range(MOST_OPEN):
        make(store, text=f"open {number}")
    with pytest.raises(ToolError, match="30 proposals wait already"):
        make(store)


@pytest.mark.parametrize("damage", ["{", "[]", '{"path": "/etc/passwd"}', "{" * 3000])
def test_a_damaged_one_is_left_out(damage: str, store: Proposals) -> None:
    id = make(store)
    (store.folder / id / "proposal.json").write_text(damage)
    assert store.all() == []
    with pytest.raises(NoProposal, match="There is no proposal"):
        store.accept(id)


def test_one_that_was_given_another_path_on_disk_is_none(store: Proposals) -> None:
    id = make(store)
    file = store.folder / id / "proposal.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "path": "../config.json"}))
    assert store.all() == []


@pytest.mark.parametrize("id", ["../..", "", "abc", "ABCDEF", "a" * 100, "000000"])
def test_an_unknown_id(id: str, store: Proposals) -> None:
    with pytest.raises(NoProposal, match="There is no proposal"):
        store.get(id)


# --- the tool


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    kit = make_kit(tmp_path)
    kit.put("SOUL.md", "Be kind.\n")
    return kit


async def test_the_tool_proposes_and_says_how_it_is_decided(kit: Kit) -> None:
    told = await kit.text("propose_change", path="SOUL.md", content=NEW, reason="You asked twice.")
    assert "nanobot skills proposals show" in told
    assert (kit.workspace / "SOUL.md").read_text() == "Be kind.\n"
    assert "the assistant's own data" in await kit.refused("list_dir", path=str(kit.workspace.parent / "proposals"))


@pytest.mark.parametrize("tainted", [False, True])
@pytest.mark.parametrize("who", WHO)
def test_who_may_propose(who: str, *, tainted: bool) -> None:
    case = Case("propose_change", Effect.WRITES, "SOUL.md", who, "cli", tainted)  # type: ignore[arg-type]
    assert decide(case, []) == ("allow" if who in ("owner", "scheduled") and not tainted else "deny")


async def test_a_tainted_turn_may_not_propose_whatever_a_rule_says(kit: Kit) -> None:
    kit = attrs.evolve(kit, turn=attrs.evolve(kit.turn, tainted=True))
    told = await kit.refused("propose_change", path="SOUL.md", content=NEW, reason="x")
    assert "Text of strangers" in told
    assert not (kit.workspace.parent / "proposals").exists()


async def test_a_reason_that_hides_something(kit: Kit) -> None:
    assert "does not show" in await kit.refused("propose_change", path="SOUL.md", content=NEW, reason="x\u202e")
