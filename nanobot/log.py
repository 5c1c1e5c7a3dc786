"""The log: loguru, set up once, with what other libraries write to the standard `logging` taken in.

`opened` puts a sink on `<logs>/nanobot.log` (0600, rotated) and, if asked, one on stderr, and takes both away at its end.
Every line, tracebacks included, is cleaned of secrets on its way out (`redaction.clean`). Tracebacks show no values. Writing
a log line never fails its caller: what the disk would not take is counted, and told with the next line it takes.

Messages are constant and values are arguments: `logger.info("session {} opened", key)`.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loguru import logger

from nanobot.config.paths import made
from nanobot.config.redaction import clean, redact

__all__ = ["logger", "opened", "redact"]

FILE_NAME = "nanobot.log"
ROTATE_AT = 10_000_000
"""Bytes: an editor still opens it."""
KEPT = 5
"""Files, the live one included: 50 MB at most."""
_FORMAT = "{time:YYYY-MM-DD HH:mm:ss.SSS ZZ} {level: <7} {name}:{line} {extra} {message}"
_TALKATIVE = ("httpx", "httpx2", "httpcore", "httpcore2", "openai", "anthropic", "markdown_it")
"""Libraries whose INFO is a line per request: warnings only."""


@contextmanager
def opened(folder: Path, *, stderr: bool = False, level: str = "INFO") -> Iterator[None]:
    """Log to `folder`, created if missing, until the end of the block. One at a time per process. Raises: OSError."""
    file = LogFile(made(folder) / FILE_NAME)
    logger.remove()
    sinks = [logger.add(file.write, level=level, format=_FORMAT, diagnose=False)]
    if stderr:
        sinks.append(logger.add(_to_stderr, level=level, format=_FORMAT, diagnose=False))
    standard = logging.getLogger()
    before, bridge = standard.level, _Bridge()
    standard.addHandler(bridge)
    standard.setLevel(level)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        standard.removeHandler(bridge)
        standard.setLevel(before)
        for sink in sinks:
            logger.remove(sink)


class _Bridge(logging.Handler):
    """Hands a standard record on to loguru, under the name and line it came from."""

    def emit(self, record: logging.LogRecord) -> None:
        known = record.levelname in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
        source = logger.patch(lambda entry: entry.update({"name": record.name, "line": record.lineno}))
        source = source.opt(exception=record.exc_info)
        source.log(record.levelname if known else record.levelno, "{}", record.getMessage())


class LogFile:
    """Appends whole lines to a file that turns over by size. Opens it for each line (some 20 µs), so that several processes
    can share it and turning it over needs no agreement among them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lost = 0

    def write(self, line: str) -> None:
        """Never raises OSError: what cannot be written is counted."""
        told = f"({self._lost} lines could not be written here)\n" if self._lost else ""
        try:
            self._append((told + clean(line)).encode("utf-8", "backslashreplace"))
        except OSError:
            self._lost += 1
        else:
            self._lost = 0

    def _append(self, data: bytes) -> None:
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(file, data)
            full = os.fstat(file).st_size >= ROTATE_AT
        finally:
            os.close(file)
        if full:
            self._turn_over()

    def _turn_over(self) -> None:
        for number in range(KEPT - 1, 0, -1):
            older = self._path.with_name(f"{FILE_NAME}.{number}")
            newer = self._path.with_name(f"{FILE_NAME}.{number - 1}") if number > 1 else self._path
            if newer.exists():
                newer.replace(older)


def _to_stderr(line: str) -> None:
    sys.stderr.write(clean(line))
