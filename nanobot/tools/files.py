"""`read_file`, `write_file`: files through the guard of security/workspace.py.

File work runs in threads. A write is one small atomic step that a cancellation waits for, so that nothing is written after
the cancellation is done; a read is abandoned.
"""

from __future__ import annotations

import mimetypes
import os
from typing import Annotated, BinaryIO

import attrs
import trio

from nanobot.errors import ToolError
from nanobot.messages import Attachment, Effect
from nanobot.security import workspace
from nanobot.tools.port import Result, Tool, ToolTurn
from nanobot.tools.results import new_file, write_private
from nanobot.tools.schema import Arg

LARGEST_FILE = 100 * 1024 * 1024
"""Bytes; counting the lines of more takes longer than a turn should wait."""
LARGEST_IMAGE = 5 * 1024 * 1024
"""Bytes; the smallest limit of the model services."""
PAGE_FACTOR = 4
"""A page of a file may be this much longer than other results: it was asked for, line by line."""
SNIFF = 8192

IMAGES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF87a": "image/gif", b"GIF89a": "image/gif"}
OFFICE = {b"%PDF-": "a PDF (try exec with pdftotext)", b"PK\x03\x04": "a ZIP or office file (try exec with unzip)"}
WIDE = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


@attrs.frozen
class ReadFile:
    path: Annotated[str, Arg("The file; relative paths start at the workspace, ~ is the home folder.")]
    offset: Annotated[int, Arg("First line to read, counted from 1.", minimum=1)] = 1
    limit: Annotated[int, Arg("Most lines to read.", minimum=1, maximum=20000)] = 2000


@attrs.frozen
class WriteFile:
    path: Annotated[str, Arg("The file; it is made or overwritten, its folders are made.")]
    content: Annotated[str, Arg("All of its new text.")]


@attrs.frozen
class Page:
    """A part of a text file."""

    lines: list[str]
    first: int
    total: int
    """Lines of the whole file."""
    cut: bool = False
    """A line alone was longer than a page; only its beginning is here."""
    odd: bool = False
    """Some bytes were not UTF-8."""


@attrs.frozen
class Image:
    data: bytes
    mime: str


def read_tool(cap: int) -> Tool[ReadFile]:
    """cap: most characters of a result elsewhere."""

    async def run(params: ReadFile, turn: ToolTurn) -> Result:
        found, tainted = await trio.to_thread.run_sync(_read, params, turn, cap * PAGE_FACTOR, abandon_on_cancel=True)
        if isinstance(found, Image):
            return attrs.evolve(await trio.to_thread.run_sync(_kept, found, params.path, turn, tainted), tainted=tainted)
        return Result(found, tainted=tainted)

    description = (
        "Read a text file, its lines numbered, or look at an image (PNG, JPEG, GIF, WebP). "
        "A long file comes in pages: go on with offset. The numbers are not part of the file."
    )
    return Tool("read_file", description, ReadFile, run, Effect.READS)


def _read(params: ReadFile, turn: ToolTurn, page_chars: int) -> tuple[str | Image, bool]:
    """What is there, and whether it is text of strangers."""
    with workspace.open_file(params.path, turn) as opened:
        return _content(opened.file, params, page_chars), opened.of_strangers()


def _content(file: BinaryIO, params: ReadFile, page_chars: int) -> str | Image:
    start = file.read(SNIFF)
    if mime := _image_type(start):
        return _image(file, mime, params.path)
    size = os.fstat(file.fileno()).st_size
    if size > LARGEST_FILE:
        raise ToolError(f"{params.path} has {size:,} bytes, too many to read here. Use exec with head, tail, sed or grep")
    encoding = _encoding(start, params.path)
    file.seek(0)
    return _rendered(read_page(file, params.offset, params.limit, page_chars, encoding), params)


def _encoding(start: bytes, path: str) -> str:
    for magic, what in OFFICE.items():
        if start.startswith(magic):
            raise ToolError(f"{path} is {what}, not a text file")
    if encoding := WIDE.get(start[:2]):
        return encoding
    if b"\0" in start:
        raise ToolError(f"{path} is a binary file. Use exec with file, strings or xxd to look into it")
    return "utf-8"


