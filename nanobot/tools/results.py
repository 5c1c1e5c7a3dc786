"""How a long result is shown: its head and its tail, and a line between them that says where all of it can be read.

The whole text goes to a file of ours (mode 0600, a name that cannot be guessed) in the call's folder for results, which
`read_file` may read. Retention sweeps that folder.
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

import attrs
import trio
from loguru import logger

from nanobot.errors import ToolError
from nanobot.tools.port import Result, ToolTurn

MARKER_CHARS = 400
"""Room for the line between head and tail."""


def new_file(turn: ToolTurn, tool: str, suffix: str = ".txt", *, tainted: bool = False) -> Path:
    """A name for a full result; the folder is made (0700). What is tainted is noted as such, for who reads it later.

    Blocks. Raises: OSError, and ToolError where it cannot be noted.
    """
    turn.results.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    turn.results.mkdir(mode=0o700, exist_ok=True)
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", tool)[:40]
    file = turn.results / f"{safe}-{secrets.token_hex(8)}{suffix}"
    if tainted and turn.ledger is not None:
        with turn.ledger.writing(file, tainted=True, whole=True):
            pass
    return file


async def capped(result: Result, cap: int, turn: ToolTurn, tool: str) -> Result:
    """`result` with at most `cap` characters of text, the whole of it kept in a file."""
    if len(result.text) <= cap:
        return result
    try:
        file = await trio.to_thread.run_sync(_keep, result, turn, tool)
    except (OSError, ToolError) as error:
        logger.error("the full result of {} cannot be kept: {}", tool, error)
        file = None
    half = max(0, cap - MARKER_CHARS) // 2
    left_out = f"{len(result.text) - 2 * half:,} of {len(result.text):,} characters"
    text = joined(result.text[:half], result.text[-half:] if half else "", left_out, file)
    return attrs.evolve(result, text=text, full=None if file is None else str(file))


def joined(head: str, tail: str, left_out: str, file: Path | None) -> str:
    """`left_out` with its unit: `1,200 of 5,000 characters`."""
    where = f'read it with read_file(path="{file}")' if file else "it could not be kept in a file"
    return f"{head}\n[… {left_out} left out here; the whole text: {where} …]\n{tail}"


def _keep(result: Result, turn: ToolTurn, tool: str) -> Path:
    file = new_file(turn, tool, tainted=result.tainted)
    write_private(file, result.text.encode("utf-8", "replace"))
    return file


def write_private(file: Path, data: bytes) -> None:
    """A new file with mode 0600, nothing left where it fails. Raises: OSError."""
    fd = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as out:
            out.write(data)
    except OSError:
        file.unlink(missing_ok=True)
        raise
