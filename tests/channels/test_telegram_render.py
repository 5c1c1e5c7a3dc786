"""Markdown to Telegram's HTML: what it looks like, that it is always well-formed, and that it is counted as Telegram counts."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanobot.channels.splitting import split, utf16_units
from nanobot.channels.telegram.render import plain, render, units, visible
from tests.fakes.telegram import read_html

PIECES = [*"ab *_`~|[]()<>&\\\n#-+1.!\"'🙂é>", "**", "```", "](http://x)", "| a |\n|---|\n"]
MARKED = st.lists(st.sampled_from(PIECES), max_size=60).map("".join)


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("plain", "plain"),
        ("a < b & c > d", "a &lt; b &amp; c &gt; d"),
        (
            "**bold** __bold__ *it* _it_ ~~no~~ ||psst||",
            "<b>bold</b> <b>bold</b> <i>it</i> <i>it</i> <s>no</s> <tg-spoiler>psst</tg-spoiler>",
        ),
        ("***both*** **b *i* b**", "<b><i>both</i></b> <b>b <i>i</i> b</b>"),
        ("snake_case_name 2*3*4 a * b", "snake_case_name 2*3*4 a * b"),
        ("**open and *never closed", "**open and *never closed"),
        ("`a<b` `` `x` `` `**no**`", "<code>a&lt;b</code> <code>`x`</code> <code>**no**</code>"),
        (r"\*lit\* \`x\`", "*lit* `x`"),
        (
            "[a](http://x.y/z_(b)?c=1&d=2) ![i](https://x.y)",
            '<a href="http://x.y/z_(b)?c=1&amp;d=2">a</a> <a href="https://x.y">i</a>',
        ),
        (
            '[a](javascript:alert) [b](/etc/passwd) [c](http://x.y/"z)',
            'a (javascript:alert) b (/etc/passwd) <a href="http://x.y/&quot;z">c</a>',
        ),
        (  # Telegram shows these without the address, as it links names with a dot only
            "[nas](http://nas:80/a) [me](http://me@home/) [tel](tel:+49) [m](mailto:a@b.c) [six](http://[::1]/) [u](tg://user?id=1)",
            "nas (http://nas:80/a) me (http://me@home/) tel (tel:+49) m (mailto:a@b.c)"
            ' <a href="http://[::1]/">six</a> <a href="tg://user?id=1">u</a>',
        ),
        ("<http://nas>", "http://nas"),
        ("<https://x.y> <b>raw</b>", '<a href="https://x.y">https://x.y</a> &lt;b&gt;raw&lt;/b&gt;'),
        ("# Title **x** #", "<b>Title <b>x</b></b>"),
        ("> one\n> *two*\nafter", "<blockquote>one\n<i>two</i></blockquote>\nafter"),
        ("- a\n  * b\n1. c\n- [ ] d\n- [x] e", "• a\n  • b\n1. c\n☐ d\n☑ e"),
        ("***\n---", "———\n———"),
        ("```py\nif a < b:\n  `x`\n```\nafter", '<pre><code class="language-py">if a &lt; b:\n  `x`</code></pre>\nafter'),
        ("~~~\n```\n~~~", "<pre>```</pre>"),
        ("```\nnever closed", "<pre>never closed</pre>"),
        ("| a | bb |\n|---|:-:|\n| **1** | 世 |\nx", "<pre>a  bb\n1  世</pre>\nx"),
        ("a | b\nno table", "a | b\nno table"),
    ],
)
def test_what_it_looks_like(text: str, html: str) -> None:
    assert render(text) == html


@given(MARKED)
def test_it_is_well_formed_and_counted_whatever_it_is(text: str) -> None:
    seen = read_html(render(text))
    assert seen == visible(render(text))
    assert units(text) == utf16_units(seen)


@given(st.text())
def test_no_letter_is_lost(text: str) -> None:
    assert [char for char in visible(render(text)) if char.isalnum()] == [char for char in text if char.isalnum()]


@given(MARKED, st.integers(20, 60))
def test_the_text_for_who_cannot_read_html_is_no_longer(text: str, limit: int) -> None:
    assert utf16_units(plain(text, limit)) <= max(limit, units(text))


@pytest.mark.parametrize(
    "pattern", ["**a ", "~~a ", "_a ", "[", "`", "|", "*", "`a ", "[a](", "> ", "| a |\n|--|\n", "\n", "**a** `b` [c](http://d) "]
)
def test_a_text_of_nothing_but_marks_is_cut_in_time(pattern: str) -> None:
    """And each part is within the limit as rendered. A second on a machine that has other things to do."""
    text = pattern * (40_000 // len(pattern))
    began = time.process_time()
    parts = split(text, 4096, units)
    assert time.process_time() - began < 3.0
    assert all(units(part) <= 4096 for part in parts)
