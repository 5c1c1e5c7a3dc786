"""What a session reports, as the signs of the channel port: its state when it changes, tools, the answer as it grows. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

import attrs

from nanobot.channels.port import DeltaSign, Sign, StateSign, ToolSign, VoidSign
from nanobot.messages import Call, CallId, CallState, Reply
from nanobot.session import records as r
from nanobot.session.ports import Adopted, Progress, Shown, Waiting, Working
from nanobot.session.state import AwaitingTool, Consolidating, Idle, Session, Stopping, Thinking


@attrs.define(eq=False)
class Signs:
    """One chat's. `read` gives the signs of each report, in order."""

    _session: StateSign | None = attrs.field(default=None, init=False)
    """What the session itself does."""
    _said: StateSign | None = attrs.field(default=None, init=False)
    """The last state that was given: a wait in between hides the session's own."""

    def read(self, progress: Progress) -> tuple[Sign, ...]:
        match progress:
            case Shown(turn, text=text, void=void):
                grown: tuple[Sign, ...] = (VoidSign(turn),) if void else (DeltaSign(turn, text),) if text else ()
                return (*self._state(None if void else self._session), *grown)
            case Adopted(records, session):
                self._session = state_of(session)
                return (*_tools(records, session), *self._state(self._session))
            case Waiting():
                return self._state(StateSign("waiting"))
            case Working():
                return ()
            case _ as never:
                assert_never(never)

    @property
    def at_rest(self) -> bool:
        """Nothing is to be remembered of this chat."""
        return self._said == StateSign("idle")

    def _state(self, state: StateSign | None) -> tuple[StateSign, ...]:
        if state is None or state == self._said:
            return ()
        self._said = state
        return (state,)


def state_of(session: Session) -> StateSign:
    match session.state:
        case Thinking():
            return StateSign("thinking")
        case AwaitingTool(turn):
            running = [call.name for call in turn.open_calls if call.state is CallState.STARTED]
            return StateSign("working", ", ".join(running))
        case Consolidating():
            return StateSign("working", "memory")
        case Stopping():
            return StateSign("stopping")
        case Idle():
            return StateSign(_delivery(session))
        case _ as never:
            assert_never(never)


def begun_calls(records: tuple[r.Record, ...], session: Session) -> Iterator[Call]:
    """The calls that begin with these records."""
    for record in records:
        match record:
            case r.Answered(reply=reply):
                yield from (call for call in reply.calls if call.state is CallState.STARTED)
            case r.CallsStarted(calls=calls):
                yield from filter(None, (_find(session, call) for call in calls))
            case _:  # no other record begins a call
                pass


def _delivery(session: Session) -> str:
    if not session.outbox:
        return "idle"
    return "waiting" if session.outbox[0].waiting else "delivering"


def _tools(records: tuple[r.Record, ...], session: Session) -> Iterator[ToolSign]:
    for record in records:
        match record:
            case r.Answered(turn, reply):
                yield from (
                    ToolSign(turn, call.name, call.state.value) for call in reply.calls if call.state is not CallState.REQUESTED
                )
            case r.CallsStarted(turn):
                yield from (ToolSign(turn, call.name, "started") for call in begun_calls((record,), session))
            case r.CallSettled(turn, wanted, state) if call := _find(session, wanted):
                yield ToolSign(turn, call.name, state.value)
            case _:  # the other records are not about tools
                pass


def _find(session: Session, wanted: CallId) -> Call | None:
    """The call in the turn under way or in the one that ended last."""
    closed = session.exchanges[-1].entries if session.exchanges else ()
    entries = (*closed, *(session.turn.entries if session.turn else ()))
    calls = (call for entry in reversed(entries) if isinstance(entry, Reply) for call in entry.calls)
    return next((call for call in calls if call.id == wanted), None)
