"""What the tool `message` asks for: put to the session that asks, brought to the chat it is for, and what became of it.

Fills the tools' `Post` (by `send`) and pays what sessions owe each other. Whatever it is told, a message is taken once: the
sessions remember its request (session/requests.py). `watch` must be given what the registry shows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import attrs
import trio
from loguru import logger

from nanobot.errors import InUse, JournalError
from nanobot.messages import CallId, SessionKey
from nanobot.session import events as ev
from nanobot.session.ports import Adopted, Progress
from nanobot.session.registry import SessionFailed
from nanobot.session.requests import request_of
from nanobot.session.state import Owed, Session, Turn
from nanobot.tools.port import Letter, Result

WAIT_S = 3.0
"""Seconds that a call waits to hear whether its message arrived: a network that is up takes one within two."""
PAY_RETRY_S = (1.0, 5.0, 30.0, 300.0)
"""Waits while the other session cannot be opened (in use, its disk is full); the last is repeated."""
ON_ITS_WAY = "Queued and on its way; there is no word yet that it arrived. It is sent in any case, do not send it again."


class Sessions(Protocol):
    """The registry of sessions, as far as it is needed here."""

    async def deliver(self, key: SessionKey, event: ev.Event) -> None: ...

    async def open(self, key: SessionKey) -> Session: ...


@attrs.define(eq=False)
class _Wait:
    """Somebody waits to hear what becomes of a message."""

    request: str
    clock: Callable[[], float]
    known: trio.Event = attrs.field(factory=trio.Event)
    fate: Result | None = None

    def look(self, session: Session) -> None:
        self.fate = fate_of(self.request, session, self.clock())
        if self.fate is not None:
            self.known.set()


@attrs.define(eq=False)
class Post:
    """See the module. One for all sessions."""

    _clock: Callable[[], float]
    sessions: Sessions = attrs.field(init=False)
    """Set by who builds the house, before anything runs."""
    _waits: dict[str, list[_Wait]] = attrs.field(factory=dict, init=False)
    """By the key of the session that sends."""

    async def send(self, session: Session, turn: Turn, call: CallId, letter: Letter) -> Result:
        """See `nanobot.tools.port.Post`."""
        there = session.key if letter.to is None else str(letter.to)
        elsewhere = "" if there == session.key else there
        asked = ev.MessageAsked(turn.number, call, self._clock(), letter.text, letter.attachments, elsewhere, letter.buttons)
        with self._waiting(there, request_of(session, turn, call)) as wait:
            await self.sessions.deliver(SessionKey.parse(session.key), asked)
            with trio.move_on_after(WAIT_S):
                try:
                    wait.look(await self.sessions.open(SessionKey.parse(there)))
                except (InUse, JournalError, SessionFailed) as error:
                    return Result(f"Queued, not delivered yet: {error}. It is tried again by itself.")
                await wait.known.wait()
        return wait.fate or Result(ON_ITS_WAY)

    async def pay(self, session: Session, owed: Owed) -> ev.PaidTo:
        """Bring to another session what this one owes it; as long as that cannot be opened, try again."""
        handed = ev.Handed(owed.id, owed.text, owed.at, owed.attachments, owed.origin, owed.buttons)
        for attempt in itertools.count():
            try:
                await self.sessions.deliver(SessionKey.parse(owed.to), handed)
            except (InUse, JournalError, SessionFailed) as error:
                wait = PAY_RETRY_S[min(attempt, len(PAY_RETRY_S) - 1)]
                logger.warning("a message of {} waits {:g} s, as {} does not take it: {}", session.key, wait, owed.to, error)
                await trio.sleep(wait)
            else:
                break
        return ev.PaidTo(owed.id)

    async def say(self, key: str, message: str, text: str) -> None:
        """A word of ours in that chat; said once, however often it is tried. Where it cannot be said, the log has it."""
        try:
            await self.sessions.deliver(SessionKey.parse(key), ev.Handed(message, text, self._clock()))
        except (InUse, JournalError, SessionFailed) as error:
            logger.warning("this cannot be said in {}: {} ({})", key, text, error)

    def watch(self, key: str, progress: Progress) -> None:
        if key in self._waits and isinstance(progress, Adopted):
            for wait in self._waits[key]:
                wait.look(progress.session)

    @contextmanager
    def _waiting(self, key: str, request: str) -> Iterator[_Wait]:
        wait = _Wait(request, self._clock)
        self._waits.setdefault(key, []).append(wait)
        try:
            yield wait
        finally:
            self._waits[key].remove(wait)
            if not self._waits[key]:
                del self._waits[key]


@attrs.define
class Later:
    """The way to chats for what runs beside turns: what it says is owed with the line of its end, and comes then."""

    _session: str
    _errand: str
    _clock: Callable[[], float]
    owed: list[Owed] = attrs.field(factory=list, init=False)

    async def send(self, letter: Letter) -> Result:
        """See `nanobot.tools.port.Post`."""
        to = self._session if letter.to is None else str(letter.to)
        name = f"{self._session}/{self._errand}.{len(self.owed)}"
        self.owed.append(Owed(name, to, letter.text, self._clock(), letter.attachments, self._session, letter.buttons))
        return Result("Queued.")


def fate_of(request: str, session: Session, now: float) -> Result | None:
    """What the session that sends it knows of a message; None while it is on its way, or not here yet."""
    for letter in session.dead:
        if letter.outbound.request == request:
            return Result(f"Not delivered, and given up: {letter.reason}", failed=True)
    if all(pending.outbound.request != request for pending in session.outbox):
        return Result("Delivered.") if request in session.seen else None
    head = session.outbox[0]
    if head.channel_down:
        return Result(f"Queued, not delivered yet: {head.error}. It is sent when the chat can be reached again.")
    if head.retry_at is not None:
        return Result(f"Queued, not delivered yet: {head.error}. It is tried again in {max(0.0, head.retry_at - now):.0f} s.")
    return None
