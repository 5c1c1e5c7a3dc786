"""The way in: the long poll, and what is confirmed to Telegram.

Telegram keeps an update until a request asks for a higher number: that is its acknowledge, and it covers all below. So a request
asks from the end of the gapless durable prefix on. While something before it is still under way (a slow download, a disk that
is full), Telegram tells all above again at once: then it is asked now and then, and only what is new is taken, so that other
chats are heard meanwhile: as many as fit into the hundred updates that Telegram tells at once. A number that was confirmed is
not named again: after a quiet week Telegram numbers anew.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import partial

import attrs
import trio
from loguru import logger

from nanobot.channels.port import Arrived, ChannelFailed, Port
from nanobot.channels.prefix import Prefix
from nanobot.channels.telegram import updates
from nanobot.channels.telegram.memory import Memory
from nanobot.channels.telegram.sdk import errors
from nanobot.channels.telegram.updates import Heard, Us
from nanobot.channels.telegram.wire import Bot, failed
from nanobot.wire import Json

LOOK_S, LONGEST_LOOK_S = 0.2, 2.0
"""Between requests while something is under way, twice as long each time."""
MOST_REMEMBERED = 2000
"""Messages whose content is remembered, to know an edit that changes nothing."""


@attrs.define(eq=False)
class Intake:
    """See the module. One for each life."""

    bot: Bot
    us: Us
    port: Port
    memory: Memory
    poll_s: float
    answer_s: float
    """What an answer may take beyond the time that it was asked to wait."""
    pressed: Callable[[str], None]
    """Told of a press when it is durable."""
    _prefix: Prefix = attrs.field(factory=Prefix, init=False)
    _seen: set[int] = attrs.field(factory=set, init=False)
    """Begun, and not confirmed."""
    _content: OrderedDict[tuple[str, str], int] = attrs.field(factory=OrderedDict, init=False)
    """Hashes."""
    _album: str = attrs.field(default="", init=False)
    """Of the message before."""
    _settled: trio.Event = attrs.field(factory=trio.Event, init=False)

    async def run(self) -> None:
        """Until cancelled. Raises: ChannelFailed."""
        look_s = LOOK_S
        while True:
            with trio.move_on_after(look_s):
                while self._prefix.waiting:
                    self._settled = trio.Event()
                    await self._settled.wait()
            look_s = min(2 * look_s, LONGEST_LOOK_S) if self._prefix.waiting else LOOK_S
            asked = trio.current_time()
            found = await self._poll()
            for raw in found:
                await self._begin(raw)
            if not found:  # a server that does not wait must not be asked again and again
                await trio.sleep_until(asked + LOOK_S)

    async def _poll(self) -> list[Json]:
        durable, waiting = self._prefix.durable, self._prefix.waiting
        seconds = 0.0 if waiting else self.poll_s
        try:
            with trio.fail_after(seconds + self.answer_s):
                found = await self.bot.raw_updates(None if durable is None else durable + 1, seconds)
        except trio.TooSlowError as exc:
            raise ChannelFailed(f"no answer from Telegram for {seconds + self.answer_s:g} s") from exc
        except errors.TelegramError as exc:
            raise failed(exc) from exc
        self.port.alive()
        if not self._prefix.waiting and self._prefix.durable == durable:  # all of it is confirmed
            self._prefix = Prefix()
            self._seen.clear()
        return found

    # --- one update

    async def _begin(self, raw: Json) -> None:
        """Raises: ChannelFailed for what cannot even be confirmed."""
        try:
            number = updates.numbered(raw)
        except updates.Unreadable as exc:
            raise ChannelFailed(f"Telegram sent an update that cannot be read: {exc}") from exc
        if number in self._seen:
            return
        try:
            self._prefix.begin(number)
        except ValueError as exc:
            raise ChannelFailed(f"Telegram's updates are out of order: {exc}") from exc
        self._seen.add(number)
        heard = await self._heard(raw, number)
        if heard is None or self._changes_nothing(heard):
            self._done(number)
        else:
            self._note(heard)
            self.port.take(heard.arrived, partial(self._taken, number, heard.press))

    async def _heard(self, raw: Json, number: int) -> Heard | None:
        if found := updates.moved(raw):
            await self.remember_move(*found)
        try:
            heard = updates.read(raw, self.us, self.bot.open_file, self._first_chat, self._album)
        except updates.Unreadable as exc:
            logger.warning("Telegram's update {} cannot be read and is passed over: {}", number, exc)
            return None
        self._album = heard.arrived.album if heard is not None else ""
        return heard

    def _first_chat(self, chat: str) -> str:
        return self.memory.moved.get(chat, chat)

    async def remember_move(self, old: str, new: str) -> None:
        """A group has become a supergroup: it goes on as the chat it was."""
        if old != new and new not in self.memory.moved:
            self.memory.moved[new] = self._first_chat(old)
            await _saved(self.memory.save)

    def _changes_nothing(self, heard: Heard) -> bool:
        """Telegram tells of edits that nobody made: of a link that has its preview now."""
        return heard.edited and self._content.get(_base(heard.arrived)) == hash(heard.content)

    def _note(self, heard: Heard) -> None:
        if heard.press:
            return
        self._content[_base(heard.arrived)] = hash(heard.content)
        while len(self._content) > MOST_REMEMBERED:
            self._content.popitem(last=False)

    def _taken(self, number: int, press: str) -> None:
        if press:
            self.pressed(press)
        self._done(number)

    def _done(self, number: int) -> None:
        self._prefix.done(number)
        self._settled.set()


async def _saved(save: Callable[[], Awaitable[None]]) -> None:
    """What cannot be remembered does not hold up a message."""
    try:
        await save()
    except OSError as exc:
        logger.warning("the channel's memory cannot be written: {}", exc)


def _base(arrived: Arrived) -> tuple[str, str]:
    """A message, whatever its version."""
    return arrived.chat, arrived.id.partition("@")[0]
