"""Sessions as people read them: without their lock, also while another process works with them, and changing nothing.

What is read is what was on disk at some moment of the reading. A line that is just being written counts as not there; a
segment that a deletion removes meanwhile is gone.
"""

from __future__ import annotations

import math
import os

import attrs

from nanobot.archive.conversation import Archive, current, whole
from nanobot.archive.tombstone import is_tombstone
from nanobot.errors import JournalDamaged, JournalError, JournalTooNew
from nanobot.journal import folder as files
from nanobot.journal import names, segment
from nanobot.journal import survey as all_sessions
from nanobot.journal.disk import RealDisk, read_all
from nanobot.journal.survey import Seen
from nanobot.messages import SessionKey
from nanobot.session.codec import UnknownFormat, decode, decode_session
from nanobot.session.fold import apply_all
from nanobot.session.state import ImpossibleEvent, Session


class ReadingDisk(RealDisk):
    """Files that are there already, for reading only: works on a read-only file system, too."""

    def open_file(self, path: str) -> int:
        return os.open(path, os.O_RDONLY)


@attrs.frozen
class Live:
    """A session as its live segment has it. `trouble` says what of that cannot be read."""

    session: Session
    trouble: str = ""
    unfinished_write: bool = False
    """It was not put to sleep: somebody works with it now, or something crashed."""


@attrs.frozen
class Reader:
    """Reads the journals under the absolute path `root`."""

    root: str
    disk: ReadingDisk = attrs.field(factory=ReadingDisk)

    def sessions(self) -> tuple[Seen, ...]:
        """Every session that is not deleted, the latest first. Raises: JournalError if the root cannot be listed."""
        found = [seen for seen in all_sessions.survey(self.disk, self.root) if not self._is_deleted(seen.key)]
        return tuple(sorted(found, key=lambda seen: -(seen.at or 0.0)))

    def live(self, key: str) -> Live | None:
        """The session, from its live segment alone; None if there is none.

        Raises: JournalTooNew. JournalError if its files cannot be read.
        """
        path = self._folder(key)
        try:
            numbers = files.segment_numbers(self.disk, path)
            found, damaged = files.read_newest(self.disk, path, numbers)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise JournalError(f"the journal of {key} cannot be read: {exc.strerror} ({path})") from exc
        if found is None:
            return Live(Session(key), str(damaged)) if numbers else None
        trouble = "" if damaged is None else str(damaged)
        try:
            session = apply_all(decode_session(found.header.snapshot), decode(found.records))
        except UnknownFormat as exc:
            raise JournalTooNew(path, str(exc)) from exc
        except ImpossibleEvent as exc:
            return Live(decode_session(found.header.snapshot), f"{path}: {exc}")
        return Live(session, trouble, not found.slept)

    def conversation(self, key: str, *, everything: bool) -> Archive | None:
        """What is in the prompt, or all that was ever said; None if there is no such session.

        Raises: as `live`.
        """
        live = self.live(key)
        if live is None or (is_tombstone(live.session) and self._is_deleted(key)):
            return None
        if live.trouble and is_tombstone(live.session):
            return Archive(live.session, (), (live.trouble,))
        if everything:
            return whole(key, self.segments(key))
        troubles = (live.trouble,) if live.trouble else ()
        return attrs.evolve(current(live.session), troubles=troubles)

    def segments(self, key: str, since: float = -math.inf) -> dict[str, bytes]:
        """The bytes of its segments by file, oldest first, but for those that ended before `since`, in seconds since the epoch.

        Raises: JournalError if one cannot be read.
        """
        path = self._folder(key)
        segments: dict[str, bytes] = {}
        for number in reversed(files.segment_numbers(self.disk, path)):
            file = files.segment_path(path, number)
            try:
                with files.opened(self.disk, file) as fd:
                    segments[file] = read_all(self.disk, fd)
            except FileNotFoundError:
                continue
            except OSError as exc:
                raise JournalError(f"{file} cannot be read: {exc.strerror}") from exc
            if _begins_before(segments[file], file, since):
                break
        return dict(reversed(segments.items()))

    def _is_deleted(self, key: str) -> bool:
        """Whether its live segment is a tombstone and nothing else. Only the first line is read where it tells."""
        path = self._folder(key)
        try:
            numbers = files.segment_numbers(self.disk, path)
            with files.opened(self.disk, files.segment_path(path, numbers[-1])) as fd:
                first = read_all(self.disk, fd).partition(b"\n")[0]
            if not segment.read_header(first, path).forget:
                return False
            live = self.live(key)
        except (OSError, IndexError, JournalDamaged, JournalTooNew):
            return False
        return live is not None and not live.trouble and is_tombstone(live.session)

    def _folder(self, key: str) -> str:
        return f"{self.root}/{names.encode(key)}"


def _begins_before(data: bytes, file: str, at: float) -> bool:
    try:
        return segment.read_header(data.partition(b"\n")[0], file).at < at
    except (JournalDamaged, JournalTooNew):
        return False


def short(key: str) -> str:
    """The key as people write it; what is no key stays as it is."""
    try:
        return SessionKey.parse(key).short
    except ValueError:
        return key
