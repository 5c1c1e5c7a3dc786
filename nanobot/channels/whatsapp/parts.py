"""What a `Part` becomes on WhatsApp: frames with references that are the same whenever it is sent again. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from nanobot.channels.port import Part
from nanobot.channels.whatsapp import frames
from nanobot.channels.whatsapp.text import render

CAPTION = 1024
"""Characters that WhatsApp shows below a picture."""


def messages(part: Part, to: str) -> Iterator[tuple[str, str]]:
    """References and frames: its files behind its text, which is the caption of a single one where it can be."""
    files = part.outbound.attachments if part.last else ()
    text = render(part.text) if part.text.strip() else ""
    caption = text if len(files) == 1 and len(text) <= CAPTION and not files[0].mime.startswith("audio/") else ""
    if text and not caption:
        ref = _ref(part, "text")
        yield ref, frames.send_text(ref, to, text)
    for index, file in enumerate(files):
        ref, mime = _ref(part, str(index)), file.mime or "application/octet-stream"
        yield ref, frames.send_media(ref, to, file.path, mime, caption=caption, file_name=file.name)


def _ref(part: Part, item: str) -> str:
    whole = f"{part.key}\n{part.outbound.id}\n{part.index}\n{item}"
    return hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()
