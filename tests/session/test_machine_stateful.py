"""A session is driven by chance: effects are answered in any order, people speak at any time, and the process dies at any time.

What is under way is kept as the actor keeps it, from the effects alone. After every run nobody says anything any more, every
effect is answered, and the session must come to rest with every message answered and everything sent.
"""

from __future__ import annotations

import json
from collections import Counter

import attrs
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nanobot.messages import CallId, CallState, Effect, ErrandId, MessageId, Origin, OutboundId, Reply, Said, TurnNumber
from nanobot.session import effects as ef
from nanobot.session import events as ev
from nanobot.session import records as r
from nanobot.session.codec import decode, decode_session, encode, encode_session
from nanobot.session.fold import apply_all
from nanobot.session.machine import step
from nanobot.session.plan import Limits, Plan
from nanobot.session.state import Errand, ErrandKind, Idle, Owed, Session, StopReason
from tests.session.rules import Work, answered, begun_by, check_step, ended_by, memories, under_way
from tests.session.strategies import ANN, AT, BOB, asking, call, reads, speaks

LIMITS = Limits(iterations=6)
people = st.sampled_from([ANN, BOB])
COMMANDS: tuple[ev.Command, ...] = (
    ev.Stop(),
    ev.Stop(),
    ev.New(),
    ev.Undo(),
    ev.Retry(),
    ev.Retry(confirmed=True),
    ev.ChooseModel("fast"),
    ev.Ask("/status"),
    ev.Tell("help"),
)


