"""The head of a SKILL.md: what is written in the wild is understood, and what is hostile is refused."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from nanobot.skills.frontmatter import MOST_DESCRIPTION, Front, UnusableSkill, parse
from nanobot.skills.places import BUILTIN

JSON = '{"nanobot": {"emoji": "x", "always": true, "os": ["darwin"], "requires": {"bins": ["gh"], "env": ["A_KEY"]}}}'
YAML = """
  nanobot:
    always: true
    os: [darwin]
    requires:
      bins:
        - gh
      env: A_KEY
"""
WHOLE = Front("About it.", True, ("gh",), ("A_KEY",), ("darwin",))


def front(head: str, body: str = "Do it.") -> Front:
    return parse(f"---\n{head}\n---\n{body}")[0]


@pytest.mark.parametrize("metadata", [JSON, f"'{JSON}'", YAML, YAML.replace("nanobot", "openclaw")])
def test_metadata_may_be_yaml_or_json(metadata: str) -> None:
    assert front(f"description: About it.\nmetadata: {metadata}") == WHOLE


@pytest.mark.parametrize(
    ("head", "description"),
    [
        ("description: A plain one, with (signs) and things.", "A plain one, with (signs) and things."),
        ('description: "Quoted: with a colon"', "Quoted: with a colon"),
        ("description: 'It''s quoted'", "It's quoted"),
        ("description: >\n  Over\n  lines", "Over lines"),
        ("description: |\n  Over\n  lines\n", "Over lines"),
        ("description: 12", "12"),
        ("description: Use it: when\nname: x", "Use it: when"),
        ("description: 'Open", "'Open"),
        ("description: a\u202eb\u0007", "a<U+202E>b<U+0007>"),
        ("description: Größe 研究", "Größe 研究"),
    ],
)
def test_descriptions(head: str, description: str) -> None:
    assert front(head).description == description


def test_a_long_description_is_cut() -> None:
    assert len(front("description: " + "word " * 900).description) == MOST_DESCRIPTION


@pytest.mark.parametrize(
    ("head", "remark"),
    [
        ("description: [a, b]", "description is no text"),
        ("name: x", "it has no description"),
        ("description: x\nalways: [yes]", "always is neither true nor false"),
        ("description: x\nmetadata: [1]", "metadata is no mapping"),
        ("description: x\nmetadata: words", "metadata is a text that is no JSON"),
        ("description: x\nmetadata: {nanobot: 3}", "metadata.nanobot is no mapping"),
        ("description: x\nmetadata: {nanobot: {requires: [gh]}}", "metadata.requires is no mapping"),
        ("description: x\nmetadata: {nanobot: {requires: {bins: 5}}}", "metadata.requires.bins is no list"),
        (
            "description: x\nmetadata: {nanobot: {requires: {bins: [../../sh, 3]}}}",
            "metadata.requires.bins holds what is no name",
        ),
        ("description: x\nmetadata: {nanobot: {requires: {env: ['A=B']}}}", "metadata.requires.env holds what is no name"),
        ("- a\n- list", "front matter is no mapping"),
        ("description: x: y", "no YAML (line 1, column 15"),
        ("description: x\ndescription: y", "no YAML (line 2"),
    ],
)
def test_a_wrong_shape_is_left_out_with_a_remark(head: str, remark: str) -> None:
    found = front(head)
    assert any(remark in line for line in found.remarks), found.remarks
    assert (found.always, found.bins, found.env) == (False, (), ())


def test_line_ends_and_a_byte_order_mark_make_no_difference() -> None:
    assert parse("\ufeff---\r\ndescription: x\r\n---\r\nDo\r\nit.")[1] == "Do\nit."


def test_without_a_head_the_first_line_says_what_it_is() -> None:
    found, body = parse("# Title\n\nWhat it does.\n")
    assert (found.description, body) == ("What it does.", "# Title\n\nWhat it does.")
    assert found.remarks


LAYERS = [f"{one}: &{one} [{', '.join([f'*{before}'] * 9)}]" for before, one in zip("abcdefgh", "bcdefghi", strict=True)]
BOMB = "\n".join(["a: &a [x]", *LAYERS, ""])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("---\ndescription: " + "x" * 1_000_000 + "\n---\nDo it.", "longer than 16 KiB"),
        ("---\n" + "a: b\n" * 200_000, "longer than 16 KiB"),
        ("---\ndescription: x\n", "has no end"),
        (f"---\n{BOMB}---\nDo it.", "aliases or tags"),
        ("---\na: &a [*a]\n---\nDo it.", "aliases or tags"),
        ("---\nx: !!python/object/apply:os.system ['true']\n---\nDo it.", "aliases or tags"),
        ("---\nx: !!timestamp nonsense\n---\nDo it.", "aliases or tags"),
        ("---\nx: " + "[" * 5000 + "]" * 5000 + "\n---\nDo it.", "more than 16 levels"),
        ("---\nx: [" + "1," * 5000 + "]\n---\nDo it.", "2000 parts"),
        ("---\ndescription: x\n---\n  \n", "nothing below it"),
        (" \n", "is empty"),
    ],
)
def test_what_is_hostile_or_empty_is_refused_at_once(text: str, reason: str) -> None:
    before = time.perf_counter()
    with pytest.raises(UnusableSkill, match=reason):
        parse(text)
    assert time.perf_counter() - before < 2, "a bomb takes minutes"


@pytest.mark.parametrize("head", ["x: " + "9" * 5000, "x: 'open\n" + "y\n" * 4000, "x: \x01", "x: 1\n  y: 2", "@", "%TAG ! x"])
def test_what_is_no_yaml_is_read_line_by_line(head: str) -> None:
    found = front(f"{head}\ndescription: x y")
    assert found.description == "x y"
    assert "no YAML" in found.remarks[0]


def test_what_comes_along_needs_no_parser() -> None:
    """It costs a tenth of a second, before the first answer of a chat."""
    code = f"""
import sys
from pathlib import Path
from nanobot.skills.frontmatter import parse
for file in Path({str(BUILTIN)!r}).glob("*/SKILL.md"):
    parse(file.read_text())
assert "yaml" not in sys.modules
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
