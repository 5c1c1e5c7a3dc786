"""The composition root of the daemon: builds everything, starts it in order, stops it in reverse.

Outermost are the heartbeat and what must outlive the house: the gateway's own journal, and the supervised children (channels,
control socket, page), so that replies still go out while the house drains. What a channel has read meanwhile is still taken:
it is answered after the next start. An end gives turns `gateway.drainS`, puts aside what is left, closes the way in, and takes
the rest down. Nothing is started anywhere else.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import NoReturn

import attrs
import trio
from loguru import logger

from nanobot import __version__
from nanobot.archive.reading import Reader
from nanobot.channels.outlet import Channels
from nanobot.config.paths import Places
from nanobot.config.schema import Config
from nanobot.control import heart, scheduling
from nanobot.control.approvals import Approvals
from nanobot.control.children import Children
from nanobot.control.desk import Desk
from nanobot.control.orders import Orders
from nanobot.control.pages import Pages
from nanobot.control.reload import Current, Reload
from nanobot.control.terminals import Inside, Terminals
from nanobot.control.watchers import Outlets, Watchers
from nanobot.control.wish import Ending, Wish
from nanobot.daemon.backlog import open_backlog, store_in
from nanobot.daemon.housekeeping import Housekeeping
from nanobot.daemon.notices import Notices
from nanobot.daemon.notify import Notify
from nanobot.errors import ConfigError
from nanobot.gateway.bus import Bus
from nanobot.gateway.house import open_house
from nanobot.journal import names
from nanobot.journal.writers import open_writers
from nanobot.messages import SessionKey
from nanobot.providers.transcription import Transcriber
from nanobot.security.access import Access
from nanobot.security.pairing import Pairing
from nanobot.session import events as ev
from nanobot.supervise.status import Node
from nanobot.supervise.supervisor import Supervisor

GOODBYE_S = 1.0
"""Seconds for terminals to hear that we end."""
BEAT_S = 1.0
"""Seconds between two signs of life: a watchdog waits for thirty."""
LOST = "The gateway's own journal is damaged, and messages or notices that waited in it may be lost: {}"
NOT_RESUMED = "nanobot died several times within minutes, so what was unfinished was ended and not taken up. The log says why."


@attrs.frozen
class Run:
    """What the process gives the daemon."""

    config: Config
    places: Places
    environ: Mapping[str, str]
    lock: int
    """Descriptor of the data directory's lock, which children keep until they are gone."""
    reread: Callable[[], Config]
    """The configuration as it is now. Raises: ConfigError."""
    beat: Callable[[], None] = lambda: None
    """Told every second that the loop turns."""
    leaving: Callable[[], None] = lambda: None
    """Told when an end begins, whoever asked for it."""
    warnings: tuple[str, ...] = ()
    notify: Notify = Notify()
    clock: Callable[[], float] = time.time
    """Seconds since the epoch."""
    wish: Wish = attrs.field(factory=Wish)


