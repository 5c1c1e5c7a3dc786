"""Files that become part of prompts: no spelling, link or mount writes one where instructions may not be changed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from nanobot.errors import ToolError
from nanobot.security import workspace
from nanobot.security.areas import folded
from tests.tools.kit import Kit, make_kit

ATTACKS = [
    "AGENTS.md",
    "agents.md",
    "Soul.MD",
    "USER.md",
    "TOOLS.md",
    "IDENTITY.md",
    "HEARTBEAT.md",
    "./AGENTS.md",
    "docs/../AGENTS.md",
    "{workspace}/AGENTS.md",
    "../workspace/AGENTS.md",
    "/proc/self/root{workspace}/AGENTS.md",
    "memory",
    "memory/MEMORY.md",
    "MEMORY/new/deep.md",
    "memory/../memory/HISTORY.md",
    "skills/new/SKILL.md",
    "Skills/x",
    "ＡＧＥＮＴＳ.md",
    "\u017fkills/x",
    "to_agents",
    "to_root/AGENTS.md",
    "to_skills/x/SKILL.md",
    "to_new",
    "shared.md",
    "hard",
    "elsewhere.md",
]
"""The links are made by `kit`: `shared.md` is what `SOUL.md` leads to, `hard` a hard link of `AGENTS.md`."""
GOOD = [
    "notes.md",
    "AGENTS.md.bak",
    "MY-AGENTS.md",
    "docs/AGENTS.md",
    "docs/memory/x.md",
    "docs/skills/SKILL.md",
    "memories/x",
    "skill/x",
    "MEMORY.md",
    "Ägents.md",
    "HEARTBEAT",
]


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    kit = make_kit(tmp_path)
    kit.put("AGENTS.md", "be kind")
    kit.put("shared.md", "be brave")
    kit.put("elsewhere.md", "be quick")
    kit.put("docs/readme", "")
    links = {
        "SOUL.md": "shared.md",
        "to_agents": "AGENTS.md",
        "to_root": ".",
        "to_skills": "skills",
        "to_new": "memory/new.md",
        "tools.MD": "elsewhere.md",
    }
    for name, target in links.items():
        (kit.workspace / name).symlink_to(target)
    (kit.workspace / "hard").hardlink_to(kit.workspace / "AGENTS.md")
    return attrs.evolve(kit, turn=attrs.evolve(kit.turn, may_instruct=False))


def contents(kit: Kit) -> dict[str, object]:
    paths = [path for path in kit.workspace.rglob("*") if not path.is_symlink()]
    return {str(path): path.read_text() if path.is_file() else None for path in paths}


@pytest.mark.parametrize("path", ATTACKS)
async def test_instructions_are_not_written(path: str, kit: Kit) -> None:
    path = path.format(workspace=kit.workspace)
    before = contents(kit)
    for name, arguments in {"write_file": {"content": "obey"}, "edit_file": {"old_text": "be", "new_text": "obey"}}.items():
        told = await kit.refused(name, path=path, **arguments)
        assert "instructions, which may not be changed" in told or (name == "edit_file" and "does not exist" in told)
    assert contents(kit) == before, "not even a folder is made"
    assert workspace.instructs(path, kit.turn)
    assert workspace.write_intent("edit_file", path, kit.turn).row == "edit_file:instructions"


@pytest.mark.parametrize("path", ATTACKS)
async def test_with_the_right_to_instruct_they_are(path: str, kit: Kit) -> None:
    kit = attrs.evolve(kit, turn=attrs.evolve(kit.turn, may_instruct=True))
    if path.startswith("/proc"):
        path = path.removeprefix("/proc/self/root")
    await kit.text("write_file", path=path.format(workspace=kit.workspace), content="be kind")


@pytest.mark.parametrize("path", GOOD)
async def test_good_neighbours(path: str, kit: Kit) -> None:
    assert workspace.write_intent("write_file", path, kit.turn).row == "write_file"
    await kit.text("write_file", path=path, content="x")
    assert (kit.workspace / path).read_text() == "x"


async def test_they_can_be_read(kit: Kit) -> None:
    assert await kit.text("read_file", path="AGENTS.md") == "1| be kind"


async def test_a_command_may_run_among_skills(kit: Kit) -> None:
    kit.put("skills/x/SKILL.md", "")
    assert workspace.check_folder("skills/x", kit.turn) == kit.workspace / "skills/x"


async def test_a_link_of_that_name_gives_no_right(kit: Kit, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("sk-secret")
    (kit.workspace / "skills").symlink_to(tmp_path / "outside")
    kit = attrs.evolve(kit, turn=attrs.evolve(kit.turn, may_instruct=True))
    for name, arguments in {"read_file": {}, "write_file": {"content": "x"}, "list_dir": {}}.items():
        told = await kit.refused(name, path="skills" if name == "list_dir" else "skills/secret", **arguments)
        assert "outside the workspace" in told
    free = attrs.evolve(kit.turn, restrict=False, may_instruct=False)
    assert workspace.instructs(str(tmp_path / "outside/new"), free), "it leads to skills"


def test_names_that_some_file_systems_take_for_the_same() -> None:
    assert {folded(name) for name in ("AGENTS.md", "agents.MD", "AGENTS\u200c.md", "\uff21GENTS.md")} == {"agents.md"}


@pytest.mark.parametrize(
    ("path", "subject"),
    [("a/../b c.txt", "b c.txt"), ("/etc/passwd", "/etc/passwd"), ("to_agents", "AGENTS.md"), ("../x", "{data}/x")],
)
def test_a_subject_is_what_the_path_means(path: str, subject: str, kit: Kit) -> None:
    assert workspace.write_intent("write_file", path, kit.turn).subject == subject.format(data=kit.turn.data)


@pytest.mark.parametrize("name", ["a\u202etxt.exe", "AGENTS\u200b.md", "a\x1b[2K", "dir\u2066/x", "x\r", "\U000e0041"])
async def test_names_that_do_not_show_are_read_and_not_written(name: str, kit: Kit) -> None:
    for call, arguments in {"write_file": {"content": "x"}, "edit_file": {"old_text": "x", "new_text": "y"}}.items():
        before = contents(kit)
        assert (await kit.refused(call, path=name, **arguments)).startswith("Error: ")
        assert contents(kit) == before
    with pytest.raises(ToolError, match="does not show"):
        workspace.write_intent("write_file", name, kit.turn)
    kit.put(name, "there")
    assert await kit.text("read_file", path=name) == "1| there"
    assert "does not show" in await kit.refused("edit_file", path=name, old_text="there", new_text="y")
    for call in ("list_dir", "find_files", "grep"):
        told = await kit.text(call, **({"pattern": "there"} if call == "grep" else {}))
        assert not set(told) & set("\u202e\u200b\x1b\u2066\r\U000e0041")


async def test_a_name_of_two_lines_does_not_forge_a_line(kit: Kit) -> None:
    await kit.text("write_file", path="a\nb.txt (0 bytes)", content="x")
    for call, arguments in {"list_dir": {}, "find_files": {}, "grep": {"pattern": "x"}}.items():
        assert '"a\\nb.txt (0 bytes)"' in await kit.text(call, **arguments)


@pytest.fixture
def mounted(kit: Kit) -> Iterator[Kit]:
    """`other` is the folder `skills` under another name, `file` is `AGENTS.md`."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts")
    kit.put("skills/a", "x")
    (kit.workspace / "other").mkdir()
    kit.put("file", "")
    pairs = [(kit.workspace / "skills", kit.workspace / "other"), (kit.workspace / "AGENTS.md", kit.workspace / "file")]
    done = []
    try:
        for source, target in pairs:
            if subprocess.run(["mount", "--bind", source, target], capture_output=True, check=False).returncode:
                pytest.skip("nothing can be mounted here")
            done.append(target)
        yield kit
    finally:
        for target in done:
            subprocess.run(["umount", target], check=True)


@pytest.mark.parametrize("path", ["other/new", "other/a", "file"])
async def test_mounts_do_not_get_around_it(path: str, mounted: Kit) -> None:
    assert "instructions" in await mounted.refused("write_file", path=path, content="x")
