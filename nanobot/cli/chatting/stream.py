"""A streamed answer, cut where a block of Markdown is finished: what is finished is printed for good, the rest is live. Pure."""

from __future__ import annotations

import re

import attrs

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")


@attrs.define
class Stream:
    """`text` is all that came; its first `printed` characters stand on the terminal."""

    text: str = ""
    printed: int = 0

    @property
    def tail(self) -> str:
        return self.text[self.printed :]

    def add(self, piece: str) -> str:
        """Take a piece; returns the blocks that it finished."""
        self.text += piece
        return self._take(finished(self.tail)) if "\n" in self.tail else ""

    def flush(self) -> str:
        """Everything that is not printed yet."""
        return self._take(len(self.text) - self.printed)

    def _take(self, length: int) -> str:
        taken = self.tail[:length]
        self.printed += length
        return taken


def finished(text: str) -> int:
    """How many characters of `text` are blocks that nothing can still change: up to the last blank line that is outside of a
    code fence and followed by a line that is not indented (an indented one may go on with a list)."""
    end = position = 0
    fence = ""
    blank = False
    for line in text.splitlines(keepends=True):
        if blank and not fence and not line[0].isspace():
            end = position
        fence = _fence_after(line, fence)
        blank = not line.strip()
        position += len(line)
    return end


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
