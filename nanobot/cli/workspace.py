"""The workspace's first files: copied from the templates, and only where nothing is there yet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nanobot.agent
from nanobot.config.paths import made

_PACKAGE = nanobot.agent.__file__
TEMPLATES = Path(_PACKAGE or "").with_name("templates")


def furnish(workspace: Path) -> list[str]:
    """Create what is missing; returns the names of the files created. What is there is never touched. Raises: OSError."""
    made(workspace)
    made(workspace / "memory")
    made(workspace / "skills")
    return [name for name in _names() if _created(workspace / name, (TEMPLATES / name).read_text(encoding="utf-8"))]


def _names() -> Iterator[str]:
    for path in sorted(TEMPLATES.rglob("*.md")):
        yield path.relative_to(TEMPLATES).as_posix()


def _created(path: Path, text: str) -> bool:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True
