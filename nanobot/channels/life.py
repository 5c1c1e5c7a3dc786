"""One life of a channel: from `serve` to its end, and the port that it is given meanwhile.

* It is up when `serve` says so, within `CONNECT_S`. It ends when `serve` does (returning is a failure too), when the channel
  says so (`fail`), or when `proof_s` seconds have passed without proof of traffic. What is noticed outside `serve` is told to
  the supervisor, who ends the life: raising it in here would wait for a `serve` that does not end, and nobody would know.
* All that is done for it besides lives in `nursery`; sends are their callers' tasks. Both end with it, at once: nothing of
  them runs any more when `run` has ended.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path

import attrs
import trio

from nanobot.channels.edge import guarded
from nanobot.channels.gathering import Lanes
from nanobot.channels.port import Arrived, Channel, ChannelFailed, Limits, Part, SendUnknown, Unreachable
from nanobot.messages import Receipt
from nanobot.supervise.policy import Cause

CONNECT_S = 60.0
"""Seconds for the slowest of networks to log in and list its chats."""
SENDS_END_S = 3.0
"""Seconds for cancelled sends to let go; a worker gives a call one."""


@attrs.define(eq=False)
class Life:
    """See the module. Is the channel's Port."""

    name: str
    channel: Channel
    folder: Path
    _take: Callable[[Life, Arrived], Awaitable[None]]
    _tell: Callable[[ChannelFailed], None]
    """The supervisor, who ends the life for it."""
    commands: Mapping[str, str] = attrs.field(factory=dict)
    limits: Limits = attrs.field(init=False)
    up: bool = attrs.field(default=False, init=False)
    marking: int = attrs.field(default=0, init=False)
    """Messages that are being marked (reactions.py)."""
    unmarked_until: float = attrs.field(default=0.0, init=False)
    """By Trio's clock: until then none is."""
    nursery: trio.Nursery = attrs.field(init=False)
    """For tasks that end with it; while it is up."""
    _proof_at: float = attrs.field(default=0.0, init=False)
    """By Trio's clock."""
    _slots: trio.Semaphore = attrs.field(init=False)
    _lanes: Lanes = attrs.field(init=False)
    _sends: set[trio.CancelScope] = attrs.field(factory=set, init=False)
    _send_ended: trio.Event = attrs.field(factory=trio.Event, init=False)
    _connected: trio.Event = attrs.field(factory=trio.Event, init=False)
    _ending: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.limits = self.channel.limits
        self._slots = trio.Semaphore(self.limits.sends)
        self._lanes = Lanes(self.folder, self.deliver, self._start_soon)

    # --- the channel's side

    async def deliver(self, arrived: Arrived) -> None:
        await self._take(self, arrived)

    def take(self, arrived: Arrived, taken: Callable[[], None]) -> None:
        self._lanes.take(arrived, taken)

    def alive(self) -> None:
        self._proof_at = trio.current_time()

    def fail(self, error: ChannelFailed) -> None:
        if not self._ending:
            self._ending, self.up = True, False
            self._tell(error)

    # --- its owner's side

    async def run(self, when_up: Callable[[], None]) -> None:
        """Until it ends, which it does by raising what ended it, in a group."""
        try:
            async with trio.open_nursery() as self.nursery:
                self.nursery.start_soon(self._end_sends, name=f"channel {self.name}: sends")
                self.nursery.start_soon(self._watch, name=f"channel {self.name}: watch")
                await self.nursery.start(self._serve, name=f"channel {self.name}: serve")
                if not self._ending:
                    self.alive()
                    self.up = True
                    self._connected.set()
                    when_up()
        finally:
            with trio.move_on_after(SENDS_END_S, shield=True) as scope:
                while self._sends:
                    self._send_ended = trio.Event()
                    await self._send_ended.wait()
            if scope.cancelled_caught:
                raise ChannelFailed(f"{len(self._sends)} of its sends do not end", cause=Cause.STUCK)

    async def send(self, part: Part, seconds: float) -> Receipt:
        """Send, within so many seconds from when the network has room for it.

        Raises: what the channel raises; ChannelBug; SendUnknown where time or the life ran out.
        """
        handed = False
        with trio.CancelScope() as scope:
            self._sends.add(scope)
            try:
                async with self._slots:
                    handed, scope.deadline = True, trio.current_time() + seconds
                    return await guarded(self.name, partial(self.channel.send, part))
            finally:
                self._sends.discard(scope)
                self._send_ended.set()
        if not handed:
            raise Unreachable(f"{self.name} is not connected")
        raise SendUnknown(f"no answer within {seconds:g} s" if self.up else "the connection ended while it was being sent")

    @property
    def sending(self) -> int:
        """How many messages are on their way, or wait for their slot."""
        return len(self._sends)

    # --- its tasks

    def _start_soon(self, work: Callable[[], Awaitable[None]], *, name: str) -> None:
        self.nursery.start_soon(work, name=f"channel {self.name}: {name}")

    async def _serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        await self.channel.serve(self, task_status=task_status)
        raise ChannelFailed("it stopped without saying why", cause=Cause.RETURNED)

    async def _watch(self) -> None:
        """Fail it when it does not connect, and when there is no proof of traffic any more."""
        with trio.move_on_after(CONNECT_S):
            await self._connected.wait()
        if not self._connected.is_set():
            self.fail(ChannelFailed(f"not connected within {CONNECT_S:g} s"))
        while (proof_s := self.limits.proof_s) is not None and not self._ending:
            due = self._proof_at + proof_s
            await trio.sleep_until(due)
            late = trio.current_time() - due  # the loop stood still, and with it whoever gives proof
            await trio.sleep(late)
            if self._proof_at + proof_s <= due:
                self.fail(ChannelFailed(f"no sign of life for {proof_s:g} s"))

    async def _end_sends(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self._ending, self.up = True, False
            for scope in self._sends:
                scope.cancel()
