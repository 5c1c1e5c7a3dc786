"""Under whose right a call runs: who gave the order, where, and whether strangers may have had a word in it."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from nanobot.config.schema import Who
from nanobot.messages import Origin, Principal, Said
from nanobot.security.taint import tainted
from nanobot.session.state import Errand, Session, Turn

Owns = Callable[[str], bool]
"""Whether a principal owns this assistant."""


@attrs.frozen
class Right:
    """A column of the policy table, and whose it is."""

    principal: Principal
    who: Who
    origin: Origin = Origin.DIRECT
    tainted: bool = False

    @property
    def columns(self) -> tuple[Who, ...]:
        """Each of them must allow a call: scheduled work of somebody may no more than they themselves."""
        return (self.who, "paired") if self.who == "scheduled" and not self.principal.owner else (self.who,)


def of_turn(session: Session, turn: Turn, owns: Owns) -> Right:
    """As the conversation stands now."""
    origins = [said.origin for said in turn.entries if isinstance(said, Said) and said.principal == turn.principal]
    strange = tainted(session.exchanges, turn.entries, session.trusted, turn.principal, owns)
    return _right(turn.principal, origins[0] if origins else Origin.DIRECT, owns, strange=strange)


def of_errand(errand: Errand, owns: Owns) -> Right:
    """As the conversation stood when it was asked for."""
    return _right(errand.principal, errand.origin, owns, strange=errand.tainted)


def _right(principal: str, origin: Origin, owns: Owns, *, strange: bool) -> Right:
    owner = owns(principal)
    return Right(Principal.parse(principal, owner=owner), _who(origin, owner=owner), origin, strange)


def _who(origin: Origin, *, owner: bool) -> Who:
    if origin is Origin.JOB:
        return "scheduled"
    if owner:
        return "owner"
    return "group" if origin is Origin.GROUP else "paired"
