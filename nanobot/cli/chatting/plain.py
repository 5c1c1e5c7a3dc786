"""The terminal without escape codes, for NO_COLOR and terminals that know none: lines in, lines out.

The terminal itself edits the line, and Ctrl-C is a signal. One thread reads, one writes, so that a terminal which was halted
(Ctrl-S) halts nothing else.
"""

from __future__ import annotations

import os
import queue
import select
import threading
from collections.abc import Mapping

from nanobot.cli.chatting.keyboard import Ended, Keyboard, Typed
from nanobot.cli.chatting.screen import PROMPT, Printed
from nanobot.cli.chatting.stdio import write_all

CLOSE_S = 1.0
"""Seconds for each thread to end."""
CHUNK = 65536


class Plain:
    """A Screen; see the module. `start` first."""

    def __init__(self, keyboard: Keyboard) -> None:
        self._keyboard = keyboard
        self._out: queue.SimpleQueue[tuple[str, Printed | None] | None] = queue.SimpleQueue()
        self._prompted = False
        self._wake_read, self._wake = os.pipe()
        self._threads = [threading.Thread(target=work, name="terminal", daemon=True) for work in (self._read, self._write)]

    def start(self) -> None:
        self._ask()
        for thread in self._threads:
            thread.start()

    def post(self, text: str, printed: Printed | None = None) -> None:
        if text:
            below, self._prompted = self._prompted, False
            text = f"\n{text}\n" if below else f"{text}\n"
        self._out.put((text, printed))

    def tail(self, text: str) -> None:
        """Nothing can be taken away again here, so what still grows is not shown."""

    def status(self, text: str, *, busy: bool) -> None:
        if not busy and not self._prompted:
            self._ask()

    def commands(self, table: Mapping[str, str]) -> None:
        """The terminal's own line editing completes nothing."""

    def offer(self, lines: Mapping[str, str]) -> None:
        """As with `commands`; the text above says what to write."""

    def close(self) -> None:
        os.write(self._wake, b".")
        self._out.put(None)
        for thread in self._threads:
            thread.join(CLOSE_S)

    def _ask(self) -> None:
        self._prompted = True
        self._out.put((PROMPT, None))

    def _read(self) -> None:
        """Whole lines until the end of the input, or `close`."""
        held = b""
        while True:
            ready, _, _ = select.select([0, self._wake_read], [], [])
            data = b"" if self._wake_read in ready else _read_some()
            *lines, held = (held + data).split(b"\n")
            for line in lines:
                self._prompted = False
                self._keyboard.put(Typed(line.decode("utf-8", "replace")))
            if not data:
                self._keyboard.put(Ended())
                return

    def _write(self) -> None:
        while (job := self._out.get()) is not None:
            text, printed = job
            try:
                write_all(1, text)
                done = True
            except OSError:
                done = False
            if printed is not None:
                printed(done)


def _read_some() -> bytes:
    try:
        return os.read(0, CHUNK)
    except OSError:
        return b""
