"""What arrives, chat by chat: in order, tried again until it is durable, and made one message where its sender sent one.

* Each chat has a lane: its messages are delivered one after another, those of other chats beside it. What cannot be taken now
  (a full disk) is tried again; nothing of its chat overtakes it. How much may be under way is the network's own bound: what it
  tells of before anything of it is acknowledged.
* An album, and a long text that the sender's program has cut, are put together: what belongs together follows within `GATHER_S`.
  Which messages went together is on disk (`gathered.json` in the channel's folder) before they are delivered. An album whose
  last picture came late is two messages; told of all of them again after a crash, we must make the same two, or one is lost.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Protocol

import attrs
import trio
from loguru import logger

from nanobot.channels.media import MOST_FILES
from nanobot.channels.port import Arrived, NotTaken
from nanobot.config.durable import replace

GATHER_S = 0.8
"""Seconds that the next piece is waited for."""
AGAIN_S = 5.0
"""The same where we know that there was one, and the network tells of it again."""
RETRY_S = 5.0
"""Before a message that could not be made durable is tried again."""
MOST_PIECES = 50
"""Of one message; a file has as many as one message may bring (media.py)."""
MOST_REMEMBERED = 500
"""Pieces, the newest: networks tell again of what was not acknowledged, which is a hundred at once."""
FILE = "gathered.json"

Place = tuple[str, str, str | None]
"""Account, chat, topic."""


class _StartSoon(Protocol):
    def __call__(self, work: Callable[[], Awaitable[None]], *, name: str) -> None: ...


@attrs.frozen
class _Item:
    arrived: Arrived
    taken: Callable[[], None]

    @property
    def name(self) -> str:
        one = self.arrived
        return f"{one.account}:{one.chat}:{one.id}"

    @property
    def alone(self) -> bool:
        """Nothing that belongs to it can follow."""
        return not (self.arrived.album or self.arrived.goes_on)

    def continued_by(self, other: _Item) -> bool:
        ours, theirs = self.arrived, other.arrived
        if ours.user != theirs.user or ours.album != theirs.album:
            return False
        return bool(ours.album) or (ours.goes_on and not theirs.files and not theirs.text.startswith("/"))


@attrs.define(eq=False)
class _Lane:
    items: deque[_Item] = attrs.field(factory=deque)
    news: trio.Event = attrs.field(factory=trio.Event)

    def add(self, item: _Item) -> None:
        self.items.append(item)
        self.news.set()
        self.news = trio.Event()

    async def more(self, seconds: float) -> bool:
        """Whether something comes in time."""
        with trio.move_on_after(seconds):
            while not self.items:
                await self.news.wait()
        return bool(self.items)


@attrs.define(eq=False)
class Lanes:
    """See the module. One for each life of a channel."""

    _folder: Path
    _deliver: Callable[[Arrived], Awaitable[None]]
    """Raises: NotTaken."""
    _start_soon: _StartSoon
    """A task that ends with the life."""
    _lanes: dict[Place, _Lane] = attrs.field(factory=dict, init=False)
    _heads: dict[str, str] | None = attrs.field(default=None, init=False)
    """Pieces, with the first of their message; None: not read yet."""
    _file: trio.Lock = attrs.field(factory=trio.Lock, init=False)

    def take(self, arrived: Arrived, taken: Callable[[], None]) -> None:
        """See Port.take."""
        place = (arrived.account, arrived.chat, arrived.topic)
        lane = self._lanes.get(place)
        if lane is None:
            lane = self._lanes[place] = _Lane()
            self._start_soon(partial(self._serve, place, lane), name=f"messages of {arrived.chat}")
        lane.add(_Item(arrived, taken))

    async def _serve(self, place: Place, lane: _Lane) -> None:
        heads = await self._remembered()
        while lane.items:
            item = lane.items.popleft()
            if heads.get(item.name, item.name) != item.name:
                together = [item]  # its head is acknowledged, else it would have come, and with it all of that message
            else:
                together = [item] if item.alone else await self._together(item, lane, heads)
                await self._until_durable(joined([one.arrived for one in together]))
            for one in together:
                one.taken()
        del self._lanes[place]

    async def _together(self, first: _Item, lane: _Lane, heads: dict[str, str]) -> list[_Item]:
        """All that is one message with `first`."""
        taken, files = [first], len(first.arrived.files)
        known = {name for name, head in heads.items() if head == first.name}
        while len(taken) < len(known) if known else not taken[-1].alone:
            if not await lane.more(AGAIN_S if known else GATHER_S):
                break
            following = lane.items[0]
            files += len(following.arrived.files)
            fits = len(taken) < MOST_PIECES and files <= MOST_FILES
            if following.name not in known if known else not (fits and taken[-1].continued_by(following)):
                break
            taken.append(lane.items.popleft())
        names = {one.name for one in taken}
        if names != known:
            for missing in known - names:  # it may come yet, and be a message of its own
                del heads[missing]
            heads |= dict.fromkeys(names, first.name)
            await self._remember(heads)
        return taken

    async def _until_durable(self, arrived: Arrived) -> None:
        while True:
            try:
                await self._deliver(arrived)
            except NotTaken as no:
                logger.warning("message {} of {} waits: {}", arrived.id, arrived.chat, no)
                await trio.sleep(RETRY_S)
            else:
                return

    # --- what must be known again after a crash

    async def _remembered(self) -> dict[str, str]:
        async with self._file:
            if self._heads is None:
                self._heads = await trio.to_thread.run_sync(_read, self._folder / FILE)
            return self._heads

    async def _remember(self, heads: dict[str, str]) -> None:
        """What cannot be remembered does not hold up a message: after a crash an album may come twice then."""
        for name in list(heads)[: max(0, len(heads) - MOST_REMEMBERED)]:
            del heads[name]
        try:
            async with self._file:
                await trio.to_thread.run_sync(replace, self._folder / FILE, json.dumps(heads))
        except OSError as error:
            logger.warning("which messages belong together cannot be written: {}", error)


def joined(parts: list[Arrived]) -> Arrived:
    """Several messages that are one."""
    first = parts[0]
    if len(parts) == 1:
        return first
    return attrs.evolve(
        first,
        text="\n".join(one.text for one in parts if one.text),
        files=tuple(file for one in parts for file in one.files),
        mentioned=any(one.mentioned for one in parts),
        tainted=any(one.tainted for one in parts),
    )


def _read(path: Path) -> dict[str, str]:
    """Nothing of a file that cannot be read: it is written anew."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        logger.warning("{} cannot be read: {}", path, error)
        return {}
    return {name: head for name, head in found.items() if isinstance(head, str)} if isinstance(found, dict) else {}
