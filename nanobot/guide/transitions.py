"""The session machine as it behaves: which state follows which on what, found by trying, not by reading the code.

`explore` starts with a new session and offers every session that it reaches one event of each kind. Sessions that differ only
in ids, times and amounts count as one, so that the walk ends.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping

import attrs

from nanobot.messages import Call, CallId, CallState, Effect, MessageId, Principal, Reply, Said
from nanobot.session import events as ev
from nanobot.session.fold import apply_all
from nanobot.session.machine import step
from nanobot.session.state import Consolidating, Idle, Session, Stopping
from nanobot.session.turns import MOST_PREEMPTIONS

ME = str(Principal("cli", "default", "chat", "me"))
MOST_INBOX = 1
MOST_EXCHANGES = 1
"""More of them lead to no other states."""

Moves = Mapping[tuple[str, str], frozenset[str]]
"""(state, event) to the states that may follow."""


@attrs.frozen
class Kind:
    """What two sessions have in common that count as one."""

    state: str
    inbox: int
    exchanges: int
    undone: bool
    open_calls: tuple[CallState, ...]
    why: str
    back: bool
    draining: bool
    suspended: bool
    crashed: bool
    preempted: int


def explore() -> Moves:
    """All moves that a walk from a new session finds."""
    moves: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    todo, seen = deque([Session("cli:default:chat")]), set[Kind]()
    while todo:
        session = todo.popleft()
        if _kind(session) in seen:
            continue
        seen.add(_kind(session))
        for label, event in _events(session):
            after = apply_all(session, step(session, event).records)
            moves[state_name(session), label].add(state_name(after))
            if len(after.inbox) <= MOST_INBOX and len(after.exchanges) <= MOST_EXCHANGES:
                todo.append(attrs.evolve(after, outbox=(), errands=()))
    return {key: frozenset(names) for key, names in moves.items()}


def state_name(session: Session) -> str:
    return type(session.state).__name__


def _kind(session: Session) -> Kind:
    turn = session.turn
    return Kind(
        state_name(session),
        len(session.inbox),
        len(session.exchanges),
        any(exchange.undone for exchange in session.exchanges),
        () if turn is None else tuple(call.state for call in turn.open_calls),
        str(session.state.why) if isinstance(session.state, Stopping) else "",
        isinstance(session.state, Consolidating) and session.state.back is not None,
        session.draining,
        turn is not None and turn.suspended,
        turn is not None and turn.restarts > 0,
        min(session.preempted, MOST_PREEMPTIONS),
    )


def _events(session: Session) -> Iterator[tuple[str, ev.Event]]:
    """One of each kind that could come now, with the words of the guide."""
    at = float(len(session.seen))
    fresh = MessageId(f"m{len(session.seen)}")
    yield "message", ev.Received(Said(fresh, "hello", at, ME))
    for name, command in _commands():
        yield name, ev.Commanded(fresh, ME, at, command, owner=True)
    yield "shutdown", ev.DrainAsked(at)
    if isinstance(session.state, Consolidating):
        yield "memory written", ev.Consolidated(at, session.state.span.end)
        yield "memory failed", ev.ConsolidationFailed(at, "")
    elif isinstance(session.state, Idle):
        yield "memory due", ev.ConsolidationDue(at, session.end)
    yield from _turn_events(session, at)
    yield "start after a crash", ev.Opened(at, crashed=True)
    if session.draining:
        yield "start after a shutdown", ev.Opened(at, crashed=False)


def _commands() -> Iterator[tuple[str, ev.Command]]:
    yield "/stop", ev.Stop()
    yield "/new", ev.New()
    yield "/undo", ev.Undo()
    yield "/retry", ev.Retry(confirmed=True)


def _turn_events(session: Session, at: float) -> Iterator[tuple[str, ev.Event]]:
    turn = session.turn
    if turn is None:
        return
    call = Call(CallId(f"call{turn.step}"), "exec", f'{{"n": {turn.step}}}', Effect.WRITES)
    read = attrs.evolve(call, id=CallId(f"read{turn.step}"), effect=Effect.READS)
    yield "answer", ev.ModelAnswered(turn.number, turn.step, at, Reply("done"))
    yield "answer with calls", ev.ModelAnswered(turn.number, turn.step, at, Reply("", (call, read)))
    yield "model failed", ev.ModelFailed(turn.number, turn.step, at, "transport", "it failed")
    yield "too long", ev.ContextFull(turn.number, turn.step, at, session.end, consolidate=True)
    yield "turn's deadline", ev.DeadlinePassed(turn.number, at)
    yield "nothing runs any more", ev.TurnEmptied(turn.number, at)
    for open_call in turn.open_calls:
        if open_call.state is CallState.STARTED:
            yield "call ended", ev.CallEnded(turn.number, open_call.id, at, CallState.DONE, "ok")
