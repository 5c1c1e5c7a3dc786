"""The gateway's journal in memory, for tests with a virtual clock, and messages to put into it."""

from __future__ import annotations

import trio

from nanobot.daemon.backlog import Backlog, State
from nanobot.messages import Inbound, MessageId, Principal, SessionKey
from tests.session.house_fakes import MemoryLog


def in_memory(log: MemoryLog, state: State | None = None) -> Backlog:
    return Backlog(state or State(), log, trio.current_time, 0.0)


def message(number: int, chat: str = "42", *, text: str = "hello", owner: bool = False, direct: bool = True) -> Inbound:
    who = Principal("telegram", "default", chat, "42", owner)
    return Inbound(MessageId(f"m{number}"), SessionKey("telegram", chat), who, text, 1.0, direct=direct)
