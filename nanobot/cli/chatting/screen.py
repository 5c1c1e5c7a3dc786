"""The terminal as the chat uses it: filled by prompting.py, with a prompt that stays, and by plain.py, without escape codes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

PROMPT = "you> "
Printed = Callable[[bool], None]
"""Told, in any thread, whether the text is on the terminal."""


class Screen(Protocol):
    """Every method may be called from any thread and returns at once."""

    def start(self) -> None:
        """Put the prompt on the terminal; returns when it is there. Before everything else."""
        ...

    def post(self, text: str, printed: Printed | None = None) -> None:
        """Print above the prompt, in the order of the calls; an empty text only tells. No newline at the end of `text`."""
        ...

    def tail(self, text: str) -> None:
        """Show the part of an answer that still grows; empty takes it away. Never stays on the terminal."""
        ...

    def status(self, text: str, *, busy: bool) -> None:
        """One line about what is going on."""
        ...

    def commands(self, table: Mapping[str, str]) -> None:
        """Names and help that Tab completes."""
        ...

    def offer(self, lines: Mapping[str, str]) -> None:
        """Whole lines that Tab completes at the moment, with what they are about; they replace those before."""
        ...

    def close(self) -> None:
        """Take the prompt away and end every thread of the screen's. Blocks, a second at most."""
        ...
