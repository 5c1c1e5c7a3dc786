"""A mail as bytes into its header, texts and files. Pure, and linear in its size whatever it is made of.

Mail is hostile data: this reads it leniently and never raises. It goes `MOST_DEPTH` levels deep and looks at `MOST_PARTS` parts;
what lies beyond is named in `notes`. The standard library's parser is not used: it asks every line of every open level whether
it ends, recurses, and raises many things for headers that were made for that.
"""

from __future__ import annotations

import binascii
import codecs
import re
import string
from collections.abc import Iterator
from email.errors import HeaderParseError
from email.header import decode_header
from urllib.parse import unquote_to_bytes

import attrs

MOST_DEPTH = 10
"""Levels of parts in parts: forwards of forwards have about two each."""
MOST_PARTS = 200
MOST_NEAR = 10_000
"""Lines that begin as a boundary does and are none."""
HEADER_BYTES = 256 * 1024
"""Of one header; relays and signatures of long ways make some 20 KB."""
MOST_FIELDS = 1000
LONGEST_VALUE = 4000
"""Characters of a field that is decoded: beyond that nobody reads it."""
TEXT_CHARS = 1_000_000
"""Of the texts of one mail."""
CHARSETS = re.compile(r"utf-(8|16|32).*|ascii|iso8859-\d+|cp\d+|gb\w+|big5\w*|euc_\w+|shift_jis\w*|iso2022_\w+|koi8-\w|mac-\w+")
"""Of Python's codecs those that mail is written in; others do strange or slow things."""
SIGNATURES = frozenset(["application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature"])
_NO_BASE64 = bytes(set(range(256)) - set(string.ascii_letters.encode() + string.digits.encode() + b"+/"))
_KIND = re.compile(r"[a-z0-9][a-z0-9.+_-]{0,60}/[a-z0-9][a-z0-9.+_-]{0,80}")
_END_OF_HEADER = re.compile(rb"\r?\n\r?\n")
_NO_HEADER = re.compile(rb"(?:\r?\n){1,2}")
_REST_OF_BOUNDARY = re.compile(rb"(--)?[ \t]{0,100}(?:\r?\n|\Z)")
_FIELD = re.compile(r"([!-9;-~]{1,100})[ \t]*:[ \t]*(.*)", re.DOTALL)
_PARAMETER = re.compile(r""";\s*([^\s=;"]{1,60})\s*=\s*("(?:[^"\\]|\\.)*"|[^\s;]*)""", re.DOTALL)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


@attrs.frozen
class Header:
    """The fields of a header in their order, names in lower case, values unfolded and not decoded."""

    fields: tuple[tuple[str, str], ...] = ()
    clear: bool = True
    """All of it was read, and all of it is fields: nobody can read another one out of it."""

    def all(self, name: str) -> tuple[str, ...]:
        return tuple(value for found, value in self.fields if found == name)

    def get(self, name: str) -> str:
        """The first of that name, empty if there is none."""
        return next((value for found, value in self.fields if found == name), "")

    def shown(self, name: str) -> str:
        """Decoded, on one line."""
        return decoded(self.get(name))


@attrs.frozen
class File:
    name: str
    mime: str
    data: bytes


@attrs.define(eq=False)
class Mail:
    """What a mail holds."""

    header: Header
    plain: str = ""
    html: str = ""
    """Its source, for mails without plain text."""
    files: list[File] = attrs.field(factory=list)
    notes: list[str] = attrs.field(factory=list)
    """What was not read, a sentence each."""
    holds_others: bool = False
    """A mail of somebody else lies in it."""
    _parts: int = 0

    def take(self, kind: str, text: str) -> None:
        """Add a text to those of its kind."""
        known = self.html if kind == "text/html" else self.plain
        joined = f"{known}\n{text}" if known else text
        if len(joined) > TEXT_CHARS:
            self.note(f"only the first {TEXT_CHARS:,} characters of the text were read")
        if kind == "text/html":
            self.html = joined[:TEXT_CHARS]
        else:
            self.plain = joined[:TEXT_CHARS]

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def count(self) -> bool:
        """One more part; False if that is too many."""
        self._parts += 1
        return self._parts <= MOST_PARTS


