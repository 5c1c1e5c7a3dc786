"""A text in parts that a network takes: each within its limit as the network counts, no code fence broken, nothing lost. Pure.

A part ends where reading is disturbed least: at the end of a paragraph, else of a line, a sentence, a word, and only then
inside one; for the first three, not in the first half of the part. A code block that must be cut is closed, and opened again
with its info string in the next part. White space at a cut outside of code is dropped; every other character arrives, in order.

A fence line longer than a part can hold leaves nothing to respect: from there on the text is cut wherever the limit falls.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator

import attrs

Length = Callable[[str], int]
"""How long the network finds a text once it is rendered."""

LEAST_FILL = 0.5
"""Of a part: a paragraph that ends earlier would leave short parts behind."""
LONGEST_INFO = 40
"""Characters of an info string that is repeated; what is longer is no language's name."""

PARAGRAPH, LINE, SENTENCE, WORD, ANYWHERE = 4, 3, 2, 1, 0
_FENCE = re.compile(r"[ ]{0,3}(`{3,}|~{3,})([^\n]*)")
_MIDDLE = re.compile(r"(?P<sentence>[.!?…]['\")\]]*(?=\s)|[。！？])|(?P<word>\s+)")
_JOINERS = "\u200d\ufe0e\ufe0f"
"""Zero-width joiner and variation selectors: parts of the picture before them."""


@attrs.frozen
class Fence:
    """An open code block: how it was opened."""

    mark: str
    info: str

    @property
    def opening(self) -> str:
        return f"{self.mark}{self.info if len(self.info) <= LONGEST_INFO else ''}\n"


@attrs.frozen
class _Cut:
    at: int
    rank: int
    fence: Fence | None
    """What is open there."""


def utf16_units(text: str) -> int:
    """What Telegram and JavaScript count. Never fewer than characters, so that it is safe for networks that count those."""
    return len(text) + sum(char > "\uffff" for char in text) if not text.isascii() else len(text)


def split(text: str, limit: int | None, length: Length = utf16_units) -> tuple[str, ...]:
    """The parts, at least one, in order. One that is the text itself if that fits."""
    parts: list[str] = []
    fence: Fence | None = None
    while limit is not None and (most := _most(text, _head(fence), limit, length)) < len(text):
        part, text, fence = _first(text, fence, most, limit, length)
        if part.strip():
            parts.append(part)
    if text.strip() or not parts:
        parts.append(_head(fence) + text)
    return tuple(parts)


def first(text: str, limit: int | None, length: Length = utf16_units) -> str:
    """The first of its parts, with the code block closed that it leaves open: for a text that may still grow."""
    if limit is None:
        return closed(text)
    most = _most(text, "", limit, length)
    whole = closed(text) if most == len(text) else ""
    return whole if whole and length(whole) <= limit else _first(text, None, most, limit, length)[0]


def closed(text: str) -> str:
    """The text with the code block closed that it leaves open."""
    fence: Fence | None = None
    for line in text.split("\n"):
        fence = _after(line, fence)
    return text if fence is None else _closed(text, fence)


def _first(text: str, fence: Fence | None, most: int, limit: int, length: Length) -> tuple[str, str, Fence | None]:
    """The first part, what is left, and the code block that is open there. The first `most` characters fit."""
    head = _head(fence)
    for cut in _by_preference(_cuts(text, fence, most), most):
        part = _part(head + text[: cut.at], cut.fence)
        if cut.at and length(part) <= limit:
            return part, _rest(text[cut.at :], cut), cut.fence
    most = max(1, _most(text, "", limit, length))
    return text[:most], text[most:], None


def _head(fence: Fence | None) -> str:
    return "" if fence is None else fence.opening


def _closed(text: str, fence: Fence) -> str:
    return f"{text.removesuffix(chr(10))}\n{fence.mark}"


def _part(text: str, fence: Fence | None) -> str:
    return text.rstrip() if fence is None else _closed(text, fence)


def _rest(text: str, cut: _Cut) -> str:
    """What comes after a cut. In code every character counts; else a line keeps only its indentation."""
    if cut.fence is not None:
        return text
    return text.lstrip("\n") if cut.rank >= LINE else text.lstrip()


def _most(text: str, head: str, limit: int, length: Length) -> int:
    """Most characters of `text` that fit behind `head`: doubling, then halving, so that a long text is not measured whole."""
    low, high = 0, max(1, limit)
    while high < len(text) and length(head + text[:high]) <= limit:
        low, high = high, 2 * high
    high = min(high, len(text))
    if high == len(text) and length(head + text) <= limit:  # marks that are only closed at the end may shorten all of it
        return high
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if length(head + text[:middle]) <= limit else (low, middle - 1)
    return low


def _by_preference(cuts: Iterator[_Cut], most: int) -> list[_Cut]:
    def preference(cut: _Cut) -> tuple[int, int]:
        late = cut.at >= LEAST_FILL * most
        return (cut.rank if late or cut.rank == ANYWHERE else WORD, cut.at)

    return sorted(cuts, key=preference, reverse=True)


def _cuts(text: str, fence: Fence | None, most: int) -> Iterator[_Cut]:
    """Every place where a part of `most` characters may end, white space behind it not counted."""
    reach = most + len(text[most:]) - len(text[most:].lstrip()) if text[most : most + 1].isspace() else most
    start, blank, opened = 0, False, False
    while start <= reach:
        end = text.find("\n", start)
        line = text[start:] if end < 0 else text[start:end]
        after = _after(line, fence)
        closes = fence is not None and after is None
        if start and not closes and not opened:
            yield _Cut(start, PARAGRAPH if blank and fence is None else LINE, fence)
        if _FENCE.match(line) is None:
            yield from _inside(text, start, min(start + len(line), reach), fence)
        if end < 0:
            return
        opened = fence is None and after is not None
        start, blank, fence = end + 1, not line.strip(), after


def _inside(text: str, start: int, last: int, fence: Fence | None) -> Iterator[_Cut]:
    """The places inside a line that is no fence: none may make a fence of what begins behind it."""
    for found in _MIDDLE.finditer(text, start, min(last + 1, len(text))):
        at = found.end()
        if at <= last and _harmless(text, at):
            yield _Cut(at, SENTENCE if found["sentence"] else WORD, fence)
    for at in range(last, max(start, last - LONGEST_INFO), -1):  # so few, because only the last that fits is wanted
        if _harmless(text, at) and not _joined(text, at):
            yield _Cut(at, ANYWHERE, fence)


def _harmless(text: str, at: int) -> bool:
    return _FENCE.match(text[at : at + 2 * LONGEST_INFO].lstrip()) is None


def _joined(text: str, at: int) -> bool:
    """What stands at `at` belongs to the character before it."""
    after, before = text[at : at + 1], text[at - 1 : at]
    return before == "\u200d" or (after != "" and (after in _JOINERS or unicodedata.combining(after) > 0))


def _after(line: str, fence: Fence | None) -> Fence | None:
    """The code block that is open after a line."""
    found = _FENCE.fullmatch(line)
    if found is None:
        return fence
    mark, info = found[1], found[2].strip()
    if fence is not None:
        return None if mark.startswith(fence.mark) and not info else fence
    return None if mark[0] == "`" and "`" in info else Fence(mark, info)
