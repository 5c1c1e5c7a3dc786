"""Chats in a test: a home folder whose configuration names a scripted model, and the program as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from tests.cli.command import Ended
from tests.fakes.gateway_process import gateway_process

PATIENCE = 30.0
"""Seconds for one process: it starts in one, on a machine that does other things in three."""


def home_with(folder: Path, model: str, **defaults: object) -> Path:
    """A home folder whose model service is at `model`."""
    data = folder / ".nanobot"
    data.mkdir()
    agents = {"defaults": {"provider": "custom", "model": "m", **defaults}}
    providers = {"custom": {"apiBase": model, "apiKey": "k-of-the-tests"}}
    (data / "config.json").write_text(json.dumps({"configVersion": 1, "agents": agents, "providers": providers}))
    return folder


def environ(home: Path) -> dict[str, str]:
    return {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "nanobot", "chat", *arguments]


async def chat(*arguments: str, home: Path, typed: str = "") -> Ended:
    """One chat, to its end, with pipes for a terminal."""
    with trio.fail_after(PATIENCE):
        done = await trio.run_process(
            command(*arguments),
            stdin=typed.encode(),
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env=environ(home),
        )
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


class Running:
    """A chat that is under way."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.result: Ended | None = None

    async def ended(self) -> Ended:
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        with trio.fail_after(PATIENCE):
            out = b"".join([chunk async for chunk in self.process.stdout])
            err = b"".join([chunk async for chunk in self.process.stderr])
            return Ended(await self.process.wait(), out.decode(), err.decode())


@asynccontextmanager
async def started(*arguments: str, home: Path) -> AsyncIterator[Running]:
    """A chat that is killed at the end of the block, if it still runs."""
    run = partial(
        trio.run_process, command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, env=environ(home)
    )
    async with trio.open_nursery() as nursery:
        running = Running(await nursery.start(run))
        yield running
        if running.process.returncode is None:
            running.process.kill()


Around = Callable[[Path], AbstractAsyncContextManager[Path]]
"""Makes ready what the chats of a home folder meet; gives the folder back."""


@asynccontextmanager
async def alone(home: Path) -> AsyncIterator[Path]:
    """No gateway runs there."""
    yield home


@asynccontextmanager
async def attached(home: Path) -> AsyncIterator[Path]:
    """A gateway does."""
    async with gateway_process(home):
        yield home
