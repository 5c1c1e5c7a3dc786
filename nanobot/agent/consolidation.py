"""Consolidation: what leaves a conversation becomes memory.

Fills `consolidate` of the session's `Errands`, and does the errands that `/new` and cuts of a prompt leave behind. What it does
is one loop: from memory's own cursor on, the oldest exchanges that are not in memory yet are shown to a model in one piece,
with the memory as it is; what it hands over by `save_memory` is saved in one transaction, and the cursor is behind that piece.
Nothing else is kept between two pieces, so that a cancel, a kill or a failure costs the call that was under way and nothing
more. Exchanges that have left the session's state are read back from its journal.

What makes a piece, and whose memory it goes to, stands in pieces.py. One that fails `MOST_FAILURES` times goes to HISTORY.md raw,
cut short, and the person is told: a conversation must not be stuck because a model cannot write down what was said in it. A
service that is away, or wants another key, is no failure of the piece: it waits, and the owner is told once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TypeVar

import attrs
import trio
from loguru import logger

from nanobot.agent import savecall
from nanobot.agent.mind import ModelMind
from nanobot.agent.pieces import Piece, Pieces, Rest, with_notes
from nanobot.agent.savecall import Remembered, Unread
from nanobot.archive.conversation import whole
from nanobot.archive.reading import Reader
from nanobot.config.schema import Config
from nanobot.errors import ConfigError, JournalError, NanobotError, StoreUnusable
from nanobot.memory.port import (
    REPORTED,
    Memory,
    Moved,
    Outdated,
    Refused,
    Save,
    Saved,
    Update,
    Version,
    unmarked,
)
from nanobot.messages import INTERNAL, Exchange, SessionKey, TurnNumber, Usage
from nanobot.providers.client import SdkMissing
from nanobot.providers.port import (
    AuthFailed,
    Overloaded,
    ProviderError,
    QuotaExceeded,
    RateLimited,
    Stalled,
    TransportFailed,
)
from nanobot.session import events as ev
from nanobot.session.state import Errand, Session, Span
from nanobot.session.turns import MOST_PREEMPTIONS

MOST_FAILURES = 3
"""Attempts at one piece, then it is kept raw. Counted while the process lives: after a restart it has as many again."""
AWAY = (RateLimited, Overloaded, TransportFailed, Stalled, QuotaExceeded, AuthFailed, ConfigError, SdkMissing)
"""What passes, or somebody must put right: another model call would do no better, and the conversation is not to blame."""
MOST_OUTDATED = 3
"""Times that a piece is done anew because somebody else changed the same lines of memory meanwhile."""
RETRY_S = (5.0, 60.0, 600.0)
"""Seconds between the attempts of an errand, the last repeated; nobody waits for one."""
CAP_RETRY_S = 600.0
"""Seconds until an errand looks again whether a limit of usage lets it go on."""
RAW_CHARS = 6000
"""Of a conversation that is kept raw, in the history."""
RECENT_S = 86400.0
"""Seconds of a journal that are read first; more only if what is wanted is older."""

TOLD_RAW = (
    "A part of this conversation could not be turned into memory ({why}). It was kept in memory/HISTORY.md as it is, cut short; "
    "the conversation itself is still there in full: nanobot sessions show {key} --all"
)
TOLD_AWAY = "What was said in {key} is not in memory yet ({why}). Nothing of it is lost; it is tried again by itself."
TOLD_REFUSED = (
    "An update of {document} was not taken: {why}. It waits for your word: nanobot memory proposals show {id}. What happened is "
    "in memory/HISTORY.md."
)

T = TypeVar("T")
Say = Callable[[str, str, str], Awaitable[None]]
"""Session, id, text: a word in that chat. Told twice with one id it is said once."""


class NotRemembered(NanobotError):
    """This attempt has failed; the text says why. Memory and cursor are as they were."""


class Away(NotRemembered):
    """Nothing is wrong with what is to be remembered."""


class Capped(NotRemembered):
    """A limit of usage stops it for now."""


@attrs.define
class _Job:
    """One conversation on its way to memory, up to `end`."""

    key: str
    end: int
    model: str | None
    there: Mapping[int, Exchange]
    """By ordinal, as far as they are at hand."""
    trusted: TurnNumber
    reason: str
    cursor: int = 0

    @property
    def place(self) -> tuple[str, int]:
        return self.key, self.cursor

    @property
    def rest(self) -> Rest:
        return Rest(self.key, self.cursor, self.end, self.there, self.trusted)


@attrs.frozen
class _Failures:
    """Of the piece that begins at some place."""

    count: int
    why: str


@attrs.define(eq=False)
class Consolidator:
    """See the module. One for all sessions."""

    _config: Config
    _mind: ModelMind
    _memory: Memory
    _reader: Reader
    _pieces: Pieces
    _clock: Callable[[], float]
    _refusal: Callable[[str], str]
    """Why no background work may begin in a principal's name now, empty if it may."""
    _say: Say
    _tell_owner: Callable[[str], None]
    _alone: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    """Of those that nobody waits for, one at a time: they would only change the same lines."""
    _failures: dict[tuple[str, int], _Failures] = attrs.field(factory=dict, init=False)
    """By session and first exchange of the piece."""
    _away: dict[str, int] = attrs.field(factory=dict, init=False)
    """How often a session's attempts have ended with `Away` since the last that did not."""
    _used: dict[str, tuple[Usage, str]] = attrs.field(factory=dict, init=False)
    """Tokens that no event has told of yet, by session, and the model."""

    def reconfigure(self, config: Config) -> None:
        """For what begins from now on."""
        self._config = config
        self._pieces.reconfigure(config)

    async def consolidate(self, session: Session, span: Span) -> ev.Consolidated | ev.ConsolidationFailed:
        """A span that is still in the prompt. A turn may wait for it, so it has one deadline for all its pieces."""
        if not self._mind.remembers(session.model):
            await self._let_go(session.key, span.end)
            return ev.Consolidated(self._clock(), span.end)
        there = dict(enumerate(session.exchanges, session.base))
        waited_for = session.turn is not None or session.preempted >= MOST_PREEMPTIONS
        reason = "the conversation was too long for the model" if waited_for else "the conversation grew long, or fell silent"
        job = _Job(session.key, span.end, session.model, there, session.trusted, reason)
        try:
            if waited_for:
                await self._within_deadline(job)
            else:
                async with self._alone:
                    await self._within_deadline(job)
        except NotRemembered as error:
            logger.warning("{} was not consolidated: {}", session.key, error)
            if job.cursor <= span.start:
                return ev.ConsolidationFailed(self._clock(), str(error), *self._taken(session.key))
        usage, model = self._taken(session.key)
        return ev.Consolidated(self._clock(), min(job.cursor, span.end), usage, model)

    async def remember(self, session: Session, errand: Errand) -> ev.ErrandEnded:
        """What has left the prompt: until memory has it, however often that is tried."""
        job = _Job(session.key, int(errand.arguments), session.model, {}, session.trusted, "it left the conversation")
        attempt = 0
        while self._mind.remembers(session.model):
            before = job.cursor
            try:
                async with self._alone:
                    await self._within_deadline(job)
            except NotRemembered as error:
                logger.warning("what left {} is not in memory yet: {}", session.key, error)
                attempt = 0 if job.cursor > before else attempt
                wait = CAP_RETRY_S if isinstance(error, Capped) else RETRY_S[min(attempt, len(RETRY_S) - 1)]
                attempt += 1
                await trio.sleep(wait)
            else:
                break
        else:
            await self._let_go(session.key, job.end)
        usage, model = self._taken(session.key)
        return ev.ErrandEnded(errand.id, self._clock(), "", usage=usage, model=model)

    async def _let_go(self, key: str, end: int) -> None:
        """What leaves while `memory.consolidate` is off stays out of memory, also when that is on again."""
        if not self._config.memory.consolidate:
            try:
                await self._blocking(partial(self._memory.skip, key, end))
            except NotRemembered as error:
                logger.warning("memory could not be told to leave out what left {}: {}", key, error)

    # --- the loop

    async def _within_deadline(self, job: _Job) -> None:
        """Raises: NotRemembered; what was saved before stays, and `job.cursor` tells."""
        deadline = self._config.agents.defaults.deadlines.consolidation
        try:
            with trio.fail_after(deadline):
                await self._up_to_end(job)
        except trio.TooSlowError:
            why = f"it took longer than {deadline:g} s (agents.defaults.deadlines.consolidation)"
            self._fail(job, why)
            raise NotRemembered(why) from None

    async def _up_to_end(self, job: _Job) -> None:
        """Raises: NotRemembered."""
        job.cursor = await self._blocking(partial(self._memory.cursor, job.key))
        while job.cursor < job.end:
            await self._read_back(job)
            piece = self._pieces.first(job.rest, self._limit(job))
            if piece is None:
                await self._blocking(partial(self._memory.skip, job.key, job.end))
                job.cursor = job.end
                return
            failures = self._failures.get(job.place)
            if failures is not None and failures.count >= MOST_FAILURES:
                await self._keep_raw(job, piece, failures.why)
                continue
            try:
                job.cursor = await self._remembered(job, piece)
            except AWAY as error:
                self._tell_away(job, str(error))
                raise Away(str(error)) from error
            except (ProviderError, Unread) as error:
                if self._fail(job, str(error)) < MOST_FAILURES:
                    raise NotRemembered(str(error)) from error
            else:
                self._failures.pop((job.key, piece.start), None)
                self._away.pop(job.key, None)

    async def _read_back(self, job: _Job) -> None:
        """Exchanges that have left the state are in the journal. Raises: NotRemembered."""
        if job.cursor in job.there or job.cursor >= min(job.there, default=job.end):
            return
        found = await self._blocking(partial(self._past, job.key, job.cursor))
        job.there = {**found, **job.there}

    def _past(self, key: str, start: int) -> dict[int, Exchange]:
        """In a thread. Raises: JournalError."""
        past = whole(key, self._reader.segments(key, self._clock() - RECENT_S)).past
        if not past or past[0].ordinal > start:
            past = whole(key, self._reader.segments(key)).past
        return {one.ordinal: one.exchange for one in past}

    async def _remembered(self, job: _Job, piece: Piece) -> int:
        """Ask, and save; the new cursor. Raises: ProviderError, ConfigError, SdkMissing, Unread, NotRemembered."""
        for _ in range(MOST_OUTDATED):
            if why := self._refusal(piece.exchanges[-1].principal):
                raise Capped(why)
            now = await self._blocking(partial(self._memory.current, piece.target.document))
            said = await self._asked(job, piece, now)
            save = self._save(job, piece, said, now)
            match await self._saved(save):
                case Saved(cursor, behind=behind) | Refused(cursor, behind=behind) as outcome:
                    if behind:
                        logger.warning("memory is kept, but its files do not show it: {}", behind)
                    if isinstance(outcome, Refused):
                        await self._tell_refused(job, piece, outcome)
                    return cursor
                case Moved(cursor):
                    return cursor
                case Outdated():
                    continue
        raise NotRemembered("memory was changed by others again and again")

    async def _asked(self, job: _Job, piece: Piece, now: Version) -> Remembered:
        """Raises: ProviderError, ConfigError, SdkMissing, Unread."""
        shown = self._pieces.fitted(piece.lines, self._limit(job))
        about = f"memory:{job.key}"
        reported = piece.target.document == REPORTED
        # Notes without those that are there: what others have said elsewhere would get this one's mark.
        ask = savecall.notes(shown, about) if reported else savecall.memory(now.text, shown, about)
        completion = await self._mind.answer(self._config.memory.model or job.model, ask)
        usage, _ = self._used.get(job.key, (Usage(), ""))
        self._used[job.key] = usage + completion.usage, completion.model
        return savecall.read(completion)

    async def _saved(self, save: Save) -> Saved | Refused | Moved | Outdated:
        try:
            return await self._blocking(partial(self._memory.save, save))
        except ValueError as error:
            raise Unread(f"what the model wrote cannot be kept: {error}") from error

    def _save(self, job: _Job, piece: Piece, said: Remembered, now: Version) -> Save:
        entry = unmarked(said.entry) if piece.target.reported else said.entry
        text = None if said.update is None else said.update.strip().removeprefix(savecall.EMPTY)
        if text is not None and piece.target.document == REPORTED:
            update = with_notes(now, unmarked(text))
        else:
            update = None if text is None else Update(now.document, now.number, text)
        at = self._clock() if piece.said_at is None else piece.said_at
        return Save(job.key, piece.start, piece.end, entry, at, update, piece.target.reported, job.reason)

    # --- what failed

    def _fail(self, job: _Job, why: str) -> int:
        """Count it; how often this piece has failed."""
        before = self._failures.get(job.place)
        failures = self._failures[job.place] = _Failures(1 if before is None else before.count + 1, why)
        return failures.count

    def _tell_away(self, job: _Job, why: str) -> None:
        """Once, when it does not seem to pass."""
        times = self._away[job.key] = self._away.get(job.key, 0) + 1
        if times == MOST_FAILURES:
            self._tell_owner(TOLD_AWAY.format(key=SessionKey.parse(job.key).short, why=why.rstrip(".")))

    async def _keep_raw(self, job: _Job, piece: Piece, why: str) -> None:
        """Raises: NotRemembered if not even that can be written."""
        raw = " / ".join(" ".join(line.split()) for line in piece.lines)
        entry = f"(raw: {why}) {raw[:RAW_CHARS]}{' … (cut)' if len(raw) > RAW_CHARS else ''}"
        outcome = await self._saved(self._save(job, piece, Remembered(entry, None), Version(piece.target.document, 0, "")))
        self._failures.pop(job.place, None)
        assert not isinstance(outcome, Outdated), "there is no update"
        job.cursor = outcome.cursor
        text = TOLD_RAW.format(why=why.rstrip("."), key=SessionKey.parse(job.key).short)
        await self._tell(job, piece, f"raw:{piece.end}", text)

    async def _tell_refused(self, job: _Job, piece: Piece, refused: Refused) -> None:
        text = TOLD_REFUSED.format(document=piece.target.document, why=refused.why.rstrip("."), id=refused.proposal)
        await self._tell(job, piece, f"refused:{refused.proposal}", text)

    async def _tell(self, job: _Job, piece: Piece, name: str, text: str) -> None:
        """In the owner's own chat, or to the owner elsewhere: what we remember of others is not theirs to read."""
        key = SessionKey.parse(job.key)
        if piece.target.reported or key.channel in INTERNAL:
            self._tell_owner(f"{key.short}: {text}")
        else:
            await self._say(job.key, f"memory:{job.key}:{name}", text)

    # --- small things

    def _limit(self, job: _Job) -> float:
        failures = self._failures.get(job.place)
        return self._pieces.limit(job.model, failures.count if failures else 0)

    def _taken(self, key: str) -> tuple[Usage, str]:
        """Tokens used, to be told with an event."""
        return self._used.pop(key, (Usage(), ""))

    async def _blocking(self, work: Callable[[], T]) -> T:
        """In a thread; cancelled, it waits for its end, so that what was saved is known to be. Raises: NotRemembered."""
        try:
            return await trio.to_thread.run_sync(work)
        except (StoreUnusable, JournalError) as error:
            raise NotRemembered(str(error)) from error
