"""A session that ends while somebody waits for it is opened again, a few times, and then it is said that it failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import trio

from nanobot.cli.chatting.sitting import Sitting
from nanobot.session.registry import SessionFailed

LOOK_S = 1.0
MOST = 5
"""Times. What is unfinished is taken up at each; a turn that crashes twice is ended by the session itself."""


async def keep_alive(sitting: Sitting, awaited: Callable[[], bool]) -> NoReturn:
    """Runs until cancelled. `awaited`: whether something is. Raises: SessionFailed, InUse, JournalError."""
    opened = 0
    while True:
        await trio.sleep(LOOK_S)
        if awaited() and str(sitting.key) not in sitting.house.registry.live():
            opened += 1
            if opened > MOST:
                raise SessionFailed(f"session {sitting.key.short} fails again and again; the log says why")
            await sitting.house.registry.open(sitting.key)