@attrs.frozen
class _Piece:
    """A part of a mail where it stands: parts in parts are as many copies of the mail otherwise."""

    raw: bytes
    begin: int
    end: int

    @property
    def data(self) -> bytes:
        return self.raw[self.begin : self.end]

    def split(self) -> tuple[Header, _Piece]:
        """Header and body."""
        none = _NO_HEADER.match(self.raw, self.begin, self.end)
        most = min(self.end, self.begin + HEADER_BYTES)
        found = none or _END_OF_HEADER.search(self.raw, self.begin, most)
        if found is not None:
            return _header(self.raw[self.begin : found.start()]), attrs.evolve(self, begin=found.end())
        header = _header(self.raw[self.begin : most])
        cut = most - self.begin == HEADER_BYTES
        return attrs.evolve(header, clear=header.clear and not cut), attrs.evolve(self, begin=self.end)


def parsed(raw: bytes, *, cut: bool = False) -> Mail:
    """A whole mail, or the beginning of one (`cut`)."""
    header, body = _Piece(raw, 0, len(raw)).split()
    mail = Mail(header)
    _walk(mail, header, body, 0)
    if cut:
        mail.note("the mail is too large: only its beginning was read")
        mail.files = mail.files[:-1]  # the one in which it was cut
    return mail


def split(raw: bytes) -> tuple[Header, bytes]:
    """Header and body."""
    header, body = _Piece(raw, 0, len(raw)).split()
    return header, body.data


def _header(block: bytes) -> Header:
    fields: list[tuple[str, list[str]]] = []
    clear = True
    for line in _text(block).replace("\r\n", "\n").removesuffix("\n").split("\n"):
        if line[:1] in (" ", "\t") and fields:
            fields[-1][1].append(line.strip("\r"))
        elif (match := _FIELD.fullmatch(line)) and len(fields) < MOST_FIELDS:
            fields.append((match[1].lower(), [match[2].strip("\r")]))
        else:
            clear = clear and not line
            if len(fields) == MOST_FIELDS:
                break
    return Header(tuple((name, "".join(lines).strip()) for name, lines in fields), clear)


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


# --- the parts


def _walk(mail: Mail, header: Header, body: _Piece, depth: int) -> None:
    if not mail.count():
        mail.note(f"it has more than {MOST_PARTS} parts, the rest was not read")
        return
    if depth > MOST_DEPTH:
        mail.note(f"its parts are nested deeper than {MOST_DEPTH}, what is below was not read")
        return
    kind, parameters = parameters_of(header.get("content-type"))
    kind = kind if _KIND.fullmatch(kind) else "text/plain" if not kind else "application/octet-stream"
    boundary = parameters.get("boundary", "")
    parts = list(_parts(body, boundary)) if kind.startswith("multipart/") and boundary else []
    for part in parts:
        _walk(mail, *part.split(), depth + 1)
    if kind in ("message/rfc822", "message/global"):
        _enter(mail, _transfer(header, body), depth)
    elif not parts and kind not in SIGNATURES:
        _leaf(mail, header, "text/plain" if kind.startswith("multipart/") else kind, parameters, body)


def _parts(body: _Piece, boundary: str) -> Iterator[_Piece]:
    """What lies between the lines of the boundary, and after the last one where the end is missing."""
    mark, begin, at = b"--" + boundary.encode("utf-8", "replace"), -1, body.begin
    for _ in range(MOST_PARTS + 1):
        at, after, last = _line_of(body, mark, at)
        if begin >= 0:
            yield _Piece(body.raw, begin, _end_of_text(body.raw, begin, at))
        begin, at = after, after
        if last:
            return


def _end_of_text(raw: bytes, begin: int, end: int) -> int:
    """Without the end of its last line, which belongs to the boundary."""
    end -= raw.endswith(b"\n", begin, end)
    return end - raw.endswith(b"\r", begin, end)


def _line_of(body: _Piece, mark: bytes, at: int) -> tuple[int, int, bool]:
    """Where the next line of the boundary begins and ends, and whether none comes after it."""
    raw, end = body.raw, body.end
    found = at if raw.startswith(mark, at, end) else raw.find(b"\n" + mark, at, end) + 1 or -1
    for _ in range(MOST_NEAR):
        if found < 0:
            break
        rest = _REST_OF_BOUNDARY.match(raw, found + len(mark), end)
        if rest is not None:
            return found, rest.end(), rest[1] is not None
        found = raw.find(b"\n" + mark, found, end) + 1 or -1
    return end, end, True


