"""The live tree of the gateway, asked for and told in lines. `nanobot status`, `channels status` and `doctor` show it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import attrs

from nanobot.cli.texts import plain
from nanobot.control.client import NotRunning, ask
from nanobot.supervise.status import Node
from nanobot.wire import Json, JsonObject

ASK_S = 5.0
"""Seconds: a gateway that cannot say within them how it is hangs."""
RESTART_S = 65.0
"""Seconds: an end and a start have thirty each."""
WIDTH = 80
WIDEST_NAME = 28
STATE = 9
"""Columns: the longest state and a blank."""
SINCE = 7


@attrs.frozen
class Running:
    """The gateway, as it answered."""

    said: JsonObject
    """Its own words, for programs."""

    @property
    def pid(self) -> int:
        return int(_number(self.said.get("pid")))

    @property
    def version(self) -> str:
        return _text(self.said.get("version"))

    @property
    def tree(self) -> Node:
        return _node(self.said)


def look(data: Path) -> Running | None:
    """The gateway of a data directory, None if none runs. Raises: NotAnswering, Refused."""
    try:
        said = ask(data, {"do": "status"}, ASK_S)
    except NotRunning:
        return None
    return Running(said if isinstance(said, dict) else {})


def restart(data: Path, name: str) -> None:
    """Have a channel, or a server of MCP, started again. Raises: NotRunning, NotAnswering, Refused."""
    ask(data, {"do": "restart_channel", "name": name}, RESTART_S)


# --- reading: keys that are missing are at their default, those that are unknown are of a later version


def _node(said: JsonObject) -> Node:
    facts, children, until = said.get("facts"), said.get("children"), said.get("until")
    return Node(
        _text(said.get("name")),
        _text(said.get("kind")),
        _text(said.get("state")),
        _number(said.get("since")),
        int(_number(said.get("restarts"))),
        _text(said.get("error")),
        _text(said.get("waiting")),
        None if until is None else _number(until),
        tuple((name, _text(text)) for name, text in facts.items()) if isinstance(facts, dict) else (),
        tuple(_node(child) for child in children if isinstance(child, dict)) if isinstance(children, list) else (),
    )


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Json) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


# --- telling


def lines(root: Node, now: float, width: int = WIDTH) -> Iterator[str]:
    """A line for each node, its branches below it: name, state, since when, and what is to be said of it."""
    rows = [(_name(node, depth), node) for depth, node in _rows(root, 0)]
    names = max(len(name) for name, _ in rows) + 2
    for name, node in rows:
        head = f"{name:<{names}}{plain(node.state):<{STATE}}{_since(node, now):<{SINCE}}"
        room = max(20, width - len(head))
        first, *more = textwrap.wrap(remarks(node, now), room) or [""]
        yield f"{head}{first}".rstrip()
        yield from (f"{'':<{len(head)}}{line}" for line in more)


def remarks(node: Node, now: float) -> str:
    """What it waits for, how often it was started again, its last error, and its facts."""
    said = [_waits(node, now)] if node.waiting else []
    if node.restarts:
        said.append(f"{node.restarts} {'restart' if node.restarts == 1 else 'restarts'}")
    if node.error:
        said.append(f"last error: {node.error}")
    return plain("; ".join([*said, *(f"{name} {text}" for name, text in node.facts)]))


def ago(seconds: float) -> str:
    """A span of time in one unit: `12 s`, `5 min`, `3 h`, `2 days`."""
    if seconds < 100:
        return f"{max(0.0, seconds):.0f} s"
    for unit, size, most in (("min", 60, 100), ("h", 3600, 48)):
        if seconds < most * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.0f} days"


def _rows(node: Node, depth: int) -> Iterator[tuple[int, Node]]:
    yield depth, node
    for child in node.children:
        yield from _rows(child, depth + 1)


def _name(node: Node, depth: int) -> str:
    name = "  " * depth + plain(node.name)
    return name if len(name) <= WIDEST_NAME else f"{name[: WIDEST_NAME - 1]}…"


def _since(node: Node, now: float) -> str:
    return ago(now - node.since) if node.since else ""


def _waits(node: Node, now: float) -> str:
    return f"waits for {node.waiting}" + ("" if node.until is None else f", {ago(node.until - now)} more")