class Life(RuleBasedStateMachine):
    """One session from its birth."""

    def __init__(self) -> None:
        super().__init__()
        self.session = Session("test:default:room")
        self.snapshot = encode_session(self.session)
        self.since: list[r.Record] = []
        """Records behind the snapshot."""
        self.work: list[Work] = []
        """What is under way, oldest first."""
        self.now = AT
        self.counter = 0
        self.told: list[ev.Received | ev.Commanded] = []
        self.joined: list[MessageId] = []
        self.owed_an_answer: set[MessageId] = set()
        self.ran: list[tuple[TurnNumber, int, CallId]] = []
        """Calls that write, with turn and step: some services number their calls anew in each answer."""
        self.arrived: dict[OutboundId, int] = {}
        """Parts shown of each message."""
        self.other = Session("test:default:other")
        """To whom it owes."""
        self.resting: set[Work] = set()
        """What goes to memory, after a start without leave to resume: the next start does it."""
        self.requests: Counter[str] = Counter()
        """How often each was queued, here or there."""

    # --- the driver

    def tell(self, event: ev.Event) -> Plan:
        before = self.session
        plan = step(before, event, LIMITS)
        assert plan == step(before, event, LIMITS)
        self.session = apply_all(before, plan.records)
        check_step(before, event, plan, self.session)
        self.since += plan.records
        self.work = [work for work in self.work if work not in ended_by(event)]
        if isinstance(event, ev.Opened):
            self.resting = set() if event.resume else memories(self.session)
        for effect in plan.effects:
            self._begin(effect)
        self._remember(event, plan)
        return plan

    def _begin(self, effect: ef.Effect) -> None:
        match effect:
            case ef.CancelErrand(errand):
                self.work = [work for work in self.work if work != Work("errand", of=errand)]
            case ef.CancelConsolidation():
                self.work = [work for work in self.work if work.kind != "memory"]
            case ef.RunCalls(turn, calls):
                assert self.session.turn is not None
                writes = {c.id for c in self.session.turn.reply.calls if c.effect is Effect.WRITES}
                self.ran += [(turn, self.session.turn.step, one) for one in calls if one in writes]
                self.work += [Work("call", turn, of=one) for one in calls]
            case _:
                self.work += [work for work in begun_by(effect) if work not in self.work]

    def _remember(self, event: ev.Event, plan: Plan) -> None:
        for record in plan.records:
            match record:
                case r.Accepted(said):
                    self.owed_an_answer.add(said.id)
                case r.TurnStarted(inputs=ids) | r.Joined(inputs=ids) | r.StopAsked(settled=ids):
                    self.joined += ids
                case r.Queued(outbound) if outbound.request:
                    self.requests[outbound.request] += 1
                case _:
                    pass
        self.owed_an_answer -= answered(plan.records)

    def fresh(self) -> MessageId:
        self.counter += 1
        return MessageId(f"m{self.counter}")

    def pick(self, data: st.DataObject, *kinds: str) -> Work:
        return data.draw(st.sampled_from([work for work in self.work if work.kind in kinds]))

    def any_of(self, *kinds: str) -> bool:
        return any(work.kind in kinds for work in self.work)

    # --- people

    @rule(by=people)
    def says(self, by: str) -> None:
        event = ev.Received(Said(self.fresh(), "hello", self.now, by))
        self.told.append(event)
        self.tell(event)

    @rule(by=people)
    def is_due(self, by: str) -> None:
        event = ev.Received(Said(self.fresh(), "do it", self.now, by, origin=Origin.JOB))
        self.told.append(event)
        self.tell(event)

    @rule(by=people, command=st.sampled_from(COMMANDS))
    def orders(self, by: str, command: ev.Command) -> None:
        event = ev.Commanded(self.fresh(), by, self.now, command, owner=by == ANN)
        self.told.append(event)
        self.tell(event)

    @precondition(lambda self: self.told)
    @rule(data=st.data())
    def network_delivers_again(self, data: st.DataObject) -> None:
        assert self.tell(data.draw(st.sampled_from(self.told))).records == ()

    @precondition(lambda self: self.session.errands)
    @rule(data=st.data(), yes=st.booleans(), owner=st.booleans())
    def answers_for_a_call(self, data: st.DataObject, yes: bool, owner: bool) -> None:
        errand = data.draw(st.sampled_from([e.id for e in self.session.errands]))
        command = ev.Approve(errand) if yes else ev.Deny(errand)
        self.tell(ev.Commanded(self.fresh(), ANN if owner else BOB, self.now, command, owner))

    # --- the model and the tools

    @precondition(lambda self: self.any_of("model"))
    @rule(
        data=st.data(),
        what=st.sampled_from(["write", "write", "several", "message", "message", "text", "empty", "nameless", "length"]),
    )
    def model_answers(self, data: st.DataObject, what: str) -> None:
        asked = self.pick(data, "model")
        calls = {
            "write": (call(f"c{self.counter}"),),
            "several": (reads("r1"), reads("r2"), call("w1", arguments=str(self.counter)), call("w2")),
            "message": (attrs.evolve(speaks("s1"), arguments=str(self.counter)), call("w1", arguments=str(self.counter))),
        }
        text = {"text": "Done.", "length": "Half"}.get(what, "")
        reply = Reply(text, calls.get(what, ()))
        self.tell(ev.ModelAnswered(asked.turn, asked.number, self.now, reply, int(what == "nameless"), what == "length"))

    @precondition(lambda self: self.any_of("model"))
    @rule(data=st.data())
    def model_wants_what_the_owner_must_allow(self, data: st.DataObject) -> None:
        asked = self.pick(data, "model")
        self.tell(asking(asked.turn, asked.number, self.now, ErrandId(f"a{self.fresh()}"), f"a{self.counter}"))

    @precondition(lambda self: self.any_of("model"))
    @rule(data=st.data(), what=st.sampled_from(["server", "bad_request", "full", "refused", "memory"]))
    def model_fails(self, data: st.DataObject, what: str) -> None:
        asked = self.pick(data, "model")
        if what in ("server", "bad_request"):
            self.tell(ev.ModelFailed(asked.turn, asked.number, self.now, what, "It failed."))
        else:
            end, refused, memory = self.session.end, what == "refused", what == "memory"
            self.tell(ev.ContextFull(asked.turn, asked.number, self.now, end, refused, memory))

    @precondition(lambda self: self.work)
    @rule(data=st.data())
    def something_ends_as_it_should(self, data: st.DataObject) -> None:
        self._end(data.draw(st.sampled_from(self.work)))

    @precondition(lambda self: self.any_of("call"))
    @rule(data=st.data(), what=st.sampled_from(["done", "done", "failed", "approval", "background", "promise"]))
    def call_ends(self, data: st.DataObject, what: str) -> None:
        running = self.pick(data, "call")
        call_id = CallId(running.of)
        errand, promises, state = None, tuple[Owed, ...](), CallState.FAILED if what == "failed" else CallState.DONE
        if what in ("approval", "background"):
            state, kind, errand_id = CallState.DEFERRED, ErrandKind(what), ErrandId(f"{what}{self.fresh()}")
            errand = Errand(errand_id, kind, "rm old", ANN, MessageId("m1"), call_id, expires_at=self.now + 500.0)
        if what == "promise":
            promises = (Owed(f"p{self.fresh()}", self.other.key, "hello", self.now),)
        self.tell(ev.CallEnded(running.turn, call_id, self.now, state, what, errand=errand, promises=promises))

    @precondition(lambda self: any(work.of == "s1" for work in self.work))
    @rule(text=st.sampled_from(["Done.", "by the way"]), elsewhere=st.booleans())
    def call_says_something(self, text: str, elsewhere: bool) -> None:
        turn = next(work.turn for work in self.work if work.of == "s1")
        self.tell(ev.MessageAsked(turn, CallId("s1"), self.now, text, to=self.other.key if elsewhere else ""))

    @precondition(lambda self: self.any_of("empty"))
    @rule(data=st.data())
    def turn_empties(self, data: st.DataObject) -> None:
        self._empty(self.pick(data, "empty"))

    def _empty(self, emptying: Work) -> None:
        self.work = [work for work in self.work if work.kind not in ("model", "call") or work.turn != emptying.turn]
        self.tell(ev.TurnEmptied(emptying.turn, self.now))

    # --- the network

    @precondition(lambda self: self.any_of("send"))
    @rule(data=st.data(), what=st.sampled_from(["ok", "ok", "ok", "busy", "no", "unknown", "keyed", "down", "split"]))
    def network_answers(self, data: st.DataObject, what: str) -> None:
        attempt = self.pick(data, "send")
        place = (OutboundId(attempt.of), attempt.number)
        head = self.session.outbox[0]
        if what == "split" and not head.parts and attempt.number == 0:
            self.tell(ev.SplitInto(place[0], ("a", "b")))
            return
        if what in ("ok", "split"):
            assert self.arrived.get(place[0], 0) <= place[1], "no part is shown again after it was delivered"
            self.arrived[place[0]] = place[1] + 1
        ends: dict[str, ev.Event] = {
            "busy": ev.SendFailed(*place, self.now, "busy"),
            "no": ev.SendRefused(*place, self.now, "no"),
            "unknown": ev.SendUnknown(*place, self.now, "?", keyed=False),
            "keyed": ev.SendUnknown(*place, self.now, "?", keyed=True),
            "down": ev.ChannelDown(*place, self.now, "down"),
        }
        self.tell(ends.get(what, ev.PartDelivered(*place, self.now)))

    @precondition(lambda self: self.session.dead or self.session.doubled)
    @rule(data=st.data(), retry=st.booleans())
    def somebody_looks_after_a_letter(self, data: st.DataObject, retry: bool) -> None:
        listed = [letter.outbound.id for letter in self.session.dead] + [out.id for out in self.session.doubled]
        letter = data.draw(st.sampled_from(listed))
        if retry and letter not in [out.id for out in self.session.doubled]:
            self.arrived.pop(letter, None)
        self.tell(ev.LetterRetried(letter, self.now) if retry else ev.LetterDropped(letter))

    # --- what stands beside

    @rule(number=st.integers(0, 3), origin=st.booleans())
    def another_session_hands_something_over(self, number: int, origin: bool) -> None:
        self.tell(ev.Handed(f"h{number}", "hello", self.now, origin=self.other.key if origin else ""))

    @precondition(lambda self: self.any_of("pay"))
    @rule(data=st.data())
    def the_other_session_has_it(self, data: st.DataObject) -> None:
        """And the process may die before this one hears of it."""
        self._hand_over(self.pick(data, "pay"))

    def _hand_over(self, payment: Work) -> None:
        owed = next(owed for owed in self.session.owed if owed.id == payment.of)
        assert owed.to == self.other.key
        plan = step(self.other, ev.Handed(owed.id, owed.text, owed.at, owed.attachments, owed.origin))
        self.other = apply_all(self.other, plan.records)
        self.requests.update(q.outbound.request for q in plan.records if isinstance(q, r.Queued))

    @precondition(lambda self: self.any_of("memory"))
    @rule(done=st.booleans())
    def memory_ends(self, done: bool) -> None:
        self.tell(ev.Consolidated(self.now, self.session.end) if done else ev.ConsolidationFailed(self.now, "no answer"))

    # --- the process

    @precondition(lambda self: self.work or self.session.errands)
    @rule(resume=st.sampled_from([True, True, True, False]), keyed=st.booleans())
    def process_dies(self, resume: bool, keyed: bool) -> None:
        self.work.clear()
        self._fold_again()
        self.tell(ev.Opened(self.now, crashed=True, resume=resume, keyed=keyed))

    @precondition(lambda self: self.session.draining and not self.any_of("empty"))
    @rule()
    def drained_process_starts_again(self) -> None:
        self.work.clear()
        self._fold_again()
        self.tell(ev.Opened(self.now, crashed=False))

    @rule(what=st.sampled_from(["later", "much later", "due", "due", "up", "deadline", "drain", "cut"]))
    def something_happens(self, what: str) -> None:
        match what:
            case "later" | "much later":
                self.now += 10.0 if what == "later" else 100_000.0
                self.tell(ev.Woke(self.now))
            case "deadline" if self.session.turn is not None:
                why = StopReason.TOKENS if self.session.turn.scheduled else StopReason.DEADLINE
                self.tell(ev.DeadlinePassed(self.session.turn.number, self.now, why))
            case "drain":
                self.tell(ev.DrainAsked(self.now, aside=False))
                self.tell(ev.DrainAsked(self.now))
            case "due":
                self.tell(ev.ConsolidationDue(self.now, self.session.end))
            case "up":
                self.tell(ev.ChannelUp(self.now))
            case _:
                self.snapshot, self.since = encode_session(self.session), []

    def _fold_again(self) -> None:
        """The session as the journal has it."""
        snapshot, rows = json.loads(json.dumps([self.snapshot, encode(self.since)]))
        folded = apply_all(decode_session(snapshot), decode(rows))
        assert folded == self.session
        self.session = folded

    # --- what holds

    @invariant()
    def all_that_must_be_under_way_is(self) -> None:
        assert under_way(self.session) <= {*self.work, *self.resting}

    @invariant()
    def no_message_joins_twice(self) -> None:
        assert len(self.joined) == len(set(self.joined))

    @invariant()
    def nothing_that_writes_runs_twice(self) -> None:
        assert len(self.ran) == len(set(self.ran))

    @invariant()
    def what_is_asked_for_is_said_once(self) -> None:
        assert all(count == 1 for count in self.requests.values())

    def teardown(self) -> None:
        for _ in range(400):
            if self._quiet():
                break
            self._answer_something()
        assert self._quiet(), f"{self.session.state} and {self.work}"
        assert not self.session.inbox
        assert not self.session.outbox
        assert not self.owed_an_answer
        assert not self.session.owed
        self._fold_again()

    def _quiet(self) -> bool:
        still = isinstance(self.session.state, Idle) and not self.work and not self.session.draining
        return still and not self.session.outbox and not self.session.errands

    def _answer_something(self) -> None:
        if not self.work:
            if self.session.draining or any(e.kind is ErrandKind.MEMORY for e in self.session.errands):
                self.tell(ev.Opened(self.now, crashed=False))
            self.now += 100_000.0
            self.tell(ev.ChannelUp(self.now))
            self.tell(ev.Woke(self.now))
            return
        self._end(self.work[0])

    def _end(self, work: Work) -> None:
        """The plainest end that it can have."""
        match work:
            case Work("model", turn, number):
                self.tell(ev.ModelAnswered(turn, number, self.now, Reply("Done.")))
            case Work("call", turn, of=one):
                self.tell(ev.CallEnded(turn, CallId(one), self.now, CallState.DONE, "done"))
            case Work("empty"):
                self._empty(work)
            case Work("send", number=part, of=out):
                self.tell(ev.PartDelivered(OutboundId(out), part, self.now))
            case Work("errand", of=errand):
                self.tell(ev.ErrandEnded(ErrandId(errand), self.now, "found"))
            case Work("pay", of=owed):
                self._hand_over(work)
                self.tell(ev.PaidTo(owed))
            case _:
                self.tell(ev.ConsolidationFailed(self.now, "no answer"))


unhurried = [HealthCheck.too_slow, HealthCheck.filter_too_much]
Life.TestCase.settings = settings(max_examples=200, stateful_step_count=60, deadline=None, suppress_health_check=unhurried)
TestLife = Life.TestCase