async def serve(run: Run) -> Ending:
    """Live until somebody wants an end; returns which. Raises: JournalError, InUse, OSError."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_beat, run)
        async with open_gateway(run) as desk, trio.open_nursery() as while_up:
            while_up.start_soon(_obey_reloads, run, desk)
            run.notify.ready()
            logger.info("nanobot {} is up in {}", __version__, run.places.data)
            await run.wish.ended.wait()
            run.leaving()
            run.notify.stopping()
            logger.info("nanobot is ending: {}", run.wish.ending.value)
            while_up.cancel_scope.cancel()
        nursery.cancel_scope.cancel()
    return run.wish.ending


@asynccontextmanager
async def open_gateway(run: Run) -> AsyncIterator[Desk]:
    """The daemon for as long as the block lasts, up when it enters. Raises: JournalError, InUse, OSError."""
    gateway, places, clock, current = run.config.gateway, run.places, run.clock, Current(run.config)

    async def hand(key: SessionKey, message: str, text: str) -> None:
        await house.registry.deliver(key, ev.Handed(message, text, clock()))

    def changed(node: Node) -> None:
        notices.on_change(node)
        if node.state in ("parked", "stuck") and current.config.gateway.on_parked == "exit":
            run.wish.end(Ending.PARKED)

    loop = trio.lowlevel.current_trio_token()
    pairing = Pairing(places.pairing, lambda text: loop.run_sync_soon(notices.tell, text))  # it speaks in threads
    access = Access(pairing, clock, gateway)
    async with (
        open_writers() as writers,
        open_backlog(store_in(places.data, writers), clock) as backlog,
        trio.open_nursery() as nursery,
    ):
        notices = Notices(backlog, hand, clock, gateway)
        supervisor = Supervisor(clock, changed)
        channels = Channels(run.config.channels, access, supervisor, places, clock, gateway.restarts)
        terminals = Terminals(clock, channels.serves)
        outlets = Outlets(channels, terminals)
        bus = Bus(backlog, notices.tell, clock)
        approvals = Approvals()
        await trio.to_thread.run_sync(approvals.read, Reader(str(places.journals)))
        orders = Orders(run.wish, pairing, current, writers, clock)
        async with open_house(
            run.config,
            places,
            run.environ,
            outlets,
            Watchers(channels, terminals, notices, approvals, access.owns, clock).watch,
            resume_all=True,
            drain_s=gateway.drain_s,
            inherit_fds=(run.lock,),
            clock=clock,
            orders=orders.by_name(),
            owns=access.owns,
            keyed=outlets.keyed,
            on_drained=bus.close,
            tell_owner=notices.tell,
        ) as house:
            bus.sessions = house
            channels.voice.transcribe = Transcriber(lambda: current.config, run.environ, house.mind.http).words
            if backlog.damaged is not None:
                notices.tell(LOST.format(backlog.damaged))
            if not house.resumes:
                notices.tell(NOT_RESUMED)
            others = (house.servers.nodes, backlog.nodes, notices.nodes, house.meter.nodes)
            desk = Desk(house.registry, house.store, supervisor, run.wish, clock, others, approvals)
            desk.restart_server = house.servers.restart
            house.servers.on_node = lambda node: notices.on_change(attrs.evolve(node, name=f"The MCP server {node.name}"))
            pages = Pages(house.registry, Reader(house.store.journals.root), clock)
            children = Children(current, places, supervisor, channels, terminals, desk, pages)
            desk.on_reload = Reload(current, run.reread, house, channels, (access, notices), children.switch)
            channels.deliver, channels.on_up = bus.deliver, lambda name: house.registry.wake_channel(name, clock())
            terminals.inside = Inside(
                house.registry,
                bus.deliver,
                house.mind.describe,
                lambda key: places.media / names.encode(key),
                places.workspace(run.config),
                run.warnings,
            )
            for service in (supervisor.run, bus.run, notices.run):
                await nursery.start(service)
            await children.start()
            cron = scheduling.begin(
                house, places, current, access=access, channels=channels, notices=notices, supervisor=supervisor, desk=desk
            )
            heart.begin(house, places, current, backlog=backlog, notices=notices, supervisor=supervisor)
            desk.ready = True
            house.servers.begin()
            yield desk
            cron.close()
        with trio.move_on_after(GOODBYE_S, shield=True):
            await terminals.close(restarting=run.wish.ending is Ending.RESTART)
        nursery.cancel_scope.cancel()


async def _beat(run: Run) -> NoReturn:
    housekeeping = Housekeeping()
    while True:
        housekeeping.look()
        run.beat()
        run.notify.alive()
        await trio.sleep(BEAT_S)


async def _obey_reloads(run: Run, desk: Desk) -> NoReturn:
    while True:
        await run.wish.reload_asked()
        run.notify.reloading()
        try:
            logger.info("the configuration was read again: {}", await desk.reload())
        except ConfigError as error:
            logger.warning("the configuration was read again, and nothing is changed: {}", error)
        run.notify.ready()
