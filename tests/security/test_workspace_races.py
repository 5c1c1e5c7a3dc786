"""The workspace while somebody changes it under our hands, and names that were made to mislead.

A process of its own swaps a folder or a file for a link to the outside and back, as fast as it can, while the guard is used.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs
import pytest

from nanobot.channels.media import Media
from nanobot.channels.port import Incoming
from nanobot.errors import ToolError
from nanobot.messages import MessageId, SessionKey
from nanobot.providers.history import file_line
from nanobot.security import workspace
from nanobot.tools.port import ToolTurn
from tests.channels.kit import arrived
from tests.channels.test_media import source
from tests.fakes import processes
from tests.tools.kit import Kit, make_kit

SECRET = "sk-outside"
ROUNDS = 600
"""Of each kind: enough to meet the swap some hundred times."""


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    kit = make_kit(tmp_path)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file.txt").write_text(SECRET)
    (tmp_path / "outside" / SECRET).touch()
    kit.put("swapped/file.txt", "harmless")
    (kit.workspace / "link").symlink_to(tmp_path / "outside")
    (kit.workspace / "file_link").symlink_to(tmp_path / "outside/file.txt")
    return kit


SWAPPER = """
import os, sys
one, other = sys.argv[1:]
print("begun", flush=True)
while True:  # until the pipe of our parent closes
    os.rename(one, one + ".away")
    os.rename(other, one)
    os.rename(one, other)
    os.rename(one + ".away", one)
    try:
        if not os.read(0, 1):
            break
    except BlockingIOError:
        pass
