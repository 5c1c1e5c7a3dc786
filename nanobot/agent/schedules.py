"""The agent's side of scheduled work: fills the tools' port `Schedules` from the store, for one session and one right at a time.

* A job belongs to the principal that made it and answers in the chat where it was made. Others see and change their own jobs, the
  owner all; in a group, those of that group. Scheduled work changes none, whatever the policy says.
* A job that is made or worded while text of strangers stands in the conversation is marked, and so is a list that shows one of
  those, or one that somebody else has worded.
* An edit is on disk, and the service knows of it, when the call returns. Everything that goes wrong is a `ToolError`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ParamSpec, Protocol, TypeVar

import attrs
import trio

from nanobot.agent.rights import Owns, Right
from nanobot.config.paths import Places
from nanobot.config.schema import Config
from nanobot.errors import NanobotError, ToolError
from nanobot.messages import INTERNAL, Origin, Principal, SessionKey
from nanobot.scheduler import human, listing, wishes
from nanobot.scheduler.jobs import Job, Run
from nanobot.scheduler.runs import Runs
from nanobot.scheduler.store import JobStore
from nanobot.scheduler.wishes import Here, JobTrouble, Timing, Wish
from nanobot.tools.plain import one_line
from nanobot.tools.port import JobSeen, JobWish, Result

T = TypeVar("T")
P = ParamSpec("P")
Jobs = tuple[Job, ...]
MOST_LISTED = 50
SHOWN_CHARS = 300
"""Of a message, in a list."""
SHOWN_ERROR = 200
NO_GATEWAY = "No gateway runs here, so nothing is due until one does. The user starts it with: nanobot gateway"


class Service(Protocol):
    """What carries jobs out (scheduler/service.py)."""

    def changed(self) -> None:
        """The store was edited. Must not block."""
        ...

    async def run_now(self, job_id: str) -> int:
        """Returns the slot of the run. Raises: NanobotError."""
        ...


@attrs.define(eq=False)
class JobDesk:
    """What all sessions share."""

    config: Config
    store: JobStore
    runs: Runs
    clock: Callable[[], float]
    owns: Owns
    service: Service | None = None
    """Set by the gateway; without one nothing is due."""

    def reconfigure(self, config: Config) -> None:
        """For the calls that begin from now on."""
        self.config = config
        self.store.most = config.gateway.cron.most_jobs

    def close(self) -> None:
        self.runs.close()

    def of(self, session: str, right: Right) -> OwnJobs:
        return OwnJobs(self, session, right)


def job_desk(config: Config, places: Places, clock: Callable[[], float], owns: Owns) -> JobDesk:
    """For an instance. Opens nothing yet; to be closed."""
    store = JobStore(places.jobs, config.gateway.cron.most_jobs, clock)
    return JobDesk(config, store, Runs(places.runs), clock, owns)


@attrs.frozen
class OwnJobs:
    """See `nanobot.tools.port.Schedules`."""

    _desk: JobDesk
    _session: str
    _right: Right

    def about(self, job: str) -> JobSeen:
        found = _told(self._found, job)
        return JobSeen(f"{self._title(found)}.", found.session if _chat(found.session) else "")

    async def look(self) -> Result:
        return await _in_thread(self._look)

    async def add(self, wish: JobWish) -> Result:
        return await self._edited(partial(self._add, _wish(wish, self._session)))

    async def update(self, job: str, wish: JobWish) -> Result:
        return await self._edited(partial(self._update, job, _wish(wish, None)))

    async def remove(self, job: str) -> Result:
        return await self._edited(partial(self._remove, job))

    async def switch(self, job: str, *, on: bool) -> Result:
        return await self._edited(partial(self._switch, job, on=on))

    async def run_now(self, job: str) -> Result:
        self._check_changes()
        found = await _in_thread(self._found, job)
        if self._desk.service is None:
            raise ToolError(NO_GATEWAY)
        try:
            await self._desk.service.run_now(found.id)
        except NanobotError as error:
            raise ToolError(str(error)) from error
        return Result(f"{self._title(found)} runs as soon as its chat is free.")

    # --- in a thread

    def _look(self) -> Result:
        jobs = sorted(self._seen(self._desk.store.read()), key=lambda job: job.created_ms)
        shown = jobs[-MOST_LISTED:]
        last = self._desk.runs.last([job.id for job in shown]) if shown else {}
        lines = [line for job in shown for line in self._lines(job, last.get(job.id))]
        if len(jobs) > len(shown):
            lines.append(f"{len(jobs) - len(shown)} older ones are not shown: nanobot cron list")
        lines += [self._desk.store.trouble] if self._desk.store.trouble else []
        tainted = any(job.tainted or not self._worded_by_us(job) for job in shown)
        return Result("\n".join(lines) or "There are no jobs.", tainted=tainted)

    def _add(self, wish: Wish) -> str:
        made: list[Job] = []

        def change(jobs: Jobs) -> Jobs:
            self._check_room(jobs)
            made.append(wishes.new(wish, jobs, self._here))
            return (*jobs, made[-1])

        self._desk.store.edit(change)
        return f"Made: {self._title(made[-1])}.{self._next(made[-1])}"

    def _update(self, word: str, wish: Wish) -> str:
        job = self._changed(word, lambda job: wishes.changed(job, wish, self._here))
        return f"Changed: {self._title(job)}.{self._next(job)}"

    def _switch(self, word: str, *, on: bool) -> str:
        now_ms = self._here.now_ms
        job = self._changed(word, lambda job: attrs.evolve(job, enabled=on, updated_ms=now_ms))
        return f"{self._title(job)} is on.{self._next(job)}" if on else f"{self._title(job)} is off until it is enabled."

    def _remove(self, word: str) -> str:
        gone: list[Job] = []

        def change(jobs: Jobs) -> Jobs:
            gone.append(wishes.found(self._seen(jobs), word))
            return wishes.without(jobs, gone[-1])

        self._desk.store.edit(change)
        return f"Removed: {self._title(gone[-1])}."

    def _changed(self, word: str, change_one: Callable[[Job], Job]) -> Job:
        done: list[Job] = []

        def change(jobs: Jobs) -> Jobs:
            done.append(change_one(wishes.found(self._seen(jobs), word)))
            return wishes.replaced(jobs, done[-1])

        self._desk.store.edit(change)
        return done[-1]

    def _found(self, word: str) -> Job:
        """Raises: JobTrouble."""
        return wishes.found(self._seen(self._desk.store.read()), word)

    # --- rules

    def _seen(self, jobs: Jobs) -> Jobs:
        """Those of which this right may know."""
        if not self._right.principal.owner:
            return tuple(job for job in jobs if job.principal == str(self._right.principal))
        if self._right.origin is Origin.GROUP:  # others read what is said there
            return tuple(job for job in jobs if job.session == self._session)
        return jobs

    def _check_changes(self) -> None:
        """Raises: ToolError."""
        if self._right.origin is Origin.JOB:
            raise ToolError("scheduled work cannot make or change jobs. Say in your answer what should be scheduled, and why")

    def _check_room(self, jobs: Jobs) -> None:
        """Raises: JobTrouble."""
        if sum(job.principal == str(self._right.principal) for job in jobs) >= wishes.MOST_OF_ONE:
            raise JobTrouble(f"{wishes.MOST_OF_ONE} jobs are as many as one person may have. Remove some first, or join them")

    def _worded_by_us(self, job: Job) -> bool:
        return job.principal == str(self._right.principal) or self._desk.owns(job.principal)

    @property
    def _here(self) -> Here:
        principal, zone = str(self._right.principal), self._desk.config.agents.defaults.timezone
        return Here(round(self._desk.clock() * 1000), zone, principal, self._right.tainted)

    # --- words

    def _title(self, job: Job) -> str:
        where = _chat(job.session)
        told = "in no chat" if where is None else "in this chat" if str(where) == self._session else f"in {where.short}"
        return f"job {job.id} ({one_line(job.name)}), {human.words(job.schedule, self._here.zone)}, {told}"

    def _next(self, job: Job) -> str:
        """The next runs, and whether anything runs at all."""
        here = self._here
        runs = human.preview(job.schedule, here.now_ms, here.zone) if job.enabled else ()
        lines = ["Due:", *(f"- {line}" for line in runs)] if runs else []
        lines += [] if job.enabled else ["It is off until it is enabled."]
        lines += [] if self._desk.service is not None else [NO_GATEWAY]
        return "".join(f"\n{line}" for line in lines)

    def _lines(self, job: Job, last: Run | None) -> list[str]:
        due = listing.due(job, last, self._here.now_ms, self._here.zone)
        ended = "" if last is None else f"; last run: {last.outcome}{f' ({last.error[:SHOWN_ERROR]})' if last.error else ''}"
        maker = "" if job.principal == str(self._right.principal) else f"; made by {_maker(job.principal)}"
        text = job.message if len(job.message) <= SHOWN_CHARS else f"{job.message[:SHOWN_CHARS]}…"
        return [f"- {self._title(job)}: {due}{ended}{maker}", *(f"    {line}" for line in text.splitlines())]

    async def _edited(self, edit: Callable[[], str]) -> Result:
        self._check_changes()
        text = await _in_thread(edit)
        if self._desk.service is not None:
            self._desk.service.changed()
        return Result(text)


def _wish(wish: JobWish, session: str | None) -> Wish:
    """session: where it answers if nothing is said of that. Raises: ToolError."""
    if wish.to is not None and wish.to.channel in INTERNAL:
        raise ToolError(f"to: {wish.to.short} is no chat")
    timing = Timing(wish.when, wish.every_s, wish.cron, wish.at, wish.zone)
    return Wish(timing, wish.message, wish.name, session if wish.to is None else str(wish.to), wish.catch_up)


def _chat(session: str) -> SessionKey | None:
    """None for none, and for what somebody wrote into the file that is no chat."""
    try:
        return SessionKey.parse(session)
    except ValueError:
        return None


def _maker(principal: str) -> str:
    try:
        who = Principal.parse(principal)
    except ValueError:
        return one_line(principal)
    return one_line(f"{who.channel}:{who.user}")


def _told(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Raises: ToolError for whatever is expected to go wrong."""
    try:
        return call(*args, **kwargs)
    except (*wishes.WRONG, NanobotError) as error:
        raise ToolError(str(error)) from error


async def _in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Not abandoned when it is cancelled: an edit is short, and either there or not. Raises: ToolError."""
    return await trio.to_thread.run_sync(lambda: _told(call, *args, **kwargs))
