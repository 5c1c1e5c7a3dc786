"""`nanobot channels login`: link this machine to an account of a network that knows no tokens."""

from __future__ import annotations

import sys
from typing import Annotated

import trio
from cyclopts import Parameter
from loguru import logger

from nanobot.channels.whatsapp import bridge
from nanobot.channels.whatsapp import login as linking
from nanobot.cli import live
from nanobot.cli.options import ConfigOption
from nanobot.cli.terminal import opened, say, tell, tell_warnings
from nanobot.config.paths import Places
from nanobot.config.schema import WhatsAppConfig
from nanobot.errors import NanobotError

OTHERS = "channels.whatsapp.autostart is off, so another bridge is used; link that one. See: nanobot guide whatsapp"
BY_TOKEN = "{0} needs no login. See: nanobot guide {0}"


def login(
    name: Annotated[str, Parameter(help="The channel: whatsapp.")],
    /,
    *,
    config: ConfigOption = None,
) -> None:
    """Link this machine to an account: builds what that needs, shows the code to scan, and waits."""
    instance = opened(config)
    tell_warnings(instance.warnings)
    if name != "whatsapp":
        known = hasattr(instance.config.channels, name)
        raise NanobotError(BY_TOKEN.format(name) if known else f"There is no network {name} to log in to. There is: whatsapp")
    section = instance.config.channels.whatsapp
    if not section.autostart:
        raise NanobotError(OTHERS)
    logger.remove()
    trio.run(_whatsapp, instance.places, section)
    _hand_over(instance.places, section)


async def _whatsapp(places: Places, section: WhatsAppConfig) -> None:
    home = bridge.Home(places.data)
    program = await bridge.build(home, tell)
    await linking.login(home, program, section.bridge_token.reveal(), _say_now)


def _say_now(text: str) -> None:
    """A code to scan is good for seconds, also where a log takes the output."""
    say(text)
    sys.stdout.flush()


def _hand_over(places: Places, section: WhatsAppConfig) -> None:
    """To the gateway."""
    if not section.enabled:
        say(f'Now turn it on: set "enabled": true in channels.whatsapp of {places.config}, and see: nanobot guide whatsapp')
    elif live.look(places.data) is not None:
        live.restart(places.data, "whatsapp")
        say("The gateway connects now. See how it is: nanobot channels status")
    else:
        say("Now start the gateway: nanobot gateway")
