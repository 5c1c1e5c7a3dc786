"""The matching of `grep`, in a process of its own: it can be ended in the middle of a regular expression, a thread cannot.

Standard input: a line of JSON (`REQUEST`), then frames of a path and a file's bytes. Standard output: one JSON object.
Standard library only; it opens no files.
"""

from __future__ import annotations

import json
import re
import struct
import sys
from collections.abc import Iterator

REQUEST = ("pattern", "fixed_strings", "case_insensitive", "output_mode", "context", "head_limit")
HEADER = struct.Struct("<II")


def frame(path: str, data: bytes) -> bytes:
    name = path.encode("utf-8", "surrogateescape")
    return HEADER.pack(len(name), len(data)) + name + data


def frames() -> Iterator[tuple[str, str]]:
    while len(header := sys.stdin.buffer.read(HEADER.size)) == HEADER.size:
        name, size = HEADER.unpack(header)
        path = sys.stdin.buffer.read(name).decode("utf-8", "replace")
        yield path, sys.stdin.buffer.read(size).decode("utf-8", "replace")


def shown(path: str, lines: list[str], hits: list[int], context: int) -> Iterator[str]:
    """`path:12:line` for a match, `path-13-line` around it, `--` between groups."""
    matching = set(hits)
    last = -1
    for number in sorted({near for hit in hits for near in range(max(0, hit - context), min(len(lines), hit + context + 1))}):
        if context and last >= 0 and number > last + 1:
            yield "--"
        mark = ":" if number in matching else "-"
        yield f"{path}{mark}{number + 1}{mark}{lines[number]}"
        last = number


def search(pattern: re.Pattern[str], mode: str, context: int, limit: int) -> tuple[list[str], list[int], bool]:
    """The lines to show, the numbers of the files they are from, and whether there was more."""
    found: list[str] = []
    files: list[int] = []
    room = limit
    for number, (path, text) in enumerate(frames()):
        lines = text.splitlines()
        hits = [at for at, line in enumerate(lines) if pattern.search(line)]
        if not hits:
            continue
        if room == 0:
            return found, files, True
        files.append(number)
        if mode == "content":
            found += shown(path, lines, hits[:room], context)
            if len(hits) > room:
                return found, files, True
            room -= len(hits)
        else:
            found.append(path if mode == "files_with_matches" else f"{path}: {len(hits)}")
            room -= 1
    return found, files, False


def main() -> None:
    request = json.loads(sys.stdin.buffer.readline())
    text = re.escape(request["pattern"]) if request["fixed_strings"] else request["pattern"]
    answer: dict[str, object] = {"error": "", "lines": [], "files": [], "more": False}
    try:
        pattern = re.compile(text, re.IGNORECASE if request["case_insensitive"] else 0)
        lines, files, more = search(pattern, request["output_mode"], request["context"], request["head_limit"])
        answer |= {"lines": lines, "files": files, "more": more}
    except (re.error, RecursionError, OverflowError) as error:
        answer["error"] = str(error)
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
