"""Writing the configuration: only what differs from the defaults, and never a half-written file.

After a crash the file is the old one or the new one (durable.py). It is readable by its owner only, whatever it holds.
"""

from __future__ import annotations

from pathlib import Path

from nanobot.config.codec import unstructure
from nanobot.config.durable import replace
from nanobot.config.schema import CONFIG_VERSION, Config
from nanobot.config.text import render


def write(config: Config, path: Path) -> None:
    """Put the configuration at `path`, replacing what is there, mode 0600. Raises: OSError, and the old file is as it was."""
    tree = {"configVersion": CONFIG_VERSION, **unstructure(config)}
    replace(path, render(tree, path))
