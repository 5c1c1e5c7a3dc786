"""WhatsApp behind the real bridge, whose socket of Baileys' is replaced (bridge/test/fake-baileys.ts), and a bridge that is none.

    async with open_network() as network:
        channel = WhatsAppChannel(config, program=network.program(folder))
        network.say("hello")
        await network.until(lambda: network.shown)

Messages stay until the bridge has confirmed them and come again on each new connection, as WhatsApp's do. `shown` is what people
see: of messages with one id the first, as their programs do; `stanzas` is every message that went out.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

from nanobot.channels.whatsapp.bridge import Home
from tests.fakes.peers import require_peer

BRIDGE = Path(__file__).parents[2] / "bridge"
PN, LID, GROUP = "4915112345678@s.whatsapp.net", "111222333444555@lid", "120363000000000001@g.us"
ME_LID = "999888777666555"
PATIENCE_S = 20.0
Stanza = dict[str, Any]


def built() -> Path:
    """The bridge for tests, compiled if it is not, or is older than its sources. Skips where there is no Node."""
    require_peer("node")
    program = BRIDGE / "build" / "test" / "main.js"
    with open(BRIDGE / ".gitignore") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (BRIDGE / "node_modules" / "typescript").is_dir():
            subprocess.run(["npm", "ci", "--ignore-scripts", "--silent"], cwd=BRIDGE, check=True, timeout=300)
        sources = [*BRIDGE.glob("src/*.ts"), *BRIDGE.glob("test/*.ts")]
        if not program.exists() or program.stat().st_mtime < max(source.stat().st_mtime for source in sources):
            compiler = ["node", "node_modules/typescript/bin/tsc", "-p", "tsconfig.test.json"]
            subprocess.run(compiler, cwd=BRIDGE, check=True, timeout=120)
            program.touch()
    return program


async def until(fact: Callable[[], object], within_s: float = 60.0) -> None:
    """For facts that no network tells. Raises: TooSlowError."""
    with trio.fail_after(within_s):
        while not fact():  # noqa: ASYNC110  # of files, processes and other modules
            await trio.sleep(0.005)


@attrs.define(eq=False)
class Network:
    """WhatsApp, for one account."""

    port: int = 0
    linked: bool = True
    """It links whoever connects without a link; else it shows a code to scan."""
    slow_s: float = 0.0
    """What its answers take."""
    away: bool = False
    """It says nothing to whoever connects."""
    confirms: Callable[[str], Stanza | None] = lambda _id: {}
    """What it says to a message that is sent: {} that it has it, {"error": ...}, or None: nothing."""
    waiting: dict[str, Stanza] = attrs.field(factory=dict)
    """What was said and not confirmed."""
    said: list[str] = attrs.field(factory=list)
    confirmed: dict[str, float] = attrs.field(factory=dict)
    """By id, when the bridge said that it has it, by time.perf_counter."""
    stanzas: list[Stanza] = attrs.field(factory=list)
    shown: dict[str, Stanza] = attrs.field(factory=dict)
    told: list[Stanza] = attrs.field(factory=list)
    """Everything else: presence, read receipts, hellos."""
    connections: int = 0
    _number: int = 0
    _stream: trio.SocketStream | None = None
    _writing: trio.Lock = attrs.field(factory=trio.Lock)
    _news: trio.Event = attrs.field(factory=trio.Event)

    def program(self, folder: Path) -> Path:
        """A bridge that talks to this network."""
        path = folder / "bridge.mjs"
        path.write_text(f'process.env.FAKE_WHATSAPP = "{self.port}";\nawait import("file://{built()}");\n')
        (folder / "qr.js").write_text(f'import("file://{BRIDGE}/build/src/qr.js");')
        return path

    def install(self, home: Home) -> None:
        """As if it had been built there."""
        (home.build / "dist").mkdir(parents=True)
        (home.build / "node_modules").mkdir()
        self.program(home.build / "dist").rename(home.build / "dist" / "main.js")
        (home.build / "package.json").write_text('{"type": "module"}')

    # --- the test's end

    def put(self, message: Stanza, chat: str = LID, id: str = "", **attrs_: str) -> str:
        """A message of any kind on its way to the bridge; returns its id."""
        self._number += 1
        id = id or f"M{self._number}"
        who = {"sender_pn": PN} if chat == LID else {}
        stanza = {"tag": "message", "attrs": {"from": chat, "id": id, "t": "1700000000", **who, **attrs_}}
        self.said.append(id)
        self.waiting[id] = {"op": "message", "stanza": stanza, "message": message}
        self._changed()
        return id

    def say(self, text: str, chat: str = LID, **attrs_: str) -> str:
        return self.put({"conversation": text}, chat, **attrs_)

    async def order(self, op: str, **more: Any) -> None:
        """`close` with a code, `qr`, `linked`, `open`."""
        assert self._stream is not None
        await self._write(self._stream, {"op": op, **more})

    async def until(self, fact: Callable[[], object]) -> None:
        with trio.fail_after(PATIENCE_S):
            while not fact():
                await self._news.wait()

    def texts(self) -> list[str]:
        return [one["content"].get("text", "") for one in self.shown.values()]

    @property
    def doubled(self) -> int:
        """Messages that went out more than once; people see one."""
        return sum(count - 1 for count in Counter(one["id"] for one in self.stanzas).values())

    def reset(self) -> None:
        """Break the connection."""
        if self._stream is not None:
            self._stream.socket.close()

    # --- the bridge's end

    async def serve(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self.connections += 1
        if self.away:
            await trio.sleep_forever()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._push, stream)
                await self._hear(stream)
                nursery.cancel_scope.cancel()
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def _push(self, stream: trio.SocketStream) -> None:
        await self.until_opened(stream)
        said = 0
        while True:
            fresh = [self.waiting[id] for id in self.said[said:] if id in self.waiting]
            said = len(self.said)
            await self._write(stream, *fresh)
            while said == len(self.said):
                await self._news.wait()

    async def _write(self, stream: trio.SocketStream, *frames: Stanza) -> None:
        async with self._writing:
            await stream.send_all(b"".join(json.dumps(frame).encode() + b"\n" for frame in frames))

    async def until_opened(self, stream: trio.SocketStream) -> None:
        while not any(one.get("stream") is stream for one in self.told if one["op"] == "opened"):
            await self._news.wait()

    async def _hear(self, stream: trio.SocketStream) -> None:
        data = b""
        while chunk := await stream.receive_some():
            *lines, data = (data + chunk).split(b"\n")
            for line in lines:
                await self._take(stream, json.loads(line))
                self._changed()

    async def _take(self, stream: trio.SocketStream, told: Stanza) -> None:
        match told["op"]:
            case "hello" if told["linked"]:
                await self.order("open")
                self.told.append({"op": "opened", "stream": stream})
            case "hello":
                await (self.order("linked") if self.linked else self.order("qr", qr="2@code"))
            case "receipt":
                if self.waiting.pop(told["id"], None):
                    self.confirmed[told["id"]] = time.perf_counter()
            case "send":
                self.stanzas.append(told)
                self.shown.setdefault(told["id"], told)
                if (answer := self.confirms(told["id"])) is not None:
                    await trio.sleep(self.slow_s)
                    await self.order("ack", id=told["id"], **answer)
            case _:
                self.told.append(told)

    def _changed(self) -> None:
        self._news.set()
        self._news = trio.Event()


@asynccontextmanager
async def open_network(*, linked: bool = True) -> AsyncIterator[Network]:
    network = Network(linked=linked)
    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, network.serve, 0, host="127.0.0.1"))
        network.port = listener.socket.getsockname()[1]
        yield network
        nursery.cancel_scope.cancel()


Talk = Callable[[WebSocketConnection], Awaitable[None]]


@asynccontextmanager
async def open_bridge_like(talk: Talk) -> AsyncIterator[str]:
    """A websocket on loopback that behaves as `talk` says; yields its address."""

    async def serve(request: WebSocketRequest) -> None:
        connection = await request.accept()
        try:
            await talk(connection)
        except ConnectionClosed:
            pass

    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve_websocket, serve, "127.0.0.1", 0, None))
        yield f"ws://127.0.0.1:{server.port}"
        nursery.cancel_scope.cancel()
