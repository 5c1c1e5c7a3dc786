"""The mails that were not passed on, and why: `<data>/channels/email/quarantine.json`, at most `MOST` of them, the newest.

The mails themselves stay in the mailbox. A mail is marked as read there only when its row is on disk, so none vanishes from both.
`release` marks a row; the channel fetches it in its next life and passes it on, tainted. Each change is made under a lock on top
of what is on disk, and takes the file's name in one step: the gateway and a command lose nothing of each other. Everything here
blocks for a moment, and may be called in any thread.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs

from nanobot.config.durable import replace
from nanobot.config.paths import made
from nanobot.errors import NanobotError
from nanobot.wire import Json

FILE_NAME = "quarantine.json"
MOST = 500
"""Rows: what a person looks through, and a bound on what strangers can make us write."""


class NotListed(NanobotError):
    """No row of that id."""

    def __init__(self, id: str) -> None:
        super().__init__(f"There is no mail {id} in quarantine. See: nanobot channels quarantine list")


@attrs.frozen
class Row:
    """One mail that was not passed on."""

    id: str
    uid: int
    validity: int
    """UIDVALIDITY of the mailbox then."""
    message_id: str
    sender: str
    """As its From says it, which nobody has to believe."""
    subject: str
    at: float
    """Seconds since the epoch, when it was put here."""
    why: str
    released: bool = False


def id_of(uid: int, validity: int, message_id: str) -> str:
    return hashlib.sha256(f"{uid} {validity} {message_id}".encode()).hexdigest()[:8]


@attrs.define(eq=False)
class Quarantine:
    """See the module. `folder`: the channel's own."""

    folder: Path

    def rows(self) -> tuple[Row, ...]:
        """The oldest first. A file that cannot be read holds none. Raises: OSError."""
        try:
            found = json.loads((self.folder / FILE_NAME).read_bytes())
        except (FileNotFoundError, ValueError):
            return ()
        return tuple(row for one in found if (row := _row(one)) is not None) if isinstance(found, list) else ()

    def add(self, rows: Sequence[Row]) -> None:
        """On disk when it returns; a row that is there already stays as it is. Raises: OSError."""
        self._change(lambda known: (*known, *(row for row in rows if row.id not in {one.id for one in known})))

    def release(self, *ids: str) -> None:
        """All of them, or none. Raises: NotListed, OSError."""
        self._change(lambda known: [attrs.evolve(row, released=row.released or row.id in ids) for row in _with_all(known, ids)])

    def drop(self, *ids: str) -> None:
        """Forget them, all or none. Raises: NotListed, OSError."""
        self._change(lambda known: [row for row in _with_all(known, ids) if row.id not in ids])

    def clear(self) -> None:
        """Forget all. Raises: OSError."""
        self._change(lambda _known: ())

    def _change(self, change: Callable[[Sequence[Row]], Sequence[Row]]) -> None:
        made(self.folder)
        with _locked(self.folder / "quarantine.lock"):
            known = self.rows()
            rows = tuple(change(known))[-MOST:]
            if rows != known:
                data = [attrs.asdict(row) for row in rows]
                replace(self.folder / FILE_NAME, json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def _with_all(known: Sequence[Row], ids: Sequence[str]) -> Sequence[Row]:
    """`known`, if all of these are in it. Raises: NotListed."""
    for id in ids:
        if id not in {row.id for row in known}:
            raise NotListed(id)
    return known


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Held for milliseconds by each, so it is waited for."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _row(one: Json) -> Row | None:
    match one:
        case {
            "id": str(id),
            "uid": int(uid),
            "validity": int(validity),
            "message_id": str(message_id),
            "sender": str(sender),
            "subject": str(subject),
            "at": int() | float() as at,
            "why": str(why),
            "released": bool(released),
        }:
            return Row(id, uid, validity, message_id, sender, subject, at, why, released)
        case _:
            return None
