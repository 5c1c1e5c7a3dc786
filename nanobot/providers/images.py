"""Images for the model: read in a worker thread when an entry is first converted, as base64, told by their first bytes.

A file that is gone, too large, or no image that services take is not an error: the model is told its path instead.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

import attrs
import trio

from nanobot.messages import Attachment, Entry, Note, Reply, Said
from nanobot.pictures import LARGEST, MIMES, header_of


@attrs.frozen
class Image:
    mime: str
    """By its bytes: what the sender called it may be wrong, and services check."""
    data: str
    """Base64."""


Images = Mapping[Attachment, Image]


def attachments(entry: Entry) -> tuple[Attachment, ...]:
    """All files of an entry, those of its calls included."""
    match entry:
        case Said():
            return entry.attachments
        case Reply():
            return tuple(one for call in entry.calls for one in call.attachments)
        case Note():
            return ()


async def load(entries: Iterable[Entry]) -> Images:
    """The images of these entries that can be shown; the others are missing from the mapping."""
    wanted = [one for entry in entries for one in attachments(entry) if one.mime.startswith("image/")]
    if not wanted:
        return {}
    return await trio.to_thread.run_sync(partial(_read_all, wanted))


def _read_all(wanted: list[Attachment]) -> Images:
    read = ((one, _read(Path(one.path))) for one in wanted)
    return {one: image for one, image in read if image is not None}


def _read(path: Path) -> Image | None:
    try:
        if path.stat().st_size > LARGEST:
            return None
        data = path.read_bytes()
    except (OSError, ValueError):
        return None
    mime = MIMES.get(header_of(data).kind)
    return Image(mime, base64.b64encode(data).decode("ascii")) if mime else None
