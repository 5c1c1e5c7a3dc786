"""All servers of the configuration: who keeps them alive, and what they offer at the moment.

`run` keeps them until it is cancelled, and begins when `begin` is called, so that nothing waits for them: a gateway begins once
it is ready. `settled` is for who needs the tools: it waits for each server's first attempt, and never longer than `SETTLE_S` from
the beginning.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import attrs
import trio
from loguru import logger

from nanobot.config.schema import Config, McpServerConfig, RestartConfig, Secret, ToolsConfig
from nanobot.mcp.auth_file import AuthFile
from nanobot.mcp.server import Server, Surroundings, kind_of
from nanobot.mcp.tools import Pair, bound, chosen
from nanobot.security.egress import Egress, trusting
from nanobot.supervise.policy import Policy
from nanobot.supervise.status import Node
from nanobot.supervise.supervisor import Child, ChildStuck, Supervisor
from nanobot.tools.registry import Bound

SETTLE_S = 5.0
"""Seconds from the beginning in which servers may come up before a first answer goes without them."""
KIND = "mcp"


@attrs.define(eq=False)
class Servers:
    """See the module. One for the house."""

    _config: Config
    _data: Path
    _cwd: Path
    _environ: Mapping[str, str]
    _inherit_fds: Sequence[int]
    on_change: Callable[[], None] = lambda: None
    """Told when `tools` has changed."""
    on_node: Callable[[Node], None] = lambda _node: None
    """Told every new state of a server; must not block or raise."""
    tools: tuple[Bound, ...] = attrs.field(default=(), init=False)
    """What the servers offer now, in the order of the configuration."""
    _made_of: tuple[list[Pair], tuple[str, ...]] = attrs.field(default=([], ()), init=False)
    _servers: dict[str, Server] = attrs.field(factory=dict, init=False)
    _begun: trio.Event = attrs.field(factory=trio.Event, init=False)
    _added: trio.Event = attrs.field(factory=trio.Event, init=False)
    _until: float = attrs.field(default=0.0, init=False)
    _tls: ssl.SSLContext | None = attrs.field(default=None, init=False)
    """One for all: each costs a quarter of a second and a megabyte."""
    _making_tls: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    _supervisor: Supervisor = attrs.field(init=False)
    _auth: AuthFile = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._supervisor = Supervisor(time.time, self._noted)
        self._auth = AuthFile.below(self._data)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep them until cancelled."""
        task_status.started()
        await self._begun.wait()
        async with trio.open_nursery() as nursery:
            await nursery.start(self._supervisor.run)
            for name, config in self._config.tools.mcp_servers.items():
                self._add(name, config)
            self._added.set()
            await trio.sleep_forever()

    def begin(self) -> None:
        """Start them, if that has not been done."""
        if not self._begun.is_set():
            self._until = trio.current_time() + SETTLE_S
            self._begun.set()

    async def settled(self) -> None:
        """See the module."""
        if not self._config.tools.mcp_servers:
            return
        self.begin()
        with trio.move_on_at(self._until):
            await self._added.wait()
            for server in tuple(self._servers.values()):
                await server.tried.wait()

    async def reconfigure(self, new: Config) -> None:
        """Start, end and start anew what the configuration says otherwise."""
        old, self._config = self._config, new
        if not self._added.is_set():
            return
        before, after = old.tools.mcp_servers, new.tools.mcp_servers
        anew = _concerning_all(old) != _concerning_all(new)
        gone = [name for name in before if anew or before[name] != after.get(name)]
        async with trio.open_nursery() as nursery:
            for name in gone:
                nursery.start_soon(self._remove, name)
        self._servers = {name: self._servers[name] for name in after if name in self._servers}
        for name, config in after.items():
            if name not in self._servers:
                self._add(name, config)
        self._gather()

    async def restart(self, name: str) -> None:
        """Start one anew, also one that was parked. Raises: UnknownChild, ChildStuck."""
        await self._supervisor.restart(name)

    def nodes(self) -> tuple[Node, ...]:
        """A group with a node for each server; nothing where there is none."""
        if not self._servers:
            return ()
        found = {node.name: node for node in self._supervisor.nodes()}
        nodes = tuple(found[name] for name in self._order() if name in found)
        since = min((node.since for node in nodes), default=0.0)
        return (Node("mcp", "group", "up", since, children=nodes),)

    async def until_known(self, name: str) -> Node:
        """A server's state once a first attempt has ended."""
        await self._added.wait()
        await self._servers[name].tried.wait()
        return next(node for node in self._supervisor.nodes() if node.name == name)

    def get(self, name: str) -> Server:
        return self._servers[name]

    # --- inside

    def _add(self, name: str, config: McpServerConfig) -> None:
        around = Surroundings(self._cwd, self._environ, self._inherit_fds, self._auth, self._egress)
        server = self._servers[name] = Server(name, config, around, self._gather)
        policy = Policy.of(_restarts(self._config))
        self._supervisor.add(Child(name, KIND, server.serve, policy, partial(_facts, server)))

    async def _remove(self, name: str) -> None:
        self._servers.pop(name, None)
        try:
            await self._supervisor.remove(name)
        except ChildStuck as error:
            logger.error("the MCP server {} is not used any more, and does not end: {}", name, error)

    async def _egress(self, server: McpServerConfig) -> Egress:
        async with self._making_tls:
            self._tls = self._tls or await trio.to_thread.run_sync(trusting)
        return Egress(tools_for(self._config.tools, server), tls=self._tls)

    def _noted(self, node: Node) -> None:
        if (server := self._servers.get(node.name)) is not None:
            server.noted(node)
        self.on_node(node)

    def _order(self) -> list[str]:
        return [name for name in self._config.tools.mcp_servers if name in self._servers]

    def _gather(self) -> None:
        configured = self._config.tools.mcp_servers
        made_of = (chosen([self._servers[name] for name in self._order()]), tuple(configured))
        if made_of != self._made_of:
            self._made_of, self.tools = made_of, bound(*made_of)
            self.on_change()


def tools_for(tools: ToolsConfig, server: McpServerConfig) -> ToolsConfig:
    """The rules of the way out for one server. What leads into networks of its own does so directly, without a proxy."""
    web = attrs.evolve(tools.web, proxy=Secret()) if server.networks else tools.web
    return attrs.evolve(tools, ssrf_whitelist=(*tools.ssrf_whitelist, *server.networks), web=web)


def _restarts(config: Config) -> RestartConfig:
    return config.gateway.restarts


def _concerning_all(config: Config) -> tuple[object, ...]:
    return config.tools.ssrf_whitelist, config.tools.web.proxy, config.gateway.restarts


def _facts(server: Server) -> tuple[tuple[str, str], ...]:
    tools = sum(1 for _ in server.listing.offers)
    facts = [("transport", kind_of(server.config)), ("offers", str(tools))]
    facts += [("server", server.about)] if server.about else []
    facts += [("left out", str(len(server.listing.left_out)))] if server.listing.left_out else []
    facts += [("left out for other servers", str(server.crowded_out))] if server.crowded_out else []
    return tuple(facts)
