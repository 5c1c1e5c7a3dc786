"""The estimate of a request's tokens: learned from what services count, and on the safe side of it."""

from __future__ import annotations

import base64
import math
import random
import re

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanobot.agent import estimate
from nanobot.agent.estimate import Counted, Measure, Scale
from nanobot.messages import Attachment, Call, CallId, MessageId, Reply, Said, Thinking

ENGLISH = "The meeting was moved to Thursday, because the plumber comes on Wednesday; bring the 2 keys. "
CODE = "def rows(x: int) -> list[str]:\n    return [f'{y:>3}' for y in range(x) if y % 2 == 0]  # even ones\n"
CHINESE = "会议改到星期四，因为水管工星期三要来。请记得带上钥匙和合同。"
JAPANESE = "会議は木曜日に変更されました。鍵を忘れないでください。"
RUSSIAN = "Встреча перенесена на четверг, потому что в среду придёт сантехник. "
SCRIPTS = {
    "English": [ENGLISH],
    "code": [CODE],
    "Chinese": [CHINESE],
    "mixed": [ENGLISH, CODE, CHINESE, JAPANESE, RUSSIAN],
}
_PIECES = re.compile(r"[A-Za-z]+|\d+|[^\x00-\x7f]|\s+|[^\w\s]")


@attrs.frozen
class Tokenizer:
    """One that counts by pieces, as real ones do: no weighted sum of the measured quantities."""

    letters: float
    """Of a word that make a token."""
    digits: float
    cjk: float
    """Tokens of one sign."""
    cyrillic: float
    message: int
    tool: int
    hidden: int
    """What the service itself adds to each request."""

    def fixed(self, tools: int) -> float:
        return self.hidden + self.tool * tools

    def count(self, text: str) -> float:
        """Of a message with that text."""
        return self.message + sum(map(self._piece, _PIECES.findall(text)))

    def _piece(self, piece: str) -> float:
        if piece.isspace():
            return 0 if piece == " " else 1
        if ord(piece[0]) > 0x2E80:
            return self.cjk
        if ord(piece[0]) > 0x7F:
            return self.cyrillic
        per = self.digits if piece[0].isdigit() else self.letters
        return math.ceil(len(piece) / per) if piece[0].isalnum() else 1


tokenizers = st.builds(
    Tokenizer,
    st.floats(4.0, 9.0),
    st.sampled_from([1.0, 3.0]),
    st.floats(0.6, 2.0),
    st.floats(0.3, 0.9),
    st.integers(0, 10),
    st.integers(0, 25),
    st.integers(0, 350),
)


def talk(tokenizer: Tokenizer, texts: list[str], dice: random.Random, *, after: int, turns: int = 30) -> list[float]:
    """The estimate of each request beyond reply number `after`, as a share of what the service counts then."""
    first, fixed, shares = ENGLISH * 60 + CODE * 20, Measure(one=1.0, tools=20), []
    said = [(estimate.of_text(first, messages=1), tokenizer.count(first))]
    scale, last = Scale(), None
    for number in range(turns):
        text = (dice.choice(texts) * 200)[: dice.randint(20, 3000)]
        said.append((estimate.of_text(text, messages=1), tokenizer.count(text)))
        if number % 12 == 11:
            said = said[:1] + said[-4:]
        measure = estimate.total([fixed, *(one for one, _ in said)])
        counted = round(tokenizer.fixed(20) + sum(tokens for _, tokens in said))
        if number >= after:
            shares.append(scale.tokens(measure, last) / counted)
        last = Counted(measure, counted)
        scale = scale.learned(last)
    return shares


@pytest.mark.parametrize("script", SCRIPTS)
@given(tokenizer=tokenizers, seed=st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_after_five_replies_it_is_at_most_three_percent_too_low(script: str, tokenizer: Tokenizer, seed: int) -> None:
    assert min(talk(tokenizer, SCRIPTS[script], random.Random(seed), after=5)) >= 0.97


@pytest.mark.parametrize(("script", "most"), [("English", 1.05), ("code", 1.08), ("Chinese", 1.1), ("mixed", 1.15)])
def test_after_fifteen_replies_it_is_not_far_too_high(script: str, most: float) -> None:
    """Or history would leave long before it had to."""
    tokenizer = Tokenizer(6.0, 3.0, 1.1, 0.5, 4, 10, 100)
    assert max(talk(tokenizer, SCRIPTS[script], random.Random(3), after=15)) <= most


def test_a_script_that_the_model_was_not_shown_yet_is_taken_for_dear() -> None:
    shares = []
    for number in range(20):
        texts = [ENGLISH] if number < 8 else [CHINESE]
        shares += talk(Tokenizer(6.0, 3.0, 2.0, 0.5, 4, 10, 100), texts, random.Random(number), after=5, turns=12)
    assert min(shares) >= 0.97


def test_data_is_not_taken_for_words() -> None:
    """A file as base64 that is read after the model was shown nothing but English: 1.45 characters a token, not 4.8."""
    tokenizer, dice, scale = Tokenizer(4.8, 3.0, 1.0, 0.5, 4, 10, 100), random.Random(1), Scale()
    counted = Counted(Measure(), 0)
    for times in range(20, 180, 20):
        measure = estimate.of_text(ENGLISH * times, messages=1)._replace(one=1.0)
        counted = Counted(measure, round(100 + tokenizer.count(ENGLISH * times)))
        scale = scale.learned(counted)
    data = base64.b64encode(dice.randbytes(15_000)).decode()
    grown = estimate.total((counted.measure, estimate.of_text(data, messages=1)))
    assert 0.97 <= scale.tokens(grown, counted) / (counted.tokens + len(data) / 1.45) <= 1.6


@pytest.mark.parametrize("counted", [0, 3, 10**9])
def test_a_count_that_cannot_be_is_not_believed(counted: int) -> None:
    scale = Scale()
    assert scale.learned(Counted(estimate.of_text(ENGLISH * 100, messages=1), counted)) is scale


def test_before_anything_is_known_it_is_what_is_usual() -> None:
    measure = estimate.of_text(ENGLISH * 100)
    assert 3.0 < len(ENGLISH) * 100 / Scale().tokens(measure) < 5.0


@pytest.mark.parametrize(
    ("text", "kind"), [("abc ", "letters"), ("123,\n", "signs"), ("жé", "two"), ("会の한，", "cjk"), ("ก😀—", "wide")]
)
def test_each_sign_is_counted_once(text: str, kind: str) -> None:
    measure = estimate.of_text(text)
    assert getattr(measure, kind) == len(text)
    assert sum(measure) - measure.words == len(text)


def test_everything_of_an_entry_counts() -> None:
    picture = Attachment("/p.png", "image/png", "p.png", 10)
    call = Call(CallId("c"), "read", "{}", result="x " * 25, attachments=(picture,))
    reply = estimate.of_entry(Reply("y" * 20, (call,), (Thinking("openai_chat", "z" * 30),)))
    assert (reply.letters, reply.pictures, reply.thinking, reply.messages) == (74.0, 1.0, 30.0, 3.0)
    assert estimate.of_entry(Said(MessageId("m"), "hi", 0.0, "p", (picture,))).pictures == 1
