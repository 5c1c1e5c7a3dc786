"""Voice messages: what is said in them stands in the text, as `[voice: …]`, before the message is delivered.

It is a word of the sender like any other: tainted if the message is, and no slash command, because a message with files never is
one. A message that cannot be heard in time, or at all, is delivered with a line that says why.

A message that the network tells again is not transcribed again: the second waits while the first is under way, and what came of
it is remembered for a while. If the first is cancelled, because its connection ended, the second goes on by itself.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import Protocol
from weakref import WeakValueDictionary

import attrs
import trio

from nanobot.channels.edge import guarded
from nanobot.errors import NanobotError
from nanobot.messages import Attachment

HEAR_S = 25.0
"""Seconds for all voice messages of one message, waiting for a free place included: two minutes of speech take a service 1 to 10,
and who sends a message waits for its answer."""
MOST_REMEMBERED = 500
"""Files whose words are remembered: networks tell again of what was not acknowledged, which is a hundred at once."""


class Transcribe(Protocol):
    """providers/transcription.py."""

    async def __call__(self, file: Attachment, /) -> str | None:
        """What is said, on one line; None: nobody wants to know. Raises: NanobotError, half a sentence of why not."""
        ...


async def _nobody(_file: Attachment) -> str | None:
    return None


@attrs.define(eq=False)
class Voice:
    """See the module. One for all channels."""

    transcribe: Transcribe = _nobody
    """Set by the composition root."""
    _lines: OrderedDict[str, str] = attrs.field(factory=OrderedDict, init=False)
    """By the file's path, which is the message's and stays the same."""
    _under_way: WeakValueDictionary[str, trio.Lock] = attrs.field(factory=WeakValueDictionary, init=False)

    async def heard(self, files: Sequence[Attachment], text: str) -> str:
        """The text of a message, with a line for each voice message among its files."""
        spoken = [one for one in files if one.mime.startswith("audio/")]
        if not spoken:
            return text
        lines: list[str] = []
        with trio.move_on_after(HEAR_S):
            for one in spoken:
                lines.append(await self._hear(one))  # what was heard in time counts
        for one in spoken[len(lines) :]:
            lines.append(self._remember(one, _unheard(one, f"it took more than {HEAR_S:g} seconds")))
        return "\n".join(filter(None, (text, *lines)))

    async def _hear(self, file: Attachment) -> str:
        lock = self._under_way.get(file.path)
        if lock is None:
            lock = self._under_way[file.path] = trio.Lock()
        async with lock:
            if file.path in self._lines:
                return self._lines[file.path]
            try:
                words = await guarded("transcription", partial(self.transcribe, file))
            except NanobotError as error:
                return self._remember(file, _unheard(file, str(error)))
            return self._remember(file, "" if words is None else f"[voice: {words}]")

    def _remember(self, file: Attachment, line: str) -> str:
        self._lines[file.path] = line
        while len(self._lines) > MOST_REMEMBERED:
            self._lines.popitem(last=False)
        return line


def _unheard(file: Attachment, why: str) -> str:
    name = "".join(sign if sign.isprintable() else " " for sign in file.name)[:80]
    return f"[voice message {name} was not turned into text: {why}]"
