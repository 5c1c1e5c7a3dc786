"""What the tests of MCP share: servers that are kept for a block, and calls of what they offer."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from nanobot.config.schema import Config, McpServerConfig, RestartConfig
from nanobot.mcp.server import Server
from nanobot.mcp.servers import Servers
from nanobot.messages import CallId, Principal, SessionKey
from nanobot.supervise.status import Node
from nanobot.tools.port import Result, ToolTurn
from nanobot.tools.registry import Tools
from tests.fakes import mcp_server

PATIENCE_S = 30.0
QUICK = RestartConfig(first_s=0.05, longest_s=0.2)
HERE = ("127.0.0.0/8",)
"""Networks of a server on this machine."""


def misbehaving(*traits: str, **more: Any) -> McpServerConfig:
    return McpServerConfig(command=sys.executable, args=(mcp_server.__file__, *traits), **more)


def configured(**servers: McpServerConfig) -> Config:
    config = Config()
    tools, gateway = attrs.evolve(config.tools, mcp_servers=servers), attrs.evolve(config.gateway, restarts=QUICK)
    return attrs.evolve(config, tools=tools, gateway=gateway)


@attrs.define(eq=False)
class Kept:
    """Servers that run."""

    servers: Servers
    folder: Path
    changes: int = 0
    _news: trio.Event = attrs.field(factory=trio.Event)

    def get(self, name: str = "one") -> Server:
        return self.servers.get(name)

    def node(self, name: str = "one") -> Node:
        found = (node for group in self.servers.nodes() for node in group.children if node.name == name)
        return next(found, Node(name, "mcp", "starting", 0.0))

    def names(self) -> list[str]:
        return [tool.spec.name for tool in self.servers.tools]

    def turn(self, progress: Callable[[str], None] = lambda _line: None) -> ToolTurn:
        me = Principal("cli", "default", "direct", "me", owner=True)
        results = self.folder / "results"
        return ToolTurn(self.folder, SessionKey("cli", "direct"), me, CallId("c1"), results, progress=progress)

    async def call(self, tool: str, progress: Callable[[str], None] = lambda _line: None, **arguments: Any) -> Result:
        return await Tools(self.servers.tools, 16_000).run(tool, json.dumps(arguments), self.turn(progress))

    async def until(self, fact: Callable[[], object]) -> None:
        with trio.fail_after(PATIENCE_S):
            while not fact():
                await self._news.wait()

    async def until_up(self, name: str = "one") -> None:
        await self.until(lambda: self.node(name).state == "up")

    def changed(self) -> None:
        self.changes += 1
        self._told()

    def noted(self, _node: Node) -> None:
        self._told()

    def _told(self) -> None:
        self._news.set()
        self._news = trio.Event()


@asynccontextmanager
async def keeping(folder: Path, config: Config, *, settle: bool = True, **environ: str) -> AsyncIterator[Kept]:
    """The servers of `config` for as long as the block lasts; each has had its first attempt."""
    servers = Servers(config, folder, folder, {"PATH": os.environ["PATH"], **environ}, ())
    kept = Kept(servers, folder)
    servers.on_change, servers.on_node = kept.changed, kept.noted
    async with trio.open_nursery() as nursery:
        await nursery.start(servers.run)
        servers.begin()
        if settle:
            with trio.fail_after(PATIENCE_S):
                for name in config.tools.mcp_servers:
                    await servers.until_known(name)
        yield kept
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def one(folder: Path, *traits: str) -> AsyncIterator[Kept]:
    """The misbehaving server, up, as `one`."""
    async with keeping(folder, configured(one=misbehaving(*traits))) as kept:
        await kept.until_up()
        yield kept
