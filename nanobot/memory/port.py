"""What memory is to those who use it: the values they give and get, and the Protocol.

A *document* is a file of the workspace, named by its path there: `memory/MEMORY.md` (what stands in every prompt),
`memory/REPORTED.md` (what strangers said; never in a prompt), `memory/users/NAME.md` (of one person, where `memory.perUser`
is on), and the other files that prompts are made of. Each has versions, numbered from 1 without gaps and kept for ever; 0 stands
for a document that has none. A *save* is what one consolidation came to: an entry of `memory/HISTORY.md`, mostly a new
version of one document, and the session's *cursor*: how many of its exchanges memory has, as an ordinal of the session.

All of a save is there or nothing is. Where it was taken (`Saved`, `Refused`) the cursor is at its `end`; otherwise (`Moved`,
`Outdated`) nothing has changed.
"""

from __future__ import annotations

import enum
import hashlib
import re
from datetime import datetime, tzinfo
from typing import Protocol
from zoneinfo import ZoneInfo

import attrs

from nanobot.messages import Principal

MEMORY = "memory/MEMORY.md"
HISTORY = "memory/HISTORY.md"
"""Append-only, without versions: each entry is in it once."""
REPORTED = "memory/REPORTED.md"
USERS = "memory/users"
PROMPT_FILES = ("AGENTS.md", "SOUL.md", "USER.md", "TOOLS.md", "IDENTITY.md")
"""Written by people, and by the assistant where it was allowed to: of these, too, every version is kept."""
MOST_BYTES = 64 * 1024
"""Of a document that a save may write: as much as a prompt takes of one file."""
MOST_ENTRY_CHARS = 8000
"""Of an entry of HISTORY.md; a longer one is cut, saying so."""


class Author(enum.StrEnum):
    HAND = "hand"
    """A person, or a program of theirs, has edited the file."""
    CONSOLIDATION = "consolidation"
    RESTORE = "restore"
    """An earlier version was put on top by command."""
    PROPOSAL = "proposal"
    """An update that had been refused was accepted by a person."""
    ASSISTANT = "assistant"
    """By a file tool, in a turn."""


@attrs.frozen
class Version:
    """A document as it was from `at` until the next version."""

    document: str
    number: int
    """0: there is none, and `text` is empty."""
    text: str
    author: Author = Author.HAND
    session: str = ""
    """In which it came to be, empty for a person's edit."""
    reason: str = ""
    at: float = 0.0
    """Seconds since the epoch."""


@attrs.frozen
class Update:
    """The whole new text of a document, made against version `base` of it."""

    document: str
    base: int
    text: str


@attrs.frozen
class Save:
    """What the exchanges `[start, end)` of a session came to.

    It is taken if `start` is memory's own cursor of the session. An update that was made against an older version is
    merged line by line with what came between; only where both changed the same lines it is `Outdated`.
    """

    session: str
    """`str(SessionKey)`."""
    start: int
    end: int
    """Greater than `start`."""
    entry: str
    """For HISTORY.md, a paragraph. Begins with `[YYYY-MM-DD HH:MM]`, or gets the time `at`; blank lines in it are closed up."""
    at: float
    """Seconds since the epoch."""
    update: Update | None = None
    """None: memory stays as it is, as after a raw fallback."""
    reported: str = ""
    """Whose words these are, such as `telegram:-100123`, where they are not all the owner's own: the entry and each line of
    REPORTED.md that has none is marked with it (`mark`), and the entry counts as tainted. Must not be empty for REPORTED.md
    and a person's file."""
    reason: str = ""
    """Why now, for `nanobot memory log`: tokens, messages, idle, /new."""


@attrs.frozen
class Saved:
    """It is on disk, and the files show it."""

    cursor: int
    version: Version | None = None
    """The document as it now is; None where the save had no update."""
    rebased: bool = False
    """It was merged with what somebody else had saved or edited in between."""
    behind: str = ""
    """Why a file could not be written, empty if all were: what was saved is safe, and the file is written at the next look."""


@attrs.frozen
class Refused:
    """The entry and the cursor are on disk, the document is as it was: its update waits for a person's word as a proposal.

    The span counts as done, because the next attempt would mostly go the same way. Who can ask a model again does so before
    (`checks.judge` says beforehand what will be refused). The person must be told.
    """

    cursor: int
    proposal: str
    """Id, for `nanobot memory proposals show|accept|refuse`."""
    why: str
    """A sentence."""
    behind: str = ""


@attrs.frozen
class Moved:
    """Nothing was changed: memory has everything of this session before `cursor`, and the session is to follow it."""

    cursor: int


@attrs.frozen
class Outdated:
    """Nothing was changed: the document was changed in the same lines meanwhile. Make the update anew, against this version."""

    version: Version


Outcome = Saved | Refused | Moved | Outdated


class Memory(Protocol):
    """Memory of a workspace. Its functions block, and may be called from any thread and in several processes at once."""

    def current(self, document: str = MEMORY) -> Version:
        """As it is now: an edit by hand is a version when this returns. Raises: StoreUnusable."""
        ...

    def cursor(self, session: str) -> int:
        """How many exchanges of a session memory has; 0 for one that it does not know. Raises: StoreUnusable."""
        ...

    def skip(self, session: str, cursor: int) -> None:
        """What is before `cursor` never comes: it was in memory when the session was imported, or is deleted or lost.

        A cursor never goes back. Raises: StoreUnusable.
        """
        ...

    def save(self, save: Save) -> Outcome:
        """Raises: StoreUnusable, and nothing was changed; ValueError for a save that says something impossible."""
        ...


# --- names and marks


def user_document(principal: Principal) -> str:
    """Where a person's own memory is: the same in all their chats of one network."""
    who = ":".join((principal.channel, principal.account, principal.user))
    readable = re.sub(r"[^a-z0-9]+", "-", f"{principal.channel}-{principal.user}".lower()).strip("-")
    return f"{USERS}/{readable[:40]}-{hashlib.sha256(who.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}.md"


def mark(reported: str, at: float, zone: tzinfo | None = None) -> str:
    """What stands before text of others: `[from telegram:-100123, 2026-11-23]`. zone: of the day; None is the machine's."""
    day = datetime.fromtimestamp(at, zone) if zone is not None else datetime.fromtimestamp(at)
    return f"[from {_one_line(reported)}, {day:%Y-%m-%d}]"


def unmarked(text: str) -> str:
    """Without what is a mark or looks like the beginning of one, for marks are ours to give."""
    return MARKED.sub("", text).replace("[from ", "(from ")


def zone_named(name: str) -> tzinfo | None:
    """Of `agents.defaults.timezone`; None, for the machine's, where that is none."""
    try:
        return ZoneInfo(name) if name else None
    except (ValueError, KeyError, OSError):  # ZoneInfoNotFoundError is a KeyError
        return None


MARKED = re.compile(r"\[from [^\[\],\n]{1,200}, \d{4}-\d\d-\d\d\]")
"""A mark, anywhere in a line."""
ENTRY_TIME = re.compile(r"\[(\d{4}-\d\d-\d\d \d\d:\d\d)\]")
"""How an entry of HISTORY.md begins; a mark may follow."""


def _one_line(text: str) -> str:
    return re.sub(r"[\[\],\s]+", " ", text).strip()[:200] or "somebody"
