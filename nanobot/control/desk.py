"""The desk of the running gateway: what commands may ask of it (control/port.py), answered from its live parts.

It owns nothing; its parts come from the composition root, and what it changes it changes through them.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Protocol

import attrs
import trio
from loguru import logger

from nanobot import __version__
from nanobot.archive.reading import Reader
from nanobot.control import tree
from nanobot.control.approvals import Approvals
from nanobot.control.letters import Kind, Letter, UnknownLetter, letters_of, parse_id
from nanobot.control.port import MCP
from nanobot.control.wish import Ending, Wish
from nanobot.errors import JournalError
from nanobot.journal.store import Store
from nanobot.messages import SessionKey
from nanobot.session import events as ev
from nanobot.session.registry import Registry
from nanobot.session.state import Session
from nanobot.supervise.status import Node
from nanobot.supervise.supervisor import Supervisor


class Scheduler(Protocol):
    """scheduler/service.py."""

    def changed(self) -> None: ...

    async def run_now(self, job_id: str) -> int:
        """Raises: NanobotError."""
        ...


@attrs.define(eq=False)
class Desk:
    """See the module; fills control.port.Gateway."""

    _registry: Registry
    _store: Store
    _supervisor: Supervisor
    _wish: Wish
    _clock: Callable[[], float]
    _others: Sequence[Callable[[], tuple[Node, ...]]]
    """Nodes of what is neither a child nor a session."""
    _approvals: Approvals = attrs.field(factory=Approvals)
    on_reload: Callable[[], Awaitable[str]] = attrs.field(init=False)
    restart_server: Callable[[str], Awaitable[None]] = attrs.field(init=False)
    """Of MCP, by its name."""
    scheduler: Scheduler = attrs.field(init=False)
    address: Callable[[], str] = attrs.field(default=lambda: "", init=False)
    """Of the page, with its token."""
    since: float = attrs.field(init=False)
    ready: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.since = self._clock()

    def tree(self) -> Node:
        children = self._supervisor.nodes()
        nodes = (
            Node("channels", "group", "up", self.since, children=tuple(c for c in children if c.kind == "channel")),
            self._sessions(),
            Node("services", "group", "up", self.since, children=tuple(c for c in children if c.kind != "channel")),
            tree.journals_node(self._store.writers.stats(), self.since),
            *(node for others in self._others for node in others()),
        )
        state = "stopping" if self._wish.ended.is_set() else "up" if self.ready else "starting"
        facts = (("process", str(os.getpid())), ("version", __version__))
        return Node("nanobot", "gateway", state, self.since, facts=facts, children=nodes)

    def _sessions(self) -> Node:
        live = self._registry.live()
        return tree.sessions_node(live, self._registry.failing(), self.since, self._approvals.asleep(live))

    def page(self) -> str:
        return self.address()

    async def restart_channel(self, name: str) -> None:
        if name.startswith(MCP):
            await self.restart_server(name.removeprefix(MCP))
        else:
            await self._supervisor.restart(name)

    async def reload(self) -> str:
        return await self.on_reload()

    def stop(self) -> None:
        self._wish.end(Ending.STOPPED)

    def restart(self) -> None:
        self._wish.end(Ending.RESTART)

    async def letters(self) -> tuple[Letter, ...]:
        live = self._registry.live()
        asleep = await trio.to_thread.run_sync(_asleep, self._store.journals.root, frozenset(live), abandon_on_cancel=True)
        return tuple(letter for session in (*live.values(), *asleep) for letter in letters_of(session))

    async def retry(self, ids: Sequence[str]) -> int:
        await self._check(ids, Kind.DEAD)
        for key, out in map(parse_id, ids):
            await self._registry.deliver(key, ev.LetterRetried(out, self._clock()))
        return len(ids)

    async def drop(self, ids: Sequence[str]) -> int:
        await self._check(ids, Kind.DEAD, Kind.DOUBLED)
        for key, out in map(parse_id, ids):
            await self._registry.deliver(key, ev.LetterDropped(out))
        return len(ids)

    async def _check(self, ids: Sequence[str], *kinds: Kind) -> None:
        """Nothing is said to be done to others, and no session is made by asking for one. Raises: UnknownLetter."""
        known: dict[str, set[Kind]] = {}
        for letter in await self.letters():
            known.setdefault(letter.id, set()).add(letter.kind)
        for id in ids:
            if id not in known:
                raise UnknownLetter(f"There is no message {id} in an outbox. See: nanobot outbox list")
            if known[id].isdisjoint(kinds):
                instead = "it was sent again" if Kind.DOUBLED in known[id] else "it is on its way"
                raise UnknownLetter(f"{id} was not given up: {instead}. See: nanobot outbox list")

    def jobs_changed(self) -> None:
        self.scheduler.changed()

    async def run_job(self, id: str) -> int:
        return await self.scheduler.run_now(id)

    async def release(self, key: SessionKey) -> None:
        await self._registry.release(key)
        self._approvals.forget(str(key))


def _asleep(root: str, awake: frozenset[str]) -> tuple[Session, ...]:
    """The sessions that are not awake, as their journals have them. Blocks."""
    return tuple(_read(Reader(root), awake))


def _read(reader: Reader, awake: frozenset[str]) -> Iterator[Session]:
    for seen in reader.sessions():
        if seen.key in awake:
            continue
        try:
            live = reader.live(seen.key)
        except JournalError as exc:
            logger.warning("the outbox of {} cannot be read: {}", seen.key, exc)
            continue
        if live is not None:
            yield live.session
