"""The prompt at the bottom of the terminal, by prompt_toolkit, in a thread with an asyncio loop of its own.

It needs nothing else of ours, so it is up before the rest of the program is imported; what is typed meanwhile waits in the
keyboard. The prompt stays while the assistant works: what is printed goes above it, the growing part of an answer is drawn
with it. `start` returns when the prompt is on the terminal; `close` takes it away and joins the thread.

Cursor positions are not asked for (CPR): over a slow line the answers end up in what is typed. prompt_toolkit shows no bottom
toolbar without them, so the status stands above the prompt.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import termios
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.data_structures import Size
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import ANSI, StyleAndTextTuples, to_formatted_text
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import Output
from prompt_toolkit.output.vt100 import Vt100_Output

from nanobot.cli.chatting.history import private_file
from nanobot.cli.chatting.keyboard import Ended, Interrupted, Keyboard, Typed
from nanobot.cli.chatting.screen import PROMPT, Printed
from nanobot.cli.chatting.stdio import write_all

CLOSE_S = 1.0
"""Seconds for the thread to end; it only draws."""
START_S = 10.0
"""Seconds for the first prompt; then the chat goes on without having seen it."""
ATTACH = "/attach "


class Prompting:
    """A Screen; see the module. `start` first."""

    def __init__(self, keyboard: Keyboard, history: Path) -> None:
        self._keyboard = keyboard
        self._history = history
        self._words: Mapping[str, str] = {}
        self._offers: Mapping[str, str] = {}
        self._tail: StyleAndTextTuples = []
        self._status = ""
        self._session: PromptSession[str] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Event | None = None
        self._shown = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prompt", daemon=True)

    # --- for others, in any thread

    def start(self) -> None:
        self._thread.start()
        self._shown.wait(START_S)

    def post(self, text: str, printed: Printed | None = None) -> None:
        if not self._call(lambda: self._print(text, printed)) and printed is not None:
            printed(False)

    def tail(self, text: str) -> None:
        room = max(3, shutil.get_terminal_size().lines // 2)
        lines = text.split("\n")[-room:] if text else []
        fragments = to_formatted_text(ANSI("".join(f"{line}\n" for line in lines)))
        self._call(lambda: self._draw_tail(fragments))

    def status(self, text: str, *, busy: bool) -> None:
        self._call(lambda: self._draw_status(f"{text}   Ctrl-C stops" if busy else text))

    def commands(self, table: Mapping[str, str]) -> None:
        self._words = table

    def offer(self, lines: Mapping[str, str]) -> None:
        self._offers = lines

    def close(self) -> None:
        self._call(self._end)
        self._thread.join(CLOSE_S)

    def _call(self, work: Callable[[], None]) -> bool:
        """Do it in the prompt's thread; False if that has ended."""
        if self._loop is None:
            return False
        try:
            self._loop.call_soon_threadsafe(work)
        except RuntimeError:  # the loop is closed
            return False
        return True

    # --- in the thread

    def _run(self) -> None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        self._loop = loop
        try:
            loop.run_until_complete(self._serve())
        except (OSError, termios.error):
            pass  # the terminal is gone
        finally:
            self._keyboard.put(Ended())
            self._shown.set()
            loop.close()

    async def _serve(self) -> None:
        self._closing = asyncio.Event()
        self._session = self._make_session(Vt100_Output(sys.stdout, _size, term=os.environ.get("TERM"), enable_cpr=False))
        self._session.app.after_render += lambda _app: self._shown.set()
        while not self._closing.is_set():
            try:
                text = await self._session.prompt_async(handle_sigint=False, set_exception_handler=False)
            except EOFError:
                break
            self._keyboard.put(Typed(text))
        self._keyboard.put(Ended())
        await self._closing.wait()

    def _make_session(self, output: Output) -> PromptSession[str]:
        return PromptSession(
            self._message,
            completer=Commands(lambda: {**self._words, **self._offers}),
            complete_while_typing=True,
            reserve_space_for_menu=4,
            history=_history(self._history),
            key_bindings=self._keys(),
            enable_history_search=False,
            output=output,
        )

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()

        @keys.add("escape", "enter")
        def _(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        @keys.add("c-c")
        def _(event: KeyPressEvent) -> None:
            event.current_buffer.reset()
            self._keyboard.put(Interrupted())

        return keys

    def _message(self) -> StyleAndTextTuples:
        """The growing answer, the status line, the prompt. What stays on the terminal after Enter is the prompt alone."""
        done = self._session is None or self._session.app.is_done
        above = [] if done or not self._status else [*self._tail, ("fg:ansibrightblack", f"{self._status}\n")]
        return [*above, ("bold", PROMPT)]

    def _draw_tail(self, fragments: StyleAndTextTuples) -> None:
        self._tail = fragments
        self._redraw()

    def _draw_status(self, text: str) -> None:
        self._status = text
        self._redraw()

    def _redraw(self) -> None:
        if self._session is not None:
            self._session.app.invalidate()

    def _print(self, text: str, printed: Printed | None) -> None:
        """Above the prompt: it is taken away, and drawn again below. The terminal stays raw, so that what is typed meanwhile
        is not echoed in between."""
        app = self._session.app if self._session is not None else None
        try:
            if text and app is not None and app.is_running:
                app.renderer.erase()
                app.invalidate()
            write_all(1, f"{text}\n" if text else "")
            done = True
        except OSError:
            done = False
        if printed is not None:
            printed(done)

    def _end(self) -> None:
        if self._closing is not None:
            self._closing.set()
        if self._session is not None and self._session.app.is_running:
            self._session.app.exit(exception=EOFError())


class Commands(Completer):
    """Slash commands at the start of the line, what stands behind them where that is offered, and the file behind /attach."""

    def __init__(self, table: Callable[[], Mapping[str, str]]) -> None:
        self._table = table
        self._files = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        line = document.text_before_cursor
        if line.startswith(ATTACH):
            path = Document(line.removeprefix(ATTACH))
            yield from self._files.get_completions(path, complete_event)
        elif line.startswith("/"):
            for name, meaning in self._table().items():
                if name.startswith(line):
                    yield Completion(name, start_position=-len(line), display_meta=meaning)


class _FileHistory(FileHistory):
    """A line that cannot be kept is kept for this chat only."""

    def store_string(self, string: str) -> None:
        try:
            super().store_string(string)
        except OSError:
            pass


def _size() -> Size:
    columns, lines = shutil.get_terminal_size()
    return Size(lines, columns)


def _history(path: Path) -> History:
    return _FileHistory(str(path)) if private_file(path) else InMemoryHistory()