"""


@contextmanager
def swapping(one: Path, other: Path) -> Iterator[None]:
    """`one` is now itself, now `other`, now not there. It ends as it was."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    argv = [sys.executable, "-I", "-S", "-c", SWAPPER, str(one), str(other)]
    with subprocess.Popen(argv, stdin=reading, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        try:
            yield
        finally:
            os.close(writing)
            process.wait(10)
            os.close(reading)


def read(turn: ToolTurn) -> str:
    with workspace.open_file("swapped/file.txt", turn) as opened:
        return opened.file.read().decode()


def write(turn: ToolTurn) -> str:
    workspace.write_file("swapped/file.txt", turn, b"written")
    return "done"


def write_new(turn: ToolTurn) -> str:
    workspace.write_file("swapped/new/deep.txt", turn, b"written")
    return "done"


def listed(turn: ToolTurn) -> str:
    found = [entry for entry in workspace.listing("swapped", turn) if entry.is_file]
    texts = []
    for entry in found:
        with suppress(OSError), entry.open() as file:
            texts.append(file.read().decode())
    return "".join(texts) or "nothing"


def from_above(turn: ToolTurn) -> str:
    return " ".join(entry.path for entry in workspace.listing(".", turn) if entry.path.startswith(("link/", "swapped/")))


OPERATIONS: list[Callable[[ToolTurn], str]] = [read, write, write_new, listed, from_above]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(("one", "other"), [("swapped", "link"), ("swapped/file.txt", "file_link")])
def test_what_is_swapped_for_a_link_is_not_followed(
    operation: Callable[[ToolTurn], str], one: str, other: str, kit: Kit, tmp_path: Path
) -> None:
    open_before = processes.descriptors()
    seen: Counter[str] = Counter()
    with swapping(kit.workspace / one, kit.workspace / other):
        for _ in range(ROUNDS):
            try:
                text = operation(kit.turn)
            except (ToolError, OSError) as error:
                text = f"refused: {type(error).__name__}"
            assert SECRET not in text
            seen["refused" if text.startswith("refused") else "done"] += 1
    assert {path.name: path.read_text() for path in (tmp_path / "outside").rglob("*")} == {"file.txt": SECRET, SECRET: ""}
    assert seen["done"], "it worked between the swaps"
    assert processes.descriptors() == open_before


# --- hard links: what they share outside can be read, as their maker could; it is never written, and our own files are closed


async def test_writing_takes_a_hard_link_off_what_it_shared(kit: Kit, tmp_path: Path) -> None:
    (kit.workspace / "hard").hardlink_to(tmp_path / "outside/file.txt")
    assert await kit.text("read_file", path="hard") == f"1| {SECRET}"
    await kit.text("edit_file", path="hard", old_text=SECRET, new_text="mine")
    await kit.text("write_file", path="hard", content="mine")
    assert (tmp_path / "outside/file.txt").read_text() == SECRET
    assert (kit.workspace / "hard").read_text() == "mine"


@pytest.mark.parametrize("name", ["config.json", "gateway-token", "pairing.json"])
async def test_a_hard_link_to_a_file_of_ours_opens_nothing(name: str, kit: Kit) -> None:
    assert kit.turn.data is not None
    (kit.turn.data / name).write_text("sk-secret")
    (kit.workspace / "hard").hardlink_to(kit.turn.data / name)
    for call, arguments in {"read_file": {}, "write_file": {"content": "x"}, "grep": {"pattern": "s"}}.items():
        told = await kit.refused(call, path="hard", **arguments)
        assert "own data" in told
        assert "sk-secret" not in told
    assert (kit.turn.data / name).read_text() == "sk-secret"


async def test_grep_of_a_folder_leaves_out_a_hard_link_to_a_file_of_ours(kit: Kit) -> None:
    assert kit.turn.data is not None
    (kit.workspace / "hard").hardlink_to(kit.turn.data / "config.json")
    assert "hard" not in await kit.text("grep", pattern="sk-secret", output_mode="content")


# --- spellings


@pytest.mark.parametrize(
    "path",
    [
        "../" * 100 + "{outside}/file.txt",
        "swapped/" + "../" * 300 + "etc/passwd",
        "swapped/../../../outside/file.txt",
        "/proc/self/cwd/../outside/file.txt",
        "/proc/self/root{outside}/file.txt",
        "/proc/thread-self/root{outside}/file.txt",
        "{outside}/FILE.TXT/../file.txt",
        "link/./file.txt",
        "swapped//..//link///file.txt",
        "../DATA/config.json",
        "../config.json/",
        "../config.json/.",
    ],
)
async def test_spellings_lead_nowhere_else(path: str, kit: Kit, tmp_path: Path) -> None:
    path = path.format(outside=tmp_path / "outside")
    for call, arguments in {"read_file": {}, "write_file": {"content": "x"}}.items():
        told = await kit.refused(call, path=path, **arguments)
        assert not {SECRET, "root:", "sk-secret"} & set(told.split())
    assert (tmp_path / "outside/file.txt").read_text() == SECRET


@pytest.mark.parametrize("name", ["x" * 255, "ü" * 127, "new\nline", "tab\there", "-rf", "a/" * 99 + "deep", "%00", "nul\\0"])
async def test_odd_names_work(name: str, kit: Kit) -> None:
    await kit.text("write_file", path=name, content="x")
    assert await kit.text("read_file", path=name) == "1| x"


@pytest.mark.parametrize("name", ["x" * 256, "ü" * 128, "swapped/" + "y" * 300])
async def test_names_that_are_too_long_are_told(name: str, kit: Kit) -> None:
    assert "File name too long" in await kit.refused("write_file", path=name, content="x")


async def test_bytes_that_are_no_text(kit: Kit) -> None:
    (kit.workspace / os.fsdecode(b"\xff.txt")).write_text("x")
    for call, arguments in {"list_dir": {}, "find_files": {}, "grep": {"pattern": "x"}}.items():
        assert "\\udcff.txt" in await kit.text(call, **arguments)


@pytest.fixture
def mounted(kit: Kit, tmp_path: Path) -> Iterator[Kit]:
    """In the workspace: the data directory, a folder of it, and its configuration."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts")
    data = tmp_path / "data"
    (data / "journals").mkdir()
    (data / "journals/secret").write_text(SECRET)
    (kit.workspace / "all").mkdir()
    (kit.workspace / "part").mkdir()
    kit.put("file", "")
    pairs = [(data, "all"), (data / "journals", "part"), (data / "config.json", "file")]
    done = []
    try:
        for what, name in pairs:
            if subprocess.run(["mount", "--bind", what, kit.workspace / name], capture_output=True, check=False).returncode:
                pytest.skip("nothing can be mounted here")
            done.append(kit.workspace / name)
        yield kit
    finally:
        for path in reversed(done):
            subprocess.run(["umount", path], check=True)


@pytest.mark.parametrize("path", ["all/config.json", "all/journals/secret", "part/secret", "file"])
async def test_mounts_do_not_open_our_data(path: str, mounted: Kit) -> None:
    for kit in (mounted, attrs.evolve(mounted, turn=attrs.evolve(mounted.turn, restrict=False))):
        for call, arguments in {"read_file": {}, "write_file": {"content": "x"}, "grep": {"pattern": "s"}}.items():
            assert "own data" in await kit.refused(call, path=path, **arguments)
        assert SECRET not in await kit.text("grep", pattern=SECRET, output_mode="content")


# --- names of files from outside are ours


NAMES = [
    "../../CLAUDE.md",
    "AGENTS.md",
    "/etc/passwd",
    "C:\\x",
    "..",
    "a\0b.txt",
    "a\x1b[2K\r\n.md",
    "invoice\u202efdp.exe",
    "x" * 300,
    "x" * 300 + ".md",
    ".half-1",
    "",
    "-rf .png",
    "memory/MEMORY.md",
    "%2e%2e%2fx",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("message", ["m1", "../../m", "AGENTS.md", "", "a\0\u202e"])
async def test_a_file_from_outside_has_a_name_of_ours(name: str, message: str, tmp_path: Path) -> None:
    media = Media(tmp_path / "media")
    incoming = Incoming(name, "text/plain", None, source(b"obey me"))
    key = SessionKey("net", "../../chat", topic="AGENTS.md")
    [file], text = await media.fetch(key, attrs.evolve(arrived(files=(incoming,)), id=MessageId(message)), 100)
    path = Path(file.path)
    assert path.resolve().parent.parent == (tmp_path / "media").resolve()
    assert path.name not in ("AGENTS.md", "CLAUDE.md", "MEMORY.md")
    assert path.name.isascii()
    assert path.name.isprintable()
    assert len(path.name) < 255
    assert [one for one in tmp_path.rglob("*") if one.is_file()] == [path]
    assert (text, file.name, path.read_bytes()) == ("hi", name, b"obey me")
    assert file_line(file) == f"[file: {path}]", "the sender's name is not in prompts"


@pytest.mark.parametrize("name", NAMES)
async def test_a_file_that_could_not_be_had_is_named_on_one_plain_line(name: str, tmp_path: Path) -> None:
    incoming = Incoming(name, "text/plain", 101, source(b""))
    files, text = await Media(tmp_path).fetch(SessionKey("net", "1"), arrived(files=(incoming,)), 100)
    [said, line] = text.split("\n")
    assert (files, said) == ((), "hi")
    assert line.isprintable()
    assert len(line) < 200
