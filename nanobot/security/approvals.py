"""The words of an approval: what the owner is asked, and what the model is told meanwhile. Pure.

What is shown is what runs: every sign of the arguments, with those escaped that cannot be seen. What is too long to be read
is not asked for at all.
"""

from __future__ import annotations

import json
import re

from nanobot.errors import ToolError
from nanobot.messages import Button
from nanobot.session.state import Errand
from nanobot.tools.plain import visible
from nanobot.tools.port import Intent

LONGEST = 3000
"""Signs that somebody reads before they say yes; a message of most networks holds them."""
LONGEST_TERMS = 400
"""Signs; a folder's path is the most of them."""
MOST_OPEN = 8
"""Calls of a session that wait at a time: more is a model that asks for everything."""
WAITS = (
    "Not run yet: it waits for the owner's word (id {}). If the owner allows it, it runs once, exactly so, and what came of it "
    "reaches you as a message. Do not ask for it again; go on without it, or end your answer by saying what you wait for."
)
WAITS_ALREADY = "Refused: the same call waits for the owner's word already (id {})."
ALONE = (
    "Refused: this needs the owner's word, and a subagent can ask nobody. Do what can be done without, and say what is missing."
)
TOO_MANY = f"Refused: {MOST_OPEN} calls wait for the owner's word in this chat already. Wait until some are answered."
TOO_LONG = f"it needs the owner's word, and with more than {LONGEST} signs nobody can read what it does. Do it in smaller parts"
CHANGED = (
    "Not run: what was approved would not happen as it was shown any more (then: {then} Now: {now}). "
    "If it is still wanted, ask again."
)
STRANGERS = "Text of strangers stands in this conversation, so I ask before this. (/trust or /new ends that.)"


def shown(tool: str, intent: Intent, arguments: str) -> str:
    """The call for people, whole. Raises: ToolError for what is too long to be read."""
    text = visible(intent.subject if tool == "exec" else _plain(arguments))
    if len(text) > LONGEST or len(intent.terms) > LONGEST_TERMS:
        raise ToolError(TOO_LONG)
    return text


def question(errand: Errand, expire_s: float, *, where: str = "") -> str:
    """What the owner reads. `where`: the chat that wants it, if that is another."""
    text, terms = errand.text, " ".join(visible(errand.terms).split())
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text + terms)), default=0))
    who = f"{where} wants to use {errand.tool}:" if where else f"May I use {errand.tool} for this?"
    block = f"{fence}\n{{}}\n{fence}".format
    lines = [STRANGERS if errand.tainted else "", who, block(terms) if terms else "", block(text)]
    answer = f"Yes: /approve {errand.id}\nNo: /deny {errand.id}\n(The question is good for {_long(expire_s)}.)"
    return "\n\n".join([*filter(None, lines), answer])


def buttons(errand: str) -> tuple[Button, ...]:
    return Button("Approve", f"/approve {errand}"), Button("Deny", f"/deny {errand}")


def elsewhere(tool: str) -> str:
    """What a chat reads whose question goes to the owner, who is somebody else."""
    return f"For that ({tool}) I need my owner's word. I have asked."


def refused(row: str, who: str, *, tainted: bool) -> str:
    """What the model is told of a call that the policy denies."""
    tool = row.partition(":")[0]
    why = " while text of strangers stands in the conversation" if tainted else ""
    whom = {"owner": "the owner", "paired": "anybody but the owner", "group": "a group", "scheduled": "scheduled work"}[who]
    return f"Refused: {tool} ({row}) is not for {whom}{why} (nanobot guide policy). Do not try to reach the same in another way."


def _plain(arguments: str) -> str:
    """JSON as a person reads it: its letters as they are, its order kept."""
    try:
        return json.dumps(json.loads(arguments), ensure_ascii=False, indent=1)
    except ValueError:
        return arguments


def _long(seconds: float) -> str:
    for unit, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= unit:
            count = round(seconds / unit)
            return f"{count} {name}{'' if count == 1 else 's'}"
    return f"{seconds:.0f} seconds"
