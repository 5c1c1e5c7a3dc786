"""A gateway reduced to sessions and terminals, as a process of its own: to be attached to, stopped, and killed.

    async with gateway_process(home) as gateway:
        ...
        gateway.kill()                      # SIGKILL; `terminate()` is an end in order

The sessions of channel `net` have a network, which takes everything and writes it to `<data>/network.log`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import trio

from nanobot.channels.port import NotTaken
from nanobot.config.load import load
from nanobot.config.paths import Places, places
from nanobot.control import server
from nanobot.control.terminals import Inside, Terminals
from nanobot.daemon import lock
from nanobot.gateway.house import House, open_house
from nanobot.journal import names
from nanobot.messages import Inbound
from nanobot.session import events as ev
from nanobot.session.ports import DeliveryEnd
from nanobot.session.state import Pending, Session
from tests.fakes.gateway import FakeGateway

NETWORK = "net"
PATIENCE = 20.0
DRAIN_S = 2.0


@asynccontextmanager
async def gateway_process(home: Path, **environ: str) -> AsyncIterator[trio.Process]:
    """Runs for the configuration in that home folder, and is ready; killed at the end of the block if it still runs."""
    env = {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8", **environ}
    run = partial(trio.run_process, [sys.executable, "-m", __name__], stdout=subprocess.PIPE, check=False, env=env)
    async with trio.open_nursery() as nursery:
        process = await nursery.start(run)
        await said(process, "ready")
        yield process
        if process.returncode is None:
            process.kill()


async def said(process: trio.Process, word: str) -> None:
    """Wait until it says what it does: `ready`, then `draining`."""
    assert process.stdout is not None
    with trio.fail_after(PATIENCE):
        assert await process.stdout.receive_some() == f"{word}\n".encode()


@attrs.define
class _Outlets:
    """Terminals, and the network."""

    terminals: Terminals
    log: Path

    async def send(self, session: Session, pending: Pending, part: int) -> DeliveryEnd:
        if self.terminals.serves(session.key):
            return await self.terminals.send(session, pending, part)
        with self.log.open("a") as log:
            log.write(f"{session.key} {pending.outbound.text}\n")
        return ev.PartDelivered(pending.outbound.id, part, time.time())


@attrs.define
class _Door:
    """The way in, until it closes."""

    house: House
    closed: bool = False

    async def deliver(self, inbound: Inbound) -> None:
        if self.closed:
            raise NotTaken("the gateway is stopping", code="stopping")
        await self.house.deliver(inbound)


async def serve() -> None:
    """Until SIGTERM."""
    where = places()
    where.data.mkdir(exist_ok=True)
    terminals = Terminals(time.time, lambda channel: channel == NETWORK)
    with lock.alone(where) as held, trio.open_signal_receiver(signal.SIGTERM) as ending:
        async with trio.open_nursery() as nursery:
            streams = {"attach": terminals.attach, "ask": terminals.ask}
            await nursery.start(server.serve, where.data, FakeGateway(), streams)
            await _live(where, terminals, held, ending)
            await terminals.close()
            nursery.cancel_scope.cancel()


async def _live(where: Places, terminals: Terminals, held: int, ending: AsyncIterator[int]) -> None:
    loaded = load(where.config, os.environ)
    outlets = _Outlets(terminals, where.data / "network.log")
    async with open_house(
        loaded.config,
        where,
        os.environ,
        outlets,
        terminals.watch,
        resume_all=True,
        drain_s=DRAIN_S,
        inherit_fds=(held,),
    ) as house:
        door = _Door(house)
        terminals.inside = Inside(
            house.registry,
            door.deliver,
            house.mind.describe,
            lambda key: where.media / names.encode(key),
            where.workspace(loaded.config),
            loaded.warnings,
        )
        print("ready", flush=True)
        await anext(ending)
        door.closed = True
        print("draining", flush=True)


if __name__ == "__main__":
    trio.run(serve)
