"""A terminal as a session sees it: what it is told, what it shows, what it has printed. No I/O: that is the feed's."""

from __future__ import annotations

from typing import Protocol

import attrs

from nanobot.config.redaction import clean
from nanobot.control import answers
from nanobot.control.feed import Feed
from nanobot.messages import MessageId, Outbound, OutboundId
from nanobot.session import records as r
from nanobot.session.ports import Adopted, Progress, Waiting
from nanobot.session.state import Idle, Pending, Session


class Seat(Protocol):
    key: str
    feed: Feed
    printed: dict[OutboundId, bool | None]
    """Of what it was offered and is not settled: whether it is on the terminal, None while that is not known."""
    error: str
    """Why the last one is not."""

    @property
    def waits(self) -> bool:
        """Whether somebody waits for something of the session."""
        ...

    def shows(self, reply: Outbound) -> bool:
        """Whether this reply is for it."""
        ...

    def watch(self, progress: Progress, *, ours: bool) -> None:
        """`ours`: replies of this session come by `offer`, else there is nothing but the records."""
        ...

    def offer(self, session: Session, pending: Pending, part: int) -> None:
        """Have it printed."""
        ...

    def says(self, message: MessageId) -> None:
        """It says this now."""
        ...


@attrs.define(eq=False)
class Screen:
    """An interactive chat: it is told everything, and folds the session itself."""

    key: str
    session: Session
    feed: Feed = attrs.field(factory=Feed)
    printed: dict[OutboundId, bool | None] = attrs.field(factory=dict)
    error: str = ""

    @property
    def waits(self) -> bool:
        return not isinstance(self.session.state, Idle)

    def shows(self, reply: Outbound) -> bool:
        return True

    def watch(self, progress: Progress, *, ours: bool) -> None:
        if isinstance(progress, Adopted):
            self.session = progress.session
        self.feed.put(progress)

    def offer(self, session: Session, pending: Pending, part: int) -> None:
        self.feed.put({"type": "send", "id": pending.outbound.id, "part": part})

    def says(self, message: MessageId) -> None:
        pass


@attrs.define(eq=False)
class Asker:
    """A chat of one message: it is told what it prints, and knows no session."""

    key: str
    asked: MessageId | None = None
    said: tuple[Outbound, ...] = ()
    """What the tool `message` has said to it in mid-turn."""
    answered: bool = False
    feed: Feed = attrs.field(factory=Feed)
    printed: dict[OutboundId, bool | None] = attrs.field(factory=dict)
    error: str = ""

    @property
    def waits(self) -> bool:
        return self.asked is not None and not self.answered

    def shows(self, reply: Outbound) -> bool:
        return answers.answers(reply, self.asked)

    def watch(self, progress: Progress, *, ours: bool) -> None:
        match progress:
            case Waiting(what, until):
                self.feed.put({"type": "waiting", "what": clean(what), "until": until})
            case Adopted(records, session):
                for record in records:
                    self._book(record, session, ours=ours)
                last = answers.last_said(session, self.said, self.asked)
                if last is not None and not self.answered:
                    self._answer(session, last)
            case _:  # it shows the end, not the way
                pass

    def offer(self, session: Session, pending: Pending, part: int) -> None:
        self._tell(session, pending.outbound)

    def says(self, message: MessageId) -> None:
        """The first is what it asks; others are commands about it."""
        self.asked = self.asked or message

    def _book(self, record: r.Record, session: Session, *, ours: bool) -> None:
        match record:
            case r.Restarted() if session.turn is not None:
                self.feed.put({"type": "resuming"})
            case r.Suspended():
                self.feed.put({"type": "put_aside"})
            case r.Queued(reply) if not ours and self.shows(reply):
                self._tell(session, reply)
            case _:  # nothing that is printed
                pass

    def _tell(self, session: Session, reply: Outbound) -> None:
        if not self.shows(reply):
            self._tell_aside("earlier" if reply.reply_to else "meanwhile", reply)
        elif reply.request:
            self.said += (reply,)
            self._tell_aside("meanwhile", reply)
        else:
            self._answer(session, reply)

    def _tell_aside(self, how: str, reply: Outbound) -> None:
        self.feed.put({"type": how, "id": reply.id, "text": clean(answers.with_files(reply))})

    def _answer(self, session: Session, reply: Outbound) -> None:
        """Without an id what was shown before: that it is printed was said then."""
        self.answered = True
        id_ = "" if reply in self.said else reply.id
        self.feed.put({"type": "answer", "id": id_, **answers.told(session, reply, self.asked)})
