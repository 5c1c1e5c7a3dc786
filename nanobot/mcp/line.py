"""The connection to a server as its owner sees it: whether it lives, and why it ended. Pure but for the event."""

from __future__ import annotations

import attrs
import trio

from nanobot.supervise.policy import Cause

MESSAGE_BYTES = 10 * 1024 * 1024
"""Of one message of a server: a picture of 5 MB in base64 has 7. It is parsed in one go, which holds everybody for 0.1 s."""
MESSAGE_NODES = 200_000
"""Objects and lists of one message, braces in its texts among them: each takes as long as a hundred letters."""
TOO_LARGE = f"it sent more than {MESSAGE_BYTES // 2**20} MiB or {MESSAGE_NODES:,} objects in one message, which was not taken"

MOST_MESSAGES = 1000
"""Of a server in a second, and lines that are none: answers, progress and changes are a few, a flood takes all our time."""
MOST_BYTES = 6 * MESSAGE_BYTES
"""Of messages in a second: some large answers at once, and no stream of them, each of which holds everybody."""

UNSENT = -32099
"""Code of an error of ours: nothing of the request has reached the server, so that it can be made again."""


@attrs.define(eq=False)
class Line:
    """One life of a connection. The first reason counts."""

    ended: trio.Event = attrs.field(factory=trio.Event)
    why: str = ""
    cause: Cause = Cause.TRANSIENT
    _since: float = 0.0
    _heard: int = 0
    _bytes: int = 0

    def heard(self, messages: int = 1, size: int = 0) -> bool:
        """It said something. Whether it is still listened to: not when it talks more than anybody can want to hear."""
        now = trio.current_time()
        if now - self._since > 1:
            self._since, self._heard, self._bytes = now, 0, 0
        self._heard, self._bytes = self._heard + messages, self._bytes + size
        if self._heard > MOST_MESSAGES:
            self.fail(f"it sent more than {MOST_MESSAGES:,} messages in a second that nobody had asked for")
        elif self._bytes > MOST_BYTES:
            self.fail(f"it sent more than {MOST_BYTES // 2**20} MiB of messages in a second")
        return not self.ended.is_set()

    def fail(self, why: str, cause: Cause = Cause.TRANSIENT) -> None:
        if not self.ended.is_set():
            self.why, self.cause = why, cause
            self.ended.set()
