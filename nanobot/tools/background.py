"""`write_stdin`, `list_processes` and `kill_process`: what a session does with commands that go on beside its turns.

They reach the processes of the turn's own principal and session; any other is as if there were none. To feed a process is
judged as the command was that started it (the same row of the policy table, the same terms), with what is fed as the subject:
a shell is a command away from anything. A look that feeds nothing is `write_stdin`'s own row.
"""

from __future__ import annotations

from typing import Annotated

import attrs
import trio

from nanobot.errors import ToolError
from nanobot.messages import Effect
from nanobot.processes.children import END_S
from nanobot.processes.running import Running
from nanobot.tools.output import lasted, short, shown
from nanobot.tools.plain import hidden
from nanobot.tools.port import Intent, Result, Tool, ToolTurn
from nanobot.tools.schema import Arg
from nanobot.tools.shell import watcher

LONGEST_WAIT_S = 30.0
"""Seconds that a look may wait: longer waits are what the message at its end is for."""
LONGEST_TEXT = 65536
"""Bytes that are fed at once: what a pipe holds. More belongs into a file."""


@attrs.frozen
class WriteStdin:
    process: Annotated[str, Arg("Its id, as exec told it.")]
    text: Annotated[str, Arg("Written to its input as it is; a line ends with \\n. Leave it out to only look.")] = ""
    wait: Annotated[float, Arg("Seconds to wait for output or its end.", minimum=0.1, maximum=LONGEST_WAIT_S)] = 1.0
    close: Annotated[bool, Arg("Close its input afterwards: end of file.")] = False


@attrs.frozen
class ListProcesses:
    pass


@attrs.frozen
class KillProcess:
    process: Annotated[str, Arg("Its id, as exec told it.")]


def _write_intent(params: WriteStdin, turn: ToolTurn) -> Intent:
    running = _find(params.process, turn)
    _check(params.text)
    if not params.text:
        return Intent("write_stdin", "", running.command.terms)
    return Intent(running.command.row, params.text, f"as input of {short(running.command.text)}, {running.command.terms}")


async def _write(params: WriteStdin, turn: ToolTurn) -> Result:
    running = _find(params.process, turn)
    _check(params.text)
    left = bytearray(params.text.encode())
    async with running.hand:
        with trio.move_on_after(params.wait), running.watched(watcher(turn)):
            await running.feed(left)
            if params.close and not left:
                await running.close_input()
            await running.news()
        look = running.look()
    size = len(params.text.encode())
    lines = [shown(look), str(look.ended or f"{running.id} runs on.")]
    if left:
        why = f"did not read more within {params.wait:g} s" if running.input_open else "has closed its input"
        lines.append(f"\nError: it {why}: of {size:,} bytes it took the first {size - len(left):,}.")
    full = None if look.file is None else str(look.file)
    return Result("".join(lines), tainted=running.command.tainted, failed=bool(left), full=full)


async def _list(_params: ListProcesses, turn: ToolTurn) -> Result:
    rows = () if turn.processes is None else turn.processes.listed
    return Result("\n".join(map(_row, rows)) or "No process of yours runs.")


def _row(running: Running) -> str:
    state = "runs" if running.ended is None else f"ended ({running.ended})"
    what = short(running.command.text)
    return f"{running.id}: {what}, {state}, started {lasted(running.seconds)} ago, {running.written:,} bytes of output"


async def _kill(params: KillProcess, turn: ToolTurn) -> Result:
    running = _find(params.process, turn)
    running.ask_to_end("ended by kill_process")
    await running.gone.wait()
    async with running.hand:
        look = running.look()
    return Result(f"{shown(look)}{look.ended}", tainted=running.command.tainted)


def _find(name: str, turn: ToolTurn) -> Running:
    own = turn.processes
    running = None if own is None else own.find(name.strip())
    if own is None or running is None:
        ids = ", ".join(each.id for each in own.listed) if own is not None else ""
        raise ToolError(f"There is no process {name[:60]!r} of yours. {f'There are: {ids}' if ids else 'None runs'}")
    return running


def _check(text: str) -> None:
    if (size := len(text.encode())) > LONGEST_TEXT:
        raise ToolError(
            f"Nothing was written: {size:,} bytes are too much at once, {LONGEST_TEXT:,} are taken. Use a file, or write in parts"
        )
    if reason := hidden(text):
        raise ToolError(f"Nothing was written: {reason}. A process has no terminal here; kill_process ends it")


WRITE_STDIN = Tool(
    "write_stdin",
    "Write to the input of a process that exec left running, wait a moment, and get what it wrote since the last look.",
    WriteStdin,
    _write,
    Effect.WRITES,
    2 * LONGEST_WAIT_S + 5,
    _write_intent,
)
LIST_PROCESSES = Tool("list_processes", "List the processes that exec left running.", ListProcesses, _list, Effect.READS)
KILL_PROCESS = Tool(
    "kill_process",
    "End a process that exec left running, with all that it started, and get what it last wrote.",
    KillProcess,
    _kill,
    Effect.WRITES,
    END_S + 5,
    lambda params, turn: Intent("kill_process", short(_find(params.process, turn).command.text)),
)
