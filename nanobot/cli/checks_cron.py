"""What `nanobot doctor` says about scheduled work: a damaged file, jobs that fail, are over or tell nobody."""

from __future__ import annotations

from collections.abc import Iterator

from nanobot.cli.findings import UNREAD, Facts, Finding, bad, ok, warn
from nanobot.config.schema import ChannelConfig, Config
from nanobot.errors import StoreUnusable
from nanobot.messages import SessionKey
from nanobot.scheduler import human
from nanobot.scheduler.jobs import Job, Outcome
from nanobot.scheduler.runs import Runs
from nanobot.scheduler.store import JobStore

MOST_NAMED = 5


def cron(facts: Facts) -> Finding:
    if facts.config is None:
        return UNREAD
    store = JobStore(facts.places.jobs, facts.config.gateway.cron.most_jobs)
    try:
        jobs = store.read()
        wrong = [store.trouble] if store.trouble else []
        wrong += [*_kept_aside(facts), *_wrong(facts, facts.config, jobs)]
    except StoreUnusable as exc:
        return bad(str(exc))
    if wrong:
        more = f" and {len(wrong) - MOST_NAMED} more" if len(wrong) > MOST_NAMED else ""
        return warn(f"{'; '.join(wrong[:MOST_NAMED])}{more}. See: nanobot cron list{facts.option}")
    on = sum(job.enabled for job in jobs)
    return ok(f"{on} on, {len(jobs) - on} off" if jobs else "none")


def _kept_aside(facts: Facts) -> Iterator[str]:
    """Files that were damaged."""
    for path in sorted(facts.places.jobs.parent.glob(f"{facts.places.jobs.name}.corrupt-*")):
        yield f"{path} was damaged: take from it what is missing, then delete it"


def _wrong(facts: Facts, config: Config, jobs: tuple[Job, ...]) -> Iterator[str]:
    """Raises: StoreUnusable."""
    on = [job for job in jobs if job.enabled]
    failed = _failed(facts, on)
    zone, now_ms = config.agents.defaults.timezone, round(facts.now * 1000)
    for job in on:
        if job.id in failed:
            yield f"{job.id}: its last run {failed[job.id]}"
        if not human.preview(job.schedule, now_ms, zone, 1):
            yield f"{job.id} is never due again"
        if channel := _off(job, config):
            yield f"{job.id} answers on {channel}, which is not enabled"


def _failed(facts: Facts, jobs: list[Job]) -> dict[str, str]:
    """Raises: StoreUnusable."""
    if not facts.places.runs.exists():
        return {}
    runs = Runs(facts.places.runs)
    try:
        last = runs.last([job.id for job in jobs])
    finally:
        runs.close()
    bad_ends = (Outcome.FAILED, Outcome.CRASHED, Outcome.BUSY, Outcome.CAPPED)
    return {job: f"ended so: {run.outcome} {run.error}".rstrip() for job, run in last.items() if run.outcome in bad_ends}


def _off(job: Job, config: Config) -> str:
    """The channel that it answers on, if that is not connected to."""
    channel = SessionKey.parse(job.session).channel if job.session else ""
    section: object = getattr(config.channels, channel, None) if channel else None
    return channel if isinstance(section, ChannelConfig) and not section.enabled else ""
