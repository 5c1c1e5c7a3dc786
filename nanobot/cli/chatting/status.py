"""The one line about what a session does, made of what it reports. Pure."""

from __future__ import annotations

from typing import assert_never

import attrs

from nanobot.cli.chatting import calls, words
from nanobot.cli.chatting.stdio import printable
from nanobot.messages import CallState
from nanobot.session.ports import Adopted, Progress, Shown, Waiting, Working
from nanobot.session.state import AwaitingTool, Consolidating, Idle, Session, Stopping, Thinking

WIDEST = 100
"""Characters."""


@attrs.define(eq=False)
class Status:
    """`watch` keeps it, `line` says it."""

    title: str
    """Session and model, at the left."""
    session: Session
    _since: float = 0.0
    _writing: bool = False
    _waiting: Waiting | None = None
    _heard: str = ""
    """The last line of the tool that runs."""

    @property
    def busy(self) -> bool:
        """A turn is under way, or its reply is."""
        return not isinstance(self.session.state, Idle) or bool(self.session.outbox)

    def watch(self, progress: Progress) -> None:
        match progress:
            case Adopted(_, session):
                self._adopt(session)
            case Shown(text=text, void=void):
                self._waiting, self._writing = self._waiting if void else None, bool(text)
            case Working(line=line):
                self._heard = line
            case Waiting():
                self._waiting = progress
            case _ as never:
                assert_never(never)

    def line(self, now: float) -> str:
        return " ".join(printable(f"{self.title}{self._state(now)}").split())[:WIDEST]

    def _adopt(self, session: Session) -> None:
        if type(session.state) is not type(self.session.state):
            self._writing, self._heard = False, ""
        self.session, self._waiting = session, None

    def _state(self, now: float) -> str:
        if self._waiting is not None:
            return words.waiting(self._waiting.what, self._waiting.until, now)
        match self.session.state:
            case Idle():
                return "delivering…" if self.session.outbox else "idle"
            case Thinking():
                return "answering…" if self._writing else "thinking…"
            case AwaitingTool(turn):
                running = [calls.named(call) for call in turn.open_calls if call.state is CallState.STARTED]
                return f"running {', '.join(running)} {self._heard}"
            case Stopping():
                return "stopping…"
            case Consolidating():
                return "writing to memory…"
            case _ as never:
                assert_never(never)
