"""What the owner should know: a channel is parked, a message was given up, a journal is damaged.

`tell` never blocks and never raises. `run` writes each notice to the gateway's journal, gathers those of a few seconds into
one message, and hands it to a session: `gateway.notify`, else where the owner spoke last on another channel than the one
concerned. While there is none, notices wait, over restarts too, and stand in the status. A session takes a message of one id
once, so that handing over again is harmless. What fails here is logged and tried again, and makes no notice.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Awaitable, Callable, Sequence

import attrs
import trio
from loguru import logger

from nanobot.config.schema import GatewayConfig
from nanobot.daemon.backlog import Backlog, Notice, Noticed, Told, channel_of
from nanobot.errors import NanobotError
from nanobot.messages import SessionKey
from nanobot.supervise.status import Node

GATHER_S = 3.0
"""Seconds that a first notice waits for others: what breaks together is told together."""
HAND_S = 10.0
"""Seconds until a disk counts as one that does not answer (journal/writers.py)."""
RETRY_S = 30.0
"""Seconds until it is looked again for a session to tell."""
MOST_WAITING = 100
"""Notices that wait to be told: who comes back after a month reads these, and the log has all."""
MOST_IN_MESSAGE = 20
"""Lines of one message: it should fit into a telephone's screen or two."""

Hand = Callable[[SessionKey, str, str], Awaitable[None]]
"""Session, id, text. Durable there when it returns. Raises: NanobotError."""


@attrs.define(eq=False)
class Notices:
    """See the module. `run` must be live for anything to be told."""

    _backlog: Backlog
    _hand: Hand
    _clock: Callable[[], float]
    _gateway: GatewayConfig
    _fresh: list[Notice] = attrs.field(factory=list, init=False)
    """Not written yet."""
    _troubled: set[str] = attrs.field(factory=set, init=False)
    _came: trio.Event = attrs.field(factory=trio.Event, init=False)

    def tell(self, text: str, about: str = "") -> None:
        """Tell the owner, in time. `about`: the channel concerned, empty for none."""
        now = self._clock()
        if any(notice.text == text for notice in (*self._backlog.state.pruned(now).notices, *self._fresh)):
            return
        logger.info("for the owner: {}", text)
        if len(self._backlog.state.untold) + len(self._fresh) >= MOST_WAITING:
            logger.warning("too much waits to be told to the owner: that is left out")
            return
        self._fresh.append(Notice(secrets.token_hex(6), text, about, now))
        self._came.set()

    def on_change(self, node: Node) -> None:
        """A child of the tree has another state: say what stays broken until somebody acts, and when it works again."""
        match node.state:
            case "parked" | "stuck":
                self._troubled.add(node.name)
                way_out = f". When that is put right: nanobot channels restart {node.name}" if node.kind == "channel" else ""
                self.tell(f"{node.name} is {node.state}: {node.error or 'see nanobot status'}{way_out}", node.name)
            case "up" if node.name in self._troubled:
                self._troubled.discard(node.name)
                self.tell(f"{node.name} works again.", node.name)
            case _:
                pass

    def reconfigure(self, gateway: GatewayConfig) -> None:
        self._gateway = gateway

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write, gather and hand over, until cancelled."""
        task_status.started()
        pause = 0.0 if self._backlog.state.untold else math.inf
        while True:
            with trio.move_on_after(pause):
                await self._came.wait()
            await self._write()
            await trio.sleep(GATHER_S)
            self._came = trio.Event()
            written, told = await self._write(), await self._tell_all()
            pause = math.inf if written and told else RETRY_S

    def nodes(self) -> tuple[Node, ...]:
        """What is not told yet, for the status tree."""
        untold = (*self._backlog.state.untold, *self._fresh)
        if not untold:
            return (Node("notices", "service", "idle", self._backlog.opened_at),)
        facts = tuple((notice.about or "gateway", notice.text) for notice in untold)
        return (Node("notices", "service", "waiting", untold[0].at, waiting="a chat to tell the owner in", facts=facts),)

    # --- inside

    async def _write(self) -> bool:
        """Put down what is new. False if that has to be tried again."""
        fresh = tuple(self._fresh)
        try:
            if fresh:
                await self._backlog.write(*(Noticed(n.id, n.text, n.about, n.at) for n in fresh))
        except NanobotError as exc:
            logger.warning("notices cannot be written: {}", exc)
            return False
        del self._fresh[: len(fresh)]
        return True

    async def _tell_all(self) -> bool:
        """Hand over what is written. False if something is left."""
        targets: dict[str, list[Notice]] = {}
        for notice in self._backlog.state.untold:
            targets.setdefault(self._target(notice.about), []).append(notice)
        left = targets.pop("", [])
        return all([await self._tell(target, notices) for target, notices in targets.items()]) and not left

    async def _tell(self, target: str, notices: Sequence[Notice]) -> bool:
        ids = tuple(notice.id for notice in notices)
        try:
            with trio.fail_after(HAND_S):
                await self._hand(SessionKey.parse(target), f"notice:{_digest(ids)}", _message(notices))
                await self._backlog.write(Told(ids, target, self._clock()))
        except (NanobotError, trio.TooSlowError) as exc:
            logger.warning("the owner cannot be told in {}: {}", target, str(exc) or "nothing was written")
            return False
        return True

    def _target(self, about: str) -> str:
        """The session to tell what concerns a channel; empty while there is none."""
        if self._gateway.notify is not None:
            try:
                return str(SessionKey.parse(self._gateway.notify))
            except ValueError as exc:
                logger.warning("gateway.notify: {}", exc)
        return next((chat for chat in self._backlog.state.chats if channel_of(chat) != about), "")


def _message(notices: Sequence[Notice]) -> str:
    if len(notices) == 1:
        return notices[0].text
    lines = [f"- {notice.text}" for notice in notices[:MOST_IN_MESSAGE]]
    more = len(notices) - MOST_IN_MESSAGE
    return "\n".join([*lines, f"- and {more} more: see the log"] if more > 0 else lines)


def _digest(ids: Sequence[str]) -> str:
    """The same for the same notices, so that the session knows them when a crash has them handed over again."""
    return hashlib.sha256(" ".join(ids).encode()).hexdigest()[:16]
