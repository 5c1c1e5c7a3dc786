"""YAML read and written as its 1.2 core schema: `off` and `no` are words, `012` is twelve and a date is text.

The parser's own rules are those of YAML 1.1, where `replyDelayMode: off` would be false and `12:30` seven hundred and fifty.
"""

from __future__ import annotations

import re

import yaml

from nanobot.wire import Json


def parse(text: str) -> object:
    """Raises: ValueError with line and column, without the words of the file that the parser quotes."""
    try:
        value: object = yaml.load(text, CoreLoader)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(where + re.sub(r"'[^'\s<]{3,}'", "…", exc.problem or "not YAML")) from exc
    except yaml.YAMLError as exc:
        raise ValueError("not YAML: " + str(exc).splitlines()[0]) from exc
    return value


def render(value: Json) -> str:
    return str(yaml.dump(value, Dumper=CoreDumper, sort_keys=False))


_MERGE = "tag:yaml.org,2002:merge"


class CoreLoader(yaml.SafeLoader):
    """A SafeLoader that refuses a key given twice."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 -- PyYAML's own way of keeping them

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        seen: set[object] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen and key.tag != _MERGE:
                raise yaml.constructor.ConstructorError(None, None, "this key is there twice", key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
        return dict(super().construct_mapping(node, deep))


class CoreDumper(yaml.SafeDumper):
    """Quotes every text that either edition of YAML would take for something else."""


def _plain_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    return int(text, 0) if text.startswith(("0x", "0o")) else int(text)


_CORE = (
    ("null", r"(?:~|null|Null|NULL|)", ["~", "n", "N", ""]),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)", list("tTfF")),
    ("int", r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)", list("-+0123456789")),
    ("float", r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)", list("-+.0123456789")),
    ("merge", r"(?:<<)", ["<"]),
)
for _tag, _pattern, _first in _CORE:
    for _end in (CoreLoader, CoreDumper):
        _end.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^{_pattern}$"), _first)
CoreLoader.add_constructor("tag:yaml.org,2002:int", _plain_int)
