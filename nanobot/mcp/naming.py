"""Names under which the model knows what servers offer. Pure.

A name is `mcp_SERVER_TOOL`: letters, digits, `_` and `-` as services of models take them, at most 64 of them, and the same from
run to run. What is cut or would collide ends in eight signs of a hash of the whole name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

PREFIX = "mcp_"
LONGEST = 64
"""Characters: what the services of models take."""
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
_RUN = re.compile(r"_+")


def safe(server: str, label: str) -> str:
    """The name of what a server calls `label`."""
    whole = f"{PREFIX}{server}_{label}"
    name = _RUN.sub("_", _UNSAFE.sub("_", whole))
    return name if len(name) <= LONGEST else _marked(name, whole)


def assigned(wanted: Sequence[tuple[str, str]]) -> list[str]:
    """A name of its own for each (server, label). A label that needs no change has its name before one that was changed to it;
    of equals the first has it."""
    exact = [_is_exact(server, label) for server, label in wanted]
    names: dict[int, str] = {}
    taken: set[str] = set()
    for place in sorted(range(len(wanted)), key=lambda at: (not exact[at], at)):
        server, label = wanted[place]
        name = safe(server, label)
        if name in taken:
            name = _marked(name, f"{len(server)}:{server}:{label}")
        while name in taken:  # the same server lists the same name twice
            name = _marked(name, f"{name}:{place}")
        names[place] = name
        taken.add(name)
    return [names[place] for place in range(len(wanted))]


def _is_exact(server: str, label: str) -> bool:
    return safe(server, label) == f"{PREFIX}{server}_{label}"


def _marked(name: str, whole: str) -> str:
    mark = hashlib.sha1(whole.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()[:8]
    return f"{name[: LONGEST - len(mark) - 1]}_{mark}"
