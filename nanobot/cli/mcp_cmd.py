"""`nanobot mcp`: the servers of the Model Context Protocol, as the configuration wants them and as the gateway has them."""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Iterator, Mapping
from typing import Annotated
from urllib.parse import urlsplit

from cyclopts import App, Parameter

from nanobot.cli import live, mcp_file
from nanobot.cli.options import ConfigOption, JsonOption
from nanobot.cli.terminal import opened, say, say_json, tell_warnings
from nanobot.cli.texts import plain
from nanobot.config.schema import Config, McpServerConfig
from nanobot.control.client import NotRunning
from nanobot.control.port import MCP
from nanobot.errors import NanobotError
from nanobot.mcp.address import is_address, shown
from nanobot.mcp.auth_file import AuthFile
from nanobot.mcp.naming import prefix
from nanobot.supervise.status import Node, as_json
from nanobot.tools.plain import one_line
from nanobot.wire import Json, JsonObject

LOOPBACK = {"localhost": "127.0.0.0/8"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
HINT = "Try it: nanobot mcp test {0}. A gateway that runs takes it up with: nanobot gateway reload"
NameOption = Annotated[str, Parameter(help="The server, as `nanobot mcp list` shows it.")]

app = App(name="mcp", help="See, add and try servers of the Model Context Protocol.", version_flags=[])
app.command("nanobot.cli.mcp_live:check", name="test", help="Connect to a server and say what it offers.", sort_key=2)
app.command("nanobot.cli.mcp_live:login", name="login", help="Log in to a server in a browser.", sort_key=3)


@app.command(name="list", sort_key=1)
def show(*, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Show which servers there are, and how each of them is."""
    instance = opened(config)
    tell_warnings(instance.warnings)
    running = live.look(instance.places.data)
    nodes = {} if running is None else _nodes(running.tree)
    if json:
        servers: list[Json] = [_as_json(name, one, nodes.get(name)) for name, one in instance.config.tools.mcp_servers.items()]
        say_json({"running": running is not None, "servers": servers})
        return
    for line in _lines(instance.config, nodes, time.time()):
        say(line)
    if running is None:
        say(f"\n{NotRunning()}")


@app.command(sort_key=4)
def add(
    name: Annotated[str, Parameter(help="What to call it; its tools are called mcp_NAME_TOOL.")],
    /,
    *command: Annotated[str, Parameter(help="Program and its arguments, behind --.", allow_leading_hyphen=True)],
    url: Annotated[str, Parameter(name="--url", help="Address of a server that is reached by HTTP.")] = "",
    env: Annotated[tuple[str, ...], Parameter(name="--env", negative="", help="NAME=VALUE for the program.")] = (),
    header: Annotated[tuple[str, ...], Parameter(name="--header", negative="", help="NAME=VALUE for the address.")] = (),
    config: ConfigOption = None,
) -> None:
    """Write a server into the configuration."""
    instance = opened(config)
    if bool(command) == bool(url):
        raise NanobotError("A server is a program (nanobot mcp add NAME -- PROGRAM ...) or an address (--url ADDRESS)")
    section: JsonObject = {"url": url} if url else {"command": command[0], "args": list(command[1:])}
    if env if url else header:
        raise NanobotError("--env is for a program, and --header for an address (--url)")
    _check_name(name, instance.config.tools.mcp_servers)
    if url and not is_address(url):
        raise NanobotError(f"{plain(url)} is no address: one begins with https:// (or http://) and the name of a host")
    section |= {"env": _pairs(env, _VARIABLE)} if env else {}
    section |= {"headers": _pairs(header, _HEADER)} if header else {}
    if network := own_network(url):
        section["networks"] = [network]
    there = mcp_file.put(instance.places, name, section)
    say(f"{plain(name)} was {'changed' if there else 'added'}. {HINT.format(plain(name))}")
    if network:
        say(f"Its address is no public one: its networks lets this server, and nothing else, reach {network}.")


@app.command(sort_key=5)
def remove(name: NameOption, /, *, config: ConfigOption = None) -> None:
    """Take a server out of the configuration, and forget its login."""
    instance = opened(config)
    mcp_file.drop(instance.places, name)
    AuthFile.below(instance.places.data).remove(name)
    say(f"{plain(name)} was removed. A gateway that runs ends it with: nanobot gateway reload")


@app.command(sort_key=6)
def restart(name: NameOption, /, *, config: ConfigOption = None) -> None:
    """Connect the gateway to a server anew, also to one that was parked."""
    instance = opened(config)
    find(instance.config, name)
    live.restart(instance.places.data, f"{MCP}{name}")
    say(f"{plain(name)} is connected to anew. See how it is: nanobot mcp list")


def find(config: Config, name: str) -> McpServerConfig:
    """Raises: NanobotError."""
    servers = config.tools.mcp_servers
    if name not in servers:
        known = ", ".join(map(plain, servers)) or "none; to add one: nanobot mcp add NAME -- PROGRAM"
        raise NanobotError(f"There is no MCP server {plain(name)}. There are: {known}")
    return servers[name]


def own_network(url: str) -> str:
    """The network that an address leads to, where it is one that nobody else may reach; empty for a public one."""
    if not is_address(url):
        return ""
    host = urlsplit(url).hostname or ""
    if host in LOOPBACK:
        return LOOPBACK[host]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ""
    if address.is_loopback:
        return LOOPBACK["localhost"] if address.version == 4 else "::1/128"
    return "" if address.is_global else str(ipaddress.ip_network(address))


def _check_name(name: str, servers: Mapping[str, McpServerConfig]) -> None:
    """Raises: NanobotError."""
    if _NAME.fullmatch(name) is None:
        raise NanobotError(f"{one_line(name)} is no name for a server: letters, digits, - and _, at most 32")
    for other in servers:
        if other != name and prefix(other) == prefix(name):
            raise NanobotError(f"The tools of {name} would be called like those of {plain(other)}. Give it another name")


def _pairs(given: tuple[str, ...], names: re.Pattern[str]) -> JsonObject:
    """Raises: NanobotError."""
    pairs: JsonObject = {}
    for one in given:
        name, sign, value = one.partition("=")
        if not sign or names.fullmatch(name) is None:
            raise NanobotError("--env and --header take NAME=VALUE. A secret is better as NAME='${VARIABLE}' in single quotes")
        pairs[name] = value
    return pairs


def _nodes(root: Node) -> dict[str, Node]:
    """The servers of a tree."""
    return {node.name: node for group in root.children if group.kind == "group" for node in group.children if node.kind == "mcp"}


def _lines(config: Config, nodes: Mapping[str, Node], now: float) -> Iterator[str]:
    servers = config.tools.mcp_servers
    if not servers:
        yield "There are none. To add one: nanobot mcp add NAME -- PROGRAM, or: nanobot mcp add NAME --url ADDRESS"
        return
    width = max(map(len, servers)) + 2
    for name, one in servers.items():
        node = nodes.get(name)
        where = one.command or shown(one.url)
        yield f"{plain(name):<{width}}{plain(where)[:40]:<42}{'' if node is None else _state(node, now)}".rstrip()


def _state(node: Node, now: float) -> str:
    since = live.ago(now - node.since) if node.since else ""
    offers = dict(node.facts).get("offers", "0")
    return f"{node.state:<{live.STATE}}{since:<{live.SINCE}}offers {offers:<5}{live.remarks(node, now)}"


def _as_json(name: str, config: McpServerConfig, node: Node | None) -> JsonObject:
    return {
        "name": name,
        "command": config.command,
        "url": shown(config.url) if config.url else "",
        "live": None if node is None else as_json(node),
    }
