"""`search_history`: find what was ever said, in the history file and in past conversations (agent/recall.py)."""

from __future__ import annotations

from typing import Annotated, Literal

import attrs

from nanobot.errors import ToolError
from nanobot.messages import Effect, SessionKey
from nanobot.tools.port import Result, Sought, Tool, ToolTurn
from nanobot.tools.schema import Arg

NAME = "search_history"
MOST = 50
DEADLINE_S = 60.0
"""Seconds: the first search of an old installation reads for a while; it stops by itself before."""
LONGEST = 1000
"""Characters of a search."""


@attrs.frozen
class SearchHistory:
    query: Annotated[
        str, Arg('Words that must all occur; "words in quotes" stand together; -word must not occur; begin* for word beginnings.')
    ] = ""
    since: Annotated[str | None, Arg("From then on: 2026-11-23, 2026-11-23 10:30, 2026-11, yesterday, 3 weeks ago.")] = None
    until: Annotated[str | None, Arg("Up to the end of then: the same words.")] = None
    chat: Annotated[str | None, Arg("Only this conversation, as channel:chat.")] = None
    role: Annotated[
        Literal["person", "assistant", "tool", "history"] | None, Arg("Only what these said; history: entries of HISTORY.md.")
    ] = None
    limit: Annotated[int, Arg("Most results.", minimum=1, maximum=MOST)] = 10
    read: Annotated[str | None, Arg("Id of a result: shows it whole; nothing else is looked at then.")] = None


async def run(params: SearchHistory, turn: ToolTurn) -> Result:
    if turn.recall is None:
        raise ToolError("nothing can be searched from here")
    if params.read is not None:
        return await turn.recall.read(params.read)
    if len(params.query) > LONGEST:
        raise ToolError(f"query is longer than {LONGEST:,} characters; a few words find more")
    chat = None if params.chat is None else _key(params.chat)
    return await turn.recall.search(Sought(params.query, params.since, params.until, chat, params.role, params.limit))


def _key(chat: str) -> SessionKey:
    try:
        return SessionKey.parse(chat)
    except ValueError as error:
        raise ToolError(str(error)) from error


SEARCH_HISTORY_TOOL = Tool(
    NAME,
    "Find what was said before, also long ago: in past conversations and in the entries of memory/HISTORY.md. Without query, the "
    "latest that since, until, chat and role leave. Other words for the same thing find other places: try several.",
    SearchHistory,
    run,
    Effect.READS,
    DEADLINE_S,
)
