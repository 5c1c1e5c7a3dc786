"""The other end of the control socket, for commands. Blocks, imports next to nothing, and needs no configuration.

`ask` is one request and its answer; `connect` is for streaming requests and gives a `Line`, on which frames go both ways.

NotRunning      nobody listens: there is no gateway for this data directory
NotAnswering    somebody does, and says nothing in time
Refused         the gateway's own sentence, with its code
"""

from __future__ import annotations

import os
import socket
import time
from types import TracebackType

from nanobot.control.lines import VERSION, decode, encode
from nanobot.control.paths import Folder, candidates
from nanobot.control.peer import peer
from nanobot.errors import NanobotError
from nanobot.wire import Json, JsonObject

MOST_BYTES = 64 * 2**20
"""Of one frame: far above any answer, so that a wrong one does not fill the memory."""
CHUNK = 2**16


class NotRunning(NanobotError):
    """Nobody listens."""

    def __init__(self) -> None:
        super().__init__("The gateway is not running. Start it: nanobot gateway")


class NotAnswering(NanobotError):
    """The gateway has taken the connection, or not even that, and gives no sensible answer in time."""

    def __init__(self, pid: int | None, what: str = "does not answer") -> None:
        process = f" (process {pid})" if pid else ""
        super().__init__(f"The gateway{process} {what}. Its log says more: nanobot gateway logs")


class Refused(NanobotError):
    """The gateway's answer is no. `code` is for programs."""

    def __init__(self, text: str, code: str) -> None:
        self.code = code
        super().__init__(text)


class Line:
    """An open connection to the gateway, for one task. Close it, or use it in a `with`."""

    def __init__(self, connection: socket.socket, pid: int) -> None:
        self.pid = pid
        """The gateway's process."""
        self._socket = connection
        self._rest = bytearray()

    def __enter__(self) -> Line:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def ready(self) -> bool:
        """Whether a frame was read already, which whoever waits for the descriptor would not see."""
        return b"\n" in self._rest

    def detach(self) -> tuple[socket.socket, bytearray]:
        """The connection itself and what was read of frames to come, for whoever serves it in another way."""
        return socket.socket(fileno=self._socket.detach()), self._rest

    def send(self, frame: JsonObject, timeout_s: float | None = None) -> None:
        """Raises: NotAnswering, also when the gateway has closed."""
        self._socket.settimeout(timeout_s)
        try:
            self._socket.sendall(encode(frame))
        except TimeoutError:
            raise NotAnswering(self.pid) from None
        except OSError as exc:
            raise NotAnswering(self.pid, "has closed the connection") from exc

    def receive(self, timeout_s: float | None = None) -> JsonObject | None:
        """The next frame, None when the gateway has closed. Raises: NotAnswering after so many seconds, or for garbage."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        searched = 0
        while (end := self._rest.find(b"\n", searched)) < 0:
            searched = len(self._rest)
            if searched > MOST_BYTES or not self._fill(until):
                return None
        line = bytes(self._rest[:end])
        del self._rest[: end + 1]
        try:
            return decode(line)
        except ValueError as exc:
            raise NotAnswering(self.pid, "answers in a way that this version does not understand") from exc

    def _fill(self, until: float | None) -> bool:
        """Read what has come; False at the end."""
        left = None if until is None else until - time.monotonic()
        if left is not None and left <= 0:
            raise NotAnswering(self.pid)
        self._socket.settimeout(left)
        try:
            data = self._socket.recv(CHUNK)
        except TimeoutError:
            raise NotAnswering(self.pid) from None
        except OSError:
            return False
        self._rest += data
        return bool(data)


def ask(data: Folder, request: JsonObject, timeout_s: float) -> Json:
    """The answer to one request, from the gateway whose data directory is `data`.

    Raises: NotRunning. NotAnswering after `timeout_s` seconds. Refused.
    """
    until = time.monotonic() + timeout_s
    with connect(data, request, timeout_s) as line:
        answer = line.receive(max(0.0, until - time.monotonic()))
        if answer is None:
            raise NotAnswering(line.pid, "has closed the connection")
    return answered(answer)


def answered(frame: JsonObject) -> Json:
    """What an answer gives. Raises: Refused if it is a refusal."""
    if "error" in frame:
        raise Refused(str(frame["error"]), str(frame.get("code", "")))
    return frame.get("ok")


def connect(data: Folder, request: JsonObject, timeout_s: float) -> Line:
    """The connection on which a request was made; its frames, answers and refusals alike, are still to be received.

    Raises: NotRunning. NotAnswering if it is not taken in `timeout_s` seconds. Refused if the socket is closed to us.
    """
    line = _reach(data, timeout_s)
    try:
        line.send({"version": VERSION, **request}, timeout_s)
    except NotAnswering:
        pass  # it may have answered before it had read all: `receive` tells
    except BaseException:
        line.close()
        raise
    return line


def _reach(data: Folder, timeout_s: float) -> Line:
    try:
        owner = os.stat(data).st_uid
        paths = candidates(data)
    except OSError:
        raise NotRunning from None
    for path in paths:
        connection = _opened(path, timeout_s)
        if connection is None:
            continue
        pid, uid = peer(connection)
        if uid in (0, owner, os.geteuid()):
            return Line(connection, pid)
        connection.close()  # somebody else put a socket where ours would be
    raise NotRunning


def _opened(path: str, timeout_s: float) -> socket.socket | None:
    """A connection, None where nobody listens."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(timeout_s)
        connection.connect(path)
    except OSError as exc:
        connection.close()
        if isinstance(exc, PermissionError):
            raise Refused(f"The gateway belongs to another user, who alone may use {path}", "refused") from exc
        if isinstance(exc, TimeoutError | BlockingIOError):  # more wait than it takes
            raise NotAnswering(None) from exc
        return None
    return connection
