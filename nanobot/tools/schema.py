"""From a class of parameters to its JSON Schema, and from the model's JSON to a value of that class.

A parameters class is frozen attrs; each field is `name: Annotated[type, Arg("what it is")]`, and one without a default is
required. Types: str, int, float, bool, Literal of strings, `X | None`, `tuple[X, ...]`, and another such class.

`schema_of` is deterministic text, so that it can stand in a cached prompt. `parse` forgives what cannot be misunderstood
("5" for 5, 5 for "5", "true" for true, null for a default) and reports everything else at once, in words a model can act
on. Malformed JSON is reported with its place and never repaired: a guess must not run.
"""

from __future__ import annotations

import difflib
import functools
import json
import types
from collections.abc import Callable, Sequence
from typing import Annotated, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs

from nanobot.errors import ToolError
from nanobot.wire import Json, JsonObject

P = TypeVar("P")
Path = tuple[str, ...]
Problems = list[str]
BOOLS = {"true": True, "false": False}
SHOWN = 60
"""Characters of a wrong value that are shown back."""


@attrs.frozen
class Arg:
    """What the model is told of a parameter, and the closed range a number, or the length of an array, must lie in."""

    help: str
    minimum: float | None = None
    maximum: float | None = None


@attrs.frozen
class Field:
    """One parameter, its type taken apart."""

    name: str
    type: object
    arg: Arg
    optional: bool
    """May be null."""
    default: object

    @property
    def required(self) -> bool:
        return self.default is attrs.NOTHING


@functools.cache
def fields_of(params: type) -> tuple[Field, ...]:
    hints = get_type_hints(params, include_extras=True)
    return tuple(_field(a.name, hints[a.name], a.default) for a in attrs.fields(params))


def _field(name: str, hint: object, default: object) -> Field:
    arg = Arg("")
    if get_origin(hint) is Annotated:
        hint, *notes = get_args(hint)
        arg = next((note for note in notes if isinstance(note, Arg)), arg)
    optional = False
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = (member for member in get_args(hint) if member is not types.NoneType)
        optional = True
    return Field(name, hint, arg, optional, default)


# -- the schema ---------------------------------------------------------------------------------------------------------


def schema_of(params: type) -> str:
    """JSON text, the same for the same class in every run."""
    return json.dumps(_object_schema(params), ensure_ascii=False, separators=(",", ":"))


def _object_schema(params: type) -> JsonObject:
    fields = fields_of(params)
    properties: JsonObject = {field.name: _field_schema(field) for field in fields}
    schema: JsonObject = {"type": "object", "properties": properties}
    if required := [field.name for field in fields if field.required]:
        schema["required"] = list[Json](required)
    return schema | {"additionalProperties": False}


def _field_schema(field: Field) -> JsonObject:
    schema = _type_schema(field.type)
    if field.arg.help:
        schema["description"] = field.arg.help
    if isinstance(field.default, (str, int, float)) and field.default != "":
        schema["default"] = field.default
    names = ("minItems", "maxItems") if get_origin(field.type) is tuple else ("minimum", "maximum")
    for name, bound in zip(names, (field.arg.minimum, field.arg.maximum), strict=True):
        if bound is not None:
            schema[name] = bound
    return schema


def _type_schema(kind: object) -> JsonObject:
    if get_origin(kind) is Literal:
        return {"type": "string", "enum": list(get_args(kind))}
    if get_origin(kind) is tuple:
        return {"type": "array", "items": _type_schema(get_args(kind)[0])}
    if isinstance(kind, type) and attrs.has(kind):
        return _object_schema(kind)
    names: dict[object, Json] = {str: "string", int: "integer", float: "number", bool: "boolean"}
    return {"type": names[kind]}


# -- reading ------------------------------------------------------------------------------------------------------------


def parse(params: type[P], text: str) -> P:
    """The value that the model wrote as JSON text. Raises: ToolError that names every mistake."""
    problems: Problems = []
    value = _object(params, _load(text), (), problems)
    if problems:
        listed = "\n".join(f"- {line}" for line in problems)
        raise ToolError(f"The arguments do not fit, nothing was done:\n{listed}")
    assert isinstance(value, params)
    return value


