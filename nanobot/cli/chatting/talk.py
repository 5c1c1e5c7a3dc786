"""An interactive chat: what is typed goes to the session at once, also while it works; Ctrl-C stops; leaving puts aside.

Tasks: one reads the keyboard, one draws the growing answer, one counts the seconds of the status line, one keeps the session.
`exit`, `quit`, `:q`, `/exit`, `/quit` and Ctrl-D leave with 0, Ctrl-C twice within `TWICE_S` with 130, SIGTERM and SIGHUP with
143 and 129. A turn that still runs goes on in the gateway; without one it is put aside, and the next chat goes on with it.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import assert_never

import attrs
import trio

from nanobot import __version__
from nanobot.cli.chatting.attaching import NotAttached, attach
from nanobot.cli.chatting.failures import sentence_of
from nanobot.cli.chatting.keyboard import Ended, Input, Interrupted, Keyboard, Typed
from nanobot.cli.chatting.meeting import meet
from nanobot.cli.chatting.request import ChatRequest, UsageMistake, why_not
from nanobot.cli.chatting.scene import Scene, Style
from nanobot.cli.chatting.screen import Screen
from nanobot.cli.chatting.signals import Signals
from nanobot.cli.chatting.sitting import Sitting, on_loop
from nanobot.cli.chatting.status import Status
from nanobot.cli.chatting.stdio import colours, printable
from nanobot.config.redaction import clean
from nanobot.errors import ConfigError, NanobotError
from nanobot.messages import Attachment
from nanobot.session.commands import TABLE
from nanobot.session.state import Session

LEAVE = frozenset({"exit", "quit", ":q", "/exit", "/quit"})
ATTACH = "/attach"
COMMANDS = {**TABLE, ATTACH: "send a file with the next message: /attach FILE", "/exit": "leave"}
TWICE_S = 2.0
"""Seconds within which a second Ctrl-C leaves."""
DRAW_S = 0.05
"""Seconds between two drawings of a growing answer: reading needs no more, and a drawing costs milliseconds."""
PULSE_S = 1.0
DIM, BOLD, RESET = "\x1b[2m", "\x1b[1m", "\x1b[0m"
LEFT, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


@attrs.define(eq=False)
class Talk:
    """The person's side of an open session."""

    sitting: Sitting
    scene: Scene
    keyboard: Keyboard
    _files: list[Attachment] = attrs.field(factory=list)
    _interrupted_at: float = -TWICE_S

    async def serve(self) -> int:
        """Take what is typed until the person leaves; returns the exit code."""
        rung = trio.Event()

        def ring(_number: int = 0) -> None:
            rung.set()

        tell_loop = on_loop(ring)
        self.keyboard.on_put(lambda: tell_loop(0))
        while True:
            rung = trio.Event()
            what = self.keyboard.take()
            if what is None:
                await rung.wait()
            elif (code := await self._obey(what)) is not None:
                return code

    async def _obey(self, what: Input) -> int | None:
        """Do what was asked; the exit code if that is to leave."""
        match what:
            case Ended():
                return LEFT
            case Interrupted():
                return await self._interrupt()
            case Typed(text) if text.strip().lower() in LEAVE:
                return LEFT
            case Typed(text):
                await self._take(text.strip())
                return None
            case _ as never:
                assert_never(never)

    async def _interrupt(self) -> int | None:
        now = trio.current_time()
        if now - self._interrupted_at < TWICE_S:
            return INTERRUPTED
        self._interrupted_at = now
        if self.scene.status.busy and self.sitting.reachable:
            self.scene.aside("· stopping; Ctrl-C again leaves")
            await self._say("/stop")
        else:
            self.scene.aside("· Ctrl-C again leaves")
        return None

    async def _take(self, text: str) -> None:
        command, _, rest = text.partition(" ")
        if command == ATTACH:
            await self._attach(rest.strip())
        elif text:
            files, self._files = tuple(self._files), []
            await self._say(text, files)

    async def _attach(self, name: str) -> None:
        try:
            taken = await trio.to_thread.run_sync(_taken, name, self.sitting.media)
        except NanobotError as error:
            self.scene.aside(f"· {error}")
            return
        self._files.append(taken)
        self.scene.aside(f"· {taken.name} goes with your next message")

    async def _say(self, text: str, files: tuple[Attachment, ...] = ()) -> None:
        try:
            await self.sitting.say(text, files)
        except NanobotError as error:
            self._files += files
            self.scene.aside(f"· not sent: {error}")

    async def pulse(self) -> None:
        """Keep the seconds of the status line true. Runs until cancelled."""
        while True:
            await trio.sleep(PULSE_S)
            if self.scene.status.busy:
                self.scene.refresh()