def _enter(mail: Mail, raw: bytes, depth: int) -> None:
    """A mail in the mail: who wrote what when, then its own parts."""
    header, body = _Piece(raw, 0, len(raw)).split()
    mail.holds_others = True
    shown = [f"{name.title()}: {header.shown(name)}" for name in ("from", "to", "date", "subject") if header.get(name)]
    mail.take("text/plain", "\n".join(["", "---------- Forwarded message ----------", *shown, ""]))
    _walk(mail, header, body, depth + 1)


def _leaf(mail: Mail, header: Header, kind: str, parameters: dict[str, str], body: _Piece) -> None:
    disposition, about = parameters_of(header.get("content-disposition"))
    name = decoded(about.get("filename", "") or parameters.get("name", ""))
    data = _transfer(header, body)
    if kind in ("text/plain", "text/html") and disposition != "attachment" and not name:
        mail.take(kind, in_charset(data, parameters.get("charset", "")))
    elif data:
        mail.files.append(File(name or f"attachment-{len(mail.files) + 1}{_SUFFIXES.get(kind, '')}", kind, data))


_SUFFIXES = {"text/calendar": ".ics", "image/png": ".png", "image/jpeg": ".jpg", "application/pdf": ".pdf", "text/html": ".html"}


def _transfer(header: Header, body: _Piece) -> bytes:
    match header.get("content-transfer-encoding").lower():
        case "base64":
            return _base64(body.data)
        case "quoted-printable":
            return binascii.a2b_qp(body.data)
        case _:
            return body.data


def _base64(body: bytes) -> bytes:
    try:
        return binascii.a2b_base64(body)
    except binascii.Error:  # padding that is missing, or stands in the middle
        letters = body.translate(None, _NO_BASE64)
        whole = letters[: len(letters) - len(letters) % 4]
        rest = letters[len(whole) :]
        return binascii.a2b_base64(whole + (rest + b"=" * (4 - len(rest)) if len(rest) > 1 else b""))


# --- texts


def in_charset(data: bytes, charset: str) -> str:
    """Text of bytes that claim to be in `charset`, without control characters, its lines ended by \\n."""
    return clean(_decode(data[: 4 * TEXT_CHARS], charset))


def clean(text: str) -> str:
    """Without control characters, its lines ended by \\n."""
    return _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).removeprefix("\ufeff")


def _decode(data: bytes, charset: str) -> str:
    try:
        codec = codecs.lookup(charset).name if charset and charset.isascii() else ""
    except (LookupError, ValueError):
        codec = ""
    if CHARSETS.fullmatch(codec) and codec not in ("utf-8", "ascii"):
        return data.decode(codec, "replace")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("utf-8" if codec == "utf-8" else "cp1252", "replace")


def decoded(value: str) -> str:
    """A field with its encoded words read, on one line, without control characters."""
    value = value[:LONGEST_VALUE]
    try:
        pieces = decode_header(value) if "=?" in value else [(value, None)]
    except (HeaderParseError, ValueError):
        pieces = [(value, None)]
    text = "".join(piece if isinstance(piece, str) else _decode(piece, charset or "") for piece, charset in pieces)
    return " ".join(_CONTROLS.sub("", re.sub(r"\s", " ", text)).split())


def parameters_of(value: str) -> tuple[str, dict[str, str]]:
    """The word of a field such as Content-Type in lower case, and its parameters, RFC 2231's too."""
    value = value[:LONGEST_VALUE]
    word = value.partition(";")[0].strip().lower()
    plain: dict[str, str] = {}
    pieces: dict[str, dict[int, tuple[str, bool]]] = {}
    for match in _PARAMETER.finditer(value):
        name, text = match[1].lower(), _unquoted(match[2])
        if continued := re.fullmatch(r"([^*]+)(?:\*(\d{1,2}))?(\*)?", name):
            if continued[2] is None and continued[3] is None:
                plain.setdefault(name, text)
            else:
                numbers = pieces.setdefault(continued[1], {})
                numbers.setdefault(int(continued[2] or 0), (text, continued[3] is not None))
    return word, plain | {name: _joined(numbers) for name, numbers in pieces.items()}


def _unquoted(text: str) -> str:
    if text.startswith('"'):
        return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
    return text


def _joined(numbers: dict[int, tuple[str, bool]]) -> str:
    """The pieces of one parameter, of which the first may name a charset."""
    charset, joined = "", b""
    for number in sorted(numbers):
        text, escaped = numbers[number]
        if escaped and text.count("'") >= 2 and not joined:
            charset, _, text = text.split("'", 2)
        joined += unquote_to_bytes(text) if escaped else text.encode("utf-8", "replace")
    return _decode(joined, charset)
