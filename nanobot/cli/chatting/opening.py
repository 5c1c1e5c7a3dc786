"""The screen of an interactive chat, chosen and put on the terminal. Of ours it imports only what the prompt itself needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nanobot.cli.chatting.keyboard import Keyboard
from nanobot.cli.chatting.plain import Plain
from nanobot.cli.chatting.request import ChatRequest
from nanobot.cli.chatting.screen import Screen
from nanobot.config.paths import places


@contextmanager
def open_screen(request: ChatRequest, *, drawn: bool) -> Iterator[tuple[Screen, Keyboard]]:
    """The prompt is on the terminal when this enters, and gone with its threads after the block."""
    keyboard = Keyboard()
    screen = _drawn(request, keyboard) if drawn else Plain(keyboard)
    screen.start()
    try:
        yield screen, keyboard
    finally:
        screen.close()


def _drawn(request: ChatRequest, keyboard: Keyboard) -> Screen:
    from nanobot.cli.chatting.prompting import Prompting  # noqa: PLC0415 -- prompt_toolkit is for this screen alone

    return Prompting(keyboard, places(request.config).history)
