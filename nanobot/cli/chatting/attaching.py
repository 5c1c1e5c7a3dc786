"""Files that the user attaches: copied under a name of ours, so that the conversation keeps what it was shown."""

from __future__ import annotations

import mimetypes
import os
import shutil
from pathlib import Path

from nanobot.config.paths import made
from nanobot.errors import NanobotError
from nanobot.messages import Attachment

LARGEST = 50_000_000
"""Bytes. What is larger is better named in the message than copied."""


class NotAttached(NanobotError):
    """A file could not be taken."""


def attach(file: Path, folder: Path) -> Attachment:
    """Copy `file` into `folder`. Blocks. Raises: NotAttached."""
    name = file.name
    mine = made(folder) / f"{os.urandom(6).hex()}{file.suffix[:16]}"
    try:
        size = file.stat().st_size
        if size > LARGEST:
            raise NotAttached(f"{name} has {size:,} bytes; at most {LARGEST:,} can be attached")
        shutil.copyfile(file, mine)
        mine.chmod(0o600)
    except OSError as exc:
        raise NotAttached(f"{name} cannot be attached: {exc.strerror}") from exc
    mime = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Attachment(str(mine), mime, name, size)
