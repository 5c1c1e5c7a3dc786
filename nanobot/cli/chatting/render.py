"""Text for the terminal: Markdown as rich draws it, or as it is. rich is imported with this module, so only where it is used."""

from __future__ import annotations

import io
import shutil

from rich.console import Console
from rich.markdown import Markdown

from nanobot.cli.chatting.stdio import printable

WIDEST = 110
"""Columns: longer lines of prose are hard to read."""
LONGEST = 20_000
"""Characters. Drawing code takes up to 45 ms a thousand, and nothing else happens meanwhile."""


def markdown(text: str) -> str:
    """Escape codes and all, for a terminal of today's width. What is longer than `LONGEST` stays as it is."""
    if len(text) > LONGEST:
        return printable(text)
    columns = shutil.get_terminal_size().columns
    sheet = io.StringIO()
    console = Console(file=sheet, force_terminal=True, width=min(columns, WIDEST), color_system="standard", legacy_windows=False)
    console.print(_document(text))
    drawn = "\n".join(line.rstrip() for line in sheet.getvalue().rstrip().split("\n"))
    return drawn or printable(text)  # rich draws nothing of what is nested too deep


def _document(text: str) -> Markdown:
    """Parsed, and then cleaned once more: the parser decodes `%1b` in the text of a link."""
    document = Markdown(printable(text))
    for token in document.parsed:
        for piece in token.children or ():
            piece.content = printable(piece.content)
    return document
