"""`grep`: lines of files that match.

A regular expression of a model can take hours on one line and holds the interpreter's lock meanwhile, so the matching runs
in a child process (grep_child.py) that ends with the call. It opens no files: they are read here, through the guard of
security/workspace.py and in a thread that is abandoned on cancellation, and go to it through a pipe, a batch at a time.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Literal

import attrs
import trio

from nanobot.errors import ToolError
from nanobot.messages import Effect
from nanobot.processes.children import Child, open_child
from nanobot.security import workspace
from nanobot.tools import grep_child
from nanobot.tools.plain import one_line
from nanobot.tools.port import Result, Tool, ToolTurn
from nanobot.tools.schema import Arg
from nanobot.tools.search import NOISE, matches, within_bounds

GREP_S = 30.0
"""Seconds for one grep, less than a tool's deadline, so that the answer can say what was slow."""
LARGEST_GREPPED = 2 * 1024 * 1024
"""Bytes of a file that is searched when a folder is searched; one that is named may be `LARGEST_NAMED`."""
LARGEST_NAMED = 100 * 1024 * 1024
BATCH = 1024 * 1024
"""Bytes of files read in one go in a thread."""
MATCH_CHARS = 400
"""Characters of a line that are shown."""


@attrs.frozen
class Grep:
    pattern: Annotated[str, Arg("Regular expression (Python), searched line by line.")]
    path: Annotated[str, Arg("File or folder to search.")] = "."
    glob: Annotated[str, Arg("Only files that match, such as *.py.")] = "*"
    fixed_strings: Annotated[bool, Arg("The pattern is plain text.")] = False
    case_insensitive: Annotated[bool, Arg("Take upper and lower case as the same.")] = False
    output_mode: Annotated[Literal["files_with_matches", "content", "count"], Arg("What to show.")] = "files_with_matches"
    context: Annotated[int, Arg("Lines to show around each match, with content.", minimum=0, maximum=20)] = 0
    head_limit: Annotated[int, Arg("Most files, or with content most matches.", minimum=1, maximum=5000)] = 250


def grep_tool(env: Mapping[str, str], inherit_fds: Sequence[int] = ()) -> Tool[Grep]:
    async def run(params: Grep, turn: ToolTurn) -> Result:
        with trio.move_on_after(GREP_S):
            return await _grep(params, turn, env, inherit_fds)
        raise ToolError(
            f"grep was ended after {GREP_S:g} s. Search a smaller folder, use fixed_strings, or a pattern without nested repeats"
        )

    description = "Search the text of files line by line with a regular expression. Binary and very large files are left out."
    return Tool("grep", description, Grep, run, Effect.READS)


async def _grep(params: Grep, turn: ToolTurn, env: Mapping[str, str], inherit_fds: Sequence[int]) -> Result:
    argv = [sys.executable, "-I", "-S", grep_child.__file__]
    answer = bytearray()
    try:
        async with open_child(argv, cwd=turn.workspace, env=env, stdin=True, inherit_fds=inherit_fds) as child:
            feeder = _Feeder(params, turn)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(feeder.feed, child)
                async for chunk in child.stdout:
                    answer += chunk
                nursery.cancel_scope.cancel()  # it has answered, perhaps without reading on
    except OSError as error:
        raise ToolError(f"grep cannot be run now: {error.strerror}") from error
    if feeder.failed is not None:
        raise feeder.failed
    return _grep_result(bytes(answer), params, feeder)


class _Feeder:
    """Reads the files, batch by batch in a thread, and sends them to the child."""

    def __init__(self, params: Grep, turn: ToolTurn) -> None:
        self._params, self._turn = params, turn
        self.failed: ToolError | None = None
        self.skipped = 0
        self.sent: list[bool] = []
        """For each file: whether it is text of strangers."""

    async def feed(self, child: Child) -> None:
        assert child.stdin is not None
        request = {name: getattr(self._params, name) for name in grep_child.REQUEST}
        try:
            await child.stdin.send_all(json.dumps(request).encode() + b"\n")
            batches = self._batches()
            while batch := await trio.to_thread.run_sync(next, batches, b"", abandon_on_cancel=True):
                await child.stdin.send_all(batch)
        except ToolError as error:
            self.failed = error
        except trio.BrokenResourceError:  # it had enough
            pass
        await child.stdin.aclose()

    def _batches(self) -> Iterator[bytes]:
        batch = bytearray()
        for path, data in self._files():
            batch += grep_child.frame(path, data)
            if len(batch) > BATCH:
                yield bytes(batch)
                batch.clear()
        if batch:
            yield bytes(batch)

    def _files(self) -> Iterator[tuple[str, bytes]]:
        params, turn = self._params, self._turn
        if workspace.is_file(params.path, turn):
            with workspace.open_file(params.path, turn) as opened:
                if len(data := opened.file.read(LARGEST_NAMED + 1)) > LARGEST_NAMED:
                    raise ToolError(f"{params.path} has more than {LARGEST_NAMED:,} bytes. Use exec with grep")
                self.sent.append(opened.of_strangers())
            yield params.path, data
            return
        for entry in within_bounds(workspace.listing(params.path, turn, skip=NOISE)):
            if entry.is_file and matches(entry.path, params.glob):
                data = self._data(entry)
                if data and b"\0" not in data[:8192]:
                    self.sent.append(entry.of_strangers())
                    yield one_line(entry.path), data

    def _data(self, entry: workspace.Entry) -> bytes:
        try:
            with entry.open() as file:
                data = file.read(LARGEST_GREPPED + 1)
        except (OSError, ToolError):  # gone, or not ours to read
            self.skipped += 1
            return b""
        self.skipped += len(data) > LARGEST_GREPPED
        return data if len(data) <= LARGEST_GREPPED else b""


def _grep_result(answer: bytes, params: Grep, feeder: _Feeder) -> Result:
    try:
        found = json.loads(answer)
    except ValueError as error:
        raise ToolError(f"grep ended without an answer: {answer[-200:].decode(errors='replace')}") from error
    if found["error"]:
        raise ToolError(f"The pattern is not a regular expression: {found['error']}. For plain text use fixed_strings")
    lines: Iterable[str] = found["lines"]
    notes = [f"stopped at {params.head_limit}; narrow the search or raise head_limit"] if found["more"] else []
    notes += [f"{feeder.skipped} large or unreadable files left out"] if feeder.skipped else []
    text = "\n".join(line if len(line) <= MATCH_CHARS else f"{line[:MATCH_CHARS]}…" for line in lines) or "No matches"
    tainted = any(feeder.sent[number] for number in found["files"])
    return Result(text + "".join(f"\n({note})" for note in notes), tainted=tainted)
