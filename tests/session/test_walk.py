"""Random walks of machine and journal together, over a disk that fails and is unplugged; each run is one seed.

The walk is an actor in a few lines: an event is decided, written, and only then adopted, acknowledged and acted on. The
process dies at any operation of the disk. Then either the next process finds the page cache, or the power was cut and it
finds one of the disks that could be left. The network delivers again what was not acknowledged, and sometimes what was.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable

import attrs
import pytest

from nanobot.errors import JournalError, JournalUnwritable
from nanobot.journal.journal import Journal, Journals, Loaded
from nanobot.messages import CallId, CallState, Effect, Entry, MessageId, OutboundId, Reply, Said
from nanobot.session import effects as ef
from nanobot.session import events as ev
from nanobot.session.codec import decode, decode_session, encode, encode_session
from nanobot.session.effects import CutJournal
from nanobot.session.fold import apply_all
from nanobot.session.machine import step
from nanobot.session.plan import Plan
from nanobot.session.requests import request_of
from nanobot.session.state import Idle, Session
from nanobot.wire import Json
from tests.fakes.disk import Call, Killed, MemoryDisk
from tests.session.rules import Work, begun_by, check_step, ended_by, under_way
from tests.session.strategies import ANN, AT, BOB, call, reads, speaks

ROOT = "/data/journals"
KEY = "test:default:room"
RUNS = 1000
STEPS = 40
WRITING = ("write", "fsync", "truncate", "rename", "create_file")


@attrs.define
class Walk:
    """One session, one disk, and what the world outside has seen of them."""

    dice: random.Random
    disk: MemoryDisk = attrs.Factory(MemoryDisk)
    journal: Journal | None = None
    session: Session = Session(KEY)
    pending: Session | None = None
    """What the session will be when the line that is being written is on disk."""
    work: list[Work] = attrs.Factory(list)
    sent: list[ev.Received | ev.Commanded] = attrs.Factory(list)
    """All that the network has; what is not acknowledged comes again."""
    acknowledged: set[MessageId] = attrs.Factory(set)
    ran: list[CallId] = attrs.Factory(list)
    """Calls with effects, each time they began."""
    asked: set[MessageId] = attrs.Factory(set)
    """Requests of calls of `message` that were taken, acknowledged."""
    sends: dict[str, set[OutboundId]] = attrs.Factory(dict)
    """Under which ids each message that was asked for was sent."""
    deaths: int = 0
    countdown: int = 0
    """Operations of the disk until the process dies; 0: it does not."""
    calm: bool = False

    # --- the process

    def open(self) -> None:
        self.work.clear()
        self.journal, loaded = self._opened()
        self._adopt(loaded)
        self._check_memory()
        while self.journal.must_cut and not loaded.created and not self._cut():
            pass
        self.tell(ev.Opened(AT, crashed=not loaded.slept and not loaded.created, keyed=True))

    def _opened(self) -> tuple[Journal, Loaded]:
        journals = Journals(ROOT, self.disk)
        while True:
            try:
                journals.prepare()
                return journals.open(KEY)
            except JournalError:
                continue

    def _adopt(self, loaded: Loaded) -> None:
        assert loaded.damaged is None
        snapshot = Session(KEY) if loaded.snapshot is None else decode_session(loaded.snapshot)
        folded = apply_all(snapshot, decode(loaded.records))
        assert folded in (self.session, self.pending), "the journal folds to the state before or after its last line"
        self.session, self.pending = folded, None

    def tell(self, event: ev.Event) -> None:
        plan = step(self.session, event)
        after = apply_all(self.session, plan.records)
        check_step(self.session, event, plan, after)
        if plan.records:
            self._write(plan, after)
        self.session, self.pending = after, None
        if isinstance(event, ev.Received):
            self.acknowledged.add(event.said.id)
        if isinstance(event, ev.Commanded):
            self.acknowledged.add(event.id)
        self.work = [work for work in self.work if work not in ended_by(event)]
        for effect in plan.effects:
            self._begin(effect)
        if CutJournal() in plan.effects or self.dice.random() < 0.03:
            self._cut()

    def _write(self, plan: Plan, after: Session) -> None:
        assert self.journal is not None
        self.pending = after
        rows = encode(plan.records)
        while True:
            try:
                self.journal.append(rows, owes="now", at=AT, snapshot_after=lambda: encode_session(after))
            except JournalUnwritable:
                continue
            return

    def _cut(self) -> bool:
        assert self.journal is not None
        try:
            self.journal.cut(self._snapshot(), owes="now", at=AT)
        except JournalUnwritable:
            return False
        return True

    def _snapshot(self) -> Json:
        return encode_session(self.session)

    def _begin(self, effect: ef.Effect) -> None:
        if isinstance(effect, ef.RunCalls) and self.session.turn:
            with_effects = {c.id for c in self.session.turn.reply.calls if c.effect is Effect.WRITES}
            self.ran += [one for one in effect.calls if one in with_effects]
        if isinstance(effect, ef.Send):
            out = self.session.outbox[0].outbound
            self.sends.setdefault(out.request or out.id, set()).add(out.id)
        if isinstance(effect, ef.CancelErrand):
            self.work = [work for work in self.work if work != Work("errand", of=effect.id)]
        if isinstance(effect, ef.CancelConsolidation):
            self.work = [work for work in self.work if work.kind != "memory"]
        self.work += [work for work in begun_by(effect) if work not in self.work]

    def die(self) -> None:
        """The process is gone, and perhaps the power."""
        self.deaths += 1
        self.countdown = 0
        self.journal = None
        self.disk.kill()
        if self.dice.random() < 0.5:
            self.disk = self.dice.choice(list(self.disk.images()))
            self.plug()

    def plug(self) -> None:
        self.disk.before, self.disk.fail = self._maybe_die, self._maybe_fail

    def _maybe_die(self, operation: Call) -> None:
        self.countdown -= self.countdown > 0 and operation.what in WRITING
        if self.countdown == 1:
            raise Killed

    def _maybe_fail(self, operation: Call) -> int | None:
        failing = not self.calm and operation.what in ("write", "fsync") and self.dice.random() < 0.05
        return self.dice.choice([errno.EIO, errno.ENOSPC]) if failing else None

    # --- the world

    def anything(self) -> None:
        if self.dice.random() < 0.1:
            self.countdown = self.dice.randint(2, 12)
        what = self.dice.random()
        if what < 0.2:
            self._somebody_speaks()
        elif what < 0.3 and self.sent:
            self.tell(self.dice.choice(self.sent))
        elif what < 0.34:
            self._sleep()
        elif self.work:
            self._end(self.dice.choice(self.work))
        else:
            self.tell(ev.ConsolidationDue(AT, self.session.end))

    def _somebody_speaks(self) -> None:
        message_id, by = MessageId(f"m{len(self.sent)}"), self.dice.choice([ANN, BOB])
        stops = self.dice.random() < 0.2
        event: ev.Received | ev.Commanded = ev.Received(Said(message_id, "hello", AT, by))
        self.sent.append(ev.Commanded(message_id, by, AT, ev.Stop()) if stops else event)
        self.tell(self.sent[-1])

    def _sleep(self) -> None:
        """A drain, and the farewell if nothing runs any more."""
        assert self.journal is not None
        self.tell(ev.DrainAsked(AT))
        for emptying in [work for work in self.work if work.kind == "empty"]:
            self._end(emptying)
        try:
            self.journal.sleep(owes="now", at=AT)
        except JournalUnwritable:
            pass
        self.journal.close()
        self.journal = None
        self.open()

    def _end(self, work: Work) -> None:
        match work:
            case Work("model", turn, number):
                self.tell(ev.ModelAnswered(turn, number, AT, self._reply()))
            case Work("call", turn, of=one) if one.endswith("m") and self.dice.random() < 0.7:
                assert self.session.turn is not None
                request = request_of(self.session, self.session.turn, CallId(one))
                self.tell(ev.MessageAsked(turn, CallId(one), AT, "Done."))
                self.asked |= {request} if request in self.session.seen else set()
            case Work("call", turn, of=one):
                self.tell(ev.CallEnded(turn, CallId(one), AT, CallState.DONE, "done"))
            case Work("empty", turn):
                self.work = [each for each in self.work if each.turn != turn]
                self.tell(ev.TurnEmptied(turn, AT))
            case Work("send", number=part, of=out):
                self.tell(ev.PartDelivered(OutboundId(out), part, AT))
            case _:
                self.tell(ev.ConsolidationFailed(AT, "no answer"))

    def _reply(self) -> Reply:
        if self.calm or self.dice.random() < 0.5:
            return Reply("Done.")
        name = f"{len(self.ran)}-{self.deaths}-{self.dice.random()}"
        return Reply("", self.dice.choice([(call(name),), (speaks(name + "m"), call(name)), (reads(name), call(name + "b"))]))

    # --- what holds

    def _check_memory(self) -> None:
        ids = [said.id for said in self.session.inbox] + [entry.id for entry in self._entries() if isinstance(entry, Said)]
        assert len(ids) == len(set(ids)), "a message joined twice"
        assert all(one in self.session.seen for one in self.acknowledged), "something acknowledged is lost"
        spoken = {event.said.id for event in self.sent if isinstance(event, ev.Received)}
        assert self.acknowledged & spoken <= set(ids), "something acknowledged is lost"
        assert len(self.ran) == len(set(self.ran)), "a call with effects ran twice"
        assert all(one in self.session.seen for one in self.asked), "a message that was taken is lost"
        assert all(len(ids) == 1 for ids in self.sends.values()), "a message was queued twice"

    def _entries(self) -> list[Entry]:
        turns = [exchange.entries for exchange in self.session.exchanges]
        turns += [self.session.turn.entries] if self.session.turn else []
        return [entry for entries in turns for entry in entries]

    def run(self) -> None:
        self.plug()
        for _ in range(STEPS):
            self._survive(self.anything)
        self.calm, self.countdown = True, 0
        for event in self.sent:
            self._survive(lambda event=event: self.tell(event))  # type: ignore[misc]
        for _ in range(20 * STEPS):
            if self.work:
                self._survive(lambda: self._end(self.work[0]))
        assert isinstance(self.session.state, Idle)
        assert not self.session.inbox
        assert not self.session.outbox
        assert not under_way(self.session)
        self._check_memory()
        assert len(self.acknowledged) == len(self.sent)

    def _survive(self, act: Callable[[], None]) -> None:
        """`act`, with as many new processes as it takes to begin."""
        try:
            if self.journal is None:
                self.open()
            act()
        except Killed:
            self.die()


@pytest.mark.slow
def test_nothing_is_lost_and_nothing_is_twice(capsys: pytest.CaptureFixture[str]) -> None:
    deaths = operations = 0
    for seed in range(RUNS):
        walk = Walk(random.Random(seed))
        try:
            walk.run()
        except Exception as exc:
            raise AssertionError(f"seed {seed}") from exc
        deaths += walk.deaths
        operations += len(walk.sent)
    with capsys.disabled():
        print(f"\n{RUNS:,} walks, {operations:,} messages, {deaths:,} deaths of the process")
    assert deaths > RUNS
