"""Which part of the machine a path lies in, as far as file tools have to know. Told by device and inode, never by spelling.

`Areas` is a value of one call. A walk begins with `Areas.top` and asks `below` for each name on the way; what it answers, a
`Spot`, is what holds there. A spot says three things beside each other: the area, which decides what may be done; whether
the place becomes part of prompts; whether what is there came with messages. That something becomes part of prompts never
gives a right: a link `skills -> /etc` does not open `/etc`.
"""

from __future__ import annotations

import enum
import os
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import attrs

from nanobot.tools.port import ToolTurn

SYSTEM = (Path("/proc"), Path("/sys"), Path("/dev"))
INSTRUCTIONS = frozenset(["agents.md", "soul.md", "user.md", "tools.md", "identity.md", "heartbeat.md"])
"""Files in the root of the workspace that become part of prompts, in lower case."""
INSTRUCTION_FOLDERS = frozenset(["memory", "skills"])
"""Folders there of which everything may."""

Identity = tuple[int, int]
"""Device and inode."""


class Area(enum.Enum):
    WORKSPACE = "the workspace"
    READABLE = "a folder that may only be read"
    DATA = "the assistant's own data"
    SYSTEM = "the system's own files"
    ELSEWHERE = "outside the workspace"


class Access(enum.Enum):
    READ = "read"
    WRITE = "write"


@attrs.frozen
class Spot:
    """What holds at a place."""

    area: Area = Area.ELSEWHERE
    instructs: bool = False
    """It becomes part of prompts."""
    from_outside: bool = False
    """It came with messages."""
    is_root: bool = False
    """It is the workspace itself."""


@attrs.frozen
class Areas:
    _areas: dict[Identity, Area]
    _instructions: frozenset[Identity]
    _media: Identity | None
    _root: Identity | None

    @property
    def top(self) -> Spot:
        return self.below(Spot(), "/", identity(Path("/")))

    def below(self, spot: Spot, name: str, what: Identity | None) -> Spot:
        """At `name` in a folder at `spot`. what: None where there is nothing of that name yet."""
        named = spot.is_root and folded(name) in INSTRUCTIONS | INSTRUCTION_FOLDERS
        if what is None:
            return attrs.evolve(spot, instructs=spot.instructs or named, is_root=False)
        return Spot(
            self._areas.get(what, spot.area),
            spot.instructs or named or what in self._instructions,
            spot.from_outside or what == self._media,
            what == self._root,
        )

    def closed(self, turn: ToolTurn) -> frozenset[Identity]:
        """What must not even be read."""
        return frozenset(one for one, area in self._areas.items() if not allowed(area, Access.READ, turn))


def areas_of(turn: ToolTurn) -> Areas:
    """Blocks."""
    areas: dict[Identity, Area] = {}
    for folder, area in _rows(turn):
        if found := identity(folder):
            areas[found] = area
    for secret in _own_files(turn.data):
        areas.setdefault(secret, Area.DATA)
    return Areas(
        areas,
        frozenset(_instructions(turn.workspace)),
        None if turn.media is None else identity(turn.media),
        identity(turn.workspace),
    )


def _rows(turn: ToolTurn) -> Iterator[tuple[Path, Area]]:
    """Later rows win where two are the same folder."""
    yield from ((folder, Area.SYSTEM) for folder in SYSTEM)
    yield turn.workspace, Area.WORKSPACE
    yield from ((folder, Area.READABLE) for folder in turn.readable if folder != turn.workspace)
    if turn.data is not None:
        yield turn.data, Area.DATA


def _own_files(data: Path | None) -> Iterator[Identity]:
    """What is right in the data directory (configuration, token, journals): a hard link or a bind mount of it is told."""
    with suppress(OSError):
        if data is not None:
            device = data.stat().st_dev
            with os.scandir(data) as found:
                yield from [(device, entry.inode()) for entry in found]


def _instructions(workspace: Path) -> Iterator[Identity]:
    """What the names lead to now, through links of the user's too."""
    with suppress(OSError), os.scandir(workspace) as found:
        names = [entry.name for entry in found if folded(entry.name) in INSTRUCTIONS | INSTRUCTION_FOLDERS]
        yield from filter(None, (identity(workspace / name) for name in names))


def folded(name: str) -> str:
    """What file systems that do not tell cases apart take for the same name: case, width, and signs that do not show."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    return "".join(sign for sign in plain if unicodedata.category(sign) != "Cf")


def identity(path: Path) -> Identity | None:
    """Of what the path leads to; None where that is nothing."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def allowed(area: Area, access: Access, turn: ToolTurn) -> bool:
    match area:
        case Area.WORKSPACE:
            return True
        case Area.READABLE:
            return access is Access.READ
        case Area.DATA | Area.SYSTEM:
            return False
        case Area.ELSEWHERE:
            return not turn.restrict
