"""Splitting: within the limit, fences whole, nothing lost, and cut where it disturbs least."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nanobot.channels.splitting import closed, split, utf16_units

FENCE = re.compile(r" {0,3}(`{3,}|~{3,})([^\n]*)")


def fence_lines(text: str) -> int:
    return sum(FENCE.fullmatch(line) is not None for line in text.split("\n"))


def balanced(text: str) -> bool:
    mark = ""
    for line in text.split("\n"):
        found = FENCE.fullmatch(line)
        if found and not mark:
            mark = "" if found[1][0] == "`" and "`" in found[2] else found[1]
        elif found and found[1].startswith(mark) and not found[2].strip():
            mark = ""
    return not mark


def said(text: str) -> str:
    """Everything but fence lines and white space."""
    return "".join("".join(line.split()) for line in text.split("\n") if not FENCE.fullmatch(line))


words = st.sampled_from(
    ["a", "word", "an-even-longer-word", "Ends.", "好的。", "👩\u200d👩\u200d👧", "e\u0301", "x" * 70, "`code`", "a```b", "  "]
)
line = st.lists(words, max_size=12).map(" ".join).filter(lambda text: not FENCE.match(text.lstrip()))
block = st.tuples(st.sampled_from(["```", "~~~", "````"]), st.sampled_from(["", "py", "c++ title=x"]), st.lists(line, max_size=8))
code = block.map(lambda b: "\n".join([b[0] + b[1], *b[2], b[0]]))
markdown = st.lists(st.one_of(line, code, st.just("")), max_size=10).map("\n".join)


@settings(max_examples=150, deadline=None)
@given(text=markdown, limit=st.integers(60, 200))
@example(text="```py\n" + "x" * 300 + "\n```", limit=60)
@example(text="a " * 100 + "```b", limit=60)
def test_whatever_is_split_fits_is_whole_and_balanced(text: str, limit: int) -> None:
    parts = split(text, limit)
    assert all(utf16_units(part) <= limit for part in parts)
    assert "".join(map(said, parts)) == said(text)
    assert all(map(balanced, parts))
    assert len(parts) == 1 or all(part.strip() for part in parts)


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.sampled_from("ab`~ \n🙂.é"), max_size=300), limit=st.integers(8, 40))
def test_even_nonsense_fits_and_loses_nothing(text: str, limit: int) -> None:
    parts = split(text, limit)
    assert all(utf16_units(part) <= limit for part in parts)
    letters = re.compile(r"[^ab🙂é]")
    assert letters.sub("", "".join(parts)) == letters.sub("", text)


@given(text=markdown)
def test_a_text_that_fits_is_left_as_it_is(text: str) -> None:
    assert split(text, None) == (text,)
    assert split(text, utf16_units(text)) == (text,)


@pytest.mark.parametrize(
    ("text", "limit", "parts"),
    [
        ("one two.\n\nthree four", 14, ("one two.", "three four")),  # a paragraph
        ("first line\nsecond line\nthird", 24, ("first line\nsecond line", "third")),  # a line
        ("Hi\n\nsecond paragraph", 12, ("Hi\n\nsecond", "paragraph")),  # that paragraph ends too early
        ("A sentence. Another one here", 22, ("A sentence.", "Another one here")),
        ("first line\nsecond", 10, ("first line", "second")),
        ("no sentence but words", 12, ("no sentence", "but words")),
        ("abcdefghij", 4, ("abcd", "efgh", "ij")),
        ("Look: " + "u" * 12, 12, ("Look:", "u" * 12)),  # a word is kept whole, however little is before it
        ("- a\n  - b\n  - c", 8, ("- a", "  - b", "  - c")),  # a line keeps its indentation
        ("```py\nab\ncd\n```", 14, ("```py\nab\n```", "```py\ncd\n```")),
        ("```py\n  ab\n  cd\n```", 17, ("```py\n  ab\n```", "```py\n  cd\n```")),  # code keeps its spaces
        ("intro\n```\nab\n```", 13, ("intro", "```\nab\n```")),  # rather whole in the next part
        ("Hi\n```py a=1 b=2\nx\n```", 20, ("Hi", "```py a=1 b=2\nx\n```")),  # never inside the fence line
        ("👍👍👍", 4, ("👍👍", "👍")),  # two units each
        ("ab👩‍👩", 5, ("ab", "👩‍👩")),  # a joined picture is one
        ("x ``` y ``` z", 7, ("x ```", "y ``` z")),  # nothing becomes a fence by being cut
    ],
)
def test_where_a_text_is_cut(text: str, limit: int, parts: tuple[str, ...]) -> None:
    assert split(text, limit) == parts


def test_the_limit_is_that_of_the_rendered_text() -> None:
    text = "a < b and b < c and c < d"
    parts = split(text, 13, lambda part: len(part.replace("<", "&lt;")))
    assert parts == ("a < b and", "b < c and", "c < d")


def test_a_text_of_a_megabyte_is_no_work() -> None:
    """Each part costs its own length, not that of the rest."""
    seen = 0

    def length(part: str) -> int:
        nonlocal seen
        seen += len(part)
        return len(part)

    text = "word " * 200_000
    split(text, 4000, length)
    assert seen < 30 * len(text)


@pytest.mark.parametrize(("text", "whole"), [("a", "a"), ("```py\nx", "```py\nx\n```"), ("~~~\nx\n~~~", "~~~\nx\n~~~")])
def test_a_growing_answer_is_shown_with_its_code_block_closed(text: str, whole: str) -> None:
    assert closed(text) == whole
