"""Images for the model: told by their first bytes, measured by their headers (nanobot/pictures.py), copied as they are.

What a model service refuses would be refused again with every later request of the conversation, so it is refused here:
images of too many bytes, of too many or no pixels, and what only calls itself an image.
"""

from __future__ import annotations

import mimetypes

import attrs

from nanobot.errors import ToolError
from nanobot.messages import Attachment
from nanobot.pictures import LARGEST, LONGEST_SIDE, MIMES, header_of
from nanobot.tools.port import ToolTurn
from nanobot.tools.results import new_file, write_private

SMALLER = "Make a smaller copy with exec and read that"


@attrs.frozen
class Picture:
    data: bytes
    mime: str
    width: int
    height: int


def type_of(start: bytes) -> str | None:
    """The media type by the first bytes, None where they are of no image that models see."""
    return MIMES.get(header_of(start).kind)


def picture(data: bytes, mime: str, name: str) -> Picture:
    """data: all of it, or more than LARGEST bytes. name: for sentences. Raises: ToolError."""
    if len(data) > LARGEST:
        raise ToolError(f"{name} is an image of more than {LARGEST:,} bytes. {SMALLER}")
    header = header_of(data)
    if not (header.width and header.height):
        raise ToolError(f"{name} begins like an image ({mime}) and is damaged. Look at it with exec and file")
    if max(header.width, header.height) > LONGEST_SIDE:
        much = f"{header.width} x {header.height} pixels"
        raise ToolError(f"{name} is an image of {much}; models see {LONGEST_SIDE} at most. {SMALLER}")
    return Picture(data, mime, header.width, header.height)


def kept(image: Picture, path: str, turn: ToolTurn, *, tainted: bool) -> Attachment:
    """A copy of the image as it is now: what the model saw must not change when the file does. Blocks. Raises: ToolError."""
    suffix = mimetypes.guess_extension(image.mime) or ""
    try:
        copy = new_file(turn, "image", suffix, tainted=tainted)
        write_private(copy, image.data)
    except OSError as error:
        raise ToolError(f"{path} is an image, and no copy of it could be kept: {error.strerror}") from error
    return Attachment(str(copy), image.mime, path.rpartition("/")[2] or f"image{suffix}", len(image.data))
