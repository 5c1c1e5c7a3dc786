"""The way in: a message is in its session, or in the gateway's own journal, when `deliver` returns.

What a session cannot take (its journal is damaged, held by somebody, does not answer, or the session fails) must not hold up
a network that acknowledges in order. It is kept (daemon/backlog.py), told to the owner once per session and cause, and handed
over by `run`, in order, until the session takes it. What comes for a session behind a kept message is kept, too. A message
that may have reached its session is handed over again: the session takes an id once.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Protocol

import attrs
import trio
from loguru import logger

from nanobot.channels.port import NotTaken
from nanobot.daemon.backlog import Backlog, Kept, Taken
from nanobot.errors import DiskFull, InUse, JournalError
from nanobot.messages import INTERNAL, Inbound
from nanobot.session.registry import SessionFailed

PATIENCE_S = 10.0
"""Seconds until a disk counts as one that does not answer (journal/writers.py); networks give us 30 and more."""
FIRST_S, LONGEST_S = 1.0, 60.0
"""Between attempts to hand over: twice as long each time. Who frees a session should not wait longer than that."""
BEHIND = "others of this chat wait before it"


class Sessions(Protocol):
    async def deliver(self, inbound: Inbound) -> None:
        """Raises: InUse, JournalError, SessionFailed, DiskFull."""
        ...


@attrs.define(eq=False)
class Bus:
    """See the module. `tell(text, about)` tells the owner; `run` must be live for what is kept to be handed over."""

    _backlog: Backlog
    _tell: Callable[[str, str], None]
    _clock: Callable[[], float]
    sessions: Sessions = attrs.field(init=False)
    """Set before anything is delivered."""
    _closed: bool = attrs.field(default=False, init=False)
    _tickets: Iterator[int] = attrs.field(init=False)
    _keeping: Counter[str] = attrs.field(factory=Counter, init=False)
    """Messages by session whose record is being written."""
    _told: set[tuple[str, str]] = attrs.field(factory=set, init=False)
    _owner_at: str = attrs.field(default="", init=False)
    _news: trio.Event = attrs.field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self._tickets = itertools.count(max((kept.ticket for kept in self._backlog.state.kept), default=0) + 1)

    async def deliver(self, inbound: Inbound) -> None:
        """Take a message: it is on disk when this returns. Raises: NotTaken."""
        if self._closed:
            raise NotTaken("nanobot is stopping", code="stopping")
        ticket, key = next(self._tickets), str(inbound.key)
        try:
            why = BEHIND if self._keeping[key] or self._backlog.first(key) else await self._try(inbound)
            if why:
                await self._keep(Kept(ticket, inbound, why, self._clock()))
        except NotTaken as no:
            self._tell(f"A message on {inbound.key.channel} was refused: {no}", inbound.key.channel)
            raise
        if inbound.principal.owner and inbound.direct and inbound.key.channel not in INTERNAL:
            self._owner_at = key
            self._news.set()

    def close(self) -> None:
        """From now on nothing is taken."""
        self._closed = True

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hand over what is kept, and note where the owner spoke last, until cancelled."""
        busy: set[str] = set()
        async with trio.open_nursery() as nursery:
            task_status.started()
            while True:
                self._news = trio.Event()
                for key in {kept.session for kept in self._backlog.state.kept} - busy:
                    busy.add(key)
                    nursery.start_soon(self._hand_over, key, busy, name=f"backlog of {key}")
                if self._owner_at:
                    await self._backlog.note_owner(self._owner_at)
                await self._news.wait()

    # --- inside

    async def _try(self, inbound: Inbound) -> str:
        """Give it to its session; returns why that cannot take it, empty if it has. Raises: NotTaken."""
        try:
            with trio.move_on_after(PATIENCE_S) as patience:
                await self.sessions.deliver(inbound)
        except DiskFull as exc:
            raise NotTaken(str(exc), code="disk_full") from exc
        except (InUse, JournalError, SessionFailed) as exc:
            return str(exc)
        return f"nothing was written for {PATIENCE_S:.0f} seconds" if patience.cancelled_caught else ""

    async def _keep(self, kept: Kept) -> None:
        """Raises: NotTaken."""
        key = kept.session
        if self._backlog.has(kept.inbound):
            return
        if not self._backlog.room_for(kept.inbound):
            raise NotTaken(f"{kept.why}, and too much is kept already", code="not_written")
        self._keeping[key] += 1
        try:
            with trio.fail_after(PATIENCE_S):
                await self._backlog.write(kept)
        except (JournalError, InUse, trio.TooSlowError) as exc:
            raise NotTaken(f"{kept.why}; nor can it be kept: {str(exc) or 'the disk hangs'}", code="not_written") from exc
        finally:
            self._keeping[key] -= 1
        self._say(kept)
        self._news.set()

    def _say(self, kept: Kept) -> None:
        name = kept.inbound.key.short
        logger.warning("message {} of {} is kept: {}", kept.inbound.id, name, kept.why)
        if kept.why != BEHIND and (kept.session, kept.why) not in self._told:
            self._told.add((kept.session, kept.why))
            text = f"Messages of {name} wait: {kept.why}. They are handed over, in order, as soon as that is over."
            self._tell(text, kept.inbound.key.channel)

    async def _hand_over(self, key: str, busy: set[str]) -> None:
        wait = FIRST_S
        while kept := self._backlog.first(key):
            await trio.sleep(wait)
            wait = 0.0 if await self._handed(kept) else min(max(2 * wait, FIRST_S), LONGEST_S)
        busy.discard(key)
        self._told = {told for told in self._told if told[0] != key}

    async def _handed(self, kept: Kept) -> bool:
        try:
            if await self._try(kept.inbound):
                return False
            await self._backlog.write(Taken(kept.session, kept.inbound.id))
        except (NotTaken, JournalError, InUse):
            return False
        return True
