"""Changes that the assistant proposes to what it is told: `SOUL.md` and skills, as versions that a person accepts.

A proposal is a folder `<data>/proposals/ID` with `proposal.json` (which file, why, when, against which version, what became of
it) and `new`, the whole new text. Accepting writes the file in one step through the guard of the file tools, if it still is
the version that the proposal was made against, and keeps that version beside it as `old`. The data directory is out of the
assistant's reach, so that only a person can accept. Every function blocks.
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
import json
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import attrs

from nanobot.config.durable import replace
from nanobot.config.paths import made
from nanobot.errors import NanobotError, ToolError
from nanobot.security import workspace as guard
from nanobot.skills.places import FOLDER, is_name
from nanobot.skills.reading import Corner
from nanobot.tools.plain import hidden

SOUL = "SOUL.md"
MOST_TEXT = 64 * 1024
"""Bytes of a file that is proposed: as much as a prompt takes of one."""
MOST_REASON = 1000
MOST_OPEN = 30
"""More are not read by anybody."""
MOST_KEPT = 200
"""Decided ones that are kept, with the versions before them; the oldest go."""
MOST_PARTS = 4
"""Names in a path below a skill's folder."""
_ID = re.compile(r"[0-9a-f]{6}")


class Verdict(enum.StrEnum):
    OPEN = "open"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


class NoProposal(NanobotError):
    """There is none of that id, or it cannot be accepted or rejected; the text says why."""


@attrs.frozen
class Proposal:
    id: str
    path: str
    """In the workspace."""
    reason: str
    at: float
    """Seconds since the epoch."""
    session: str
    """Where it was made."""
    base: str
    """Hash of the file that it was made against, empty where there was none."""
    verdict: Verdict = Verdict.OPEN


def checked_path(path: str) -> str:
    """The path as it stands in a proposal. Raises: ToolError for what cannot be proposed."""
    parts = path.split("/")
    if path == SOUL:
        return path
    skill = parts[0] == FOLDER and 3 <= len(parts) <= 2 + MOST_PARTS and all(map(is_name, parts[1:]))
    if not skill:
        raise ToolError(f"{path[:100]!r} cannot be proposed: only {SOUL}, and files of a skill such as {FOLDER}/NAME/SKILL.md")
    return path


def checked_text(text: str) -> str:
    """Raises: ToolError for what a person cannot judge."""
    if len(text.encode("utf-8", "replace")) > MOST_TEXT:
        raise ToolError(f"The new text is longer than {MOST_TEXT // 1024} KiB. Keep what is told at every turn short")
    if not text.strip():
        raise ToolError("The new text is empty. Give the whole new file")
    if reason := hidden(text):
        raise ToolError(f"The new text is not proposed: {reason}. Write it so that all of it shows")
    return text


@attrs.frozen
class Proposals:
    """All of this instance."""

    _corner: Corner

    @property
    def folder(self) -> Path:
        return self._corner.data / "proposals"

    def make(self, path: str, text: str, reason: str, session: str, at: float) -> Proposal:
        """Raises: ToolError, OSError."""
        checked_path(path)
        checked_text(text)
        if sum(one.verdict is Verdict.OPEN for one in self.all()) >= MOST_OPEN:
            raise ToolError(f"{MOST_OPEN} proposals wait already. Ask the user to decide on them: nanobot skills proposals list")
        now = self.present(path)
        if now == text:
            raise ToolError(f"{path} says exactly that already")
        one = Proposal(secrets.token_hex(3), path, reason[:MOST_REASON], at, session, _hash(now))
        made(self.folder / one.id)
        replace(self.folder / one.id / "new", text)
        self._save(one)
        self._forget()
        return one

    def all(self) -> list[Proposal]:
        """Oldest first; what is damaged is left out."""
        found = (self._load(folder) for folder in self.folder.glob("*") if _ID.fullmatch(folder.name))
        return sorted((one for one in found if one is not None), key=lambda one: one.at)

    def get(self, id: str) -> Proposal:
        """Raises: NoProposal."""
        one = self._load(self.folder / id) if _ID.fullmatch(id) else None
        if one is None:
            raise NoProposal(f"There is no proposal {id[:40]!r}. See which there are: nanobot skills proposals list")
        return one

    def new_text(self, one: Proposal) -> str:
        """Raises: OSError."""
        return (self.folder / one.id / "new").read_text(encoding="utf-8")

    def present(self, path: str) -> str | None:
        """The file as it is now, None where there is none. Raises: ToolError."""
        target = self._corner.workspace / path
        if not target.exists() and not target.is_symlink():
            return None
        with guard.open_file(str(target), self._corner.turn) as opened:
            data = opened.file.read(MOST_TEXT * 4 + 1)
        if len(data) > MOST_TEXT * 4:
            raise ToolError(f"{path} is too long to be replaced by a proposal")
        return data.decode("utf-8", "replace")

    def accept(self, id: str) -> Path | None:
        """Write it; returns where the version before is kept. Raises: NoProposal, ToolError, OSError."""
        one = self._open(id)
        now = self.present(one.path)
        if _hash(now) != one.base:
            raise NoProposal(f"{one.path} was changed since {id} was made against it. Reject it, and have it proposed anew")
        old = self.folder / id / "old"
        if now is not None:
            replace(old, now)
        guard.write_file(one.path, self._corner.turn, self.new_text(one).encode())
        self._save(attrs.evolve(one, verdict=Verdict.ACCEPTED))
        return None if now is None else old

    def reject(self, id: str) -> None:
        """Raises: NoProposal, OSError."""
        self._save(attrs.evolve(self._open(id), verdict=Verdict.REJECTED))

    # --- inside

    def _open(self, id: str) -> Proposal:
        one = self.get(id)
        if one.verdict is not Verdict.OPEN:
            raise NoProposal(f"The proposal {id} was {one.verdict} already")
        return one

    def _save(self, one: Proposal) -> None:
        replace(self.folder / one.id / "proposal.json", json.dumps(attrs.asdict(one)))

    def _load(self, folder: Path) -> Proposal | None:
        try:
            match json.loads((folder / "proposal.json").read_bytes()):
                case {
                    "path": str(path),
                    "reason": str(reason),
                    "at": float() | int() as at,
                    "session": str(session),
                    "base": str(base),
                    "verdict": str(verdict),
                }:
                    return Proposal(folder.name, checked_path(path), reason, at, session, base, Verdict(verdict))
                case _:
                    return None
        except (OSError, ValueError, RecursionError, ToolError):
            return None

    def _forget(self) -> None:
        decided = [one for one in self.all() if one.verdict is not Verdict.OPEN]
        for one in decided[: max(0, len(decided) - MOST_KEPT)]:
            with contextlib.suppress(OSError):
                shutil.rmtree(self.folder / one.id)


def waiting(proposals: Proposals) -> Iterator[Proposal]:
    return (one for one in proposals.all() if one.verdict is Verdict.OPEN)


def _hash(text: str | None) -> str:
    return "" if text is None else hashlib.sha256(text.encode()).hexdigest()
