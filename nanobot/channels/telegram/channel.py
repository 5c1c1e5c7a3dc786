"""Telegram, as a bot: the Bot API by long polling.

* In (intake.py, updates.py): nothing is dropped at start, and nothing is confirmed before it is durable.
* Out (sending.py, outgoing.py, render.py): Markdown as HTML, files by kind, buttons. Telegram takes
  no key of ours (`keyed` is False), so that the session decides on a send whose answer was lost.
* HTTP and the SDK: wire.py says what is whose, and why.

What ends it: a token that Telegram does not know (parked until somebody changes it); another program that polls for the same
bot, a webhook put up meanwhile, no answer in time (tried again). A webhook that stands when it connects is taken away, with
nothing dropped.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import attrs
import trio
from loguru import logger

from nanobot.channels.port import ChannelFailed, Limits, Part, Port, SendLater, SendUnknown, Unreachable
from nanobot.channels.telegram import render
from nanobot.channels.telegram.intake import Intake
from nanobot.channels.telegram.memory import remembered
from nanobot.channels.telegram.outgoing import TEXT_UNITS
from nanobot.channels.telegram.sdk import errors
from nanobot.channels.telegram.sdk import telegram as tg
from nanobot.channels.telegram.sending import Sender, thread_of
from nanobot.channels.telegram.updates import Us, number_of
from nanobot.channels.telegram.wire import Bot, failed, open_bot, translated
from nanobot.config.schema import TelegramConfig
from nanobot.messages import MessageId, Receipt, SessionKey

CONNECT_S = 30.0
"""For the calls before the first poll."""
ANSWER_S = 15.0
"""That the answer to a long poll may be late."""
PROOF_S = 120.0
"""Without a completed poll."""
EDIT_S, GROUP_EDIT_S = 1.0, 3.5
"""Between two edits: Telegram takes about one message a second in a chat, and twenty a minute in a group."""
TYPING_S = 4.0
"""Telegram shows it for five."""
BUTTONS = 100
LONGEST_COMMAND_HELP = 256
TEST_MESSAGE = "This is nanobot. You asked for a test message, and here it is."

T = TypeVar("T")


@attrs.frozen
class _Live:
    """What there is while it is connected."""

    bot: Bot
    port: Port
    intake: Intake
    sender: Sender
    drawn: dict[str, float] = attrs.field(factory=dict)
    """Groups, with the time of their last draft."""


@attrs.define(eq=False)
class TelegramChannel:
    """See the module."""

    config: TelegramConfig
    answer_s: float = ANSWER_S
    _live: _Live | None = attrs.field(default=None, init=False)

    @property
    def limits(self) -> Limits:
        return Limits(
            text=TEXT_UNITS,
            length=render.units,
            edit_every_s=EDIT_S if self.config.streaming else None,
            typing_every_s=TYPING_S,
            proof_s=PROOF_S,
            buttons=BUTTONS,
        )

    async def serve(self, port: Port, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Raises: ChannelFailed."""
        memory = await trio.to_thread.run_sync(remembered, port.folder)
        async with open_bot(self.config) as bot, trio.open_nursery() as nursery:
            me = await _connected(bot)
            us = Us(me.id, me.username or "", frozenset(port.commands))

            def pressed(press: str) -> None:
                if self._live is not None:  # else the nursery may be closed
                    nursery.start_soon(_best_effort, partial(bot.answer_callback_query, press), "a press could not be answered")

            intake = Intake(bot, us, port, memory, self.config.poll_s, self.answer_s, pressed)
            self._live = _Live(bot, port, intake, Sender(bot, memory, self.config.reply_to_message))
            try:
                nursery.start_soon(_best_effort, lambda: _menu(bot, port), "the menu of commands could not be set")
                task_status.started()
                await intake.run()
            finally:
                self._live = None

    # --- out

    async def send(self, part: Part) -> Receipt:
        live = self._up()
        return Receipt(await self._said(live, lambda: live.sender.send(part, live.intake.remember_move)))

    async def draft(self, key: SessionKey, text: str, draft: str, answers: MessageId | None) -> str:
        live, chat = self._up(), key.chat
        if chat.startswith("-"):
            left = live.drawn.get(chat, -GROUP_EDIT_S) + GROUP_EDIT_S - trio.current_time()
            if left > 0:
                raise SendLater("twenty a minute is what Telegram takes in a group", retry_after=left)
            live.drawn[chat] = trio.current_time()
        return await self._said(live, lambda: live.sender.draft(key, text, draft, answers))

    async def typing(self, key: SessionKey) -> None:
        live = self._up()
        await self._said(live, lambda: live.bot.send_chat_action(live.sender.chat(key), "typing", thread_of(key)))

    async def react(self, key: SessionKey, message: MessageId, *, answered: bool) -> None:
        number, live = number_of(message), self._up()
        emoji = self.config.done_emoji if answered else self.config.react_emoji
        if number is None or not (emoji or (answered and self.config.react_emoji)):
            return
        await self._said(live, lambda: live.bot.set_message_reaction(live.sender.chat(key), number, emoji or None))

    def _up(self) -> _Live:
        """Raises: Unreachable."""
        if self._live is None:
            raise Unreachable("Telegram is not connected")
        return self._live

    async def _said(self, live: _Live, call: Callable[[], Awaitable[T]]) -> T:
        """Raises: SendError."""
        try:
            return await call()
        except errors.InvalidToken as exc:
            live.port.fail(failed(exc))
            raise translated(exc) from exc
        except errors.TelegramError as exc:
            raise translated(exc) from exc

    # --- nanobot channels test

    async def probe(self, folder: Path, to: str) -> tuple[str, ...]:
        """Does not poll, so that a gateway which does is left alone."""
        async with open_bot(self.config) as bot:
            try:
                with trio.fail_after(CONNECT_S):
                    me, hook = await bot.get_me(), await bot.get_webhook_info()
            except trio.TooSlowError as exc:
                raise ChannelFailed(f"no answer from Telegram for {CONNECT_S:g} s") from exc
            except errors.TelegramError as exc:
                raise failed(exc) from exc
            lines = [f"It is @{me.username} ({me.full_name}, id {me.id}).", *_privacy(me), *_waiting(hook)]
            if to:
                await self._test(bot, folder, to)
                lines.append(f"A test message was sent to {to}.")
        return tuple(lines)

    async def _test(self, bot: Bot, folder: Path, to: str) -> None:
        """Raises: SendError, ChannelFailed."""
        memory = await trio.to_thread.run_sync(remembered, folder)
        try:
            with trio.fail_after(CONNECT_S):
                await bot.send_message(Sender(bot, memory, quotes=False).chat(SessionKey("telegram", to)), TEST_MESSAGE)
        except trio.TooSlowError as exc:
            raise SendUnknown(f"no answer from Telegram for {CONNECT_S:g} s: the message may have arrived or not") from exc
        except errors.TelegramError as exc:
            raise translated(exc) from exc


