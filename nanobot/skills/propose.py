"""`propose_change`: the tool by which the assistant proposes another `SOUL.md` or another skill. Nothing changes by it.

A conversation with text of strangers in it may not propose (security/policy.py): what a person accepts out of habit would be
theirs.
"""

from __future__ import annotations

import time
from typing import Annotated

import attrs
import trio

from nanobot.errors import ToolError
from nanobot.messages import Effect
from nanobot.skills.proposals import Proposals, checked_path, checked_text
from nanobot.skills.reading import Corner
from nanobot.tools.plain import hidden
from nanobot.tools.port import Intent, Result, Tool, ToolTurn
from nanobot.tools.schema import Arg


@attrs.frozen
class ProposeChange:
    path: Annotated[str, Arg("SOUL.md, or a file of a skill, such as skills/NAME/SKILL.md.")]
    content: Annotated[str, Arg("All of its new text.")]
    reason: Annotated[str, Arg("Why, in one or two sentences, for the person who decides.")]


def intent(params: ProposeChange, _turn: ToolTurn) -> Intent:
    """Raises: ToolError."""
    return Intent("propose_change", checked_path(params.path), f"Proposes a new version of {params.path}; nothing changes by it.")


async def run(params: ProposeChange, turn: ToolTurn) -> Result:
    return await trio.to_thread.run_sync(_propose, params, turn)


def _propose(params: ProposeChange, turn: ToolTurn) -> Result:
    if turn.data is None:
        raise ToolError("proposals cannot be kept here")
    if turn.tainted:
        raise ToolError("Text of strangers is in this conversation, so nothing is proposed from it. Tell the user instead")
    if reason := hidden(params.reason):
        raise ToolError(f"The reason is not taken: {reason}")
    store = Proposals(Corner(turn.workspace, turn.data, turn.ledger))
    try:
        one = store.make(checked_path(params.path), checked_text(params.content), params.reason, str(turn.session), time.time())
    except OSError as error:
        raise ToolError(f"The proposal cannot be kept: {error.strerror or error}") from error
    return Result(
        f"Proposed as {one.id}; {one.path} is as it was. Tell the user that it waits, and how to decide: "
        f"nanobot skills proposals show {one.id}, then accept or reject it"
    )


PROPOSE_TOOL = Tool(
    "propose_change",
    "Propose a new version of SOUL.md or of a file of a skill. Nothing changes until the owner accepts it.",
    ProposeChange,
    run,
    Effect.WRITES,
    intent=intent,
)
