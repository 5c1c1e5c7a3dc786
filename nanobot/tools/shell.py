"""`exec`: a shell command in the workspace, its output merged and bounded, and nothing of it left when it has ended.

The command runs through `/bin/sh -c` inside the lifeline wrapper with an allow-listed environment. What it leaves running
in the background is ended with it; so is a command that writes more than `OUTPUT_LIMIT`. A timeout answers with what came
until then; a cancellation leaves no file behind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import attrs
import trio

from nanobot.config.schema import ExecConfig
from nanobot.errors import ToolError
from nanobot.messages import Effect
from nanobot.processes.children import GRACE_S, KILL_S, Capture, clean_env, run
from nanobot.security import workspace
from nanobot.tools.courtesy import objection
from nanobot.tools.port import Result, Tool, ToolTurn
from nanobot.tools.results import MARKER_CHARS, joined, new_file
from nanobot.tools.schema import Arg

LONGEST_S = 600.0
"""Seconds that a call may ask for; what takes longer should not hold a turn."""
OUTPUT_LIMIT = 16 * 1024 * 1024
"""Bytes after which a command is ended: nobody reads more, and `yes` fills a disk."""

LINE_CHARS = 200
"""Characters of a line of output that whoever watches is shown."""


@attrs.frozen
class Exec:
    command: Annotated[str, Arg("Command line for /bin/sh. It reads no input.")]
    working_dir: Annotated[str, Arg("Folder inside the workspace to run in.")] = "."
    timeout: Annotated[float | None, Arg("Seconds before it is ended.", minimum=0.1, maximum=LONGEST_S)] = None


@attrs.frozen
class Ended:
    """How a command ended: its status, and our reason where we ended it."""

    status: int
    reason: str = ""

    def __str__(self) -> str:
        signal = f" (signal {self.status - 128})" if 128 < self.status < 128 + 65 else ""
        return f"Exit code: none, {self.reason}" if self.reason else f"Exit code: {self.status}{signal}"


def exec_tool(
    config: ExecConfig, environ: Mapping[str, str], cap: int, *, output_limit: int = OUTPUT_LIMIT, inherit_fds: Sequence[int] = ()
) -> Tool[Exec]:
    """cap: most characters of a result. inherit_fds: as `children.open_child`."""
    env = clean_env(config, environ)

    async def run_tool(params: Exec, turn: ToolTurn) -> Result:
        if reason := objection(params.command):
            raise ToolError(f"Not run: {reason}. If the user really wants that, they have to do it themselves")
        folder = await trio.to_thread.run_sync(workspace.check_folder, params.working_dir, turn, abandon_on_cancel=True)
        try:
            output = Capture(new_file(turn, "exec"), max(0, cap - MARKER_CHARS) // 2, output_limit, watch=_watcher(turn))
        except OSError as error:
            raise ToolError(f"There is no place to keep output: {error.strerror}") from error
        seconds = params.timeout if params.timeout is not None else config.timeout
        kept = False
        try:
            with trio.move_on_after(seconds) as scope:
                status = await run(["/bin/sh", "-c", params.command], output, cwd=folder, env=env, inherit_fds=inherit_fds)
            ended = Ended(0, f"timed out after {seconds:g} s; everything it started is gone") if scope.cancelled_caught else None
            kept = True
        except OSError as error:
            raise ToolError(f"The command could not be started: {error.strerror or error}") from error
        finally:
            output.close(discard=not kept)
        return _result(output, ended or _ended(status, output))

    most = max(LONGEST_S, config.timeout) + GRACE_S + 2 * KILL_S + 5
    description = (
        "Run a shell command in the workspace and get its output (standard error merged in) and exit code. "
        f"It is ended after {config.timeout:g} s unless timeout says otherwise, and whatever it leaves in the background with it."
    )
    return Tool("exec", description, Exec, run_tool, Effect.WRITES, most)


def _ended(status: int, output: Capture) -> Ended:
    return Ended(status, f"it wrote more than {output.limit:,} bytes and was stopped") if output.over else Ended(status)


def _watcher(turn: ToolTurn) -> Callable[[bytes], None]:
    def watch(chunk: bytes) -> None:
        if lines := chunk.decode("utf-8", "replace").split("\n")[-2:]:
            turn.progress((lines[-1] or lines[0])[:LINE_CHARS])

    return watch


def _result(output: Capture, ended: Ended) -> Result:
    text = _shown(output)
    if text and not text.endswith("\n"):
        text += "\n"
    full = output.file
    return Result(f"{text}{ended}", failed=ended.status != 0 or bool(ended.reason), full=None if full is None else str(full))


def _shown(output: Capture) -> str:
    if (whole := output.whole) is not None:
        return whole.decode("utf-8", "replace")
    head, tail = (part.decode("utf-8", "replace").strip("\ufffd") for part in (output.head, output.tail))
    left_out = f"{output.total - len(output.head) - len(output.tail):,} of {output.total:,} bytes"
    return joined(head, tail, left_out, output.file)
