"""One server: the task that owns its connection, and the way for others to ask it something.

The owner connects, lists what is offered, says `started`, and stays until the connection ends; the supervisor starts it anew.
All that is asked of the server runs in tasks of the owner; who asks waits for an answer and holds nothing of the connection.
Cancelling who asks cancels the request; a server that does not even let go of a request within `LET_GO_S` is connected to anew.
A request that cannot have reached the server is made once more on the next connection.

The SDK is loaded here, in a thread, when the first server starts.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs
import outcome
import trio
from loguru import logger

from nanobot.config.schema import McpServerConfig
from nanobot.mcp.address import is_address
from nanobot.mcp.auth_file import AuthFile
from nanobot.mcp.errors import NoLogin, ServerError, ServerGone
from nanobot.mcp.line import Line
from nanobot.mcp.listing import Listing, listing
from nanobot.processes.children import ALLOWED_ENV, FALLBACK_ENV
from nanobot.security.egress import Egress
from nanobot.supervise.policy import Cause, ChildFailed
from nanobot.supervise.status import Node

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams

    from nanobot.mcp.wire import Link

T = TypeVar("T")
START_S = 60.0
"""Seconds for a connection and the first lists: npx may have to fetch the program first."""
UP_S = 10.0
"""Seconds that a request waits for a server which is being connected to."""
LET_GO_S = 0.3
"""Seconds for a cancelled request to be gone: `/stop` promises a second."""
NEWS_S = 1.0
"""Seconds from one look at changed lists to the next: a server may cry all the time."""
PATIENCE = 10
"""Times as long as the last look took, at least: one at a list without measure costs us seconds."""
LIST_S = 30.0
"""Seconds for new lists of a server that lives."""
ENV = (*ALLOWED_ENV, "LOGNAME", "SHELL", "USER")
SDK = "mcp"
NOT_INSTALLED = "the MCP library is not installed: pip install 'nanobot[mcp]'"
_WIRE, _STDIO, _HTTP, _OAUTH = (f"nanobot.mcp.{name}" for name in ("wire", "stdio", "http", "oauth"))


@attrs.frozen
class Surroundings:
    """What servers are started with."""

    cwd: Path
    """For programs that name no folder."""
    environ: Mapping[str, str]
    inherit_fds: Sequence[int]
    auth: AuthFile
    egress: Callable[[McpServerConfig], Awaitable[Egress]]


@attrs.define(eq=False)
class _Job(Generic[T]):
    """Something that is asked of the server."""

    ask: Callable[[Link], Awaitable[T]]
    done: trio.Event = attrs.field(factory=trio.Event)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    end: outcome.Outcome[T] | None = None

    async def run(self, link: Link) -> None:
        try:
            with self.scope:
                try:
                    self.end = outcome.Value(await self.ask(link))
                except ServerError as error:
                    self.end = outcome.Error(error)
        finally:
            self.done.set()


@attrs.frozen
class _Life:
    link: Link
    line: Line
    jobs: trio.Nursery
    over: trio.Event = attrs.field(factory=trio.Event)
    """Nobody is given it any more."""


@attrs.define(eq=False)
class Server:
    """See the module. `serve` is a child of a supervisor."""

    name: str
    config: McpServerConfig
    _around: Surroundings
    _on_listing: Callable[[], None]
    """Told when what is offered has changed."""
    listing: Listing = Listing()
    crowded_out: int = 0
    """Of its listing, what there is no room for beside other servers."""
    about: str = ""
    tried: trio.Event = attrs.field(factory=trio.Event)
    """It is up, or a first attempt has failed."""
    _life: _Life | None = attrs.field(default=None, init=False)
    _up: trio.Event = attrs.field(factory=trio.Event, init=False)
    _node: Node | None = attrs.field(default=None, init=False)
    _stale: trio.Event = attrs.field(factory=trio.Event, init=False)

    # --- who asks

    async def request(self, ask: Callable[[Link], Awaitable[T]]) -> T:
        """Raises: ServerError, ServerGone."""
        try:
            return await self._once(ask)
        except ServerGone as gone:
            if not gone.unsent:
                raise
        return await self._once(ask)

    async def _once(self, ask: Callable[[Link], Awaitable[T]]) -> T:
        life = await self._living()
        job = _Job(ask)
        life.jobs.start_soon(job.run, life.link, name=f"request to {self.name}")
        try:
            await job.done.wait()
        finally:
            if not job.done.is_set():
                job.scope.cancel()
                with trio.move_on_after(LET_GO_S, shield=True):
                    await job.done.wait()
                if not job.done.is_set():
                    life.line.fail("it did not let go of a request that was cancelled")
        if job.end is None:
            await life.over.wait()
            raise ServerGone(f"the connection to {self.name} ended: {life.line.why}")
        try:
            return job.end.unwrap()
        except ServerGone as gone:
            await life.over.wait()
            raise ServerGone(f"the connection to {self.name} ended: {gone}", unsent=gone.unsent) from gone

    async def _living(self) -> _Life:
        """Raises: ServerGone."""
        with trio.move_on_after(0 if self._is_parked() else UP_S):
            await self._up.wait()
        if self._life is None:
            why = f": {self._node.error}" if self._node is not None and self._node.error else ""
            raise ServerGone(f"the server {self.name} cannot be reached now{why}. Go on without it, and say so")
        return self._life

    def noted(self, node: Node) -> None:
        """The supervisor has a new state for it."""
        was_there, self._node = self.is_offered, node
        if node.state in ("waiting", "parked", "stuck"):
            self.tried.set()
        if was_there != self.is_offered:
            self._on_listing()

    def _is_parked(self) -> bool:
        return self._node is not None and self._node.state in ("parked", "stuck")

    @property
    def is_offered(self) -> bool:
        """What it lists stays while it is connected to anew, so that prompts stay as they are; not when that is given up."""
        return bool(self.listing.offers) and not self._is_parked()

    # --- the owner

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Raises: ChildFailed."""
        wire, line = await loaded(_WIRE), Line()
        try:
            with trio.move_on_after(START_S) as patience:
                transport = await self._transport(line)
                async with wire.open_link(transport, line, self._cry) as link:
                    await self._list(link)
                    patience.deadline = math.inf
                    await self._live(link, line, task_status)
            if patience.cancelled_caught:
                line.fail(f"it did not answer within {START_S:g} s")
        except* ChildFailed as group:
            line.fail(str(first(group)), _cause(group))
        except* NoLogin as group:
            line.fail(str(first(group)), Cause.AUTH)
        except* wire.FAILURES as group:
            line.fail(str(first(group)) or type(first(group)).__name__)
        raise ChildFailed(line.why or "it ended", cause=line.cause)

    async def _live(self, link: Link, line: Line, task_status: trio.TaskStatus[None]) -> None:
        self.about = link.about
        async with trio.open_nursery() as jobs:
            self._life = life = _Life(link, line, jobs)
            try:
                self._up.set()
                self.tried.set()
                task_status.started()
                jobs.start_soon(link.watch, self._cry)
                jobs.start_soon(self._follow, link, line)
                await line.ended.wait()
            finally:
                self._life, self._up = None, trio.Event()
                line.fail("it is being ended")
                life.over.set()
                jobs.cancel_scope.cancel()

    def _cry(self) -> None:
        self._stale.set()

    async def _follow(self, link: Link, line: Line) -> None:
        """Look at the lists again when they have changed."""
        while True:
            await self._stale.wait()
            self._stale, began = trio.Event(), trio.current_time()
            try:
                with trio.fail_after(LIST_S):
                    await self._list(link)
            except (ServerError, trio.TooSlowError) as error:
                line.fail(f"its lists have changed and cannot be read: {str(error) or 'no answer'}")
            await trio.sleep(max(NEWS_S, PATIENCE * (trio.current_time() - began)))

    async def _list(self, link: Link) -> None:
        """Raises: ServerError."""
        self._stale = trio.Event()
        lists, wrong = await link.lists()
        found = listing(self.name, self.config.enabled_tools, lists, wrong)
        if found.left_out != self.listing.left_out:
            for line in found.left_out[:20]:
                logger.warning("the MCP server {} offers what is left out: {}", self.name, line)
        if found != self.listing:
            self.listing = found
            self._on_listing()

    # --- how it is reached

    async def _transport(self, line: Line) -> AbstractAsyncContextManager[TransportStreams]:
        """Raises: ChildFailed, OSError, ValueError."""
        config = self.config
        if problem := unusable(config):
            raise ChildFailed(problem, cause=Cause.CONFIG)
        made: AbstractAsyncContextManager[TransportStreams]
        if kind_of(config) == "stdio":
            stdio = await loaded(_STDIO)
            argv, env = (config.command, *config.args), environment(config, self._around.environ)
            made = stdio.stdio(stdio.Program(argv, self._folder(), env, self._around.inherit_fds), line)
            return made
        http = await loaded(_HTTP)
        auth = None
        if config.auth != "none" and (login := self._around.auth.of(self.name, config.url)) is not None:
            auth = (await loaded(_OAUTH)).stored(self._around.auth, self.name, config.url, login)
        way_in = f"nanobot mcp login {self.name}" if config.auth != "none" else "look at headers of this server"
        address = http.Address(config.url, config.headers, kind_of(config) == "sse", way_in)
        made = http.http(await self._around.egress(config), address, line, auth)
        return made

    def _folder(self) -> Path:
        return self._around.cwd / Path(self.config.cwd or ".").expanduser()