async def _connected(bot: Bot) -> tg.User:
    """Who we are. Raises: ChannelFailed."""
    try:
        with trio.fail_after(CONNECT_S):
            me = await bot.get_me()
            if (await bot.get_webhook_info()).url:
                logger.warning("a webhook of @{} is taken away: messages come by polling", me.username)
                await bot.delete_webhook(drop_pending_updates=False)
    except trio.TooSlowError as exc:
        raise ChannelFailed(f"no answer from Telegram for {CONNECT_S:g} s") from exc
    except errors.TelegramError as exc:
        raise failed(exc) from exc
    return me


async def _menu(bot: Bot, port: Port) -> bool:
    return await bot.set_my_commands(
        [(name.removeprefix("/"), help[:LONGEST_COMMAND_HELP]) for name, help in port.commands.items()]
    )


async def _best_effort(call: Callable[[], Awaitable[object]], trouble: str) -> None:
    try:
        with trio.fail_after(CONNECT_S):
            await call()
    except (errors.TelegramError, trio.TooSlowError) as exc:
        logger.info("{}: {}", trouble, str(exc) or "no answer")


def _privacy(me: tg.User) -> tuple[str, ...]:
    if not me.can_join_groups:
        return ("It cannot be added to groups; to change that: @BotFather, /setjoingroups.",)
    if me.can_read_all_group_messages:
        return ("Its privacy mode is off: in groups it receives every message.",)
    return (
        "Its privacy mode is on: in groups it receives commands, mentions and answers to it, and nothing else. To let it see"
        " everything: @BotFather, /setprivacy, Disable; then take it out of the group and add it again.",
    )


def _waiting(hook: tg.WebhookInfo) -> tuple[str, ...]:
    lines = ["A webhook is set; the gateway takes it away when it connects."] if hook.url else []
    waiting = hook.pending_update_count
    return (*lines, *([f"{waiting} {'message waits' if waiting == 1 else 'messages wait'} to be received."] if waiting else []))
