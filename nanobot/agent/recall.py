"""The agent's side of searches: fills the tools' port `Recall` from the index, for one session and one right at a time.

* Who may find what: the owner everything, in a private chat. Everybody else, scheduled work, and the owner in a group, where
  others read what comes of it, find what was said in that very conversation, and nothing of tools or of the history.
* A result is tainted where what it shows is: text of strangers, an entry of the history that tells what others said, a
  HISTORY.md that the ledger knows as written by strangers, and for the owner whatever somebody else took part in. What `/trust`
  said of a conversation counts in that conversation only.
* A search that is cancelled ends before the next file it would read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import attrs
import trio

from nanobot.agent.rights import Owns, Right
from nanobot.archive.reading import short
from nanobot.config.paths import Places
from nanobot.config.schema import Config
from nanobot.errors import NanobotError, ToolError
from nanobot.memory import moments
from nanobot.memory.index import EVERYTHING, Found, Hit, Index, Query, Scope, Whole, index_at
from nanobot.memory.passages import Role
from nanobot.memory.port import HISTORY
from nanobot.messages import Origin, Principal
from nanobot.tools.port import Result, Sought, TaintLedger

T = TypeVar("T")
ONLY_HERE = "Only what was said in this conversation can be searched from here."
NOTHING = (
    "Nothing was found. All words must occur in one exchange, as they are written: try fewer, others for the same thing, or "
    "begin* for the beginning of a word."
)
UNREAD = "{} conversations were not read yet, for want of time: search again to have them, too."
MOST_TROUBLES = 3


@attrs.define(eq=False)
class Library:
    """What all sessions share."""

    _places: Places
    _ledger: TaintLedger
    _clock: Callable[[], float]
    _owns: Owns
    _history: Path
    _index: Index

    def reconfigure(self, config: Config) -> None:
        """For the searches that begin from now on."""
        self._index = _cancellable(index_at(self._places, config))

    def of(self, session: str, right: Right) -> OwnRecall:
        everything = right.who == "owner" and right.origin is Origin.DIRECT
        return OwnRecall(self, EVERYTHING if everything else Scope(session), str(right.principal))

    # --- for those who search

    async def ask(self, what: Callable[[Index], T]) -> T:
        """Raises: ToolError."""
        try:
            return await trio.to_thread.run_sync(what, self._index)
        except NanobotError as error:
            raise ToolError(str(error)) from error

    async def query(self, sought: Sought) -> Query:
        """Raises: ToolError."""
        role = None if sought.role is None else Role(sought.role)
        now, zone = self._clock(), self._index.zone
        try:
            since = None if sought.since is None else moments.read(sought.since, now, zone)[0]
            until = None if sought.until is None else moments.read(sought.until, now, zone)[1]
        except moments.BadMoment as error:
            raise ToolError(str(error)) from error
        return Query(sought.words, since, until, None if sought.chat is None else str(sought.chat), role, sought.most)

    def when(self, at: float) -> str:
        return f"{datetime.fromtimestamp(at, self._index.zone):%Y-%m-%d %H:%M}" if at else "at some time"

    def who(self, speakers: Iterable[str]) -> str:
        return ", ".join("the owner" if self._owns(speaker) else _user(speaker) for speaker in speakers)

    async def strange(self, who: str, hits: Iterable[tuple[Role, tuple[str, ...], bool]]) -> bool:
        """Whether any of what is shown to `who` is a stranger's. Of each: whose words, who took part, what its records say."""
        seen = list(hits)
        others = {speaker for _, speakers, _ in seen for speaker in speakers} - {who}
        if any(strange for _, _, strange in seen) or (self._owns(who) and not all(map(self._owns, others))):
            return True
        told = any(role is Role.HISTORY for role, _, _ in seen)
        return told and await trio.to_thread.run_sync(self._ledger.taints, self._history)


@attrs.frozen
class OwnRecall:
    """The port for one call."""

    _library: Library
    _scope: Scope
    _who: str

    async def search(self, sought: Sought) -> Result:
        here = self._scope.session
        if here is not None and sought.chat is not None and str(sought.chat) != here:
            raise ToolError(f"{ONLY_HERE} Leave chat out")
        query = await self._library.query(sought)
        found = await self._library.ask(lambda index: index.search(query, self._scope))
        tainted = await self._library.strange(self._who, [(hit.role, hit.speakers, hit.strange) for hit in found.hits])
        return Result("\n\n".join([*map(self._shown, found.hits), *self._rest(found)]), tainted=tainted)

    async def read(self, id: str) -> Result:
        whole = await self._library.ask(lambda index: index.read(id, self._scope))
        if whole is None:
            only = "" if self._scope.session is None else f" {ONLY_HERE}"
            raise ToolError(f"there is nothing {id[:100]!r} to be read.{only} Take an id as a search gives it")
        passage = whole.passage
        parts = [(role, passage.speakers, role in passage.strange) for role in passage.texts]
        return Result(self._whole(whole), tainted=await self._library.strange(self._who, parts))

    def _shown(self, hit: Hit) -> str:
        """One result, headed by where it is from."""
        about = f"; words of {short(hit.chat)}" if hit.role is Role.HISTORY and hit.chat else ""
        people = f"; with {self._library.who(hit.speakers)}" if hit.speakers else ""
        return f"[{hit.id}] {self._library.when(hit.at)}, {hit.role}{about}{people}\n{hit.excerpt}"

    def _rest(self, found: Found) -> list[str]:
        lines = [] if found.hits else [NOTHING]
        lines += ["To read one whole: search_history with read=ID."] if found.hits else []
        lines += ["There are more: raise limit, or say more of what you look for."] if found.more else []
        lines += [ONLY_HERE] if self._scope.session is not None else []
        lines += [UNREAD.format(found.unread)] if found.unread else []
        return lines + [f"Not all can be read: {trouble}" for trouble in found.troubles[:MOST_TROUBLES]]

    def _whole(self, whole: Whole) -> str:
        passage = whole.passage
        head = f"[{whole.id}] {self._library.when(passage.at)}"
        people = f", with {self._library.who(passage.speakers)}" if passage.speakers else ""
        return "\n\n".join([head + people, *(f"{role}:\n{text}" for role, text in passage.texts.items())])


def library(config: Config, places: Places, ledger: TaintLedger, clock: Callable[[], float], owns: Owns) -> Library:
    history = places.workspace(config) / HISTORY
    return Library(places, ledger, clock, owns, history, _cancellable(index_at(places, config)))


def _cancellable(index: Index) -> Index:
    """It asks for the time before each file."""
    return attrs.evolve(index, clock=_time_unless_cancelled)


def _time_unless_cancelled() -> float:
    """Raises: trio.Cancelled where the task that waits for this thread is."""
    trio.from_thread.check_cancelled()
    return time.monotonic()


def _user(principal: str) -> str:
    try:
        return Principal.parse(principal).user or "somebody"
    except ValueError:
        return "somebody"
