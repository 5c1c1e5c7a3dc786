"""Names under which the model knows what servers offer. Pure.

A name is `mcp_SERVER_TOOL`: letters, digits, `_` and `-` as services of models take them, at most 64 of them, and the same from
run to run. What is cut or would collide ends in eight signs of a hash of the whole name. Rules go by the beginning of a name, so
no server gets one that begins like those of another: beside `git_local`, the tool `local_push` of `git` is
`mcp_git__local_push`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

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


def prefix(server: str) -> str:
    """What all names of a server begin with, and those of no other one."""
    return _RUN.sub("_", _UNSAFE.sub("_", f"{PREFIX}{server}_"))


def assigned(wanted: Sequence[tuple[str, str]], servers: Iterable[str] = ()) -> list[str]:
    """A name of its own for each (server, label). A label that needs no change has its name before one that was changed to it;
    of equals the first has it. servers: all that there are, whether they offer anything now or not."""
    prefixes = {prefix(server) for server in servers}
    exact = [_is_exact(server, label) for server, label in wanted]
    names: dict[int, str] = {}
    taken: set[str] = set()
    for place in sorted(range(len(wanted)), key=lambda at: (not exact[at], at)):
        server, label = wanted[place]
        name = _apart(safe(server, label), prefix(server), prefixes)
        if name in taken:
            name = _marked(name, f"{len(server)}:{server}:{label}")
        while name in taken:  # the same server lists the same name twice
            name = _marked(name, f"{name}:{place}")
        names[place] = name
        taken.add(name)
    return [names[place] for place in range(len(wanted))]


def _apart(name: str, own: str, prefixes: Iterable[str]) -> str:
    """The name, unless it begins like those of another server. No other name holds two `_` in a row."""
    if not any(len(other) > len(own) and name.startswith(other) for other in prefixes):
        return name
    name = f"{own}_{name.removeprefix(own)}"
    return name if len(name) <= LONGEST else _marked(name, name)


def _is_exact(server: str, label: str) -> bool:
    return safe(server, label) == f"{PREFIX}{server}_{label}"


def _marked(name: str, whole: str) -> str:
    mark = hashlib.sha1(whole.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()[:8]
    return f"{name[: LONGEST - len(mark) - 1]}_{mark}"
