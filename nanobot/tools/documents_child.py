"""From PDF, Word, Excel and PowerPoint files to text, in a process of its own: such a file can be made so that reading it takes
hours or all memory, and this can be ended.

Standard input: a line of JSON (`first` and `last` page of a PDF, `most` pages where no last one is given), then the file.
Standard output: one JSON object, either what `found` makes, or `error`, a word of `Trouble`.
What a file is, its first bytes and its parts tell, never its name.

Theory of operation. Nothing that a file says of its size is believed. An office file is a ZIP archive: what its directory
says is unpacked is added up before anything is, and Python unpacks no more of a part than that. A PDF is read page by page,
until enough characters are there or the time for it is over. Memory and processor time have hard limits besides. The
libraries raise whatever they stumble over; a page or part that cannot be read is named in its place, and anything else ends
the process by `_surprised`, which says that the file is damaged.
"""
# ruff: noqa: PLC0415 -- a library is loaded when a file of its kind is there: they cost up to half a second each

from __future__ import annotations

import enum
import io
import itertools
import json
import logging
import os
import re
import resource
import sys
import time
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from datetime import time as time_of_day
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from docx.table import Table
    from docx.text.paragraph import Paragraph
    from pptx.shapes.base import BaseShape
    from pptx.slide import Slide

MEMORY = 1024 * 1024 * 1024
"""Bytes of address space of this process."""
CPU_S = 20
"""Seconds of processor time of this process."""
ENOUGH_S = 10.0
"""Seconds of processor time after which no further page is begun."""
MOST_CHARS = 2_000_000
"""Characters of text; a thick book has half of them."""
UNPACKED = 300 * 1024 * 1024
"""Bytes that all parts of an office file may have together, unpacked."""
MOST_PARTS = 20_000
GAP = 8
"""Empty cells in a row that are shown as such."""
LINE = re.compile(r"[\t\r\n\f\v\x00-\x08\x0e-\x1f]+")
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
UNREADABLE = (ArithmeticError, AssertionError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError)
"""What the libraries raise on a page that is not as they expect."""


class Trouble(enum.StrEnum):
    DAMAGED = "damaged"
    MEMORY = "memory"
    LOCKED = "locked"
    """It wants a password."""
    BOMB = "bomb"
    """It would be far larger unpacked."""
    OLD = "old"
    """An Office file of before 2007, or one with a password, which looks the same."""
    ARCHIVE = "archive"
    """A ZIP file that is none of ours."""
    STRANGE = "strange"
    """None of all that."""
    MISSING = "missing"
    """The library is not installed."""
    BEYOND = "beyond"
    """There are no such pages."""


class TroubleError(Exception):
    """Ends the work with a word."""

    def __init__(self, trouble: Trouble, **more: object) -> None:
        self.answer = {"error": trouble, **more}
        super().__init__(trouble)


