"""What a server lists, made safe to be offered."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from nanobot.mcp.listing import (
    DESCRIPTION_CHARS,
    LIST_CHARS,
    MOST_OTHERS,
    MOST_TOOLS,
    OFFERED_CHARS,
    Kind,
    Offer,
    listing,
    sound,
)
from nanobot.mcp.schemas import SCHEMA_CHARS
from tests.fakes.mcp_server import MALFORMED, NOTHING

GOOD: dict[str, Any] = {"name": "good", "description": "Does good.", "inputSchema": NOTHING}


def offers(*items: Any, kind: Kind = Kind.TOOL, enabled: tuple[str, ...] = ("*",)) -> tuple[Offer, ...]:
    kept, wrong = sound(kind, list(items))
    return listing("s", enabled, {kind: kept}, wrong).offers


def schema_of(schema: Any) -> Any:
    [offer] = offers({"name": "t", "inputSchema": schema})
    return json.loads(offer.schema)


def test_a_malformed_tool_hides_no_other() -> None:
    kept, wrong = sound(Kind.TOOL, [*MALFORMED, GOOD])
    found = listing("s", ("*",), {Kind.TOOL: kept}, wrong)
    assert [offer.raw for offer in found.offers] == ["good", "odd_annotations", "odd_output"]
    assert len(found.left_out) == len(MALFORMED) - 2
    assert "tool no_schema: it does not say which parameters it takes" in found.left_out
    assert "tool number 1: it is no object" in found.left_out
    assert all("\x07" not in line and "\u202e" not in line and len(line) < 200 for line in found.left_out)


@pytest.mark.parametrize("items", [None, {}, "tools", 7])
def test_a_list_that_is_none(items: Any) -> None:
    assert sound(Kind.TOOL, items) == ([], ["its list of tools is none"])


def test_a_crowd_is_cut_and_told() -> None:
    items: list[Any] = [{"name": f"t{n:04}", "inputSchema": NOTHING} for n in range(2000)]
    kept, wrong = sound(Kind.TOOL, items)
    found = listing("s", ("*",), {Kind.TOOL: kept}, wrong)
    assert len(found.offers) == MOST_TOOLS
    assert found.left_out == ("1,900 of 2,000 tools: more than 100; name those in enabledTools",)
    some = listing("s", ("t1999",), {Kind.TOOL: kept}, wrong)
    assert [offer.raw for offer in some.offers] == ["t1999"]


@pytest.mark.parametrize(
    ("enabled", "found"),
    [
        (("*",), ["a", "b c", "prompt_p", "resource_r"]),
        ((), []),
        (("a",), ["a"]),
        (("mcp_s_b_c",), ["b c"]),
        (("a", "no\x07ne"), ["a"]),
    ],
)
def test_enabled_tools(enabled: tuple[str, ...], found: list[str]) -> None:
    lists: dict[Kind, list[Any]] = {
        Kind.TOOL: [{"name": "b c", "inputSchema": NOTHING}, {"name": "a", "inputSchema": NOTHING}],
        Kind.RESOURCE: [{"name": "r", "uri": "file:///r"}],
        Kind.PROMPT: [{"name": "p"}],
    }
    made = listing("s", enabled, lists, [])
    assert sorted(offer.label for offer in made.offers) == found
    assert list(made.left_out) == ["enabledTools: there is no no<U+0007>ne"] * (len(enabled) > 1)


@pytest.mark.parametrize(
    ("schema", "plain"),
    [
        ({"type": ["string", "null"]}, {"type": "string"}),
        ({"type": ["string", "integer", "null"]}, {"type": ["string", "integer"]}),
        ({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}], "default": None}, {"type": "integer", "minimum": 1}),
        (
            {"oneOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]},
            {"oneOf": [{"type": "string"}, {"type": "integer"}]},
        ),
        ({"type": "array", "items": {"type": ["number", "null"]}}, {"type": "array", "items": {"type": "number"}}),
        ({"enum": ["a", None]}, {"enum": ["a", None]}),
        ({"type": "array"}, {"type": "array", "items": {}}),
        ({"type": "array", "items": [{"type": "string"}]}, {"type": "array", "items": {}}),
        ({"type": "text", "minLength": "1", "pattern": 5}, {}),
        ({"type": "integer", "minimum": 0, "exclusiveMinimum": True}, {"type": "integer", "minimum": 0}),
        ({"type": "string", "enum": ["a\u202eb"]}, {"type": "string"}),
        ({"type": "object", "properties": {"a": "string"}, "required": "a"}, {"type": "object", "properties": {"a": {}}}),
        ("string", {}),
        ({"type": "string", "description": "a\u202eb"}, {"type": "string", "description": "a<U+202E>b"}),
    ],
)
def test_schemas_as_strict_services_want_them(schema: Any, plain: Any) -> None:
    made = schema_of({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "properties": {"p": schema}})
    assert {key: value for key, value in made["properties"]["p"].items() if key != "default"} == plain
    assert "$schema" not in made


def test_what_services_refuse_at_the_top_is_spelled_otherwise() -> None:
    """One tool with that, and they would answer nothing at all."""
    one: Any = {"properties": {"id": {"type": "integer"}}, "required": ["id"]}
    other: Any = {"properties": {"name": {"type": "string"}}}
    made = schema_of({"type": "object", "oneOf": [one, other], "properties": {"how": {"type": "string"}}, "required": ["how"]})
    properties = {"id": {"type": "integer"}, "name": {"type": "string"}, "how": {"type": "string"}}
    assert made == {"type": "object", "properties": properties, "required": ["how"]}


@pytest.mark.parametrize("name", ["$filter", "größe", "a b", "x" * 65])
def test_a_parameter_whose_name_services_refuse(name: str) -> None:
    properties: Any = {name: {"type": "string"}, "good": {"type": "string"}}
    assert schema_of({"properties": properties, "required": ["good"]})["properties"] == {"good": {"type": "string"}}
    [] = offers({"name": "t", "inputSchema": {"properties": properties, "required": [name]}})


def test_what_all_of_a_server_takes_of_each_request_is_bounded() -> None:
    schema: Any = {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(500)}}
    kept, wrong = sound(Kind.TOOL, [{"name": f"t{n:02}", "inputSchema": schema} for n in range(30)])
    found = listing("s", ("*",), {Kind.TOOL: kept}, wrong)
    assert OFFERED_CHARS * 0.9 < sum(len(offer.schema) for offer in found.offers) <= OFFERED_CHARS
    assert found.left_out == ("16 of 30 offers: together more than 100, or 200,000 characters; name those in enabledTools",)


@pytest.mark.parametrize("items", [[{"name": "x"}] * 1_000_000, [{"name": "t", "inputSchema": {"enum": ["x" * 60_000]}}] * 100])
def test_a_list_without_measure_is_not_looked_at_to_its_end(items: list[Any]) -> None:
    start = time.monotonic()
    _, wrong = sound(Kind.TOOL, items)
    assert time.monotonic() - start < 2
    assert wrong[-1].startswith("its list of tools is too long: ")


def test_one_without_measure_hides_no_other() -> None:
    kept, wrong = sound(Kind.TOOL, [{"name": "t", "title": "x" * LIST_CHARS}, "x" * LIST_CHARS, GOOD])
    assert ([one["name"] for one in kept if isinstance(one, dict)], len(wrong)) == (["good"], 2)


def test_a_parameter_may_have_the_name_of_a_keyword() -> None:
    properties = {
        "type": {"type": "string"},
        "anyOf": {"type": "string"},
        "items": {"type": "string"},
        "enum": {"type": "string"},
    }
    assert schema_of({"type": "object", "properties": properties})["properties"] == properties


def test_a_schema_without_a_word_of_properties_takes_none() -> None:
    assert schema_of({}) == {"type": "object", "properties": {}}


def deep(levels: int) -> Any:
    schema: Any = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"p": schema}}
    return schema


@pytest.mark.parametrize("schema", [deep(400), {"description": "x" * SCHEMA_CHARS}, {"properties": 7}])
def test_a_schema_without_measure_is_left_out(schema: Any) -> None:
    assert offers({"name": "t", "inputSchema": schema}) == ()


def test_a_description_is_cut() -> None:
    [offer] = offers({**GOOD, "description": "x" * 50_000})
    assert len(offer.description) == DESCRIPTION_CHARS


@pytest.mark.parametrize(
    ("notes", "reads"), [({"readOnlyHint": True}, True), ({"readOnlyHint": "yes"}, False), (None, False), ({}, False)]
)
def test_what_a_tool_says_of_itself(notes: Any, *, reads: bool) -> None:
    [offer] = offers({**GOOD, "annotations": notes})
    assert offer.reads is reads


def test_who_says_both_is_believed_the_worse() -> None:
    [offer] = offers({**GOOD, "annotations": {"readOnlyHint": True, "destructiveHint": True}})
    assert not offer.reads


def test_resources_and_prompts_are_tools_too() -> None:
    [resource] = offers({"name": "notes", "uri": "file:///notes"}, kind=Kind.RESOURCE)
    assert (resource.raw, resource.label, resource.reads) == ("file:///notes", "resource_notes", True)
    arguments = [{"name": "city", "required": True, "description": "Where."}, {"name": "when"}]
    [prompt] = offers({"name": "weather", "arguments": arguments}, kind=Kind.PROMPT)
    schema = json.loads(prompt.schema)
    assert (prompt.label, list(schema["properties"]), schema["required"]) == ("prompt_weather", ["city", "when"], ["city"])
    assert len(offers(*({"name": f"p{n}"} for n in range(99)), kind=Kind.PROMPT)) == MOST_OTHERS


def test_the_order_does_not_depend_on_the_server() -> None:
    names = [{"name": name, "inputSchema": NOTHING} for name in "cab"]
    assert offers(*names) == offers(*reversed(names))
