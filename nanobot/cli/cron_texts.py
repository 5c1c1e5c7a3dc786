"""Jobs and their runs as `nanobot cron` shows them: in lines for people, as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nanobot.archive.reading import short
from nanobot.cli.live import ago
from nanobot.cli.texts import plain, when
from nanobot.config.schema import CronConfig
from nanobot.messages import Principal
from nanobot.scheduler import human, listing, slots
from nanobot.scheduler.jobs import At, Cron, Every, Job, Run, Schedule
from nanobot.scheduler.slots import BadSchedule
from nanobot.wire import Json, JsonObject

PREVIEW = 5
"""Runs that are shown ahead."""
ABOUT = {"skip": "skipped", "once": "made up for once", "all": "all made up for"}


def row(job: Job, last: Run | None, now: float, zone: str) -> tuple[str, ...]:
    """Of the list: id, name, when, next run, last run."""
    due = listing.due(job, last, round(now * 1000), zone)
    ended = "" if last is None else f"last {last.outcome}, {when(last.due_ms / 1000)}"
    return tuple(map(plain, (job.id, job.name, human.words(job.schedule, zone), due, ended)))


def table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for cells in rows:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def whole(job: Job, runs: Sequence[Run], usual: CronConfig, now: float, zone: str) -> Iterator[str]:
    """All of a job."""
    yield plain(f"{job.id}  {job.name}")
    about = {
        "when": human.words(job.schedule, zone),
        "chat": short(job.session) if job.session else f"none: it answers nowhere, see nanobot sessions show cron:{job.id}",
        "made by": f"{_who(job.principal)}{', while text of strangers stood in the conversation' if job.tainted else ''}",
        "state": f"{'on' if job.enabled else 'off'}{'; removed after its run' if job.delete_after_run else ''}",
        "missed": _missed(job, usual),
        "limits": _limits(job, usual),
    }
    for name, text in about.items():
        yield f"{name:<9} {plain(text)}"
    yield from coming(job, now, zone)
    for run in runs:
        yield f"{'run':<9} {run_line(run)}"
    yield ""
    yield from (f"    {plain(line)}" for line in job.message.splitlines())


def coming(job: Job, now: float, zone: str) -> Iterator[str]:
    """The next runs."""
    if not job.enabled:
        return
    shown = human.preview(job.schedule, round(now * 1000), zone, PREVIEW)
    for number, line in enumerate(shown or ["never again"]):
        yield f"{'' if number else 'next':<9} {plain(line)}"


def run_line(run: Run) -> str:
    seconds = _seconds(run)
    parts = [
        f"{when(run.due_ms / 1000)}  {run.outcome:<16}",
        f"{'' if seconds is None else ago(seconds):<7}",
        f"{f'{run.tokens:,} tokens' if run.tokens else '':<15}",
        "by hand" if run.by_hand else "",
        plain(" ".join(run.error.split())),
    ]
    return " ".join(parts).rstrip()


# --- for programs


def job_json(job: Job, last: Run | None, now: float, zone: str) -> JsonObject:
    """Keys in camelCase, all of them always; times are seconds since 1970."""
    return {
        "id": job.id,
        "name": job.name,
        "message": job.message,
        "enabled": job.enabled,
        "schedule": _schedule_json(job.schedule, zone),
        "words": human.words(job.schedule, zone),
        "next": _next(job, now, zone),
        "last": None if last is None else run_json(last),
        "chat": short(job.session) if job.session else None,
        "principal": job.principal,
        "tainted": job.tainted,
        "deleteAfterRun": job.delete_after_run,
        "catchUp": job.catch_up,
        "horizonS": job.horizon_s,
        "deadlineS": job.deadline_s,
        "tokens": job.tokens,
        "createdAt": job.created_ms / 1000,
        "updatedAt": job.updated_ms / 1000,
    }


def run_json(run: Run) -> JsonObject:
    return {
        "job": run.job,
        "session": short(run.session),
        "at": run.slot / 1000,
        "outcome": str(run.outcome),
        "startedAt": None if run.started_ms is None else run.started_ms / 1000,
        "endedAt": None if run.ended_ms is None else run.ended_ms / 1000,
        "seconds": _seconds(run),
        "tokens": run.tokens,
        "error": run.error,
        "byHand": run.by_hand,
    }


def _schedule_json(schedule: Schedule, zone: str) -> JsonObject:
    match schedule:
        case At(at_ms):
            return {"kind": "at", "at": at_ms / 1000}
        case Every(every_ms, anchor_ms):
            return {"kind": "every", "everySeconds": every_ms / 1000, "from": anchor_ms / 1000}
        case Cron(expr, own):
            return {"kind": "cron", "expr": expr, "tz": own or zone or None}


def _next(job: Job, now: float, zone: str) -> list[Json]:
    if not job.enabled:
        return []
    try:
        return [slot / 1000 for slot in slots.slots_between(job.schedule, round(now * 1000), slots.END_MS, zone, PREVIEW)]
    except BadSchedule:  # the zone of the configuration is none
        return []


# --- parts


def _seconds(run: Run) -> float | None:
    if run.started_ms is None or run.ended_ms is None:
        return None
    return (run.ended_ms - run.started_ms) / 1000


def _who(principal: str) -> str:
    try:
        who = Principal.parse(principal)
    except ValueError:
        return principal
    return "the terminal" if who.channel == "cli" else f"{who.channel}:{who.user}"


def _missed(job: Job, usual: CronConfig) -> str:
    horizon = usual.horizon_s if job.horizon_s is None else job.horizon_s
    text = ABOUT[job.catch_up or usual.catch_up]
    return text if (job.catch_up or usual.catch_up) == "skip" else f"{text}, if not more than {ago(horizon)} ago"


def _limits(job: Job, usual: CronConfig) -> str:
    deadline = usual.deadline_s if job.deadline_s is None else job.deadline_s
    tokens = usual.tokens if job.tokens is None else job.tokens
    return f"{ago(deadline)}, {f'{tokens:,} tokens' if tokens else 'any number of tokens'}"
