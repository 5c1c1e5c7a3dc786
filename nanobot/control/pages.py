"""What the page may see of the sessions: what waits for it, what was said, which conversations there are.

It is the Desk of channels/web/channel.py. What was said is read from the journals, as `nanobot sessions` does: without their
locks, in a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from operator import itemgetter

import attrs
import trio

from nanobot.archive.conversation import Past
from nanobot.archive.reading import Reader, short
from nanobot.channels.web.channel import NAME, SessionLine
from nanobot.channels.web.frames import History, Item, Question
from nanobot.errors import JournalError
from nanobot.messages import Entry, Note, Outbound, Principal, Reply, Said, SessionKey, TurnEnd
from nanobot.security import approvals
from nanobot.session.errands import open_approvals
from nanobot.session.registry import Registry
from nanobot.session.state import Errand, Pending, Session

MOST_LISTED = 60
"""Conversations in the page's list, the latest first; `nanobot sessions list` has them all."""
TITLE_CHARS = 60


@attrs.frozen
class Pages:
    """See the module."""

    _registry: Registry
    _reader: Reader
    _clock: Callable[[], float]

    async def unsettled(self) -> tuple[tuple[SessionKey, Outbound], ...]:
        outboxes = await self._registry.outboxes(NAME)
        waiting = [one for key, outbox in outboxes for one in _in_order(key, outbox)]
        return tuple((key, outbound) for _, key, outbound in sorted(waiting, key=itemgetter(0)))

    async def wake(self, key: SessionKey) -> None:
        self._registry.wake(key, self._clock())

    async def history(self, key: SessionKey, before: int | None, most: int) -> History:
        """Raises: JournalError."""
        work = partial(_history, self._reader, str(key), before, most, self._clock())
        return await trio.to_thread.run_sync(work, abandon_on_cancel=True)

    async def sessions(self) -> tuple[SessionLine, ...]:
        """Raises: JournalError."""
        return await trio.to_thread.run_sync(_lines, self._reader, abandon_on_cancel=True)


def _in_order(key: SessionKey, outbox: Iterable[Pending]) -> Iterator[tuple[float, SessionKey, Outbound]]:
    """Each with a time for its place: in a chat the order of the outbox counts, which an older clock may contradict."""
    at = 0.0
    for pending in outbox:
        at = max(at, pending.outbound.at)
        yield at, key, pending.outbound


def _history(reader: Reader, key: str, before: int | None, most: int, now: float) -> History:
    archive = reader.conversation(key, everything=True)
    if archive is None:
        return History(questions=() if before is None else None)
    past = [one for one in archive.past if before is None or one.ordinal < before][-most:]
    items = [item for one in past for item in _closed(one)]
    if before is not None:
        return History(tuple(items))
    asked = tuple(_question(errand, now) for errand in open_approvals(archive.session))
    return History((*items, *_open(archive.session)), asked)


def _question(errand: Errand, now: float) -> Question:
    left = max(0.0, (errand.expires_at or now) - now)
    return Question(approvals.question(errand, left), approvals.buttons(errand.id))


def _closed(past: Past) -> Iterator[Item]:
    """What people saw of an exchange: what was said, and the text that ended it."""
    said = [entry for entry in past.exchange.entries if isinstance(entry, Said)]
    for entry in said:
        yield _said(past.ordinal, entry)
    replies = [entry for entry in past.exchange.entries if isinstance(entry, Reply) and entry.text.strip()]
    answered = past.exchange.end is TurnEnd.ANSWERED and not past.exchange.answer
    text = replies[-1].text if answered and replies else past.exchange.answer
    if text:
        failed = past.exchange.end not in (TurnEnd.ANSWERED, TurnEnd.STOPPED)
        yield Item(past.ordinal, "bot", text, reply_to=said[0].id if said else "", failed=failed)


def _open(session: Session) -> Iterator[Item]:
    """What is not answered yet."""
    entries: tuple[Entry, ...] = () if session.turn is None else session.turn.entries
    for entry in (*entries, *session.inbox):
        if isinstance(entry, Said):
            yield attrs.evolve(_said(session.end, entry), open=True)


def _said(ordinal: int, said: Said) -> Item:
    try:
        ours = said.ours or Principal.parse(said.principal).user == ""
    except ValueError:
        ours = True
    return Item(ordinal, "note" if ours else "you", said.text, said.at, said.id)


def _lines(reader: Reader) -> tuple[SessionLine, ...]:
    seen = [one for one in reader.sessions() if one.trouble is None and _opens(one.key)][:MOST_LISTED]
    return tuple(_line(reader, one.key, one.at or 0.0, unfinished=one.owes is not None) for one in seen)


def _opens(key: str) -> bool:
    """Whether the page can open it: a chat of its own."""
    parsed = SessionKey.parse(key)
    return parsed == SessionKey(NAME, parsed.chat)


def _line(reader: Reader, key: str, at: float, *, unfinished: bool) -> SessionLine:
    try:
        live = reader.live(key)
    except JournalError:
        live = None
    title = "" if live is None else _title(live.session)
    return SessionLine(short(key), SessionKey.parse(key).chat, title, at, unfinished)


def _title(session: Session) -> str:
    """Its first words, as far as they are in the prompt."""
    entries = [entry for exchange in session.exchanges for entry in exchange.entries]
    entries += () if session.turn is None else session.turn.entries
    first = next((entry.text for entry in entries if isinstance(entry, Said | Note)), "")
    return " ".join(first.split())[:TITLE_CHARS]
