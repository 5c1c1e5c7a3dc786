"""A streamed answer, cut where a block of Markdown is finished: what is finished is printed for good, the rest is live. Pure."""

from __future__ import annotations

import re

import attrs

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")


@attrs.define
class Stream:
    """`text` is all that came; its first `printed` characters stand on the terminal. Each line is looked at once."""

    text: str = ""
    printed: int = 0
    _looked: int = 0
    """Where the first line begins that is not whole yet."""
    _fence: str = ""
    """The code fence that is open there, empty if none."""
    _blank: bool = False
    """Whether the line before it is blank."""

    @property
    def tail(self) -> str:
        return self.text[self.printed :]

    def add(self, piece: str) -> str:
        """Take a piece; returns the blocks that nothing can still change: up to the last blank line that is outside of a
        code fence and followed by a line that is not indented (an indented one may go on with a list)."""
        self.text += piece
        finished = self.printed
        *whole, begun = self.text[self._looked :].split("\n")
        for line in whole:
            finished = self._boundary(line, finished)
            self._fence = _fence_after(line, self._fence)
            self._blank = not line.strip()
            self._looked += len(line) + 1
        return self._take(self._boundary(begun, finished))

    def flush(self) -> str:
        """Everything that is not printed yet."""
        return self._take(len(self.text))

    def _boundary(self, line: str, before: int) -> int:
        """Where finished blocks end, seen from the line at `_looked`."""
        begins = self._blank and not self._fence and bool(line[:1].strip())
        return self._looked if begins else before

    def _take(self, end: int) -> str:
        taken = self.text[self.printed : end]
        self.printed = end
        return taken


def _fence_after(line: str, fence: str) -> str:
    """The fence that is open after a line, empty if none."""
    mark = _FENCE.match(line)
    if mark is None:
        return fence
    if not fence:
        return mark[1]
    closes = mark[1].startswith(fence) and not line.strip().strip(fence[0])
    return "" if closes else fence


def still_to_print(whole: str, shown: str) -> str:
    """What of the whole answer is not shown yet: its rest where `shown` is its beginning, else all of it."""
    whole, shown = whole.strip(), shown.strip()
    return whole.removeprefix(shown) if shown and whole.startswith(shown) else whole
