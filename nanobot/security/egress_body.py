"""What arrives as a body, unpacked piece by piece under a cap: pure.

A few kilobytes can unpack to gigabytes, so no call gives more than `PIECE` bytes and the caller counts before it asks for the
next. Packed bytes count as well: a stream may go on for ever and unpack to nothing.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

PIECE = 64 * 1024
"""Bytes that are unpacked in one go."""
ACCEPTED = "gzip, deflate"


class Packing(Exception):
    """The body is not packed in the way it says, or in one that is not read. `str()` says what is wrong with it."""


class Unpacker:
    """For one body with that `Content-Encoding`."""

    def __init__(self, encoding: str) -> None:
        """Raises: Packing."""
        self._kind = encoding.strip().lower()
        if self._kind not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise Packing(f"is packed as {self._kind[:40]!r}, which was not asked for")
        self._plain = self._kind in ("", "identity")
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
        self._begun = False

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Raises: Packing."""
        if self._plain:
            yield data
            return
        if data and not self._begun and self._kind == "deflate" and not _has_zlib_head(data):
            self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._begun = self._begun or bool(data)
        try:
            yield from self._inflated(data)
        except zlib.error as error:
            raise Packing("is damaged: it does not unpack") from error

    def end(self) -> None:
        """No more comes. Raises: Packing where some is missing."""
        if self._begun and not self._inflate.eof:
            raise Packing("ended in the middle")

    def _inflated(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._inflate.eof:  # a further member, as the format allows
                self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
            yield self._inflate.decompress(data, PIECE)
            while self._inflate.unconsumed_tail:
                yield self._inflate.decompress(self._inflate.unconsumed_tail, PIECE)
            data = self._inflate.unused_data


def _has_zlib_head(data: bytes) -> bool:
    """Some servers send bare deflate under that name."""
    return data[0] & 0x0F == 8 and (len(data) < 2 or int.from_bytes(data[:2], "big") % 31 == 0)