def environment(config: McpServerConfig, environ: Mapping[str, str]) -> dict[str, str]:
    """What a program sees: an allow list of ours, and what its configuration gives it."""
    return {**FALLBACK_ENV, **{name: environ[name] for name in ENV if name in environ}, **config.env}


def kind_of(config: McpServerConfig) -> str:
    """How it is spoken to: stdio, sse or streamableHttp."""
    if config.type != "auto":
        return config.type
    if config.command:
        return "stdio"
    return "sse" if config.url.partition("?")[0].rstrip("/").endswith("/sse") else "streamableHttp"


def unusable(config: McpServerConfig) -> str:
    """What is missing in its configuration, empty if nothing is."""
    kind = kind_of(config)
    if kind == "stdio":
        return "" if config.command else "command is empty: it names the program that is the server"
    if not config.url:
        return "it has neither command nor url: one of them says where the server is"
    return "" if is_address(config.url) else "url is no address that begins with https:// or http://, with the name of a host"


async def loaded(name: str) -> ModuleType:
    """A module that needs the SDK. Raises: ChildFailed."""
    try:
        return await trio.to_thread.run_sync(importlib.import_module, name, abandon_on_cancel=True)
    except ModuleNotFoundError as error:
        raise ChildFailed(NOT_INSTALLED, cause=Cause.CONFIG) from error


def first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first thing that went wrong."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


def _cause(group: BaseExceptionGroup[BaseException]) -> Cause:
    found = first(group)
    return found.cause if isinstance(found, ChildFailed) else Cause.TRANSIENT
