"""Files that come with messages: fetched into names of ours, whole and on disk before the message is delivered.

`<data>/media/<session>/<message>-<n>.<suffix>`: nothing of the sender's name but a plain suffix. A file that exists under
its name is whole, so a redelivered message does not fetch it again. What cannot be had (too large, too slow, gone, no room)
is named in the text, and the message is delivered all the same. Cancelled, it leaves no half file behind.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import attrs
import trio

from nanobot.channels.edge import guarded
from nanobot.channels.port import Arrived, Incoming
from nanobot.config.paths import made
from nanobot.errors import NanobotError
from nanobot.journal import names
from nanobot.messages import Attachment, SessionKey

FETCH_S = 60.0
"""Seconds for all files of a message: 20 MB at 3 Mbit/s."""
MOST_FILES = 10
"""Of one message, as many as the albums of chat networks hold."""
CHUNK = 256 * 1024
"""Bytes that one write to the disk collects: a hop to a thread costs as much as writing these."""
THREADS = 4
"""That write files, for all channels."""
LONGEST_NAME = 80
"""Characters of a sender's file name in the text."""
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}$")

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _NotFetched(NanobotError):
    """Why, for the text."""


@attrs.define(eq=False)
class Media:
    """See the module. One for all channels."""

    folder: Path
    _threads: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(THREADS), init=False)

    async def fetch(self, key: SessionKey, arrived: Arrived, most: int) -> tuple[tuple[Attachment, ...], str]:
        """The files of a message, each of at most `most` bytes, and its text, which names those that could not be had."""
        fetched: list[Attachment] = []
        lines: list[str] = [arrived.text] if arrived.text else []
        deadline = trio.current_time() + FETCH_S
        for index, incoming in enumerate(arrived.files):
            try:
                if index >= MOST_FILES:
                    raise _NotFetched(f"more than {MOST_FILES} files came at once")
                with trio.move_on_at(deadline) as scope:
                    fetched.append(await guarded(key.channel, partial(self._one, key, arrived, index, most)))
                if scope.cancelled_caught:
                    raise _NotFetched(f"it took more than {FETCH_S:g} seconds")
            except NanobotError as error:
                lines.append(f"[file {_printable(incoming.name)} was not fetched: {error}]")
        return tuple(fetched), "\n".join(lines)

    async def _one(self, key: SessionKey, arrived: Arrived, index: int, most: int) -> Attachment:
        """Raises: NanobotError with the reason."""
        incoming = arrived.files[index]
        if incoming.size is not None and incoming.size > most:
            raise _too_large(most)
        suffix = _SUFFIX.search(incoming.name)
        name = f"{names.encode(arrived.id or 'message')}-{index}{suffix[0].lower() if suffix else ''}"
        path = self.folder / names.encode(str(key)) / name
        try:
            size = await self._on_disk(_known_size, path)
            if size is None:
                size = await self._write(incoming, path, most)
        except OSError as error:
            raise _NotFetched(error.strerror or type(error).__name__) from error
        return Attachment(str(path), incoming.mime, incoming.name, size)

    async def _write(self, incoming: Incoming, path: Path, most: int) -> int:
        """Fetch into a name of its own, then rename. Raises: OSError, NanobotError."""
        fd, half = await self._on_disk(_half, path.parent)
        size, waiting = 0, bytearray()
        try:
            async with incoming.open() as chunks:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > most:
                        raise _too_large(most)
                    waiting += chunk
                    if len(waiting) >= CHUNK:
                        await self._on_disk(_write_all, fd, bytes(waiting))
                        waiting.clear()
            await self._on_disk(_write_all, fd, bytes(waiting))
            await self._on_disk(_settle, fd, half, path)
        finally:
            os.close(fd)
            Path(half).unlink(missing_ok=True)  # noqa: ASYNC240  # microseconds, and nothing may be awaited here
        return size

    async def _on_disk(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        return await trio.to_thread.run_sync(work, *args, limiter=self._threads)


def _too_large(most: int) -> _NotFetched:
    return _NotFetched(f"it is larger than {most / 1e6:g} MB")


def _printable(name: str) -> str:
    """A stranger's file name on one line."""
    shown = "".join(char if char.isprintable() else " " for char in name).strip()
    return shown if len(shown) <= LONGEST_NAME else shown[: LONGEST_NAME - 1] + "…"


# --- in a thread


def _known_size(path: Path) -> int | None:
    """Bytes of a file that was fetched before: it is there for good when this returns."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return None
    _sync_folder(path.parent)
    return size


def _half(folder: Path) -> tuple[int, str]:
    if not folder.exists():
        made(folder)
        _sync_folder(folder.parent)
    return tempfile.mkstemp(dir=folder, prefix=".half-")


def _write_all(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def _settle(fd: int, half: str, path: Path) -> None:
    os.fsync(fd)
    Path(half).rename(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
