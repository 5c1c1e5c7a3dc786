"""The parts of the guide that are made from the code: `python -m nanobot.guide.generate` writes them into their pages.

A part stands between `<!-- made: NAME -->` and `<!-- end -->`; all else on a page is written by hand. A test compares.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from nanobot.config import foreign
from nanobot.config.codec import unstructure
from nanobot.config.schema import Config, Secret, ToolsConfig
from nanobot.config.tree import Anything, Choice, Key, Leaf, Section, Series, Shape, Table, keys_of
from nanobot.guide.transitions import Moves, explore
from nanobot.processes.sandbox import Isolation
from nanobot.providers.services import SPECS, Kind, Spec
from nanobot.security import policy
from nanobot.security.egress import Egress
from nanobot.session.commands import TABLE
from nanobot.session.state import AwaitingTool, Consolidating, Idle, Stopping, Thinking
from nanobot.tools.registry import build_tools
from nanobot.wire import Json

PAGES = Path(__file__).parent
STATES = tuple(cls.__name__ for cls in (Idle, Thinking, AwaitingTool, Stopping, Consolidating))
_PART = re.compile(r"(<!-- made: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def made(page: str) -> str:
    """The page with its parts made anew."""
    return _PART.sub(lambda found: f"{found[1]}\n{PARTS[found[2]]().strip()}\n\n{found[3]}", page)


def main() -> None:
    for path in sorted(PAGES.glob("*.md")):
        path.write_text(made(path.read_text(encoding="utf-8")), encoding="utf-8")


# --- the configuration


def config_keys() -> str:
    """A section for each of the configuration, a line for each key."""
    return "\n".join(_section(Config, "", "The root"))


def _section(cls: type, path: str, title: str) -> Iterator[str]:
    defaults = unstructure(cls(), all_keys=True)
    below: list[tuple[str, str, type]] = []
    yield f"### {title}\n"
    for key in keys_of(cls):
        name = f"{path}.{key.name}" if path else key.name
        inner = _inner(key.shape)
        if inner is None:
            yield f"- `{name}`: {_kind(key)}, default {_default(defaults[key.name])}. {key.help}"
        else:
            step = f"{name}.NAME" if isinstance(key.shape, Table) else f"{name}[]" if isinstance(key.shape, Series) else name
            yield f"- `{name}`: see `{step}` below. {key.help}"
            below.append((step, key.help, inner))
    yield ""
    for step, _, inner in below:
        yield from _section(inner, step, f"`{step}`")


def _inner(shape: Shape) -> type | None:
    match shape:
        case Section(cls) | Table(Section(cls)) | Series(Section(cls)):
            return cls
        case _:
            return None


def _kind(key: Key) -> str:
    text = _shape(key.shape)
    if key.minimum is not None and key.maximum is not None:
        text += f" from {key.minimum:g} to {key.maximum:g}"
    elif key.minimum is not None:
        text += f" of at least {key.minimum:g}"
    return text


def _shape(shape: Shape) -> str:
    match shape:
        case Leaf(kind):
            return {str: "text", Secret: "secret text", bool: "true or false", int: "whole number", float: "number"}[kind]
        case Choice(options):
            return "one of " + ", ".join(f"`{option}`" for option in options)
        case Series(item):
            return f"list of {_shape(item)}"
        case Table(item):
            return f"object of {_shape(item)}"
        case Section() | Anything():
            return "anything"


def _default(value: Json) -> str:
    return "not set" if value is None else f"`{json.dumps(value)}`"


# --- tools and commands


def tools() -> str:
    """Each tool with its parameters."""
    tools = build_tools(Config(), Isolation(sandboxed=True), Egress(ToolsConfig()))
    return "\n".join(line for spec in tools.specs() for line in _tool(spec.name, spec.description, spec.schema))


def _tool(name: str, description: str, schema: str) -> Iterator[str]:
    yield f"### `{name}`\n\n{description}\n"
    parameters = json.loads(schema)
    for parameter, told in parameters["properties"].items():
        needed = "required" if parameter in parameters.get("required", ()) else _optional(told)
        yield f"- `{parameter}` ({needed}): {told['description']}"
    yield ""


def _optional(told: Mapping[str, Json]) -> str:
    return f"default {json.dumps(told['default'])}" if "default" in told else "optional"


def providers() -> str:
    """The table of services, in the order of preference."""
    rows = ["| service | key in the environment | default model | address |", "|---|---|---|---|"]
    for spec in SPECS:
        variables = ", ".join(f"`{name}`" for name in spec.env) or "none needed"
        variables = "`providers.custom.apiKey`" if spec.kind is Kind.CUSTOM else variables
        model = f"`{spec.default_model}`" if spec.default_model else "the first that the server lists"
        rows.append(f"| `{spec.name}` | {variables} | {model} | {spec.base or _nowhere(spec)} |")
    return "\n".join(rows)


def _nowhere(spec: Spec) -> str:
    return "none: it is part of nanobot" if spec.kind is Kind.BUILT_IN else "yours: set `apiBase`"


def foreign_keys() -> str:
    """The keys of HKUDS/nanobot that load and do nothing, and its services that need an address."""
    services = ", ".join(f"`{name}`" for name in foreign.THEIR_PROVIDERS)
    keys = ", ".join(f"`{'.'.join(key)}`" for key in foreign.KEYS)
    return f"{keys}.\n\nServices that are known and need an `apiBase` of yours: {services}."


def slash_commands() -> str:
    return "\n".join(f"- `{name}`: {text}" for name, text in TABLE.items())


def policy_table() -> str:
    """What a tool may do for whom: a cell is clean / tainted, one word where both are the same."""
    columns = ["owner", "paired", "group", "scheduled"]
    rows = [f"| | {' | '.join(columns)} |", "|---" * 5 + "|"]
    for name, cells in policy.TABLE.items():
        pairs = [cells[at : at + 2] for at in range(0, len(cells), 2)]
        told = [clean if clean == tainted else f"{clean} / {tainted}" for clean, tainted in pairs]
        shown = name if name.startswith("(") else f"`{name}`"
        rows.append(f"| {shown} | {' | '.join(told)} |")
    return "\n".join(rows)


# --- the session machine


def machine() -> str:
    """A diagram of what leads from state to state, and a table of everything."""
    moves = explore()
    return f"```mermaid\n{_diagram(moves)}\n```\n\n{_table(moves)}"


def _diagram(moves: Moves) -> str:
    lines = ["stateDiagram-v2", "    [*] --> Idle"]
    for state in STATES:
        for after in STATES:
            labels = [label for label in _labels(moves) if after in moves.get((state, label), ())]
            if labels and after != state:
                lines.append(f"    {state} --> {after}: {', '.join(labels)}")
    return "\n".join(lines)


def _table(moves: Moves) -> str:
    rows = [f"| | {' | '.join(STATES)} |", "|---" * (len(STATES) + 1) + "|"]
    for label in _labels(moves):
        cells = [_cell(state, moves.get((state, label))) for state in STATES]
        rows.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _cell(state: str, after: frozenset[str] | None) -> str:
    if after is None:
        return ""
    return " or ".join("stays" if name == state else name for name in STATES if name in after)


def _labels(moves: Moves) -> list[str]:
    return list(dict.fromkeys(label for _, label in moves))


PARTS: Mapping[str, Callable[[], str]] = {
    "config_keys": config_keys,
    "tools": tools,
    "providers": providers,
    "foreign_keys": foreign_keys,
    "slash_commands": slash_commands,
    "machine": machine,
    "policy_table": policy_table,
}

if __name__ == "__main__":
    main()
