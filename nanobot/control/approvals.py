"""The calls that wait for the owner's word, in sessions that are awake and in those that sleep.

A sleeping session is not in memory, and to read its journal for each look at the tree would be too much: what it has open is
noted from what it writes, and read from the journals once, before any session wakes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs
from loguru import logger

from nanobot.archive.reading import Reader
from nanobot.errors import JournalError
from nanobot.session.errands import open_approvals
from nanobot.session.ports import Adopted, Progress
from nanobot.session.state import Errand, Session


@attrs.define(eq=False)
class Approvals:
    """See the module."""

    _open: dict[str, tuple[Errand, ...]] = attrs.field(factory=dict, init=False)
    """By session; none has nothing open."""

    def read(self, reader: Reader) -> None:
        """Learn of the sessions that sleep. Blocks. Raises: JournalError if they cannot be listed."""
        for session in _owing(reader):
            self._note(session)

    def watch(self, _key: str, progress: Progress) -> None:
        if isinstance(progress, Adopted):
            self._note(progress.session)

    def forget(self, key: str) -> None:
        """It was let go of to be deleted; if that fails, it says what it has open when it wakes."""
        self._open.pop(key, None)

    def asleep(self, awake: Mapping[str, Session]) -> dict[str, tuple[Errand, ...]]:
        """By session, what those have open that are not awake."""
        return {key: errands for key, errands in self._open.items() if key not in awake}

    def _note(self, session: Session) -> None:
        if errands := open_approvals(session):
            self._open[session.key] = errands
        else:
            self._open.pop(session.key, None)


def _owing(reader: Reader) -> Iterator[Session]:
    """Who waits for an answer owes at the time of its expiry, or earlier."""
    for seen in reader.sessions():
        if seen.owes is None or seen.trouble is not None:
            continue
        try:
            live = reader.live(seen.key)
        except JournalError as exc:
            logger.warning("what session {} asks its owner cannot be read: {}", seen.key, exc)
            continue
        if live is not None:
            yield live.session