class Writer:
    """Takes pieces of text until there are enough."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._room = MOST_CHARS
        self.cut = False
        """There was more."""

    def full(self) -> bool:
        return self._room <= 0 or time.process_time() > ENOUGH_S

    @property
    def text(self) -> str:
        return "\n".join(self._pieces).strip("\n")

    def add(self, piece: str) -> None:
        self.cut |= len(piece) > self._room
        self._pieces.append(piece[: self._room])
        self._room -= len(piece) + 1

    def all(self, parts: Iterable[Iterator[str]]) -> int:
        """Parts, each a series of lines; how many were taken, the last one perhaps cut."""
        count = 0
        for part in parts:
            if self.full():
                self.cut = True
                break
            count += 1
            for line in part:
                self.add(line)
                if self.full():
                    self.cut |= next(part, None) is not None
                    break
        return count


# -- PDF ----------------------------------------------------------------------------------------------------------------


def pdf(data: io.BytesIO, first: int, last: int | None, most: int) -> Mapping[str, object]:
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, PyPdfError

    reader = PdfReader(data)
    try:
        if reader.is_encrypted and not reader.decrypt(""):
            raise TroubleError(Trouble.LOCKED)
    except DependencyError:  # a cipher that is not here; the password is not either
        raise TroubleError(Trouble.LOCKED) from None
    total = len(reader.pages)
    if first > total:
        raise TroubleError(Trouble.BEYOND, total=total)
    last = min(first + most - 1 if last is None else last, total)

    def page(number: int) -> Iterator[str]:
        try:
            text = reader.pages[number - 1].extract_text().strip()
        except (PyPdfError, *UNREADABLE) as error:
            text = f"(this page cannot be read: {type(error).__name__})"
        yield f"\n[page {number}]\n{text or '(no text on this page; it may be a picture)'}"

    writer = Writer()
    count = writer.all(map(page, range(first, last + 1)))
    return found("PDF", "page", total, writer, first=first, last=first + count - 1)


def found(kind: str, unit: str, total: int, writer: Writer, *, first: int = 1, last: int = 1) -> Mapping[str, object]:
    """The answer. `first` and `last` are what the text is of."""
    parts = {"unit": unit, "total": total, "first": first, "last": last}
    return {"kind": kind, **parts, "text": writer.text, "cut": writer.cut}


# -- office files -------------------------------------------------------------------------------------------------------


def office(data: io.BytesIO) -> Mapping[str, object]:
    try:
        with zipfile.ZipFile(data) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, *UNREADABLE) as error:
        raise TroubleError(Trouble.DAMAGED, how=type(error).__name__) from None
    if len(parts) > MOST_PARTS or sum(part.file_size for part in parts) > UNPACKED:
        raise TroubleError(Trouble.BOMB)
    names = {part.filename for part in parts}
    for name, read in READERS.items():
        if name in names:
            if any(part.flag_bits & 1 for part in parts):
                raise TroubleError(Trouble.LOCKED)
            data.seek(0)
            return read(data)
    raise TroubleError(Trouble.ARCHIVE, parts=len(parts))


def word(data: io.BytesIO) -> Mapping[str, object]:
    from docx import Document
    from docx.table import Table

    document, writer = Document(data), Writer()
    blocks = (_rows(one) if isinstance(one, Table) else iter((_paragraph(one),)) for one in document.iter_inner_content())
    writer.all(blocks)
    return found("Word document", "", 1, writer)


def _paragraph(one: Paragraph) -> str:
    text = one.text.strip()
    style = (one.style.name if one.style is not None else "") or ""
    if found := re.fullmatch(r"Heading (\d)", style):
        return f"\n{'#' * int(found[1])} {text}\n" if text else ""
    if style == "Title":
        return f"# {text}\n"
    return f"- {text}" if style.startswith("List") and text else text


def _rows(table: Table) -> Iterator[str]:
    yield ""
    for row in table.rows:
        cells, seen = [], None
        for cell in row.cells:
            if cell._tc is not seen:  # a merged cell comes once for each that it covers
                cells.append(_flat(cell.text))
            seen = cell._tc
        yield f"| {' | '.join(cells)} |"
    yield ""


def excel(data: io.BytesIO) -> Mapping[str, object]:
    from openpyxl import load_workbook  # type: ignore[import-untyped]

    book, writer = load_workbook(data, read_only=True, data_only=True, keep_links=False), Writer()
    sheets = book.worksheets

    def sheet(number: int) -> Iterator[str]:
        yield f"\n[sheet {_flat(sheets[number].title)}]"
        sheets[number].reset_dimensions()  # it may say that it has a million columns, in good faith
        for row in sheets[number].iter_rows(values_only=True):
            cells = [_cell(value) for value in row]
            if any(cells):
                yield f"| {' | '.join(_without_gaps(cells))} |"
            elif writer.full():  # there can be a million empty rows
                return

    count = writer.all(map(sheet, range(len(sheets))))
    return found("Excel workbook", "sheet", len(sheets), writer, last=count)


def _without_gaps(cells: list[str]) -> Iterator[str]:
    """Without the empty cells at the end; long runs of them are told by their number."""
    last = max(place for place, cell in enumerate(cells, 1) if cell)
    for filled, run in itertools.groupby(cells[:last], bool):
        several = list(run)
        yield from several if filled or len(several) <= GAP else [f"({len(several)} empty)"]


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).upper()
        case datetime():
            return str(value.date()) if value.time() == time_of_day() else value.isoformat(" ")
        case float():
            return f"{value:.15g}"
        case _:
            return _flat(str(value))


def powerpoint(data: io.BytesIO) -> Mapping[str, object]:
    from pptx import Presentation

    slides, writer = list(Presentation(data).slides), Writer()
    count = writer.all(_slide(number, one) for number, one in enumerate(slides, 1))
    return found("PowerPoint presentation", "slide", len(slides), writer, last=count)


def _slide(number: int, slide: Slide) -> Iterator[str]:
    yield f"\n[slide {number}]"
    stack: list[BaseShape] = list(reversed(list(slide.shapes)))
    while stack:
        shape = stack.pop()
        stack += reversed(list(getattr(shape, "shapes", ())))  # of a group
        if shape.has_text_frame:
            yield from (text for line in shape.text_frame.paragraphs if (text := _flat(line.text)))  # type: ignore[attr-defined]
        elif getattr(shape, "has_table", False):
            for row in shape.table.rows:  # type: ignore[attr-defined]
                yield f"| {' | '.join(_flat(cell.text) for cell in row.cells)} |"
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        notes = slide.notes_slide.notes_text_frame.text.strip()
        if notes:
            yield f"Notes: {notes}"


def _flat(text: str) -> str:
    return LINE.sub(" ", text).strip()


READERS: Mapping[str, Callable[[io.BytesIO], Mapping[str, object]]] = {
    "word/document.xml": word,
    "xl/workbook.xml": excel,
    "ppt/presentation.xml": powerpoint,
}


# -- the process --------------------------------------------------------------------------------------------------------


def read(request: Mapping[str, int | None], data: bytes) -> Mapping[str, object]:
    """Raises: TroubleError, and what the libraries do."""
    if data.startswith(b"PK"):
        return office(io.BytesIO(data))
    if b"%PDF-" in data[:1024]:
        return pdf(io.BytesIO(data), request["first"] or 1, request["last"], request["most"] or 1)
    raise TroubleError(Trouble.OLD if data.startswith(OLE) else Trouble.STRANGE)


def answer(said: Mapping[str, object]) -> None:
    sys.stdout.buffer.write(json.dumps(said, ensure_ascii=False).encode("utf-8", "replace"))
    sys.stdout.buffer.flush()


def _surprised(_kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> NoReturn:
    """In the place of a traceback, which nobody would read."""
    match error:
        case TroubleError():
            answer(error.answer)
        case MemoryError():
            answer({"error": Trouble.MEMORY})
        case ModuleNotFoundError():
            answer({"error": Trouble.MISSING, "library": str(error.name)})
        case _:
            answer({"error": Trouble.DAMAGED, "how": type(error).__name__})
    os._exit(1)  # the interpreter's own end would take down what made trouble, with more of it


def main() -> None:
    sys.excepthook = _surprised
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    logging.disable()  # nobody reads standard error
    warnings.simplefilter("ignore")
    request = json.loads(sys.stdin.buffer.readline())
    answer(read(request, sys.stdin.buffer.read()))
    os._exit(0)


if __name__ == "__main__":
    main()
