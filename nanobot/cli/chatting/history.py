"""The file of what was typed: it holds what people say, so nobody else may read it."""

from __future__ import annotations

import os
from pathlib import Path

PRIVATE = 0o600


def private_file(path: Path) -> bool:
    """Create it, or close it to others if it is there. False if that cannot be done."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
        try:
            os.fchmod(file, PRIVATE)
        finally:
            os.close(file)
    except OSError:
        return False
    return True
