"""Where skills are: their names, the folders that come with the package, and the environments of those that were installed.

The environment of a skill is a Python environment below `<data>/skills/NAME`; the file `installed.json` beside it says which
of the folders there is the one, and for which requirements it was made (installing.py writes it). Every function blocks.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import attrs

BUILTIN = Path(__file__).with_name("builtin")
GUIDE = Path(__file__).parents[1] / "guide"
PACKAGED = (BUILTIN, GUIDE)
"""What of the package the assistant may read."""
FOLDER = "skills"
"""In the workspace, and in the data directory."""
SKILL, REQUIREMENTS, INSTALLED = "SKILL.md", "requirements.txt", "installed.json"
_NAME = re.compile(r"\w[\w.-]{0,63}")
_ENVIRONMENT = re.compile(r"env-[0-9a-f]{8,64}")
MOST_RECORD = 4096
"""Bytes of `installed.json`; it has two short lines."""


def is_name(text: str) -> bool:
    """Whether a folder of that name can be a skill: letters, digits, `_`, `-` and dots inside, so that it is never a path."""
    return _NAME.fullmatch(text) is not None


@attrs.frozen
class Installed:
    """The environment of a skill."""

    folder: Path
    fingerprint: str
    """Of the requirements that it was made for."""

    @property
    def programs(self) -> Path:
        """What goes on the PATH."""
        return self.folder / "bin"


def home(data: Path, name: str) -> Path:
    """Where the environments of a skill are."""
    return data / FOLDER / name


def installed(data: Path, name: str) -> Installed | None:
    """The environment of the skill of that name; None where there is none that can be used."""
    if not is_name(name):
        return None
    folder = home(data, name)
    try:
        with (folder / INSTALLED).open("rb") as file:
            found = json.loads(file.read(MOST_RECORD))
    except (OSError, ValueError):
        return None
    match found:
        case {"environment": str(environment), "requirements": str(fingerprint)} if _ENVIRONMENT.fullmatch(environment):
            there = Installed(folder / environment, fingerprint)
            return there if there.programs.is_dir() else None
        case _:
            return None
