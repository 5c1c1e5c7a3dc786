"""Folder names for session keys: lower-case, reversible, one per key also where the file system ignores case.

`a-z 0-9 -` stand for themselves, `+` for the colon, and `=xx` for any other byte of the UTF-8 form, so that
`telegram:default:42` reads `telegram+default+42`. A name that would be too long keeps its beginning and ends in a hash:
such a name has no way back, and the key in the header of the journal says whose it is.
"""

from __future__ import annotations

import hashlib
import re

LONGEST = 120
"""Bytes. File systems allow 255; encrypting ones (eCryptfs) only 143."""
_HASH_DIGITS = 40
_HASH_MARK = "~"
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-")
_NAME = re.compile(r"(?:[a-z0-9+-]|=[0-9a-f]{2})+")


def encode(key: str) -> str:
    """The folder name of `key`, which may hold any character, lone surrogates too.

    Raises: ValueError for an empty key.
    """
    if not key:
        raise ValueError("a session key cannot be empty")
    raw = key.encode("utf-8", "surrogatepass")
    name = "".join(_symbol(byte) for byte in raw)
    if len(name) <= LONGEST:
        return name
    digest = hashlib.sha256(raw).hexdigest()[:_HASH_DIGITS]
    return name[: LONGEST - _HASH_DIGITS - 1] + _HASH_MARK + digest


def decode(name: str) -> str | None:
    """The key of a folder name; None for a hashed name and for one that `encode` does not make."""
    if not _NAME.fullmatch(name):
        return None
    raw = re.sub(rb"=(..)", lambda hexed: bytes.fromhex(hexed[1].decode()), name.replace("+", "=3a").encode())
    try:
        key = raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return None
    return key if encode(key) == name else None


def is_hashed(name: str) -> bool:
    """Whether the key can be learned from the journal only."""
    return _HASH_MARK in name


def _symbol(byte: int) -> str:
    if byte in _PLAIN:
        return chr(byte)
    return "+" if byte == ord(":") else f"={byte:02x}"
