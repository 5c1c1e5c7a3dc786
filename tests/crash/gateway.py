"""The gateway as a process that is killed: forked from this one, where everything is loaded, or the installed command.

The forked one runs what the command runs (cli/running.py), with a disk and effects that carry out a kill from within, and
notes every call with an effect that it begins in `<data>/began`.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import attrs

import nanobot.web.serving  # noqa: F401  # loaded here, so that no start pays for it
from nanobot.agent.hands import ToolHands
from nanobot.cli import running
from nanobot.cli.terminal import opened
from nanobot.gateway import house
from nanobot.journal.journal import Journals
from nanobot.messages import CallId, Effect
from nanobot.session import events as ev
from nanobot.session.ports import Show
from nanobot.session.state import Session, Turn
from tests.crash.house import DeadlyDisk, Executioner, watch_effects
from tests.crash.plans import Kill

BEGAN = "began"
STDERR = "stderr"


@attrs.frozen
class Process:
    pid: int
    ended: Callable[[], int]
    """Waits for its end; its exit status, minus the signal's number if one ended it."""

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)  # not reaped before `ended`, so the number is still its own


def fork(config: Path, kill: Kill | None) -> Process:
    pid = os.fork()
    if pid == 0:
        _become(config, kill)
    return Process(pid, lambda: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def install(config: Path) -> Process:
    """The command that people type."""
    with config.with_name(STDERR).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "nanobot", "gateway", "--config", config],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={"HOME": str(config.parent), "PATH": os.environ["PATH"]},
        )
    return Process(process.pid, process.wait)


def _become(config: Path, kill: Kill | None) -> None:
    """Never returns: nothing of a forked child may come back into the driver."""
    gc.enable()
    log = os.open(config.with_name(STDERR), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    status = 1
    try:
        executioner = Executioner(kill, armed=True)
        watch_effects(executioner)
        _note_what_begins(config.with_name(BEGAN))
        vars(house)["Journals"] = partial(Journals, disk=DeadlyDisk(executioner))
        ending = running.run(opened(config), port=None, level="INFO")
        status = running.FAILED if ending is None else running.CODES[ending]
    except BaseException:  # noqa: ASYNC103  # see above
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


def _note_what_begins(file: Path) -> None:
    """A line for each call with an effect, before it runs."""
    run = ToolHands.run

    async def noted(self: ToolHands, session: Session, turn: Turn, call: CallId, show: Show) -> ev.CallEnded:
        if any(found.id == call and found.effect is Effect.WRITES for found in turn.reply.calls):
            with file.open("ab", buffering=0) as lines:
                lines.write(f"{session.key} {turn.number} {call}\n".encode())
        return await run(self, session, turn, call, show)

    ToolHands.run = noted  # type: ignore[method-assign]
