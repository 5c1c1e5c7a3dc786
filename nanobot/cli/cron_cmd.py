"""`nanobot cron`: what is scheduled, when it is due, and what became of it.

All but `run` work with and without a gateway: the file is changed under its lock, and a gateway that runs is told. Only that can
carry a job out.
"""

from __future__ import annotations

from typing import Annotated

import attrs
from cyclopts import App, Parameter

from nanobot.cli.cron_jobs import RUN_S, Jobs, jobs_of
from nanobot.cli.cron_texts import coming, job_json, row, run_json, run_line, table, whole
from nanobot.cli.options import ConfigOption, JsonOption
from nanobot.cli.terminal import say, say_json
from nanobot.cli.texts import plain
from nanobot.control.client import ask
from nanobot.scheduler.jobs import JobId, Run
from nanobot.scheduler.wishes import JobTrouble

SHOWN_RUNS = 5
HISTORY = 20
JobArgument = Annotated[str, Parameter(help="The job: its id, or its name if no other has it.")]

app = App(name="cron", help="See, make and change scheduled work.", version_flags=[])
app.command("nanobot.cli.cron_edit:add", name="add", help="Schedule something: say when, and what (-m).", sort_key=2)
app.command("nanobot.cli.cron_edit:edit", name="edit", help="Change a job: what is said replaces what was.", sort_key=4)


@app.command(name="list", sort_key=1)
def list_(
    *,
    every: Annotated[bool, Parameter(name=["--all", "-a"], negative="", help="For older scripts: all are shown anyway.")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """List the jobs, when each is due next and how it went last."""
    jobs = jobs_of(config)
    found = jobs.all()
    last = jobs.last(found)
    if json:
        say_json([job_json(job, last.get(job.id), jobs.now, jobs.zone) for job in found])
        return
    if not found:
        say('There are no jobs. To make one: nanobot cron add "every weekday at 9" -m "Say good morning"')
        return
    for line in table([row(job, last.get(job.id), jobs.now, jobs.zone) for job in found]):
        say(line)


@app.command(sort_key=3)
def show(job: JobArgument, /, *, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Show all of a job, its next and its last runs."""
    jobs = jobs_of(config)
    found = jobs.found(job)
    runs = jobs.lately(found.id, SHOWN_RUNS)
    if json:
        say_json(job_json(found, runs[0] if runs else None, jobs.now, jobs.zone))
        return
    for line in whole(found, runs, jobs.instance.config.gateway.cron, jobs.now, jobs.zone):
        say(line)


@app.command(sort_key=5)
def remove(job: JobArgument, /, *, config: ConfigOption = None) -> None:
    """Remove a job. Its history stays, under its id."""
    gone = jobs_of(config).change(job, lambda _job: None)
    say(plain(f"{gone.id} ({gone.name}) was removed."))


@app.command(sort_key=6)
def enable(
    job: JobArgument,
    /,
    *,
    off: Annotated[bool, Parameter(name="--disable", negative="", help="The other way round, as nanobot cron disable.")] = False,
    config: ConfigOption = None,
) -> None:
    """Switch a job on."""
    jobs = jobs_of(config)
    one = jobs.change(job, lambda job: attrs.evolve(job, enabled=not off, updated_ms=jobs.here.now_ms))
    say(plain(f"{one.id} ({one.name}) is {'off' if off else 'on'}."))
    for line in coming(one, jobs.now, jobs.zone):
        say(line)


@app.command(sort_key=7)
def disable(job: JobArgument, /, *, config: ConfigOption = None) -> None:
    """Switch a job off; it stays in the list."""
    enable(job, off=True, config=config)


@app.command(sort_key=8)
def run(
    job: JobArgument,
    /,
    *,
    force: Annotated[bool, Parameter(name=["--force", "-f"], negative="", help="Also one that is off.")] = False,
    config: ConfigOption = None,
) -> None:
    """Run a job now, once, beside its schedule. This needs the gateway."""
    jobs = jobs_of(config)
    found = jobs.found(job)
    if not found.enabled and not force:
        raise JobTrouble(f"{found.id} is off. To run it once all the same: nanobot cron run {found.id} --force")
    ask(jobs.instance.places.data, {"do": "cron", "order": "run", "id": found.id}, RUN_S)
    say(f"{found.id} runs as soon as its chat is free. See what came of it: nanobot cron history {found.id}")


@app.command(sort_key=9)
def history(
    job: Annotated[str | None, Parameter(help="The job, also one that was removed, by its id; none: all.")] = None,
    /,
    *,
    most: Annotated[int, Parameter(name=["--most", "-n"], help="Runs that are shown, the latest first.")] = HISTORY,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show what became of runs: also those that were missed or skipped."""
    jobs = jobs_of(config)
    runs = jobs.newest(most) if job is None else _of_one(jobs, job, most)
    if json:
        say_json([run_json(run) for run in runs])
        return
    if not runs:
        say("Nothing has run yet.")
    for one in runs:
        say(f"{one.job}  {run_line(one)}" if job is None else run_line(one))


def _of_one(jobs: Jobs, job: str, most: int) -> list[Run]:
    """By id, as removed jobs are found by nothing else."""
    return jobs.history(JobId(job), most) or jobs.history(jobs.found(job).id, most)
