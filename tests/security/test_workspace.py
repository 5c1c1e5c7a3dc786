"""What the file tools can reach. Every attack is tried for reading and writing, and its good neighbour must work.

`test_as_nobody` runs this file and the tools' tests once more without root's rights.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import attrs
import pytest

from nanobot.errors import ToolError
from nanobot.security import workspace
from nanobot.tools.port import ToolTurn
from tests.fakes import nobody, processes
from tests.tools.kit import Kit, make_kit

SECRET = "sk-secret"
LINKS = {
    "out": "../../outside",
    "out_file": "../../outside/secret.txt",
    "up": "..",
    "etc": "/etc",
    "chain": "out",
    "loop": "loop",
    "dangling": "../../outside/new.txt",
    "inner": "real",
    "inner_file": "real/file.txt",
    "inner_dangling": "real/made.txt",
    "absolute_inner": "{workspace}/real",
    "fd": "/proc/self/fd",
}


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return arranged(tmp_path, make_kit(tmp_path))


@pytest.fixture
def free(tmp_path: Path) -> Kit:
    return arranged(tmp_path, make_kit(tmp_path, restrict=False))


def arranged(tmp_path: Path, kit: Kit) -> Kit:
    for folder in (tmp_path / "outside", tmp_path / "data/sessions", tmp_path / "data/workspace-sibling"):
        folder.mkdir()
        (folder / "secret.txt").write_text(SECRET)
    (tmp_path / "data/results/full.txt").write_text("a full result")
    kit.put("real/file.txt", "good")
    for name, target in LINKS.items():
        (kit.workspace / name).symlink_to(target.format(workspace=kit.workspace))
    return kit


def spelled(path: str, kit: Kit) -> str:
    data = str(kit.turn.data)
    return path.format(workspace=kit.workspace, data=data, from_here=os.path.relpath(data))


def contents(tmp_path: Path) -> dict[str, str]:
    """Everything but the workspace."""
    files = (path for path in tmp_path.rglob("*") if path.is_file() and "data/workspace/" not in str(path))
    return {str(path): path.read_text() for path in files}


DATA = [
    "../config.json",
    "../sessions/secret.txt",
    "../workspace-sibling/secret.txt",
    "real/../../config.json",
    "inner/../../config.json",
    "./..//./config.json",
    "up/config.json",
    "up/sessions/secret.txt",
    "{workspace}/../config.json",
    "{data}/config.json",
    "/proc/self/cwd/{from_here}/config.json",
    "..",
    "{data}",
]
SYSTEM = ["/proc/self/environ", "/proc/self/mem", "/proc/1/environ", "/dev/null", "/dev/zero", "fd/0", "/dev/fd/0", "/sys/kernel"]
OUTSIDE = [
    "out/secret.txt",
    "out_file",
    "chain/secret.txt",
    "dangling",
    "etc/passwd",
    "/etc/passwd",
    "//etc/passwd",
    "/proc/self/root/etc/passwd",
    "../../outside/secret.txt",
    "out/new.txt",
    "out/new/folder/file",
    "~/file",
    "/",
]
NO_PATHS = ["", "  ", "a\0b", "loop", "loop/x", "x" * 300, "x" * 5000, "x/" * 3000, "~nobody-of-that-name/x"]


@pytest.mark.parametrize("path", DATA + SYSTEM + OUTSIDE + NO_PATHS)
async def test_attacks_reach_nothing(path: str, kit: Kit, tmp_path: Path) -> None:
    path = spelled(path, kit)
    await kit.call("grep", pattern="s")  # the spawner of children stays for the whole run
    before, open_before = contents(tmp_path), processes.descriptors()
    for name, arguments in CALLS.items():
        text = await kit.refused(name, path=path, **arguments)
        assert SECRET not in text
        assert "root:" not in text
        assert "a fault in it" not in text
    assert contents(tmp_path) == before
    assert processes.descriptors() == open_before


CALLS: dict[str, dict[str, str]] = {
    "read_file": {},
    "write_file": {"content": "planted"},
    "edit_file": {"old_text": "secret", "new_text": "planted"},
    "list_dir": {},
    "find_files": {},
    "grep": {"pattern": "s", "output_mode": "content"},
}


@pytest.mark.parametrize("path", DATA + SYSTEM)
async def test_without_restriction_data_and_system_stay_out_of_reach(path: str, free: Kit, tmp_path: Path) -> None:
    path = spelled(path, free)
    before = contents(tmp_path)
    for name, arguments in CALLS.items():
        text = await free.refused(name, path=path, **arguments)
        assert SECRET not in text
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    "path",
    [
        "real/file.txt",
        "./real//file.txt",
        "real/../real/file.txt",
        "inner/file.txt",
        "inner_file",
        "absolute_inner/file.txt",
        "{workspace}/real/file.txt",
        "up/workspace/real/file.txt",
        "../workspace/real/file.txt",
    ],
)
async def test_good_neighbours_work(path: str, kit: Kit) -> None:
    path = spelled(path, kit)
    assert await kit.text("read_file", path=path) == "1| good"
    await kit.text("write_file", path=path, content="better")
    assert (kit.workspace / "real/file.txt").read_text() == "better"
    assert (kit.workspace / "inner_file").is_symlink()


async def test_names_that_only_look_odd_are_names(kit: Kit) -> None:
    for name in ("...", "..a", "a..", "-rf", "with space", "quote'\"", "süß/😀", "\\..\\x", "%2e%2e", "file:x", "new\nline"):
        await kit.text("write_file", path=name, content="x")
        assert (kit.workspace / name).read_text() == "x"


async def test_a_link_to_a_new_file_inside_is_written_through(kit: Kit) -> None:
    await kit.text("write_file", path="inner_dangling", content="x")
    assert (kit.workspace / "real/made.txt").read_text() == "x"


async def test_what_may_be_read_only_is_not_written(kit: Kit, tmp_path: Path) -> None:
    path = str(tmp_path / "data/results/full.txt")
    assert await kit.text("read_file", path=path) == "1| a full result"
    assert "may only be read" in await kit.refused("write_file", path=path, content="x")
    assert "may only be read" in await kit.refused("exec", command="true", working_dir=str(tmp_path / "data/results"))
    assert contents(tmp_path)[path] == "a full result"


async def test_without_restriction_other_files_are_in_reach(free: Kit, tmp_path: Path) -> None:
    assert await free.text("read_file", path="out/secret.txt") == f"1| {SECRET}"
    await free.text("write_file", path=str(tmp_path / "outside/deep/er/new.txt"), content="x")
    assert (tmp_path / "outside/deep/er/new.txt").read_text() == "x"


async def test_home_is_the_home_folder(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(kit.workspace))
    assert await kit.text("read_file", path="~/real/file.txt") == "1| good"


async def test_the_data_directory_is_told_by_what_it_is_not_by_its_spelling(free: Kit, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to("data")
    kit = attrs.evolve(free, turn=attrs.evolve(free.turn, data=tmp_path / "alias"))
    assert "own data" in await kit.refused("read_file", path=str(tmp_path / "data/config.json"))
    assert "own data" in await kit.refused("read_file", path=str(tmp_path / "alias/config.json"))


async def test_data_inside_the_workspace_is_left_out_everywhere(kit: Kit, tmp_path: Path) -> None:
    kit = attrs.evolve(kit, turn=attrs.evolve(kit.turn, workspace=tmp_path, data=tmp_path / "data", readable=()))
    assert await kit.text("list_dir", recursive=True) == "outside/\noutside/secret.txt"
    assert (await kit.text("find_files", query="secret")).startswith("outside/secret.txt  (")
    assert await kit.text("grep", pattern="s") == "outside/secret.txt"
    assert "own data" in await kit.refused("read_file", path="data/config.json")


async def test_a_workspace_that_is_the_data_directory_gives_nothing(kit: Kit, tmp_path: Path) -> None:
    kit = attrs.evolve(kit, turn=attrs.evolve(kit.turn, workspace=tmp_path / "data"))
    assert "own data" in await kit.refused("read_file", path="config.json")


async def test_listings_show_links_and_do_not_follow_them(kit: Kit) -> None:
    listed = (await kit.text("list_dir", recursive=True)).splitlines()
    assert listed == sorted([*(f"{name}@" for name in LINKS), "real/", "real/file.txt"])
    assert (await kit.text("find_files")).startswith("real/file.txt")
    assert await kit.text("grep", pattern=".") == "real/file.txt"


# -- races: something is swapped for a link between the moment it is judged and the moment it is used --------------------


def swap_folder(root: Path) -> None:
    (root / "real").rename(root / "moved")
    (root / "real").symlink_to("../../outside")


def swap_file(root: Path) -> None:
    (root / "real/secret.txt").unlink(missing_ok=True)
    (root / "real/secret.txt").symlink_to("../../../outside/secret.txt")


@pytest.mark.parametrize("swap", [swap_folder, swap_file])
@pytest.mark.parametrize("moment", [(workspace, "areas_of"), (workspace, "_demand"), (stat, "S_ISREG")])
@pytest.mark.parametrize("call", ["read_file", "write_file"])
async def test_races(  # noqa: PLR0917  # its own three and three fixtures
    swap: Callable[[Path], None],
    moment: tuple[ModuleType, str],
    call: str,
    kit: Kit,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kit.put("real/secret.txt", "harmless")
    original: Callable[..., object] = getattr(*moment)

    def and_swap(*arguments: object) -> object:
        monkeypatch.setattr(*moment, original)
        swap(kit.workspace)
        return original(*arguments)

    monkeypatch.setattr(*moment, and_swap)
    before = contents(tmp_path)
    result = await kit.call(call, path="real/secret.txt", **CALLS[call])
    assert SECRET not in result.text
    assert contents(tmp_path) == before


def test_a_failed_write_leaves_the_old_file_and_no_other(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ToolError, match="No space left on device"):
        workspace.write_file("real/file.txt", kit.turn, b"new")
    assert {path.name: path.read_text() for path in (kit.workspace / "real").iterdir()} == {"file.txt": "good"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root meets no permissions")
async def test_permissions_are_told(kit: Kit) -> None:
    closed = kit.put("closed/file.txt", "x")
    locked = kit.put("locked.txt", "x")
    locked.chmod(0o400)
    closed.parent.chmod(0)
    assert "permission denied" in await kit.refused("read_file", path="closed/file.txt")
    assert "locked.txt is read-only" in await kit.refused("write_file", path="locked.txt", content="y")
    assert "closed/" not in await kit.text("list_dir")
    locked.chmod(0)
    assert "permission denied" in await kit.refused("read_file", path="locked.txt")
    assert "left out" in await kit.text("grep", pattern="x")
    closed.parent.chmod(0o700)


def test_as_nobody() -> None:
    ours = [f"tests/security/test_{name}.py" for name in ("workspace", "workspace_races", "instructions", "ledger")]
    nobody.run_again(*ours, "tests/tools/test_files.py", "tests/tools/test_shell.py")


def test_resolving_is_relative_to_the_workspace(kit: Kit) -> None:
    turn: ToolTurn = kit.turn
    assert workspace.resolve("a/../b", turn) == kit.workspace / "b"
