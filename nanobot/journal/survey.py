"""All sessions at a glance: what each still owes, how big it is, when it last spoke. From last lines only, without locks.

What is damaged or too new is reported, not raised, and owes "now": whoever opens it is told why it cannot be opened.
"""

from __future__ import annotations

import attrs

from nanobot.errors import JournalDamaged, JournalError, JournalTooNew
from nanobot.journal import names, segment
from nanobot.journal.disk import Disk, read_all
from nanobot.journal.folder import opened, read_last, segment_numbers, segment_path
from nanobot.journal.segment import NOW, Header, Owes


@attrs.frozen
class Seen:
    """A session as its last line shows it."""

    key: str
    """The name of the folder where not even the header can be read."""
    owes: Owes
    at: float | None
    """Time of the last line in seconds since the epoch, None if that line is torn."""
    size: int
    """Bytes of all segments."""
    trouble: str | None = None
    """Why it cannot be opened, as far as its last line tells."""


def survey(disk: Disk, root: str) -> tuple[Seen, ...]:
    """Every session under `root`.

    Raises: JournalError if the root cannot be listed.
    """
    try:
        folders = sorted(disk.names(root))
    except FileNotFoundError:
        return ()
    except OSError as exc:
        raise JournalError(f"{root} cannot be listed: {exc.strerror}") from exc
    return tuple(seen for name in folders if (seen := _see(disk, root, name)) is not None)


def _see(disk: Disk, root: str, name: str) -> Seen | None:
    folder = f"{root}/{name}"
    try:
        return _look(disk, folder, name)
    except NotADirectoryError:
        return None
    except (OSError, JournalDamaged, JournalTooNew) as exc:
        return Seen(names.decode(name) or name, NOW, None, 0, str(exc))


def _look(disk: Disk, folder: str, name: str) -> Seen | None:
    numbers = segment_numbers(disk, folder)
    if not numbers:
        return None
    live = segment_path(folder, numbers[-1])
    size = sum(_size(disk, segment_path(folder, number)) for number in numbers)
    key = names.decode(name) or _key_inside(disk, live)
    last = read_last(disk, live)
    if last is None:
        return Seen(key, NOW, None, size)
    half_deleted = isinstance(last, Header) and last.forget and len(numbers) > 1
    return Seen(key, NOW if half_deleted else last.owes, last.at, size)


def _size(disk: Disk, path: str) -> int:
    with opened(disk, path) as fd:
        return disk.size(fd)


def _key_inside(disk: Disk, path: str) -> str:
    with opened(disk, path) as fd:
        return segment.read_header(read_all(disk, fd).partition(b"\n")[0], path).key
