"""The `requirements.txt` of a skill: names of packages, with versions and hashes, and nothing else.

Who writes a skill may be a stranger, so that a line may not name a file, an address, another list or an option of pip: they
would run what no index ever held. Names that pip takes for files (`x.whl`) are refused like them. What is handed to pip is
written anew from the lines that were understood.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

import attrs

from nanobot.tools.plain import hidden, visible

MOST_BYTES = 64 * 1024
MOST_PACKAGES = 100
MOST_LINE = 400
"""Characters of a requirement without its hashes."""

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_VERSION = r"(?:===|==|~=|!=|<=|>=|<|>)\s*[A-Za-z0-9.*+!_-]+"
_REQUIREMENT = re.compile(
    rf"(?P<name>{_NAME})\s*(?:\[\s*{_NAME}(?:\s*,\s*{_NAME})*\s*\])?\s*(?:{_VERSION}(?:\s*,\s*{_VERSION})*)?\s*"
    r"(?:;[\w\s.'\"<>=!~(),-]+)?"
)
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")
_ARCHIVE = re.compile(r".*\.(?:whl|zip|tar|tgz|tbz|txz|tlz|gz|bz2|xz|lz|lzma|egg)", re.IGNORECASE)
_COMMENT = re.compile(r"(?:^|\s)#.*$")


class BadRequirements(Exception):
    """They are not installed; the text says why, for people."""


@attrs.frozen
class Requirements:
    """What a skill needs of Python packages."""

    lines: tuple[str, ...]
    """For pip, one each."""

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()

    @property
    def pinned(self) -> bool:
        """Each with its version and hashes, so that what is installed is what was looked at."""
        return all("==" in line and "--hash=" in line for line in self.lines)


def parse(data: bytes) -> Requirements:
    """Raises: BadRequirements."""
    if len(data) > MOST_BYTES:
        raise BadRequirements(f"requirements.txt is longer than {MOST_BYTES // 1024} KiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRequirements("requirements.txt is no UTF-8 text") from error
    lines = tuple(dict.fromkeys(_requirements(text)))
    if len(lines) > MOST_PACKAGES:
        raise BadRequirements(f"requirements.txt names more than {MOST_PACKAGES} packages")
    return Requirements(lines)


def _requirements(text: str) -> Iterator[str]:
    joined = re.sub(r"\\\r?\n", " ", text)
    for number, line in enumerate(joined.splitlines(), 1):
        if stripped := _COMMENT.sub("", line).strip():
            yield _checked(stripped, number)


def _checked(line: str, number: int) -> str:
    words = line.split()
    hashes = [word for word in words if word.startswith("--hash=")]
    rest = " ".join(word for word in words if not word.startswith("--hash="))
    found = _REQUIREMENT.fullmatch(rest) if len(rest) <= MOST_LINE else None
    if found is None or _ARCHIVE.fullmatch(found["name"]) or not all(map(_HASH.fullmatch, hashes)):
        shown = visible(line[:80])
        raise BadRequirements(f"line {number} of requirements.txt {_reason(rest)}: {shown}")
    return " ".join([rest, *hashes])


def _reason(rest: str) -> str:
    """What is wrong with a line that is not taken."""
    if rest.startswith("-"):
        return "is an option of pip, and only names of packages are taken"
    if "://" in rest or "@" in rest:
        return "names an address, and only names of packages are taken"
    if "/" in rest or "\\" in rest or rest.startswith((".", "~")) or _ARCHIVE.fullmatch(rest):
        return "names a file, and only names of packages are taken"
    if hidden(rest):
        return "holds signs that do not show"
    return "is no name of a package with versions"
