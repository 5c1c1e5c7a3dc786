"""A server that is a program of this machine: lines of JSON through its input and output.

The program runs under processes/children.py: with its scope it ends and with us, kill -9 included, with all that it has
started. What it writes to its standard error goes to the log at DEBUG, and the last of it into the reason of its end. Lines that
are no messages are passed over; one that is too long fails the call that it answers and nothing else (framing.py).

This module loads the SDK; import it in a thread.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import attrs
import mcp_types as types
import trio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from loguru import logger
from mcp.client._transport import TransportStreams
from mcp.shared.message import SessionMessage

from nanobot.mcp.framing import Flood, Lines, TooLong
from nanobot.mcp.line import TOO_LARGE, Line
from nanobot.processes.children import CHUNK, Child, open_child
from nanobot.supervise.policy import Cause
from nanobot.tools.plain import visible

LAST_WORDS = 600
"""Characters of standard error that go into the reason of an end."""
EXIT_S = 0.5
"""Seconds that a program which has closed its output has to end, so that its exit status can be told."""
PAUSE_S = 0.02
"""Seconds between two looks at its standard error: one that writes there without an end waits, instead of taking our time."""
NOT_THERE = (126, 127)
"""Exit statuses of a program that cannot be run."""


@attrs.frozen
class Program:
    argv: Sequence[str]
    cwd: Path
    env: Mapping[str, str]
    inherit_fds: Sequence[int] = ()


@attrs.define
class _Voice:
    """What it last wrote to its standard error."""

    text: str = ""

    async def hear(self, stream: trio.abc.ReceiveStream) -> None:
        while chunk := await stream.receive_some(CHUNK):
            said = bytes(chunk).decode("utf-8", "replace")
            self.text = (self.text + said)[-LAST_WORDS:]
            logger.debug("it says: {}", visible(said[-LAST_WORDS:].strip()))
            await trio.sleep(PAUSE_S)

    @property
    def last(self) -> str:
        lines = [line.strip() for line in visible(self.text).splitlines() if line.strip()]
        return f": {' | '.join(lines[-3:])}" if lines else ""


@asynccontextmanager
async def stdio(program: Program, line: Line) -> AsyncGenerator[TransportStreams]:
    """The program's messages while the body runs. Its end is told to `line`. Raises: OSError, ValueError as `open_child`."""
    voice = _Voice()
    async with open_child(
        program.argv,
        cwd=program.cwd,
        env=program.env,
        stdin=True,
        merged=False,
        inherit_fds=program.inherit_fds,
    ) as child:
        into_session, from_server = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        to_server, out_of_session = anyio.create_memory_object_stream[SessionMessage](0)
        with into_session, from_server, to_server, out_of_session:
            async with trio.open_nursery() as nursery:
                assert child.stderr is not None
                nursery.start_soon(voice.hear, child.stderr)
                nursery.start_soon(_read, child, into_session, line, voice)
                nursery.start_soon(_write, child, out_of_session)
                yield from_server, to_server
                nursery.cancel_scope.cancel()


async def _read(child: Child, into: MemoryObjectSendStream[SessionMessage | Exception], line: Line, voice: _Voice) -> None:
    lines = Lines()
    with into:
        try:
            while chunk := await child.stdout.receive_some(CHUNK):
                for whole in lines.feed(bytes(chunk)):
                    message = _message(whole)
                    size = len(whole) if isinstance(whole, bytes) else 0
                    if not line.heard(messages=int(message is None), size=size):
                        return
                    if message is not None:
                        await into.send(SessionMessage(message))  # where it is counted
        except Flood as error:
            line.fail(str(error))
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):  # the session is over
            pass
        else:
            await _tell_end(child, line, voice)


async def _tell_end(child: Child, line: Line, voice: _Voice) -> None:
    status: int | None = None
    with trio.move_on_after(EXIT_S):
        status = await child.wait()
    if status is None:
        line.fail(f"it closed its output{voice.last}")
    elif status in NOT_THERE:
        line.fail(f"its program cannot be run{voice.last}", Cause.CONFIG)
    else:
        line.fail(f"it ended with exit code {status}{voice.last}")


async def _write(child: Child, source: MemoryObjectReceiveStream[SessionMessage]) -> None:
    assert child.stdin is not None
    try:
        async for told in source:
            await child.stdin.send_all(told.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
    except (trio.BrokenResourceError, trio.ClosedResourceError):  # its output says why
        pass


def _message(whole: bytes | TooLong) -> types.JSONRPCMessage | None:
    """None for what is no message."""
    if isinstance(whole, TooLong):
        if whole.id is None:
            return None
        error = types.ErrorData(code=types.INVALID_REQUEST, message=TOO_LARGE)
        return types.JSONRPCError(jsonrpc="2.0", id=whole.id, error=error)
    if not whole.strip():
        return None
    try:
        message: types.JSONRPCMessage = types.jsonrpc_message_adapter.validate_json(whole, by_name=False)
    except ValueError:
        logger.debug("a line of its output is no message: {}", visible(whole[:200].decode("utf-8", "replace")))
        return None
    return message
