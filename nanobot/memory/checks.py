"""What is taken into memory, and what is refused. Pure.

A *fact* is a line that is not empty, no heading, no rule and no comment. Two lines are the same fact if they differ only in white
space, bullet signs, case, and how their letters are composed. A fact is *dropped* by an update in which it is not there any more,
neither the same nor reworded: more than half of its words in one line that the update has changed or added. An unchanged
line stands for itself alone, so that `Phone of Ann: 123` does not hide that `Phone of Bob: 456` is gone.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, tzinfo

from nanobot.memory.port import ENTRY_TIME, MARKED, MOST_BYTES, MOST_ENTRY_CHARS, mark

_NO_FACT = re.compile(r"#{1,6}(?:\s|$)|[-*_=\s]*$|<!--.*-->\s*$|```")
_BULLET = re.compile(r"(?:[-*+•–·]|\d{1,3}[.)])\s+(?:\[[ xX]\]\s+)?")
_WORD = re.compile(r"[\w']+")
_NO_SPACES = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]{2,}")
"""Scripts in which a run of letters is many words, or (Korean) one with its endings: taken as pairs of signs."""
_CUT = " (cut)"
MOST_COMPARED = 4_000_000
"""Pairs of lines, two seconds: all of two documents of the greatest length. Beyond, only the same line is the same fact."""


def facts(text: str) -> tuple[str, ...]:
    """As they are compared, each once, in order."""
    return tuple(dict.fromkeys(_normal(line) for line in text.splitlines() if is_fact(line)))


def is_fact(line: str) -> bool:
    return _NO_FACT.match(line.strip()) is None


def gone(before: str, after: str) -> tuple[str, ...]:
    """The facts that are not there as they were."""
    there = set(facts(after))
    return tuple(fact for fact in facts(before) if fact not in there)


def dropped(before: str, after: str) -> tuple[str, ...]:
    """The facts that an update loses: neither there as they were nor reworded."""
    lost, new = gone(before, after), gone(after, before)
    return lost if len(lost) * len(new) > MOST_COMPARED else tuple(_not_reworded(lost, new))


def judge(before: str, after: str, most_dropped: float) -> str:
    """Why an update is not taken, a sentence; empty if it is. most_dropped: share of the facts, `memory.mostDropped`."""
    if fault := unfit(after, before):
        return fault
    had = len(facts(before))
    if had and not facts(after):
        return f"It is empty, and there are {had} facts now" if had > 1 else "It is empty, and there is a fact now"
    lost = len(dropped(before, after))
    if lost > most_dropped * had:
        return f"It drops {lost} of {had} facts; {most_dropped:.0%} may go at a time"
    return ""


def unfit(text: str, before: str = "") -> str:
    """Why a text cannot be a document at all, empty if it can. before: what a person has let stand there may go on to."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "It is no text: it holds half of a sign"
    if size > MOST_BYTES:
        return f"It is {size // 1024} KiB long; {MOST_BYTES // 1024} KiB fit into a prompt"
    known = {"\n", "\t", "\r", *before}
    if sign := next((sign for sign in text if sign not in known and unicodedata.category(sign) == "Cc"), ""):
        return f"It is no text: it holds the control character U+{ord(sign):04X}"
    return ""


def tidy(text: str) -> str:
    """As a document is written: one kind of line end, nothing behind the lines, one line end at the end."""
    lines = [line.rstrip() for line in re.split(r"\r\n|\r|\n", text)]
    return "\n".join(lines).strip("\n") + "\n" if any(lines) else ""


def marked(text: str, reported: str, at: float, zone: tzinfo | None = None) -> str:
    """The text with a mark in each fact that has none."""
    sign = mark(reported, at, zone)
    return "\n".join(_with_mark(line, sign) if is_fact(line) else line for line in text.split("\n"))


def entry(text: str, at: float, reported: str = "", zone: tzinfo | None = None) -> str:
    """An entry of HISTORY.md: one paragraph that begins with its time, then its mark; what others said on one line, as every
    line of it that began with a time would pass for an entry without a mark. Raises: ValueError for an empty one.
    """
    lines = [_printable(line).rstrip() for line in re.split(r"[\r\n\u2028\u2029\v\f\x85]+", text)]
    body = (" " if reported else "\n").join(line.strip() if reported else line for line in lines if line.strip()).strip()
    head = ENTRY_TIME.match(body)
    time = head[0] if head else f"[{_local(at, zone):%Y-%m-%d %H:%M}]"
    body = body[len(head[0]) :].strip() if head else body
    if not body:
        raise ValueError("an entry of the history says something")
    if reported and not MARKED.match(body):
        body = f"{mark(reported, at, zone)} {body}"
    whole = f"{time} {body}"
    return whole if len(whole) <= MOST_ENTRY_CHARS else whole[: MOST_ENTRY_CHARS - len(_CUT)].rstrip() + _CUT


def _not_reworded(facts: Sequence[str], lines: Sequence[str]) -> Iterator[str]:
    having: dict[str, list[int]] = {}
    for number, line in enumerate(lines):
        for word in _words(line):
            having.setdefault(word, []).append(number)
    for fact in facts:
        words = _words(fact)
        shared = Counter(number for word in words for number in having.get(word, ()))
        if 2 * max(shared.values(), default=0) <= len(words):
            yield fact


def _words(fact: str) -> frozenset[str]:
    found = set(_WORD.findall(fact))
    for run in _NO_SPACES.findall(fact):
        found.discard(run)
        found.update(run[i : i + 2] for i in range(len(run) - 1))
    return frozenset(found)


def _normal(line: str) -> str:
    bare = _BULLET.sub("", line.strip(), count=1) if _BULLET.match(line.strip()) else line.strip()
    return " ".join(unicodedata.normalize("NFC", bare).casefold().split())


def _with_mark(line: str, sign: str) -> str:
    if MARKED.search(line):
        return line
    indent = line[: len(line) - len(line.lstrip())]
    bullet = _BULLET.match(line.lstrip())
    bullet_text = bullet[0] if bullet else ""
    return f"{indent}{bullet_text}{sign} {line.lstrip()[len(bullet_text) :]}"


def _printable(line: str) -> str:
    whole = line.encode("utf-8", "replace").decode()
    return "".join(sign for sign in whole if sign == "\t" or unicodedata.category(sign) != "Cc")


def _local(at: float, zone: tzinfo | None) -> datetime:
    return datetime.fromtimestamp(at, zone) if zone is not None else datetime.fromtimestamp(at).astimezone()
