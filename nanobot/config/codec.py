"""Between JSON and the frozen tree, strictly: nothing is coerced but a whole number to a float, and all mistakes are found.

A mistake says where, what was expected and the nearest known key; it never quotes a text of the file, which may be a secret.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Literal, cast, get_args, get_origin

import attrs
import cattrs
from cattrs import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError
from cattrs.cols import homogenous_tuple_structure_factory, is_mapping, mapping_structure_factory
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from nanobot.config.schema import Config, Secret
from nanobot.config.tree import Key, Path, camel, elsewhere, keys_of, nearest
from nanobot.wire import Json, JsonObject

Hook = Callable[[object, object], object]
MASK = "***"


class Wrong(ValueError):
    """A value that cannot stand where it stands. `str()` goes behind the path."""


@attrs.frozen
class Mistake:
    path: Path
    text: str


def structure(data: Json) -> Config | list[Mistake]:
    """The tree that canonical JSON (camelCase keys) means, or every mistake in it."""
    try:
        return _reader().structure(data, Config)
    except (ClassValidationError, IterableValidationError, Wrong) as exc:
        return list(_mistakes(exc, ()))


def unstructure(section: object, *, all_keys: bool = False, masked: bool = False) -> JsonObject:
    """A section as JSON: what differs from the defaults, or every key; secrets in clear, or as `***`."""
    result: JsonObject = _writer(all_keys=all_keys, masked=masked).unstructure(section)
    return result


@functools.cache
def _reader() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    for leaf, check in ((str, _text), (bool, _flag), (int, _whole), (float, _number), (Secret, _secret)):
        converter.register_structure_hook(leaf, check)
    converter.register_structure_hook_func(lambda hint: hint is object, _as_is)
    converter.register_structure_hook_factory(_is_choice, lambda hint: functools.partial(_choice, get_args(hint)))
    converter.register_structure_hook_factory(is_mapping, _mapping)
    converter.register_structure_hook_factory(_is_tuple, _series)
    converter.register_structure_hook_factory(attrs.has, _section)
    return converter


def _is_tuple(hint: object) -> bool:
    origin: object = get_origin(hint)
    return origin is tuple


def _is_choice(hint: object) -> bool:
    return get_origin(hint) is Literal


def _section(cls: type, converter: cattrs.BaseConverter) -> Hook:
    overrides = {key.attribute: override(rename=key.name, struct_hook=_ranged(key, converter)) for key in keys_of(cls)}
    # mypy takes the overrides for values of the function's other keywords
    inner = cast(Hook, make_dict_structure_fn(cls, converter, _cattrs_forbid_extra_keys=True, **overrides))  # type: ignore[arg-type]
    return _only(dict, "an object", inner)


def _mapping(hint: type, converter: cattrs.BaseConverter) -> Hook:
    return _only(dict, "an object", cast(Hook, mapping_structure_factory(hint, converter, structure_to=dict)))


def _series(hint: type, converter: cattrs.BaseConverter) -> Hook:
    return _only(list, "a list", homogenous_tuple_structure_factory(hint, converter))


def _only(kind: type, expected: str, inner: Hook) -> Hook:
    def check(value: object, hint: object) -> object:
        if not isinstance(value, kind):
            raise _expected(expected, value)
        return inner(value, hint)

    return check


def _ranged(key: Key, converter: cattrs.BaseConverter) -> Hook | None:
    if key.minimum is None and key.maximum is None:
        return None

    def check(value: object, hint: object) -> object:
        number: object = converter.structure(value, cast(type[object], hint))
        if isinstance(number, int | float) and not _is_within(key, number):
            raise Wrong(f"expected {_range(key)}, got {number:.15g}")
        return number

    return check


def _is_within(key: Key, number: float) -> bool:
    return (key.minimum is None or number >= key.minimum) and (key.maximum is None or number <= key.maximum)


def _range(key: Key) -> str:
    if key.maximum is None:
        return f"{key.minimum:.15g} or more"
    if key.minimum is None:
        return f"{key.maximum:.15g} or less"
    return f"{key.minimum:.15g} to {key.maximum:.15g}"


def _expected(what: str, value: object) -> Wrong:
    return Wrong(f"expected {what}, got {_described(value)}")


def _described(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "an object"


def _text(value: object, _hint: object) -> str:
    if not isinstance(value, str):
        raise _expected("text", value)
    return value


def _secret(value: object, hint: object) -> Secret:
    if not isinstance(value, str):
        raise _expected("text", value)
    return Secret(value)


def _flag(value: object, _hint: object) -> bool:
    if not isinstance(value, bool):
        raise _expected("true or false", value)
    return value


def _whole(value: object, _hint: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _expected("a whole number", value)
    return value


def _number(value: object, _hint: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise _expected("a number", value)
    return float(value)


def _as_is(value: object, _hint: object) -> object:
    return value


def _choice(options: tuple[str, ...], value: object, _hint: object) -> str:
    if not isinstance(value, str) or value not in options:
        near = nearest(value, options) if isinstance(value, str) else None
        raise Wrong(f"expected one of {', '.join(options)}" + (f"; did you mean {near}?" if near else ""))
    return value


def _mistakes(error: BaseException, path: Path) -> Iterator[Mistake]:
    match error:
        case ClassValidationError():
            noted, plain = error.group_exceptions()
            for child, note in noted:
                yield from _mistakes(child, (*path, camel(note.name)))
            for child in plain:
                yield from _mistakes(child, path)
        case IterableValidationError():
            for child, place in error.group_exceptions()[0]:
                yield from _mistakes(child, (*path, place.index))
        case ForbiddenExtraKeysError():
            for name in sorted(error.extra_fields):
                yield Mistake((*path, name), _unknown(name, error.cl))
        case Wrong():
            yield Mistake(path, error.args[0])
        case _:
            raise error


def _unknown(name: str, cls: type) -> str:
    names = [key.name for key in keys_of(cls)]
    if guess := nearest(camel(name), names) or elsewhere(camel(name)):
        return f"unknown key; did you mean {guess}?"
    return f"unknown key; known here: {', '.join(names)}"


@functools.cache
def _writer(*, all_keys: bool, masked: bool) -> cattrs.Converter:
    converter = cattrs.Converter(omit_if_default=not all_keys)

    def section(cls: type) -> Callable[[object], JsonObject]:
        overrides = {
            key.attribute: override(rename=key.name, unstruct_hook=_hidden if masked and key.secret else None)
            for key in keys_of(cls)
        }
        return make_dict_unstructure_fn(cls, converter, _cattrs_omit_if_default=not all_keys, **overrides)  # type: ignore[arg-type]

    converter.register_unstructure_hook_factory(attrs.has, section)
    converter.register_unstructure_hook(Secret, _mask if masked else Secret.reveal)
    converter.register_unstructure_hook_func(_is_tuple, lambda items: [converter.unstructure(item) for item in items])
    return converter


def _mask(secret: Secret) -> str:
    return MASK if secret else ""


def _hidden(table: Mapping[str, object]) -> JsonObject:
    return dict.fromkeys(table, MASK)
