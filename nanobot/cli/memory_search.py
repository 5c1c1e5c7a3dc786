"""`nanobot memory search`: words in HISTORY.md and in the conversations of all sessions."""

from __future__ import annotations

import time
from datetime import tzinfo
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from nanobot.cli.options import ConfigOption, JsonOption
from nanobot.cli.terminal import opened, say, say_json, tell, tell_warnings
from nanobot.cli.texts import plain, when
from nanobot.memory import moments
from nanobot.memory.index import Found, Hit, Index, Query, index_at
from nanobot.messages import SessionKey
from nanobot.wire import JsonObject

MOST = 10
USAGE = 2


def search(
    *words: Annotated[str, Parameter(help="What to look for; nothing: the latest.")],
    after: Annotated[
        str | None, Parameter(help="Only from then on: 2026-11-23, 2026-11-23T10:30, yesterday, 3 weeks ago.")
    ] = None,
    before: Annotated[str | None, Parameter(help="Only before then: the same words.")] = None,
    chat: Annotated[str | None, Parameter(help="Only this session, as `nanobot sessions list` shows it.")] = None,
    most: Annotated[int, Parameter(help="So many at most.")] = MOST,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> int:
    """Search HISTORY.md and all conversations, also what has long left them."""
    index = _index(config)
    try:
        query = Query(" ".join(words), _time(after, index.zone), _time(before, index.zone), _key(chat), most=max(1, most))
    except ValueError as error:
        tell(str(error))
        return USAGE
    found = index.search(query)
    for trouble in found.troubles:
        tell(f"warning: {plain(trouble)}")
    if json:
        say_json({"hits": [_as_json(hit) for hit in found.hits], "more": found.more, "unread": found.unread})
        return 0
    for hit in found.hits:
        say(plain(f"{when(hit.at) if hit.at else 'some time':<16}  {hit.chat or hit.role}  {hit.id}"))
        say(plain(f"    {hit.excerpt}"))
    if rest := _rest(found):
        say(rest)
    return 0


def _index(option: Path | None) -> Index:
    instance = opened(option)
    tell_warnings(instance.warnings)
    return index_at(instance.places, instance.config)


def _rest(found: Found) -> str:
    said = [] if found.hits else ["Nothing was found."]
    said += ["There is more: --most shows it."] if found.more else []
    said += [f"{found.unread} conversations are not read yet; search again to have them, too."] if found.unread else []
    return " ".join(said)


def _time(text: str | None, zone: tzinfo | None) -> float | None:
    """Raises: ValueError."""
    return None if text is None else moments.read(text, time.time(), zone)[0]


def _key(chat: str | None) -> str | None:
    """Raises: ValueError."""
    return None if chat is None else str(SessionKey.parse(chat))


def _as_json(hit: Hit) -> JsonObject:
    return {
        "id": hit.id,
        "at": hit.at,
        "chat": hit.chat,
        "role": str(hit.role),
        "speakers": list(hit.speakers),
        "excerpt": hit.excerpt,
        "tainted": hit.strange,
    }