def _load(text: str) -> Json:
    if not text.strip():
        return {}
    try:
        value: Json = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        near = text[max(0, error.pos - SHOWN // 2) : error.pos + SHOWN // 2]
        raise ToolError(
            f"The arguments are not valid JSON, nothing was done: {error.msg} at line {error.lineno}, column {error.colno}, "
            f"near {near!r}. Send the call again with its JSON complete and escaped"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ToolError(f"The arguments are not usable JSON, nothing was done: {error}") from error
    return {} if value is None else value


def _no_duplicates(pairs: Sequence[tuple[str, Json]]) -> JsonObject:
    if len(value := dict(pairs)) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is given twice")
    return value


def _no_constant(name: str) -> Json:
    raise ValueError(f"{name} is not a JSON number")


def _object(params: type, value: Json, at: Path, problems: Problems) -> object:
    fields = {field.name: field for field in fields_of(params)}
    if not isinstance(value, dict):
        problems.append(f"{_name(at)} must be an object with {', '.join(fields) or 'nothing in it'}, not {_shown(value)}")
        return None
    count = len(problems)
    problems += [_unknown(name, fields, at) for name in value if name not in fields]
    given: dict[str, object] = {}
    for field in fields.values():
        part = value.get(field.name)
        if part is not None:
            given[field.name] = _field_value(field, part, (*at, field.name), problems)
        elif field.required:
            problems.append(f"{_name((*at, field.name))} is missing: {field.arg.help or 'it is required'}")
        elif field.optional and field.name in value:
            given[field.name] = None
    return params(**given) if len(problems) == count else None


def _field_value(field: Field, value: Json, at: Path, problems: Problems) -> object:
    result = _value(field.type, value, at, problems)
    low, high = field.arg.minimum, field.arg.maximum
    size = len(result) if isinstance(result, tuple) else result
    if isinstance(size, (int, float)) and ((low is not None and size < low) or (high is not None and size > high)):
        bounds = " and ".join(f"at {word} {b:g}" for word, b in (("least", low), ("most", high)) if b is not None)
        has = "must have" if isinstance(result, tuple) else "must be"
        problems.append(f"{_name(at)} {has} {bounds}{' items' if isinstance(result, tuple) else ''}, not {size}")
    return result


def _value(kind: object, value: Json, at: Path, problems: Problems) -> object:
    if get_origin(kind) is Literal:
        return _literal(get_args(kind), value, at, problems)
    if get_origin(kind) is tuple:
        return _array(get_args(kind)[0], value, at, problems)
    if isinstance(kind, type) and attrs.has(kind):
        return _object(kind, value, at, problems)
    name, read = READERS[kind]
    result = read(value)
    if result is None:
        problems.append(f"{_name(at)} must be {name}, not {_shown(value)}")
    return result


def _literal(choices: Sequence[str], value: Json, at: Path, problems: Problems) -> str | None:
    if isinstance(value, str) and value in choices:
        return value
    problems.append(f"{_name(at)} must be one of {', '.join(choices)}, not {_shown(value)}")
    return None


def _array(kind: object, value: Json, at: Path, problems: Problems) -> tuple[object, ...]:
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            pass
    if not isinstance(value, list):
        problems.append(f"{_name(at)} must be an array, not {_shown(value)}")
        return ()
    return tuple(_value(kind, item, (*at, str(index)), problems) for index, item in enumerate(value))


def _str(value: Json) -> str | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    # Half of a surrogate pair is legal JSON and no legal text: no file or process would take it.
    return value if isinstance(value, str) and not any("\ud800" <= c <= "\udfff" for c in value) else None


def _int(value: Json) -> int | None:
    if isinstance(value, str) and value.strip().removeprefix("-").isdecimal() and len(value) < 20:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _float(value: Json) -> float | None:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300
    return float(value) if usable and isinstance(value, (int, float)) else None


def _bool(value: Json) -> bool | None:
    return BOOLS.get(value.strip().lower()) if isinstance(value, str) else value if isinstance(value, bool) else None


READERS: dict[object, tuple[str, Callable[[Json], object]]] = {
    str: ("a string", _str),
    int: ("a whole number", _int),
    float: ("a number", _float),
    bool: ("true or false", _bool),
}


def _unknown(name: str, known: dict[str, Field], at: Path) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(known) or 'none'}"
    return f"{_name((*at, name))} is not known; {hint}"


def _name(at: Path) -> str:
    return repr(".".join(at)) if at else "the whole"


def _shown(value: Json) -> str:
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
