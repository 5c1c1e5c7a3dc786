"""How a frame of the control socket is written: a JSON object in one line of ASCII. Imports next to nothing.

`VERSION` rises when an old gateway would take a new request for something else, or an old command a new answer. A request
carries it, and a gateway refuses one that is newer than itself; what it merely does not know it refuses by its name.
"""

from __future__ import annotations

import json

from nanobot.wire import Json, JsonObject

VERSION = 1


def encode(frame: JsonObject) -> bytes:
    return json.dumps(frame, separators=(",", ":")).encode("ascii") + b"\n"


def decode(line: bytes) -> JsonObject:
    """The frame in a line, its newline or not. Raises: ValueError for anything that is no JSON object."""
    try:
        frame: Json = json.loads(line)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(frame, dict):
        raise ValueError("no JSON object")  # noqa: TRY004  # the value is wrong, not our use of it
    return frame
