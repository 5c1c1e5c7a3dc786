"""The live tree as data: who runs, in which state, since when, waiting for what until when. Pure.

Each owner of something that lives makes its nodes when it is asked, from what it is at that moment; nothing here is kept
beside the tree and nothing can be out of date. `nanobot status`, `/status.json` and the page show this and nothing else.
"""

from __future__ import annotations

import attrs

from nanobot.wire import JsonObject

HEALTHY = frozenset({"up", "idle", "working", "disabled"})
"""States that need nobody's attention; `starting` and `waiting` pass, `parked` and `stuck` stay until somebody acts."""


@attrs.frozen
class Node:
    """One live thing. Times are seconds since the epoch."""

    name: str
    kind: str
    """`gateway`, `channel`, `session`, `approval`, `subagent` and `process` (of a session), `service` (control, http),
    `mcp` (a server), `journals`, `group`."""
    state: str
    """Of children: `starting`, `up`, `waiting` (for its restart), `stopping`, `parked`, `stuck`, `disabled`."""
    since: float
    restarts: int = 0
    """Since the gateway started."""
    error: str = ""
    """The last one, also after it has passed."""
    waiting: str = ""
    """For what, for people."""
    until: float | None = None
    facts: tuple[tuple[str, str], ...] = ()
    """Anything else worth a line, as name and text."""
    children: tuple[Node, ...] = ()


def as_json(node: Node) -> JsonObject:
    """Keys in camelCase, empty ones left out."""
    said: JsonObject = {"name": node.name, "kind": node.kind, "state": node.state, "since": node.since}
    if node.restarts:
        said["restarts"] = node.restarts
    if node.error:
        said["error"] = node.error
    if node.waiting:
        said["waiting"] = node.waiting
    if node.until is not None:
        said["until"] = node.until
    if node.facts:
        said["facts"] = dict(node.facts)
    if node.children:
        said["children"] = [as_json(child) for child in node.children]
    return said


def troubled(node: Node) -> tuple[Node, ...]:
    """Every node of the tree, itself included, that is parked or stuck."""
    below = tuple(bad for child in node.children for bad in troubled(child))
    return (node, *below) if node.state in ("parked", "stuck") else below