def _image_type(start: bytes) -> str | None:
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return "image/webp"
    return next((mime for magic, mime in IMAGES.items() if start.startswith(magic)), None)


def _image(file: BinaryIO, mime: str, path: str) -> Image:
    file.seek(0)
    data = file.read(LARGEST_IMAGE + 1)
    if len(data) > LARGEST_IMAGE:
        raise ToolError(f"{path} is an image of more than {LARGEST_IMAGE:,} bytes. Make a smaller copy with exec and read that")
    return Image(data, mime)


def _kept(image: Image, path: str, turn: ToolTurn, tainted: bool) -> Result:
    """A copy of the image as it is now: what the model saw must not change when the file does."""
    try:
        copy = new_file(turn, "image", mimetypes.guess_extension(image.mime) or "", tainted=tainted)
        write_private(copy, image.data)
    except OSError as error:
        raise ToolError(f"{path} is an image, and no copy of it could be kept: {error.strerror}") from error
    size = len(image.data)
    attachment = Attachment(str(copy), image.mime, path.rsplit("/", 1)[-1], size)
    return Result(f"{path}: {image.mime}, {size:,} bytes, shown as an image", (attachment,))


def read_page(file: BinaryIO, offset: int, limit: int, page_chars: int, encoding: str = "utf-8") -> Page:
    """Lines `offset` to `offset + limit - 1`, fewer where they do not fit in `page_chars`; every line is counted."""
    if encoding != "utf-8":
        text = file.read().decode(encoding, "replace")
        return _page_of(text.splitlines(), offset, limit, page_chars)
    lines: list[str] = []
    number, room, cut, odd, inside = 0, page_chars, False, False, False
    while piece := file.readline(page_chars):
        number += not inside
        if number < offset or len(lines) >= limit or room <= 0 or inside:
            inside = not piece.endswith(b"\n")
            continue
        inside = not piece.endswith(b"\n")
        line = piece.decode("utf-8", "replace")
        if lines and len(line) > room:
            room = 0
            continue
        room -= len(line)
        cut |= inside and len(piece) == page_chars
        odd |= "\ufffd" in line
        lines.append(line.rstrip("\r\n"))
    return Page(lines, offset, number, cut, odd)


def _page_of(all_lines: list[str], offset: int, limit: int, page_chars: int) -> Page:
    lines: list[str] = []
    for line in all_lines[offset - 1 : offset - 1 + limit]:
        if sum(map(len, lines)) + len(line) > page_chars:
            break
        lines.append(line)
    return Page(lines, offset, len(all_lines))


def _rendered(page: Page, params: ReadFile) -> str:
    if page.total == 0:
        return f"({params.path} is empty)"
    if not page.lines:
        raise ToolError(f"{params.path} has {page.total} lines; offset {params.offset} is beyond its end")
    last = page.first + len(page.lines) - 1
    width = len(str(last))
    text = "\n".join(f"{number:>{width}}| {line}" for number, line in enumerate(page.lines, page.first))
    notes = []
    if page.cut:
        notes.append(f"line {last} is too long and was cut here; exec with cut -c shows the rest")
    if page.odd:
        notes.append("bytes that are not UTF-8 are shown as \ufffd")
    if last < page.total:
        notes.append(f"lines {page.first}-{last} of {page.total}; go on with offset={last + 1}")
    elif page.first > 1:
        notes.append(f"lines {page.first}-{last} of {page.total}, the end")
    return text + "".join(f"\n({note})" for note in notes)


async def _write(params: WriteFile, turn: ToolTurn) -> Result:
    data = params.content.encode()
    existed = await trio.to_thread.run_sync(workspace.write_file, params.path, turn, data)
    lines = len(params.content.splitlines())
    done = "Overwrote" if existed else "Made"
    return Result(f"{done} {params.path}: {len(data):,} bytes, {lines:,} {'line' if lines == 1 else 'lines'}")


WRITE_TOOL = Tool(
    "write_file",
    "Write a whole file. To change a part of one, use edit_file.",
    WriteFile,
    _write,
    Effect.WRITES,
    intent=lambda params, turn: workspace.write_intent("write_file", params.path, turn),
)
