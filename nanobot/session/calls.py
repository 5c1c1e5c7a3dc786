"""Which calls of an answer run, in which order, and what becomes of those that cannot. Pure.

Calls without effect run beside each other; one with effects runs alone, in the model's order.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from nanobot.messages import Call, CallId, CallState, Effect, Entry, Reply
from nanobot.session import sentences

MOST_CALLS = 64
"""In one answer; more is a model that has lost its way."""
REFUSE_AFTER = 2
"""Identical calls in a row that run; the next is refused."""
GIVE_UP_AFTER = 4
"""Identical calls in a row, after which the model gets no more tools."""


def next_batch(calls: Iterable[Call]) -> tuple[CallId, ...]:
    """The calls that may start now, none of those before them being under way."""
    batch: list[CallId] = []
    for call in calls:
        if call.state is CallState.STARTED:
            return ()
        if call.state is not CallState.REQUESTED:
            continue
        if call.effect is not Effect.READS:
            return tuple(batch) or (call.id,)
        batch.append(call.id)
    return tuple(batch)


def started(reply: Reply, ids: tuple[CallId, ...]) -> Reply:
    calls = tuple(attrs.evolve(c, state=CallState.STARTED) if c.id in ids else c for c in reply.calls)
    return attrs.evolve(reply, calls=calls)


def refuse_excess(reply: Reply, before: Iterable[Entry]) -> tuple[Reply, bool]:
    """The answer with its repeated and surplus calls refused, and whether the model is going round in circles."""
    last, run = _tail_run(before)
    calls: list[Call] = []
    for index, call in enumerate(reply.calls):
        this = (call.name, call.arguments)
        run = run + 1 if this == last else 1
        last = this
        if call.state is CallState.REQUESTED and index >= MOST_CALLS:
            calls.append(attrs.evolve(call, state=CallState.NOT_RUN, result=sentences.TOO_MANY_CALLS))
        elif call.state is CallState.REQUESTED and run > REFUSE_AFTER:
            calls.append(attrs.evolve(call, state=CallState.REFUSED, result=sentences.REPEATED_CALL))
        else:
            calls.append(call)
    return attrs.evolve(reply, calls=tuple(calls)), run > GIVE_UP_AFTER


def _tail_run(entries: Iterable[Entry]) -> tuple[tuple[str, str] | None, int]:
    """The last call so far, and how many times in a row it was asked for."""
    last: tuple[str, str] | None = None
    run = 0
    for entry in entries:
        for call in entry.calls if isinstance(entry, Reply) else ():
            this = (call.name, call.arguments)
            run = run + 1 if this == last else 1
            last = this
    return last, run
