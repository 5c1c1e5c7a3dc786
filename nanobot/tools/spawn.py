"""`spawn`: hand a task to a subagent, and wait for its result or not (agent/subagents.py)."""

from __future__ import annotations

from typing import Annotated

import attrs

from nanobot.errors import ToolError
from nanobot.messages import Effect
from nanobot.tools.plain import one_line
from nanobot.tools.port import Result, Task, Tool, ToolTurn
from nanobot.tools.schema import Arg

NAME = "spawn"
LONGEST_TASK = 20_000
"""Characters; it stands in the journal, and material belongs into files."""
LONGEST_TITLE = 60
SLACK_S = 10.0
"""Seconds: the subagent's own deadline is told, so it must come first."""


@attrs.frozen
class Spawn:
    task: Annotated[str, Arg("What to do, with all that is needed for it: it sees nothing of this conversation.")]
    label: Annotated[str, Arg("A few words for people.")] = ""
    wait: Annotated[bool, Arg("Wait for the result here. Otherwise it comes as a message of its own.")] = False


async def run(params: Spawn, turn: ToolTurn) -> Result:
    if turn.spawn is None:
        raise ToolError("subagents cannot be started from here")
    if not params.task.strip():
        raise ToolError("task is empty; say in it what is to be done")
    if len(params.task) > LONGEST_TASK:
        raise ToolError(f"task is longer than {LONGEST_TASK:,} characters; put the material into a file and name that")
    title = one_line(params.label or params.task)[:LONGEST_TITLE]
    return await turn.spawn(Task(params.task, title, params.wait))


def spawn_tool(deadline_s: float) -> Tool[Spawn]:
    """deadline_s: of a subagent."""
    return Tool(
        NAME,
        "Hand a task to a subagent, which works on it alone with the same tools and can speak to nobody. Good for what takes "
        "many steps whose details you do not need. It may run beside this conversation.",
        Spawn,
        run,
        Effect.WRITES,
        deadline_s + SLACK_S,
    )
