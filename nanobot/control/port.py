"""What the control socket needs from the gateway, and what a streaming request is given. Imports no trio.

A request is one JSON object in one line, `{"version": 1, "do": NAME, ...}`. Its answer is `{"ok": VALUE}` or
`{"error": SENTENCE, "code": CODE}`. A streaming request sends frames of its own instead, for as long as it lasts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from nanobot.control.letters import Letter
from nanobot.errors import NanobotError
from nanobot.messages import SessionKey
from nanobot.supervise.status import Node
from nanobot.wire import JsonObject

MCP = "mcp:"


class ConnectionGone(NanobotError):
    """The other side has closed, or has not read for too long."""


class Connection(Protocol):
    async def receive(self) -> JsonObject | None:
        """The next frame; None when the other side is gone. Raises: BadRequest."""
        ...

    async def send(self, frame: JsonObject) -> None:
        """May be called by many tasks at once. Raises: ConnectionGone."""
        ...


class BadRequest(NanobotError):
    """A frame that is none, or does not say what it must."""

    def __init__(self, text: str, *, code: str = "bad_request") -> None:
        self.code = code
        super().__init__(text)


Stream = Callable[[JsonObject, Connection], Awaitable[None]]
"""Serves one streaming request, whose first frame it is given; the connection is closed when it returns.

A NanobotError that it raises becomes the last frame, `ConnectionGone` ends it quietly, anything else is a bug.
"""


class Gateway(Protocol):
    """The running gateway, as commands see it."""

    def tree(self) -> Node: ...

    def page(self) -> str:
        """The address of the page with its token; empty where none is served."""
        ...

    async def restart_channel(self, name: str) -> None:
        """Or an MCP server: its name behind `MCP`. Raises: NanobotError for an unknown name, with those that are known."""
        ...

    async def reload(self) -> str:
        """What changed, for people. Raises: ConfigError, with nothing changed."""
        ...

    def stop(self) -> None:
        """Begin to end, as SIGTERM does."""
        ...

    def restart(self) -> None:
        """Begin to end, and start again."""
        ...

    async def letters(self) -> tuple[Letter, ...]:
        """What did not arrive, may have arrived twice or still waits, of all sessions. Raises: JournalError."""
        ...

    async def retry(self, ids: Sequence[str]) -> int:
        """Send those once more (`Letter.id`); returns how many there were. Raises: NanobotError."""
        ...

    async def drop(self, ids: Sequence[str]) -> int:
        """Forget those; returns how many there were. Raises: NanobotError."""
        ...

    def jobs_changed(self) -> None:
        """The file of jobs was edited."""
        ...

    async def run_job(self, id: str) -> int:
        """Run a job now, beside its schedule; returns the slot of the run. Raises: NanobotError."""
        ...

    async def release(self, key: SessionKey) -> None:
        """Put a session to sleep and let go of its journal, so that a command may change it. Raises: NanobotError."""
        ...
