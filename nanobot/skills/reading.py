"""Reading one skill from disk.

Files of the workspace are read through the guard of the file tools (security/workspace.py), as strictly as for the model:
what a link leads to outside of the workspace, or into the data directory, is not read, and a pipe holds nothing up. What
comes with the package is read as it is. Every function blocks, and raises nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import attrs

from nanobot.errors import ToolError
from nanobot.messages import CallId, Principal, SessionKey
from nanobot.security import workspace as guard
from nanobot.skills import frontmatter, requirements
from nanobot.skills.catalog import Skill, Source
from nanobot.skills.frontmatter import UnusableSkill
from nanobot.skills.places import FOLDER, REQUIREMENTS, SKILL
from nanobot.skills.requirements import BadRequirements
from nanobot.tools.port import TaintLedger, ToolTurn

MOST_FILE = 256 * 1024
"""Bytes of a SKILL.md that are read; a longer text than `catalog.MOST_BODY` is for read_file anyway."""

ReadFile = Callable[[str, int], bytes | None]
"""A file of the skill's folder, and how many bytes of it at most; None if it is not there. Raises: OSError, ToolError."""


@attrs.frozen
class Corner:
    """The workspace's skills, and what guards them."""

    workspace: Path
    """Absolute and resolved."""
    data: Path
    ledger: TaintLedger | None = None

    @property
    def turn(self) -> ToolTurn:
        """The owner's right to files, without the freedom of `restrictToWorkspace: false`."""
        owner = Principal("cli", "default", "skills", "owner", owner=True)
        return ToolTurn(
            self.workspace,
            SessionKey("cli", "skills"),
            owner,
            CallId("skills"),
            self.data / "results",
            self.data,
            ledger=self.ledger,
        )

    @property
    def noted(self) -> Path:
        """Where the ledger keeps what it knows (`Places.tainted`): while it is the same, so are its answers."""
        return self.data / "tainted.json"

    def file(self, name: str) -> Path:
        return self.workspace / FOLDER / name / SKILL

    def tainted(self, real: Path) -> bool:
        """real: resolved."""
        return self.ledger is not None and self.ledger.taints(real)


def of_workspace(corner: Corner, name: str) -> Skill:
    turn = corner.turn

    def read(file: str, most: int) -> bytes | None:
        path = corner.workspace / FOLDER / name / file
        if not os.path.lexists(path):
            return None
        with guard.open_file(str(path), turn) as opened:
            return opened.file.read(most)

    return _read(name, Source.WORKSPACE, corner.file(name), read)


def of_package(folder: Path) -> Skill:
    def read(file: str, most: int) -> bytes | None:
        path = folder / file
        if not path.exists():
            return None
        with path.open("rb") as opened:
            return opened.read(most)

    return _read(folder.name, Source.BUILTIN, folder / SKILL, read)


def _read(name: str, source: Source, file: Path, read: ReadFile) -> Skill:
    skill = Skill(name, source, file)
    try:
        text = (read(SKILL, MOST_FILE) or b"").decode("utf-8", "replace")
        front, body = frontmatter.parse(text)
    except (UnusableSkill, ToolError, OSError) as error:
        return attrs.evolve(skill, trouble=_sentence(error))
    skill = attrs.evolve(skill, front=front, body=body)
    try:
        data = read(REQUIREMENTS, requirements.MOST_BYTES + 1)
        needed = requirements.parse(data) if data else None
    except (BadRequirements, ToolError, OSError) as error:
        return attrs.evolve(skill, bad_requirements=_sentence(error))
    return attrs.evolve(skill, requirements=needed if needed and needed.lines else None)


def _sentence(error: Exception) -> str:
    return (error.strerror or "unreadable") if isinstance(error, OSError) else str(error)
