"""Conversations as they are on disk: journals written by the real writer, an exchange in a few words."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import attrs

from nanobot.archive.tombstone import tombstone
from nanobot.journal.journal import Journal, Journals
from nanobot.messages import Call, CallId, CallState, MessageId, Reply, Said, TurnEnd
from nanobot.session import records as r
from nanobot.session.codec import decode, decode_session, encode, encode_session
from nanobot.session.fold import apply_all
from nanobot.session.state import Session

AT = 1_700_000_000.0
"""Seconds since the epoch: 2023-11-14. Each exchange is a minute after the one before."""
_ids = count(1)


@attrs.define
class Chat:
    """An open session, and its journal."""

    session: Session
    _journal: Journal
    at: float = AT

    def exchange(
        self, text: str, answer: str = "", *calls: Call, who: str = "", tainted: bool = False, strange: bool = False
    ) -> int:
        """Somebody says something and is answered; its ordinal. tainted: what they say. strange: what is answered."""
        number, who = self.session.next_turn, who or f"{self.session.key}:me"
        said = Said(MessageId(f"m{next(_ids)}"), text, self.at, who, tainted=tainted)
        replies = [Reply("", calls)] if calls else []
        answers = [r.Answered(number, reply) for reply in (*replies, Reply(answer, tainted=strange))]
        begun = r.TurnStarted(number, who, (said.id,), self.at)
        self.write(r.Accepted(said), begun, *answers, r.TurnEnded(number, TurnEnd.ANSWERED, self.at))
        self.at += 60
        return self.session.end - 1

    def undo(self) -> None:
        self.write(r.Undone(self.session.exchanges[-1].turn))

    def new(self) -> None:
        self.write(r.Cleared(self.at))
        self.cut()

    def write(self, *records: r.Record) -> None:
        self.session = apply_all(self.session, records)
        self._journal.append(encode(records), owes=None, at=self.at, snapshot_after=lambda: encode_session(self.session))

    def write_ghost(self, *records: r.Record) -> None:
        """A line that is seen on disk, but was never believed: its fsync failed. What comes next has to be a cut."""
        before = self.session
        self.write(*records)
        self.session = before

    def cut(self) -> None:
        self._journal.cut(encode_session(self.session), owes=None, at=self.at)

    def delete(self) -> None:
        self.session = tombstone(self.session, self.at)
        self._journal.cut(encode_session(self.session), owes=None, at=self.at, forget=True)

    def close(self) -> None:
        self._journal.close()


def result(name: str, text: str, *, tainted: bool = False, arguments: str = "{}") -> Call:
    """A call that was done."""
    return Call(CallId(f"c{next(_ids)}"), name, arguments, state=CallState.DONE, result=text, tainted=tainted)


def begun(root: Path, key: str) -> Chat:
    """The session, made if it is missing, under its lock until it is closed."""
    journal, loaded = Journals(str(root)).open(key)
    before = Session(key) if loaded.snapshot is None else decode_session(loaded.snapshot)
    chat = Chat(apply_all(before, decode(loaded.records)), journal)
    if journal.must_cut:
        chat.cut()
    return chat
