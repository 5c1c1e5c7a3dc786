"""The configuration as a JSON Schema (draft 2020-12), for editors: help, defaults, ranges, choices, and no unknown keys."""

from __future__ import annotations

from nanobot.config.codec import unstructure
from nanobot.config.schema import Config, Secret
from nanobot.config.tree import Anything, Choice, Key, Leaf, Section, Series, Shape, Table, keys_of
from nanobot.wire import Json, JsonObject

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TYPES = {str: "string", Secret: "string", bool: "boolean", int: "integer", float: "number"}


def document() -> JsonObject:
    """The schema of the whole file. Keys are camelCase; the snake_case that is read as well is not offered."""
    root = _section(Config)
    properties = root["properties"]
    assert isinstance(properties, dict)
    properties["$schema"] = {"type": "string", "description": "Where an editor finds this schema."}
    return {"$schema": DIALECT, "title": "Configuration of nanobot", **root}


def _section(cls: type) -> JsonObject:
    defaults = unstructure(cls(), all_keys=True)
    properties: JsonObject = {key.name: _key(key, defaults[key.name]) for key in keys_of(cls)}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _key(key: Key, default: Json) -> JsonObject:
    schema = _or_null(_shape(key.shape)) if key.optional else _shape(key.shape)
    if key.minimum is not None:
        schema["minimum"] = key.minimum
    if key.maximum is not None:
        schema["maximum"] = key.maximum
    if not isinstance(key.shape, Section):
        schema["default"] = default
    return {"description": key.help, **schema}


def _shape(shape: Shape) -> JsonObject:
    match shape:
        case Leaf(kind):
            return {"type": _TYPES[kind]}
        case Choice(options):
            return {"enum": list(options)}
        case Section(cls):
            return _section(cls)
        case Table(item):
            return {"type": "object", "additionalProperties": _shape(item)}
        case Series(item):
            return {"type": "array", "items": _shape(item)}
        case Anything():
            return {}


def _or_null(schema: JsonObject) -> JsonObject:
    options = schema.get("enum")
    if isinstance(options, list):
        return {"enum": [*options, None]}
    return {**schema, "type": [schema["type"], "null"]}
