"""A message of ours as a mail: text/plain, with its files. Pure, and the same bytes whenever it is made again."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence
from email.header import Header as Encoded
from email.utils import formatdate
from urllib.parse import quote

import attrs

from nanobot.channels.email.mime import File

LONGEST_SUBJECT = 150
"""Characters: a line of a header has 998 bytes, of which an encoded sign may take eleven."""
SUBJECT = "A message from your assistant"
"""Of what is no answer."""
_MIME = re.compile(r"[a-z0-9][a-z0-9.+_-]{0,60}/[a-z0-9][a-z0-9.+_-]{0,80}")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@attrs.frozen
class Letter:
    """What is to be sent. All Message-IDs without brackets."""

    id: str
    sender: str
    to: str
    at: float
    """Seconds since the epoch."""
    subject: str
    text: str
    answers: str = ""
    """Message-ID of what it answers."""
    references: Sequence[str] = ()
    files: Sequence[File] = ()


def subject_of(earlier: str, prefix: str) -> str:
    """Of an answer."""
    subject = _CONTROLS.sub(" ", earlier).strip() or SUBJECT
    return subject if not prefix or subject.lower().startswith("re:") else f"{prefix.rstrip()} {subject}"


def composed(letter: Letter) -> bytes:
    """The mail, its lines ended by CRLF and of at most 998 bytes."""
    fields = [
        f"From: <{letter.sender}>",
        f"To: <{letter.to}>",
        f"Subject: {_subject(letter.subject)}",
        f"Date: {formatdate(letter.at)}",
        f"Message-ID: <{letter.id}>",
        f"Auto-Submitted: {'auto-replied' if letter.answers else 'auto-generated'}",
        "X-Auto-Response-Suppress: All",
        "MIME-Version: 1.0",
    ]
    if letter.answers:
        fields.append(f"In-Reply-To: <{letter.answers}>")
    if references := list(dict.fromkeys((*letter.references, *([letter.answers] if letter.answers else [])))):
        fields.append("References: " + "\r\n ".join(f"<{name}>" for name in references))
    return "\r\n".join([*fields, *_body(letter)]).encode("ascii")


def _subject(text: str) -> str:
    clean = _CONTROLS.sub(" ", text)[:LONGEST_SUBJECT].strip()
    return Encoded(clean, "us-ascii" if clean.isascii() else "utf-8", header_name="Subject").encode(linesep="\r\n")


def _body(letter: Letter) -> Iterable[str]:
    if not letter.files:
        return _text(letter.text)
    mark = f"=_{hashlib.sha256(letter.id.encode()).hexdigest()[:32]}"
    lines = [f'Content-Type: multipart/mixed; boundary="{mark}"', "", f"--{mark}", *_text(letter.text)]
    for file in letter.files:
        lines += [f"--{mark}", *_file(file)]
    return [*lines, f"--{mark}--", ""]


def _text(text: str) -> list[str]:
    data = text.encode("utf-8", "replace").replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\0", b"")
    fields = ["Content-Type: text/plain; charset=utf-8"]
    if sum(byte > 0x7E for byte in data) * 4 > len(data):  # where most signs would be escaped, base64 is shorter
        return [*fields, "Content-Transfer-Encoding: base64", "", *_base64(data.replace(b"\n", b"\r\n"))]
    body = binascii.b2a_qp(data, istext=True).replace(b"\n", b"\r\n").decode("ascii")
    return [*fields, "Content-Transfer-Encoding: quoted-printable", "", body, ""]


def _file(file: File) -> list[str]:
    kind = file.mime.lower() if _MIME.fullmatch(file.mime.lower()) else "application/octet-stream"
    if kind.startswith(("multipart/", "message/")):
        kind = "application/octet-stream"
    name = _CONTROLS.sub("", file.name.rpartition("/")[2])[-100:] or "file"
    known = re.fullmatch(r"[A-Za-z0-9._ -]+", name)
    parameter = f'filename="{name}"' if known else f"filename*=utf-8''{quote(name, safe='')}"
    return [
        f"Content-Type: {kind}",
        "Content-Transfer-Encoding: base64",
        f"Content-Disposition: attachment;\r\n {parameter}",
        "",
        *_base64(file.data),
    ]


def _base64(data: bytes) -> list[str]:
    return [base64.encodebytes(data).decode("ascii").replace("\n", "\r\n")]
