"""The SDK's session with a server, with what it lacks: a list with a malformed entry is the list without it.

`open_link` connects, agrees on the protocol, and gives a `Link` whose requests end in an answer as JSON or in a ServerError.
The SDK's own log is not kept: what it has to say reaches us as errors.

This module loads the SDK; import it in a thread.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Protocol, Self, TypeVar

import anyio
import attrs
import httpx2
import mcp_types as types
from mcp import ClientSession, MCPError
from mcp.client._probe import negotiate_auto
from mcp.client._transport import ReadStream, TransportStreams
from mcp.client.auth import OAuthFlowError
from mcp.client.subscriptions import SubscriptionLost, listen
from mcp.shared.dispatcher import CallOptions, OnNotify, OnNotifyIntercept, OnRequest
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp.shared.message import SessionMessage
from mcp.shared.transport_context import TransportContext
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel, ValidationError

import nanobot
from nanobot.errors import NanobotError
from nanobot.mcp.content import lean
from nanobot.mcp.errors import ServerError, ServerGone
from nanobot.mcp.line import UNSENT, Line
from nanobot.mcp.listing import LISTS, MOST_ENTRIES, MOST_OTHERS, Kind, sound
from nanobot.tools.plain import visible
from nanobot.wire import Json, JsonObject

logging.getLogger("mcp").setLevel(logging.CRITICAL)
logging.getLogger("client").setLevel(logging.CRITICAL)

T = TypeVar("T")
MOST_PAGES = 50
"""Of one list: one that goes on for ever ends there."""
ERROR_CHARS = 2000
FAILURES = (
    MCPError,
    OAuthFlowError,
    ValidationError,
    httpx2.HTTPError,
    httpx2.StreamError,
    httpx2.SSEError,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
    NanobotError,
    OSError,
    RuntimeError,
    ValueError,
)
"""What a connection can end in through no fault of ours."""
_METHODS = {f"{name}/list": kind for kind, name in LISTS.items()}


class Progress(Protocol):
    """Told how far a call is; must not block."""

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None: ...


@attrs.define(eq=False)
class _Heard:
    """What a server says, for as long as it is listened to."""

    _inner: ReadStream[SessionMessage | Exception]
    _line: Line

    async def receive(self) -> SessionMessage | Exception:
        """Raises: anyio.EndOfStream, anyio.ClosedResourceError."""
        message = await self._inner.receive()
        if not self._line.heard():
            raise anyio.EndOfStream
        return message

    async def aclose(self) -> None:
        await self._inner.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._inner.__aexit__(kind, error, trace)  # noqa: ASYNC102  # a stream in memory: nothing waits


class Sieve(JSONRPCDispatcher[TransportContext]):
    """Takes what is malformed out of lists before they are looked at as a whole, and tells when the other side ends."""

    def __init__(self, streams: TransportStreams, line: Line) -> None:
        received, sent = streams
        super().__init__(_Heard(received, line), sent)
        self._line = line
        self.wrong: list[str] = []
        """A line for each entry that was taken out."""

    async def run(
        self,
        on_request: OnRequest,
        on_notify: OnNotify,
        on_notify_intercept: OnNotifyIntercept | None = None,
        *,
        task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        await super().run(on_request, on_notify, on_notify_intercept, task_status=task_status)
        self._line.fail("it closed the connection")

    async def send_raw_request(
        self,
        method: str,
        params: Mapping[str, object] | None,
        opts: CallOptions | None = None,
        *,
        _related_request_id: types.RequestId | None = None,
    ) -> JsonObject:
        raw: JsonObject = await super().send_raw_request(method, params, opts, _related_request_id=_related_request_id)
        kind = _METHODS.get(method)
        if kind is None:
            return lean(raw)
        items, wrong = sound(kind, raw.get(LISTS[kind]))
        self.wrong += wrong
        return {**raw, LISTS[kind]: items}


@attrs.define(eq=False)
class Link:
    """A connected session. Every request raises: ServerError, ServerGone."""

    _session: ClientSession
    _sieve: Sieve
    _line: Line

    @property
    def about(self) -> str:
        """Who it says it is, and the version of the protocol."""
        info = self._session.server_info
        who = f"{info.name} {info.version}, " if info else ""
        return visible(f"{who}protocol {self._session.protocol_version}")[:120]

    async def lists(self) -> tuple[dict[Kind, list[Json]], list[str]]:
        """All that it offers, and a line for each thing that is malformed."""
        self._sieve.wrong = []
        able = self._session.server_capabilities or types.ServerCapabilities()
        has = {Kind.TOOL: able.tools, Kind.RESOURCE: able.resources, Kind.PROMPT: able.prompts}
        found = {kind: await self._all(kind) if has[kind] is not None else [] for kind in Kind}
        return found, self._sieve.wrong

    async def _all(self, kind: Kind) -> list[Json]:
        items: list[Json] = []
        cursor: str | None = None
        most = MOST_ENTRIES if kind is Kind.TOOL else 10 * MOST_OTHERS
        for _ in range(MOST_PAGES):
            params = types.PaginatedRequestParams(cursor=cursor)
            page, cursor = await self._asked(self._page(kind, params))
            items += page
            if cursor is None or len(items) >= most:
                break
        return items

    async def _page(self, kind: Kind, params: types.PaginatedRequestParams) -> tuple[list[Json], str | None]:
        match kind:
            case Kind.TOOL:
                tools = await self._session.list_tools(params=params)
                return [_dumped(one) for one in tools.tools], tools.next_cursor
            case Kind.RESOURCE:
                resources = await self._session.list_resources(params=params)
                return [_dumped(one) for one in resources.resources], resources.next_cursor
            case Kind.PROMPT:
                prompts = await self._session.list_prompts(params=params)
                return [_dumped(one) for one in prompts.prompts], prompts.next_cursor

    async def call(self, name: str, arguments: JsonObject, progress: Progress) -> JsonObject:
        asked = self._session.call_tool(name, dict(arguments), progress_callback=progress, allow_input_required=True)
        return await self._dump(asked)

    async def read(self, uri: str) -> JsonObject:
        return await self._dump(self._session.read_resource(uri, allow_input_required=True))

    async def prompt(self, name: str, arguments: Mapping[str, str]) -> JsonObject:
        return await self._dump(self._session.get_prompt(name, dict(arguments), allow_input_required=True))

    async def watch(self, changed: Callable[[], None]) -> None:
        """Tell of changed lists where the protocol wants that asked for; returns where it cannot be had."""
        able = self._session.server_capabilities
        if self._session.protocol_version not in MODERN_PROTOCOL_VERSIONS or able is None:
            return
        tools = bool(able.tools and able.tools.list_changed)
        prompts = bool(able.prompts and able.prompts.list_changed)
        resources = bool(able.resources and able.resources.list_changed)
        if not (tools or prompts or resources):
            return
        try:
            async with listen(
                self._session, tools_list_changed=tools, prompts_list_changed=prompts, resources_list_changed=resources
            ) as news:
                async for _ in news:
                    changed()
        except (MCPError, SubscriptionLost):  # it is asked again when it is connected to anew
            pass

    async def _dump(self, asked: Awaitable[BaseModel]) -> JsonObject:
        answer = await self._asked(asked)
        if isinstance(answer, types.InputRequiredResult):
            raise ServerError("the server asks back for input, which is not offered here: give it all it needs in the call")
        return _dumped(answer)

    async def _asked(self, asked: Awaitable[T]) -> T:
        try:
            return await asked
        except MCPError as error:
            if error.code == UNSENT:
                self._line.fail(error.message)
                raise ServerGone(error.message, unsent=True) from error
            if self._line.ended.is_set():
                raise ServerGone(self._line.why) from error
            raise ServerError(f"the server says: {visible(error.message[:ERROR_CHARS])}") from error
        except (ValidationError, RuntimeError, ValueError) as error:
            raise ServerError("what the server answered is no result of the protocol") from error


@asynccontextmanager
async def open_link(
    transport: AbstractAsyncContextManager[TransportStreams], line: Line, changed: Callable[[], None]
) -> AsyncGenerator[Link]:
    """Connected for as long as the block lasts. `changed` is told that a list has. Raises: one of FAILURES, in a group or not."""

    async def hear(message: object) -> None:
        match message:
            case (
                types.ToolListChangedNotification()
                | types.ResourceListChangedNotification()
                | types.PromptListChangedNotification()
            ):
                changed()
            case _:
                await anyio.lowlevel.checkpoint()

    async with transport as streams:
        sieve = Sieve(streams, line)
        who = types.Implementation(name="nanobot", version=nanobot.__version__)
        async with ClientSession(dispatcher=sieve, message_handler=hear, client_info=who) as session:
            await negotiate_auto(session)
            yield Link(session, sieve, line)


def _dumped(value: BaseModel) -> JsonObject:
    dumped: JsonObject = value.model_dump(mode="json", by_alias=True, exclude_none=True)
    return dumped
