"""The real server on loopback, with a house of fakes behind it, and ways to speak to it that a browser would not choose."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import httpx2
import trio
from starlette.types import ASGIApp

from nanobot.channels.web.channel import SessionLine
from nanobot.supervise.status import Node
from nanobot.web import app, files, listener
from nanobot.web.guard import Doorman
from tests.fakes.web import TOKEN, House, house

BEARER = {"authorization": f"Bearer {TOKEN}"}
PATIENCE_S = 20.0


def tree(state: str = "up", *channels: Node) -> Node:
    return Node("gateway", "gateway", state, 1000.0, children=channels)


@attrs.define(eq=False)
class Server:
    house: House
    port: int = 0
    root: Node = attrs.field(factory=tree)
    lines: Sequence[SessionLine] = ()
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    def tree(self) -> Node:
        return self.root

    async def sessions(self) -> Sequence[SessionLine]:
        await trio.lowlevel.checkpoint()
        return self.lines

    async def get(self, path: str, method: str = "GET", **headers: str) -> httpx2.Response:
        async with httpx2.AsyncClient(trust_env=False) as client:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return await client.request(method, f"http://127.0.0.1:{self.port}{path}", headers=named)

    async def raw(self, sent: bytes) -> bytes:
        """What comes back for these bytes until the server closes."""
        stream = await self.open(sent)
        async with stream:
            return await rest(stream)

    async def open(self, sent: bytes = b"") -> trio.SocketStream:
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        await stream.send_all(sent)
        return stream


async def rest(stream: trio.SocketStream) -> bytes:
    """Everything until the other side closes."""
    data = b""
    with trio.fail_after(PATIENCE_S):
        try:
            while chunk := await stream.receive_some():
                data += chunk
        except trio.BrokenResourceError:
            pass  # it was closed with something unread
    return data


@asynccontextmanager
async def served(
    folder: Path = files.HERE, allowed_hosts: Sequence[str] = ("localhost", "127.0.0.1", "::1")
) -> AsyncIterator[Server]:
    async with house() as home, trio.open_nursery() as nursery:
        server = Server(home)
        built = app.build(
            tree=server.tree,
            sessions=server.sessions,
            talk=home.channel.talk,
            page=files.read(folder),
            doorman=Doorman(TOKEN),
            allowed_hosts=allowed_hosts,
        )

        async def serve(*, task_status: trio.TaskStatus[int]) -> None:
            with server.scope:
                await listener.serve(built, "127.0.0.1", 0, task_status=task_status)

        server.port = await nursery.start(serve)
        yield server
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def listening(application: ASGIApp) -> AsyncIterator[tuple[int, trio.CancelScope]]:
    """The listener with this application; its port, and the scope that ends it."""
    async with trio.open_nursery() as nursery:
        port = await nursery.start(partial(listener.serve, application, "127.0.0.1", 0))
        yield port, nursery.cancel_scope
        nursery.cancel_scope.cancel()
