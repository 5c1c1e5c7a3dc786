"""What of a streamed answer may be printed for good, and what is still to print when the whole is there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanobot.cli.chatting.stream import Stream, still_to_print

MARKDOWN = st.lists(st.sampled_from(["a", "- b", "  c", "```", "~~~~", "\n", "\n\n", " ", "d\n"]), max_size=30).map("".join)


@pytest.mark.parametrize(
    ("text", "done"),
    [
        ("one", ""),
        ("one\n\n", ""),
        ("one\n\ntwo", "one\n\n"),
        ("one\n\ntwo\n\nthree", "one\n\ntwo\n\n"),
        ("- item\n\n  goes on", ""),
        ("```\na\n\nb", ""),
        ("```\na\n\nb\n```\n\nafter", "```\na\n\nb\n```\n\n"),
        ("````\n```\n\nstill code", ""),
        ("~~~\n```\n\nstill code", ""),
    ],
)
def test_a_block_is_finished_when_nothing_can_change_it(text: str, done: str) -> None:
    assert Stream().add(text) == done


@given(MARKDOWN)
def test_however_it_arrives_the_same_text_is_printed_in_order(text: str) -> None:
    stream = Stream()
    printed = "".join(stream.add(char) for char in text)
    assert text.startswith(printed)
    assert printed + stream.flush() == text


def test_each_line_is_looked_at_once() -> None:
    stream, looked = Stream(), 0
    for _ in range(100):
        before = stream._looked
        stream.add("code\n")
        looked += len(stream.text) - before
    assert looked == len(stream.text)


@pytest.mark.parametrize(
    ("whole", "shown", "left"),
    [
        ("all", "", "all"),
        ("all", "all\n", ""),
        ("all and more", "all", " and more"),
        ("another", "all", "another"),
    ],
)
def test_what_was_shown_is_not_shown_again(whole: str, shown: str, left: str) -> None:
    assert still_to_print(whole, shown) == left
