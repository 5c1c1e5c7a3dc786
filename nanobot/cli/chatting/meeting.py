"""Whether a gateway runs in the data directory, and the connection to it. Blocks, and imports next to nothing."""

from __future__ import annotations

import time
from collections.abc import Callable

import attrs

from nanobot.cli.chatting.request import ChatRequest, UsageMistake
from nanobot.config.paths import Places, places
from nanobot.control.client import Line, NotAnswering, NotRunning, Refused, answered, connect
from nanobot.daemon import lock
from nanobot.errors import InUse, NanobotError
from nanobot.wire import JsonObject

WAIT_S = 3.0
"""Seconds that a gateway gets which holds the data directory and takes nobody: it is starting, or about to end."""
LOOK_S = 0.1
HELLO_S = 15.0
"""Seconds to be heard and to have the session opened, which may mean an import of a long one."""
STOPPING = "stopping"
LONGEST_SAY = 1_000_000
"""Bytes of a frame with a message: what the gateway takes (control/server.py), with some room."""
TOO_LONG = "The message is too long to be handed to the gateway. Put it into a file and send that: {}"


@attrs.frozen
class Met:
    """A gateway, and what it said first."""

    line: Line
    hello: JsonObject


def meet(request: ChatRequest, do: str, given_up: Callable[[], bool]) -> Met | None:
    """A connection for `do` (`attach`, `ask`), None where no gateway is.

    Raises: InUse, naming who holds the data directory and takes nobody. NotAnswering, Refused, UsageMistake.
    """
    where = places(request.config)
    until = time.monotonic() + WAIT_S
    while True:
        try:
            return greeted(where, asked(request, do))
        except NotRunning:
            problem: NanobotError | None = _held(where)
        except Refused as refused:
            if refused.code != STOPPING:
                raise
            problem = refused
        if problem is None:
            return None
        if time.monotonic() >= until or given_up():
            raise problem
        time.sleep(LOOK_S)


def asked(request: ChatRequest, do: str) -> JsonObject:
    """The frame that asks for a session."""
    frame: JsonObject = {"do": do, "session": str(request.key)}
    if request.workspace is not None:
        frame["workspace"] = str(request.workspace.expanduser().resolve())
    return frame


def greeted(where: Places, frame: JsonObject) -> Met:
    """Raises: NotRunning, NotAnswering, Refused, UsageMistake."""
    line = connect(where.data, frame, HELLO_S)
    try:
        return Met(line, _hello(line))
    except BaseException:
        line.close()
        raise


def _hello(line: Line) -> JsonObject:
    frame = line.receive(HELLO_S)
    if frame is None:
        raise Refused("the gateway ended before it answered", STOPPING)
    try:
        hello = answered(frame)
    except Refused as refused:
        if refused.code == "usage":
            raise UsageMistake(str(refused)) from refused
        raise
    if not isinstance(hello, dict):
        raise NotAnswering(line.pid, "answers in a way that this version does not understand")
    return hello


def _held(where: Places) -> InUse | None:
    """Whether somebody has the data directory alone."""
    if not where.lock.exists():
        return None
    try:
        with lock.shared(where):
            return None
    except InUse as held:
        return held
