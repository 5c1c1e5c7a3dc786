"""Settings in environment variables: `NANOBOT_AGENTS__DEFAULTS__MODEL` is `agents.defaults.model`, and wins over the file.

Two underscores go one level down; one stands where the key has a capital. The text is read as the key's type asks: numbers
and true or false as they are, lists and objects as JSON. An empty variable counts as not set. Names chosen by the user
(providers) are matched without regard to case, `-` and `_`. A variable that has no `__` and is no key of the root is not
meant as a setting and left alone; any other that leads nowhere is a mistake.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from nanobot.config.schema import Config, Secret
from nanobot.config.text import parse_json
from nanobot.config.tree import Anything, Choice, Leaf, Path, Section, Series, Shape, Table, dotted, keys_of, loose, nearest
from nanobot.wire import Json

PREFIX = "NANOBOT_"
_WORDS = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False, "on": True, "off": False}


class Unusable(ValueError):
    """What is wrong with a variable; never quotes its value."""


@attrs.frozen
class Override:
    """One setting from the environment."""

    variable: str
    path: Path
    value: Json


def overrides(environ: Mapping[str, str], file: Json) -> tuple[list[Override], list[str]]:
    """The settings in the environment, by name, and the mistakes. `file` tells how names of the user's are spelled there."""
    found: list[Override] = []
    mistakes: list[str] = []
    for variable in sorted(environ):
        parts = variable.removeprefix(PREFIX).lower().split("__")
        if not variable.startswith(PREFIX) or not environ[variable] or (len(parts) == 1 and not _is_root(parts[0])):
            continue
        try:
            path, shape = _target(parts, file)
            found.append(Override(variable, path, _value(environ[variable], shape)))
        except Unusable as exc:
            mistakes.append(f"{variable}: {exc}")
    return found, mistakes


def _is_root(part: str) -> bool:
    return any(key.attribute == part for key in keys_of(Config))


def _target(parts: list[str], file: Json) -> tuple[Path, Shape]:
    path: Path = ()
    shape: Shape = Section(Config)
    here = file
    for part in parts:
        match shape:
            case Section(cls):
                name, shape = _key(cls, part, path)
            case Table(item):
                name, shape = _spelling(part, here), item
            case _:
                raise Unusable(f"{dotted(path)} has no keys below it")
        here = here.get(name) if isinstance(here, dict) else None
        path = (*path, name)
    return path, shape


def _key(cls: type, part: str, above: Path) -> tuple[str, Shape]:
    keys = {key.attribute: key for key in keys_of(cls)}
    if part in keys:
        return keys[part].name, keys[part].shape
    near = nearest(part, list(keys))
    hint = f"; did you mean {near.upper()}?" if near else f"; known: {', '.join(name.upper() for name in keys)}"
    raise Unusable(f"no setting {part.upper()} {f'in {dotted(above)}' if above else 'at the root'}{hint}")


def _spelling(part: str, table: Json) -> str:
    names = table if isinstance(table, dict) else {}
    return next((name for name in names if loose(name) == loose(part)), part)


def _value(text: str, shape: Shape) -> Json:
    match shape:
        case Leaf(kind) if kind is bool:
            if text.lower() not in _WORDS:
                raise Unusable("expected true or false")
            return _WORDS[text.lower()]
        case Leaf(kind) if kind is int or kind is float:
            return _number(text, kind)
        case Leaf(kind):
            assert kind is str or kind is Secret, kind
            return text
        case Choice():
            return text
        case Section() | Table():
            return _json(text, dict, 'an object in JSON, such as {"name": "value"}')
        case Series():
            return _json(text, list, 'a list in JSON, such as ["one", "two"]')
        case Anything():
            return _json(text, object, "JSON")


def _number(text: str, kind: type) -> Json:
    try:
        return int(text) if kind is int else float(text)
    except ValueError:
        raise Unusable("expected a whole number" if kind is int else "expected a number") from None


def _json(text: str, kind: type, expected: str) -> Json:
    try:
        value = parse_json(text)
    except (ValueError, RecursionError):
        raise Unusable(f"expected {expected}") from None
    if not isinstance(value, kind):
        raise Unusable(f"expected {expected}")
    return value
