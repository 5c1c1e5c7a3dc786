"""The way out: a part of an answer, as one or more messages of Telegram.

Telegram takes no key of ours. So a send that may have arrived is said to be unknown and decided on by the session; and of a
part that is several messages it is remembered, on disk, how many have arrived, so that sending it again goes on from there.

What Telegram does not understand is sent plainer: HTML as text, a picture as a document, a file that it does not take as a line.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import attrs
import trio
from loguru import logger

from nanobot.channels.port import Part
from nanobot.channels.telegram import render
from nanobot.channels.telegram.memory import Memory
from nanobot.channels.telegram.outgoing import CAPTION_UNITS, TEXT_UNITS, Files, Step, Words, plan
from nanobot.channels.telegram.sdk import errors
from nanobot.channels.telegram.sdk import telegram as tg
from nanobot.channels.telegram.updates import OTHER_CHAT, number_of
from nanobot.channels.telegram.wire import Bot
from nanobot.messages import Attachment, Button, MessageId, SessionKey

LONGEST_LABEL = 20
"""Characters of a button that shares its row."""
ROW = 3
"""Buttons."""
_UNPARSED, _UNCHANGED = "can't parse entities", "message is not modified"
_MEDIA = {
    "photo": tg.InputMediaPhoto,
    "video": tg.InputMediaVideo,
    "audio": tg.InputMediaAudio,
    "document": tg.InputMediaDocument,
}
T = TypeVar("T")


@attrs.define(eq=False)
class Sender:
    """See the module. Raises: TelegramError, in all of it."""

    bot: Bot
    memory: Memory
    quotes: bool
    """In private chats, too."""

    async def send(self, part: Part, moved: Callable[[str, str], Awaitable[None]]) -> str:
        """The number of its first message. moved: told of a group that became a supergroup."""
        try:
            return await self._send(part)
        except errors.ChatMigrated as exc:
            await moved(part.key.chat, str(exc.new_chat_id))
            return await self._send(part)

    def chat(self, key: SessionKey) -> str:
        """Where a chat is now."""
        return next((new for new, first in reversed(self.memory.moved.items()) if first == key.chat), key.chat)

    async def draft(self, key: SessionKey, text: str, draft: str, answers: MessageId | None) -> str:
        words = Words(text)
        if not draft:
            return await self._new(key, words, self._quote(key, answers), None)
        await self._edit(key, words, int(draft), None)
        return draft

    # --- a part

    async def _send(self, part: Part) -> str:
        steps = plan(part)
        name = f"{part.key}|{part.outbound.id}|{part.index}|{len(steps)}"
        done, number = self.memory.steps.get(name, 0), ""
        for index, step in enumerate(steps):
            if index < done:
                continue
            sent = await self._step(part, step, first=index == 0)
            number = number or sent
            if index + 1 < len(steps):
                self.memory.steps[name] = index + 1
                await self._save()
        self.memory.steps.pop(name, None)
        return number

    async def _save(self) -> None:
        try:
            await self.memory.save()
        except OSError as exc:
            logger.warning("the channel's memory cannot be written: {}", exc)

    async def _step(self, part: Part, step: Step, *, first: bool) -> str:
        quote = self._quote(part.key, part.outbound.reply_to) if first and not part.index else None
        keyboard = _keyboard(part.buttons) if step.buttons else None
        match step:
            case Words():
                if first and part.draft.isdecimal() and await self._edited(part, step, keyboard):
                    return part.draft
                return await self._new(part.key, step, quote, keyboard)
            case Files():
                return await self._files(part.key, step, quote, keyboard)

    def _quote(self, key: SessionKey, message: MessageId | None) -> tg.ReplyParameters | None:
        """The message that is answered, where it is to be quoted."""
        chat, number = self.chat(key), number_of(message)
        elsewhere = chat != key.chat and not (message or "").startswith(f"{chat}{OTHER_CHAT}")
        if number is None or elsewhere or not (self.quotes or chat.startswith("-")):
            return None
        return tg.ReplyParameters(number, allow_sending_without_reply=True)

    # --- text

    async def _new(
        self, key: SessionKey, words: Words, quote: tg.ReplyParameters | None, keyboard: tg.InlineKeyboardMarkup | None
    ) -> str:
        async def send(text: str, mode: str | None) -> tg.Message:
            return await self.bot.send_message(
                self.chat(key), text, mode, message_thread_id=thread_of(key), reply_parameters=quote, reply_markup=keyboard
            )

        return str((await _understood(send, words.text, TEXT_UNITS)).message_id)

    async def _edit(self, key: SessionKey, words: Words, number: int, keyboard: tg.InlineKeyboardMarkup | None) -> None:
        async def edit(text: str, mode: str | None) -> None:
            await self.bot.edit_message_text(text, self.chat(key), number, parse_mode=mode, reply_markup=keyboard)

        try:
            await _understood(edit, words.text, TEXT_UNITS)
        except errors.BadRequest as exc:
            if _UNCHANGED not in exc.message.lower():
                raise

    async def _edited(self, part: Part, words: Words, keyboard: tg.InlineKeyboardMarkup | None) -> bool:
        """Whether the draft has become the message; it may have been deleted."""
        try:
            await self._edit(part.key, words, int(part.draft), keyboard)
        except errors.BadRequest:
            return False
        return True

    # --- files

    async def _files(
        self, key: SessionKey, step: Files, quote: tg.ReplyParameters | None, keyboard: tg.InlineKeyboardMarkup | None
    ) -> str:
        """As what they are, else as documents, else as lines of text; one that is gone does not take the others with it."""
        try:
            return await self._upload(key, step, quote, keyboard)
        except (errors.BadRequest, OSError) as exc:
            reason = exc
        there = tuple((sort, file) for sort, file in step.files if file.path != getattr(reason, "filename", None))
        if there and there != step.files:
            lines = [_unsent(file, reason) for one, file in step.files if (one, file) not in there]
            return await self._files(
                key, Files(there, "\n".join(filter(None, (step.caption, *lines))), step.buttons), quote, keyboard
            )
        plainer = attrs.evolve(step, files=tuple(("document", file) for _, file in step.files))
        if plainer != step and isinstance(reason, errors.BadRequest):
            try:
                return await self._upload(key, plainer, quote, keyboard)
            except (errors.BadRequest, OSError) as exc:
                reason = exc
        lines = [_unsent(file, reason) for _, file in step.files]
        return await self._new(key, Words("\n".join(filter(None, (step.caption, *lines)))), quote, keyboard)

    async def _upload(
        self, key: SessionKey, step: Files, quote: tg.ReplyParameters | None, keyboard: tg.InlineKeyboardMarkup | None
    ) -> str:
        """Raises: OSError."""

        async def send(caption: str, mode: str | None) -> int:
            with ExitStack() as opened:
                files = [(sort, await _opened(opened, file, attach=len(step.files) > 1)) for sort, file in step.files]
                if len(files) > 1:
                    return await self._album(key, files, caption, mode, quote)
                return await self._one(key, *files[0], caption, mode, quote, keyboard)

        return str(await _understood(send, step.caption, CAPTION_UNITS))

    async def _album(
        self,
        key: SessionKey,
        files: list[tuple[str, tg.InputFile]],
        caption: str,
        mode: str | None,
        quote: tg.ReplyParameters | None,
    ) -> int:
        media = [
            _MEDIA[sort](file, caption=caption or None if index == 0 else None, parse_mode=mode)
            for index, (sort, file) in enumerate(files)
        ]
        sent = await self.bot.send_media_group(self.chat(key), media, message_thread_id=thread_of(key), reply_parameters=quote)
        return sent[0].message_id

    async def _one(  # noqa: PLR0917
        self,
        key: SessionKey,
        sort: str,
        file: tg.InputFile,
        caption: str,
        mode: str | None,
        quote: tg.ReplyParameters | None,
        keyboard: tg.InlineKeyboardMarkup | None,
    ) -> int:
        sent: tg.Message = await getattr(self.bot, f"send_{sort}")(
            self.chat(key),
            file,
            caption=caption or None,
            parse_mode=mode,
            message_thread_id=thread_of(key),
            reply_parameters=quote,
            reply_markup=keyboard,
        )
        return sent.message_id


async def _understood(send: Callable[[str, str | None], Awaitable[T]], text: str, limit: int) -> T:
    """As HTML, and as text where Telegram cannot read that or nothing of it would be seen."""
    text = _whole(text)
    rendered = render.render(text)
    if not text or render.visible(rendered).strip():
        try:
            return await send(rendered, "HTML" if text else None)
        except errors.BadRequest as exc:
            if _UNPARSED not in exc.message.lower():
                raise
    return await send(render.plain(text, limit), None)


async def _opened(stack: ExitStack, file: Attachment, *, attach: bool) -> tg.InputFile:
    """Read while it is sent, not before. Raises: OSError."""
    handle = await trio.to_thread.run_sync(Path(file.path).open, "rb")
    stack.enter_context(handle)
    return tg.InputFile(handle, _whole(file.name), attach=attach, read_file_handle=False)


def _whole(text: str) -> str:
    """Without halves of characters, as they come from models and from names of files: no wire carries them."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _unsent(file: Attachment, exc: errors.BadRequest | OSError) -> str:
    reason = exc.message if isinstance(exc, errors.BadRequest) else exc.strerror or "it cannot be read"
    return f"[{file.name} could not be sent: {reason}]"


def thread_of(key: SessionKey) -> int | None:
    """The topic's number."""
    return int(key.topic) if key.topic and key.topic.isdecimal() else None


def _keyboard(buttons: Sequence[Button]) -> tg.InlineKeyboardMarkup | None:
    """Short ones side by side."""
    rows: list[list[tg.InlineKeyboardButton]] = []
    for button in buttons:
        short = len(button.label) <= LONGEST_LABEL
        shares = rows and short and len(rows[-1]) < ROW and len(rows[-1][-1].text) <= LONGEST_LABEL
        key = tg.InlineKeyboardButton(button.label, callback_data=button.says)
        rows[-1].append(key) if shares else rows.append([key])
    return tg.InlineKeyboardMarkup(rows) if rows else None
