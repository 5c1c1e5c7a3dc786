"""`nanobot gateway logs`: the log of this instance, from its files; with `-f` also what comes, over rotations."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from nanobot.cli.texts import plain
from nanobot.log import FILE_NAME, KEPT

SHOWN = 200
"""Lines shown first: some screens."""
LOOK_S = 0.2
MOST_READ = 4_000_000
"""Bytes looked through for the first lines, from the end: more would be slow, and the whole is in the files."""


def last(folder: Path, count: int, wanted: Callable[[str], bool]) -> list[str]:
    """The last `count` lines that are wanted, with their tracebacks, oldest first."""
    lines: list[str] = []
    for file in _files(folder):
        lines = _wanted(_tail(file), wanted) + lines
        if len(lines) >= count:
            break
    return lines[-count:] if count > 0 else []


def of_session(key: str) -> Callable[[str], bool]:
    """Lines that were written while that session was served."""
    mark = f"'session': {key!r}"
    return lambda line: mark in line


def follow(folder: Path, wanted: Callable[[str], bool]) -> Iterator[str]:
    """What is written from now on, line by line, as it comes. Never ends by itself."""
    live = folder / FILE_NAME
    at, inode = _end_of(live)
    held, keeping = "", False
    while True:
        found = _stat(live)
        before = ""
        if found is not None and (found.st_ino != inode or found.st_size < at):
            before, _ = _read_from(live.with_name(f"{FILE_NAME}.1"), at)
            at, inode = 0, found.st_ino
        text, at = _read_from(live, at)
        *lines, held = (held + before + text).split("\n")
        for line in lines:
            keeping = wanted(line) if _begins(line) else keeping
            if keeping:
                yield plain(line)
        if not text:
            time.sleep(LOOK_S)


def _files(folder: Path) -> Iterator[Path]:
    """The newest first."""
    names = [FILE_NAME, *(f"{FILE_NAME}.{number}" for number in range(1, KEPT))]
    return (folder / name for name in names if (folder / name).exists())


def _tail(file: Path) -> list[str]:
    with file.open("rb") as data:
        size = os.fstat(data.fileno()).st_size
        data.seek(max(0, size - MOST_READ))
        lines = data.read().decode("utf-8", "replace").split("\n")
    return lines[1:-1] if size > MOST_READ else lines[:-1]


def _wanted(lines: list[str], wanted: Callable[[str], bool]) -> list[str]:
    """Entries that are wanted, whole: lines of a traceback belong to the line before them."""
    found, keeping = [], False
    for line in lines:
        keeping = wanted(line) if _begins(line) else keeping
        if keeping:
            found.append(plain(line))
    return found


def _begins(line: str) -> bool:
    """Whether it is the first line of an entry: those begin with a date."""
    return line[:4].isdigit() and line[4:5] == "-"


def _stat(file: Path) -> os.stat_result | None:
    try:
        return file.stat()
    except FileNotFoundError:
        return None


def _end_of(file: Path) -> tuple[int, int]:
    found = _stat(file)
    return (found.st_size, found.st_ino) if found is not None else (0, 0)


def _read_from(file: Path, at: int) -> tuple[str, int]:
    try:
        with file.open("rb") as data:
            data.seek(at)
            read = data.read()
    except FileNotFoundError:
        return "", at
    return read.decode("utf-8", "replace"), at + len(read)
