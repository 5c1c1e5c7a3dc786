"""The tools as they are now: what the configuration offers, the sandbox that was found, the way out to the network, and behind
them what MCP servers offer at the moment.

`look` finds out about the sandbox by starting a command in it, unless that was done of late. It takes a tenth of a second, which
nobody waits for who only opens a chat: `ready` is for those who call the model or run a tool. It waits for servers, too, but no
longer than `SETTLE_S` from when they were begun (mcp/servers.py); a gateway begins them once it is ready itself.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import trio

from nanobot.config.paths import Places
from nanobot.config.schema import Config
from nanobot.mcp.servers import Servers
from nanobot.processes import remembered, sandbox
from nanobot.processes.sandbox import Isolation
from nanobot.security.egress import Egress, open_egress
from nanobot.tools.registry import Tools, build_tools

UNKNOWN = Isolation(sandboxed=False, reason="it is not known yet whether there is one")


@attrs.define(eq=False)
class Toolbox:
    """See the module. One for the house."""

    _config: Config
    _environ: Mapping[str, str]
    _inherit_fds: Sequence[int]
    _memory: Path
    """File in which a sandbox that worked is remembered."""
    _ways_out: AsyncExitStack
    _egress: Egress
    servers: Servers
    _isolation: Isolation = UNKNOWN
    _known: trio.Event = attrs.field(factory=trio.Event, init=False)
    tools: Tools = attrs.field(init=False)
    """Those of a machine without a sandbox until `ready`."""

    def __attrs_post_init__(self) -> None:
        self.servers.on_change = self._fill
        self._fill()

    async def look(self) -> None:
        """Find out about the sandbox."""
        config, now = self._config.tools.exec, time.time()
        found = remembered.recall(self._memory, config, self._environ, now)
        self._isolation = found or await sandbox.probe(config, self._environ)
        self._fill()
        self._known.set()
        if found is None:
            keep = partial(remembered.remember, self._memory, config, self._environ, now, self._isolation)
            await trio.to_thread.run_sync(keep, abandon_on_cancel=True)

    async def ready(self) -> None:
        await self._known.wait()
        await self.servers.settled()

    async def reconfigure(self, new: Config) -> None:
        """For the calls that begin from now on. Raises: ConfigError, with nothing changed."""
        await self._known.wait()
        old, self._config = self._config.tools, new
        if (new.tools.web, new.tools.ssrf_whitelist) != (old.web, old.ssrf_whitelist):
            self._egress = await self._ways_out.enter_async_context(open_egress(new.tools))  # the old one ends what it began
        if new.tools.exec != old.exec:
            self._isolation = await sandbox.probe(new.tools.exec, self._environ)
        self._fill()
        await self.servers.reconfigure(new)

    def _fill(self) -> None:
        built = build_tools(self._config, self._isolation, self._egress, environ=self._environ, inherit_fds=self._inherit_fds)
        self.tools = built.with_more(self.servers.tools)


@asynccontextmanager
async def open_toolbox(
    config: Config, places: Places, environ: Mapping[str, str], inherit_fds: Sequence[int]
) -> AsyncIterator[Toolbox]:
    """For as long as the block lasts; `look` and `servers.run` are the caller's to run. Raises: ConfigError."""
    servers = Servers(config, places.data, places.workspace(config), environ, inherit_fds)
    async with AsyncExitStack() as ways_out:
        egress = await ways_out.enter_async_context(open_egress(config.tools))
        yield Toolbox(config, environ, inherit_fds, places.data / "sandbox.json", ways_out, egress, servers)
