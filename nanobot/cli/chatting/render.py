"""Text for the terminal: Markdown as rich draws it, or as it is. rich is imported with this module, so only where it is used."""

from __future__ import annotations

import io
import shutil

from rich.console import Console
from rich.markdown import Markdown

from nanobot.cli.chatting.stdio import printable

WIDEST = 110
"""Columns: longer lines of prose are hard to read."""


def markdown(text: str) -> str:
    """Escape codes and all, for a terminal of today's width."""
    columns = shutil.get_terminal_size().columns
    sheet = io.StringIO()
    console = Console(file=sheet, force_terminal=True, width=min(columns, WIDEST), color_system="standard", legacy_windows=False)
    console.print(Markdown(printable(text)))
    return "\n".join(line.rstrip() for line in sheet.getvalue().rstrip().split("\n"))
