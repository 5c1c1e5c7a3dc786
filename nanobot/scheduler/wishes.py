"""What people and the assistant want of scheduled work, made into jobs. Pure: files are the store's (store.py).

A wish that cannot be is one of `WRONG`, a `BadSchedule` where it is about the time; all say in plain words what to do.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from typing import TypeVar

import attrs

from nanobot.config.schema import CatchUp
from nanobot.errors import NanobotError
from nanobot.scheduler import human, slots
from nanobot.scheduler.jobs import At, Cron, Every, Job, JobId, Schedule
from nanobot.scheduler.shape import BadJob
from nanobot.scheduler.slots import BadSchedule

T = TypeVar("T")
LONGEST_MESSAGE = 8000
"""Characters: it is said at every run, and material belongs into files."""
LONGEST_NAME = 60
MOST_OF_ONE = 100
"""Jobs of one person that the assistant makes: more are a loop, or belong into one job. The store's limit is for all."""
NEVER = "it would never be due: {}. Give a time to come"


class JobTrouble(NanobotError):
    """There is no such job, or there are too many; the text says what to do."""


class BadWish(ValueError):
    """What a job was wished to be cannot be."""


WRONG = (BadSchedule, BadWish, BadJob)
"""What is wrong with a wish and not with the world."""


@attrs.frozen
class Timing:
    """When, as it was asked for. Exactly one but `zone`, or none of all."""

    when: str | None = None
    """In human words (human.py)."""
    every_s: int | None = None
    cron: str | None = None
    at: str | None = None
    """ISO."""
    zone: str | None = None

    @property
    def given(self) -> tuple[str, ...]:
        """Which ways of saying when were used."""
        ways = {"when": self.when, "every": self.every_s, "cron": self.cron, "at": self.at}
        return tuple(name for name, value in ways.items() if value not in (None, ""))


@attrs.frozen
class Wish:
    """None: as it is, or for a new job as usual."""

    timing: Timing = Timing()
    message: str | None = None
    name: str | None = None
    session: str | None = None
    """Key of the chat that it answers in; empty: none."""
    catch_up: CatchUp | None = None
    horizon_s: float | None = None
    deadline_s: float | None = None
    tokens: int | None = None


@attrs.frozen
class Here:
    """Where and when it is wished."""

    now_ms: int
    zone: str
    """`agents.defaults.timezone`."""
    principal: str
    tainted: bool = False
    """Text of strangers stands in the conversation."""


def new(wish: Wish, jobs: Collection[Job], here: Here) -> Job:
    """With an id that none of `jobs` has. Raises: BadSchedule, BadWish."""
    if not wish.message or not wish.message.strip():
        raise BadWish("a job needs a message: what is to be said or done when it is due")
    schedule = _schedule(wish.timing, here)
    if schedule is None:
        raise BadSchedule("say when: in words (every weekday at 9), every so many seconds, as a cron expression, or at a time")
    name = _name(wish.name or wish.message.strip().splitlines()[0])
    once = isinstance(schedule, At)
    job = Job(_fresh({job.id for job in jobs}), name, "", schedule, here.principal, delete_after_run=once, created_ms=here.now_ms)
    return changed(job, attrs.evolve(wish, timing=Timing(), name=None), here)


def changed(job: Job, wish: Wish, here: Here) -> Job:
    """The job as it is wished now. It stays its maker's. Raises: BadSchedule, BadWish."""
    message = _given(wish.message, job.message).strip()
    _check(wish, message)
    schedule = _schedule(wish.timing, here)
    cleaned = job.tainted and message != job.message  # then strangers shall not have a word in its name, either
    name = _name(wish.name or message.splitlines()[0]) if wish.name is not None or cleaned else job.name
    return attrs.evolve(
        job,
        message=message,
        name=name,
        schedule=schedule or job.schedule,
        session=_given(wish.session, job.session),
        delete_after_run=job.delete_after_run if schedule is None else isinstance(schedule, At),
        tainted=here.tainted or (job.tainted and not cleaned),
        catch_up=_given(wish.catch_up, job.catch_up),
        horizon_s=_given(wish.horizon_s, job.horizon_s),
        deadline_s=_given(wish.deadline_s, job.deadline_s),
        tokens=_given(wish.tokens, job.tokens),
        updated_ms=here.now_ms,
    )


def _given(value: T | None, usual: T) -> T:
    return usual if value is None else value


def _check(wish: Wish, message: str) -> None:
    """Raises: BadWish."""
    if not message or (wish.message is not None and len(message) > LONGEST_MESSAGE):
        raise BadWish(f"a message has 1 to {LONGEST_MESSAGE:,} characters; put material into a file and name that")
    if any(limit is not None and limit < 0 for limit in (wish.horizon_s, wish.deadline_s, wish.tokens)):
        raise BadWish("a horizon, a deadline and a number of tokens are 0 or more")


def found(jobs: Sequence[Job], word: str) -> Job:
    """The job of that id, or of that name if only one has it. Raises: JobTrouble."""
    same = [job for job in jobs if job.id == word] or [job for job in jobs if job.name.casefold() == word.strip().casefold()]
    if not same:
        raise JobTrouble(f"there is no job {_shown(word)}")
    if len(same) > 1:
        raise JobTrouble(f"{len(same)} jobs are called {_shown(word)}; name one by its id: {', '.join(job.id for job in same)}")
    return same[0]


def replaced(jobs: Sequence[Job], job: Job) -> tuple[Job, ...]:
    return tuple(job if one.id == job.id else one for one in jobs)


def without(jobs: Sequence[Job], job: Job) -> tuple[Job, ...]:
    return tuple(one for one in jobs if one.id != job.id)


def _schedule(timing: Timing, here: Here) -> Schedule | None:
    """None where nothing is said of it. Raises: BadSchedule."""
    if len(timing.given) > 1:
        raise BadSchedule(f"say when in one way, not in {len(timing.given)} ({', '.join(timing.given)})")
    if not timing.given:
        if timing.zone:
            raise BadSchedule("a time zone alone says no time; say the time, too")
        return None
    schedule = _read(timing, here)
    slots.check(schedule)
    if slots.next_slot(schedule, here.now_ms, here.zone) is None:
        raise BadSchedule(NEVER.format(human.words(schedule, here.zone)))
    return schedule


def _read(timing: Timing, here: Here) -> Schedule:
    """Raises: BadSchedule."""
    if timing.every_s is not None:
        return Every(timing.every_s * 1000, here.now_ms)
    if timing.cron:
        return Cron(timing.cron.strip(), timing.zone or "")
    schedule = human.read(timing.when or timing.at or "", here.now_ms, timing.zone or here.zone)
    if timing.at and not isinstance(schedule, At):
        raise BadSchedule(f"{_shown(timing.at)} is no time; write it as 2026-12-24T18:00")
    if timing.zone and isinstance(schedule, Cron):
        return attrs.evolve(schedule, zone=timing.zone)
    return schedule


def _fresh(taken: Collection[JobId]) -> JobId:
    while (id := JobId(secrets.token_hex(4))) in taken:
        pass
    return id


def _name(text: str) -> str:
    name = " ".join(text.split())
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _shown(text: str) -> str:
    return repr(text[:LONGEST_NAME])
