"""The three standard streams as a chat uses them: what they are, whole writes, and the terminal put back."""

from __future__ import annotations

import os
import re
import select
import sys
import termios
from collections.abc import Mapping

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def claim() -> None:
    """Take the numbers of streams that the caller closed: else the next file that is opened, a journal perhaps, gets the
    number and what is written there. Writing to a claimed one fails, as it should."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)  # the lowest number that is free, and those below are taken
            setattr(sys, name, open(os.devnull, "r" if number == 0 else "w", encoding="utf-8"))  # noqa: SIM115


def is_terminal(descriptor: int) -> bool:
    return os.isatty(descriptor)


def colours(environ: Mapping[str, str]) -> bool:
    """Whether escape codes may be written to a terminal."""
    return not environ.get("NO_COLOR") and environ.get("TERM", "dumb") != "dumb"


def printable(text: str) -> str:
    """What others wrote, without characters that would steer the terminal."""
    return _CONTROL.sub("", text)


def write_all(descriptor: int, text: str) -> None:
    """Blocks until every byte is written, also where somebody made the descriptor non-blocking.

    Raises: OSError; BrokenPipeError where nobody reads any more.
    """
    left = memoryview(text.encode("utf-8", "backslashreplace"))
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:
            select.select([], [descriptor], [])


def read_stdin() -> str:
    """All of standard input, empty if it is closed."""
    return "" if sys.stdin is None else sys.stdin.buffer.read().decode("utf-8", "replace")


class Saved:
    """How the terminal was when this was made."""

    def __init__(self) -> None:
        self._modes = termios.tcgetattr(0) if is_terminal(0) else None

    def restore(self) -> None:
        """Never waits for output that a halted terminal (Ctrl-S) holds back, and sets nothing that is as it was: in the
        background that would stop the process."""
        try:
            if self._modes is not None and termios.tcgetattr(0) != self._modes:
                termios.tcsetattr(0, termios.TCSANOW, self._modes)
        except termios.error:
            pass  # the terminal is gone
