"""HEARTBEAT.md of the workspace: what of it is to be done, and whether the owner has written it.

Active is what stands under a heading that begins with "Active"; in a file without one, all but what stands under "Done" or
"Completed". Of that, headings, comments, empty lines and list items, and check boxes that are ticked or empty count for nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs

NAME = "HEARTBEAT.md"
MOST_BYTES = 64 * 1024
"""As of other files that people write for prompts; more would cost the day's budget in a few looks."""
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_HEADING = re.compile(r"(#{1,6})\s(.*)")
_MARK = re.compile(r"(?:[-*+]|\d+[.)])?\s*(?:\[[ xX]?\])?")
"""Of a list item; what it matches may be nothing. None of these takes long over a long line: they are matched under the lock that
all threads of Python share."""
_RULE = frozenset("-*_=")
_TICKED = re.compile(r"\s*(?:[-*+]|\d+[.)])\s*\[[xX]\]")
_DONE = ("done", "completed")


@attrs.frozen
class Tasks:
    """`text` is what is active, empty for nothing. `trouble`: why the file cannot be used."""

    text: str = ""
    tainted: bool = False
    """Text of strangers may stand in it."""
    trouble: str = ""

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()


def look(workspace: Path, taints: Callable[[Path], bool]) -> Tasks:
    """taints: whether what was read from a resolved path is a stranger's. Blocks."""
    path = Path(os.path.realpath(workspace / NAME))
    if not path.is_relative_to(os.path.realpath(workspace)):
        return Tasks(trouble=f"{NAME} leads out of the workspace, so it is not read")
    try:
        data = _read(path)
    except FileNotFoundError:
        return Tasks()
    except OSError as exc:
        return Tasks(trouble=f"{NAME} cannot be read: {exc.strerror or exc}")
    if len(data) > MOST_BYTES:
        return Tasks(trouble=f"{NAME} is larger than {MOST_BYTES // 1024} KiB: make it shorter, and it is looked at")
    return Tasks(active(data.decode("utf-8", "replace")), taints(path))


def active(text: str) -> str:
    """What is to be done, with its headings; empty for nothing."""
    lines = list(_sections(_COMMENT.sub("", text.replace("\r\n", "\n")).split("\n")))
    wanted = [line for line in lines if line.active] if any(line.active for line in lines) else lines
    if not any(line.active for line in lines) and any(line.heading_of_active for line in lines):
        return ""
    kept = [line for line in wanted if not line.done]
    if not any(line.counts for line in kept):
        return ""
    return "\n".join(line.text for line in kept if line.counts or line.heading).strip()


@attrs.frozen
class _Line:
    text: str
    heading: bool = False
    heading_of_active: bool = False
    active: bool = False
    """It stands under "Active"."""
    done: bool = False

    @property
    def counts(self) -> bool:
        return not (self.heading or _is_empty(self.text) or _TICKED.match(self.text))


def _is_empty(line: str) -> bool:
    """Nothing but a list item's mark, or a line that is drawn."""
    text = line.strip()
    mark = _MARK.match(text)
    return all(sign in _RULE or sign.isspace() for sign in text[mark.end() if mark else 0 :])


def _sections(lines: list[str]) -> Iterator[_Line]:
    """Each line, with the section that it stands in. A section ends at the next heading of its level or above."""
    active_level = done_level = 0
    for line in lines:
        found = _HEADING.match(line)
        if found is None:
            yield _Line(line, active=bool(active_level), done=bool(done_level))
            continue
        level, title = len(found[1]), found[2].strip().lower()
        begins = title.startswith("active")
        active_level = level if begins else active_level if level > active_level else 0
        done_level = level if title.startswith(_DONE) else done_level if level > done_level else 0
        yield _Line(line, True, begins, bool(active_level) and not begins, bool(done_level))


def _read(path: Path) -> bytes:
    """Of a regular file; a pipe would hold us for ever. Raises: OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(0, "it is no file")
        return file.read(MOST_BYTES + 1)