def _taken(name: str, folder: Path) -> Attachment:
    """Raises: NotAttached."""
    if not name:
        raise NotAttached("say which file: /attach FILE")
    file = Path(name)
    problem = why_not(file)
    if problem:
        raise NotAttached(problem)
    return attach(file.expanduser().absolute(), folder)


def run(request: ChatRequest, signals: Signals, screen: Screen, keyboard: Keyboard) -> int:
    """Talk until the person leaves; returns the exit code."""
    try:
        sit_down = _way(request, signals)
    except (ConfigError, UsageMistake) as error:
        return _refused(screen, USAGE, str(error))
    except NanobotError as error:
        return _refused(screen, FAILED, str(error))
    screen.commands(COMMANDS)
    codes: list[int] = []
    try:
        with contextlib.redirect_stderr(_Aside(screen)):
            codes.append(trio.run(_main, request, sit_down, signals, Terminal(screen, keyboard)))
    except* (NanobotError, OSError) as group:
        codes.append(_refused(screen, FAILED, sentence_of(group)))
    return signals.code or max(codes, default=0)


SitDown = Callable[[Scene], AbstractAsyncContextManager[Sitting]]


def _way(request: ChatRequest, signals: Signals) -> SitDown:
    """To have the session: by the gateway, if one runs, else in this process. Raises: ConfigError, UsageMistake, NanobotError."""
    met = meet(request, "attach", lambda: signals.heard)
    if met is not None:
        from nanobot.cli.chatting import attached  # noqa: PLC0415 -- each way without what only the other needs

        return partial(attached.sit_down, request, met)
    from nanobot.cli.chatting import alone  # noqa: PLC0415

    instance = alone.configured(request)
    return lambda scene: alone.sit_down(request, instance, scene, scene.watch)


@attrs.frozen
class Terminal:
    screen: Screen
    keyboard: Keyboard


def _refused(screen: Screen, code: int, sentence: str) -> int:
    screen.close()
    print(clean(sentence), file=sys.stderr)
    return code


async def _main(request: ChatRequest, sit_down: SitDown, signals: Signals, terminal: Terminal) -> int:
    code = 0

    def heard(number: int) -> None:
        if number == signal.SIGINT:
            terminal.keyboard.put(Interrupted())
        else:
            scope.cancel()

    status = Status(f"{request.key.short} · ", Session(str(request.key)))
    scene = Scene(terminal.screen, _style(request), status, time.time)
    scope = trio.CancelScope()  # of the talk, not of the house: that ends in order
    signals.attach(on_loop(heard))
    async with sit_down(scene) as sitting:
        with scope:
            async with trio.open_nursery() as nursery:
                talk = Talk(sitting, scene, terminal.keyboard)
                nursery.start_soon(scene.draw_tail, DRAW_S)
                nursery.start_soon(talk.pulse)
                nursery.start_soon(sitting.keep, lambda: status.busy)
                _greet(request, sitting, scene)
                code = await talk.serve()
                nursery.cancel_scope.cancel()
        signals.leaving()
        if last_word := sitting.farewell(busy=status.busy):
            scene.aside(last_word)
    return code


def _greet(request: ChatRequest, sitting: Sitting, scene: Scene) -> None:
    for warning in sitting.warnings:
        scene.aside(clean(f"warning: {warning}"))
    scene.aside(f"nanobot {__version__} · session {request.key.short} · {sitting.model} · /help lists the commands")
    scene.refresh()


def _style(request: ChatRequest) -> Style:
    if not colours(os.environ):
        return Style(printable, str, str)
    draw = printable
    if request.markdown:
        from nanobot.cli.chatting import render  # noqa: PLC0415 -- rich is for Markdown on a terminal alone

        draw = render.markdown
    return Style(draw, lambda text: f"{DIM}{text}{RESET}", lambda line: f"{BOLD}{line}{RESET}")


class _Aside(io.TextIOBase):
    """Stands for stderr while the prompt is on the terminal: whole lines go above it."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._held = ""

    def write(self, text: str) -> int:
        *lines, self._held = (self._held + text).split("\n")
        for line in lines:
            self._screen.post(printable(line))
        return len(text)
