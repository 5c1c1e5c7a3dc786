"""The control socket: how commands and terminals on this machine speak to the running gateway.

A unix socket that only its owner can open (0600), and whose clients must be the same user or root: the kernel says who
they are. JSON objects, one a line; one request a connection. What it promises:

* A socket that a dead process left is replaced; one that is listened on is not.
* What a client can cost is bounded: the size of a frame, the seconds until its request is there, the seconds of a request,
  the number of connections, and the seconds that it may leave unread what it is sent. Then its connection is closed.
* Cancelled, it closes every connection and removes its socket, at once.

One task per connection. A bug in a request ends the server, and its supervisor starts it again.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import attrs
import trio
from loguru import logger

from nanobot import __version__
from nanobot.control.lines import VERSION, decode, encode
from nanobot.control.paths import Folder, candidates, clear, make_room, remove
from nanobot.control.peer import peer
from nanobot.control.port import BadRequest, ConnectionGone, Gateway, Stream
from nanobot.control.requests import ENDINGS, REQUESTS
from nanobot.errors import ConfigError, NanobotError
from nanobot.supervise.policy import ChildFailed
from nanobot.wire import JsonObject

MOST_FRAME = 2**20
"""Bytes of a frame that comes in: a message that somebody pastes, with room to spare."""
MOST_CONNECTIONS = 64
"""Terminals that are attached, and commands on their way."""
REQUEST_S = 5.0
"""Seconds until the request is there: a client writes it as soon as it has connected."""
ANSWER_S = 60.0
"""Seconds that a request may take: a channel that is restarted, a turn that a released session still ends."""
WRITE_S = 10.0
"""Seconds that a frame may wait for a client that does not read; what the system buffers comes on top."""
CHUNK = 2**16


async def serve(
    data: Folder,
    gateway: Gateway,
    streams: Mapping[str, Stream],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the data directory's socket until cancelled.

    Raises: ChildFailed if there can be no socket, or another gateway listens on it.
    """
    with _listening(data) as listening:
        server = _Server(gateway, streams)
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
        task_status.started()
        await trio.serve_listeners(server.connected, [listener])


# --- the socket


@contextmanager
def _listening(data: Folder) -> Iterator[socket.socket]:
    path, listening = _bound(data)
    try:
        inode = os.lstat(path).st_ino
        yield listening
    finally:
        listening.close()
        remove(path, inode)


def _bound(data: Folder) -> tuple[str, socket.socket]:
    """A socket that listens, at the first place that takes one."""
    try:
        paths = candidates(data)
    except OSError as exc:
        raise ChildFailed(f"the data directory cannot be read: {exc.strerror} ({exc.filename})") from exc
    for path in paths:
        _refuse_second(path)
    problems = []
    for path in paths:
        try:
            make_room(path, data)
            clear(path)
            made = _bind(path)
        except OSError as exc:
            problems.append(f"{path}: {exc.strerror}")
            continue
        if problems:
            logger.warning("the control socket is {}, because elsewhere there can be none: {}", path, problems)
        return path, made
    raise ChildFailed(f"no control socket can be made: {'; '.join(problems)}")


def _bind(path: str) -> socket.socket:
    """Nobody can connect before `listen`, and then the mode is right, whatever the umask."""
    made = socket.socket(socket.AF_UNIX)
    try:
        made.bind(path)
        os.chmod(path, 0o600)
        made.listen(MOST_CONNECTIONS)
    except OSError:
        made.close()
        raise
    return made


