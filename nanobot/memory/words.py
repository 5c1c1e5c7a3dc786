"""How text becomes the words that a search finds, and how a search is read. Pure.

Text and searches go the same way, so what is typed is found however it is written: without regard to case, width and
diacritics (`Muller` finds `Müller`). Scripts that put no spaces between words (Chinese, Japanese, Korean, Thai and their
neighbours) are cut into overlapping pairs of signs, so that each word of two signs or more is found wherever it stands; each
sign alone is found, too. Of a search, every word must occur; `"several words"` must stand together, `-word` must not occur, and
`begin*` stands for all that begin so. Any text is a search: what is no sign of this language is a space.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import pairwise

import attrs

LONGEST_QUERY = 1000
"""Characters of a search that are read: more are a text, and cost time."""
LONGEST_WORD = 64
"""Characters; what is longer is data, and counts as several words in a row."""

_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u1100-\u11ff\u3130-\u318f\uac00-\ud7ff"  # Korean
    "\u3005-\u3007\u3041-\u3096\u3099\u309a\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"  # Japanese
    "\u3105-\u312f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003fffd"  # Chinese
)
_MARKS = "\u0900-\u0903\u093a-\u094f\u0962\u0963\u0980-\u0983\u09bc-\u09d7\u0a01-\u0a51\u0b82-\u0bd7\u0c00-\u0c56\u0d00-\u0d57"
"""Vowel signs of Indian scripts: part of a word, but no letters."""
_PIECE = re.compile(f"([{_UNSPACED}]+)|((?:[^\\W_{_UNSPACED}]|[{_MARKS}]){{1,{LONGEST_WORD}}})")
_ASCII_WORD = re.compile(f"[a-z0-9]{{1,{LONGEST_WORD}}}")
_DIACRITICS = re.compile(
    "[\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u200b-\u200f\ufe00-\ufe0f]"
)
"""Accents, the vowel points of Hebrew and Arabic, and what is not seen. Japanese voicing marks make another letter and stay."""
_TERM = re.compile(r'((?<!\S)-)?(?:"([^"]*)(?:"|$)|([^\s"]+))')
_NARROW = re.compile("[\uff61-\uff9f]+")
"""Japanese signs of half the width: voicing marks are signs of their own behind them."""
_QUOTES = str.maketrans("“”„‟«»＂「」『』", '"' * 11)


class _Folds(dict[int, str]):
    """By character: what it counts as. Filled as they come."""

    def __missing__(self, code: int) -> str:
        apart = unicodedata.normalize("NFKD", chr(code)).casefold()
        folded = unicodedata.normalize("NFKC", _DIACRITICS.sub("", unicodedata.normalize("NFKD", apart)))
        self[code] = folded
        return folded


_FOLDS = _Folds()


@attrs.frozen
class Term:
    """A word of a search, or several that must stand together."""

    tokens: tuple[str, ...]
    begins: bool = False
    """The last token is the beginning of a word."""


@attrs.frozen
class Search:
    """A search as it was read: all of `wanted` must occur, none of `unwanted`."""

    wanted: tuple[Term, ...] = ()
    unwanted: tuple[Term, ...] = ()


def read(text: str) -> Search:
    """The search that somebody typed. Total: never raises."""
    wanted: dict[Term, None] = {}
    unwanted: dict[Term, None] = {}
    for found in _TERM.finditer(clean(text[:LONGEST_QUERY]).translate(_QUOTES)):
        minus, quoted, plain = found.groups()
        tokens = tuple(_words(fold(quoted if plain is None else plain))[0])
        if tokens:
            into = unwanted if minus else wanted
            into[Term(tokens, begins=plain is not None and plain.endswith("*") and not _unspaced(tokens[-1]))] = None
    return Search(tuple(wanted), tuple(unwanted))


def clean(text: str) -> str:
    """As it can be kept: composed, and without what no file takes (halves of surrogate pairs, NUL)."""
    if text.isascii():
        return text.replace("\0", " ")
    whole = text.encode("utf-8", "replace").decode().replace("\0", " ")
    return _NARROW.sub(lambda run: unicodedata.normalize("NFKC", run[0]), unicodedata.normalize("NFC", whole))


def fold(text: str) -> str:
    """Text by which is compared, of `clean` text; each of its characters becomes none, one or several of these."""
    return text.lower() if text.isascii() else text.translate(_FOLDS)


def indexed(text: str) -> str:
    """The words of `clean` text with spaces between, in their order; behind them each single sign of unspaced scripts once.

    They hold no ASCII but small letters and digits, so no tokenizer takes them apart.
    """
    found, signs = _words(fold(text))
    return " ".join([*found, *signs])


def _words(folded: str) -> tuple[list[str], Iterable[str]]:
    """Words in their order, and the signs that pairs are made of."""
    if folded.isascii():
        return _ASCII_WORD.findall(folded), ()
    found: list[str] = []
    signs: dict[str, None] = {}
    for run, word in _PIECE.findall(folded):
        if len(run) > 1:
            found += map("".join, pairwise(run))
            signs |= dict.fromkeys(run)
        else:
            found.append(run or word)
    return found, signs


def _placed(folded: str) -> Iterator[tuple[str, int, int]]:
    """The same words, with where they begin and end."""
    for piece in _PIECE.finditer(folded):
        start, end = piece.span()
        if piece[1] is None or end - start == 1:
            yield piece[0], start, end
        else:
            yield from ((folded[at : at + 2], at, at + 2) for at in range(start, end - 1))


def _unspaced(token: str) -> bool:
    found = _PIECE.match(token)
    return found is not None and found[1] is not None


# --- for a database


def expression(terms: Iterable[Term], between: str) -> str:
    """The terms in SQLite's language of full text search (fts5). They are quoted, so that nothing in them is an order."""
    return between.join(f'"{" ".join(term.tokens)}"{"*" if term.begins else ""}' for term in terms)


