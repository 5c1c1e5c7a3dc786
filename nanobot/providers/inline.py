"""What some models write into their text that is no text: `<think>…</think>`, and `<tool_call>{json}</tool_call>`.

Thinking is told apart as it comes, whatever the pieces, and never shown as text; an unclosed `<think>` lasts to the end. From
the first `<tool_call>` on everything is held until the end, when it is known whether the model has called in the proper way.
A tag right after a quote or a backtick is one that the model talks about, and stays text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import attrs

from nanobot.wire import Json

THINK, UNTHINK, CALL = "<think>", "</think>", "<tool_call>"
BLOCK = re.compile(r"<tool_call>(.*?)</tool_call>\s*", re.DOTALL)
QUOTES = ("`", '"', "'")


@attrs.define
class Inline:
    """Takes the pieces of a text apart."""

    on_text: Callable[[str], None]
    on_thought: Callable[[str], None]
    calls: bool
    """Look for calls: tools were offered."""
    _thinking: bool = False
    _trim: bool = False
    """Blank lines after a thought belong to it."""
    _last: str = ""
    _rest: str = ""
    """What may be the beginning of a tag."""
    _held: list[str] = attrs.field(factory=list)

    def feed(self, piece: str) -> None:
        if self._held:
            self._held.append(piece)
            return
        text, self._rest = self._rest + piece, ""
        while text:
            at, tag = self._next(text)
            self._emit(text[:at])
            text = text[at:]
            if tag == CALL:
                self._held, text = [text], ""
            elif tag:
                self._thinking, self._trim, self._last = tag == THINK, tag == UNTHINK, ">"
                text = text[len(tag) :]
            else:
                self._rest, text = text, ""

    def finish(self, *, called: bool) -> list[tuple[str, str]]:
        """Name and arguments of the calls in the text. `called`: there were proper ones, so these are none."""
        self._emit(self._rest)
        held = "".join(self._held)
        found = [] if called else [_call(block[1]) for block in BLOCK.finditer(held)]
        calls = [one for one in found if one is not None]
        if calls:
            held = BLOCK.sub(lambda block: "" if _call(block[1]) else block[0], held)
        self._rest, self._held = "", []
        self._emit(held)
        return calls

    def _next(self, text: str) -> tuple[int, str]:
        """Where the next tag begins, and which it is; empty for what may become one, or the end."""
        tags = (UNTHINK,) if self._thinking else (THINK, CALL) if self.calls else (THINK,)
        at = text.find("<")
        while at >= 0:
            quoted = not self._thinking and (text[at - 1 : at] or self._last) in QUOTES
            for tag in tags if not quoted else ():
                if text.startswith(tag, at):
                    return at, tag
                if tag.startswith(text[at:]):
                    return at, ""
            at = text.find("<", at + 1)
        return len(text), ""

    def _emit(self, text: str) -> None:
        if self._trim and not self._thinking:
            text = text.lstrip()
        if text:
            self._trim, self._last = False, text[-1]
            (self.on_thought if self._thinking else self.on_text)(text)


def _call(text: str) -> tuple[str, str] | None:
    """None unless it is an object with a name and arguments."""
    try:
        value: Json = json.loads(text)
    except (ValueError, RecursionError):
        return None
    match value:
        case {"name": str(name), "arguments": dict(arguments)} if name:
            return name, json.dumps(arguments, ensure_ascii=False)
        case _:
            return None
