"""What a model writes can draw, but not steer the terminal."""

import re

import pytest

from nanobot.cli.chatting import render

OURS = re.compile(r"\x1b\[[0-9;]*m|\x1b\]8;[^\x1b]*\x1b\\")
"""Colours, and links whose address is percent-encoded."""


@pytest.mark.parametrize(
    "text",
    [
        "plain \x1b]0;title\x07 \x9b2J",
        "<http://a.b/%1b]0;title%1b%5c> <http://a.b/%9b2J>",
        "[text %1b](http://a.b/%1b]0;title%07) ![image](http://a.b/%1b)",
        "&#27;]0;title&#7; &#x9b;2J",
        "`\x1b]0;title\x07`",
        "```\n\x1b]0;title\x07\n```",
    ],
)
def test_no_control_character_reaches_the_terminal(text: str) -> None:
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", OURS.sub("", render.markdown(text)))


def test_what_would_take_seconds_to_draw_is_shown_as_it_is() -> None:
    text = "```python\n" + "x = 1\n" * render.LONGEST + "```"
    assert render.markdown(text) == text


def test_what_is_nested_too_deep_to_be_drawn_is_shown_as_it_is() -> None:
    assert "the point" in render.markdown("> " * 60 + "the point")
