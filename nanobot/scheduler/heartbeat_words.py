"""What the heartbeat says, to the model and to the owner, and what an answer means. Pure."""

from __future__ import annotations

import re

WORK = """\
[From HEARTBEAT.md, at a regular look. Nobody is there: do what can be done, and do not ask.]

{tasks}

When you are done: if something of that is worth interrupting the owner for, begin your last answer with a line that says only
TELL, and below it what they should know. Otherwise answer in a sentence, without that line: nobody is told."""
FAILS = "The heartbeat has failed {} times in a row: {} It is tried again from time to time; nanobot status shows it."
WORKS = "The heartbeat works again."
_TELL = re.compile(r"[\s*_`#>]*(?:TELL[\s*_`.:!]*|(?-i:TELL)[*_`]*:[*_`]*\s*(?P<rest>[^\s*_`.:!].*))", re.IGNORECASE)
"""The line, in what models make of it: with signs around it, or with what is to be told behind a colon."""


def worth_telling(answer: str) -> str:
    """What of an answer is for the owner; empty unless it says so where a paragraph begins, or in its last line."""
    lines = answer.strip().split("\n")
    for number, line in enumerate(lines):
        begins = number in (0, len(lines) - 1) or not lines[number - 1].strip()
        if begins and (found := _TELL.fullmatch(line)):
            below = "\n".join((found["rest"] or "", *lines[number + 1 :])).strip()
            return below or "\n".join(lines[:number]).strip()
    return ""
