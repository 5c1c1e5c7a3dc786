"""What does not show is refused and shown; what languages and emoji need is neither."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from nanobot.tools.plain import hidden, one_line, visible

FLAG_TAGS = "".join(chr(0xE0000 + ord(letter)) for letter in "gbeng") + "\U000e007f"
ATTACKS = {
    "erases what stood before": ("echo ok\x1b[2K\rrm -rf /", 0x1B),
    "returns to the start of the line": ("rm -rf / #\recho ok", 0x0D),
    "backspaces": ("rm\b\bls", 0x08),
    "ends early": ("notes.txt\0.sh", 0x00),
    "a control character of Latin 1": ("ls\x9b2K", 0x9B),
    "delete": ("ls\x7f", 0x7F),
    "shown backwards": ("invoice\u202efdp.sh", 0x202E),
    "isolated and shown elsewhere": ("a\u2066b\u2069", 0x2066),
    "embedding": ("\u202bls", 0x202B),
    "zero-width space": ("AGENTS\u200b.md", 0x200B),
    "word joiner": ("r\u2060m", 0x2060),
    "invisible times": ("r\u2062m", 0x2062),
    "soft hyphen": ("/home/me\u00ad", 0xAD),
    "byte order mark": ("\ufeffls", 0xFEFF),
    "line separator": ("echo ok\u2028rm x", 0x2028),
    "filler": ("\u3164", 0x3164),
    "tags": ("ls" + "".join(chr(0xE0000 + ord(letter)) for letter in "; rm x"), 0xE003B),
    "tags behind a flag that is none": ("\U0001f3f4" + FLAG_TAGS[:3] + "\U000e007f", 0xE0067),
    "tags behind a flag": ("\U0001f3f4" + FLAG_TAGS + "\U000e0041", 0xE0041),
    "bytes as variants": ("A\U000e0110", 0xE0110),
    "bytes as variants in a row": ("😀\ufe0f\ufe01\ufe02", 0xFE01),
    "joiner between Latin letters": ("AGENTS\u200d.md", 0x200D),
    "non-joiner at the end": ("secret\u200c", 0x200C),
    "bits as joiners": ("س\u200c\u200d\u200c\u200dا", 0x200C),
    "half of a character": ("a\ud800", 0xD800),
}
GOOD = {
    "a command of two lines": "if true; then\n\techo yes\nfi",
    "family": "👨\u200d👩\u200d👧\u200d👦",
    "rainbow flag": "🏳\ufe0f\u200d🌈",
    "skin": "👩🏽\u200d🚀",
    "England": "\U0001f3f4" + FLAG_TAGS,
    "key cap": "1\ufe0f\u20e3",
    "Persian": "می\u200cخواهم",
    "Persian after Latin": "PDF\u200cها",
    "Hindi": "क\u200d्ष",
    "Hebrew": "שלום.txt",
    "Arabic": "مرحبا بالعالم",
    "Hebrew with a mark of direction": "C++\u200f שלום",
    "Chinese": "文件/报告.md",
    "an older form of a character": "葛\U000e0100飾区",
    "Japanese": "がぎぐ　テスト",
    "Korean": "한국어",
    "combining marks": "e\u0301 и\u0306 Z\u0351\u036b",
    "Vietnamese": "tiếng Việt",
    "no-break space": "10\u00a0km",
    "Thai": "ภาษาไทย",
    "shell": "find . -name '*.py' -print0 | xargs -0 grep -n \"a\\tb\" 2>/dev/null; rm -f 'a b'",
}


@pytest.mark.parametrize("label", ATTACKS)
def test_what_does_not_show_is_named(label: str) -> None:
    text, number = ATTACKS[label]
    assert f"U+{number:04X} (" in str(hidden(text))
    shown = visible(text)
    assert f"<U+{number:04X}>" in shown
    assert hidden(shown) is None
    assert one_line(text).isascii()


@pytest.mark.parametrize("label", GOOD)
def test_good_neighbours(label: str) -> None:
    text = GOOD[label]
    assert hidden(text) is None
    assert visible(text) == text


def test_a_name_of_two_lines_is_one_line_of_a_list() -> None:
    assert one_line("a\nb") == '"a\\nb"'
    assert one_line("süß 文") == "süß 文"


def test_every_control_character_of_unicode() -> None:
    controls = {chr(number) for number in range(sys.maxunicode + 1) if unicodedata.category(chr(number)) in ("Cc", "Cs")}
    assert {sign for sign in controls if hidden(f"a{sign}b") is None} == {"\n", "\t"}


def test_every_sign_that_turns_direction() -> None:
    turning = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}
    signs = [chr(number) for number in range(sys.maxunicode + 1) if unicodedata.bidirectional(chr(number)) in turning]
    assert len(signs) == len(turning)
    assert all(map(hidden, signs))
