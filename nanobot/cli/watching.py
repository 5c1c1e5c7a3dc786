"""`nanobot status --watch`: the live tree until Ctrl-C. Redrawn every second on a terminal, else a line for each change."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NoReturn

from nanobot.cli import live
from nanobot.cli.chatting.stdio import colours
from nanobot.cli.terminal import say
from nanobot.cli.texts import plain
from nanobot.config.redaction import clean
from nanobot.control.client import NotAnswering, NotRunning, Refused
from nanobot.supervise.status import Node

EVERY_S = 1.0
HOME, REST_OF_LINE, REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
"""What they are for: to go to the first column and row, and to clear from there."""


def screen_width() -> int:
    """Columns of the terminal; 80 where there is none."""
    return shutil.get_terminal_size((live.WIDTH, 24)).columns


def watch(data: Path) -> int:
    """Show the gateway of a data directory until Ctrl-C, also when it goes and comes; returns the exit code."""
    try:
        if sys.stdout.isatty() and colours(os.environ):
            _draw(data)
        else:
            _tell(data)
    except KeyboardInterrupt:
        return 0


def _draw(data: Path) -> NoReturn:
    print(HOME + REST_OF_SCREEN, end="")
    while True:
        size = shutil.get_terminal_size()
        shown = [line[: size.columns] for line in _page(data, size.columns)]
        if len(shown) >= size.lines:
            shown[size.lines - 2 :] = [f"and {len(shown) - size.lines + 2} more lines: nanobot status"]
        print(HOME + "".join(f"{clean(line)}{REST_OF_LINE}\n" for line in shown) + REST_OF_SCREEN, end="", flush=True)
        time.sleep(EVERY_S)


def _page(data: Path, width: int) -> Iterator[str]:
    now = time.time()
    yield f"{datetime.fromtimestamp(now).astimezone():%H:%M:%S}  every {EVERY_S:g} s, end with Ctrl-C"
    yield ""
    found = _look(data)
    yield from [found] if isinstance(found, str) else live.lines(found, now, width)


def _tell(data: Path) -> NoReturn:
    told: dict[str, str] = {}
    while True:
        found = _look(data)
        now = {"gateway": found} if isinstance(found, str) else dict(_standings(found, ""))
        for name in [*now, *(told.keys() - now.keys())]:
            if now.get(name) != told.get(name):
                say(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S}  {name}: {now.get(name, 'gone')}")
        sys.stdout.flush()
        told = now
        time.sleep(EVERY_S)


def _standings(node: Node, above: str) -> Iterator[tuple[str, str]]:
    """What is worth a line when it changes, by the node's path."""
    path = f"{above}{plain(node.name)}"
    waits = [f"waits for {node.waiting}"] if node.waiting else []
    error = [f"last error: {node.error}"] if node.error else []
    yield path, plain("; ".join([node.state, *waits, *error]))
    for child in node.children:
        yield from _standings(child, f"{path}/")


def _look(data: Path) -> Node | str:
    """The tree, or the sentence that there is none."""
    try:
        running = live.look(data)
    except (NotAnswering, Refused) as exc:
        return str(exc)
    return str(NotRunning()) if running is None else running.tree
