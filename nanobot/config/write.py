"""Writing the configuration: only what differs from the defaults, and never a half-written file.

The text goes to a temporary file beside it, is synced, takes the name, and the folder is synced: after a crash the file is
the old one or the new one. It is readable by its owner only, whatever it holds.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from nanobot.config.codec import unstructure
from nanobot.config.paths import made
from nanobot.config.schema import CONFIG_VERSION, Config
from nanobot.config.text import render


def write(config: Config, path: Path) -> None:
    """Put the configuration at `path`, replacing what is there, mode 0600. Raises: OSError, and the old file is as it was."""
    tree = {"configVersion": CONFIG_VERSION, **unstructure(config)}
    replace(path, render(tree, path))


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
