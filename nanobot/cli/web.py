"""`nanobot web`: the gateway's page, with its token, in a browser or as an address."""

from __future__ import annotations

import os
import sys
import webbrowser
from typing import Annotated

from cyclopts import Parameter

from nanobot.cli.options import ConfigOption
from nanobot.cli.terminal import opened, say, tell
from nanobot.control.client import ask
from nanobot.errors import NanobotError

ASK_S = 5.0


class NoPage(NanobotError):
    """The gateway serves none."""


def web(
    *,
    config: ConfigOption = None,
    no_open: Annotated[bool, Parameter(name="--print", negative="", help="Only print the address.")] = False,
) -> None:
    """Open the page of the running gateway."""
    instance = opened(config)
    address = ask(instance.places.data, {"do": "page"}, ASK_S)
    if not isinstance(address, str) or not address:
        raise NoPage('The gateway serves no page now: nanobot status says why. To have one: "gateway": {"http": true}')
    if no_open or not _has_display() or not webbrowser.open(address):
        print(address)  # with its token, which `say` would hide: whoever may ask the gateway is its owner
        tell("Open this in a browser. It holds the token: do not pass it on.")
    else:
        say("The page is opening in your browser. The address alone: nanobot web --print")


def _has_display() -> bool:
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
