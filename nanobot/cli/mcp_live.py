"""`nanobot mcp test` and `nanobot mcp login`: speak to a server from this terminal, whether a gateway runs or not."""

from __future__ import annotations

import os
import sys
import webbrowser
from functools import partial
from pathlib import Path
from typing import Annotated

import attrs
import trio
from cyclopts import Parameter
from loguru import logger

from nanobot.cli import live
from nanobot.cli.mcp_cmd import NameOption, find
from nanobot.cli.options import ConfigOption, JsonOption
from nanobot.cli.terminal import Opened, opened, say, say_json, tell, tell_warnings
from nanobot.cli.texts import plain
from nanobot.config.schema import Config
from nanobot.control.client import NotRunning
from nanobot.control.port import MCP
from nanobot.errors import NanobotError
from nanobot.mcp.auth_file import AuthFile
from nanobot.mcp.login import logged_in
from nanobot.mcp.server import Server
from nanobot.mcp.servers import Servers
from nanobot.mcp.tools import READS
from nanobot.wire import Json


def check(name: NameOption, /, *, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Connect to a server and say what it offers, and what of that is left out."""
    instance = opened(config)
    tell_warnings(instance.warnings)
    find(instance.config, name)
    logger.remove()
    server, names = trio.run(_tried, instance, name)
    offers = server.listing.offers
    if json:
        told: list[Json] = [
            {"name": known, "kind": str(one.kind), "there": one.raw, "reads": one.reads, "description": one.description}
            for known, one in zip(names, offers, strict=True)
        ]
        say_json({"server": server.about, "offers": told, "leftOut": list(server.listing.left_out)})
        return
    say(f"{plain(name)} answers: {plain(server.about)}")
    for known, one in zip(names, offers, strict=True):
        about = one.description.partition("\n")[0]
        say(f"  {known}{f' ({READS})' if one.reads else ''}  {plain(about)[:80]}".rstrip())
    for line in server.listing.left_out:
        say(f"left out: {plain(line)}")


async def _tried(instance: Opened, name: str) -> tuple[Server, list[str]]:
    """Raises: NanobotError."""
    servers = Servers(_only(instance, name), instance.places.data, _folder(instance), os.environ, ())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(servers.run)
        servers.begin()
        node, server = await servers.until_known(name), servers.get(name)
        names = [tool.spec.name for tool in servers.tools]
        nursery.cancel_scope.cancel()
    if node.state != "up":
        raise NanobotError(f"{plain(name)} cannot be used: {plain(node.error)}")
    return server, names


def _only(instance: Opened, name: str) -> Config:
    """The configuration with that server alone."""
    servers = {name: instance.config.tools.mcp_servers[name]}
    return attrs.evolve(instance.config, tools=attrs.evolve(instance.config.tools, mcp_servers=servers))


def _folder(instance: Opened) -> Path:
    """That servers run in: the workspace, where there is one."""
    workspace = instance.places.workspace(instance.config)
    return workspace if workspace.is_dir() else Path.home()


def login(
    name: NameOption,
    /,
    *,
    paste: Annotated[
        bool, Parameter(name="--paste", negative="", help="The browser is on another machine: ask for the address it ends at.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Log in to a server in a browser; the login is kept in the data directory."""
    instance = opened(config)
    tell_warnings(instance.warnings)
    server = find(instance.config, name)
    if not server.url:
        raise NanobotError(f"{plain(name)} is a program of this machine and needs no login")
    logger.remove()
    file = AuthFile.below(instance.places.data)
    say(trio.run(partial(logged_in, file, name, server, instance.config.tools, _paste if paste else _browse, ask=paste)))
    try:
        live.restart(instance.places.data, f"{MCP}{name}")
    except NotRunning:
        pass
    except NanobotError as error:
        tell(f"The gateway was not told: {error}. It uses the login after: nanobot gateway reload")


def _browse(address: str) -> None:
    if not (_has_display() and webbrowser.open(address)):
        tell("Open this in a browser of this machine. If it is on another one: nanobot mcp login NAME --paste")
    print(address)  # not by `say`, which would hide what looks like a secret in it
    sys.stdout.flush()


def _paste(address: str) -> None:
    tell("Open this in a browser, log in, and copy the address that it ends at, though nothing is shown there:")
    print(address)
    sys.stdout.flush()


def _has_display() -> bool:
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
