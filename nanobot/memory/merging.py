"""Two changes of one text made into one, line by line. Pure.

What only one side has changed is taken from it. Where both have added lines at the same place, both are kept, theirs first: lines
of memory are facts that stand for themselves. What both have changed in the same lines otherwise cannot be decided by a program.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

import attrs

MANY = 1000
"""Lines beyond which those that come often are no help in matching: it would take minutes of a text of repeated lines."""


@attrs.frozen
class _Change:
    """Lines `[start, end)` of the base become `new`."""

    start: int
    end: int
    new: tuple[str, ...]

    @property
    def adds(self) -> bool:
        return self.start == self.end

    @property
    def order(self) -> tuple[int, bool]:
        return self.start, not self.adds


def merged(base: str, ours: str, theirs: str) -> str | None:
    """The base with both changes; None where they contradict each other."""
    if ours in (base, theirs):
        return theirs
    if base == theirs:
        return ours
    lines = base.splitlines()
    together = _together(_changes(lines, ours.splitlines()), _changes(lines, theirs.splitlines()))
    if together is None:
        return None
    result: list[str] = []
    done = 0
    for change in together:
        result += [*lines[done : change.start], *change.new]
        done = change.end
    result += lines[done:]
    return "\n".join(result) + "\n" if result else ""


def _changes(base: Sequence[str], text: Sequence[str]) -> list[_Change]:
    first = _alike(base, text)
    last = _alike(base[first:][::-1], text[first:][::-1])
    old, new = base[first : len(base) - last], text[first : len(text) - last]
    codes = SequenceMatcher(None, old, new, autojunk=len(old) > MANY).get_opcodes()
    return [_Change(first + i1, first + i2, tuple(new[j1:j2])) for tag, i1, i2, j1, j2 in codes if tag != "equal"]


def _alike(one: Sequence[str], other: Sequence[str]) -> int:
    """How many lines both begin with."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _together(ours: Sequence[_Change], theirs: Sequence[_Change]) -> list[_Change] | None:
    """All changes in order; None if two of them contradict each other."""
    result: list[_Change] = []
    for change in sorted((*theirs, *ours), key=lambda change: change.order):  # sorting is stable: theirs first
        last = result[-1] if result else None
        if last is None or not _meet(last, change):
            result.append(change)
        elif (one := _one(last, change)) is not None:
            result[-1] = one
        else:
            return None
    return result


def _meet(first: _Change, second: _Change) -> bool:
    """Whether they touch the same lines, or add at the same place."""
    if first.adds and second.adds:
        return first.start == second.start
    return second.start < first.end


def _one(first: _Change, second: _Change) -> _Change | None:
    if first == second:
        return first
    if first.adds and second.adds:
        return _Change(first.start, first.end, (*first.new, *(line for line in second.new if line not in first.new)))
    if not first.new and not second.new:
        return _Change(first.start, max(first.end, second.end), ())
    return None
