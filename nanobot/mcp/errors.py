"""What a request to a server can end in.

ToolError
└─ ServerError      the model is told; the server lives on
   └─ ServerGone    its connection is over. `unsent`: nothing of the request has reached it
"""

from __future__ import annotations

from nanobot.errors import NanobotError, ToolError


class ServerError(ToolError):
    """The server answered with an error, or with what is no answer."""


class ServerGone(ServerError):
    """See the module."""

    def __init__(self, text: str, *, unsent: bool = False) -> None:
        self.unsent = unsent
        super().__init__(text)


class NoLogin(NanobotError):
    """The server wants a login, and there is none that is good."""
