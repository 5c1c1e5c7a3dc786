"""The live account of model calls: books them, keeps the caps, and says what is used up.

* `spent` and `refusal` are called on the loop, and cost no I/O: a call counts at once, and is written within a second, in a
  thread, with all others of that second. What a crash takes of that second, and what a disk that refuses for long leaves out,
  is made up for from the journals at the next start.
* A cap that is reached is told to the owner once for its period, over restarts. One that stops is asked before the first model
  call of each turn; a turn that runs goes on.
* The heartbeat's budget is harder: none of its calls begins behind it, in mid-turn neither, and none while it is not known what
  was used before.
* `run` must be live for anything to be written; `flush` writes what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NoReturn, TypeVar

import attrs
import trio
from loguru import logger

from nanobot.archive.reading import Reader
from nanobot.config.schema import Config
from nanobot.errors import JournalError, StoreUnusable
from nanobot.journal.writers import Writers
from nanobot.scheduler.jobs import Job
from nanobot.session.ports import Adopted, Progress
from nanobot.session.state import Session, Turn
from nanobot.supervise.status import Node
from nanobot.usage.caps import Standing, blind, money, refusal, standings, told
from nanobot.usage.days import PERS, Calendar, Per, Period
from nanobot.usage.journals import catch_up, of_memory
from nanobot.usage.ledger import Ledger, Sum, sum_of
from nanobot.usage.report import lines, report
from nanobot.usage.spent import Kind, Spent, is_background, job_of

GATHER_S = 1.0
"""Seconds that calls wait to be written together: a commit costs two syncs, and nobody waits for it."""
RETRY_S = 30.0
"""Seconds until a disk that refused is tried again."""
MOST_WAITING = 10_000
"""Calls that wait for a disk that refuses, about 4 MB. Beyond it the oldest go: the journals have them."""
SWEEP_S = 86400.0
HEARTBEAT = "heartbeat"
"""Name of its job, and channel of its session."""
UNKNOWN = "What was used up before cannot be read ({}), so the heartbeat does not go on."
BUDGET = "The heartbeat's budget of {:,} tokens a day (gateway.heartbeat.dailyTokens) is used up. It goes on at {}."

T = TypeVar("T")


@attrs.frozen
class _Known:
    """What the ledger says of the day and of the month that began then."""

    begins: Mapping[Per, float]
    sums: Mapping[Per, tuple[Sum, ...]]
    told: frozenset[tuple[str, str]]
    """The caps of which the owner was told, and for which period."""


@attrs.define(eq=False)
class LiveMeter:
    """See the module. One for all sessions; fills spent.Meter."""

    _config: Config
    _ledger: Ledger
    _reader: Reader
    _writers: Writers
    _clock: Callable[[], float]
    _owns: Callable[[str], bool]
    _tell: Callable[[str], None] | None = None
    """Brings it to the owner, in time. None: nobody can here, and whoever can does it later."""
    since: float = attrs.field(init=False)
    _calendar: Calendar = attrs.field(init=False)
    _known: _Known | None = attrs.field(default=None, init=False)
    _waiting: list[Spent] = attrs.field(factory=list, init=False)
    """Made, and not in what is known."""
    _told: set[tuple[str, str]] = attrs.field(factory=set, init=False)
    """Caps, as in `_Known.told`."""
    _lost: set[str] = attrs.field(factory=set, init=False)
    """Sessions of which calls were left out: the next start reads their journals."""
    _came: trio.Event = attrs.field(factory=trio.Event, init=False)
    _alone: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    _error: str = attrs.field(default="", init=False)

    def __attrs_post_init__(self) -> None:
        self.since = self._clock()
        self._calendar = Calendar.of(self._config.agents.defaults.timezone)

    def reconfigure(self, config: Config) -> None:
        """For the turns that begin from now on."""
        self._config = config
        self._calendar = Calendar.of(config.agents.defaults.timezone)
        self._came.set()

    # --- for those who make calls

    def spent(self, spent: Spent) -> None:
        self._waiting.append(spent)
        if len(self._waiting) > MOST_WAITING:
            self._lost.add(self._waiting.pop(0).session)
        self._tell_reached()
        self._came.set()

    def watch(self, _key: str, progress: Progress) -> None:
        """Told of all sessions: what consolidation has used up stands in the lines of its end."""
        if isinstance(progress, Adopted) and (spent := of_memory(progress.records, progress.session, self._clock())):
            self.spent(spent)

    def refusal(self, session: Session, turn: Turn, kind: Kind = Kind.TURN) -> str:
        job = job_of(turn.inputs)
        if job == HEARTBEAT and (why := self.heartbeat_refusal()):
            return why
        if kind is not Kind.TURN or turn.step > 1:
            return ""
        stop = self._stop(turn.principal, background=is_background(kind, job))
        if stop is None:
            return ""
        return refusal(stop, self._config.usage, self._calendar, owner=self._owns(turn.principal))

    def may_run(self, job: Job) -> str:
        """Why no run of a job may begin now, in words for its record; empty if it may."""
        return self.background_refusal(job.principal)

    def background_refusal(self, principal: str) -> str:
        """The same for any background work in somebody's name."""
        stop = self._stop(principal, background=True)
        return "" if stop is None else refusal(stop, self._config.usage, self._calendar, owner=True)

    def heartbeat_refusal(self) -> str:
        """Why the heartbeat may make no model call now; empty if it may."""
        most, now = self._config.gateway.heartbeat.daily_tokens, self._clock()
        if self._known is None:
            return UNKNOWN.format(self._error or "it is being read")
        if self.heartbeat_tokens() < most:
            return ""
        return BUDGET.format(most, self._calendar.shown(self._calendar.period("day", now).end))

    def heartbeat_tokens(self) -> int:
        """Of the present day."""
        return sum(one.tokens for one in self._sums()["day"] if one.job == HEARTBEAT)

    # --- its life

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Read what was used up before, and write what comes, until cancelled. Started when caps can be kept."""
        if self._config.usage.caps:
            await self.flush()
        task_status.started()
        await self._attempt("checking the usage", self._ledger.check)
        await self.flush()
        await self._attempt("usage from the journals", partial(catch_up, self._ledger, self._reader))
        await self.flush()
        sweep_at = trio.current_time()
        while True:
            if trio.current_time() >= sweep_at:
                sweep_at = trio.current_time() + SWEEP_S
                await self._attempt("sweep of old usage", partial(self._ledger.sweep, self._oldest()))
            with trio.move_on_after(RETRY_S if self._error else sweep_at - trio.current_time()):
                await self._came.wait()
            await trio.sleep(GATHER_S)
            await self.flush()

    async def flush(self) -> None:
        """Write what waits, and read what is used up. What cannot be written waits on; the status says why."""
        async with self._alone:
            self._came = trio.Event()
            batch, lost = tuple(self._waiting), frozenset(self._lost)
            told = frozenset(self._told) if self._tell else frozenset()
            known = await self._attempt("usage", partial(self._write, batch, told, lost))
            if known is not None:
                self._known, self._error = known, ""
                self._told |= known.told
                written = set(batch)
                self._waiting = [one for one in self._waiting if one not in written]
        self._tell_reached()

    def close(self) -> None:
        """Let go of the file."""
        self._ledger.close()

    async def report(self, session: str | None) -> str:
        """What was used up this month, for people: in one session, or in all with the caps."""
        await self.flush()
        work = partial(report, self._ledger, self._config.usage, self._calendar, self._clock(), session=session)
        told = await self._attempt("a report of usage", work)
        return f"It cannot be read now: {self._error}" if told is None else "\n".join(lines(told, brief=True))

    def nodes(self) -> tuple[Node, ...]:
        """For the status tree."""
        facts = [(str(per), self._total(sums)) for per, sums in self._sums().items()]
        reached = [f"a limit of {one.cap.of} is reached ({one.cap.action})" for one in self.standings() if one.reached]
        facts += [("caps", "; ".join(reached))] if reached else []
        state, waiting = ("waiting", "a disk that takes it") if self._error else ("up", "")
        return (Node("usage", "service", state, self.since, error=self._error, waiting=waiting, facts=tuple(facts)),)

    def standings(self) -> tuple[Standing, ...]:
        """How the caps stand now."""
        if not self._config.usage.caps:
            return ()
        return tuple(standings(self._config.usage, self._sums(), self._calendar, self._clock()))

    # --- inside

    def _stop(self, principal: str, *, background: bool) -> Standing | None:
        return next((one for one in self.standings() if one.stops(principal, background=background)), None)

    def _total(self, sums: Sequence[Sum]) -> str:
        usage = self._config.usage
        amount = f", {money(sums, usage.prices):.2f} {usage.currency}" if usage.prices else ""
        return f"{sum(one.tokens for one in sums):,} tokens{amount}"

    def _tell_reached(self) -> None:
        if self._known is None:
            return  # it is not known yet of what the owner was told
        for one in self.standings():
            if one.reached:
                self._tell_once((one.name, one.period.name), told(one, self._config.usage, self._calendar))
            if one.uncounted:
                self._tell_once(("|".join((one.name, *one.uncounted)), one.period.name), blind(one, self._config.usage))

    def _tell_once(self, name: tuple[str, str], text: str) -> None:
        """name: what it is about, and the period."""
        if name in self._told:
            return
        self._told.add(name)
        if self._tell is None:
            logger.warning("{}", text)
        else:
            self._tell(text)
            self._came.set()

    def _sums(self) -> dict[Per, list[Sum]]:
        """What was used up in the present day and month. Of a day that has just begun only what waits, for a second."""
        now = self._clock()
        return {per: list(self._sums_of(self._calendar.period(per, now))) for per in PERS}

    def _sums_of(self, period: Period) -> Iterator[Sum]:
        if self._known is not None and self._known.begins[period.per] == period.begin:
            yield from self._known.sums[period.per]
        elif self._known is not None:
            self._came.set()
        yield from (sum_of(one) for one in self._waiting if period.begin <= one.at < period.end)

    def _write(self, batch: tuple[Spent, ...], told: frozenset[tuple[str, str]], lost: frozenset[str]) -> _Known:
        """In a thread. Raises: StoreUnusable."""
        if batch:
            self._ledger.book(batch, {one.session: one.at for one in batch if one.session not in lost})
        known = self._ledger.told()
        if not told <= known:
            self._ledger.tell(told - known)
        now = self._clock()
        periods = [self._calendar.period(per, now) for per in PERS]
        sums = {period.per: self._ledger.sums(period.begin, period.end) for period in periods}
        return _Known({period.per: period.begin for period in periods}, sums, frozenset(known | told))

    async def _attempt(self, what: str, work: Callable[[], T]) -> T | None:
        """None, with the reason in the status, if it cannot be done now."""
        try:
            return await self._writers.run(what, work)
        except (StoreUnusable, JournalError) as exc:
            if str(exc) != self._error:
                logger.warning("usage is not written now: {}", exc)
            self._error = str(exc)
            return None

    def _oldest(self) -> float:
        return self._clock() - self._config.retention.usage_days * 86400
