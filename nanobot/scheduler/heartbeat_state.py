"""What the heartbeat remembers over restarts, in one small file that is replaced as a whole.

A file that is damaged counts as empty: then the model is asked once more than it would have been, and no more.
"""

from __future__ import annotations

import json
from pathlib import Path

import attrs
from cattrs import Converter
from cattrs.errors import BaseValidationError
from loguru import logger

from nanobot.config.durable import replace

MOST_DONE = 5
"""Runs that the model is told of, so that it does not do the same again at each look."""
MOST_HELD = 20
"""Results that wait to be told: after them the oldest go, and stand in the heartbeat's own conversation."""


@attrs.frozen
class Nothing:
    """The model saw nothing to do in the tasks of that digest. Times are seconds since the epoch."""

    digest: str
    at: float
    again_at: float


@attrs.frozen
class Done:
    """A run, or one that is under way: its message is `job:heartbeat:SLOT`."""

    slot: int
    """Milliseconds since the epoch."""
    tasks: str
    tainted: bool = False
    ok: bool = True


@attrs.frozen
class Held:
    """A result that is to be told."""

    slot: int
    text: str


@attrs.frozen
class Remembered:
    looked_at: float = 0.0
    nothing: Nothing | None = None
    running: Done | None = None
    done: tuple[Done, ...] = ()
    """The last, oldest first."""
    held: tuple[Held, ...] = ()
    """Oldest first."""
    budget_told: str = ""
    """The day for which the owner was told that the budget is used up."""


_CONVERTER = Converter(detailed_validation=False)


def load(file: Path) -> Remembered:
    """Blocks."""
    try:
        return _CONVERTER.structure(json.loads(file.read_bytes()), Remembered)
    except FileNotFoundError:
        return Remembered()
    except (OSError, ValueError, TypeError, KeyError, AttributeError, BaseValidationError) as exc:
        logger.warning("{} cannot be read, so the heartbeat begins anew: {}", file, exc)
        return Remembered()


def save(file: Path, remembered: Remembered) -> None:
    """Blocks. Raises: OSError."""
    kept = attrs.evolve(remembered, done=remembered.done[-MOST_DONE:], held=remembered.held[-MOST_HELD:])
    replace(file, json.dumps(_CONVERTER.unstructure(kept)))
