"""What a chat of one message prints, with a gateway and without: the answer to stdout, everything else to stderr.

What the model says by the tool `message` while its turn goes on is no answer and goes to stderr. If the turn then ends without
an answer of its own (control/answers.py), the last of it goes to stdout too.

With `--json` stdout gets one object instead, also for a failure:

    session   the session's key                      usage    tokens of the turn: {input, output, cached}
    text      the answer, empty if there is none     tools    [{name, state}], in the order of the calls
    failed    whether there is no answer             error    why, only if failed
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import suppress

from nanobot.cli.chatting.request import ChatRequest
from nanobot.cli.chatting.stdio import printable, write_all
from nanobot.config.redaction import clean
from nanobot.wire import JsonObject

ANSWERED, FAILED, INTERRUPTED = 0, 1, 130
STOP_S = 1.0
"""Seconds that an interrupted turn gets to say what was cut."""
STANDS_ABOVE = "The answer cannot be written to standard output: {}. It stands above."
Draw = Callable[[str], str]
"""How an answer looks on stdout."""


def on_stdout(request: ChatRequest, told: JsonObject, draw: Draw, *, failed: bool) -> str:
    """What stdout gets of an answer, empty if nothing. `told`: control/answers.py."""
    if request.as_json:
        error: JsonObject = {"error": told["text"]} if failed else {}
        text = "" if failed else told["text"]
        return _line({"session": request.key.short, **told, "text": text, "failed": failed, **error})
    return "" if failed else draw(str(told["text"])) + "\n"


def tell_failure(request: ChatRequest, sentence: str) -> None:
    """There is not even a reply. Raises: OSError."""
    aside(sentence)
    if request.as_json:
        told: JsonObject = {"text": sentence, "failed": True, "usage": {"input": 0, "output": 0, "cached": 0}, "tools": []}
        write_all(1, on_stdout(request, told, str, failed=True))


def aside(text: str) -> None:
    """To stderr, and nothing in it steers a terminal. That nobody reads there must not end the session."""
    with suppress(OSError):
        print(clean(printable(text)), file=sys.stderr)


def _line(told: JsonObject) -> str:
    return json.dumps(told, ensure_ascii=False) + "\n"
