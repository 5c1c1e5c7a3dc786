"""The real gateway, through its command, with all networks that there are, each against its loopback server."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import trio

from nanobot.channels.whatsapp.bridge import Home
from nanobot.control.client import NotAnswering, NotRunning
from nanobot.wire import JsonObject
from tests.channels import mails
from tests.fakes import daemon
from tests.fakes.daemon import Daemon
from tests.fakes.imap import PASSWORD, Imap, imap_server
from tests.fakes.smtp import Smtp, smtp_server
from tests.fakes.telegram import FakeTelegram, fake_telegram
from tests.fakes.whatsapp import Network, open_network

NAMES = ("email", "telegram", "whatsapp")
PATIENCE_S = 40.0
PHONE = "4915112345678@s.whatsapp.net"


@attrs.define(eq=False)
class Networks:
    """The gateway and those whom it talks to."""

    place: Path
    telegram: FakeTelegram
    imap: Imap
    smtp: Smtp
    whatsapp: Network
    daemon: Daemon = attrs.field(init=False)
    said: int = 0

    async def start(self, names: tuple[str, ...] = NAMES) -> None:
        """Returns when all that are named are up."""
        config: JsonObject = {
            "agents": {"defaults": {"model": "demo", "workspace": str(self.place / "workspace")}},
            "channels": {name: self._sections()[name] for name in names},
        }
        self.daemon = await trio.to_thread.run_sync(daemon.start, self.place, config)
        await self.until(partial(self._are_up, names))

    async def end(self, *, kill: bool = False) -> None:
        self.daemon.process.kill() if kill else self.daemon.process.terminate()
        await trio.to_thread.run_sync(self.daemon.wait)

    def say(self) -> None:
        """One message in each network."""
        self.said += 1
        self.telegram.says("hello")
        id = f"m{self.said}@friends.example"
        self.imap.put(mails.mail("hello", id=id))
        self.whatsapp.say("hello", PHONE)

    def answers(self) -> tuple[int, int, int]:
        shown = sum(one["to"] == PHONE for one in self.whatsapp.shown.values())
        return len(self.smtp.taken), len(self.telegram.sent("sendMessage")), shown

    def confirmed(self) -> bool:
        """Nothing is left that a network would tell again."""
        return not self.telegram.updates and not self.whatsapp.waiting and not self.imap.unseen

    async def until(self, fact: Callable[[], object]) -> float:
        """Seconds until it holds. Raises: trio.TooSlowError."""
        began = time.monotonic()
        with trio.fail_after(PATIENCE_S):
            while not await trio.to_thread.run_sync(fact):  # noqa: ASYNC110  # facts of servers and of a process
                await trio.sleep(0.02)
        return time.monotonic() - began

    def _are_up(self, names: tuple[str, ...]) -> bool:
        assert self.daemon.process.poll() is None, self.daemon.said()
        try:
            states = dict(_states(self.daemon.status()))
        except (NotRunning, NotAnswering):
            return False
        return all(states.get(name) == "up" for name in names)

    def _sections(self) -> dict[str, JsonObject]:
        return {
            "telegram": {
                "enabled": True,
                "token": self.telegram.token,
                "apiBase": self.telegram.url,
                "allowFrom": ["*"],
                "streaming": False,
            },
            "email": {
                "enabled": True,
                "consentGranted": True,
                "imapHost": "127.0.0.1",
                "imapPort": self.imap.port,
                "imapUseSsl": False,
                "imapUsername": mails.BOT,
                "imapPassword": PASSWORD,
                "smtpHost": "127.0.0.1",
                "smtpPort": self.smtp.port,
                "smtpUseTls": False,
                "authservId": mails.SERVER,
                "allowFrom": ["*"],
            },
            "whatsapp": {"enabled": True, "allowFrom": ["*"]},
        }


def _states(node: JsonObject) -> list[tuple[str, str]]:
    children = node.get("children", [])
    below = (
        [pair for child in children if isinstance(child, dict) for pair in _states(child)] if isinstance(children, list) else []
    )
    return [(str(node["name"]), str(node["state"])), *below]


@asynccontextmanager
async def open_networks(place: Path) -> AsyncIterator[Networks]:
    """The servers; `start` starts the gateway, which is gone after the block."""
    async with fake_telegram() as telegram, imap_server() as imap, smtp_server() as smtp, open_network() as whatsapp:
        whatsapp.install(Home(place))
        networks = Networks(place, telegram, imap, smtp, whatsapp)
        try:
            yield networks
        finally:
            with trio.CancelScope(shield=True):
                if hasattr(networks, "daemon") and networks.daemon.process.poll() is None:
                    await networks.end()
