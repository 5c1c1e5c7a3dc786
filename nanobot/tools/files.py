"""`read_file`, `write_file`: files through the guard of security/workspace.py.

File work runs in threads. A write is one small atomic step that a cancellation waits for, so that nothing is written after
the cancellation is done; a read is abandoned. What a file is, its first bytes tell: images go to the model (pictures.py), PDF
and office files are read as the text that is in them (documents.py).
"""

from __future__ import annotations

import os
import re
from typing import Annotated, BinaryIO

import attrs
import trio

from nanobot.errors import ToolError
from nanobot.messages import Effect
from nanobot.pictures import LARGEST
from nanobot.security import workspace
from nanobot.tools import documents, pictures
from nanobot.tools.documents import Converter, Document, Pages
from nanobot.tools.pictures import Picture
from nanobot.tools.port import Result, Tool, ToolTurn
from nanobot.tools.schema import Arg

LARGEST_FILE = 100 * 1024 * 1024
"""Bytes; counting the lines of more takes longer than a turn should wait."""
LARGEST_WIDE = 16 * 1024 * 1024
"""Bytes of UTF-16, which is taken apart in memory: ten times as much, where lines are short."""
PAGE_FACTOR = 4
"""A page of a file may be this much longer than other results: it was asked for, line by line."""
PDF_PAGES = 20
"""Most pages of a PDF in one call; a page of text has some 3,000 characters."""
LONGEST_LINE = 4000
"""Characters; a longer paragraph of a document is several lines, so that all of it can be read."""
SNIFF = 8192

WIDE = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
PAGES = re.compile(r"(?P<first>[1-9]\d{0,8})(-(?P<last>[1-9]\d{0,8}))?")


@attrs.frozen
class ReadFile:
    path: Annotated[str, Arg("The file; relative paths start at the workspace, ~ is the home folder.")]
    offset: Annotated[int, Arg("First line to read, counted from 1.", minimum=1)] = 1
    limit: Annotated[int, Arg("Most lines to read.", minimum=1, maximum=20000)] = 2000
    pages: Annotated[str | None, Arg(f"Pages of a PDF, such as 7 or 21-40, at most {PDF_PAGES}.")] = None


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
class Raw:
    """A PDF or an office file."""

    data: bytes


def read_tool(cap: int, converter: Converter) -> Tool[ReadFile]:
    """cap: most characters of a result elsewhere."""

    async def run(params: ReadFile, turn: ToolTurn) -> Result:
        pages = _pages(params.pages)
        found, tainted = await trio.to_thread.run_sync(_read, params, turn, cap * PAGE_FACTOR, abandon_on_cancel=True)
        match found:
            case Picture():
                return await trio.to_thread.run_sync(_shown, found, params.path, turn, tainted)
            case Raw(data):
                read = await converter.document(params.path, data, turn.workspace, pages, most=PDF_PAGES)
                return Result(_document(read, params, cap * PAGE_FACTOR), tainted=tainted)
            case text:
                return Result(text, tainted=tainted)

    description = (
        "Read a file, its lines numbered: text, or what is written in a PDF, Word, Excel or PowerPoint file; or look at an image "
        "(PNG, JPEG, GIF, WebP). A long file comes in pages: go on with offset, in a PDF also with pages. The numbers are not "
        "part of the file."
    )
    return Tool("read_file", description, ReadFile, run, Effect.READS)


def _pages(text: str | None) -> Pages:
    """Raises: ToolError."""
    if text is None:
        return Pages()
    found = PAGES.fullmatch(text.replace(" ", ""))
    if found is None:
        raise ToolError(f"pages must be a page or a range of pages, such as 7 or 21-40, not {text[:40]!r}")
    first, last = int(found["first"]), int(found["last"] or found["first"])
    if not first <= last < first + PDF_PAGES:
        raise ToolError(f"pages {first}-{last} is no range of at most {PDF_PAGES} pages")
    return Pages(first, last)


def _read(params: ReadFile, turn: ToolTurn, page_chars: int) -> tuple[str | Picture | Raw, bool]:
    """What is there, and whether it is text of strangers."""
    with workspace.open_file(params.path, turn) as opened:
        return _content(opened.file, params, page_chars), opened.of_strangers()


