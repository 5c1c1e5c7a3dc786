"""What the HTTP server answers: `/health`, `/status.json`, `/sessions.json`, the page, and the websocket of its chat.

Everything it shows is given to it. Errors are JSON objects `{"error": sentence, "code": word}` and say nothing of the inside.

`/health` answers 200 while the gateway as a whole is up, also when a channel is parked: to restart the gateway would not help
that channel, and would hurt the others. Its body names what is parked or stuck.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Protocol

import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from nanobot.supervise.status import HEALTHY, Node, as_json, troubled
from nanobot.web.files import File
from nanobot.web.guard import Doorman, Guard, Refusal, refused
from nanobot.web.listener import TOGETHER

GOODBYE_S = 0.3
"""For the close frame of a websocket, when we are stopped: who does not read goes without."""
GOING_AWAY = 1001
_FRESH = {"cache-control": "no-store"}


class SessionLine(Protocol):
    """A session in a list."""

    @property
    def key(self) -> str: ...
    @property
    def chat(self) -> str:
        """Its name on the channel."""
        ...

    @property
    def title(self) -> str:
        """Its first words."""
        ...

    @property
    def at(self) -> float:
        """Seconds since the epoch of the last thing that happened in it."""
        ...

    @property
    def unfinished(self) -> bool: ...


class Socket:
    """A websocket as the channel wants it. Binary messages arrive as bytes."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._closed = False

    async def receive(self) -> str | bytes | None:
        """The next message; None when the client is gone."""
        message = await self._websocket.receive()
        if message["type"] != "websocket.receive":
            self._closed = True
            return None
        text: str | bytes | None = message.get("text")
        return text if text is not None else bytes(message["bytes"])

    async def send(self, *texts: str) -> None:
        """Messages, in one write."""
        async with self._websocket.scope["extensions"][TOGETHER]["write"]():
            for text in texts:
                await self._websocket.send({"type": "websocket.send", "text": text})

    async def close(self, code: int, reason: str = "") -> None:
        """Say goodbye, once."""
        if not self._closed:
            self._closed = True
            await self._websocket.close(code, reason)


Talk = Callable[[Socket], Awaitable[None]]


def build(
    *,
    tree: Callable[[], Node],
    sessions: Callable[[], Awaitable[Iterable[SessionLine]]],
    talk: Talk,
    page: Mapping[str, File],
    doorman: Doorman,
    allowed_hosts: Collection[str],
) -> ASGIApp:
    """The application, guarded."""
    routes: list[BaseRoute] = [
        Route("/health", partial(_health, tree)),
        Route("/status.json", partial(_status, tree)),
        Route("/sessions.json", partial(_sessions, sessions)),
        WebSocketRoute("/ws", partial(_websocket, talk)),
        *(Route(path, file.answer) for path, file in page.items()),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _not_that, Exception: _broken})
    app.router.redirect_slashes = False
    return Guard(app, doorman, allowed_hosts, {"/health", "/ws", *page})


async def _health(tree: Callable[[], Node], request: Request) -> Response:
    root = tree()
    bad = troubled(root)
    body = {
        "state": root.state,
        "parked": [node.name for node in bad if node.state == "parked"],
        "stuck": [node.name for node in bad if node.state == "stuck"],
    }
    return JSONResponse(body, 200 if root.state in HEALTHY else 503, _FRESH)


async def _status(tree: Callable[[], Node], request: Request) -> Response:
    return JSONResponse(as_json(tree()), headers=_FRESH)


async def _sessions(sessions: Callable[[], Awaitable[Iterable[SessionLine]]], request: Request) -> Response:
    lines = await sessions()
    told = [{"key": s.key, "chat": s.chat, "title": s.title, "at": s.at, "unfinished": s.unfinished} for s in lines]
    return JSONResponse(told, headers=_FRESH)


async def _websocket(talk: Talk, websocket: WebSocket) -> None:
    await websocket.accept()
    socket = Socket(websocket)
    try:
        await talk(socket)
    finally:
        with trio.move_on_after(GOODBYE_S, shield=True):
            await socket.close(GOING_AWAY)


async def _not_that(request: Request, error: Exception) -> Response:
    status, headers = (error.status_code, error.headers) if isinstance(error, HTTPException) else (500, None)
    code, text = {
        404: ("not_found", "there is nothing here"),
        405: ("method", "this can only be read"),
    }.get(status, ("request", "this cannot be answered"))
    return refused(Refusal(status, code, text, headers or {}))


async def _broken(request: Request, error: Exception) -> Response:
    """What is wrong stands in the log, not in the answer."""
    return refused(Refusal(500, "internal", "something failed in nanobot; its log says what"))
