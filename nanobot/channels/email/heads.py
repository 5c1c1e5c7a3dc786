"""The last mail of each thread: what an answer is put under. A file a thread in `<data>/channels/email/threads/`.

A courtesy: which session a mail belongs to is read from the mail itself, and what an answer answers from the message. Where a
file is lost, the answer goes out all the same, under a subject of ours. At most `MOST`, the newest. May be called in any
thread.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from pathlib import Path

import attrs

from nanobot.config.paths import made

MOST = 2000
CHECK_EVERY = 100
"""Heads that are written between two looks at how many there are."""


@attrs.frozen
class Head:
    subject: str = ""
    references: tuple[str, ...] = ()
    """Message-IDs of the thread, its last mail's at the end."""


@attrs.define(eq=False)
class Heads:
    folder: Path
    _written: int = 0

    def remember(self, chat: str, topic: str | None, head: Head) -> None:
        """Raises: OSError."""
        path = self._path(chat, topic)
        half = path.with_name(f".{path.name}.{threading.get_ident()}")
        made(self.folder)
        half.write_text(json.dumps(attrs.asdict(head)), encoding="utf-8")
        half.chmod(0o600)
        half.replace(path)
        if self._written % CHECK_EVERY == 0:
            self._prune()
        self._written += 1

    def find(self, chat: str, topic: str | None) -> Head | None:
        try:
            match json.loads(self._path(chat, topic).read_bytes()):
                case {"subject": str(subject), "references": list(references)}:
                    return Head(subject, tuple(map(str, references)))
                case _:
                    return None
        except (OSError, ValueError):
            return None

    def _path(self, chat: str, topic: str | None) -> Path:
        digest = hashlib.sha256(f"{chat} {topic or ''}".encode()).hexdigest()
        return self.folder / f"{digest[:32]}.json"

    def _prune(self) -> None:
        found = sorted((entry.stat().st_mtime, entry.path) for entry in os.scandir(self.folder))
        for _, path in found[:-MOST]:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
