"""A memory in a folder of its own, and saves for it."""

from __future__ import annotations

from pathlib import Path

import attrs

from nanobot.memory.port import HISTORY, MEMORY, Save, Update
from nanobot.memory.projections import Taints
from nanobot.memory.store import MemoryStore

AT = 1_795_392_000.0
CHAT = "telegram:default:42"
FIVE = "# Person\n- one\n- two\n- three\n- four\n- five\n"


@attrs.frozen
class Place:
    """An instance's folder."""

    path: Path

    @property
    def workspace(self) -> Path:
        return self.path / "workspace"

    def store(self, taints: Taints | None = None) -> MemoryStore:
        """Opened anew, as by another process."""
        self.workspace.mkdir(exist_ok=True)
        return MemoryStore(self.path / "memory.db", self.workspace, taints=taints)

    def read(self, document: str = MEMORY) -> str:
        return (self.workspace / document).read_text()

    def write(self, text: str, document: str = MEMORY) -> None:
        file = self.workspace / document
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    @property
    def entries(self) -> list[str]:
        """Of HISTORY.md, without their times."""
        text = self.read(HISTORY) if (self.workspace / HISTORY).exists() else ""
        return [entry.partition("] ")[2] for entry in text.split("\n\n") if entry.strip()]


def save(
    text: str | None = None, base: int = 0, *, start: int = 0, end: int = 2, session: str = CHAT, entry: str = "talked"
) -> Save:
    return Save(session, start, end, entry, AT, None if text is None else Update(MEMORY, base, text))
