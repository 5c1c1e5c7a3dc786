"""Text of PDF and office files, and what both converters share: hostile data is read in a child process (documents_child.py,
web_child.py) that has limits of its own, is ended when its time is up, and whose answer is capped. Only a few run at a time.

`Converter.document` is for `read_file` and `web_fetch` alike. It raises `ToolError` with what is wrong with the file and a way
out; a file that is made to be costly costs a process for some seconds and nothing else.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import attrs
import trio

from nanobot.errors import ToolError
from nanobot.processes.children import open_child
from nanobot.wire import Json, JsonObject

CHILD = Path(__file__).with_name("documents_child.py")
CONVERT_S = 30.0
"""Seconds for one conversion, more than the processor time that the child has."""
PLACES = 4
"""Most conversions at a time: each may take a gigabyte, if somebody wants it to."""
ANSWER_BYTES = 16 * 1024 * 1024
"""Most bytes of a child's answer: twice what its most characters take as they are."""
SNIFFED = 1024
"""Bytes in which `%PDF-` may stand: the format allows something before it, and printers put it there."""
LARGEST = 50 * 1024 * 1024
"""Bytes of a file that is converted; it is in memory for that."""
SUFFIXES = {"PDF": ".pdf", "Word document": ".docx", "Excel workbook": ".xlsx", "PowerPoint presentation": ".pptx"}
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"

TROUBLES = {
    "damaged": "is damaged, or made in a way that is not understood ({how}). Ask for another copy, or one saved anew",
    "memory": "takes more memory than there is for reading it. Take it apart with exec, or ask for a smaller one",
    "locked": "is protected by a password. Ask for a copy without one",
    "bomb": "is a small file that would be huge unpacked; it is not read",
    "old": "is an Office file of before 2007, or one with a password. Ask for it as .docx, .xlsx or .pptx, or convert it with "
    "exec and libreoffice --headless --convert-to",
    "archive": "is a ZIP archive ({parts} files), and none of Word, Excel or PowerPoint. Look into it with exec and unzip -l",
    "strange": "is neither a PDF nor an office file, whatever it is called",
    "missing": "needs the library {library}, which is not installed. The owner can install it: pip install 'nanobot[documents]'",
    "beyond": "has {total} pages. Ask for pages that it has",
}


@attrs.frozen
class Pages:
    """Of a PDF, counted from 1. last None: as many as are read at most."""

    first: int = 1
    last: int | None = None


@attrs.frozen
class Document:
    """What was read of a file."""

    kind: str
    """A key of SUFFIXES."""
    unit: str
    """`page`, `slide`, `sheet`; empty where there are none."""
    total: int
    """Of these units."""
    first: int
    last: int
    text: str
    cut: bool
    """The text ends early: there was too much of it, or it took too long."""

    @property
    def partial(self) -> bool:
        return self.cut or self.first > 1 or self.last < self.total

    @property
    def described(self) -> str:
        """`PDF, pages 1-20 of 300`."""
        if not self.unit:
            return self.kind
        plural = f"{self.unit}s"
        if (self.first, self.last) == (1, self.total):
            return f"{self.kind}, {self.total} {self.unit if self.total == 1 else plural}"
        return f"{self.kind}, {plural} {self.first}-{self.last} of {self.total}"


def is_document(start: bytes) -> bool:
    """By its first SNIFFED bytes: whether it is for the converter."""
    return b"%PDF-" in start[:SNIFFED] or start.startswith((b"PK\x03\x04", b"PK\x05\x06", OLE))


@attrs.frozen
class Converter:
    """env: of the child. inherit_fds: what it holds until it is gone (the data lock)."""

    env: Mapping[str, str]
    inherit_fds: Sequence[int] = ()
    _places: trio.CapacityLimiter = attrs.field(factory=partial(trio.CapacityLimiter, PLACES), init=False, eq=False)

    async def document(self, name: str, data: bytes, cwd: Path, pages: Pages, *, most: int) -> Document:
        """The text of a file. most: pages, where `pages` does not say the last. name: for sentences. Raises: ToolError."""
        request: JsonObject = {"first": pages.first, "last": pages.last, "most": most}
        match await self.ask(CHILD, request, data, cwd):
            case {"error": str(error), **more} if error in TROUBLES:
                raise ToolError(f"{name} {TROUBLES[error].format_map(_words(more))}")
            case dict(found):
                return _document(found)
            case _:
                raise ToolError(
                    f"{name} could not be read within {CONVERT_S:g} s and the memory for it; it is made in a strange way"
                )

    async def ask(self, program: Path, request: JsonObject, data: bytes, cwd: Path) -> Json:
        """What the program answers to a line of JSON and data; None where that is nothing to use, or it takes longer than
        CONVERT_S. Raises: ToolError.
        """
        async with self._places:
            with trio.move_on_after(CONVERT_S):
                return await self._ask(program, request, data, cwd)
        return None

    async def _ask(self, program: Path, request: JsonObject, data: bytes, cwd: Path) -> Json:
        answer = bytearray()

        async def feed(stdin: trio.abc.SendStream) -> None:
            try:
                await stdin.send_all(json.dumps(request).encode() + b"\n")
                await stdin.send_all(data)
            except trio.BrokenResourceError:  # it has ended early; its answer says so
                pass
            await stdin.aclose()

        argv = [sys.executable, "-I", str(program)]
        try:
            async with (
                open_child(argv, cwd=cwd, env=self.env, stdin=True, merged=False, inherit_fds=self.inherit_fds) as child,
                trio.open_nursery() as nursery,
            ):
                assert child.stdin is not None
                nursery.start_soon(feed, child.stdin)
                async for chunk in child.stdout:
                    answer += chunk
                    if len(answer) > ANSWER_BYTES:
                        nursery.cancel_scope.cancel()
        except OSError as error:
            raise ToolError(f"Nothing can be converted now: {error.strerror}") from error
        try:
            found: Json = await trio.to_thread.run_sync(json.loads, answer)
        except ValueError:  # it was ended by a limit
            return None
        return found


def _words(more: Mapping[object, object]) -> Mapping[str, str]:
    """What a sentence may name: numbers and names of classes and libraries, no text of the file."""
    return {name: str(more.get(name, "?"))[:40] for name in ("how", "library", "parts", "total")}


def _document(found: JsonObject) -> Document:
    """Raises: ToolError. The child read hostile data; its answer is taken as that."""
    match found:
        case {
            "kind": str(kind),
            "unit": str(unit),
            "total": int(total),
            "first": int(first),
            "last": int(last),
            "text": str(text),
            "cut": bool(cut),
        } if kind in SUFFIXES:
            return Document(kind, unit, total, first, last, text, cut)
        case _:
            raise ToolError("The file made its converter say nonsense. It is not read")
