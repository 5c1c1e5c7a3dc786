"""Two changes of one text made into one."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanobot.memory.merging import merged

BASE = "a\nb\nc\nd\n"
TEXTS = st.lists(st.sampled_from("abcdef"), max_size=6).map(lambda lines: "".join(f"{line}\n" for line in lines))


@pytest.mark.parametrize(
    ("ours", "theirs", "both"),
    [
        ("a\nb\nc\nd\ne\n", BASE, "a\nb\nc\nd\ne\n"),
        ("a\nb\nc\nd\nours\n", "a\nb\nc\nd\ntheirs\n", "a\nb\nc\nd\ntheirs\nours\n"),
        ("a\nb\nc\nd\nsame\n", "a\nb\nc\nd\nsame\n", "a\nb\nc\nd\nsame\n"),
        ("A\nb\nc\nd\n", "a\nb\nc\nD\n", "A\nb\nc\nD\n"),
        ("A\nb\nc\nd\n", "a\nB\nc\nd\n", "A\nB\nc\nd\n"),
        ("b\nc\nd\n", "a\nb\nc\n", "b\nc\n"),
        ("c\nd\n", "a\nd\n", "d\n"),
        ("x\nb\nc\nd\n", "y\nb\nc\nd\n", None),
        ("x\nb\nc\nd\n", "b\nc\nd\n", None),
        ("", "a\nb\nc\nd\ne\n", "e\n"),
    ],
)
def test_both_changes_or_none(ours: str, theirs: str, both: str | None) -> None:
    assert merged(BASE, ours, theirs) == both


@given(TEXTS, TEXTS)
def test_who_changed_nothing_gets_the_others(base: str, other: str) -> None:
    assert merged(base, base, other) == other
    assert merged(base, other, base) == other


@given(TEXTS, TEXTS, TEXTS)
def test_no_line_that_anybody_added_is_lost(base: str, ours: str, theirs: str) -> None:
    both = merged(base, ours, theirs)
    if both is not None:
        new = (set(ours.split()) | set(theirs.split())) - set(base.split())
        assert new <= set(both.split())


def test_a_text_of_repeated_lines_is_merged_in_no_time() -> None:
    base = "".join(f"- {'the' if number % 2 else 'a'}\n" for number in range(12_000))
    began = time.monotonic()
    assert merged(base, base.replace("the", "that"), base + "- new\n") == base.replace("the", "that") + "- new\n"
    assert time.monotonic() - began < 5
