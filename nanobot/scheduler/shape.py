"""Jobs as their file has them: the shape of HKUDS/nanobot with our keys beside theirs, and back. Pure.

    {"version": 1, "jobs": [{
        "id", "name", "enabled",
        "schedule": {"kind": "at" | "every" | "cron", "atMs", "everyMs", "expr", "tz", + "anchorMs"},
        "payload": {"kind": "agent_turn", "message", "deliver", "channel", "to", "sessionKey", + "principal", "tainted"},
        "state": {"nextRunAtMs", "lastRunAtMs", "lastStatus", "lastError"},
        "createdAtMs", "updatedAtMs", "deleteAfterRun", + "catchUp", "horizonS", "deadlineS", "tokens"}]}

Read are snake_case and numbers in quotes, too. Keys that we do not know stay, at every level. `state` is told to people and to
HKUDS/nanobot and never believed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import cast

import attrs

from nanobot.config.schema import CatchUp
from nanobot.messages import Principal, SessionKey
from nanobot.scheduler.jobs import At, Cron, Every, Job, JobId, Outcome, Schedule, Slot
from nanobot.wire import Json, JsonObject

VERSION = 1
OWNER = str(Principal("cli", "default", "direct", "user"))
"""Whose a job is that does not say: of who owns the file, as somebody at the terminal."""
LATEST_MS = 253_402_300_799_999
"""The end of the year 9999: what calendars can count to."""
HEARTBEAT = "heartbeat"
"""By its runs' messages, `job:heartbeat:SLOT`, what the heartbeat uses up is counted."""
MOST_MESSAGE = 100_000
"""Characters of what is said when it is due."""
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_STATUS = {Outcome.OK: "ok", Outcome.FAILED: "error", Outcome.CRASHED: "error", Outcome.RUNNING: "running"}


class BadJob(ValueError):
    """An entry that is no job, and why."""


@attrs.frozen
class State:
    """What the file tells of a job's runs."""

    next: Slot | None = None
    last: Slot | None = None
    outcome: Outcome | None = None
    error: str = ""


def job_of(row: Json) -> Job:
    """Raises: BadJob."""
    if not isinstance(row, dict):
        raise BadJob("it is no object")
    job_id = str(_get(row, "id") or "")
    if not _ID.fullmatch(job_id):
        raise BadJob("its id has other signs than letters, digits, - and _, or none")
    if job_id == HEARTBEAT:
        raise BadJob(f"the id {HEARTBEAT} is the heartbeat's own")
    payload, created = _object(row, "payload"), _ms(row, "createdAtMs") or 0
    if (kind := _get(payload, "kind") or "agent_turn") != "agent_turn":
        raise BadJob(f"its payload is {kind!r}, which only HKUDS/nanobot has")
    message = _text(payload, "message")
    if not message.strip() or len(message) > MOST_MESSAGE:
        raise BadJob("its message is empty" if not message.strip() else f"its message has more than {MOST_MESSAGE} characters")
    session = _session(payload)
    return Job(
        JobId(job_id),
        _text(row, "name") or job_id,
        message,
        _schedule(_object(row, "schedule"), created),
        _principal(payload),
        "" if session is None or session == SessionKey("cron", job_id) else str(session),
        enabled=_flag(row, "enabled", default=True),
        tainted=_flag(payload, "tainted", default=False),
        delete_after_run=_flag(row, "deleteAfterRun", default=False),
        catch_up=_catch_up(row),
        horizon_s=_number(row, "horizonS"),
        deadline_s=_number(row, "deadlineS"),
        tokens=_whole(row, "tokens"),
        created_ms=created,
        updated_ms=_ms(row, "updatedAtMs") or 0,
        ran_ms=_ms(_object(row, "state"), "lastRunAtMs") or 0,
    )


def row_of(job: Job, before: Json = None) -> JsonObject:
    """The entry of a job; `before`: the one it replaces, whose other keys stay."""
    old = before if isinstance(before, dict) else {}
    key = SessionKey.parse(job.session) if job.session else None
    payload: JsonObject = {
        "kind": "agent_turn",
        "message": job.message,
        "deliver": key is not None,
        "channel": key.channel if key else None,
        "to": key.chat if key else None,
        "sessionKey": key.short if key else None,
        "principal": job.principal,
        "tainted": job.tainted or None,
    }
    row: JsonObject = {
        "id": job.id,
        "name": job.name,
        "enabled": job.enabled,
        "schedule": _over(_get(old, "schedule"), _schedule_row(job.schedule), ("anchorMs",)),
        "payload": _over(_get(old, "payload"), payload, ("sessionKey", "tainted")),
        "state": _get(old, "state") or _state_row(State()),
        "createdAtMs": job.created_ms,
        "updatedAtMs": job.updated_ms,
        "deleteAfterRun": job.delete_after_run,
        "catchUp": job.catch_up,
        "horizonS": job.horizon_s,
        "deadlineS": job.deadline_s,
        "tokens": job.tokens,
    }
    return _over(old, row, ("catchUp", "horizonS", "deadlineS", "tokens"))


