"""Small files that are replaced as a whole: never half-written, gone or another's, whatever happens in between.

The text goes to a temporary file beside it, is synced, takes the name, and the folder is synced. Blocks.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from nanobot.config.paths import made


def replace(path: Path, text: str) -> None:
    """Give `path` this content in one step, mode 0600. Raises: OSError, and the old file is as it was."""
    folder = made(path.parent)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
