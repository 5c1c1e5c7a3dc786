"""Linking this machine to a number: a bridge of ours for as long as that takes, and the code to scan.

What WhatsApp brings meanwhile waits in the bridge's inbox for the gateway.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import trio

from nanobot.channels.edge import leaf
from nanobot.channels.port import ChannelFailed
from nanobot.channels.whatsapp import frames
from nanobot.channels.whatsapp.bridge import IN_USE, Home, drawn, open_bridge, token_of
from nanobot.channels.whatsapp.link import Address, Link, open_link
from nanobot.supervise.policy import Cause

LOGIN_S = 600.0
"""For somebody to find the phone; WhatsApp gives a new code every 20 to 60 s."""
SETTLE_S = 3.0
"""For keys that WhatsApp asks for right after a new link."""
SCAN = "\nOn the phone: WhatsApp, Settings, Linked devices, Link a device. Then scan this:\n"
USED = "WhatsApp is linked to {0}, and a gateway or another login uses that link: nanobot channels status"

Say = Callable[[str], None]
Draw = Callable[[str], Awaitable[str]]


async def login(home: Home, program: Path, token: str, say: Say) -> None:
    """Returns when it is linked. Raises: ChannelFailed."""
    failed: ChannelFailed | None = None
    try:
        secret = await trio.to_thread.run_sync(partial(token_of, home, token, make=True))
        async with open_bridge(home, 0, secret, program) as port, open_link(Address("127.0.0.1", port), secret) as link:
            await linked(link, partial(drawn, program), say)
    except* ChannelFailed as group:
        failed = leaf(group)
    if failed is not None and str(failed) == IN_USE.format(home.auth):
        raise ChannelFailed(USED.format(home.linked or "a number"))
    if failed is not None:
        raise failed
    say(f"WhatsApp is linked to {home.linked or 'the number'}.")


async def linked(link: Link, draw: Draw, say: Say) -> None:
    """Show codes until one was scanned. Raises: ChannelFailed."""
    status, asked = link.status, False
    with trio.move_on_after(LOGIN_S) as patience:
        while status != "connected":
            match await link.next():
                case frames.Status("refused"):
                    raise ChannelFailed("WhatsApp has blocked this account. See WhatsApp on the phone", cause=Cause.AUTH)
                case frames.Status("replaced"):
                    raise ChannelFailed("Another program uses the same WhatsApp link. Stop it, and try again", cause=Cause.CONFIG)
                case frames.Status(status):
                    if status == "disconnected" and not asked:
                        say("WhatsApp is not reached; trying again …")
                case frames.Qr(qr):
                    asked = True
                    say(SCAN)
                    say(await draw(qr))
                case _:  # messages wait for the gateway
                    pass
        if asked:
            say("Linked. WhatsApp sets the link up …")
            await trio.sleep(SETTLE_S)
    if patience.cancelled_caught:
        raise ChannelFailed(f"nothing was linked within {LOGIN_S / 60:g} minutes. Try again: nanobot channels login whatsapp")