def _refuse_second(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except BlockingIOError:  # listened on, and its queue is full
            raise ChildFailed(f"another process listens on {path}") from None
        except OSError:
            return
        raise ChildFailed(f"process {peer(probe)[0]} listens on {path}")


# --- a connection


@attrs.define(eq=False)
class Wire:
    """Frames over a stream (port.Connection)."""

    _stream: trio.SocketStream
    _rest: bytearray = attrs.field(factory=bytearray)
    _sending: trio.Lock = attrs.field(factory=trio.Lock)

    async def receive(self) -> JsonObject | None:
        """The next frame; None when the other side is gone. Raises: BadRequest."""
        while (end := self._rest.find(b"\n")) < 0:
            if len(self._rest) > MOST_FRAME:
                raise BadRequest(f"a frame of more than {MOST_FRAME} bytes is not taken", code="too_large")
            try:
                data = await self._stream.receive_some(CHUNK)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return None
            if not data:
                return None
            self._rest += data
        line = bytes(self._rest[:end])
        del self._rest[: end + 1]
        try:
            return decode(line)
        except ValueError as exc:
            raise BadRequest(f"a frame is a JSON object in one line: {exc}") from exc

    async def send(self, frame: JsonObject) -> None:
        """Raises: ConnectionGone, also for a client that does not read."""
        sent = False
        with trio.move_on_after(WRITE_S):
            async with self._sending:
                try:
                    await self._stream.send_all(encode(frame))
                    sent = True
                except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
                    raise ConnectionGone("the other side has closed") from exc
        if not sent:
            self._stream.socket.close()  # half a frame may be out: nothing can follow it
            raise ConnectionGone(f"the other side has read nothing for {WRITE_S:.0f} seconds")


@attrs.define(eq=False)
class _Server:
    _gateway: Gateway
    _streams: Mapping[str, Stream]
    _open: int = 0

    async def connected(self, stream: trio.SocketStream) -> None:
        """One connection, from its first byte to its end."""
        self._open += 1
        try:
            await self._admit(stream)
        finally:
            self._open -= 1
            await trio.aclose_forcefully(stream)

    async def _admit(self, stream: trio.SocketStream) -> None:
        wire = Wire(stream)
        refusal: NanobotError | None = None
        try:
            self._check(stream)
            await self._serve(wire)
        except* ConnectionGone:
            pass
        except* NanobotError as group:
            refusal = _first(group)
        if refusal is not None:
            try:
                await wire.send({"error": str(refusal), "code": _code(refusal)})
            except ConnectionGone:
                pass

    def _check(self, stream: trio.SocketStream) -> None:
        """Raises: BadRequest for a client that may not speak, or for which there is no room."""
        _, uid = peer(stream.socket)
        if uid not in (0, os.geteuid()):
            raise BadRequest("this gateway belongs to another user", code="refused")
        if self._open > MOST_CONNECTIONS:
            raise BadRequest(f"{MOST_CONNECTIONS} terminals and commands are connected, which is the most", code="busy")

    async def _serve(self, wire: Wire) -> None:
        frame = await _request(wire)
        if frame is None:
            return
        name = frame.get("do")
        if not isinstance(name, str):
            raise BadRequest('a request says what to do: {"do": "status"}')
        _check_version(frame)
        if name in self._streams:
            await self._streams[name](frame, wire)
        elif name in ENDINGS:
            try:
                await wire.send({"ok": None})
            finally:
                ENDINGS[name](self._gateway)
        elif name in REQUESTS:
            await self._answer(wire, name, frame)
        else:
            raise BadRequest(f"this gateway is nanobot {__version__} and does not know {name!r}{_RENEW}", code="unknown")

    async def _answer(self, wire: Wire, name: str, frame: JsonObject) -> None:
        with trio.move_on_after(ANSWER_S) as scope:
            value = await REQUESTS[name](self._gateway, frame)
            await wire.send({"ok": value})
        if scope.cancelled_caught:
            raise BadRequest(f"{name} was given up after {ANSWER_S:.0f} seconds", code="too_slow")


_RENEW = ": it was updated while it ran. Start it again: nanobot gateway restart"


async def _request(wire: Wire) -> JsonObject | None:
    with trio.move_on_after(REQUEST_S):
        return await wire.receive()
    raise BadRequest(f"no request came within {REQUEST_S:.0f} seconds", code="too_late")


def _check_version(frame: JsonObject) -> None:
    match frame.get("version", VERSION):
        case int() as version if version <= VERSION:
            pass
        case _:
            raise BadRequest(f"this gateway is nanobot {__version__}, older than the command{_RENEW}", code="version")


def _first(group: BaseExceptionGroup[NanobotError]) -> NanobotError:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


def _code(error: NanobotError) -> str:
    match error:
        case BadRequest(code=code):
            return code
        case ConfigError():
            return "config"
        case _:
            return "failed"
