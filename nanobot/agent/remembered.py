"""`/memory`: what is remembered, and how it came to be. And the look, now and then, at what people edit by hand.

The owner is shown MEMORY.md, in private; anybody else what is remembered of them, where `memory.perUser` keeps that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import NoReturn

import attrs
import trio
from loguru import logger

from nanobot.agent.rights import Owns
from nanobot.errors import StoreUnusable
from nanobot.memory import checks
from nanobot.memory.port import MEMORY, Author, Version, user_document
from nanobot.memory.projections import BY_HAND, Changer
from nanobot.memory.store import MemoryStore
from nanobot.messages import Origin, Principal
from nanobot.session.state import Errand

LOOK_S = 30.0
"""Seconds between two looks: each edit of a file by hand that stands so long is a version of its own."""
MOST_SHOWN = 6000
"""Characters: two messages of most networks."""
IN_PRIVATE = "Ask me that in private: others read here, too."
NOTHING = "Nothing is remembered yet."


@attrs.define(eq=False)
class Remembered:
    """See the module."""

    _store: MemoryStore
    _owns: Owns
    _trouble: str = attrs.field(default="", init=False)

    async def run(self) -> NoReturn:
        """Look at the files for as long as the house stands."""
        while True:
            await self._look()
            await trio.sleep(LOOK_S)

    @asynccontextmanager
    async def noticing(self, session: str, tool: str) -> AsyncIterator[None]:
        """What the files say anew when the block has ended is the assistant's; what they said before is a person's."""
        await self._look()
        yield
        await self._look(Changer(Author.ASSISTANT, session, tool))

    async def answer(self, errand: Errand) -> str:
        """To `/memory`."""
        if errand.origin is Origin.GROUP:
            return IN_PRIVATE
        owner = self._owns(errand.principal)
        document = MEMORY if owner else user_document(Principal.parse(errand.principal))
        try:
            return await trio.to_thread.run_sync(self._told, document, owner)
        except StoreUnusable as error:
            return str(error)

    def _told(self, document: str, owner: bool) -> str:
        version = self._store.current(document)
        waiting = len(self._store.proposals()) if owner else 0
        lines = [_summary(version, owner=owner) if version.number else NOTHING]
        if waiting:
            lines.append(f"{_count(waiting, 'update')} not taken yet, for you to decide: nanobot memory proposals")
        if version.text.strip():
            lines += ["", _shown(version.text.strip())]
        return "\n".join(lines)

    async def _look(self, by: Changer = BY_HAND) -> None:
        try:
            trouble = await trio.to_thread.run_sync(self._store.look, by)
        except StoreUnusable as error:
            trouble = str(error)
        if trouble and trouble != self._trouble:
            logger.warning("memory: {}", trouble)
        self._trouble = trouble


def _summary(version: Version, *, owner: bool) -> str:
    facts, size = len(checks.facts(version.text)), len(version.text.encode("utf-8", "replace"))
    changed = datetime.fromtimestamp(version.at).astimezone().strftime("%Y-%m-%d %H:%M")
    where = f" in {version.session}" if owner and version.session else ""
    return f"{_count(facts, 'fact')}, {size / 1024:.1f} KiB; last changed {changed} by {version.author}{where}."


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _shown(text: str) -> str:
    if len(text) <= MOST_SHOWN:
        return text
    cut = text[:MOST_SHOWN].rpartition("\n")[0] or text[:MOST_SHOWN]
    return f"{cut}\n… ({len(text) - len(cut)} characters more: nanobot memory show)"
