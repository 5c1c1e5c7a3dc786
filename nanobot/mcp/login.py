"""A person logs in to a server: from the first refusal to tokens in the file."""

from __future__ import annotations

import sys
from collections.abc import Callable

import trio

from nanobot.config.schema import McpServerConfig, ToolsConfig
from nanobot.errors import NanobotError
from nanobot.mcp.auth_file import AuthFile
from nanobot.mcp.callback import Callback, open_callback
from nanobot.mcp.line import Line
from nanobot.mcp.server import first, kind_of, loaded
from nanobot.mcp.servers import tools_for
from nanobot.security.egress import Egress

LOGIN_S = 600.0
"""Seconds for a person to log in: with a second factor, and a password that has to be looked for."""
_HTTP, _OAUTH, _WIRE = (f"nanobot.mcp.{name}" for name in ("http", "oauth", "wire"))


async def logged_in(
    file: AuthFile,
    name: str,
    server: McpServerConfig,
    tools: ToolsConfig,
    show: Callable[[str], None],
    *,
    ask: bool = False,
) -> str:
    """Log in, and say how that went. show: told the address for the browser, in a thread. ask: read the address that it ended at
    from standard input, where the browser cannot come back by itself. Raises: NanobotError."""
    oauth, http, wire = await loaded(_OAUTH), await loaded(_HTTP), await loaded(_WIRE)
    port, line = oauth.port_of(file.of(name, server.url)), Line()
    said = wrong = ""
    patience = trio.move_on_after(LOGIN_S)
    try:
        with patience:
            async with open_callback(port) as callback, trio.open_nursery() as nursery:

                async def shown(address: str) -> None:
                    await trio.to_thread.run_sync(show, address)
                    if ask:
                        nursery.start_soon(_pasted, callback)

                auth, done = oauth.login(file, name, server.url, callback, shown)
                address = http.Address(server.url, server.headers, kind_of(server) == "sse", "")
                transport = http.http(Egress(tools_for(tools, server)), address, line, auth)
                async with wire.open_link(transport, line, lambda: None) as link:
                    said = f"You are logged in: {link.about}." if done() else f"It asks for no login: {link.about}."
                nursery.cancel_scope.cancel()
    except* wire.FAILURES as group:
        wrong = f"{name}: {line.why or first(group)}"
    if wrong and not said:
        raise NanobotError(wrong)
    if patience.cancelled_caught:
        raise NanobotError(f"Nobody has logged in within {LOGIN_S:g} s. Try again: nanobot mcp login {name}")
    return said


async def _pasted(callback: Callback) -> None:
    """Until an address is the answer, or the input ends."""
    while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
        if callback.take(line):
            return
        print("That is not the address that this login ends at. Copy all of it, and try again:", file=sys.stderr)
