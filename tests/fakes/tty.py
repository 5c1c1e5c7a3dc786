"""A terminal for a real process: a pty whose other end types and reads the screen.

    async with terminal("chat", home=tmp_path) as tty:
        await tty.shows("you>")
        await tty.types("hello\\r")
        assert await tty.ended() == 0

`Emulator` understands the few sequences that line editors use, and keeps what scrolled away. Facts are waited for, at most
`PATIENCE` seconds, and a failure shows the screen.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
import sys
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

PATIENCE = 20.0
ROWS, COLUMNS = 40, 140
INTO_TTY = "import fcntl,os,sys,termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.executable, sys.argv[1:])"
"""Makes the pty the terminal of the process that follows."""
_SEQUENCE = re.compile(
    r"\x1b(?:\[(?P<args>[0-9;?]*)(?P<kind>[A-Za-z])|\][^\x07]*\x07|[()][A-Z0-9]|[=>78])|(?P<char>[^\x1b])", re.DOTALL
)


@attrs.define
class Emulator:
    """What a terminal of that size shows, with everything above it."""

    lines: list[str] = attrs.field(factory=lambda: [""])
    row: int = 0
    column: int = 0
    _held: str = ""

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.lines)

    def feed(self, text: str) -> None:
        text = self._held + text
        end = 0
        for found in _SEQUENCE.finditer(text):
            if found.start() != end:
                break
            end = found.end()
            if found["char"]:
                self._put(found["char"])
            elif found["kind"]:
                self._move(found["kind"], found["args"])
        self._held = text[end:]

    def _put(self, char: str) -> None:
        match char:
            case "\r":
                self.column = 0
            case "\n":
                self._go(self.row + 1)
            case "\b":
                self.column = max(0, self.column - 1)
            case "\x07":
                pass
            case _:
                if self.column >= COLUMNS:
                    self._go(self.row + 1)
                    self.column = 0
                line = self.lines[self.row].ljust(self.column)
                self.lines[self.row] = line[: self.column] + char + line[self.column + 1 :]
                self.column += 1

    def _go(self, row: int) -> None:
        self.row = max(0, row)
        self.lines += [""] * (self.row + 1 - len(self.lines))

    def _move(self, kind: str, args: str) -> None:
        count = int(args) if args.isdigit() else 0
        match kind:
            case "A":
                self._go(self.row - max(1, count))
            case "B":
                self._go(self.row + max(1, count))
            case "C":
                self.column += max(1, count)
            case "D":
                self.column = max(0, self.column - max(1, count))
            case "G":
                self.column = max(0, count - 1)
            case "K":
                self.lines[self.row] = self.lines[self.row][: self.column]
            case "J":
                self.lines[self.row] = self.lines[self.row][: self.column]
                del self.lines[self.row + 1 :]
            case _:  # colours and modes change no text
                pass


@attrs.define
class Tty:
    """The person at the terminal."""

    process: trio.Process
    master: trio.lowlevel.FdStream
    slave: int
    screen: Emulator = attrs.field(factory=Emulator)
    raw: bytearray = attrs.field(factory=bytearray)
    _changed: trio.Event = attrs.field(factory=trio.Event)

    async def types(self, keys: str) -> None:
        await self.master.send_all(keys.encode())

    async def shows(self, *texts: str) -> None:
        """Wait until each of the texts is, or was, on the screen."""
        await self.until(lambda: all(text in self.screen.text for text in texts), f"shows {texts}")

    async def until(self, fact: Callable[[], bool], what: str) -> None:
        with trio.move_on_after(PATIENCE) as patience:
            while not fact():
                await self._changed.wait()
        assert not patience.cancelled_caught, f"never: {what}\n--- screen\n{self.screen.text}"

    async def ended(self) -> int:
        """Wait for the end of the process; its exit code."""
        with trio.move_on_after(PATIENCE):
            return await self.process.wait()
        raise AssertionError(f"did not end\n--- screen\n{self.screen.text}")

    def modes(self) -> list[Any]:
        """What `stty` shows."""
        return termios.tcgetattr(self.slave)

    async def read(self) -> None:
        """Runs until the pty closes."""
        while True:
            try:
                data = await self.master.receive_some()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return  # EIO: nobody has the other end open
            self.raw += data
            self.screen.feed(data.decode("utf-8", "replace"))
            self._changed.set()
            self._changed = trio.Event()


@asynccontextmanager
async def terminal(*arguments: str, home: Path, **environ: str) -> AsyncIterator[Tty]:
    """`nanobot` with these arguments in a terminal of its own; killed at the end of the block if it still runs."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    command = [sys.executable, "-c", INTO_TTY, sys.executable, "-m", "nanobot", *arguments]
    env = {"HOME": str(home), "PATH": os.environ["PATH"], "TERM": "xterm-256color", "LANG": "C.UTF-8", **environ}
    process = await trio.lowlevel.open_process(command, stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True)
    tty = Tty(process, trio.lowlevel.FdStream(master), slave)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tty.read)
            yield tty
            nursery.cancel_scope.cancel()
    finally:
        os.close(slave)
        if process.returncode is None:
            process.kill()
        with trio.move_on_after(5, shield=True):
            await process.wait()
            await tty.master.aclose()
