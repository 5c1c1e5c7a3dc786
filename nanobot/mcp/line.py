"""The connection to a server as its owner sees it: whether it lives, and why it ended. Pure but for the event."""

from __future__ import annotations

import attrs
import trio

from nanobot.supervise.policy import Cause

MESSAGE_BYTES = 10 * 1024 * 1024
"""Of one message of a server: a picture of 5 MB in base64 has 7. It is parsed in one go, which holds everybody for 0.1 s."""
TOO_LARGE = f"it sent more than {MESSAGE_BYTES // 2**20} MiB in one message, which was not taken"

UNSENT = -32099
"""Code of an error of ours: nothing of the request has reached the server, so that it can be made again."""


@attrs.define(eq=False)
class Line:
    """One life of a connection. The first reason counts."""

    ended: trio.Event = attrs.field(factory=trio.Event)
    why: str = ""
    cause: Cause = Cause.TRANSIENT

    def fail(self, why: str, cause: Cause = Cause.TRANSIENT) -> None:
        if not self.ended.is_set():
            self.why, self.cause = why, cause
            self.ended.set()
