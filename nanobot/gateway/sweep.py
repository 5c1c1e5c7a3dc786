"""Keeps stores within their bounds (`retention.*`). Conversations are never swept: they go by command only."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from loguru import logger

from nanobot.config.paths import Places
from nanobot.config.schema import RetentionConfig


def sweep_results(folder: Path, bounds: RetentionConfig, now: float) -> int:
    """Remove full tool results that are too old, then the oldest until the rest fits; returns how many. Blocks."""
    return _sweep(folder, bounds.tool_results_days, bounds.tool_results_mb, now)


def sweep_media(folder: Path, bounds: RetentionConfig, now: float) -> int:
    """The same for files that came with messages."""
    return _sweep(folder, bounds.media_days, bounds.media_mb, now)


def sweep_all(places: Places, bounds: RetentionConfig, now: float) -> int:
    return sweep_results(places.results, bounds, now) + sweep_media(places.media, bounds, now)


def _sweep(folder: Path, days: float, megabytes: float, now: float) -> int:
    try:
        left = sorted(_files(folder), reverse=True)
    except OSError as exc:
        logger.warning("{} cannot be swept: {}", folder, exc.strerror)
        return 0
    room = megabytes * 1e6
    oldest = now - days * 86400
    removed = 0
    for at, size, file in left:
        room -= size
        if at < oldest or room < 0:
            with suppress(OSError):  # gone already, or not ours to remove: the next sweep looks again
                file.unlink()
                removed += 1
    return removed


def _files(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """Time of change, size in bytes and path of every file of every session."""
    for file in folder.glob("*/*"):
        with suppress(OSError):
            found = file.lstat()
            if stat.S_ISREG(found.st_mode):
                yield found.st_mtime, found.st_size, file