def _content(file: BinaryIO, params: ReadFile, page_chars: int) -> str | Picture | Raw:
    start = file.read(SNIFF)
    file.seek(0)
    if mime := pictures.type_of(start):
        return pictures.picture(file.read(LARGEST + 1), mime, params.path)
    size = os.fstat(file.fileno()).st_size
    if documents.is_document(start):
        if size > documents.LARGEST:
            most = documents.LARGEST
            raise ToolError(
                f"{params.path} has {size:,} bytes, more than the {most:,} that are converted. Take it apart with exec"
            )
        return Raw(file.read(documents.LARGEST))
    if params.pages is not None:
        raise ToolError(f"{params.path} is no PDF: leave pages out, and choose lines with offset and limit")
    if size > LARGEST_FILE:
        raise ToolError(f"{params.path} has {size:,} bytes, too many to read here. Use exec with head, tail, sed or grep")
    encoding = _encoding(start, params.path)
    if encoding != "utf-8" and size > LARGEST_WIDE:
        raise ToolError(f"{params.path} has {size:,} bytes of UTF-16, too many to read here. Use exec with iconv, then read that")
    return _rendered(read_page(file, params.offset, params.limit, page_chars, encoding), params.path)


def _encoding(start: bytes, path: str) -> str:
    if encoding := WIDE.get(start[:2]):
        return encoding
    if b"\0" in start:
        raise ToolError(f"{path} is a binary file. Use exec with file, strings or xxd to look into it")
    return "utf-8"


def _shown(image: Picture, path: str, turn: ToolTurn, tainted: bool) -> Result:
    attachment = pictures.kept(image, path, turn, tainted=tainted)
    size = f"{image.width} x {image.height} pixels, {len(image.data):,} bytes"
    return Result(f"{path}: {image.mime}, {size}, shown as an image", (attachment,), tainted)


def _document(found: Document, params: ReadFile, page_chars: int) -> str:
    """Raises: ToolError."""
    if params.pages is not None and found.unit != "page":
        raise ToolError(f"{params.path} is no PDF but a {found.kind}: leave pages out, and choose lines with offset and limit")
    lines = _lines(found.text)
    same = f'pages="{found.first}-{found.last}", ' if params.pages is not None else ""
    text = _rendered(_page_of(lines, params.offset, params.limit, page_chars), params.path, same) if lines else "(no text)"
    notes = [text, f"({params.path}: {found.described})"]
    if found.cut:
        notes.append("(its text is cut here: there is more than is read at once. Take the file apart with exec for the rest)")
    if found.unit == "page" and found.last < found.total:
        following = min(found.last + PDF_PAGES, found.total)
        notes.append(f'(go on with pages="{found.last + 1}-{following}")')
    return "\n".join(notes)


def _lines(text: str) -> list[str]:
    """A paragraph is a line of text, or several."""
    pieces = ([line[at : at + LONGEST_LINE] for at in range(0, len(line) or 1, LONGEST_LINE)] for line in text.split("\n"))
    return [piece for line in pieces for piece in line] if text else []


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
    room, cut = page_chars, False
    for line in all_lines[offset - 1 : offset - 1 + limit]:
        if lines and len(line) > room:
            break
        cut |= len(line) > page_chars
        lines.append(line[:page_chars])
        room -= len(line)
    return Page(lines, offset, len(all_lines), cut)


def _rendered(page: Page, path: str, same: str = "") -> str:
    """same: arguments that going on needs again. Raises: ToolError."""
    if page.total == 0:
        return f"({path} is empty)"
    if not page.lines:
        raise ToolError(f"{path} has {page.total} lines; offset {page.first} is beyond its end")
    last = page.first + len(page.lines) - 1
    width = len(str(last))
    text = "\n".join(f"{number:>{width}}| {line}" for number, line in enumerate(page.lines, page.first))
    notes = []
    if page.cut:
        notes.append(f"line {last} is too long and was cut here; exec with cut -c shows the rest")
    if page.odd:
        notes.append("bytes that are not UTF-8 are shown as \ufffd")
    if last < page.total:
        notes.append(f"lines {page.first}-{last} of {page.total}; go on with {same}offset={last + 1}")
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
