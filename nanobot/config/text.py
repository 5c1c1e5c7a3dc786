"""A configuration file as text: JSON or YAML to our `Json` and back, with line and column where it is not well formed.

Messages never quote the file: what is in it may be a secret.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from nanobot.errors import ConfigError
from nanobot.wire import Json

YAML_SUFFIXES = (".yaml", ".yml")


def read(path: Path) -> Json:
    """The file's content, an empty object if there is no such file.

    Raises: ConfigError if it cannot be read or is not well formed.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as exc:
        raise ConfigError([f"byte {exc.start}: not UTF-8 text"], file=str(path)) from exc
    except OSError as exc:
        raise ConfigError([f"cannot be read: {exc.strerror}"], file=str(path)) from exc
    try:
        return _yaml(text) if path.suffix in YAML_SUFFIXES else parse_json(text)
    except RecursionError as exc:
        raise ConfigError(["nested too deeply"], file=str(path)) from exc
    except ValueError as exc:
        raise ConfigError([str(exc)], file=str(path)) from exc


def parse_json(text: str) -> Json:
    """Raises: ValueError with line and column; for a key given twice; for numbers that JSON does not have."""
    try:
        value: Json = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
    except json.JSONDecodeError as exc:
        raise ValueError(f"line {exc.lineno}, column {exc.colno}: {exc.msg[:1].lower()}{exc.msg[1:]}") from exc
    return value


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} is there twice in one object")
    return result


def _no_number(word: str) -> Json:
    raise ValueError(f"{word} is not a number that JSON has")


def _yaml(text: str) -> Json:
    from nanobot.config import yaml_core  # noqa: PLC0415 -- its parser costs 0.1 s, for the few whose file is YAML

    return to_json(yaml_core.parse(text))


def to_json(value: object) -> Json:
    """Raises: ValueError for what has no place in JSON."""
    match value:
        case float() if not math.isfinite(value):
            raise ValueError("infinity and not-a-number are not settings")
        case None | bool() | int() | float() | str():
            return value
        case list():
            return [to_json(item) for item in value]
        case dict():
            if wrong := next((name for name in value if not isinstance(name, str)), None):
                raise ValueError(f"the key {wrong!r} must be text: put it in quotes")
            return {name: to_json(item) for name, item in value.items()}
        case _:
            raise ValueError(f"a {type(value).__name__} is not a setting: put it in quotes")


def render(value: Json, path: Path) -> str:
    """The text to write to a file of this name."""
    if path.suffix in YAML_SUFFIXES:
        from nanobot.config import yaml_core  # noqa: PLC0415 -- as above

        return yaml_core.render(value)
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