def with_state(row: JsonObject, state: State) -> JsonObject:
    """The entry with what is told of its runs."""
    return {**row, "state": _over(_get(row, "state"), _state_row(state), ())}


# --- writing


def _over(old: Json, known: JsonObject, optional: tuple[str, ...]) -> JsonObject:
    """What we know over what was there; of `optional` keys none is written without need."""
    rest = {key: value for key, value in old.items() if _camel(key) not in known} if isinstance(old, dict) else {}
    return {**{key: value for key, value in known.items() if value is not None or key not in optional}, **rest}


def _schedule_row(schedule: Schedule) -> JsonObject:
    row: JsonObject = {"kind": "cron", "atMs": None, "everyMs": None, "expr": None, "tz": None, "anchorMs": None}
    match schedule:
        case At(at_ms):
            return {**row, "kind": "at", "atMs": at_ms}
        case Every(every_ms, anchor_ms):
            return {**row, "kind": "every", "everyMs": every_ms, "anchorMs": anchor_ms}
        case Cron(expr, zone):
            return {**row, "expr": expr, "tz": zone or None}


def _state_row(state: State) -> JsonObject:
    status = None if state.outcome is None else _STATUS.get(state.outcome, "skipped")
    return {"nextRunAtMs": state.next, "lastRunAtMs": state.last, "lastStatus": status, "lastError": state.error or None}


# --- reading


def _schedule(row: JsonObject, created_ms: int) -> Schedule:
    match _get(row, "kind"):
        case "at" if (at := _ms(row, "atMs")) is not None:
            return At(at)
        case "every" if (every := _ms(row, "everyMs")) is not None and every > 0:
            anchor = _ms(row, "anchorMs")
            return Every(every, created_ms if anchor is None else anchor)
        case "cron" if expr := _text(row, "expr"):
            return Cron(expr, _text(row, "tz"))
        case "at" | "every" | "cron" as kind:
            needs = {"at": "atMs", "every": "everyMs above 0", "cron": "expr"}[str(kind)]
            raise BadJob(f"its schedule, {kind}, needs {needs}")
        case _:
            raise BadJob("it has no schedule of kind at, every or cron")


def _principal(payload: JsonObject) -> str:
    text = _text(payload, "principal")
    try:
        return str(Principal.parse(text)) if text else OWNER
    except ValueError as exc:
        raise BadJob("its principal is not channel:account:chat:user") from exc


def _session(payload: JsonObject) -> SessionKey | None:
    """Its chat. Files of HKUDS/nanobot have one only where the answer is to be delivered."""
    try:
        if key := _text(payload, "sessionKey"):
            return SessionKey.parse(key)
    except ValueError:
        pass
    channel, chat = _text(payload, "channel"), _text(payload, "to")
    return SessionKey(channel, chat) if _flag(payload, "deliver", default=False) and channel and chat else None


def _catch_up(row: JsonObject) -> CatchUp | None:
    value = _get(row, "catchUp")
    if value not in (None, "skip", "once", "all"):
        raise BadJob("its catchUp is none of skip, once, all")
    return cast("CatchUp | None", value)


@lru_cache(maxsize=1024)  # every key of every entry, and few different ones
def _camel(key: str) -> str:
    return re.sub(r"_(\w)", lambda found: found[1].upper(), key)


@lru_cache(maxsize=1024)
def _snake(key: str) -> str:
    return re.sub(r"([A-Z])", lambda found: f"_{found[1].lower()}", key)


def _get(row: Mapping[str, Json], key: str) -> Json:
    return row[key] if key in row else row.get(_snake(key))


def _object(row: JsonObject, key: str) -> JsonObject:
    value = _get(row, key)
    return value if isinstance(value, dict) else {}


def _text(row: JsonObject, key: str) -> str:
    match _get(row, key):
        case None:
            return ""
        case str() as text:
            return text
        case int() as number if not isinstance(number, bool):  # ids of chats are numbers in some networks
            return str(number)
        case _:
            raise BadJob(f"its {key} is no text")


def _flag(row: JsonObject, key: str, *, default: bool) -> bool:
    match _get(row, key):
        case None:
            return default
        case bool() as flag:
            return flag
        case _:
            raise BadJob(f"its {key} is neither true nor false")


def _number(row: JsonObject, key: str) -> float | None:
    value = _get(row, key)
    if value is None:
        return None
    try:
        number = math.nan if isinstance(value, bool | list | dict) else float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not 0 <= number <= LATEST_MS:  # NaN is not, either
        raise BadJob(f"its {key} is no number from 0 to the year 9999")
    return number


def _whole(row: JsonObject, key: str) -> int | None:
    number = _number(row, key)
    return None if number is None else int(number)


_ms = _whole
