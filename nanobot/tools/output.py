"""How the output of a command is shown to the model: its head, its tail, and a line about what is between them. Pure."""

from __future__ import annotations

from nanobot.processes.running import Look, Running
from nanobot.tools.results import MARKER_CHARS, joined

WORDS_CHARS = 400
"""Room for how to go on with what runs on."""
SHORT_CHARS = 80
"""Characters of a command where it is only named."""


def kept_bytes(cap: int, words: int = 0) -> int:
    """Bytes to keep at each end of an output, so that it is shown in `cap` characters, with `words` beside it."""
    return max(2, cap - MARKER_CHARS - words) // 2


def shown(look: Look) -> str:
    """Ends with a line feed, unless there is nothing."""
    left_out = look.total - len(look.head) - len(look.tail)
    if left_out <= 0:
        text = (look.head + look.tail).decode("utf-8", "replace")
    else:
        head, tail = (part.decode("utf-8", "replace").strip("\ufffd") for part in (look.head, look.tail))
        text = joined(head, tail, f"{left_out:,} of {look.total:,} bytes", look.file)
    return text if not text or text.endswith("\n") else f"{text}\n"


def short(command: str) -> str:
    """A command as one line."""
    line = " ⏎ ".join(part.strip() for part in command.strip().splitlines())
    return f"`{line}`" if len(line) <= SHORT_CHARS else f"`{line[: SHORT_CHARS - 1]}…`"


def told(running: Running, look: Look) -> str:
    """The end of a background process, as a message to the session."""
    head = f"The background process {running.id}, {short(running.command.text)}, ended after {lasted(running.seconds)}."
    return f"{head}\n{shown(look)}{look.ended}"


def lasted(seconds: float) -> str:
    """`0.4 s`, `75 s`, `12 min`, `30 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 600:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 36000 else f"{seconds / 3600:.0f} h"
