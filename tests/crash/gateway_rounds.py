"""A round through the gateway: its lives with kills between them, and what each left on disk."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import attrs
import trio

from nanobot.archive.conversation import Archive
from nanobot.archive.reading import Reader
from nanobot.control.client import NotAnswering, NotRunning, Refused, ask
from nanobot.messages import SessionKey
from nanobot.session.state import Idle, Session
from tests.crash.gateway import BEGAN, STDERR, Process, fork, install
from tests.crash.gateway_plans import Round
from tests.crash.people import Life, People
from tests.crash.plans import Kill, Point
from tests.crash.rounds import NOT_WRITTEN, Evidence, Met, left_behind, name_of, promised, resumed, settle

PATIENCE_S = 30.0
"""A life takes a second or two; what takes so long is stuck."""
LOOK_S = 0.004
REST_S = 1.0
"""In a life that is killed: how long one waits for rest, which does not come where an answer is not acknowledged."""
DRAIN_S = 2.0
DISK: tuple[Point, ...] = ("write", "torn", "fsync", "synced", "rename")
STARTING, DRAINING, WRITING_JOURNAL = "starting", "draining", "in a write of the journal"
PROMISED = "answer promised, not received"
UNACKED, ACKED = "answer received, not acknowledged", "answer acknowledged, not yet on disk"


@attrs.frozen
class Look:
    """What stood on disk after a life."""

    killed: bool
    states: tuple[str, ...]
    """What the kill met: what the process did, else each chat."""
    chats: Mapping[str, Met]
    settled: frozenset[str]
    """Ids of answers that were noted as delivered."""
    waiting: frozenset[str]
    """Of those that were not."""


@attrs.define
class Seen(Evidence):
    """Evidence of a round through the gateway."""

    people: People = attrs.field(kw_only=True)
    looks: list[Look] = attrs.field(factory=list)
    starts_s: list[float] = attrs.field(factory=list)
    """Seconds from each fork after a kill until it was up; the installed command loads its modules besides."""

    @property
    def began(self) -> Counter[str]:
        """How often each call with an effect began."""
        path = self.folder / BEGAN
        return Counter(path.read_text().splitlines()) if path.exists() else Counter()

    @property
    def log(self) -> str:
        return (self.folder / STDERR).read_text(errors="replace")

    def conversation(self, chat: str) -> Archive | None:
        return Reader(str(self.folder / "journals")).conversation(str(key_of(chat)), everything=True)

    def met_in(self, chat: str) -> list[Met]:
        """What the kills found of a chat."""
        return [look.chats[chat] for look in self.looks if look.killed and chat in look.chats]


def key_of(chat: str) -> SessionKey:
    return SessionKey("web", chat)


def play(plan: Round, folder: Path, base: str) -> Seen:
    """Play a round against the model service at `base`."""
    seen = Seen(folder, people=People(plan))
    settle(folder, plan.wire, base)
    config = {**json.loads(seen.config.read_text()), "gateway": {"port": 0, "drainS": DRAIN_S}}
    seen.config.write_text(json.dumps(config))
    for number, kill in enumerate((*plan.kills, None)):
        process = install(seen.config) if plan.installed else fork(seen.config, kill)
        visit = Visit(seen, process, kill, number)
        try:
            trio.run(visit.play)
        except BaseException:
            process.signal(signal.SIGKILL)
            raise
        finally:
            status = process.ended()
        seen.looks.append(_look(seen, visit, killed=status == -signal.SIGKILL))
        if status not in visit.ends:
            seen.troubles.append(f"life {number} ended with {status}, see {folder / STDERR}")
        if (kill is None or number % 2) and (left := left_behind(plan.mark)):
            seen.troubles.append(f"after life {number} there are still {left}")
    return seen


@attrs.define(eq=False)
class Visit:
    """One life: start, let people speak, kill."""

    seen: Seen
    process: Process
    kill: Kill | None
    number: int
    up: bool = False
    draining: bool = False
    _counted: int = 0
    _gone: trio.Event = attrs.field(factory=trio.Event)
    _nursery: trio.Nursery = attrs.field(init=False)

    @property
    def ends(self) -> tuple[int, ...]:
        """How it may end."""
        return (0,) if self.kill is None else (0, -signal.SIGKILL) if self.draining else (-signal.SIGKILL,)

    async def play(self) -> None:
        with trio.move_on_after(PATIENCE_S) as patience:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._wait_for_end)
                if self.kill is not None and self.kill.point == "start":
                    self._nursery.start_soon(self._later, self.kill.delay)
                started = time.monotonic()
                address = await self._address()
                if address:
                    self.up = True
                    if self.number and not self.seen.people.plan.installed:
                        self.seen.starts_s.append(time.monotonic() - started)
                    await self._live(address)
                await self._gone.wait()
                self._nursery.cancel_scope.cancel()
        if patience.cancelled_caught:
            people = self.seen.people
            not_accepted = set(people.said) - people.accepted
            self.seen.troubles.append(
                f"life {self.number} is stuck: up {self.up}, not accepted {not_accepted}, not answered {people.unanswered}"
            )
            self.process.signal(signal.SIGKILL)

    async def _wait_for_end(self) -> None:
        process = os.pidfd_open(self.process.pid)
        try:
            await trio.lowlevel.wait_readable(process)
        finally:
            os.close(process)
        self._gone.set()

    async def _address(self) -> str:
        """Of its page, when it is up; empty if it ended before."""
        while not self._gone.is_set():
            try:
                address = str(ask(self.seen.folder, {"do": "page"}, PATIENCE_S))
                if address:
                    ask(self.seen.folder, {"do": "status"}, PATIENCE_S)
                    return address
            except (NotRunning, NotAnswering, Refused):
                pass
            await trio.sleep(LOOK_S)
        return ""

    async def _live(self, address: str) -> None:
        base, _, token = address.partition("/#token=")
        life = Life(self.number, int(base.rpartition(":")[2]), token, self.kill is None, self._saw, self._gone)
        tabs = self.seen.people.come(life)
        async with trio.open_nursery() as nursery:
            for tab in tabs:
                nursery.start_soon(tab.sit)
            self._nursery.start_soon(self._strike)
            async with trio.open_nursery() as speaking:
                speaking.start_soon(self._cancel_at_end, speaking.cancel_scope)
                await self.seen.people.speak(life, tabs)
                with trio.move_on_after(math.inf if self.kill is None else REST_S):
                    while not self._rests() or any(tab.unsettled for tab in tabs):  # noqa: ASYNC110  # it is on disk
                        await trio.sleep(10 * LOOK_S)
                self._at_rest()
                speaking.cancel_scope.cancel()

    async def _cancel_at_end(self, scope: trio.CancelScope) -> None:
        await self._gone.wait()
        scope.cancel()

    def _rests(self) -> bool:
        """Whether everything was accepted and nothing is left to do, as the disk has it."""
        people = self.seen.people
        reader = Reader(str(self.seen.folder / "journals"))
        lives = (reader.live(str(key_of(chat))) for chat in people.plan.chats)
        return people.accepted >= set(people.said) and all(live is None or _at_rest(live.session) for live in lives)

    # --- the kill

    def _at_rest(self) -> None:
        if self.kill is None:
            self.process.signal(signal.SIGTERM)
        elif self.kill.point not in ("time", "drain"):
            self.process.signal(signal.SIGKILL)  # its place is not reached any more

    async def _strike(self) -> None:
        """A kill by the clock."""
        match self.kill:
            case Kill("time", _, delay):
                await self._later(delay)
            case Kill("drain", _, delay, grace):
                await trio.sleep(delay)
                self.draining = True
                self.process.signal(signal.SIGTERM)
                await self._later(grace)
            case _:  # elsewhere
                pass

    def _saw(self, point: Point) -> None:
        """A kill by what a client sees."""
        if self.kill is None or self.kill.point != point:
            return
        self._counted += 1
        if self._counted == self.kill.n:
            if self.kill.delay:
                self._nursery.start_soon(self._later, self.kill.delay)
            else:
                self.process.signal(signal.SIGKILL)

    async def _later(self, seconds: float) -> None:
        await trio.sleep(seconds)
        self.process.signal(signal.SIGKILL)


def _at_rest(session: Session) -> bool:
    return isinstance(session.state, Idle) and not (session.inbox or session.outbox or session.errands or session.owed)


# --- after a life


def _look(seen: Seen, visit: Visit, *, killed: bool) -> Look:
    people, reader = seen.people, Reader(str(seen.folder / "journals"))
    received = {str(heard.frame["id"]) for heard in people.heard if heard.life == visit.number}
    acked = {id for life, id in people.acked if life == visit.number}
    chats, settled, waiting = {}, set[str](), set[str]()
    for chat in people.plan.chats:
        live = reader.live(str(key_of(chat)))
        if live is not None:
            name = _name(live.session, chat, received, acked)
            chats[chat] = Met(name, live.session, resumed(seen.folder, key_of(chat)))
            left = set(wire_ids(chat, (pending.outbound.id for pending in live.session.outbox)))
            waiting |= left
            settled |= set(wire_ids(chat, (out.id for out in promised(seen.folder, key_of(chat))))) - left
    return Look(killed, _states(visit, chats), chats, frozenset(settled), frozenset(waiting))


def wire_ids(chat: str, outs: Iterable[str]) -> list[str]:
    return [f"{chat}/{out}" for out in outs]


def _name(session: Session, chat: str, received: set[str], acked: set[str]) -> str:
    name = name_of(session, ())
    if name == NOT_WRITTEN:
        head = f"{chat}/{session.outbox[0].outbound.id}"
        return ACKED if head in acked else UNACKED if head in received else PROMISED
    return name


def _states(visit: Visit, chats: Mapping[str, Met]) -> tuple[str, ...]:
    if not visit.up:
        return (STARTING,)
    if visit.draining:
        return (DRAINING,)
    writing = (WRITING_JOURNAL,) if visit.kill is not None and visit.kill.point in DISK else ()
    return tuple(sorted({*writing, *(met.state for met in chats.values())})) or ("no chat yet",)
