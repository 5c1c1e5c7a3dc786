"""`edit_file`: replace a piece of text that is found exactly once, or as often as the call says.

The search is exact first. Where that finds nothing, it is repeated with curly quotes taken as straight ones, then by whole
lines without trailing blanks, then without a common indentation, and a match is taken only if it is the only one. What is
not found is answered with the nearest lines as a diff, so that the next call can be right.
"""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Annotated, BinaryIO

import attrs
import trio

from nanobot.errors import ToolError
from nanobot.messages import Effect
from nanobot.security import workspace
from nanobot.tools.port import Result, Tool, ToolTurn
from nanobot.tools.schema import Arg

LARGEST_FILE = 10 * 1024 * 1024
"""Bytes; more is not edited by hand."""
QUOTES = str.maketrans("\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f", "''''\"\"\"\"")
NEAR = 0.5
"""Similarity below which the nearest lines would only mislead."""
MOST_NAMED = 10
"""Places that are named where there are several."""
LINES_COMPARED = 5000
"""Most lines of a file that are compared one by one for the nearest: a second of work."""


@attrs.frozen
class EditFile:
    path: Annotated[str, Arg("The file to change.")]
    old_text: Annotated[str, Arg("Text to find, exactly as it stands in the file, without line numbers.")]
    new_text: Annotated[str, Arg("Text to put in its place; empty deletes it.")]
    replace_all: Annotated[bool, Arg("Replace every occurrence.")] = False
    occurrence: Annotated[int | None, Arg("Replace only this occurrence, counted from 1.", minimum=1)] = None
    expected_replacements: Annotated[int | None, Arg("Do nothing unless exactly so many are replaced.", minimum=1)] = None


@attrs.frozen
class Edit:
    """What an edit makes of a text."""

    text: str
    count: int
    note: str = ""


async def _run(params: EditFile, turn: ToolTurn) -> Result:
    return await trio.to_thread.run_sync(_edit, params, turn)


def _edit(params: EditFile, turn: ToolTurn) -> Result:
    with workspace.open_file(params.path, turn) as opened:
        found = os.fstat(opened.file.fileno())
        text = _text(opened.file, params.path)
        tainted = opened.of_strangers()
    try:
        edit = edited(text, params)
    except ToolError as error:
        if tainted:  # it shows lines of the file
            return Result(f"Error: {error}", tainted=True, failed=True)
        raise
    workspace.write_file(params.path, turn, edit.text.encode(), unless_changed=found)
    times = "1 place" if edit.count == 1 else f"{edit.count} places"
    return Result(f"Changed {params.path} in {times}{edit.note}")


def _text(file: BinaryIO, path: str) -> str:
    data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise ToolError(f"{path} has more than {LARGEST_FILE:,} bytes, too many to edit here. Use exec")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ToolError(f"{path} is not UTF-8 text (byte {error.start}); edit_file would damage it. Use exec") from error


def edited(text: str, params: EditFile) -> Edit:
    """`text` after the edit; its line endings are kept. Raises: ToolError."""
    if not params.old_text:
        raise ToolError("old_text is empty. Give the text to replace; write_file writes a whole file")
    if params.old_text == params.new_text:
        raise ToolError("old_text and new_text are the same: there is nothing to change")
    windows = "\r\n" in text and text.count("\n") == text.count("\r\n")
    if windows:
        old, new = (part.replace("\r\n", "\n") for part in (params.old_text, params.new_text))
        edit = _replaced(text.replace("\r\n", "\n"), attrs.evolve(params, old_text=old, new_text=new))
        return attrs.evolve(edit, text=edit.text.replace("\n", "\r\n"))
    return _replaced(text, params)


def _replaced(text: str, params: EditFile) -> Edit:
    count = text.count(params.old_text)
    if count == 0:
        return _tolerant(text, params)
    chosen = 1 if params.occurrence is not None else count
    if params.occurrence is not None and params.occurrence > count:
        raise ToolError(f"occurrence {params.occurrence} does not exist: old_text is found {count} times. Nothing was changed")
    if count > 1 and params.occurrence is None and not params.replace_all:
        lines = ", ".join(map(str, _line_numbers(text, params.old_text)))
        raise ToolError(
            f"old_text is found {count} times (lines {lines}). Nothing was changed. Give more of the lines around it, "
            "or occurrence, or replace_all"
        )
    _expect(params, chosen)
    if params.occurrence is None:
        return Edit(text.replace(params.old_text, params.new_text), chosen)
    parts = text.split(params.old_text)
    before, after = parts[: params.occurrence], parts[params.occurrence :]
    return Edit(params.old_text.join(before) + params.new_text + params.old_text.join(after), 1)


def _expect(params: EditFile, count: int) -> None:
    if params.expected_replacements not in (None, count):
        raise ToolError(f"expected {params.expected_replacements} replacements, but there are {count}. Nothing was changed")


