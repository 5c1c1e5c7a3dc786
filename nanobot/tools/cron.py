"""`cron`: have something said or done at a time, or again and again (agent/schedules.py, scheduler/).

Jobs belong to who made them and to the chat that they answer in. Policy judges three kinds of call: looking (`cron:reads`), what
makes another chat hear something (`cron:elsewhere`), and the rest. Scheduled work may only look: a job makes no jobs.
"""

from __future__ import annotations

from typing import Annotated, Literal, assert_never

import attrs

from nanobot.config.schema import CatchUp
from nanobot.errors import ToolError
from nanobot.messages import Effect, SessionKey
from nanobot.tools.plain import hidden
from nanobot.tools.port import Intent, JobWish, Result, Schedules, Tool, ToolTurn
from nanobot.tools.schema import Arg

NAME = "cron"
Action = Literal["add", "list", "update", "remove", "enable", "disable", "run_now"]
ONE = "Of when, every_seconds, cron_expr and at, give one."


@attrs.frozen
class Cron:
    action: Annotated[Action, Arg("What to do. All but add and list need job_id.")]
    message: Annotated[
        str | None,
        Arg("What you are told when it is due: a reminder as it shall be read, or an order that makes sense on its own."),
    ] = None
    when: Annotated[
        str | None, Arg(f"When, in words: in 20 minutes; tomorrow at 8; every weekday at 9; every 2 hours. {ONE}")
    ] = None
    every_seconds: Annotated[int | None, Arg("Again and again after so many seconds.", 1)] = None
    cron_expr: Annotated[str | None, Arg("Five fields: minute hour day month weekday, such as 0 9 * * 1-5.")] = None
    tz: Annotated[str | None, Arg("Time zone of the times given, such as Europe/Berlin; without it, the user's.")] = None
    at: Annotated[str | None, Arg("Once, at an ISO time, such as 2026-12-24T18:00.")] = None
    job_id: Annotated[str | None, Arg("The job, as list shows it.")] = None
    name: Annotated[str | None, Arg("A few words for people.")] = None
    to: Annotated[str | None, Arg("Another chat that is to hear it, as channel:chat; without it, this chat.")] = None
    catch_up: Annotated[
        CatchUp | None, Arg("Runs that were missed while the gateway was down: skip them, make up for one, or for all.")
    ] = None


def intent(params: Cron, turn: ToolTurn) -> Intent:
    """Raises: ToolError."""
    if params.action == "list":
        return Intent("cron:reads", "list")
    to = _chat(params.to)
    if params.action == "add":
        terms = f"In this chat, {turn.session.short}." if to is None else f"In {to.short}."
    else:
        seen = _port(turn).about(_job(params))
        terms = seen.title if to is None else f"{seen.title} From now on in {to.short}."
        if to is None and seen.chat and params.action not in ("remove", "disable"):  # those make nobody hear anything
            to = SessionKey.parse(seen.chat)
    if to is None or to == turn.session:
        return Intent("cron", params.action, terms)
    return Intent("cron:elsewhere", to.short, terms)


async def run(params: Cron, turn: ToolTurn) -> Result:
    port = _port(turn)
    match params.action:
        case "list":
            return await port.look()
        case "add":
            return await port.add(_wish(params))
        case "update":
            return await port.update(_job(params), _wish(params))
        case "remove":
            return await port.remove(_job(params))
        case "enable" | "disable":
            return await port.switch(_job(params), on=params.action == "enable")
        case "run_now":
            return await port.run_now(_job(params))
        case _ as never:
            assert_never(never)


def _port(turn: ToolTurn) -> Schedules:
    if turn.schedule is None:
        raise ToolError("nothing can be scheduled from here")
    return turn.schedule


def _job(params: Cron) -> str:
    if not params.job_id:
        raise ToolError(f"{params.action} needs job_id; the action list shows the jobs with their ids")
    return params.job_id


def _wish(params: Cron) -> JobWish:
    """Raises: ToolError."""
    for field, text in (("message", params.message), ("name", params.name)):
        if text and (reason := hidden(text)):
            raise ToolError(f"the {field} is not taken: {reason}")
    return JobWish(
        params.message,
        params.name,
        params.when,
        params.every_seconds,
        params.cron_expr,
        params.at,
        params.tz,
        _chat(params.to),
        params.catch_up,
    )


def _chat(text: str | None) -> SessionKey | None:
    """Raises: ToolError."""
    if not text:
        return None
    try:
        return SessionKey.parse(text)
    except ValueError as error:
        raise ToolError(f"to: {error}") from error


CRON_TOOL = Tool(
    NAME,
    "Have something said or done later: once at a time, or again and again. When a job is due, you are told its message in a "
    "turn of its own, and your answer goes to the chat. list shows the jobs; they can be changed, removed, switched off, and "
    "run at once.",
    Cron,
    run,
    Effect.WRITES,
    intent=intent,
)
