"""`exec`: a shell command in the workspace, its output merged and bounded, and nothing of it left when it has ended.

The command runs through `/bin/sh -c` with an allow-listed environment, in the sandbox where there is one. What it leaves
running beside itself is ended with it; so is a command that writes more than `OUTPUT_LIMIT`. A timeout answers with what came
until then; a cancellation leaves no file behind.

With `yield_time` the call returns when the command has ended or that time has passed, and the command goes on as a process
of the session (background.py). Until the call returns, the process ends with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import attrs
import trio

from nanobot.config.schema import ExecConfig
from nanobot.errors import ToolError
from nanobot.messages import CallId, Effect
from nanobot.processes import sandbox
from nanobot.processes.children import GRACE_S, KILL_S, Capture, clean_env, run
from nanobot.processes.running import Command, Ended, Look, OwnProcesses, Running
from nanobot.processes.sandbox import Isolation
from nanobot.security import workspace
from nanobot.skills.places import installed
from nanobot.tools.courtesy import objection
from nanobot.tools.output import WORDS_CHARS, kept_bytes, lasted, short, shown, told
from nanobot.tools.plain import hidden, one_line
from nanobot.tools.port import Background, Intent, Result, Tool, ToolTurn
from nanobot.tools.results import new_file
from nanobot.tools.schema import Arg

LONGEST_S = 600.0
"""Seconds that a call may hold its turn; what takes longer goes on beside it."""
LONGEST_YIELD_S = 30.0
"""Seconds before what goes on beside the turn lets it go on: a look, no wait."""
OUTPUT_LIMIT = 16 * 1024 * 1024
"""Bytes after which a command is ended: nobody reads more, and `yes` fills a disk."""
LONGEST_COMMAND = 100_000
"""Bytes. Linux takes 128 KiB in one argument."""
LINE_CHARS = 200
"""Characters of a line of output that whoever watches is shown."""

ABOUT = (
    "Run a shell command and get its output (standard error merged in) and exit code. It is ended after {timeout:g} s unless "
    "timeout says otherwise, and what it leaves in the background with it. For what takes longer, or reads input, give "
    "yield_time: then it goes on as a process, to be used with write_stdin, list_processes and kill_process, and its end comes "
    "as a message. {where}"
)
SANDBOXED = "It runs in a sandbox: it may write in the workspace, read the system's programs, and sees no other files of the user"
WITH_NETWORK = f"{SANDBOXED}. It has network."
ASKS_NETWORK = f"{SANDBOXED}; it has no network unless network is true, which may have to wait for the owner's approval."
UNSANDBOXED = "There is no sandbox on this machine: every command waits for the owner's approval."


@attrs.frozen
class Exec:
    command: Annotated[str, Arg("Command line for /bin/sh. Without yield_time it reads no input.")]
    working_dir: Annotated[str, Arg("Folder inside the workspace to run in.")] = "."
    timeout: Annotated[float | None, Arg("Seconds before it is ended; at most 600 without yield_time.", minimum=0.1)] = None
    network: Annotated[bool, Arg("Let it reach the network.")] = False
    skill: Annotated[str | None, Arg("A skill whose installed Python programs come first on the PATH.")] = None
    yield_time: Annotated[
        float | None,
        Arg(
            "Seconds to wait for its end; if it still runs then, it goes on in the background.",
            minimum=0,
            maximum=LONGEST_YIELD_S,
        ),
    ] = None


@attrs.frozen
class Setting:
    """Where and how a command would run: what the owner approves."""

    folder: Path
    sandboxed: bool
    network: bool
    """It could reach it."""
    row: str
    terms: str
    programs: Path | None = None
    """A skill's, put before the PATH."""


