"""What the channel must know again after a crash, in one small file of its folder: two tables, each bounded.

* `moved`: groups that became supergroups, by their first id.
* `steps`: how much of a part with files was sent, so that sending it again does not begin with what has arrived.
"""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import trio
from loguru import logger

from nanobot.channels.port import ChannelFailed
from nanobot.config.durable import replace
from nanobot.wire import Json

FILE = "memory.json"
MOST = 500
"""Entries of a table, the newest."""


@attrs.define(eq=False)
class Memory:
    """See the module. Change a table, then `await save()`; one at a time."""

    folder: Path
    moved: dict[str, str] = attrs.field(factory=dict)
    steps: dict[str, int] = attrs.field(factory=dict)
    _alone: trio.Lock = attrs.field(factory=trio.Lock, init=False)

    async def save(self) -> None:
        """It is on disk when this returns. Raises: OSError."""
        async with self._alone:
            for table in (self.moved, self.steps):
                _shorten(table)
            await trio.to_thread.run_sync(replace, self.folder / FILE, self._as_json())

    def _as_json(self) -> str:
        return json.dumps({"moved": self.moved, "steps": self.steps})


def remembered(folder: Path) -> Memory:
    """What was saved there; nothing of a file that is damaged, which is put aside. For a thread. Raises: ChannelFailed."""
    path = folder / FILE
    try:
        return _read(path)
    except OSError as exc:
        raise ChannelFailed(f"{path} cannot be read: {exc.strerror}") from exc


def _read(path: Path) -> Memory:
    """Raises: OSError."""
    folder = path.parent
    try:
        found: Json = json.loads(path.read_text())
        tables = found if isinstance(found, dict) else {}
        return Memory(folder, _texts(tables.get("moved")), _numbers(tables.get("steps")))
    except FileNotFoundError:
        return Memory(folder)
    except (ValueError, RecursionError) as exc:
        logger.warning("{} cannot be read and is put aside: {}", path, exc)
        path.rename(path.with_suffix(".damaged"))
        return Memory(folder)


def _texts(table: Json) -> dict[str, str]:
    return {key: value for key, value in table.items() if isinstance(value, str)} if isinstance(table, dict) else {}


def _numbers(table: Json) -> dict[str, int]:
    return {key: value for key, value in table.items() if isinstance(value, int)} if isinstance(table, dict) else {}


def _shorten(table: dict[str, int] | dict[str, str]) -> None:
    for key in list(table)[: max(0, len(table) - MOST)]:
        del table[key]
