"""Which mails of a mailbox were dealt with, for mailboxes where \\Seen is not set (`markSeen` off, or read-only).

`<data>/channels/email/seen.json`: UIDVALIDITY and the numbers (UID) as ranges. If it is lost, unread mails are delivered once
more, and the sessions know them by their identity. Numbers of another UIDVALIDITY mean other mails, and are forgotten.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import attrs

from nanobot.config.durable import replace

FILE_NAME = "seen.json"


@attrs.define(eq=False)
class Seen:
    """See the module."""

    folder: Path
    validity: int
    kept: bool
    """On disk as well."""
    uids: set[int] = attrs.field(factory=set)

    def load(self) -> None:
        """What was kept of this mailbox. Raises: OSError."""
        try:
            match json.loads((self.folder / FILE_NAME).read_bytes()):
                case {"validity": self.validity, "uids": str(uids)} if self.kept:
                    self.uids = set(expanded(uids))
                case _:
                    pass
        except (FileNotFoundError, ValueError):  # damaged: as if it were lost
            pass

    def add(self, uids: Iterable[int], still_unseen: Iterable[int]) -> None:
        """These were dealt with. Of others only those are remembered that are still there to be found. Raises: OSError."""
        self.uids = {*self.uids.intersection(still_unseen), *uids}
        if self.kept:
            replace(self.folder / FILE_NAME, json.dumps({"validity": self.validity, "uids": ranges(self.uids)}))


def ranges(uids: Iterable[int]) -> str:
    """`1:3,7` for 1, 2, 3, 7."""
    numbers = sorted(uids)
    starts = [after for before, after in pairwise([-1, *numbers]) if after != before + 1]
    ends = [before for before, after in pairwise([*numbers, -1]) if after != before + 1]
    return ",".join(str(start) if start == end else f"{start}:{end}" for start, end in zip(starts, ends, strict=True))


def expanded(text: str) -> Iterable[int]:
    """Raises: ValueError."""
    for part in filter(None, text.split(",")):
        start, _, end = part.partition(":")
        yield from range(int(start), int(end or start) + 1)
