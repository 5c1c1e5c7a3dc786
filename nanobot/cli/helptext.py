"""The stored help: `python -m nanobot.cli.helptext` renders the command line's help and writes it beside this module.

The entry point shows the stored text; a test compares it with the live one.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from nanobot.cli.app import build

STORED = Path(__file__).with_name("help.txt")


def live() -> str:
    """What `nanobot --help` says, rendered from the commands. Lines end without blanks, so that the file does too."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        build().help_print([])
    return "\n".join(line.rstrip() for line in text.getvalue().strip().splitlines()) + "\n"


if __name__ == "__main__":
    STORED.write_text(live(), encoding="utf-8")
