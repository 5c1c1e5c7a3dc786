"""The process around the daemon: its lock, log, signals and watchdog, and what its end means."""

from __future__ import annotations

import os
import signal

import attrs
import trio

from nanobot import log
from nanobot.cli.chatting.failures import sentence_of
from nanobot.cli.terminal import Opened, opened, tell
from nanobot.config.schema import Config
from nanobot.control.wish import Ending
from nanobot.daemon import lock
from nanobot.daemon.notify import Notify
from nanobot.daemon.signals import Signals, caught
from nanobot.daemon.watchdog import watching
from nanobot.errors import NanobotError
from nanobot.gateway.app import Run, serve
from nanobot.web.token import check

END_S = 15.0
"""Seconds beyond the drain: the bounds of channels, journals and workers, which on a machine that works take none of it."""
FAILED = 1
CODES = {Ending.STOPPED: 0, Ending.RESTART: 0, Ending.PARKED: 3}


def run(instance: Opened, *, port: int | None, level: str) -> Ending | None:
    """Run the daemon until it ends; None if it failed, which was said. Raises: ConfigError, InUse, OSError."""
    config, places = _with_port(instance.config, port), instance.places
    check(config.gateway)

    def reread() -> Config:
        config = _with_port(opened(places.config if places.named else None).config, port)
        check(config.gateway)
        return config

    def leave() -> None:
        watchdog.leave(config.gateway.drain_s + END_S)

    ended: list[Ending] = []
    with (
        lock.alone(places) as held,
        log.opened(places.logs, stderr=True, level=level),
        watching() as watchdog,
        caught(leave) as signals,
    ):
        daemon = Run(config, places, os.environ, held, reread, watchdog.beat, leave, instance.warnings, Notify.of(os.environ))
        try:
            ended.append(trio.run(_main, daemon, signals, restrict_keyboard_interrupt_to_checkpoints=True))
        except* (NanobotError, OSError) as group:
            tell(sentence_of(group))
    return ended[0] if ended else None


async def _main(daemon: Run, signals: Signals) -> Ending:
    token = trio.lowlevel.current_trio_token()

    def heard(number: int) -> None:
        """In a signal handler."""
        act = daemon.wish.reload if number == signal.SIGHUP else lambda: daemon.wish.end(Ending.STOPPED)
        try:
            token.run_sync_soon(act)
        except trio.RunFinishedError:
            pass  # there is nothing left to end

    signals.attach(heard)
    return await serve(daemon)


def _with_port(config: Config, port: int | None) -> Config:
    if port is None:
        return config
    return attrs.evolve(config, gateway=attrs.evolve(config.gateway, port=port))
