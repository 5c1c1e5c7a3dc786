"""How many tokens a request has, estimated without a tokenizer and corrected by what the service itself counted. Pure.

Theory of operation. A request is measured as a few quantities (`Measure`): words, letters, other ASCII signs, signs of other
scripts, messages, tools, pictures. Tokens are taken to be a weighted sum of these. What the weights are for a model is learned
from its replies, each of which says how many tokens its request had: a Bayesian linear regression, begun with what is usual
among vendors and a wide doubt about it. So the estimate knows what it does not know yet: `Scale.tokens` adds `CAUTION`
standard deviations, which is much for a script that this model has not been shown, and next to nothing for what it has seen.

Where an earlier request of the same conversation was counted by the service, only the difference to it is estimated.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from operator import mul
from typing import NamedTuple

import attrs

from nanobot.messages import Attachment, Entry, Note, Reply, Said

CAUTION = 2.5
"""Standard deviations on the safe side: one estimate of 160 would be too low if the doubt is right."""
NOISE = 0.008
"""Share of a request by which tokenizers deviate from any weighted sum, as one standard deviation."""
NOISE_TOKENS = 8.0
FAR = 3.0
"""A count this many times more or less than is usual is not believed: some services count only what they had not in cache."""

WEIGHTS: tuple[tuple[str, float, float], ...] = (
    ("one", 30.0, 150.0),
    ("messages", 5.0, 4.0),
    ("tools", 12.0, 12.0),
    ("words", 0.6, 0.35),
    ("letters", 0.14, 0.06),
    ("signs", 0.45, 0.2),
    ("two", 0.5, 0.22),
    ("cjk", 1.2, 0.5),
    ("wide", 1.3, 0.8),
    ("pictures", 1200.0, 600.0),
    ("thinking", 0.2, 0.12),
)
"""What each quantity costs in tokens before anything is known of a model, and how far models are from that (one standard
deviation). From published figures: English 3.3 to 4.8 characters a token, code 2.5 to 3.5, Cyrillic 1.5 to 4, Chinese 0.5 to
2.2 tokens a character, from the newest tokenizers to those of 2020."""

_ASCII_LETTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ "
_SIGNS = bytes(b for b in range(0x80) if b not in _ASCII_LETTERS)
_TWO, _CJK = bytes(range(0xC2, 0xE0)), bytes((*range(0xE3, 0xEE), 0xEF))
_WIDE = bytes((*range(0xE0, 0xE3), 0xEE, *range(0xF0, 0xF5)))
_DATA = re.compile(rb"[A-Za-z0-9+/=_-]{40,}")
"""Keys, hashes, files as base64: their letters make no words, and cost what signs cost."""
_ALL = bytes(range(256))
_WORDS = bytes(b if chr(b).isalpha() and b < 0x80 else 0x20 for b in range(256))
"""Everything but letters as a space."""


def _but(kept: bytes) -> bytes:
    return bytes(b for b in _ALL if b not in kept)


_NOT = {name: _but(kept) for name, kept in (("letters", _ASCII_LETTERS), ("two", _TWO), ("cjk", _CJK), ("wide", _WIDE))}

Vector = tuple[float, ...]


class Measure(NamedTuple):
    """What a request is made of. Signs are counted by the first byte of their UTF-8: `two` are most alphabets that are not
    Latin, `cjk` Chinese, Japanese and Korean, `wide` the rest, emoji among them."""

    one: float = 0.0
    """1 for a whole request, 0 for a part of one."""
    messages: float = 0.0
    tools: float = 0.0
    words: float = 0.0
    letters: float = 0.0
    signs: float = 0.0
    two: float = 0.0
    cjk: float = 0.0
    wide: float = 0.0
    pictures: float = 0.0
    thinking: float = 0.0


def of_text(text: str, *, messages: int = 0, tools: int = 0) -> Measure:
    data = text.encode("utf-8", "replace")
    words, letters = len(data.translate(_WORDS).split()), len(data.translate(None, _NOT["letters"]))
    data_letters = sum(len(run.translate(None, _NOT["letters"])) for run in _DATA.findall(data))
    letters -= data_letters
    if text.isascii():
        return Measure(messages=messages, tools=tools, words=words, letters=letters, signs=len(data) - letters)
    two, cjk, wide = (len(data.translate(None, _NOT[name])) for name in ("two", "cjk", "wide"))
    signs = len(data.translate(None, _but(_SIGNS))) + data_letters
    return Measure(0.0, messages, tools, words, letters, signs, two, cjk, wide)


def of_entry(entry: Entry) -> Measure:
    match entry:
        case Said(text=text, attachments=files):
            return total((of_text(text, messages=1), _files(files))) if files else of_text(text, messages=1)
        case Note(text):
            return of_text(text, messages=1)
        case Reply(text, calls, thinking):
            said = "\n".join((text, *(f"{c.name}{c.arguments}{c.result}" for c in calls)))
            files = tuple(file for call in calls for file in call.attachments)
            thought = Measure(thinking=float(sum(len(t.text.encode("utf-8", "replace")) for t in thinking)))
            return total((of_text(said, messages=1 + 2 * len(calls)), thought, _files(files)))


def total(measures: Iterable[Measure]) -> Measure:
    """Their sum. There must be one at least."""
    return Measure(*map(sum, zip(*measures, strict=True)))


def _files(files: Sequence[Attachment]) -> Measure:
    pictures = sum(file.mime.startswith("image/") for file in files)
    return Measure(
        pictures=pictures,
        signs=20.0 * (len(files) - pictures),
        letters=60.0 * (len(files) - pictures),
        words=8.0 * (len(files) - pictures),
    )


@attrs.frozen
class Counted:
    """A request that the service has counted."""

    measure: Measure
    tokens: int


@attrs.frozen
class Scale:
    """What is known of how a model counts. A new one with every reply."""

    weights: Vector = tuple(mean for _, mean, _ in WEIGHTS)
    doubt: tuple[Vector, ...] = tuple(
        tuple(sd * sd if row == column else 0.0 for column in range(len(WEIGHTS))) for row, (_, _, sd) in enumerate(WEIGHTS)
    )
    """The covariance of the weights."""
    replies: int = 0

    def likely(self, measure: Measure) -> float:
        """Tokens, as likely too many as too few; at least 0."""
        return max(0.0, _dot(self.weights, measure))

    def tokens(self, measure: Measure, since: Counted | None = None) -> float:
        """Tokens, on the safe side once the model has answered. `since`: an earlier request of the same conversation."""
        known, base = (measure, 0.0) if since is None else (_minus(measure, since.measure), since.tokens)
        likely = base + _dot(self.weights, known)
        doubt = math.sqrt(max(0.0, _dot(known, _times(self.doubt, known))) + _noise(likely - base)) if self.replies else 0.0
        return max(0.0, likely + CAUTION * doubt)

    def learned(self, counted: Counted) -> Scale:
        """With what the service counted; the same where that cannot be."""
        seen, usual = counted.measure, _dot(_PRIOR, counted.measure)
        if not usual / FAR <= counted.tokens <= usual * FAR:
            return self
        spread = _times(self.doubt, seen)
        variance = _dot(seen, spread) + _noise(counted.tokens)
        gain = tuple(one / variance for one in spread)
        error = counted.tokens - _dot(self.weights, seen)
        weights = tuple(w + g * error for w, g in zip(self.weights, gain, strict=True))
        doubt = tuple(
            tuple(cell - g * s for cell, s in zip(row, spread, strict=True)) for row, g in zip(self.doubt, gain, strict=True)
        )
        return Scale(weights, doubt, self.replies + 1)


_PRIOR = Scale().weights


def _noise(tokens: float) -> float:
    return (NOISE * tokens) ** 2 + NOISE_TOKENS**2


def _dot(one: Vector, other: Vector) -> float:
    product: float = sum(map(mul, one, other))
    return product


def _minus(one: Vector, other: Vector) -> Vector:
    return tuple(a - b for a, b in zip(one, other, strict=True))


def _times(matrix: tuple[Vector, ...], vector: Vector) -> Vector:
    return tuple(_dot(row, vector) for row in matrix)
