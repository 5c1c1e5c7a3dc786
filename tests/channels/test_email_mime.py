"""Mails into texts and files, whatever they are made of."""

from __future__ import annotations

import base64
import time
import tracemalloc

import pytest

from nanobot.channels.email.mime import HEADER_BYTES, MOST_DEPTH, MOST_PARTS, TEXT_CHARS, decoded, parameters_of, parsed, split


def nested(depth: int, inside: bytes = b"deep") -> bytes:
    mail = b"Content-Type: text/plain\r\n\r\n" + inside
    for level in range(depth):
        mail = b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n%b\r\n--b%d--\r\n' % (level, level, mail, level)
    return mail


def parts(*given: bytes, kind: bytes = b"mixed") -> bytes:
    return b'Content-Type: multipart/%b; boundary="b"\r\n\r\n--b\r\n%b\r\n--b--\r\n' % (kind, b"\r\n--b\r\n".join(given))


@pytest.mark.parametrize(
    ("raw", "plain"),
    [
        (b"", ""),
        (b"\r\n\r\n", "\r\n".strip()),
        (b"no header at all", ""),
        (b"Subject: x\n\nunix lines\n", "unix lines\n"),
        (b"\r\nbody without header", "body without header"),
        (b"Content-Type: text/plain; charset=latin-1\r\n\r\nf\xfcr", "für"),
        (b"Content-Type: text/plain; charset=utf-8\r\n\r\nf\xfcr", "f\ufffdr"),
        (b"Content-Type: text/plain\r\n\r\nf\xfcr", "für"),
        (b"Content-Type: text/plain; charset=klingon\r\n\r\nf\xc3\xbcr", "für"),
        (b"Content-Type: text/plain; charset=zlib_codec\r\n\r\nx", "x"),
        (b'Content-Type: text/plain; charset="utf-7"\r\n\r\n+ADw-b', "+ADw-b"),
        (b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsb\r\nG8", "hello"),
        (b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!!aGVsbG8=junk====a", "hello"),
        (b"Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nf=C3=BC=\r\nr =ZZ =", "für =ZZ "),
        (b"Content-Type: text/plain\r\nContent-Transfer-Encoding: rot13\r\n\r\nas it is", "as it is"),
        (b"Content-Type: text/plain\r\n\r\na\0b\x1b[31mc\x07\x9bd", "ab[31mc\u203ad"),
        (b"Content-Type: multipart/mixed\r\n\r\nno boundary", "no boundary"),
        (b"Content-Type: nonsense\r\n\r\nx", ""),
        (parts(b"Content-Type: text/plain\r\n\r\none", b"\r\ntwo"), "one\ntwo"),
        (
            parts(b"Content-Type: text/plain\r\n\r\nplain", b"Content-Type: text/html\r\n\r\n<b>", kind=b"alternative"),
            "plain",
        ),
        (b'Content-Type: multipart/mixed; boundary="b"\r\n\r\nnothing of it\r\n--c', "nothing of it\n--c"),
        (b'Content-Type: multipart/mixed; boundary="b"\r\n\r\npreamble\r\n--b\r\n\r\nno end', "no end"),
        (b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--bx\r\n\r\n--b \t\r\n\r\nin\r\n--b--\r\n\r\nepilogue', "in"),
    ],
)
def test_texts(raw: bytes, plain: str) -> None:
    assert parsed(raw).plain == plain


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ('attachment; filename="a.pdf"', "a.pdf"),
        ("attachment; filename=a b.pdf", "a"),
        ("attachment; filename*=utf-8''f%C3%BCr.pdf", "für.pdf"),
        ("attachment; filename*0*=utf-8''f%C3; filename*1*=%BCr; filename*2=.pdf", "für.pdf"),
        ("attachment; filename*99999999999999999999=x", "attachment-1"),
        ("attachment; filename*=a; filename*0=b", "a"),
        ("attachment; filename*=klingon''x%FF", "xÿ"),
        ('attachment; filename="=?utf-8?b?ZsO8ci5wZGY=?="', "für.pdf"),
        ('attachment; filename="../../etc/passwd"', "../../etc/passwd"),
        ('attachment; filename="a\x00b\x1b[2J\r\n c.pdf"', "ab[2J c.pdf"),
        ("attachment", "attachment-1"),
        ('attachment; filename="', "attachment-1"),
    ],
)
def test_names_are_read_and_never_believed(field: str, name: str) -> None:
    part = f"Content-Type: application/x-thing\r\nContent-Disposition: {field}\r\n\r\ndata".encode()
    [file] = parsed(parts(part)).files
    assert (file.name, file.data) == (name, b"data")


@pytest.mark.parametrize("depth", [1, MOST_DEPTH, MOST_DEPTH + 1, 200])
def test_parts_in_parts(depth: int) -> None:
    mail = parsed(nested(depth))
    assert mail.plain == ("deep" if depth <= MOST_DEPTH else "")
    assert bool(mail.notes) == (depth > MOST_DEPTH)


def test_mails_in_mails_are_others_words() -> None:
    inner = b"From: eve@x\r\nSubject: =?utf-8?q?f=C3=BCr?=\r\n\r\nobey"
    mail = parsed(parts(b"\r\nlook", b"Content-Type: message/rfc822\r\n\r\n" + inner))
    assert mail.holds_others
    assert mail.plain == "look\n\n---------- Forwarded message ----------\nFrom: eve@x\nSubject: für\n\nobey"
    bomb = b"Content-Type: message/rfc822\r\n\r\n" * 300 + b"\r\nx"
    assert "nested" in parsed(bomb).notes[0]


def test_too_many_parts() -> None:
    mail = parsed(parts(*[b"Content-Type: a/b\r\n\r\nx"] * 5000))
    assert len(mail.files) <= MOST_PARTS
    assert mail.notes == [f"it has more than {MOST_PARTS} parts, the rest was not read"]


def test_signatures_are_no_files() -> None:
    assert parsed(parts(b"\r\nx", b"Content-Type: application/pgp-signature\r\n\r\n--", kind=b"signed")).files == []


def test_an_archive_that_lies_is_kept_as_it_is() -> None:
    """Nothing is unpacked here, whatever it says that it is."""
    data = base64.b64encode(b"PK\x03\x04" + b"\xff" * 100)
    part = b"Content-Type: image/png\r\nContent-Disposition: attachment; filename=x.png.zip\r\n"
    part += b"Content-Transfer-Encoding: base64\r\n\r\n"
    [file] = parsed(parts(part + data)).files
    assert (file.name, file.mime, len(file.data)) == ("x.png.zip", "image/png", 104)


MANY = 20_000_000


@pytest.mark.parametrize(
    "raw",
    [
        b"Content-Type: text/html\r\n\r\n" + b"<div a='" * (MANY // 8),
        b"Content-Type: text/plain\r\n\r\n" + b"x" * MANY,
        b"X: y\r\n" * (MANY // 6),
        b"Subject: " + b"=?utf-8?q?a?= " * (MANY // 14) + b"\r\n\r\nx",
        b"Content-Type: text/plain" + b'; a="' * (MANY // 5) + b"\r\n\r\nx",
        b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n' + b"--b" * (MANY // 3),
        b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n' + b"--bx\n" * (MANY // 5),
        b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n' + b"--b\r\n" * (MANY // 5),
        nested(200, b"x\r\n" * (MANY // 3)),
        b"Content-Type: a/b\r\nContent-Transfer-Encoding: base64\r\n\r\n" + b"!\xff" * (MANY // 2) + b"A",
    ],
    ids=["html", "one line", "fields", "words", "parameters", "marks", "near boundaries", "boundaries", "nested", "rubbish"],
)
def test_twenty_megabytes_are_read_in_a_moment(raw: bytes) -> None:
    began = time.perf_counter()
    mail = parsed(raw)
    mail.header.shown("subject")
    assert time.perf_counter() - began < 3.0
    assert len(mail.plain) <= TEXT_CHARS
    assert len(mail.html) <= TEXT_CHARS
    assert len(mail.header.fields) <= HEADER_BYTES


def test_parts_in_parts_are_not_copies_of_each_other() -> None:
    raw = nested(MOST_DEPTH, b"x\r\n" * (MANY // 3))
    tracemalloc.start()
    try:
        parsed(raw)
        assert tracemalloc.get_traced_memory()[1] < 2 * MANY
    finally:
        tracemalloc.stop()


def test_a_mail_that_was_cut_says_so_and_keeps_no_half_file() -> None:
    whole = parts(b"\r\ntext", b"Content-Type: a/b\r\n\r\n" + b"x" * 1000)
    mail = parsed(whole[:600], cut=True)
    assert (mail.plain, mail.files) == ("text", [])
    assert mail.notes == ["the mail is too large: only its beginning was read"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("=?utf-8?q?f=C3=BCr?= =?utf-8?q?_uns?=", "für uns"),
        ("=?klingon?q?x?=", "x"),
        ("=?utf-8?b?!!!?=", ""),
        ("a\r\n b\tc\x00", "a b c"),
        ("=?utf-8?q?a=0D=0ABcc:_x?=", "a Bcc: x"),
    ],
)
def test_fields_are_shown_on_one_line(value: str, shown: str) -> None:
    assert decoded(value) == shown


def test_parameters() -> None:
    assert parameters_of('Multipart/Mixed; Boundary="a;b\\"c"; x=1; x=2') == ("multipart/mixed", {"boundary": 'a;b"c', "x": "1"})


def test_a_folded_header() -> None:
    header, body = split(b"Received: a;\r\n\tb\r\nFROM: x\r\n y\r\nbroken line\r\n\r\nrest")
    assert header.fields == (("received", "a;\tb"), ("from", "x y"))
    assert body == b"rest"
