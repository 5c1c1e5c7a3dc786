"""The files of the workspace that stand in every prompt, read as strictly as the file tools read for the model.

They are instructions, so they have to be the owner's word. What a link leads to outside of the workspace, or into the data
directory, is not read: a command can make such links without being able to read what is there. And what the ledger marks as
written while text of strangers was in the conversation is held until the owner has looked at it (`nanobot memory trust`). In
both cases a line stands in the place of the file. What it says depends on the file alone: the prompt stays the same, byte for
byte, for as long as `stamp` does.

Every function blocks for moments, and raises nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

import attrs

from nanobot.errors import ToolError
from nanobot.messages import CallId, Principal, SessionKey
from nanobot.security import workspace as guard
from nanobot.tools.port import TaintLedger, ToolTurn

MOST_FILE_BYTES = 64 * 1024
"""Of one file: beyond it a hand-written file is a mistake that would fill every prompt."""
OWNER = Principal("cli", "default", "prompt", "owner", owner=True)


@attrs.frozen
class PromptFiles:
    """See the module. Names are paths relative to the workspace."""

    workspace: Path
    """Absolute and resolved."""
    data: Path | None = None
    """The data directory."""
    ledger: TaintLedger | None = None

    def stamp(self, name: str) -> object:
        """Another whenever `section` is another."""
        try:
            found = (self.workspace / name).stat()
        except OSError:
            return os.path.lexists(self.workspace / name)
        return found.st_mtime_ns, found.st_size, found.st_ino, self._real(name), self.is_held(name)

    def section(self, name: str, heading: str, *, hold: bool = True) -> str:
        """The file below a heading, or the line in its place; empty where there is none, or nothing in it.

        hold: what is a stranger's word is left out.
        """
        if not os.path.lexists(self.workspace / name):
            return ""
        if not self._real(name).is_relative_to(self.workspace):
            return f"({name} is left out here: it is a link out of the workspace. If the user asks, say so.)"
        try:
            with guard.open_file(name, self._turn) as opened:
                text = _text(opened.file.read(MOST_FILE_BYTES + 1), name)
        except (ToolError, OSError) as error:
            return f"({name} is left out here: {error})"
        if hold and self.is_held(name):  # asked after reading: a mark is made before what it is about is written
            return (
                f"({name} is left out here: it was written while text of strangers was in the conversation. The user can look at "
                f"it and take it for their own word by the command: nanobot memory trust {name})"
            )
        return f"{heading}\n\n{text}" if text else ""

    def is_held(self, name: str) -> bool:
        """Whether the file is not the owner's word."""
        return self.ledger is not None and self.ledger.taints(self._real(name))

    def _real(self, name: str) -> Path:
        return Path(os.path.realpath(self.workspace / name))

    @property
    def _turn(self) -> ToolTurn:
        """The owner's right to files, without the freedom of `restrictToWorkspace: false`."""
        results = (self.data or self.workspace) / "results"
        return ToolTurn(self.workspace, SessionKey("cli", "prompt"), OWNER, CallId("prompt"), results, self.data)


def _text(data: bytes, name: str) -> str:
    """Cut at MOST_FILE_BYTES, saying so."""
    text = data[:MOST_FILE_BYTES].decode("utf-8", "replace").strip()
    return text + f"\n\n({name} goes on; read it with read_file)" if len(data) > MOST_FILE_BYTES else text