@attrs.frozen
class Shell:
    """What all commands have in common."""

    config: ExecConfig
    environ: Mapping[str, str]
    cap: int
    isolation: Isolation
    output_limit: int
    inherit_fds: tuple[int, ...]

    def setting(self, params: Exec, turn: ToolTurn) -> Setting:
        """Blocks. Raises: ToolError for what is not run at all."""
        self._check(params)
        folder, programs = workspace.check_folder(params.working_dir, turn), _programs(params.skill, turn)
        skilled = f", with the programs of the skill {params.skill}" if programs else ""
        if not self.isolation.sandboxed:
            terms = f"in {folder}, without a sandbox ({self.isolation.reason}){skilled}"
            return Setting(folder, False, True, "exec:unsandboxed", terms, programs)
        network = params.network or self.config.network
        row = "exec:network" if params.network and not self.config.network else "exec"
        terms = f"in {folder}, in the sandbox, {'with' if network else 'without'} network{skilled}"
        return Setting(folder, True, network, row, terms, programs)

    def intent(self, params: Exec, turn: ToolTurn) -> Intent:
        setting = self.setting(params, turn)
        return Intent(setting.row, params.command, setting.terms)

    async def run(self, params: Exec, turn: ToolTurn) -> Result:
        command = await trio.to_thread.run_sync(self._prepared, params, turn, abandon_on_cancel=True)
        try:
            if params.yield_time is None:
                return await _to_its_end(command, turn)
            return await _yielding(command, params.yield_time, turn, _own(turn))
        except OSError as error:
            raise ToolError(f"The command could not be started: {error.strerror or error}") from error

    def _prepared(self, params: Exec, turn: ToolTurn) -> Command:
        setting = self.setting(params, turn)
        try:
            file = new_file(turn, "exec", tainted=setting.network)
        except OSError as error:
            raise ToolError(f"There is no place to keep output: {error.strerror}") from error
        usual = self.config.timeout if params.yield_time is None else self.config.background_s
        return Command(
            params.command,
            self._argv(params, setting, turn),
            setting.folder,
            self._env(setting),
            usual if params.timeout is None else params.timeout,
            file,
            kept_bytes(self.cap, 0 if params.yield_time is None else WORDS_CHARS),
            self.output_limit,
            setting.row,
            setting.terms,
            setting.network,
            told,
            self.inherit_fds,
        )

    def _env(self, setting: Setting) -> dict[str, str]:
        env = clean_env(self.config, self.environ)
        return env if setting.programs is None else {**env, "PATH": f"{setting.programs}:{env['PATH']}"}

    def _argv(self, params: Exec, setting: Setting, turn: ToolTurn) -> Sequence[str]:
        shell = ["/bin/sh", "-c", params.command]
        if not setting.sandboxed:
            return shell
        try:
            return sandbox.argv(
                shell,
                workspace=turn.workspace,
                cwd=setting.folder,
                config=self.config,
                hidden=() if turn.data is None else (turn.data,),
                readable=(*turn.readable, *([] if setting.programs is None else [setting.programs.parent])),
                network=setting.network,
                environ=self.environ,
            )
        except OSError as error:
            raise ToolError(f"Not run: the sandbox is gone: {error.strerror or error}") from error

    def _check(self, params: Exec) -> None:
        if self.config.sandbox == "bwrap" and not self.isolation.sandboxed:
            raise ToolError(f"Not run: tools.exec.sandbox wants bubblewrap, and it does not work here: {self.isolation.reason}")
        if (size := len(params.command.encode())) > LONGEST_COMMAND:
            raise ToolError(
                f"Not run: a command of {size:,} bytes is too long, {LONGEST_COMMAND:,} are taken. Write a script and run that"
            )
        if reason := hidden(params.command):
            raise ToolError(f"Not run: {reason}. Write the command so that all of it shows")
        if reason := objection(params.command):
            raise ToolError(f"Not run: {reason}. If the user really wants that, they have to do it themselves")
        most = LONGEST_S if params.yield_time is None else self.config.background_s
        if params.timeout is not None and params.timeout > most:
            hint = ". For longer, give yield_time" if params.yield_time is None else ""
            raise ToolError(f"Not run: timeout must be at most {most:g}, not {params.timeout:g}{hint}")


def exec_tool(
    config: ExecConfig,
    environ: Mapping[str, str],
    cap: int,
    *,
    isolation: Isolation,
    output_limit: int = OUTPUT_LIMIT,
    inherit_fds: Sequence[int] = (),
) -> Tool[Exec]:
    """cap: most characters of a result. isolation: what `sandbox.probe` found. inherit_fds: as `children.open_child`."""
    shell = Shell(config, environ, cap, isolation, output_limit, tuple(inherit_fds))
    where = UNSANDBOXED if not isolation.sandboxed else WITH_NETWORK if config.network else ASKS_NETWORK
    about = ABOUT.format(timeout=config.timeout, where=where)
    most = max(LONGEST_S, config.timeout) + GRACE_S + 2 * KILL_S + 5
    return Tool("exec", about, Exec, shell.run, Effect.WRITES, most, shell.intent)


def _programs(skill: str | None, turn: ToolTurn) -> Path | None:
    """Raises: ToolError where the skill has none."""
    if not skill:
        return None
    there = None if turn.data is None else installed(turn.data, skill)
    if there is None:
        raise ToolError(
            f"Not run: nothing is installed for a skill {one_line(skill[:100])}. If it needs Python packages, the owner installs "
            "them with nanobot skills install NAME; else leave skill out"
        )
    return there.programs


def watcher(turn: ToolTurn) -> Callable[[bytes], None]:
    """Shows the last line of what comes to whoever watches."""

    def watch(chunk: bytes) -> None:
        if lines := chunk.decode("utf-8", "replace").split("\n")[-2:]:
            turn.progress((lines[-1] or lines[0])[:LINE_CHARS])

    return watch


async def _to_its_end(command: Command, turn: ToolTurn) -> Result:
    output = Capture(command.file, command.keep, command.limit, watch=watcher(turn))
    kept, status = False, 0
    try:
        with trio.move_on_after(command.seconds) as scope:
            status = await run(command.argv, output, cwd=command.cwd, env=command.env, inherit_fds=command.inherit_fds)
        kept = True
    finally:
        output.close(discard=not kept)
    reason = command.late if scope.cancelled_caught else command.too_much if output.over else ""
    return _ended(command, Look(output.head, output.tail, output.total, output.file, Ended(status, reason)))


async def _yielding(command: Command, seconds: float, turn: ToolTurn, own: OwnProcesses) -> Result:
    async with own.started(turn.call, command) as running:
        with trio.move_on_after(seconds), running.watched(watcher(turn)):
            await running.gone.wait()
        look = running.look()
        if look.ended is not None:
            return _ended(command, look)
        own.hand_over(running)  # from here to the session's record of it there is no checkpoint
        return _goes_on(running, look)


def _ended(command: Command, look: Look) -> Result:
    assert look.ended is not None
    full = None if look.file is None else str(look.file)
    return Result(f"{shown(look)}{look.ended}", tainted=command.tainted, failed=look.ended.failed, full=full)


def _goes_on(running: Running, look: Look) -> Result:
    command = running.command
    text = (
        f"{shown(look)}It goes on as process {running.id}, for at most {lasted(command.seconds)} in all; its end will come as a "
        f'message, so there is no need to wait for it. write_stdin(process="{running.id}") feeds it and shows what is new, '
        f'kill_process(process="{running.id}") ends it.'
    )
    return Result(text, tainted=command.tainted, background=Background(CallId(running.id), short(command.text)))


def _own(turn: ToolTurn) -> OwnProcesses:
    if turn.processes is None:
        raise ToolError("Not run: there are no background processes here. Leave yield_time out")
    return turn.processes
