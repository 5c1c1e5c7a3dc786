"""The three standard streams as a chat uses them: what they are, whole writes, and the terminal put back."""

from __future__ import annotations

import os
import re
import sys
import termios
from collections.abc import Mapping

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def is_terminal(descriptor: int) -> bool:
    return os.isatty(descriptor)


def colours(environ: Mapping[str, str]) -> bool:
    """Whether escape codes may be written to a terminal."""
    return not environ.get("NO_COLOR") and environ.get("TERM", "dumb") != "dumb"


def printable(text: str) -> str:
    """What others wrote, without characters that would steer the terminal."""
    return _CONTROL.sub("", text)


def write_all(descriptor: int, text: str) -> None:
    """Blocks until every byte is written. Raises: OSError; BrokenPipeError where nobody reads any more."""
    left = memoryview(text.encode("utf-8", "backslashreplace"))
    while left:
        left = left[os.write(descriptor, left) :]


def read_stdin() -> str:
    """All of standard input, empty if it is closed."""
    return "" if sys.stdin is None else sys.stdin.buffer.read().decode("utf-8", "replace")


class Saved:
    """How the terminal was when this was made."""

    def __init__(self) -> None:
        self._modes = termios.tcgetattr(0) if is_terminal(0) else None

    def restore(self) -> None:
        """Raises: termios.error if the terminal is gone."""
        if self._modes is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, self._modes)
