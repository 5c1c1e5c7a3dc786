"""The part of the configuration's file that names MCP servers, changed in place: all else stays as it is written."""

from __future__ import annotations

import json
from pathlib import Path

from nanobot.config.codec import structure
from nanobot.config.durable import replace
from nanobot.config.paths import Places
from nanobot.config.schema import CONFIG_VERSION
from nanobot.config.text import YAML_SUFFIXES, read, render
from nanobot.config.tree import camel, dotted
from nanobot.errors import ConfigError, NanobotError
from nanobot.wire import JsonObject

COMMENTS = "{} holds comments, which this command would lose. Change it yourself; the part for this server is:\n{}"


def put(places: Places, name: str, section: JsonObject) -> bool:
    """Write a server; whether it was there before. Raises: NanobotError, OSError."""
    made = structure({"tools": {"mcpServers": {name: section}}})
    if isinstance(made, list):
        raise ConfigError([f"{dotted(mistake.path)}: {mistake.text}" for mistake in made])
    root, servers = _opened(places)
    there = name in servers
    servers[name] = section
    _write(places.config, root, {name: section})
    return there


def drop(places: Places, name: str) -> None:
    """Take a server out. Raises: NanobotError, OSError."""
    root, servers = _opened(places)
    if name not in servers:
        raise NanobotError(f"{places.config} names no MCP server {name}. It names: {', '.join(servers) or 'none'}")
    section = servers.pop(name)
    _write(places.config, root, {name: section})


def _opened(places: Places) -> tuple[JsonObject, JsonObject]:
    """The whole file, and its part that names servers. Raises: ConfigError."""
    root = read(places.config)
    if not isinstance(root, dict):
        raise ConfigError(["expected an object with keys such as agents and providers"], file=str(places.config))
    if not root:
        root["configVersion"] = CONFIG_VERSION
    return root, _below(_below(root, "tools", places.config), "mcpServers", places.config)


def _below(parent: JsonObject, key: str, file: Path) -> JsonObject:
    """The object under a key, in whatever case the key is written."""
    spelled = next((name for name in parent if camel(name) == key), key)
    found = parent.setdefault(spelled, {})
    if found is None:
        found = parent[spelled] = {}
    if not isinstance(found, dict):
        raise ConfigError([f"{spelled}: expected an object"], file=str(file))
    return found


def _write(path: Path, root: JsonObject, part: JsonObject) -> None:
    """Raises: NanobotError, OSError."""
    if path.suffix in YAML_SUFFIXES and path.exists() and _has_comments(path.read_text(encoding="utf-8-sig")):
        raise NanobotError(COMMENTS.format(path, json.dumps({"tools": {"mcpServers": part}}, indent=2)))
    replace(path, render(root, path))


def _has_comments(text: str) -> bool:
    return any(line.lstrip().startswith("#") or " #" in line for line in text.splitlines())