def _line_numbers(text: str, part: str) -> list[int]:
    numbers: list[int] = []
    at = text.find(part)
    while at >= 0 and len(numbers) < MOST_NAMED:
        numbers.append(text.count("\n", 0, at) + 1)
        at = text.find(part, at + len(part))
    return numbers


# -- what is not exactly the same ---------------------------------------------------------------------------------------


LOOSER: tuple[tuple[Callable[[str], str], str], ...] = (
    (str.rstrip, " (blanks at line ends differed)"),
    (str.strip, " (the indentation differed; new_text was moved to fit)"),
)


def _tolerant(text: str, params: EditFile) -> Edit:
    straight, old = text.translate(QUOTES), params.old_text.translate(QUOTES)  # one character for one: places stay
    if straight.count(old) == 1:
        _expect(params, 1)
        at = straight.index(old)
        return Edit(text[:at] + params.new_text + text[at + len(old) :], 1, " (curly and straight quotes differed)")
    lines, wanted = text.split("\n"), params.old_text.removesuffix("\n").split("\n")
    have, want = straight.split("\n"), old.removesuffix("\n").split("\n")
    for key, note in LOOSER if params.old_text.strip() else ():
        starts = _windows([key(line) for line in have], [key(line) for line in want])
        if len(starts) > 1:
            raise ToolError(
                f"old_text is not in the file exactly, and nearly at lines {', '.join(str(at + 1) for at in starts)}. "
                "Nothing was changed. Copy the lines as they are"
            )
        if starts:
            window = lines[starts[0] : starts[0] + len(wanted)]
            new = _moved(params.new_text.removesuffix("\n").split("\n"), wanted, window)
            if new is not None:
                _expect(params, 1)
                new = new if params.new_text else []
                return Edit("\n".join([*lines[: starts[0]], *new, *lines[starts[0] + len(wanted) :]]), 1, note)
    at = _best_start([line.strip() for line in have], [line.strip() for line in want])
    raise ToolError(f"old_text is not in the file. Nothing was changed.\n{_nearest(lines, wanted, at)}")


def _windows(lines: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Where `wanted` begins, the first of them; searched as text, whose cost is that of its length, whatever repeats in it."""
    text, part = ("\n".join(["", *some, ""]) for some in (lines, wanted))
    starts: list[int] = []
    at = text.find(part)
    while at >= 0 and len(starts) < MOST_NAMED:
        starts.append(text.count("\n", 0, at))
        at = text.find(part, at + 1)
    return starts


def _moved(new: list[str], wanted: list[str], window: list[str]) -> list[str] | None:
    """`new` with the indentation by which `window` differs from `wanted`; None if it does not differ by the same everywhere."""
    pairs = {(_indent(a), _indent(b)) for a, b in zip(wanted, window, strict=True) if a.strip()}
    added = {there.removesuffix(here) if there.endswith(here) else None for here, there in pairs}
    removed = {here.removesuffix(there) if here.endswith(there) else None for here, there in pairs}
    if len(added) == 1 and (more := added.pop()) is not None:
        return [more + line if line.strip() else line for line in new]
    if len(removed) == 1 and (less := removed.pop()) is not None:
        return [line.removeprefix(less) for line in new]
    return None


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _nearest(lines: list[str], wanted: list[str], at: int) -> str:
    """The lines that begin at `at`, as a diff from what was asked to what is there."""
    window = lines[at : at + len(wanted)]
    if difflib.SequenceMatcher(None, "\n".join(wanted)[:10000], "\n".join(window)[:10000]).ratio() < NEAR:
        return "Nothing in it is similar; read the file again"
    diff = difflib.unified_diff(wanted, window, "old_text", f"the file, from line {at + 1}", lineterm="")
    return "Nearest is:\n" + "\n".join(diff)


def _best_start(lines: list[str], wanted: list[str]) -> int:
    """Where most lines of `wanted` are; where none is, at the line most like its longest."""
    size = len(wanted)
    want, have = Counter(line for line in wanted if line), Counter(lines[:size])
    score = sum((want & have).values())
    best, best_score = 0, score
    for at, (gone, come) in enumerate(zip(lines, lines[size:], strict=False), 1):
        score -= have[gone] <= want[gone]
        have[gone] -= 1
        have[come] += 1
        score += have[come] <= want[come]
        if score > best_score:
            best, best_score = at, score
    if best_score:
        return best
    longest = max(wanted, key=len)
    near = difflib.get_close_matches(longest, lines[:LINES_COMPARED], n=1, cutoff=NEAR)
    return max(0, lines.index(near[0]) - wanted.index(longest)) if near else 0


EDIT_TOOL = Tool(
    "edit_file",
    "Change a part of a text file: old_text is found and replaced by new_text. It must be found once, unless occurrence or "
    "replace_all is given.",
    EditFile,
    _run,
    Effect.WRITES,
    intent=lambda params, turn: workspace.write_intent("edit_file", params.path, turn),
)
