"""From parameters to JSON Schema, and from the model's JSON to parameters."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import attrs
import pytest

from nanobot.config.schema import Config
from nanobot.errors import ToolError
from nanobot.tools.registry import build_tools
from nanobot.tools.schema import Arg, parse, schema_of
from tests.tools.kit import NO_SANDBOX


@attrs.frozen
class Spot:
    x: Annotated[int, Arg("Across.")]


@attrs.frozen
class Params:
    path: Annotated[str, Arg("The file.")]
    count: Annotated[int, Arg("How many.", minimum=1, maximum=10)] = 5
    ratio: float = 0.5
    deep: bool = False
    mode: Literal["fast", "slow"] = "fast"
    names: tuple[str, ...] = ()
    spots: tuple[Spot, ...] = ()
    label: str | None = None


def test_the_schema_says_all_of_it() -> None:
    assert json.loads(schema_of(Params)) == {
        "type": "object",
        "properties": {
            "path": {"type": "string", "description": "The file."},
            "count": {"type": "integer", "description": "How many.", "default": 5, "minimum": 1, "maximum": 10},
            "ratio": {"type": "number", "default": 0.5},
            "deep": {"type": "boolean", "default": False},
            "mode": {"type": "string", "enum": ["fast", "slow"], "default": "fast"},
            "names": {"type": "array", "items": {"type": "string"}},
            "spots": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"x": {"type": "integer", "description": "Across."}},
                    "required": ["x"],
                    "additionalProperties": False,
                },
            },
            "label": {"type": "string"},
        },
        "required": ["path"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ('{"path": "a"}', Params("a")),
        ('{"path": 5}', Params("5")),
        ('{"path": "a", "count": "7"}', Params("a", count=7)),
        ('{"path": "a", "count": 7.0}', Params("a", count=7)),
        ('{"path": "a", "ratio": 1}', Params("a", ratio=1.0)),
        ('{"path": "a", "ratio": "0.25"}', Params("a", ratio=0.25)),
        ('{"path": "a", "deep": "True"}', Params("a", deep=True)),
        ('{"path": "a", "count": null, "label": null}', Params("a")),
        ('{"path": "a", "names": ["x", 2]}', Params("a", names=("x", "2"))),
        ('{"path": "a", "names": "[\\"x\\"]"}', Params("a", names=("x",))),
        ('{"path": "a", "spots": [{"x": 1}]}', Params("a", spots=(Spot(1),))),
    ],
)
def test_what_cannot_be_misunderstood_is_taken(given: str, expected: Params) -> None:
    assert parse(Params, given) == expected


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("", "'path' is missing: The file."),
        ("null", "'path' is missing"),
        ("[]", "must be an object with path, count"),
        ('{"paths": "a"}', "'paths' is not known; did you mean 'path'?"),
        ('{"path": "a", "zzz": 1}', "known are: path, count"),
        ('{"path": true}', "'path' must be a string, not true"),
        ('{"path": null}', "'path' is missing"),
        ('{"path": "\\ud800"}', "'path' must be a string"),
        ('{"path": "a", "count": true}', "'count' must be a whole number, not true"),
        ('{"path": "a", "count": "many"}', 'must be a whole number, not "many"'),
        ('{"path": "a", "count": 1.5}', "must be a whole number, not 1.5"),
        ('{"path": "a", "count": 11}', "'count' must be at least 1 and at most 10, not 11"),
        ('{"path": "a", "ratio": "nan"}', "'ratio' must be a number"),
        ('{"path": "a", "ratio": NaN}', "NaN is not a JSON number"),
        ('{"path": "a", "deep": 1}', "'deep' must be true or false, not 1"),
        ('{"path": "a", "deep": "yes"}', "'deep' must be true or false"),
        ('{"path": "a", "mode": "Fast"}', "'mode' must be one of fast, slow"),
        ('{"path": "a", "names": "x"}', "'names' must be an array, not \"x\""),
        ('{"path": "a", "spots": [{"x": 1}, {"y": 2}]}', "'spots.1.x' is missing"),
        ('{"path": "a", "path": "b"}', "'path' is given twice"),
        ('{"path": "a"', "Expecting ',' delimiter at line 1, column 13"),
        ('{"path": "a"} {}', "Extra data at line 1"),
        ('{"path": ' + "[" * 100_000, "not usable JSON"),
        ('{"count": ' + "9" * 5000 + "}", "not usable JSON"),
    ],
)
def test_what_is_wrong_is_said(given: str, complaint: str) -> None:
    with pytest.raises(ToolError) as caught:
        parse(Params, given)
    assert complaint in str(caught.value)
    assert len(str(caught.value)) < 500


def test_all_mistakes_are_said_at_once() -> None:
    with pytest.raises(ToolError) as caught:
        parse(Params, '{"count": "x", "modes": "fast", "names": 3}')
    assert str(caught.value).count("\n- ") == 4


def test_the_tools_schemas_are_stable_and_small() -> None:
    one, two = (build_tools(Config(), NO_SANDBOX, environ={}).specs() for _ in range(2))
    assert one == two
    names = ["read_file", "write_file", "edit_file", "apply_patch", "list_dir", "find_files", "grep", "propose_change", "exec"]
    names += ["write_stdin", "list_processes", "kill_process", "search_history", "message", "spawn", "cron"]
    assert [spec.name for spec in one] == names
    assert sum(len(spec.schema + spec.description) for spec in one) < 12_500
