"""A look at WhatsApp beside a gateway that may run: who we are there, and a test message where one is wanted.

Nothing that arrives is taken: it waits in the bridge's inbox for the gateway.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import trio

from nanobot.channels.edge import leaf
from nanobot.channels.port import ChannelFailed, SendRefused
from nanobot.channels.whatsapp import frames
from nanobot.channels.whatsapp.bridge import IN_USE, Home
from nanobot.channels.whatsapp.link import NOT_LINKED, Link, connected, going_on
from nanobot.channels.whatsapp.people import address_of
from nanobot.config.schema import WhatsAppConfig
from nanobot.supervise.policy import Cause

REACH_S = 55.0
"""For the bridge to reach WhatsApp."""


async def look(config: WhatsAppConfig, home: Home, to: str, program: Path | None = None) -> tuple[str, ...]:
    """See port.Probes. Raises: SendRefused, before anything else, where `to` is no chat."""
    lines: tuple[str, ...] = ()
    failed: ChannelFailed | None = None
    if to:
        address_of(to)
    try:
        async with connected(config, home, program) as link:
            lines = await _looked(link, home, to)
    except* ChannelFailed as group:
        failed = leaf(group)
    if failed is None:
        return lines
    if str(failed) != IN_USE.format(home.auth):
        raise failed
    used = f"a nanobot that runs uses the link to {home.linked or 'nobody yet'}: nanobot channels status"
    return (used, "nothing was sent") if to else (used,)


async def _looked(link: Link, home: Home, to: str) -> tuple[str, ...]:
    if not await _reached(link):
        raise ChannelFailed(f"the bridge does not reach WhatsApp within {REACH_S:g} s")
    lines = (
        f"the bridge at {link.address} speaks version {frames.VERSION}",
        f"connected to WhatsApp as {home.linked or 'the number that this bridge is linked to'}",
    )
    return (*lines, await _sent(link, to)) if to else lines


async def _reached(link: Link) -> bool:
    """Raises: ChannelFailed where a person is needed."""
    status = going_on(link.status)
    with trio.move_on_after(REACH_S):
        while status != "connected":
            match await link.next():
                case frames.Status(now):
                    status = going_on(now)
                case frames.Qr():
                    raise ChannelFailed(NOT_LINKED, cause=Cause.AUTH)
                case _:  # messages wait for the gateway
                    pass
    return status == "connected"


async def _sent(link: Link, to: str) -> str:
    ref = secrets.token_hex(16)
    await link.say(frames.send_text(ref, address_of(to), "A test of nanobot."))
    while True:
        match await link.next():
            case frames.Sent(found, id) if found == ref:
                return f"sent to {to} as {id}"
            case frames.Failed(found, error) if found == ref:
                raise SendRefused(error)
            case _:  # messages wait for the gateway
                pass
