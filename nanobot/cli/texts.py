"""Texts of others and times, as a terminal may show them. Imports next to nothing."""

from __future__ import annotations

import re
from datetime import datetime

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def when(at: float) -> str:
    """Local time to the minute."""
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M")


def plain(text: str) -> str:
    """The text without what a terminal obeys or an encoder refuses."""
    visible = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
    return visible.encode("utf-8", "backslashreplace").decode()
