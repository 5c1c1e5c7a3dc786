"""Arrows point inwards: who may import whom, read from the syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import nanobot

HERE = Path(nanobot.__file__).parent
MAY: dict[str, set[str]] = {
    "messages.py": set(),
    "errors.py": set(),
    "wire.py": set(),
    "config/schema.py": set(),
    "journal": {"errors", "wire", "journal"},
    "providers": {"errors", "wire", "messages", "config", "pictures", "providers"},
    "tools": {"errors", "wire", "messages", "config", "pictures", "tools", "security", "processes", "providers", "skills"},
    "skills": {"errors", "wire", "messages", "config", "tools", "security", "processes", "skills"},
    "supervise": {"errors", "wire", "config", "supervise"},
    "processes": {"errors", "config", "processes"},
    "security": {"errors", "wire", "messages", "config", "channels", "security", "session", "tools"},
    "channels/port.py": {"errors", "messages", "supervise", "channels"},
    "channels/web": {"errors", "wire", "messages", "channels"},
    "channels/email": {"errors", "wire", "messages", "config", "supervise", "processes", "tools", "channels"},
    "channels/telegram": {"errors", "wire", "messages", "config", "supervise", "channels"},
    "channels/whatsapp": {"errors", "wire", "messages", "config", "supervise", "processes", "channels"},
    "mcp": {"errors", "wire", "messages", "config", "supervise", "processes", "security", "providers", "tools", "mcp"},
    "daemon": {"errors", "wire", "messages", "config", "journal", "supervise", "session", "daemon"},
    "memory": {"errors", "wire", "messages", "config", "database", "session", "providers", "journal", "archive", "memory"},
    "web": {"errors", "config", "supervise", "web"},
    "scheduler": {"errors", "wire", "messages", "config", "database", "session", "supervise", "scheduler"},
    "scheduler/zones.py": set(),
    "scheduler/slots.py": {"scheduler"},
    "scheduler/human.py": {"scheduler"},
    "scheduler/quiet.py": set(),
    "scheduler/heartbeat.py": {"errors", "messages", "config", "session", "scheduler"},
    "scheduler/heartbeat_file.py": set(),
    "usage/spent.py": {"messages", "session"},
    "usage": {
        "errors",
        "wire",
        "messages",
        "config",
        "database",
        "session",
        "journal",
        "archive",
        "supervise",
        "scheduler",
        "usage",
    },
    "session": {"errors", "wire", "messages", "journal", "session"},
}
"""Part -> parts of ours that it may import. `tools` knows of providers only `ToolSpec`, `security` of tools and of channels only
their ports. A network's module knows the channels' port and nothing of sessions."""


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "nanobot":
            names = node.module.split(".")[1:2] or [alias.name for alias in node.names]
            yield from names


@pytest.mark.parametrize("part", MAY)
def test_a_part_imports_only_what_it_may_know(part: str) -> None:
    place = HERE / part
    files = [place] if place.is_file() else sorted(place.rglob("*.py"))
    assert files
    found = {(file.name, name) for file in files for name in imported(file) if name not in MAY[part]}
    assert found == set()


def test_nobody_imports_the_composition_root_but_the_command_line() -> None:
    users = {file.relative_to(HERE).parts[0] for file in HERE.rglob("*.py") if "gateway" in set(imported(file))}
    assert users <= {"gateway", "cli"}
