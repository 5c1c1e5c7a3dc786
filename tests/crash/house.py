"""The process that is killed: the real house, with a terminal for an outlet, messages over a pipe, and a kill drawn for it.

`live` never returns. What it reads are lines `{"id": …, "text": …}` or `{"rest": true}`, what it writes are `{"ack": id}` when
the message is on disk and `{"rest": true}` when nothing is under way any more; the end of the pipe ends it in order.

The kill is a real SIGKILL of this process by itself, because only from within can it fall between two system calls.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from functools import partial
from pathlib import Path
from typing import NoReturn

import attrs
import trio

from nanobot.config.load import load
from nanobot.config.paths import Places
from nanobot.gateway import house as gateway
from nanobot.journal.disk import RealDisk
from nanobot.journal.journal import Journals
from nanobot.messages import Effect, Inbound, MessageId, Principal, SessionKey
from nanobot.session import effects as ef
from nanobot.session import events as ev
from nanobot.session.actor import Actor
from nanobot.session.ports import Adopted, Progress
from nanobot.session.state import Idle, Pending, Session
from tests.crash.plans import Kill, Point

KEY = SessionKey("cli", "crash")
ME = Principal("cli", "default", "crash", "me", owner=True)
REPLIES = "replies.jsonl"
DRAIN_S = 5.0
SEND_S = 0.002
"""An attempt to send takes a moment, so that kills fall on both sides of it."""


@attrs.define(eq=False)
class Executioner:
    """Carries out the kill. `reached` is called from the loop and from writer threads."""

    kill: Kill | None
    armed: bool = False
    count: int = 0

    def arm(self) -> None:
        if not self.armed and self.kill is not None and self.kill.point == "time":
            self._after(self.kill.delay)
        self.armed = True

    def reached(self, point: Point) -> bool:
        """True where the caller is to be killed at once, after what it still has to do."""
        if not self.armed or self.kill is None or self.kill.point != point:
            return False
        self.count += 1
        if self.count != self.kill.n:
            return False
        if self.kill.delay and point not in ("torn", "shown"):
            self._after(self.kill.delay)
            return False
        return True

    def pass_by(self, point: Point) -> None:
        if self.reached(point):
            end()

    def _after(self, seconds: float) -> None:
        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()


def end() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


@attrs.define(eq=False)
class DeadlyDisk(RealDisk):
    executioner: Executioner

    def write(self, fd: int, data: bytes, offset: int) -> int:
        self.executioner.pass_by("write")
        if self.executioner.reached("torn"):
            super().write(fd, data[: len(data) // 2], offset)
            end()
        return super().write(fd, data, offset)

    def fsync(self, fd: int, site: str) -> None:
        self.executioner.pass_by("fsync")
        super().fsync(fd, site)
        self.executioner.pass_by("synced")

    def rename(self, old: str, new: str) -> None:
        super().rename(old, new)
        self.executioner.pass_by("rename")


@attrs.define(eq=False)
class Terminal:
    """The outlet: a line a reply, written without fsync, as a screen is."""

    replies: Path
    executioner: Executioner
    session: Session | None = None
    changed: trio.Event = attrs.field(factory=trio.Event)

    async def send(self, _session: Session, pending: Pending, part: int) -> ev.PartDelivered:
        await trio.sleep(SEND_S)
        out = pending.outbound
        line = {"id": out.id, "answers": [out.reply_to, *out.also_answers], "text": out.text}
        with self.replies.open("ab", buffering=0) as file:
            file.write(json.dumps(line).encode() + b"\n")
        self.executioner.pass_by("shown")
        await trio.sleep(SEND_S)
        return ev.PartDelivered(out.id, part, time.time())

    def watch(self, _key: str, progress: Progress) -> None:
        if isinstance(progress, Adopted):
            self.session = progress.session
            self.changed.set()
            self.changed = trio.Event()

    async def at_rest(self) -> None:
        while (session := self.session) is not None and not _rests(session):
            await self.changed.wait()


def _rests(session: Session) -> bool:
    return isinstance(session.state, Idle) and not (session.inbox or session.outbox or session.errands or session.owed)


def watch_effects(executioner: Executioner) -> None:
    """Tell the executioner of each effect that has begun. Only in this process, which ends with it."""
    begin = Actor._begin

    def begin_and_tell(self: Actor, effect: ef.Effect, nursery: trio.Nursery) -> None:
        begin(self, effect, nursery)
        match effect:
            case ef.CallModel():
                executioner.pass_by("think")
            case ef.RunCalls(_, calls) if self.session.turn is not None:
                writes = any(c.effect is Effect.WRITES for c in self.session.turn.reply.calls if c.id in calls)
                executioner.pass_by("writing" if writes else "reading")
            case ef.CancelTurn():
                executioner.pass_by("stop")
            case ef.Send():
                executioner.pass_by("send")
            case _:  # no other effect has a state that is looked for
                pass

    Actor._begin = begin_and_tell  # type: ignore[method-assign]


def live(config: Path, kill: Kill | None, *, recovering: bool, read: int, write: int) -> NoReturn:
    """Be that process. `recovering`: the kill is armed from the start, else by the first acknowledge."""
    executioner = Executioner(kill)
    watch_effects(executioner)
    vars(gateway)["Journals"] = partial(Journals, disk=DeadlyDisk(executioner))
    if recovering:
        executioner.arm()
    trio.run(_serve, Places(config, named=True), executioner, read, write)
    os._exit(0)


async def _serve(places: Places, executioner: Executioner, read: int, write: int) -> None:
    terminal = Terminal(places.data / REPLIES, executioner)
    config = load(places.config, {}).config
    environ = {"PATH": os.environ["PATH"]}
    async with (
        gateway.open_house(config, places, environ, terminal, terminal.watch, resume_all=True, drain_s=DRAIN_S) as house,
        trio.lowlevel.FdStream(read) as orders,
    ):
        buffer = b""
        async for chunk in orders:
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                await _obey(json.loads(line), house, terminal, executioner, write)


async def _obey(order: dict[str, str], house: gateway.House, terminal: Terminal, executioner: Executioner, write: int) -> None:
    if "id" in order:
        await house.deliver(Inbound(MessageId(order["id"]), KEY, ME, order["text"], time.time()))
        os.write(write, json.dumps({"ack": order["id"]}).encode() + b"\n")
        executioner.arm()
    else:
        terminal.session = await house.registry.open(KEY)
        await terminal.at_rest()
        os.write(write, b'{"rest": true}\n')
