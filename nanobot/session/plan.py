"""`Plan`: what one step decided, and the way to decide on from there."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from nanobot.session.effects import Effect
from nanobot.session.fold import apply_all
from nanobot.session.records import Record
from nanobot.session.state import Session


@attrs.frozen
class Plan:
    """Records for one journal line, and effects that begin when it is on disk."""

    records: tuple[Record, ...] = ()
    effects: tuple[Effect, ...] = ()

    def __add__(self, other: Plan) -> Plan:
        return Plan(self.records + other.records, self.effects + other.effects)

    def then(self, session: Session, decide: Callable[[Session], Plan]) -> Plan:
        """This, and what `decide` makes of the session as it stands after this. `session` is the one before it."""
        return self + decide(apply_all(session, self.records))


NOTHING = Plan()


@attrs.frozen
class Limits:
    """Bounds of a turn that people set in `agents.defaults`."""

    iterations: int = 200
    """Model calls in one turn; then a last one without tools."""
