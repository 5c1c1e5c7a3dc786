"""`nanobot cron add` and `edit`: from the options to a job. Those of the older command are taken, too."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import attrs
from cyclopts import Parameter

from nanobot.cli.cron_cmd import JobArgument
from nanobot.cli.cron_jobs import Jobs, jobs_of
from nanobot.cli.cron_texts import coming, job_json
from nanobot.cli.options import JsonOption
from nanobot.cli.terminal import say, say_json, tell
from nanobot.cli.texts import plain
from nanobot.config.schema import CatchUp
from nanobot.messages import INTERNAL, SessionKey
from nanobot.scheduler import human, wishes
from nanobot.scheduler.jobs import Job
from nanobot.scheduler.wishes import Timing, Wish

USAGE = 2
NOWHERE = (
    "Its answers are told nowhere: nanobot sessions show cron:{0}. To have them told: nanobot cron edit {0} --to CHANNEL:CHAT"
)

WhenArgument = Annotated[str, Parameter(help="When, in words: in 20 minutes, tomorrow at 8, every weekday at 9.")]
MessageOption = Annotated[str | None, Parameter(name=["--message", "-m"], help="What the assistant is told when it is due.")]
NameOption = Annotated[str | None, Parameter(name=["--name", "-n"], help="A few words for people.")]
EveryOption = Annotated[int | None, Parameter(name=["--every", "-e"], help="Again and again after so many seconds.")]
CronOption = Annotated[str | None, Parameter(name=["--cron", "-c"], help="Five fields: minute hour day month weekday.")]
ZoneOption = Annotated[str | None, Parameter(name="--tz", help="Time zone of the times given, such as Europe/Berlin.")]
AtOption = Annotated[str | None, Parameter(name="--at", help="Once, at an ISO time.")]
DeliverOption = Annotated[
    bool | None,
    Parameter(name=["--deliver", "-d"], negative="--no-deliver", help="Tell the answer: in --to, else in gateway.notify."),
]
ToOption = Annotated[str | None, Parameter(name="--to", help="Chat that is told: CHANNEL:CHAT, or only CHAT with --channel.")]
ChannelOption = Annotated[str | None, Parameter(name="--channel", help="Channel of that chat.")]
CatchUpOption = Annotated[CatchUp | None, Parameter(name="--catch-up", help="Missed runs: make up for none, one or all.")]
HorizonOption = Annotated[float | None, Parameter(name="--horizon", help="Seconds after which a missed run stays missed.")]
DeadlineOption = Annotated[float | None, Parameter(name="--deadline", help="Seconds that one run may take.")]
TokensOption = Annotated[int | None, Parameter(name="--tokens", help="Most tokens of one run; 0: any number.")]
ConfigOption = Annotated[
    Path | None, Parameter(name="--config", help="Configuration file; its folder becomes the data directory.")
]
"""Without `-c`, which has been the expression for longer."""


@Parameter(name="*")
@attrs.frozen
class Options:
    """What add and edit may say of a job."""

    message: MessageOption = None
    name: NameOption = None
    every: EveryOption = None
    cron: CronOption = None
    tz: ZoneOption = None
    at: AtOption = None
    deliver: DeliverOption = None
    to: ToOption = None
    channel: ChannelOption = None
    catch_up: CatchUpOption = None
    horizon: HorizonOption = None
    deadline: DeadlineOption = None
    tokens: TokensOption = None


def add(*when: WhenArgument, options: Options = Options(), config: ConfigOption = None, json: JsonOption = False) -> int:
    """Schedule something: say when, and what (-m)."""
    jobs = jobs_of(config)
    made: list[Job] = []
    try:
        wish = _wish(when, options, _chat(options, jobs))

        def change(there: tuple[Job, ...]) -> tuple[Job, ...]:
            made.append(wishes.new(wish, there, jobs.here))
            return (*there, made[-1])

        jobs.store.edit(change)
    except (*wishes.WRONG, _Usage) as error:
        return _told(error)
    jobs.nudge()
    _say(made[-1], jobs, json=json)
    return 0


def edit(
    job: JobArgument,
    /,
    *when: WhenArgument,
    options: Options = Options(),
    config: ConfigOption = None,
    json: JsonOption = False,
) -> int:
    """Change a job: what is said replaces what was."""
    jobs = jobs_of(config)
    if not when and options == Options():
        return _told(_Usage("Change what? See: nanobot cron edit --help"))
    try:
        silent = (options.to, options.channel, options.deliver) == (None, None, None)
        wish = _wish(when, options, None if silent else _chat(options, jobs))
        now = jobs.change(job, lambda job: wishes.changed(job, wish, jobs.here))
    except (*wishes.WRONG, _Usage) as error:
        return _told(error)
    _say(now, jobs, json=json)
    return 0


class _Usage(ValueError):
    """The options do not fit together."""


def _told(error: ValueError) -> int:
    tell(str(error))
    return USAGE


def _wish(when: tuple[str, ...], options: Options, chat: str | None) -> Wish:
    timing = Timing(" ".join(when), options.every, options.cron, options.at, options.tz)
    limits = options.catch_up, options.horizon, options.deadline, options.tokens
    return Wish(timing, options.message, options.name, chat, *limits)


def _chat(options: Options, jobs: Jobs) -> str:
    """The key of the session that is told, empty for none. Raises: _Usage."""
    if options.channel and not options.to:
        raise _Usage("--channel needs the chat, too: --to CHAT")
    if options.to and options.deliver is False:
        raise _Usage("--no-deliver and --to exclude each other")
    if options.deliver is False:
        return ""
    if options.to:
        return _key(options.to, options.channel)
    notify = jobs.instance.config.gateway.notify
    if options.deliver and not notify:
        raise _Usage("--deliver where? Say --to CHANNEL:CHAT, or set gateway.notify")
    return _key(notify, None) if notify else ""


def _key(to: str, channel: str | None) -> str:
    """Raises: _Usage."""
    try:
        key = SessionKey(channel, to) if channel else SessionKey.parse(to)
    except ValueError as error:
        raise _Usage(f"--to: {error}") from error
    if key.channel in INTERNAL:
        raise _Usage(f"--to: {key.short} is no chat")
    return str(key)


def _say(job: Job, jobs: Jobs, *, json: bool) -> None:
    if json:
        say_json(job_json(job, jobs.last([job]).get(job.id), jobs.now, jobs.zone))
        return
    say(plain(f"{job.id}  {job.name}: {human.words(job.schedule, jobs.zone)}"))
    for line in coming(job, jobs.now, jobs.zone):
        say(line)
    if not job.session:
        say(NOWHERE.format(job.id))
