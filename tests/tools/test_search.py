"""`list_dir`, `find_files` and `grep`."""

from __future__ import annotations

import os
import sys
import time

import pytest

from nanobot.tools import grep, search
from nanobot.tools.search import matches
from tests.fakes import processes
from tests.tools.kit import Kit

TREE = ["README.md", "src/app.py", "src/lib/util.py", "src/lib/data.txt", "node_modules/x/index.js", ".git/config"]


@pytest.fixture
def tree(kit: Kit) -> Kit:
    for name in TREE:
        kit.put(name, f"first line of {name}\nsecond\n")
    (kit.workspace / "link").symlink_to("src")
    return kit


async def test_listing(tree: Kit) -> None:
    assert await tree.text("list_dir") == ".git/\nREADME.md\nlink@\nnode_modules/\nsrc/"
    assert await tree.text("list_dir", path="src") == "app.py\nlib/"
    assert await tree.text("list_dir", path="link") == "app.py\nlib/"
    assert await tree.text("list_dir", recursive=True) == (
        ".git/  (not entered)\nREADME.md\nlink@\nnode_modules/  (not entered)\nsrc/\nsrc/app.py\nsrc/lib/\n"
        "src/lib/data.txt\nsrc/lib/util.py"
    )


async def test_listing_names_its_limit(tree: Kit) -> None:
    text = await tree.text("list_dir", recursive=True, max_entries=2)
    assert text.splitlines()[:2] == [".git/  (not entered)", "README.md"]
    assert "(2 of 9 entries" in text


async def test_listing_what_is_no_folder_is_refused(tree: Kit) -> None:
    (tree.workspace / "empty").mkdir()
    assert await tree.text("list_dir", path="empty") == "(empty is empty)"
    assert "cannot be reached" in await tree.refused("list_dir", path="README.md")
    assert "nowhere does not exist" in await tree.refused("list_dir", path="nowhere")


@pytest.mark.parametrize(
    ("path", "glob", "fits"),
    [
        ("src/app.py", "*.py", True),
        ("src/app.py", "src/*.py", True),
        ("src/lib/util.py", "src/*.py", False),
        ("src/lib/util.py", "src/**/*.py", True),
        ("src/app.py", "src/**/*.py", True),
        ("src/app.py", "**", True),
        ("src/app.py", "/src/app.py", True),
        ("src/app.py", "lib/**", False),
        ("src/APP.PY", "*.py", False),
        ("a" * 200, "*a" * 30 + "b", False),
        ("/".join("a" * 60), "**/" * 20 + "b", False),
    ],
)
def test_globs(path: str, glob: str, fits: bool) -> None:
    assert matches(path, glob) is fits


async def test_finding(tree: Kit) -> None:
    async def names(**options: object) -> list[str]:
        return [line.split("  ")[0] for line in (await tree.text("find_files", **options)).splitlines()]

    for number, name in enumerate(["README.md", "src/app.py", "src/lib/util.py", "src/lib/data.txt"]):
        os.utime(tree.workspace / name, (number, number))
    assert await names() == ["README.md", "src/app.py", "src/lib/data.txt", "src/lib/util.py"]
    assert await names(glob="*.py") == ["src/app.py", "src/lib/util.py"]
    assert await names(query="LIB/") == ["src/lib/data.txt", "src/lib/util.py"]
    assert await names(type="dir", query="src") == ["src/", "src/lib/"]
    assert await names(sort="modified") == ["src/lib/data.txt", "src/lib/util.py", "src/app.py", "README.md"]
    assert (await names(limit=1, offset=1))[0] == "src/app.py"
    assert "(2 of 4 found; go on with offset=2)" in await tree.text("find_files", limit=1, offset=1)
    assert await tree.text("find_files", glob="*.rs") == "Nothing found"


async def test_a_search_that_is_too_big_does_not_look_complete(tree: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MOST_ENTRIES", 4)
    assert "more than 4 entries" in await tree.refused("find_files")
    assert "more than 4 entries" in await tree.refused("grep", pattern="x")
    assert "(2 of 4 or more entries" in await tree.text("list_dir", max_entries=2)


async def test_grep(tree: Kit) -> None:
    assert await tree.text("grep", pattern="first") == "README.md\nsrc/app.py\nsrc/lib/data.txt\nsrc/lib/util.py"
    assert await tree.text("grep", pattern="FIRST", glob="app.*") == "No matches"
    assert await tree.text("grep", pattern="FIRST.*app", case_insensitive=True) == "src/app.py"
    assert (
        await tree.text("grep", pattern="line|second", path="src", output_mode="count", glob="*.py")
        == "app.py: 2\nlib/util.py: 2"
    )
    content = await tree.text("grep", pattern="seco?nd", path="README.md", output_mode="content")
    assert content == "README.md:2:second"
    around = await tree.text("grep", pattern="second", path="README.md", output_mode="content", context=1)
    assert around == "README.md-1-first line of README.md\nREADME.md:2:second"


async def test_grep_context_shows_each_line_once(kit: Kit) -> None:
    kit.put("f", "\n".join("x" if n in (2, 4, 12) else str(n) for n in range(15)))
    text = await kit.text("grep", pattern="^x$", path="f", output_mode="content", context=1)
    assert text == "f-2-1\nf:3:x\nf-4-3\nf:5:x\nf-6-5\n--\nf-12-11\nf:13:x\nf-14-13"


async def test_grep_plain_text_and_what_is_no_expression(kit: Kit) -> None:
    kit.put("f", "a(b\n")
    assert await kit.text("grep", pattern="a(b", fixed_strings=True) == "f"
    assert "not a regular expression: missing )" in await kit.refused("grep", pattern="a(b")


async def test_grep_names_its_limits(kit: Kit) -> None:
    kit.put("f", "x\n" * 10)
    kit.put("binary", b"x\0")
    kit.put("huge", "x\n" * grep.LARGEST_GREPPED)
    text = await kit.text("grep", pattern="x", output_mode="content", head_limit=3)
    assert text.splitlines()[:3] == ["f:1:x", "f:2:x", "f:3:x"]
    assert "(stopped at 3; narrow the search" in text
    assert "(1 large or unreadable files left out)" in await kit.text("grep", pattern="x")
    assert (await kit.text("grep", pattern="x", path="huge", output_mode="count")) == f"huge: {grep.LARGEST_GREPPED}"
    assert "nowhere does not exist" in await kit.refused("grep", pattern="x", path="nowhere")


async def test_grep_shows_long_lines_in_part_and_odd_bytes_at_all(kit: Kit) -> None:
    kit.put("f", b"x" * 10_000 + b"\n\xff x\n")
    text = await kit.text("grep", pattern="x", output_mode="content")
    assert text.splitlines()[0] == "f:1:" + "x" * (grep.MATCH_CHARS - 4) + "…"
    assert text.splitlines()[1] == "f:2:\ufffd x"


@pytest.mark.skipif(sys.platform != "linux", reason="counts processes in /proc")
async def test_an_expression_without_end_is_ended(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grep, "GREP_S", 0.5)
    kit.put("f", "a" * 60 + "b")
    before, start = processes.children(), time.monotonic()
    assert "a pattern without nested repeats" in await kit.refused("grep", pattern="(a+)+$")
    assert time.monotonic() - start < 5
    assert processes.children() == before


async def test_many_files_are_searched_while_answers_come(kit: Kit) -> None:
    for number in range(200):
        kit.put(f"{number:03}", "match\n" * 2000)
    text = await kit.text("grep", pattern="match", output_mode="count")
    assert text.splitlines() == [f"{number:03}: 2000" for number in range(200)]
