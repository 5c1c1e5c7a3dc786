"""What a chat was asked for on the command line, checked as far as that needs no configuration. Pure, but for looking at files.

How a chat runs follows from it and from what stdin and stdout are:

    a message (`-m`)                 one-shot: one answer on stdout, then the end
    stdin is no terminal             one-shot with the whole of stdin as the message
    stdin and stdout are terminals   interactive
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from nanobot.errors import NanobotError
from nanobot.messages import SessionKey

DEFAULT_SESSION = "cli:direct"
EMPTY = "There is nothing to send: give a message with -m TEXT, or text on standard input."


class UsageMistake(NanobotError):
    """The command line cannot be followed: exit 2."""


@attrs.frozen
class ChatRequest:
    """`message` None: interactive."""

    key: SessionKey
    message: str | None = None
    files: tuple[Path, ...] = ()
    config: Path | None = None
    workspace: Path | None = None
    as_json: bool = False
    markdown: bool = True
    logs: bool = False

    def check(self) -> None:
        """Raises: UsageMistake for options that need a message."""
        if self.message is None and self.as_json:
            raise UsageMistake("--json needs a message: give one with -m TEXT, or text on standard input.")
        if self.message is None and self.files:
            raise UsageMistake("--attach needs a message: give one with -m TEXT. While you talk, /attach FILE does it.")


def session_key(text: str) -> SessionKey:
    """Raises: UsageMistake."""
    try:
        return SessionKey.parse(text)
    except ValueError as exc:
        raise UsageMistake(f"--session: {exc}") from exc


def message_of(option: str | None, *, terminals: bool, stdin_is_terminal: bool, read: Callable[[], str]) -> str | None:
    """The message to answer, None for an interactive chat. `-m` wins over stdin. Raises: UsageMistake if there is none."""
    if option is None and terminals:
        return None
    if option is None and stdin_is_terminal:
        raise UsageMistake("Standard output is no terminal, so there is nowhere to talk. Give a message with -m TEXT.")
    message = read() if option is None else option
    if not message.strip():
        raise UsageMistake(EMPTY)
    return message


def readable(files: Sequence[Path]) -> tuple[Path, ...]:
    """The files to attach, absolute. Raises: UsageMistake for one that cannot be read."""
    for file in files:
        problem = why_not(file)
        if problem:
            raise UsageMistake(f"--attach: {problem}")
    return tuple(file.expanduser().absolute() for file in files)


def why_not(file: Path) -> str:
    """Why a file cannot be attached, empty if it can."""
    path = file.expanduser()
    if not path.exists():
        return f"there is no file {file}"
    if not path.is_file():
        return f"{file} is not a file"
    return "" if os.access(path, os.R_OK) else f"{file} may not be read"
