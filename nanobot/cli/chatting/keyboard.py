"""What comes from the person: lines, Ctrl-C, the end. A way from any thread to one reader, usable before the reader is there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs


@attrs.frozen
class Typed:
    """A line, or several, that was sent with Enter."""

    text: str


@attrs.frozen
class Interrupted:
    """Ctrl-C."""


@attrs.frozen
class Ended:
    """Ctrl-D, or the terminal is gone."""


Input = Typed | Interrupted | Ended


@attrs.define(eq=False)
class Keyboard:
    """`put` from any thread, `take` by the reader, who is rung at each put."""

    _waiting: deque[Input] = attrs.field(factory=deque, init=False)
    _ring: Callable[[], None] = attrs.field(default=lambda: None, init=False)

    def put(self, what: Input) -> None:
        self._waiting.append(what)
        self._ring()

    def take(self) -> Input | None:
        return self._waiting.popleft() if self._waiting else None

    def on_put(self, ring: Callable[[], None]) -> None:
        """`ring` is called after each put, in the thread that puts, and once now for what is there already."""
        self._ring = ring
        ring()
