"""`list_dir`, `find_files`: finding things below a folder.

Folders are walked by the guard of security/workspace.py in a thread that is abandoned on cancellation: links are shown and
never followed, folders of tools (`NOISE`) are named and not entered.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from datetime import datetime
from fnmatch import fnmatchcase
from itertools import islice
from typing import Annotated, Literal

import attrs
import trio

from nanobot.errors import ToolError
from nanobot.messages import Effect
from nanobot.security import workspace
from nanobot.tools.plain import one_line
from nanobot.tools.port import Result, Tool, ToolTurn
from nanobot.tools.schema import Arg

HISTORY = frozenset([".git", ".hg", ".svn"])
CACHES = frozenset(["__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".cache", ".tox", ".next", ".eggs"])
INSTALLED = frozenset([".venv", "venv", "node_modules"])
NOISE = HISTORY | CACHES | INSTALLED
MOST_ENTRIES = 200_000
"""Files and folders looked at in one call, some seconds of work; beyond it the call says so."""


@attrs.frozen
class ListDir:
    path: Annotated[str, Arg("The folder.")] = "."
    recursive: Annotated[bool, Arg("List what is in its folders too.")] = False
    max_entries: Annotated[int, Arg("Most entries to list.", minimum=1, maximum=5000)] = 200


@attrs.frozen
class FindFiles:
    path: Annotated[str, Arg("The folder to search.")] = "."
    glob: Annotated[str, Arg("Pattern such as *.py or src/**/test_*.py; without a slash it is for the name alone.")] = "*"
    query: Annotated[str, Arg("Text that must be in the path, in any case.")] = ""
    type: Annotated[Literal["file", "dir", "any"], Arg("What to find.")] = "file"
    sort: Annotated[Literal["name", "modified", "size"], Arg("Order: by name, newest first, or largest first.")] = "name"
    limit: Annotated[int, Arg("Most results.", minimum=1, maximum=1000)] = 200
    offset: Annotated[int, Arg("Results to leave out at the beginning.", minimum=0)] = 0


# -- list_dir -----------------------------------------------------------------------------------------------------------


async def _list(params: ListDir, turn: ToolTurn) -> Result:
    return await trio.to_thread.run_sync(_listed, params, turn, abandon_on_cancel=True)


def _listed(params: ListDir, turn: ToolTurn) -> Result:
    depth = workspace.DEEPEST if params.recursive else 1
    entries = list(islice(workspace.listing(params.path, turn, skip=NOISE, depth=depth), MOST_ENTRIES))
    if not entries:
        return Result(f"({params.path} is empty)")
    shown = entries[: params.max_entries]
    lines = [f"{one_line(entry.path)}{_mark(entry, params.recursive)}" for entry in shown]
    rest = _rest(len(entries), params.max_entries, "entries; list a folder below, or use find_files")
    return Result("\n".join(lines) + rest, tainted=any(entry.of_strangers() for entry in shown))


def _mark(entry: workspace.Entry, recursive: bool) -> str:
    if entry.is_dir:
        return "/  (not entered)" if recursive and entry.path.rsplit("/", 1)[-1] in NOISE else "/"
    return "@" if entry.is_link else ""


def _rest(found: int, shown: int, advice: str) -> str:
    more = " or more" if found >= MOST_ENTRIES else ""
    return f"\n({shown} of {found}{more} {advice})" if found > shown else ""


def within_bounds(entries: Iterator[workspace.Entry]) -> Iterator[workspace.Entry]:
    """Raises: ToolError instead of the entry after `MOST_ENTRIES`: a search that ends early must not look complete."""
    for number, entry in enumerate(entries):
        if number == MOST_ENTRIES:
            raise ToolError(f"There are more than {MOST_ENTRIES:,} entries here. Search a folder below")
        yield entry


# -- find_files ---------------------------------------------------------------------------------------------------------


async def _find(params: FindFiles, turn: ToolTurn) -> Result:
    return await trio.to_thread.run_sync(_found, params, turn, abandon_on_cancel=True)


def _found(params: FindFiles, turn: ToolTurn) -> Result:
    wanted = params.query.lower()
    found = []
    for entry in within_bounds(workspace.listing(params.path, turn, skip=NOISE)):
        kind_fits = params.type == "any" or (entry.is_dir if params.type == "dir" else entry.is_file)
        if kind_fits and wanted in entry.path.lower() and matches(entry.path, params.glob):
            try:
                info = entry.stat()
            except OSError:  # gone since it was listed
                continue
            found.append((entry.path, info.st_mtime, info.st_size, entry))
    order = {"name": lambda row: row[0], "modified": lambda row: (-row[1], row[0]), "size": lambda row: (-row[2], row[0])}
    found.sort(key=order[params.sort])
    page = found[params.offset : params.offset + params.limit]
    if not page:
        return Result("Nothing found" + (f" beyond offset {params.offset}" if found else ""))
    lines = [_found_line(entry, modified, size) for _path, modified, size, entry in page]
    end = params.offset + len(page)
    rest = _rest(len(found), end, f"found; go on with offset={end}")
    return Result("\n".join(lines) + rest, tainted=any(row[3].of_strangers() for row in page))


def _found_line(entry: workspace.Entry, modified: float, size: int) -> str:
    name = one_line(entry.path)
    return f"{name}/" if entry.is_dir else f"{name}  ({size:,} bytes, {datetime.fromtimestamp(modified):%Y-%m-%d %H:%M})"


def matches(path: str, glob: str) -> bool:
    """Whether a relative path fits a pattern; `**` is any number of folders, and one without a slash is for the name."""
    parts, patterns = path.split("/"), glob.strip("/").removeprefix("./").split("/")
    if len(patterns) == 1 and patterns[0] != "**":
        return fnmatchcase(parts[-1], patterns[0])

    @functools.cache
    def fits(part: int, pattern: int) -> bool:
        if pattern == len(patterns):
            return part == len(parts)
        if patterns[pattern] == "**":
            return fits(part, pattern + 1) or (part < len(parts) and fits(part + 1, pattern))
        return part < len(parts) and fnmatchcase(parts[part], patterns[pattern]) and fits(part + 1, pattern + 1)

    return fits(0, 0)


LIST_TOOL = Tool(
    "list_dir",
    "List a folder. Folders end in /, links in @; folders of tools such as .git are not entered.",
    ListDir,
    _list,
    Effect.READS,
)
FIND_TOOL = Tool("find_files", "Find files by name below a folder.", FindFiles, _find, Effect.READS)
