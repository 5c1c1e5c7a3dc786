"""Lines of JSON from a program's output, with bounds. Pure.

A line that is too long, or holds too much, is not kept: its end is waited for, and who asked is found by the `id` near its
beginning or end, where every implementation puts it, so that this call alone fails. More than `DISCARD_BYTES` of it is no answer
but a flood.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import attrs

from nanobot.mcp.line import MESSAGE_BYTES, MESSAGE_NODES

DISCARD_BYTES = 256 * 1024 * 1024
"""Of a line that has no end."""
EDGE = 512
"""Bytes at each end of a line in which its id is looked for."""
_AT_START = re.compile(rb'\s*\{\s*(?:"jsonrpc"\s*:\s*"2.0"\s*,\s*)?"id"\s*:\s*(?P<id>\d{1,18})\s*[,}]')
_AT_END = re.compile(rb'"id"\s*:\s*(?P<id>\d{1,18})\s*(?:,\s*"jsonrpc"\s*:\s*"2.0"\s*)?\}\s*\Z')


class Flood(ValueError):
    """A line without an end."""


@attrs.frozen
class TooLong:
    """A line that was too long or held too much. `id` is that of the request it answers, None where that cannot be seen."""

    id: int | None


@attrs.define
class Lines:
    """Give it what comes; take what is whole."""

    most: int = MESSAGE_BYTES
    discard: int = DISCARD_BYTES
    _parts: list[bytes] = attrs.field(factory=list)
    _size: int = 0
    _long: bool = False
    _edge: bytes = b""
    """The last bytes of a line that is not kept."""

    def feed(self, chunk: bytes) -> Iterator[bytes | TooLong]:
        """Raises: Flood."""
        *whole, rest = chunk.split(b"\n")
        for piece in whole:
            self._take(piece)
            yield self._ended()
        self._take(rest)

    def _take(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self.discard:
            raise Flood(f"it sent a line of more than {self.discard // 2**20} MiB")
        if self._size <= self.most:
            self._parts.append(piece)
            return
        if self._long:
            self._edge = (self._edge + piece[-EDGE:])[-EDGE:]
            return
        whole = b"".join((*self._parts, piece))
        self._long, self._parts, self._edge = True, [whole[:EDGE]], whole[-EDGE:]

    def _ended(self) -> bytes | TooLong:
        line = b"".join(self._parts)
        long, edge = self._long, self._edge
        self._parts, self._size, self._long, self._edge = [], 0, False, b""
        if not long and line.count(b"{") + line.count(b"[") <= MESSAGE_NODES:
            return line
        found = _AT_START.match(line) or _AT_END.search(edge or line[-EDGE:])
        return TooLong(int(found["id"]) if found else None)
