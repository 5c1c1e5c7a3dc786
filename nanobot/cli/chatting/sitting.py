"""What an interactive chat stands on, whoever holds the session: a gateway (attached.py) or this process (alone.py)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import trio

from nanobot.config.paths import Places
from nanobot.journal import names
from nanobot.messages import Attachment, MessageId, SessionKey

USER = "user"
"""Who speaks at the terminal, as HKUDS/nanobot names it."""


class Sitting(Protocol):
    """A session that is open to the person at the terminal."""

    @property
    def media(self) -> Path:
        """Where files of this session are kept; its tools may read there."""
        ...

    @property
    def model(self) -> str:
        """Which one answers, for people."""
        ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the configuration says about itself."""
        ...

    @property
    def reachable(self) -> bool:
        """Whether a word would be heard now."""
        ...

    async def say(self, text: str, attachments: tuple[Attachment, ...] = ()) -> None:
        """Hand over a message. Returns when it is on disk, or is kept here until it can be. Raises: NanobotError."""
        ...

    async def keep(self, awaited: Callable[[], bool]) -> None:
        """Keep the session open for as long as the chat lasts, whatever ends it. `awaited`: whether somebody waits for it.

        Runs until cancelled. Raises: NanobotError, when it is given up.
        """
        ...

    def farewell(self, *, busy: bool) -> str:
        """What whoever leaves now should know, empty if nothing."""
        ...


def next_id() -> MessageId:
    return MessageId(os.urandom(8).hex())


def media_of(places: Places, key: SessionKey) -> Path:
    return places.media / names.encode(str(key))


def on_loop(act: Callable[[int], None]) -> Callable[[int], None]:
    """The same, to be called from any thread and from signal handlers: it acts on the loop, while that runs."""
    token = trio.lowlevel.current_trio_token()

    def tell(what: int) -> None:
        try:
            token.run_sync_soon(act, what)
        except trio.RunFinishedError:
            pass  # there is nothing left to act on

    return tell
