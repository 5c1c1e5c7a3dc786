"""Sessions with something in them, for tests that read: driven by `step`, written by the real journal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs

from nanobot.journal.journal import Journal, Journals
from nanobot.journal.segment import NOW
from nanobot.messages import Call, CallId, CallState, Effect, MessageId, OutboundId, Principal, Reply, Said, Usage
from nanobot.session import events as ev
from nanobot.session.codec import encode, encode_session
from nanobot.session.effects import CutJournal
from nanobot.session.fold import apply_all
from nanobot.session.machine import step
from nanobot.session.state import Idle, Session
from nanobot.wire import Json

KEY = "cli:default:direct"
ME = str(Principal("cli", "default", "direct", "me"))


@attrs.define
class Talk:
    """A session that is written as it goes. Every answer counts as delivered at once unless `silent`."""

    journal: Journal
    session: Session
    at: float = 1_790_000_000.0
    messages: int = 0

    def tell(self, event: ev.Event) -> None:
        plan = step(self.session, event)
        self.session = apply_all(self.session, plan.records)
        if plan.records:
            self.at += 1.0
            self.journal.append(encode(plan.records), owes=self.owes, at=self.at, snapshot_after=self.snapshot)
        if any(isinstance(effect, CutJournal) for effect in plan.effects):
            self.cut()

    def cut(self) -> None:
        self.journal.cut(self.snapshot(), owes=self.owes, at=self.at)

    def snapshot(self) -> Json:
        return encode_session(self.session)

    @property
    def owes(self) -> str | None:
        return None if isinstance(self.session.state, Idle) and not self.session.outbox else NOW

    def ask(self, text: str) -> None:
        self.messages += 1
        self.tell(ev.Received(Said(MessageId(f"m{self.messages}"), text, self.at, ME)))

    def answer(self, text: str, *calls: Call) -> None:
        turn = self.session.turn
        assert turn is not None
        self.tell(ev.ModelAnswered(turn.number, turn.step, self.at, Reply(text, calls, usage=Usage(10, 2))))

    def call_ends(self, call: str, result: str) -> None:
        turn = self.session.turn
        assert turn is not None
        self.tell(ev.CallEnded(turn.number, CallId(call), self.at, CallState.DONE, result))

    def delivered(self) -> None:
        for pending in self.session.outbox:
            self.tell(ev.PartDelivered(OutboundId(pending.outbound.id), 0, self.at))

    def exchange(self, question: str, answer: str) -> None:
        self.ask(question)
        self.answer(answer)
        self.delivered()

    def command(self, command: ev.Command) -> None:
        self.messages += 1
        self.tell(ev.Commanded(MessageId(f"c{self.messages}"), ME, self.at, command, owner=True))
        self.delivered()

    def sleep(self) -> None:
        self.journal.sleep(owes=self.owes, at=self.at)


def listing(call: str = "call1") -> Call:
    return Call(CallId(call), "list_dir", '{"path": "."}', Effect.READS)


def journals_in(home: Path) -> Journals:
    """The journals of the instance whose home folder is `home`."""
    made = Journals(str(home / ".nanobot" / "journals"))
    made.prepare()
    return made


def talk(journals: Journals, key: str = KEY) -> Talk:
    """A new session, open until its journal is closed."""
    journal, _ = journals.open(key)
    return Talk(journal, Session(key))


def written(journals: Journals, key: str, tell: Callable[[Talk], None]) -> None:
    """A session in which `tell` happened, put to sleep and closed."""
    one = talk(journals, key)
    tell(one)
    one.sleep()
    one.journal.close()
