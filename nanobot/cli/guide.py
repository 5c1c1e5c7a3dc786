"""`nanobot guide`: the manual, as it belongs to this version.

A page is a Markdown file in `nanobot/guide`; its first line is `# topic: what it is about`. On a terminal it is drawn, by a
library that is loaded for that alone; without one, with NO_COLOR or on a terminal that cannot, it is printed as it is.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import nanobot.guide
from nanobot.cli.terminal import say
from nanobot.errors import NanobotError

PAGES = Path(nanobot.guide.__file__ or "").parent
FIRST = ("start", "chat", "sessions", "config", "providers", "tools", "workspace")
"""Shown first, in this order; what remains follows by name."""
_MARK = re.compile(r"<!--.*?-->\n*", re.DOTALL)


class NoTopic(NanobotError):
    """There is no page of that name."""


def guide(topic: Annotated[str | None, Parameter(help="The page to read; none lists them.")] = None, /) -> None:
    """Read the manual."""
    if topic is None:
        _list()
        return
    page = read(topic)
    if sys.stdout.isatty() and drawable(os.environ):
        _draw(page)
    else:
        say(page.rstrip("\n"))


def topics() -> dict[str, str]:
    """What each page is about, by its name."""
    names = [path.stem for path in PAGES.glob("*.md")]
    names.sort(key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name))
    return {name: _about(name) for name in names}


def read(topic: str) -> str:
    """The text of a page. Raises: NoTopic with the nearest."""
    known = topics()
    if topic.lower() not in known:
        near = difflib.get_close_matches(topic.lower(), known, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known)}."
        raise NoTopic(f"There is no page {topic} in the guide. {hint}")
    return _MARK.sub("", (PAGES / f"{topic.lower()}.md").read_text(encoding="utf-8"))


def drawable(environ: Mapping[str, str]) -> bool:
    """Whether the terminal may be given escape codes."""
    return not environ.get("NO_COLOR") and environ.get("TERM", "dumb") != "dumb"


def _about(name: str) -> str:
    with (PAGES / f"{name}.md").open(encoding="utf-8") as file:
        return file.readline().rstrip("\n").partition(": ")[2]


def _list() -> None:
    known = topics()
    width = max(map(len, known))
    for name, about in known.items():
        say(f"{name:<{width}}  {about}")
    say("\nRead a page: nanobot guide TOPIC")


def _draw(page: str) -> None:
    from rich.console import Console  # noqa: PLC0415 -- 0.1 s, for those who look at it
    from rich.markdown import Markdown  # noqa: PLC0415

    console = Console(width=min(110, Console().width))
    console.print(Markdown(page))
