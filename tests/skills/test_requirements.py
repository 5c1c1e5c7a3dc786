"""A requirements.txt may name packages, and nothing that pip would fetch from elsewhere or obey."""

from __future__ import annotations

import time

import pytest

from nanobot.skills.requirements import MOST_BYTES, BadRequirements, parse

MARKED = 'tomli>=2 ; python_version < "3.11" and sys_platform != "win32"'
HASH = "--hash=sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("requests", ["requests"]),
        ("# all\n\nrequests==2.32.3  # why\nPyYAML>=6,<7\r\n", ["requests==2.32.3", "PyYAML>=6,<7"]),
        ("uvicorn[standard, x]~=0.30", ["uvicorn[standard, x]~=0.30"]),
        (
            'tomli>=2 ; python_version < "3.11" and sys_platform != "win32"',
            ['tomli>=2 ; python_version < "3.11" and sys_platform != "win32"'],
        ),
        (f"a==1 \\\n    {HASH} \\\n    {HASH[:-1]}1", [f"a==1 {HASH} {HASH[:-1]}1"]),
        ("a\na", ["a"]),
        ("zope.interface==6.*", ["zope.interface==6.*"]),
        ("", []),
    ],
)
def test_what_is_taken(text: str, lines: list[str]) -> None:
    assert list(parse(text.encode()).lines) == lines


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("-r other.txt", "option of pip"),
        ("--index-url https://example.org/simple", "option of pip"),
        ("-e .", "option of pip"),
        ("--find-links .", "option of pip"),
        ("a --config-settings=x", "no name of a package"),
        ("git+https://example.org/a.git", "names an address"),
        ("https://example.org/a.whl", "names an address"),
        ("a @ https://example.org/a.whl", "names an address"),
        ("a@file:///tmp/a.whl", "names an address"),
        ("./a", "names a file"),
        ("../a", "names a file"),
        ("/tmp/a", "names a file"),
        ("~/a", "names a file"),
        ("a\\b", "names a file"),
        ("a.whl", "names a file"),
        ("evil.tar.gz", "names a file"),
        ("Evil.ZIP", "names a file"),
        ("${HOME}/a", "names a file"),
        ("$EVIL", "no name of a package"),
        ("a; os.system('x')#", "no name of a package"),
        ("a==1 --hash=md5:0", "no name of a package"),
        ("a\u202e", "signs that do not show"),
        ("a b", "no name of a package"),
        ("x" * 500, "no name of a package"),
    ],
)
def test_what_is_refused(line: str, reason: str) -> None:
    with pytest.raises(BadRequirements, match=f"line 2 of requirements.txt .*{reason}"):
        parse(f"good\n{line}\n".encode())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"a\n" * MOST_BYTES, "longer than 64 KiB"),
        (b"\xff\xfe", "no UTF-8"),
        ("\n".join(f"a{n}" for n in range(101)).encode(), "more than 100"),
    ],
)
def test_what_is_too_much(data: bytes, reason: str) -> None:
    with pytest.raises(BadRequirements, match=reason):
        parse(data)


def test_hostile_lines_cost_no_time() -> None:
    before = time.perf_counter()
    for line in ("a" * 399 + "!", "a[" + "b," * 190, "a" + ">=1," * 90 + "!", "a;" + " (" * 190 + "#", ("a" * 390 + "!\n") * 160):
        with pytest.raises(BadRequirements):
            parse(line.encode())
    assert time.perf_counter() - before < 1


def test_what_is_pinned() -> None:
    assert parse(f"a==1 {HASH}".encode()).pinned
    assert not parse(f"a==1 {HASH}\nb==1".encode()).pinned
    assert parse(b"a\nb").fingerprint != parse(b"a").fingerprint == parse(b"a # the same").fingerprint