# --- for people


def hits(text: str, terms: Iterable[Term]) -> list[tuple[int, int, Term]]:
    """Where terms occur in `clean` text: beginning and end of each, in order."""
    folded, origin = _with_origin(text)
    placed = list(_placed(folded))
    found = [
        (origin[start], origin[end - 1] + 1, term)
        for term in terms
        for start, end in (_sign(folded, term) if _is_sign(term) else _in_a_row(placed, term))
    ]
    return sorted(found, key=lambda hit: hit[:2])


def _with_origin(text: str) -> tuple[str, range | list[int]]:
    """Folded text, and for each of its characters the place of the one that it comes from."""
    folded = fold(text)
    if len(folded) == len(text) and (text.isascii() or all(len(fold(char)) == 1 for char in text)):
        return folded, range(len(text))
    return folded, [at for at, char in enumerate(text) for _ in fold(char)]


def _is_sign(term: Term) -> bool:
    return len(term.tokens) == 1 and len(term.tokens[0]) == 1 and _unspaced(term.tokens[0])


def _sign(folded: str, term: Term) -> Iterator[tuple[int, int]]:
    return ((found.start(), found.end()) for found in re.finditer(re.escape(term.tokens[0]), folded))


def _in_a_row(placed: list[tuple[str, int, int]], term: Term) -> Iterator[tuple[int, int]]:
    first, count = term.tokens[0], len(term.tokens)
    for at, (token, start, _) in enumerate(placed):
        if count > 1 and token != first:
            continue
        row = [word for word, _, _ in placed[at : at + count]]
        if row[:-1] == [*term.tokens[:-1]] and len(row) == count and _same(row[-1], term):
            yield start, placed[at + count - 1][2]


def _same(word: str, term: Term) -> bool:
    return word.startswith(term.tokens[-1]) if term.begins else word == term.tokens[-1]
