"""Short ways to write events, a driver that books what they decide, and Hypothesis strategies for arbitrary values."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import NewType, TypeVar, get_args, get_origin, get_type_hints

import attrs
from hypothesis import strategies as st

from nanobot.messages import Button, Call, CallId, CallState, Effect, ErrandId, MessageId, Origin, Reply, Said, TurnNumber
from nanobot.session import effects as ef
from nanobot.session import events as ev
from nanobot.session import records as r
from nanobot.session.fold import apply
from nanobot.session.machine import DEFAULT_LIMITS, step
from nanobot.session.plan import Limits, Plan
from nanobot.session.state import Errand, ErrandKind, SeenIds, Session, Thinking
from tests.session.rules import check_step

T = TypeVar("T")

ANN = "test:default:room:ann"
BOB = "test:default:room:bob"
AT = 1_000_000.0
"""Seconds since the epoch: when everything happens, unless a test says otherwise."""


# --- events in few words


def said(message_id: str, by: str = ANN, text: str = "hello", origin: Origin = Origin.DIRECT) -> ev.Received:
    return ev.Received(Said(MessageId(message_id), text, AT, by, origin=origin))


def commanded(message_id: str, command: ev.Command, by: str = ANN, *, owner: bool = True) -> ev.Commanded:
    return ev.Commanded(MessageId(message_id), by, AT, command, owner)


def call(call_id: str, name: str = "shell", effect: Effect = Effect.WRITES, arguments: str | None = None) -> Call:
    return Call(CallId(call_id), name, f'{{"of": "{call_id}"}}' if arguments is None else arguments, effect)


def speaks(call_id: str) -> Call:
    return call(call_id, "message", Effect.RECORDS)


def reads(call_id: str) -> Call:
    return call(call_id, "read_file", Effect.READS)


def approval(errand_id: str, expires_at: float | None = AT + 3600.0) -> Errand:
    asked_by, call_id = MessageId("m1"), CallId("c1")
    return Errand(ErrandId(errand_id), ErrandKind.APPROVAL, "rm -r old", ANN, asked_by, call_id, "shell", "{}", expires_at)


def background(errand_id: str, *, started: bool = False) -> Errand:
    asked_by, call_id = MessageId("m1"), CallId("c1")
    return Errand(ErrandId(errand_id), ErrandKind.BACKGROUND, "look it up", ANN, asked_by, call_id, "spawn", started=started)


def asking(turn: TurnNumber, number_of_step: int, at: float, errand_id: ErrandId, call_id: str) -> ev.ModelAnswered:
    """An answer with a call that waits for the owner's word."""
    waits = attrs.evolve(call(call_id), state=CallState.DEFERRED, result="It waits.", approval=errand_id)
    errand = attrs.evolve(approval(errand_id, at + 3600.0), call=waits.id)
    question = ev.Asked(errand, "May I?", (Button("Yes", f"/approve {errand_id}"),))
    return ev.ModelAnswered(turn, number_of_step, at, Reply("", (waits,)), asks=(question,))


# --- the driver


