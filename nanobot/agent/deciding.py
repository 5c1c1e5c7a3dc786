"""The heartbeat's decision: one call of the default model, with a context of its own, by the tool `heartbeat`.

Fills `Decider` of scheduler/heartbeat.py. It sees the tasks and what was done of them lately, never a conversation. An answer
without the call, or one that cannot be read, means that there is nothing to do.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from zoneinfo import ZoneInfo

import attrs

from nanobot.agent.mind import Ask, ModelMind
from nanobot.providers.port import Completion, ToolSpec
from nanobot.scheduler.heartbeat import JOB, KEY, OWNER, Decision
from nanobot.scheduler.heartbeat_state import Done
from nanobot.scheduler.zones import wall
from nanobot.usage.spent import Kind, Meter, beside
from nanobot.wire import Json

NAME = "heartbeat"
SYSTEM = """\
You look at a person's list of standing tasks from time to time, and decide whether anything of it is to be done just now. Call
the tool heartbeat once. Choose run only for what is due at the time given, and name in tasks all that is to be done, complete
in itself: who does it sees only that. What was done lately is not due again before its time. In doubt, skip."""
SCHEMA = {
    "type": "object",
    "properties": {
        "action": {"type": "string", "enum": ["skip", "run"], "description": "skip: nothing is due; run: something is"},
        "tasks": {"type": "string", "description": "For run: what is to be done, complete in itself"},
        "again_minutes": {
            "type": "integer",
            "description": "For skip: in how many minutes something may be due; leave it out where nothing depends on time",
        },
    },
    "required": ["action"],
}
TOOL = ToolSpec(NAME, "Say whether anything is to be done now.", json.dumps(SCHEMA))
SHOWN_CHARS = 300
"""Of a task that was done."""


@attrs.frozen
class ModelDecider:
    mind: ModelMind
    meter: Meter
    clock: Callable[[], float]

    async def decide(self, tasks: str, done: tuple[Done, ...], zone: ZoneInfo) -> Decision:
        """Raises: ProviderError, ConfigError, SdkMissing."""
        text = _text(tasks, done, zone, self.clock())
        completion = await self.mind.answer(None, Ask(SYSTEM, text, (TOOL,), str(KEY)))
        key, at = str(KEY), self.clock()
        self.meter.spent(beside(key, completion.model, completion.usage, Kind.HEARTBEAT, at, principal=OWNER, job=JOB))
        return read(completion, tasks)


def read(completion: Completion, tasks: str) -> Decision:
    """What the model has decided. `run` without tasks means all that are active."""
    call = next((call for call in completion.calls if call.name == NAME), None)
    said = _object(call.arguments) if call is not None else {}
    if str(said.get("action", "")).strip().lower() == "run":
        named = said.get("tasks")
        return Decision(named.strip() if isinstance(named, str) and named.strip() else tasks)
    minutes = said.get("again_minutes")
    return Decision(again_s=minutes * 60.0 if isinstance(minutes, int | float) and minutes > 0 else None)


def _object(text: str) -> dict[str, Json]:
    """Some models write the arguments as a text that holds them."""
    try:
        found = json.loads(text)
        found = json.loads(found) if isinstance(found, str) else found
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(tasks: str, done: tuple[Done, ...], zone: ZoneInfo, now: float) -> str:
    lines = [f"It is {wall(zone, now):%A, %Y-%m-%d %H:%M} ({zone.key or 'local time'}).", "", "The tasks:", tasks]
    if done:
        lines += ["", "Done lately:"]
        lines += [
            f"- {wall(zone, run.slot / 1000):%A, %Y-%m-%d %H:%M}{'' if run.ok else ' (failed)'}: "
            f"{' '.join(run.tasks.split())[:SHOWN_CHARS]}"
            for run in done
        ]
    return "\n".join(lines)
