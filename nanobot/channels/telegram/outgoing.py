"""A part of an answer as the messages that Telegram takes, in order. Pure.

Files of one sort go together, up to ten in an album; voice and animations go alone. A text that fits stands below the first file
instead of before it. Buttons hang on one message: an album has none.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import PurePath

import attrs

from nanobot.channels import splitting
from nanobot.channels.port import Part
from nanobot.channels.telegram import render
from nanobot.messages import Attachment

TEXT_UNITS = 4096
"""Of a message, counted as rendered."""
CAPTION_UNITS = 1024
"""Of the text below a file, counted as rendered."""
ALBUM = 10
MOST_PHOTO, MOST_FILE = 10_000_000, 50_000_000
"""Bytes that Telegram takes; a larger picture goes as a document."""
_SORTS = {
    "photo": (".jpg", ".jpeg", ".png", ".webp"),
    "animation": (".gif",),
    "video": (".mp4", ".m4v", ".mov"),
    "audio": (".mp3", ".m4a", ".aac"),
    "voice": (".ogg", ".oga", ".opus"),
}
_BY_SUFFIX = {suffix: sort for sort, suffixes in _SORTS.items() for suffix in suffixes}
_TOGETHER = {"photo": "seen", "video": "seen", "audio": "heard", "document": "kept"}
"""What may be in one album."""


@attrs.frozen
class Words:
    """A message of text."""

    text: str
    buttons: bool = False


@attrs.frozen
class Files:
    """One file, or an album."""

    files: tuple[tuple[str, Attachment], ...]
    """Each with its sort."""
    caption: str = ""
    buttons: bool = False


Step = Words | Files


def plan(part: Part) -> tuple[Step, ...]:
    """At least one step."""
    given = part.outbound.attachments if part.last else ()
    files = [file for file in given if not _trouble(file)]
    missing = [f"[{file.name} is {why}, which Telegram does not take]" for file in given if (why := _trouble(file))]
    text = "\n".join(filter(None, (part.text.strip() and part.text, *missing)))
    groups = list(_groups(files))
    buttons = bool(part.buttons)
    below = bool(groups) and not part.draft and render.units(text) <= CAPTION_UNITS and not (buttons and len(groups[0]) > 1)
    steps: list[Step] = []
    if not below and (text or not groups):
        *firsts, last = splitting.split(text or part.text, TEXT_UNITS, render.units)  # what is missing has made it longer
        steps += [*map(Words, firsts), Words(last, buttons)]
    for index, group in enumerate(groups):
        caption = text if below and index == 0 else ""
        steps.append(Files(group, caption, buttons and index == 0 and not steps))
    return tuple(steps)


def _trouble(file: Attachment) -> str:
    """Why it is not even tried; empty if it is."""
    return f"larger than {MOST_FILE / 1e6:g} MB" if file.size > MOST_FILE else "" if file.size else "empty"


def sort_of(file: Attachment) -> str:
    """What Telegram shows it as."""
    sort = _BY_SUFFIX.get(PurePath(file.name).suffix.lower()) or _BY_SUFFIX.get(PurePath(file.path).suffix.lower(), "document")
    return "document" if sort == "photo" and file.size > MOST_PHOTO else sort


def _groups(files: list[Attachment]) -> Iterator[tuple[tuple[str, Attachment], ...]]:
    sorted_ = [(sort_of(file), file) for file in files]
    for alike, run in groupby(sorted_, key=lambda one: _TOGETHER.get(one[0], "")):
        group = list(run)
        size = ALBUM if alike else 1
        yield from (tuple(group[at : at + size]) for at in range(0, len(group), size))
