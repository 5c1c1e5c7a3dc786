"""The configuration's classes seen as a tree of keys: what stands where, of which shape, with which range and help.

Reading, writing, masking, environment variables and the JSON Schema all walk this one view, so that a key added to
`schema.py` is known to all of them. Pure; knows `schema` only.
"""

from __future__ import annotations

import difflib
import functools
import types
import typing
from collections.abc import Iterator, Mapping, Sequence

import attrs

from nanobot.config.schema import Config, Secret

Path = tuple[str | int, ...]
"""Keys and list positions from the root down, as they are written in the file."""


@attrs.frozen
class Leaf:
    """One value: `str`, `int`, `float`, `bool` or `Secret`."""

    type: type


@attrs.frozen
class Choice:
    options: tuple[str, ...]


@attrs.frozen
class Section:
    """A fixed set of keys: the fields of an attrs class."""

    cls: type


@attrs.frozen
class Table:
    """Keys that the user chooses; they are never converted."""

    item: Shape


@attrs.frozen
class Series:
    item: Shape


@attrs.frozen
class Anything:
    """JSON that is handed on as it is."""


Shape = Leaf | Choice | Section | Table | Series | Anything


@attrs.frozen
class Key:
    """One field of a section. `name` is its spelling in the file, `attribute` in Python."""

    name: str
    attribute: str
    shape: Shape
    optional: bool
    default: object
    help: str
    minimum: float | None
    maximum: float | None
    secret: bool


def camel(name: str) -> str:
    """`max_tokens` as `maxTokens`; a name that is camelCase already stays as it is."""
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


def loose(name: str) -> str:
    """What is left of a user's name when case, `-` and `_` do not count: `openaiCodex`, `openai-codex`, `OPENAI_CODEX`."""
    return name.replace("-", "").replace("_", "").lower()


@functools.cache
def keys_of(cls: type) -> tuple[Key, ...]:
    """The keys of a section, in the order of the class."""
    hints = typing.get_type_hints(cls)
    return tuple(_key(field, hints[field.name]) for field in attrs.fields(cls))


def _key(field: attrs.Attribute[object], hint: object) -> Key:
    arguments = typing.get_args(hint)
    optional = types.NoneType in arguments
    meta = field.metadata
    return Key(
        name=camel(field.name),
        attribute=field.name,
        shape=_shape(next(part for part in arguments if part is not types.NoneType) if optional else hint),
        optional=optional,
        default=field.default,
        help=meta["help"],
        minimum=meta["minimum"],
        maximum=meta["maximum"],
        secret=meta["secret"],
    )


def _shape(hint: object) -> Shape:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return Choice(arguments)
    if origin is tuple and arguments[1:] == (...,):
        return Series(_shape(arguments[0]))
    if origin is Mapping and arguments[0] is str:
        return Table(_shape(arguments[1]))
    if hint is object:
        return Anything()
    if hint in (str, int, float, bool, Secret) and isinstance(hint, type):
        return Leaf(hint)
    if isinstance(hint, type) and attrs.has(hint):
        return Section(hint)
    raise TypeError(f"{hint!r} cannot stand in the configuration's schema")


def dotted(path: Path) -> str:
    """The path as people write it: `agents.models["gpt-4.1"].maxTokens`, `gateway.owners[0]`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step.replace("-", "").replace("_", "").replace("$", "").isalnum():
            text += f".{step}" if text else step
        else:
            text += f'["{step}"]'
    return text


def nearest(unknown: str, siblings: Sequence[str]) -> str | None:
    """The known key that the user may have meant, None if nothing is near."""
    lowered = {name.lower(): name for name in siblings}
    near = difflib.get_close_matches(unknown.lower(), lowered, n=1)
    return lowered[near[0]] if near else None


@functools.cache
def elsewhere(name: str) -> str | None:
    """Where a key of this name does stand, if it does in one place outside tables, or is one of the assistant's own."""
    places = [path for path in _paths(Config, ()) if path[-1] == name]
    own = [path for path in places if path[:2] == ("agents", "defaults")]
    return next((dotted(found[0]) for found in (places, own) if len(found) == 1), None)


def _paths(cls: type, prefix: Path) -> Iterator[Path]:
    for key in keys_of(cls):
        path = (*prefix, key.name)
        yield path
        if isinstance(key.shape, Section):
            yield from _paths(key.shape.cls, path)