@attrs.define
class Driver:
    """A session with its whole journal. Every step is checked against the rules."""

    session: Session = Session("test:default:room")
    limits: Limits = DEFAULT_LIMITS
    journal: list[r.Record] = attrs.Factory(list)
    effects: list[ef.Effect] = attrs.Factory(list)
    """All that were asked for, in order."""
    last: Plan = Plan()

    def tell(self, *events: ev.Event) -> Plan:
        """What the last of `events` decided."""
        for event in events:
            before = self.session
            self.last = step(before, event, self.limits)
            for record in self.last.records:
                self.session = apply(self.session, record)
            check_step(before, event, self.last, self.session)
            self.journal += self.last.records
            self.effects += self.last.effects
        return self.last

    # what the model, the tools and the network report about what is under way now

    def answer(self, text: str = "", *calls: Call, nameless: int = 0, length: bool = False) -> Plan:
        number, step_number = self._now()
        assert isinstance(self.session.state, Thinking)
        return self.tell(ev.ModelAnswered(number, step_number, AT, Reply(text, calls), nameless, length))

    def fail(self, kind: str = "server", text: str = "It failed.") -> Plan:
        number, step_number = self._now()
        return self.tell(ev.ModelFailed(number, step_number, AT, kind, text))

    def full(self, keep_from: int, *, refused: bool = False, consolidate: bool = False) -> Plan:
        number, step_number = self._now()
        return self.tell(ev.ContextFull(number, step_number, AT, keep_from, refused, consolidate))

    def end(self, call_id: str, state: CallState = CallState.DONE, result: str = "done", errand: Errand | None = None) -> Plan:
        return self.tell(ev.CallEnded(self._now()[0], CallId(call_id), AT, state, result, errand=errand))

    def message(self, call_id: str, text: str = "by the way", to: str = "") -> Plan:
        """A call of `message` asks for it."""
        return self.tell(ev.MessageAsked(self._now()[0], CallId(call_id), AT, text, to=to))

    def emptied(self) -> Plan:
        return self.tell(ev.TurnEmptied(self._now()[0], AT))

    def delivered(self) -> Plan:
        head = self.session.outbox[0]
        return self.tell(ev.PartDelivered(head.outbound.id, head.delivered, AT))

    def refused(self) -> Plan:
        head = self.session.outbox[0]
        return self.tell(ev.SendRefused(head.outbound.id, head.delivered, AT, "no such chat"))

    def crash(self, *, resume: bool = True) -> Plan:
        return self.tell(ev.Opened(AT, crashed=True, resume=resume))

    def _now(self) -> tuple[TurnNumber, int]:
        assert self.session.turn is not None
        return self.session.turn.number, self.session.turn.step

    # what came of it

    @property
    def texts(self) -> list[str]:
        """Everything that was ever promised to the chat."""
        return [record.outbound.text for record in self.journal if isinstance(record, r.Queued)]

    def records(self, kind: type[T]) -> list[T]:
        return [record for record in self.journal if isinstance(record, kind)]

    def ran(self) -> list[str]:
        """Calls in the order in which they were to run."""
        return [one for effect in self.effects if isinstance(effect, ef.RunCalls) for one in effect.calls]


def drive(*events: ev.Event) -> Driver:
    driver = Driver()
    driver.tell(*events)
    return driver


# --- values of any type that a journal holds


def values(kind: object) -> st.SearchStrategy[object]:
    """Any value of a type as annotations write it: attrs classes, their unions, tuples, enums, plain values."""
    plain: dict[object, st.SearchStrategy[object]] = {
        str: st.text(max_size=8),
        int: st.integers(),
        float: st.floats(allow_nan=False, allow_infinity=False),
        bool: st.booleans(),
        type(None): st.none(),
        SeenIds: st.lists(st.tuples(st.text(max_size=3), st.floats(0, 1e9)), max_size=3).map(seen_ids),
    }
    if kind in plain:
        return plain[kind]
    if isinstance(kind, NewType):
        return values(kind.__supertype__)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return st.sampled_from(kind)
    if get_origin(kind) is tuple:
        return st.lists(st.deferred(lambda: values(get_args(kind)[0])), max_size=2).map(tuple)
    if isinstance(kind, type) and attrs.has(kind):
        return st.builds(kind, **{name: values(hint) for name, hint in fields_of(kind).items()})
    return st.one_of(*(st.deferred(lambda each=each: values(each)) for each in get_args(kind)))  # type: ignore[misc]


def seen_ids(rows: Iterable[tuple[str, float]]) -> SeenIds:
    return SeenIds((MessageId(one), at) for one, at in rows)


def fields_of(cls: type) -> dict[str, object]:
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in attrs.fields(cls)}
