"""Every short sequence of events from every kind of state.

The search walks distinct states, not sequences: two sequences that lead to the same state go on together, and the number of
sequences is counted with the states. `same` says what is forgotten so that states meet: the numbers of turns, messages and
exchanges (the machine only compares them), texts and results (of what a call has said, whether it is "Done." and whether it
answers all of the turn), closed exchanges but the last one, calls of earlier answers, letters behind the first,
how many messages one person has said in a row (they always go together), outbound messages behind the second (delivery
never looks behind the head but to see whether there is one), and what is only counted upwards, beyond the bound that the
machine looks at. What is forgotten cannot hide a broken rule, because the rules look at single steps.

Three searches: everything mixed, two events deep; the turn alone, four deep, with nothing in the outbox (five with
NANOBOT_TEST_DEEP, which takes two to three minutes: `just exhaustive`); and what stands beside the turn, four deep, with the few
events that move the turn on.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby

import attrs
import pytest

from nanobot.messages import (
    CallId,
    CallState,
    Effect,
    ErrandId,
    Exchange,
    MessageId,
    Outbound,
    OutboundId,
    Reply,
    Said,
    TurnEnd,
    TurnNumber,
)
from nanobot.session import events as ev
from nanobot.session.fold import apply_all
from nanobot.session.machine import step
from nanobot.session.plan import Limits
from nanobot.session.requests import request_of
from nanobot.session.state import (
    AwaitingTool,
    Consolidating,
    DeadLetter,
    Errand,
    ErrandKind,
    Idle,
    ImpossibleEvent,
    Owed,
    Pending,
    SeenIds,
    Session,
    Span,
    Stopping,
    Thinking,
    Turn,
)
from tests.session.rules import check_step
from tests.session.strategies import ANN, AT, BOB, Driver, approval, asking, background, call, commanded, reads, said, speaks

DEEP = bool(os.environ.get("NANOBOT_TEST_DEEP"))
LIMITS = Limits(iterations=2)
TURN = TurnNumber(50)
"""The number of the next turn in a state as `same` writes it."""
LATER = AT + 100_000.0
SAMPLE = 10
"""So many steps are taken for each that is taken twice."""


# --- the alphabets


def everything(s: Session) -> Iterator[ev.Event]:
    """All that can be told to a session in this state, and much that cannot be true."""
    yield from the_turn(s)
    yield from _beside(s)


def the_turn(s: Session) -> Iterator[ev.Event]:
    fresh = f"n{len(s.seen)}"
    yield from (said(fresh), said(fresh, BOB), said("old"), commanded("old", ev.Stop()))
    yield from (commanded(fresh, c) for c in (ev.Stop(), ev.New(), ev.Undo(), ev.Retry(), ev.Retry(confirmed=True)))
    yield from _of_the_turn(s)
    yield from _late_and_early(s)
    yield ev.DrainAsked(AT)
    yield ev.DrainAsked(AT, aside=False)
    yield from (ev.Opened(AT, crashed=True), ev.Opened(AT, crashed=False), ev.Opened(AT, crashed=True, resume=False))
    yield from (ev.ConsolidationDue(AT, s.end), ev.Consolidated(AT, s.end), ev.Consolidated(AT, s.base))
    yield from (ev.Consolidated(AT, s.end + 1), ev.ConsolidationFailed(AT, "no answer"))


def beside_the_turn(s: Session) -> Iterator[ev.Event]:
    yield from (said(f"n{len(s.seen)}"), commanded(f"n{len(s.seen)}", ev.Stop()), ev.Opened(AT, crashed=True), ev.DrainAsked(AT))
    if s.turn:
        yield ev.ModelAnswered(s.turn.number, s.turn.step, AT, Reply("Done."))
        yield ev.ModelAnswered(s.turn.number, s.turn.step, AT, Reply("", (call("c1"),)))
        yield ev.ModelAnswered(s.turn.number, s.turn.step, AT, Reply("", (speaks("c1"),)))
        yield ev.TurnEmptied(s.turn.number, AT)
    yield from _beside(s)


def _of_the_turn(s: Session) -> Iterator[ev.Event]:
    if s.turn is None:
        return
    number, number_of_step = s.turn.number, s.turn.step
    replies = [Reply("Done."), Reply(""), Reply("", (call("c1"),)), Reply("", (reads("c1"), reads("c2"), call("c3")))]
    yield from (ev.ModelAnswered(number, number_of_step, AT, reply) for reply in replies)
    yield ev.ModelAnswered(number, number_of_step, AT, Reply("Half"), length=True)
    yield ev.ModelAnswered(number, number_of_step, AT, Reply(""), nameless=1)
    yield from (ev.ModelFailed(number, number_of_step, AT, kind, "It failed.") for kind in ("server", "bad_request"))
    yield ev.ContextFull(number, number_of_step, AT, s.end)
    yield ev.ContextFull(number, number_of_step, AT, s.end, refused=True)
    yield ev.ContextFull(number, number_of_step, AT, s.end, consolidate=True)
    yield ev.ModelAnswered(number, number_of_step, AT, Reply("", (speaks("c1"),)))
    yield asking(number, number_of_step, AT, ErrandId(f"a{len(s.errands)}"), "c1")
    yield from _messages(s)
    ids = ("c1", "c2", "c3", "unknown")
    yield from (ev.CallEnded(number, CallId(one), AT, CallState.DONE, "done") for one in ids)
    yield from (ev.DeadlinePassed(number, AT), ev.TurnEmptied(number, AT))


def _messages(s: Session) -> Iterator[ev.Event]:
    if s.turn:
        yield from (ev.MessageAsked(s.turn.number, CallId("c1"), AT, text) for text in ("Done.", "by the way"))
        yield ev.MessageAsked(s.turn.number, CallId("c1"), AT, "hello", to="test:default:other")


def _late_and_early(s: Session) -> Iterator[ev.Event]:
    places = [(TurnNumber(s.next_turn - 2), 1), (s.next_turn, 1)]
    places += [(s.turn.number, s.turn.step - 1), (s.turn.number, s.turn.step + 1)] if s.turn else []
    for number, number_of_step in places:
        yield ev.ModelAnswered(number, number_of_step, AT, Reply("", (call("c1"),)))
        yield ev.ModelFailed(number, number_of_step, AT, "server", "It failed.")
        yield ev.ContextFull(number, number_of_step, AT, s.end)
    for number in (TurnNumber(s.next_turn - 2), s.next_turn):
        yield ev.CallEnded(number, CallId("c1"), AT, CallState.DONE, "done")
        yield ev.MessageAsked(number, CallId("c1"), AT, "late")
        yield from (ev.DeadlinePassed(number, AT), ev.TurnEmptied(number, AT))


def _beside(s: Session) -> Iterator[ev.Event]:
    fresh = f"n{len(s.seen)}"
    yield from (commanded(fresh, command) for command in (ev.ChooseModel(None), ev.Trust(), ev.Ask("/status")))
    waiting = next((e.id for e in s.errands if e.kind is ErrandKind.APPROVAL), ErrandId("gone"))
    yield from (commanded(fresh, ev.Approve(waiting)), commanded(fresh, ev.Approve(waiting), BOB, owner=False))
    yield commanded(fresh, ev.Deny(waiting))
    yield from (ev.ErrandEnded(errand.id, AT, "found") for errand in s.errands[:1])
    yield ev.ErrandEnded(ErrandId("gone"), AT, "late")
    yield from (ev.PaidTo(owed.id) for owed in s.owed[:1])
    yield from (ev.Woke(AT), ev.Woke(LATER))
    yield from (ev.Handed(f"h{len(s.seen)}", "hello", AT, origin=origin) for origin in ("", "test:default:other"))
    yield ev.Handed("old", "hello", AT)
    yield from _messages(s)
    if s.turn:
        errand_id, call_id = f"f{len(s.errands)}", CallId("c1")
        yield ev.CallEnded(s.turn.number, call_id, AT, CallState.DEFERRED, "asked", errand=approval(errand_id, LATER))
        yield ev.CallEnded(s.turn.number, call_id, AT, CallState.DEFERRED, "spawned", errand=background(errand_id))
        promise = Owed(f"q{len(s.seen)}", "bob", "hello", AT)
        yield ev.CallEnded(s.turn.number, call_id, AT, CallState.DONE, "told", promises=(promise,))
    yield from _of_delivery(s)


def _of_delivery(s: Session) -> Iterator[ev.Event]:
    out, part = (s.outbox[0].outbound.id, s.outbox[0].delivered) if s.outbox else (OutboundId("gone"), 0)
    yield from (ev.PartDelivered(out, part, AT), ev.PartDelivered(out, part + 1, AT), ev.SplitInto(out, ("a", "b")))
    yield from (ev.SendFailed(out, part, AT, "busy"), ev.SendRefused(out, part, AT, "no"))
    yield from (ev.SendUnknown(out, part, AT, "?", keyed=False), ev.SendUnknown(out, part, AT, "?", keyed=True))
    yield from (ev.ChannelDown(out, part, AT, "down"), ev.ChannelUp(AT))
    letters = [letter.outbound.id for letter in s.dead[:1]] + [doubled.id for doubled in s.doubled[:1]]
    yield from (ev.LetterRetried(letter, AT) for letter in (*letters, OutboundId("gone")))
    yield from (ev.LetterDropped(letter) for letter in (*letters, OutboundId("gone")))


# --- when two states are the same


def same(session: Session) -> Session:
    """The session with everything forgotten that no decision looks at."""
    ids = _Ids()
    kept = session.exchanges[-1:]
    shift = session.end - len(kept)
    return Session(
        session.key,
        state=_state(session.state, ids, TURN - session.next_turn, shift),
        exchanges=tuple(_exchange(exchange, TurnNumber(TURN - 10 + place)) for place, exchange in enumerate(kept)),
        inbox=tuple(ids.said(next(run)) for _, run in groupby(session.inbox, lambda one: one.principal)),
        outbox=tuple(_pending(pending, place) for place, pending in enumerate(session.outbox[:2])),
        dead=tuple(_letter(letter) for letter in session.dead[:1]),
        doubled=tuple(Outbound(OutboundId("twice"), "", AT) for _ in session.doubled[:1]),
        owed=tuple(Owed(f"p{place}", "bob", "", AT) for place, _ in enumerate(session.owed[:2])),
        errands=tuple(_errand(errand, ErrandId(f"e{place}"), ids) for place, errand in enumerate(session.errands)),
        seen=SeenIds((i, AT) for i in [*ids.names.values(), MessageId("old"), *_requested(session)]),
        next_turn=TURN,
        next_out=1000,
        preempted=min(session.preempted, 3),
        draining=session.draining,
    )


def same_turn(session: Session) -> Session:
    """Besides, all that stands beside the turn is forgotten."""
    return attrs.evolve(same(session), outbox=(), dead=(), doubled=(), owed=(), errands=())


@attrs.frozen
class _Ids:
    names: dict[MessageId, MessageId] = attrs.Factory(dict)

    def of(self, old: MessageId) -> MessageId:
        return self.names.setdefault(old, MessageId(f"m{len(self.names)}"))

    def said(self, one: Said) -> Said:
        return Said(self.of(one.id), "", AT, one.principal)


def _state(state: object, ids: _Ids, turn_shift: int, shift: int) -> Idle | Thinking | AwaitingTool | Stopping | Consolidating:
    match state:
        case Thinking(turn):
            return Thinking(_turn(turn, ids, turn_shift))
        case AwaitingTool(turn):
            return AwaitingTool(_turn(turn, ids, turn_shift))
        case Stopping(turn, why, by):
            return Stopping(_turn(turn, ids, turn_shift), why, tuple(ids.of(one) for one in by[:1]))
        case Consolidating(span, back):
            kept = None if back is None else _turn(back, ids, turn_shift)
            return Consolidating(Span(max(0, span.start - shift), span.end - shift), kept)
        case _:
            return Idle()


def _requested(session: Session) -> Iterator[MessageId]:
    """Those of open calls, under the numbers that `same` gives."""
    turn = session.turn
    for one in turn.open_calls if turn else ():
        if turn and request_of(session, turn, one.id) in session.seen:
            yield request_of(session, _turn(turn, _Ids(), TURN - session.next_turn), one.id)


def _turn(turn: Turn, ids: _Ids, turn_shift: int) -> Turn:
    return attrs.evolve(
        turn,
        number=TurnNumber(turn.number + turn_shift),
        inputs=tuple(ids.of(one) for one in turn.inputs[:1]),
        entries=_entries(turn),
        step=min(turn.step, LIMITS.iterations + 1),
        restarts=min(turn.restarts, 2),
        lengths=min(turn.lengths, 3),
        told=tuple(dict.fromkeys(_told(one, turn, ids) for one in turn.told)),
    )


def _told(one: Outbound, turn: Turn, ids: _Ids) -> Outbound:
    """Whether it is what the model may answer, and answers all."""
    reply_to = ids.of(turn.inputs[0]) if one in turn.answers else None
    return Outbound(OutboundId("said"), "Done." if one.text == "Done." else "", AT, reply_to)


def _entries(turn: Turn) -> tuple[Reply, ...]:
    """The answer whose calls are open, and whether the turn has written before."""
    return _wrote(turn.entries) + ((attrs.evolve(turn.reply, text=""),) if turn.open_calls else ())


def _wrote(entries: Iterable[object]) -> tuple[Reply, ...]:
    calls = [c for entry in entries if isinstance(entry, Reply) for c in entry.calls]
    done = attrs.evolve(call("w"), state=CallState.DONE)
    return (Reply("", (done,)),) if any(c.effect is Effect.WRITES and c.state is CallState.DONE for c in calls) else ()


def _exchange(exchange: Exchange, number: TurnNumber) -> Exchange:
    entries: tuple[Said | Reply, ...] = (Said(MessageId("old"), "", AT, ANN), *_wrote(exchange.entries))
    failed = TurnEnd.FAILED if exchange.end is TurnEnd.FAILED else TurnEnd.ANSWERED
    return Exchange(number, ANN, entries, failed, undone=exchange.undone)


def _errand(errand: Errand, errand_id: ErrandId, ids: _Ids) -> Errand:
    return attrs.evolve(errand, id=errand_id, asked_by=ids.of(errand.asked_by), text="")


def _letter(letter: DeadLetter) -> DeadLetter:
    out = Outbound(OutboundId("given up"), "", AT, origin=letter.outbound.origin)
    return DeadLetter(out, "", AT, letter.perhaps_delivered)


def _pending(pending: Pending, place: int) -> Pending:
    return attrs.evolve(
        pending,
        outbound=Outbound(OutboundId(f"x{place}"), "", AT, origin=pending.outbound.origin),
        attempts=min(pending.attempts, 2),
        retry_at=None if pending.retry_at is None else AT + 1.0,
        waited_s=0.0,
        error="",
    )


# --- the search


def idle() -> Driver:
    return Driver(limits=LIMITS)


def after_a_turn() -> Driver:
    driver = idle()
    driver.tell(said("old1"))
    driver.answer("", call("c1"))
    driver.end("c1")
    driver.answer("Done.")
    driver.delivered()
    return driver


def thinking() -> Driver:
    driver = idle()
    driver.tell(said("m1"))
    return driver


def crowded() -> Driver:
    driver = thinking()
    driver.tell(said("m2"), said("m3", BOB))
    return driver


def awaiting() -> Driver:
    driver = crowded()
    driver.answer("", reads("c1"), reads("c2"), call("c3"))
    return driver


def having_spoken() -> Driver:
    driver = thinking()
    driver.answer("", speaks("c1"))
    driver.message("c1", "Done.")
    driver.end("c1")
    return driver


def stopping() -> Driver:
    driver = awaiting()
    driver.tell(commanded("s1", ev.Stop()), said("m4", BOB))
    return driver


def restarted() -> Driver:
    driver = crowded()
    driver.answer("", call("c1"))
    driver.crash()
    return driver


def last_call() -> Driver:
    driver = thinking()
    for _ in range(LIMITS.iterations):
        driver.answer("", reads("c1"))
        if isinstance(driver.session.state, AwaitingTool):
            driver.end("c1")
    return driver


def draining() -> Driver:
    driver = awaiting()
    driver.tell(ev.DrainAsked(AT))
    driver.emptied()
    return driver


def idle_draining() -> Driver:
    driver = idle()
    driver.tell(ev.DrainAsked(AT), said("m1"), said("m2", BOB))
    return driver


def with_errands() -> Driver:
    driver = thinking()
    driver.answer("", call("c1"), call("c2"))
    driver.end("c1", CallState.DEFERRED, errand=approval("e1", LATER))
    driver.end("c2", CallState.DEFERRED, errand=background("e2"))
    driver.tell(commanded("q1", ev.Ask("/status")))
    driver.answer("Wait.")
    return driver


def unsent() -> Driver:
    driver = after_a_turn()
    driver.tell(commanded("t1", ev.Tell("help")), commanded("t2", ev.Tell("help")))
    out = driver.session.outbox[0].outbound.id
    driver.tell(ev.SendUnknown(out, 0, AT, "?", keyed=False), ev.Woke(LATER))
    return driver


def with_letters() -> Driver:
    driver = unsent()
    driver.delivered()
    driver.tell(ev.Handed("h1", "hello", AT, origin="test:default:other"))
    driver.refused()
    return driver


def consolidating() -> Driver:
    driver = after_a_turn()
    driver.tell(ev.ConsolidationDue(AT, 1))
    return driver


def consolidating_for_a_turn() -> Driver:
    driver = after_a_turn()
    driver.tell(said("m1"))
    driver.full(1, consolidate=True)
    driver.tell(said("m2", BOB))
    return driver


def consolidating_at_last() -> Driver:
    driver = consolidating()
    for round_ in range(3):
        driver.tell(said(f"p{round_}"))
        driver.answer("Done.")
        driver.tell(ev.ConsolidationDue(AT, driver.session.end))
    driver.tell(said("m1"))
    return driver


STARTS: tuple[Callable[[], Driver], ...] = (
    idle,
    after_a_turn,
    thinking,
    crowded,
    awaiting,
    having_spoken,
    stopping,
    restarted,
    last_call,
    draining,
    idle_draining,
    with_errands,
    unsent,
    with_letters,
    consolidating,
    consolidating_for_a_turn,
    consolidating_at_last,
)


@attrs.define
class Search:
    """What was found out about each state so far: where each event of the alphabet leads. States go by number."""

    alphabet: Callable[[Session], Iterator[ev.Event]]
    same: Callable[[Session], Session]
    numbers: dict[Session, int] = attrs.Factory(dict)
    states: list[Session] = attrs.Factory(list)
    known: dict[int, Counter[int]] = attrs.Factory(dict)
    steps: int = 0
    impossible: int = 0

    def sequences(self, start: Session, depth: int) -> int:
        """How many sequences of up to `depth` events from `start` were followed."""
        total, here = 0, Counter({self._number(start): 1})
        for _ in range(depth):
            there: Counter[int] = Counter()
            for number, count in here.items():
                if number not in self.known:
                    self.known[number] = Counter(self._successors(number))
                for successor, ways in self.known[number].items():
                    there[successor] += count * ways
            total += there.total()
            here = there
        return total

    def _successors(self, number: int) -> Iterator[int]:
        session = self.states[number]
        for event in self.alphabet(session):
            self.steps += 1
            try:
                plan = step(session, event, LIMITS)
            except ImpossibleEvent:
                self.impossible += 1
                yield number
                continue
            assert self.steps % SAMPLE or plan == step(session, event, LIMITS), "the same decision every time"
            after = apply_all(session, plan.records)
            check_step(session, event, plan, after)
            yield self._number(after) if plan.records else number

    def _number(self, session: Session) -> int:
        session = self.same(session)
        number = self.numbers.setdefault(session, len(self.states))
        if number == len(self.states):
            self.states.append(session)
        return number


def test_every_kind_of_state_is_a_start() -> None:
    kinds = {type(start().session.state) for start in STARTS}
    assert kinds == {Idle, Thinking, AwaitingTool, Stopping, Consolidating}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("alphabet", "forget", "depth"),
    [(everything, same, 2), (the_turn, same_turn, 5 if DEEP else 4), (beside_the_turn, same, 4)],
)
def test_every_short_sequence_keeps_the_rules(
    alphabet: Callable[[Session], Iterator[ev.Event]],
    forget: Callable[[Session], Session],
    depth: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    search = Search(alphabet, forget)
    sequences = sum(search.sequences(start().session, depth) for start in STARTS)
    with capsys.disabled():
        print(f"\n{alphabet.__name__}: {sequences:,} sequences of up to {depth} events from {len(STARTS)} states: ", end="")
        print(f"{len(search.known):,} distinct states left by {search.steps:,} steps, {search.impossible:,} of them impossible")
    assert search.impossible > 0
