"""The bytes of a call: a request's body, and reading a response to its end (server-sent events, or a whole body).

Why not the SDKs' own readers: they cost a typed object per event, leave half-used generators behind, and one of them waits
for ever when the server keeps the connection open after the last event. Here the body is always read until the server ends
it; after the event that completes the answer it has a moment to do so (then the connection can be used again), and is cut.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import trio

from nanobot.providers.port import ProviderError
from nanobot.wire import Json, JsonObject

if TYPE_CHECKING:
    import httpx2

CLOSE_GRACE = 1.0  # seconds for closing one response; shielded, so it must be bounded
AFTER_LAST = 0.1  # seconds for the server to end the body after the event that completes the answer
AFTER_FINISH = 5.0  # seconds for what may follow a finish reason: the usage, the terminal event
MAX_EVENT = 16 * 2**20  # bytes of one event or of a whole body; the largest honest ones are images of a few MiB


JSON_BODY = {"content-type": "application/json"}


def encode(body: JsonObject) -> bytes:
    """A request's body. Given as bytes the SDKs do not copy it: that copy costs as much as all the rest of a call."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def count(value: Json) -> int:
    """A number of tokens, 0 for anything else."""
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return int(value) if whole and isinstance(value, (int, float)) else 0


class BodyTooLong(Exception):
    """The service sent more than any answer holds."""


@attrs.define
class EventReader:
    """Splits bytes into the data of events, whatever the chunks."""

    _rest: bytes = b""
    _data: list[bytes] = attrs.field(factory=list)

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The data of every event that is complete now. Raises: BodyTooLong."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > MAX_EVENT:
            raise BodyTooLong
        for line in map(_without_cr, lines):
            if line.startswith(b"data:"):
                self._data.append(line[5:].lstrip(b" "))
            elif not line and self._data:
                data, self._data = b"\n".join(self._data), []
                yield data


def _without_cr(line: bytes) -> bytes:
    return line.removesuffix(b"\r")


Wait = float | None
"""Seconds that the rest of the body may take from now on, None: as long as it likes."""


async def read_events(chunks: AsyncIterator[bytes], on_event: Callable[[bytes], Wait]) -> int:
    """Give each event's data to `on_event` until the body ends, or the time it allowed for the rest is over.

    Returns how many there were.

    Raises: what `on_event` raises (ValueError or ProviderError), BodyTooLong, and what reading the body raises.
    """
    reader = EventReader()
    events = 0
    failure: Exception | None = None
    with trio.CancelScope() as rest:
        # The loop is only ever left by its end or by what the read itself raises: leaving it in any other way would
        # abandon the generators under `chunks`, which Trio rightly reports.
        async for chunk in chunks:
            if failure is not None:
                continue
            try:
                for data in reader.feed(chunk):
                    events += 1
                    wait = on_event(data)
                    if wait is not None:
                        rest.deadline = min(rest.deadline, trio.current_time() + wait)
            except (ValueError, RecursionError, BodyTooLong, ProviderError) as exc:
                failure = exc
                rest.cancel()
    if failure is not None:
        raise failure
    return events


async def read_body(chunks: AsyncIterator[bytes], on_bytes: Callable[[], None]) -> bytes:
    """The whole body. Raises: BodyTooLong, and what reading raises."""
    body = bytearray()
    with trio.CancelScope() as scope:
        async for chunk in chunks:
            body += chunk
            on_bytes()
            if len(body) > MAX_EVENT:
                scope.cancel()
    if scope.cancelled_caught:
        raise BodyTooLong
    return bytes(body)


@asynccontextmanager
async def closing(response: httpx2.Response) -> AsyncIterator[None]:
    """Close the connection of a body that was not read to its end: the caller's listener has raised.

    A read that is cancelled or fails closes it by itself, one that comes to the end gives it back.
    """
    try:
        yield
    finally:
        with trio.move_on_after(CLOSE_GRACE, shield=True):
            await response.aclose()
