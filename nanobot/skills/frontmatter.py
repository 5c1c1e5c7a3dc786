"""The head of a SKILL.md: YAML between two lines of `---`. Tolerant of wrong shapes, closed to hostile ones.

What is there in another shape than it should be is left out, with a remark for `nanobot doctor`; what is no YAML is read
line by line, as `key: value`, because a description with a colon in it is the most common mistake of all. Refused are heads
that are longer than `MOST_HEAD`, and YAML that can grow when it is read: aliases, tags, deep nesting. Nothing is ever made
of it but text, numbers, lists and mappings.

The YAML library costs 0.1 s and is loaded only for heads that need it; those that come along are plain enough not to.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

import attrs

from nanobot.tools.plain import visible

MOST_HEAD = 16 * 1024
"""Characters. Real ones have 200 to 2,000."""
MOST_DEPTH, MOST_NODES = 16, 2000
"""Of YAML; `metadata` with all its keys has 5 levels and 50 nodes."""
MOST_DESCRIPTION = 400
"""Characters: it stands in every prompt."""
MOST_REQUIRED = 20
"""Programs or variables; more is a mistake."""
PLATFORMS = {"darwin": "darwin", "macos": "darwin", "linux": "linux", "win32": "win32", "windows": "win32"}
OURS = ("nanobot", "openclaw", "clawdbot")
"""Keys of `metadata` that hold what is about us, the first that is there counts."""

_KEY = re.compile(r"([A-Za-z][\w-]*):(?:[ \t]+(.*))?")
_PLAIN = re.compile(r"[A-Za-z][^#:]*")
_WORDS = frozenset(["null", "true", "false", "yes", "no", "on", "off"])
_PROGRAM = re.compile(r"[A-Za-z0-9_][\w.+-]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")


class UnusableSkill(Exception):
    """The file cannot be used as a skill; the text says why, for people."""


@attrs.frozen
class Front:
    """What the head says, made safe."""

    description: str = ""
    always: bool = False
    bins: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    """As `sys.platform` spells them; none: any."""
    remarks: tuple[str, ...] = ()


def parse(text: str) -> tuple[Front, str]:
    """The head and what is below it. Raises: UnusableSkill."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    if not text.strip():
        raise UnusableSkill("its SKILL.md is empty")
    if not re.match(r"---[ \t]*\n", text):
        return Front(_first_line(text), remarks=("it has no front matter with a description",)), text.strip()
    begin = text.index("\n") + 1
    end = re.compile(r"^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.MULTILINE).search(text, begin)
    if end is None or end.start() - begin > MOST_HEAD:
        raise UnusableSkill(
            f"its front matter is longer than {MOST_HEAD // 1024} KiB" if len(text) > MOST_HEAD else "its front matter has no end"
        )
    remarks: list[str] = []
    body = text[end.end() :].strip()
    if not body:
        raise UnusableSkill("its SKILL.md has front matter and nothing below it")
    return _front(_values(text[begin : end.start()], remarks), body, remarks), body


def _front(values: dict[object, object], body: str, remarks: list[str]) -> Front:
    about = _about(values.get("metadata"), remarks)
    requires = _mapping(about.get("requires"), "metadata.requires", remarks)
    description = _text(values.get("description"), "description", remarks)
    if not description:
        remarks.append("it has no description, so its first line counts as one")
    always = _flag(values.get("always"), "always", remarks) or _flag(about.get("always"), "metadata.always", remarks)
    return Front(
        description or _first_line(body),
        always,
        _names(requires.get("bins"), _PROGRAM, "metadata.requires.bins", remarks),
        _names(requires.get("env"), _VARIABLE, "metadata.requires.env", remarks),
        tuple(PLATFORMS.get(name, name) for name in _names(about.get("os"), _PROGRAM, "metadata.os", remarks)),
        tuple(remarks),
    )


# -- shapes -------------------------------------------------------------------------------------------------------------


def _about(metadata: object, remarks: list[str]) -> dict[object, object]:
    """What `metadata` says about us: YAML, or JSON in a text."""
    if isinstance(metadata, str):
        try:
            metadata = json.loads(metadata)
        except (ValueError, RecursionError):
            remarks.append("metadata is a text that is no JSON, so it is left out")
            return {}
    outer = _mapping(metadata, "metadata", remarks)
    inner = next((outer[name] for name in OURS if name in outer), None)
    return _mapping(inner, "metadata.nanobot", remarks)


def _mapping(value: object, name: str, remarks: list[str]) -> dict[object, object]:
    if value is None or isinstance(value, dict):
        return value or {}
    remarks.append(f"{name} is no mapping, so it is left out")
    return {}


def _text(value: object, name: str, remarks: list[str]) -> str:
    match value:
        case None:
            return ""
        case str() | int() | float():
            return _short(str(value))
        case _:
            remarks.append(f"{name} is no text, so it is left out")
            return ""


def _flag(value: object, name: str, remarks: list[str]) -> bool:
    match value:
        case None:
            return False
        case bool():
            return value
        case str() if value.lower() in ("true", "false"):
            return value.lower() == "true"
        case _:
            remarks.append(f"{name} is neither true nor false, so it counts as false")
            return False


def _names(value: object, pattern: re.Pattern[str], name: str, remarks: list[str]) -> tuple[str, ...]:
    found = [value] if isinstance(value, str) else value
    if found is None:
        return ()
    if not isinstance(found, list):
        remarks.append(f"{name} is no list, so it is left out")
        return ()
    good = [one for one in found if isinstance(one, str) and pattern.fullmatch(one)]
    if len(good) < len(found) or len(good) > MOST_REQUIRED:
        remarks.append(f"{name} holds what is no name, or more than {MOST_REQUIRED}; that is left out")
    return tuple(dict.fromkeys(good[:MOST_REQUIRED]))


def _first_line(body: str) -> str:
    lines = (line.strip() for line in body[:MOST_HEAD].splitlines())
    return _short(next((line for line in lines if line and not line.startswith("#")), ""))


def _short(text: str) -> str:
    """As one line, every sign of it showing."""
    line = visible(" ".join(text[: 4 * MOST_DESCRIPTION].split()))
    return line if len(line) <= MOST_DESCRIPTION else line[: MOST_DESCRIPTION - 1] + "…"


# -- YAML ---------------------------------------------------------------------------------------------------------------


def _values(head: str, remarks: list[str]) -> dict[object, object]:
    """Raises: UnusableSkill."""
    if (plain := _plain(head)) is not None:
        return plain
    try:
        found = _yaml(head)
    except (ValueError, RecursionError) as error:
        remarks.append(f"its front matter is no YAML ({str(error) or 'nested too deeply'}), so it was read line by line")
        return dict(_lines(head.splitlines()))
    return _mapping(found, "front matter", remarks)


def _plain(head: str) -> dict[object, object] | None:
    """Lines of `key: value` that need no parser, such as ours; None where it must be asked."""
    values: dict[object, object] = {}
    for line in head.splitlines():
        found = _KEY.fullmatch(line.rstrip())
        if found is None or found[2] is None or found[1] in values:
            return None
        try:
            values[found[1]] = _value(found[2])
        except ValueError:
            return None
    return values


def _value(text: str) -> object:
    """Raises: ValueError for what only YAML knows."""
    if text in ("true", "false"):
        return text == "true"
    if text[:1] in ("{", '"'):
        value: object = json.loads(text)
        return value
    if _PLAIN.fullmatch(text) is None or text.lower() in _WORDS:
        raise ValueError("no plain word")
    return text


def _yaml(head: str) -> object:
    """Raises: ValueError for what is no YAML; UnusableSkill for what is no honest one."""
    import yaml  # noqa: PLC0415 -- 0.1 s, for the few that need it

    from nanobot.config import yaml_core  # noqa: PLC0415 -- imports it

    depth = 0
    try:
        for count, event in enumerate(yaml.parse(head, Loader=yaml_core.CoreLoader)):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            tag = getattr(event, "tag", None)
            if isinstance(event, yaml.AliasEvent) or tag not in (None, "!"):
                raise UnusableSkill("its front matter has aliases or tags (& * !), which no skill needs")
            if depth > MOST_DEPTH or count > MOST_NODES:
                raise UnusableSkill(f"its front matter has more than {MOST_DEPTH} levels or {MOST_NODES} parts")
    except yaml.YAMLError:
        pass  # the other parser says where, without quoting
    return yaml_core.parse(head)


def _lines(lines: Iterable[str]) -> Iterable[tuple[object, object]]:
    for line in lines:
        if (found := _KEY.fullmatch(line.rstrip())) and found[2]:
            text = found[2].strip()
            quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
            yield found[1], text[1:-1] if quoted else text
