"""How a job stands, in a few words for lists. Pure."""

from __future__ import annotations

from nanobot.scheduler import human
from nanobot.scheduler.jobs import At, Job, Run


def due(job: Job, last: Run | None, now_ms: int, zone: str) -> str:
    """When it comes next. `last`: its last run."""
    if not job.enabled:
        return "off"
    if coming := human.preview(job.schedule, now_ms, zone, 1):
        return f"next {coming[0]}"
    overdue = isinstance(job.schedule, At) and last is None
    return "was due, and has not run yet" if overdue else "never due again"
