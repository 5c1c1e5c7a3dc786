"""The part of a text that a search is shown: where most of its words stand, each marked. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from nanobot.memory.words import Term, hits

MOST_CHARS = 300
"""Of an excerpt, marks not counted: three lines."""
BEFORE = 60
"""Characters before the first hit, so that it is seen in what context it stands."""
MARK = "**"


@attrs.frozen
class Excerpt:
    text: str
    """On one line."""
    terms: int
    """How many of the terms stand in the whole text."""


def excerpt(text: str, terms: Sequence[Term]) -> Excerpt:
    """Its beginning where none of them is in it."""
    found = hits(text, terms)
    start = _best(found) if found else 0
    end = min(len(text), start + MOST_CHARS)
    marks = _apart([(begin, stop) for begin, stop, _ in found if start <= begin and stop <= end])
    shown, at = "", start
    for begin, stop in marks:
        shown += f"{text[at:begin]}{MARK}{text[begin:stop]}{MARK}"
        at = stop
    shown += text[at:end]
    line = " ".join(shown.split())
    return Excerpt(f"{'…' * (start > 0)}{line}{'…' * (end < len(text))}", len({term for _, _, term in found}))


def _best(found: Sequence[tuple[int, int, Term]]) -> int:
    """Where the excerpt begins that shows most different terms."""
    best, most = 0, 0
    for first, (begin, _, _) in enumerate(found):
        start = max(0, begin - BEFORE)
        shown = {term for _, stop, term in found[first:] if stop <= start + MOST_CHARS}
        if len(shown) > most:
            best, most = start, len(shown)
    return best


def _apart(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Those that overlap or touch as one."""
    joined: list[tuple[int, int]] = []
    for begin, stop in sorted(spans):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((begin, stop))
    return joined
