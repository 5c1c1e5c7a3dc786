"""A schema that a server gives for the parameters of a tool, as the strictest services of models take it. Pure.

A service refuses a whole request for one schema that it does not like, and with it every answer of the assistant. So what is no
JSON Schema of 2020-12 is taken out of it, and what only some services take: what a tool refuses of what is left, it says itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

from nanobot.tools.plain import hidden, visible
from nanobot.wire import Json, JsonObject

SCHEMA_CHARS = 16_000
"""Of one tool; all of them stand in every request."""
DEEPEST = 24
"""Levels of a schema; recursion is bounded far from Python's limit."""
TYPES = frozenset(["array", "boolean", "integer", "null", "number", "object", "string"])
_PARAMETER = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
"""Names that Anthropic takes."""
_SAME = frozenset(["enum", "const", "default", "examples"])
"""Keys that hold values, not schemas. One with a sign that does not show is worth nothing to a model."""
_DROPPED = frozenset(["$schema", "$id", "$comment"])
_NAMED = frozenset(["properties", "$defs", "definitions", "patternProperties", "dependentSchemas"])
"""Keys below which names stand that their author has chosen."""
_NOT_AT_THE_TOP = ("anyOf", "oneOf", "allOf", "enum", "not")
"""OpenAI and Anthropic refuse them there."""


class Malformed(ValueError):
    """What cannot be offered; says why."""


def parameters(value: Json) -> JsonObject:
    """Raises: Malformed."""
    if not isinstance(value, dict):
        raise Malformed("it does not say which parameters it takes")
    if not isinstance(value.get("properties", {}), dict):
        raise Malformed("its parameters are no object")
    made = _normal(value, DEEPEST)
    if not isinstance(made, dict) or made.get("type", "object") != "object":
        raise Malformed("its parameters are no object")
    made = _flat(made)
    if (size := len(json.dumps(made, ensure_ascii=False))) > SCHEMA_CHARS:
        raise Malformed(f"the schema of its parameters has {size:,} characters, more than {SCHEMA_CHARS:,}")
    return made


def _flat(schema: JsonObject) -> JsonObject:
    """With the parameters of all alternatives, and no alternatives. Raises: Malformed."""
    options = [one for key in ("anyOf", "oneOf", "allOf") for one in _list(schema.get(key)) if isinstance(one, dict)]
    found: JsonObject = {}
    for one in (*options, schema):
        found |= _object(one.get("properties"))
    required: list[Json] = [name for name in _list(schema.get("required")) if name in found]
    bad = [name for name in found if _PARAMETER.fullmatch(name) is None]
    if needed := next((name for name in bad if name in required), None):
        raise Malformed(f"it needs a parameter {visible(needed[:80])}, which is no name that services of models take")
    kept = {key: one for key, one in schema.items() if key not in (*_NOT_AT_THE_TOP, "required")}
    properties: JsonObject = {name: one for name, one in found.items() if name not in bad}
    return {**kept, "type": "object", "properties": properties, **({"required": required} if required else {})}


def _object(value: Json) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


# --- one schema


def _normal(value: Json, levels: int) -> Json:
    """Without what strict services refuse: null as a further type, marks of the schema itself. Raises: Malformed."""
    if levels == 0:
        raise Malformed(f"the schema of its parameters is deeper than {DEEPEST} levels")
    match value:
        case str():
            return visible(value.encode("utf-8", "replace").decode())
        case list():
            return [_normal(one, levels - 1) for one in value]
        case dict():
            sound = {key: one for key, one in value.items() if key not in _DROPPED and _fits(key, one)}
            made = {_key(key): _below(key, one, levels - 1) for key, one in sound.items()}
            return _with_items(_without_null(made))
        case _:
            return value


def _below(key: str, value: Json, levels: int) -> Json:
    if key in _SAME:
        return value
    if key in _NAMED and isinstance(value, dict):
        return {_key(name): _normal(one if _is_schema(one) else {}, levels) for name, one in value.items()}
    return _normal(value, levels)


def _key(name: str) -> str:
    if (why := hidden(name)) is not None:
        raise Malformed(f"the schema of its parameters: {why}")
    return name


def _without_null(schema: JsonObject) -> JsonObject:
    kinds = schema.get("type")
    if isinstance(kinds, list):
        real = [kind for kind in kinds if kind != "null"]
        schema = {**schema, "type": real[0] if len(real) == 1 else list(real or kinds[:1])}
    for key in ("anyOf", "oneOf"):
        options = schema.get(key)
        if not isinstance(options, list):
            continue
        real = [one for one in options if not (isinstance(one, dict) and one.get("type") == "null")]
        rest = {name: one for name, one in schema.items() if name != key}
        only = real[0] if len(real) == 1 else None
        schema = {**only, **rest} if isinstance(only, dict) else {**rest, **({key: list(real)} if real else {})}
    return schema


def _with_items(schema: JsonObject) -> JsonObject:
    """OpenAI refuses a list that does not say of what."""
    kinds = schema.get("type")
    return {**schema, "items": {}} if "array" in (kinds, *_list(kinds)) and "items" not in schema else schema


# --- what a key may hold


def _is_schema(value: Json) -> bool:
    return isinstance(value, dict | bool)


def _is_type(value: Json) -> bool:
    return value in TYPES if isinstance(value, str) else bool(_list(value)) and all(map(_is_type, _list(value)))


def _are_schemas(value: Json) -> bool:
    return bool(_list(value)) and all(map(_is_schema, _list(value)))


def _are_names(value: Json) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value) and len(set(map(str, value))) == len(value)


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_text(value: Json) -> bool:
    return isinstance(value, str)


_SHAPES: Mapping[str, Callable[[Json], bool]] = {
    "type": _is_type,
    "enum": lambda value: bool(_list(value)),
    "required": _are_names,
    **dict.fromkeys(_NAMED, lambda value: isinstance(value, dict)),
    **dict.fromkeys(("anyOf", "oneOf", "allOf", "prefixItems"), _are_schemas),
    **dict.fromkeys(("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"), _is_schema),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), _is_number),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), _is_count),
    **dict.fromkeys(("description", "title", "pattern", "format", "$ref"), _is_text),
}


def _fits(key: str, value: Json) -> bool:
    """Whether a key of a schema holds what belongs there, and nothing that does not show."""
    if key in _SAME and hidden(json.dumps(value, ensure_ascii=False)) is not None:
        return False
    return key not in _SHAPES or _SHAPES[key](value)
