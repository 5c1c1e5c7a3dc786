"""A gateway for those who speak to one over its socket: it remembers what it was asked, and says what it was told to say.

`listening(data, gateway)` serves it in a thread, for commands, which block.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs
import trio

from nanobot.control import server
from nanobot.control.letters import Letter
from nanobot.control.port import Stream
from nanobot.errors import NanobotError
from nanobot.messages import SessionKey
from nanobot.supervise.status import Node

STARTED = 1_790_000_000.0


def tree(*channels: Node, state: str = "up") -> Node:
    """What a gateway with these channels would show."""
    control = Node("control", "service", "up", STARTED)
    return Node(
        "gateway", "gateway", state, STARTED, children=(control, Node("channels", "group", "up", STARTED, children=channels))
    )


@attrs.define(eq=False)
class FakeGateway:
    """`asked` has every request that came, as a line."""

    root: Node = attrs.field(factory=tree)
    outbox: list[Letter] = attrs.field(factory=list)
    error: NanobotError | None = None
    """Raised by whatever is asked next."""
    hold: trio.Event | None = None
    """While it is not set, what is asked takes its time."""
    asked: list[str] = attrs.field(factory=list)
    on_release: threading.Event = attrs.field(factory=threading.Event)

    def tree(self) -> Node:
        return self.root

    def page(self) -> str:
        return "http://127.0.0.1:18790/#token"

    async def restart_channel(self, name: str) -> None:
        await self._note(f"restart_channel {name}")

    async def reload(self) -> str:
        await self._note("reload")
        return "restarted: telegram"

    def stop(self) -> None:
        self.asked.append("stop")

    def restart(self) -> None:
        self.asked.append("restart")

    async def letters(self) -> tuple[Letter, ...]:
        await self._note("letters")
        return tuple(self.outbox)

    async def retry(self, ids: Sequence[str]) -> int:
        await self._note(f"retry {' '.join(ids)}")
        return len(ids)

    async def drop(self, ids: Sequence[str]) -> int:
        await self._note(f"drop {' '.join(ids)}")
        return len(ids)

    def jobs_changed(self) -> None:
        self.asked.append("jobs_changed")

    async def run_job(self, id: str) -> int:
        await self._note(f"run_job {id}")
        return 1_790_000_000_000

    async def release(self, key: SessionKey) -> None:
        await self._note(f"release {key}")
        self.on_release.set()

    async def _note(self, line: str) -> None:
        self.asked.append(line)
        if self.hold is not None:
            await self.hold.wait()
        if self.error is not None:
            raise self.error


@contextmanager
def listening(data: Path, gateway: FakeGateway, streams: Mapping[str, Stream] | None = None) -> Iterator[FakeGateway]:
    """The control socket of `data` is served for as long as the block lasts."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    ready = threading.Event()
    ends: list[tuple[trio.lowlevel.TrioToken, trio.CancelScope]] = []

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(server.serve, data, gateway, streams or {})
            ends.append((trio.lowlevel.current_trio_token(), nursery.cancel_scope))
            ready.set()

    thread = threading.Thread(target=trio.run, args=(run,))
    thread.start()
    try:
        assert ready.wait(10), "the fake gateway did not start"
        yield gateway
    finally:
        for token, scope in ends:
            token.run_sync_soon(scope.cancel)
        thread.join(10)
