"""`edit_file`: exact first, tolerant only where there is one reading."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from nanobot.errors import ToolError
from nanobot.tools.edit import EditFile, edited
from tests.tools.kit import Kit

CODE = "def f():\n    if x:\n        return 1\n    return 2\n"


def edit(text: str, old: str, new: str, **options: bool | int) -> str:
    return edited(text, EditFile("f", old, new, **options)).text  # type: ignore[arg-type]  # a table of keywords


@pytest.mark.parametrize(
    ("text", "old", "new", "expected"),
    [
        ("a b c", "b", "x", "a x c"),
        ("a b c", " b", "", "a c"),
        ("a\r\nb\r\nc\r\n", "a\nb", "x\ny\nz", "x\r\ny\r\nz\r\nc\r\n"),
        ("a\r\nb\r\n", "a\r\nb", "x", "x\r\n"),
        ("mixed\r\nb\n", "b", "x", "mixed\r\nx\n"),
        ("\ufeffa", "a", "b", "\ufeffb"),
        ("say “hi” now", 'say "hi"', "say 'ho'", "say 'ho' now"),
        ("it's", "it’s", "it is", "it is"),
        ("a  \nb\t\nc", "a\nb", "x", "x\nc"),
        (CODE, "if x:\n    return 1", "if y:\n    return 3", CODE.replace("x", "y").replace("1", "3")),
        ("if x:\n  y\n", "        if x:\n          y", "        if z:\n          y", "if z:\n  y\n"),
        ("a\n\tb\n\tc\n", "b\nc", "b\n\nc", "a\n\tb\n\n\tc\n"),
    ],
)
def test_edits(text: str, old: str, new: str, expected: str) -> None:
    assert edit(text, old, new) == expected


@pytest.mark.parametrize(
    ("text", "old", "complaint"),
    [
        ("a\nb\na\n", "a", "found 2 times (lines 1, 3)"),
        ("a", "", "old_text is empty"),
        ("a", "new", "the same"),
        ("  a\n\ta\n", "a ", "nearly at lines 1, 2"),
        ("“a” ”a“", '"a"', "not in the file"),
        ("if x:\n      y\nz\n", "    if x:\n        y", "not in the file"),
        ("something else entirely", "import os", "Nothing in it is similar"),
    ],
)
def test_what_is_not_clear_changes_nothing(text: str, old: str, complaint: str) -> None:
    with pytest.raises(ToolError) as caught:
        edit(text, old, "new")
    assert complaint in str(caught.value)


def test_which_occurrence() -> None:
    assert edit("a a a", "a", "b", replace_all=True) == "b b b"
    assert edit("a a a", "a", "b", occurrence=2) == "a b a"
    assert edit("a a a", "a", "b", replace_all=True, expected_replacements=3) == "b b b"
    with pytest.raises(ToolError, match="occurrence 4 does not exist: old_text is found 3 times"):
        edit("a a a", "a", "b", occurrence=4)
    with pytest.raises(ToolError, match="expected 2 replacements, but there are 3"):
        edit("a a a", "a", "b", replace_all=True, expected_replacements=2)


def test_the_nearest_lines_are_shown_as_a_diff() -> None:
    with pytest.raises(ToolError) as caught:
        edit("x = 1\n" * 500 + CODE, "def f():\n    if y:\n        return 1\n", "")
    assert "+++ the file, from line 501\n" in str(caught.value)
    assert "\n-    if y:\n+    if x:\n" in str(caught.value)


def test_the_nearest_lines_are_shown_as_they_are() -> None:
    with pytest.raises(ToolError) as caught:
        edit("say “hi”\nthen go\n", 'say "hi"\nthen run', "")
    assert "\n+say “hi”\n" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "old"),
    [
        ("\n" * 400_000, "\n" * 2000 + "x"),
        ("a\n" * 200_000, "\n".join(f"line {number}" for number in range(500))),
    ],
    ids=["what repeats", "what is nowhere"],
)
def test_what_is_not_found_in_a_long_file_is_said_soon(text: str, old: str) -> None:
    """A minute it took, in a thread that nothing ends."""
    began = time.thread_time()
    with pytest.raises(ToolError, match="old_text is not in the file"):
        edit(text, old, "new")
    assert time.thread_time() - began < 5


async def test_the_file_is_changed_and_keeps_its_mode(kit: Kit) -> None:
    path = kit.put("f.py", CODE)
    path.chmod(0o755)
    assert await kit.text("edit_file", path="f.py", old_text="return 2", new_text="return 3") == "Changed f.py in 1 place"
    assert path.read_text() == CODE.replace("2", "3")
    assert path.stat().st_mode & 0o777 == 0o755


async def test_a_file_that_is_no_utf_8_is_left_alone(kit: Kit) -> None:
    path = kit.put("f", "grüße a".encode("latin-1"))
    assert "not UTF-8 text (byte 2)" in await kit.refused("edit_file", path="f", old_text="a", new_text="b")
    assert path.read_bytes() == "grüße a".encode("latin-1")


async def test_a_change_of_somebody_else_is_not_lost(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    path = kit.put("f", "a")

    def edit_meanwhile(text: str, params: EditFile) -> object:
        Path(path).write_text("theirs, saved while we were at it")
        return edited(text, params)

    monkeypatch.setattr("nanobot.tools.edit.edited", edit_meanwhile)
    assert "changed by somebody else" in await kit.refused("edit_file", path="f", old_text="a", new_text="b")
    assert path.read_text() == "theirs, saved while we were at it"
    assert os.listdir(kit.workspace) == ["f"]
