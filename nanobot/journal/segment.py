"""The format of a journal segment, without I/O: a header line, then a line per append, ASCII JSON, split at `\\n` only.

    {"crc":"1f0a33c2","format":1,"least":1,"key":"cli:default:me","n":7,"at":1.5,"owes":null,"forget":false,"snapshot":…}
    {"crc":"9d0c71aa","n":8,"at":2.5,"owes":"now","slept":false,"r":[…]}

`crc` is the CRC-32 of all bytes behind its comma up to the newline. `n` is gapless. A header takes a number as a line
does: its snapshot holds every line below, and lines of older segments at or above it are ghosts of failed appends.
`format` says who wrote the file, `least` the oldest format whose readers understand it; both stay readable for ever.

A file is torn when what is bad ends it: that was the append in flight, never acknowledged. It is damaged when a good line
follows a bad one, or a number is missing.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence

import attrs

from nanobot.errors import JournalDamaged, JournalTooNew
from nanobot.wire import Json

FORMAT = 1
"""The format this version writes. Any new record or field of a record raises it."""

Owes = None | float | str
"""What a session still has to do: nothing, `"now"`, at a time (seconds since the epoch), or `"channel:NAME"` once it is up."""
NOW = "now"

_MARK = b'{"crc":"'
_HEAD = len('{"crc":"01234567",')


@attrs.frozen
class Header:
    """The first line. `forget`: older segments hold a deleted conversation and must go."""

    key: str
    snapshot: Json
    n: int
    at: float
    owes: Owes = None
    forget: bool = False
    format: int = FORMAT
    least: int = FORMAT


@attrs.frozen
class Line:
    """One append. `slept`: the session lay down with nothing in flight; the next append overwrites the mark."""

    n: int
    at: float
    owes: Owes
    records: Sequence[Json] = ()
    slept: bool = False


@attrs.frozen
class Segment:
    """What a file holds. With `damage`, the records are those before it."""

    header: Header
    records: tuple[Json, ...]
    last: Header | Line
    end: int
    """Bytes up to and with the last good line, a mark of sleep not counted."""
    header_size: int
    torn: bool = False
    damage: JournalDamaged | None = None

    @property
    def slept(self) -> bool:
        return isinstance(self.last, Line) and self.last.slept and not self.torn

    @property
    def n(self) -> int:
        """The number of the last line that is not a mark of sleep."""
        return self.last.n - 1 if self.slept else self.last.n


def encode(item: Header | Line) -> bytes:
    """The bytes of a line, newline included. Total: every float and every string, lone surrogates too, has a form."""
    fields = _header_fields(item) if isinstance(item, Header) else _line_fields(item)
    body = json.dumps(fields, separators=(",", ":")).encode("ascii")[1:]
    return b'{"crc":"%08x",%b\n' % (zlib.crc32(body), body)


def read(data: bytes, file: str) -> Segment:
    """Reads a whole segment; `file` is for messages.

    Raises: JournalTooNew if a later version is needed. JournalDamaged if the header cannot be read.
    """
    raw, *lines = data.split(b"\n")
    header = read_header(raw if lines else b"", file)
    tail = lines.pop()
    size = len(raw) + 1
    last: Header | Line = header
    records: list[Json] = []
    offset = end = size
    for number, text in enumerate(lines, 2):
        line = read_line(text)
        if line is None:
            damage = _damage_before(lines[number - 2 :], file, number)
            return Segment(header, tuple(records), last, end, size, torn=True, damage=damage)
        if line.n != last.n + 1:
            damage = JournalDamaged(file, number, f"line {line.n} follows line {last.n}")
            return Segment(header, tuple(records), last, end, size, torn=True, damage=damage)
        last = line
        offset += len(text) + 1
        end = offset if not line.slept else offset - len(text) - 1
        records += line.records
    return Segment(header, tuple(records), last, end, size, torn=bool(tail))


def read_header(text: bytes, file: str) -> Header:
    """Reads the first line, without its newline.

    Raises: JournalTooNew, also where the CRC has been changed by then. JournalDamaged.
    """
    try:
        match json.loads(text):
            case {"format": int(), "least": int(least)} if least > FORMAT:
                raise JournalTooNew(file, f"journal format {least}, this version reads up to {FORMAT}")
            case {
                "format": int(format_),
                "least": int(least),
                "key": str(key),
                "n": int(n),
                "at": int() | float() as at,
                "owes": None | int() | float() | str() as owes,
                "forget": bool(forget),
                "snapshot": snapshot,
            } if _crc_holds(text):
                return Header(key, snapshot, n, at, owes, forget, format_, least)
            case _:
                pass
    except ValueError:
        pass
    raise JournalDamaged(file, 1, "the header is unreadable" if text else "the file has no header")


def read_line(text: bytes) -> Line | None:
    """Reads a line without its newline; None for one that fails its CRC or is not of our form."""
    if not _crc_holds(text):
        return None
    try:
        match json.loads(text):
            case {
                "n": int(n),
                "at": int() | float() as at,
                "owes": None | int() | float() | str() as owes,
                "slept": bool(slept),
                "r": list(records),
            }:
                return Line(n, at, owes, tuple(records), slept)
            case _:
                pass
    except ValueError:
        pass
    return None


def _crc_holds(text: bytes) -> bool:
    return text[:_HEAD] == b'{"crc":"%08x",' % zlib.crc32(text[_HEAD:])


def _damage_before(rest: Sequence[bytes], file: str, number: int) -> JournalDamaged | None:
    """A bad line is only torn if nothing good comes behind it: no append begins before the one before is on disk."""
    if any(_ends_well(text) for text in rest):
        return JournalDamaged(file, number, "the line is not what was written, and good ones follow it")
    return None


def _ends_well(text: bytes) -> bool:
    """Whether `text` is a good line or ends in one: lost blocks are NULs, and the newline before went with them."""
    start = text.find(_MARK)
    while start >= 0:
        if _crc_holds(text[start:]):
            return True
        start = text.find(_MARK, start + 1)
    return False


def _header_fields(header: Header) -> dict[str, Json]:
    return {
        "format": header.format,
        "least": header.least,
        "key": header.key,
        "n": header.n,
        "at": header.at,
        "owes": header.owes,
        "forget": header.forget,
        "snapshot": header.snapshot,
    }


def _line_fields(line: Line) -> dict[str, Json]:
    return {"n": line.n, "at": line.at, "owes": line.owes, "slept": line.slept, "r": list(line.records)}
