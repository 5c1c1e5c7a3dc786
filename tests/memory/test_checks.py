"""What counts as a fact, which updates are refused, and how entries of the history are written."""

from __future__ import annotations

import time
from datetime import UTC

import pytest

from nanobot.memory import checks
from nanobot.memory.port import MOST_BYTES, MOST_ENTRY_CHARS

AT = 1_795_392_000.0
"""2026-11-23 00:00 UTC."""
WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
TEN = "# Person\n" + "".join(f"- fact number {word}\n" for word in WORDS)


def without(*words: str) -> str:
    return "".join(line for line in TEN.splitlines(keepends=True) if line.split()[-1] not in words)


@pytest.mark.parametrize(
    ("line", "fact"),
    [
        ("- likes tea", "likes tea"),
        ("  *  Likes   TEA ", "likes tea"),
        ("3. likes tea", "likes tea"),
        ("- [x] likes tea", "likes tea"),
        ("cafe\u0301", "caf\u00e9"),
        ("2026 was good", "2026 was good"),
        ("#tag is no heading", "#tag is no heading"),
    ],
)
def test_a_fact_is_compared_without_its_dress(line: str, fact: str) -> None:
    assert checks.facts(line) == (fact,)


@pytest.mark.parametrize(
    "line", ["", "   ", "# Person", "###### x", "---", "* * *", "=====", "<!-- a word to the reader -->", "```"]
)
def test_what_is_no_fact(line: str) -> None:
    assert checks.facts(line) == ()


@pytest.mark.parametrize(
    ("before", "after", "lost"),
    [
        ("- lives in Berlin", "- lives in Munich", 0),
        ("- likes tea\n- likes coffee a lot", "- likes tea, and likes coffee a lot", 0),
        ("- phone of Ann: 123\n- phone of Bob: 456", "- phone of Ann: 123", 1),
        ("- phone of Ann: 123\n- phone of Bob: 456", "- phone of Bob: 789", 1),
        ("- likes tea\n- likes tea", "- likes tea", 0),
        ("- 他住在柏林市中心", "- 他住在慕尼黑市中心", 0),
        ("- 他住在柏林市中心", "- 明天下雨", 1),
        ("- one\n- two", "", 2),
    ],
)
def test_what_an_update_drops(before: str, after: str, lost: int) -> None:
    assert len(checks.dropped(before, after)) == lost


@pytest.mark.parametrize(
    ("after", "why"),
    [
        (TEN, ""),
        (without("one", "two"), ""),
        (without("one", "two", "three"), "It drops 3 of 10 facts; 20% may go at a time"),
        (TEN + "- another\n", ""),
        ("", "It is empty, and there are 10 facts now"),
        ("# Person\n", "It is empty, and there are 10 facts now"),
        (TEN + "\x00", "It is no text: it holds the control character U+0000"),
        (TEN + "\ud800", "It is no text: it holds half of a sign"),
        (TEN + "x" * MOST_BYTES, "It is 64 KiB long; 64 KiB fit into a prompt"),
    ],
    ids=lambda value: repr(value[-20:]),
)
def test_what_is_refused(after: str, why: str) -> None:
    assert checks.judge(TEN, after, 0.2) == why


@pytest.mark.parametrize(("share", "refused"), [(0.0, True), (0.1, False), (1.0, False)])
def test_the_share_is_as_configured(*, share: float, refused: bool) -> None:
    assert bool(checks.judge(TEN, without("one"), share)) is refused


def test_the_first_facts_are_taken() -> None:
    assert checks.judge("", TEN, 0.2) == ""


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("talked of tea", "[2026-11-23 00:00] talked of tea"),
        ("[2026-11-20 09:30] talked of tea", "[2026-11-20 09:30] talked of tea"),
        ("talked\n\n of\r\n\r\ntea\x07", "[2026-11-23 00:00] talked\n of\ntea"),
        ("half a sign: \ud800", "[2026-11-23 00:00] half a sign: ?"),
    ],
)
def test_an_entry_is_a_paragraph_that_begins_with_its_time(given: str, written: str) -> None:
    assert checks.entry(given, AT, "", UTC) == written


def test_an_entry_of_others_words_is_marked_behind_its_time() -> None:
    marked = "[2026-11-20 09:30] [from telegram:-100, 2026-11-23] Eve sang"
    assert checks.entry("[2026-11-20 09:30] Eve sang", AT, "telegram:-100", UTC) == marked
    assert checks.entry(marked, AT, "telegram:-100", UTC) == marked


def test_a_long_entry_is_cut_and_says_so() -> None:
    entry = checks.entry("x" * 20_000, AT, "", UTC)
    assert len(entry) == MOST_ENTRY_CHARS
    assert entry.endswith(" (cut)")


@pytest.mark.parametrize("text", ["", " \n ", "[2026-11-20 09:30]", "\x00"])
def test_an_entry_says_something(text: str) -> None:
    with pytest.raises(ValueError, match="says something"):
        checks.entry(text, AT)


def test_each_fact_of_others_is_marked_once() -> None:
    text = "# Group\n- Eve sings\n  - [from telegram:-1, 2026-01-01] Bob too\nplain\n"
    once = checks.marked(text, "telegram:-100", AT, UTC)
    assert once.splitlines() == [
        "# Group",
        "- [from telegram:-100, 2026-11-23] Eve sings",
        "  - [from telegram:-1, 2026-01-01] Bob too",
        "[from telegram:-100, 2026-11-23] plain",
    ]
    assert checks.marked(once, "telegram:-100", AT, UTC) == once


@pytest.mark.parametrize(
    ("before", "after", "lost"),
    [
        ("- the same words in all of them {}", "- the same words in all of them, number {}", 0),
        ("- {}", "- n{}", 1200),
        ("", "- n{}", 0),
    ],
)
def test_the_longest_documents_are_judged_in_no_time(before: str, after: str, lost: int) -> None:
    """Every line with every other by the words they share: once that took a minute."""
    had, has = ("".join(f"{line.format(number)}\n" for number in range(1200) if line) for line in (before, after))
    began = time.monotonic()
    assert len(checks.dropped(had, has)) == lost
    assert time.monotonic() - began < 5
