"""The supervised children of the daemon: networks, control socket, page; which there are follows from the configuration."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable
from functools import partial

import attrs
import trio

from nanobot.channels import registry
from nanobot.channels.outlet import Channels
from nanobot.channels.web.channel import NAME as WEB
from nanobot.channels.web.channel import TRY_AGAIN, WebChannel
from nanobot.channels.web.talk import Connection as Socket
from nanobot.config.paths import Places
from nanobot.config.schema import ChannelConfig
from nanobot.control import server
from nanobot.control.desk import Desk
from nanobot.control.pages import Pages
from nanobot.control.reload import Current, sections
from nanobot.control.terminals import Terminals
from nanobot.errors import ConfigError
from nanobot.supervise.policy import Cause, ChildFailed, Policy
from nanobot.supervise.supervisor import Child, Supervisor
from nanobot.web.token import token_of

HTTP = "http"
SERVING = "nanobot.web.serving"
"""Loaded where the page is enabled, in a thread: it brings starlette and hypercorn."""
LOOK_S = 0.01
READY_S = 5.0
"""Seconds that a start or a reload waits for what serves people here; networks may take longer and are not waited for."""


@attrs.define(eq=False)
class Children:
    """See the module."""

    _current: Current
    _places: Places
    _supervisor: Supervisor
    _channels: Channels
    _terminals: Terminals
    _desk: Desk
    _pages: Pages
    _web: WebChannel | None = attrs.field(default=None, init=False)
    _port: int | None = attrs.field(default=None, init=False)
    """On which the page is served."""
    _door: Callable[[str], Awaitable[bool]] | None = attrs.field(default=None, init=False)
    """Whether a token is that of the page which is served."""

    async def start(self) -> None:
        """Start all; returns when the services are up, or have had their time."""
        self._desk.address = self.address
        self._supervisor.add(Child("control", "service", self._serve_control, self._policy()))
        for name in (HTTP, *dict(sections(self._current.config.channels))):
            self._add(name)
        await self._services_are_up()

    async def switch(self, name: str) -> None:
        """End a child, and start it if the configuration in force wants it. Raises: NanobotError."""
        if name in {node.name for node in self._supervisor.nodes()}:
            await (self._supervisor.remove(name) if name == HTTP else self._channels.remove(name))
        self._add(name)
        await self._services_are_up()  # who has changed the page's port asks for its address next

    def address(self) -> str:
        """Of the page, with its token; empty where none is served. Raises: ConfigError."""
        if self._port is None:
            return ""
        host = self._current.config.gateway.host
        shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
        return f"http://{shown}:{self._port}/#token={token_of(self._current.config.gateway, self._places.data)}"

    async def _services_are_up(self) -> None:
        """Or have had their time."""
        with trio.move_on_after(READY_S):
            while any(  # noqa: ASYNC110  # rare, and over in a moment
                node.kind == "service" and node.state == "starting" for node in self._supervisor.nodes()
            ):
                await trio.sleep(LOOK_S)

    def _policy(self) -> Policy:
        return Policy.of(self._current.config.gateway.restarts)

    def _add(self, name: str) -> None:
        config = self._current.config
        channels = dict(sections(config.channels))
        if name == HTTP:
            if config.gateway.http:
                self._supervisor.add(Child(HTTP, "service", self._serve_page, self._policy()))
        elif not channels[name].enabled:
            pass
        elif name == WEB:
            self._channels.add(WEB, self._make_web, channels[WEB], load=partial(importlib.import_module, SERVING), keyed=True)
        else:
            self._add_network(name, channels[name])

    def _add_network(self, name: str, section: ChannelConfig) -> None:
        spec = registry.find(name)
        self._channels.add(name, lambda: spec.load()(section), section, load=spec.load, keyed=spec.keyed)

    def _make_web(self) -> WebChannel:
        self._web = WebChannel(self._pages, self._admits)
        return self._web

    async def _admits(self, token: str) -> bool:
        """Asked of the page that is served now: a token that was changed opens nothing any more."""
        return self._door is not None and await self._door(token)

    def _token(self) -> str:
        """Raises: ChildFailed."""
        try:
            return token_of(self._current.config.gateway, self._places.data)
        except ConfigError as error:
            raise ChildFailed(str(error), cause=Cause.CONFIG) from error

    # --- the services

    async def _serve_control(self, *, task_status: trio.TaskStatus[None]) -> None:
        streams = {"attach": self._terminals.attach, "ask": self._terminals.ask}
        await server.serve(self._places.data, self._desk, streams, task_status=task_status)

    async def _serve_page(self, *, task_status: trio.TaskStatus[None]) -> None:
        serving = await trio.to_thread.run_sync(importlib.import_module, SERVING)
        config, desk, token = self._current.config.gateway, self._desk, self._token()
        self._door = importlib.import_module("nanobot.web.guard").Doorman(token).admits
        try:
            async with trio.open_nursery() as nursery:
                serve = partial(serving.serve, config, token, desk.tree, self._pages.sessions, self._talk)
                self._port = await nursery.start(serve)
                task_status.started()
        finally:
            self._port = None

    async def _talk(self, socket: Socket) -> None:
        if self._web is None:
            await socket.close(TRY_AGAIN, "the chat of the page is not enabled")
        else:
            await self._web.talk(socket)
