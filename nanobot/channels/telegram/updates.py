"""From the Bot API's updates to `Arrived`: who wrote what, where, and whether it is meant for us. Pure.

* A message's id is Telegram's, unique in its chat; an edit adds the update's number (Telegram gives no version, and two edits
  may come within the second that it dates them by); a press has its own. A group that became a supergroup goes on as the chat
  it was, and as its messages are numbered anew, their ids are marked with the new chat.
* Meant for us in a group: our @name, a mention without a name, an answer to us, a command with our name or none. A command
  with another bot's name is no message at all.
* What a message quotes, forwards or was made by another bot is put before the text in one line or marks the whole as not
  written by its sender, so that nobody is given orders by what somebody else wrote.
* Service messages, other bots, posts that Telegram copies into a group, and edits of a place that moves are nothing.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Container, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial

import attrs

from nanobot.channels.port import Arrived, Incoming
from nanobot.channels.splitting import utf16_units
from nanobot.channels.telegram.sdk import telegram as tg
from nanobot.messages import MessageId
from nanobot.wire import Json

OpenFile = Callable[[str], AbstractAsyncContextManager[AsyncIterator[bytes]]]
"""By Telegram's id of a file."""
LONG = 4000
"""UTF-16 units of a text that its sender's program may have cut: they do so at 4,096, or at a blank before it."""
LONGEST_QUOTE = 200
"""Characters of what a message answers."""
PRESS, OTHER_CHAT = "press:", "/"
_COMMAND = re.compile(r"/(?P<name>[A-Za-z0-9_]{1,32})(?:@(?P<bot>\w+))?(?=\s|$)")
_BLANK = re.compile(r"\s+")
_KINDS = (
    ("animation", "animation.mp4", "video/mp4"),
    ("video", "video.mp4", "video/mp4"),
    ("audio", "audio.mp3", "audio/mpeg"),
    ("voice", "voice.ogg", "audio/ogg"),
    ("video_note", "video.mp4", "video/mp4"),
    ("document", "file", "application/octet-stream"),
)
"""Files of a message, with the name and the type of what has none."""
_File = tg.PhotoSize | tg.Sticker | tg.Animation | tg.Video | tg.Audio | tg.Voice | tg.VideoNote | tg.Document


class Unreadable(Exception):
    """An update that is not what the Bot API says it is."""


@attrs.frozen
class Us:
    """The bot."""

    id: int
    username: str
    commands: Container[str]
    """With the slash."""


@attrs.frozen
class Heard:
    """One update that is to be delivered."""

    arrived: Arrived
    press: str = ""
    """Telegram's id of a press, which is to be answered."""
    edited: bool = False
    content: str = ""
    """What an edit of it has changed where this differs."""


def numbered(raw: Json) -> int:
    """The number of an update. Raises: Unreadable."""
    number = raw.get("update_id") if isinstance(raw, dict) else None
    if not isinstance(number, int) or isinstance(number, bool):
        raise Unreadable("it has no number")
    return number


def read(raw: Json, us: Us, open_file: OpenFile, first_chat: Callable[[str], str] = str, last_album: str = "") -> Heard | None:
    """What an update says, None if it says nothing to us. first_chat: the chat that another one continues. last_album: of
    what was read before.

    Raises: Unreadable.
    """
    try:
        update = tg.Update.de_json(dict(raw) if isinstance(raw, dict) else {})
        return _checked(_read(update, us, open_file, first_chat, last_album))
    except (TypeError, ValueError, KeyError, AttributeError, LookupError, OverflowError, OSError, RuntimeError) as exc:
        raise Unreadable(f"{type(exc).__name__}: {exc}") from exc


def _read(update: tg.Update, us: Us, open_file: OpenFile, first_chat: Callable[[str], str], last_album: str) -> Heard | None:
    if update.callback_query is not None:
        return _press(update.callback_query, first_chat)
    edited = update.edited_message or update.edited_channel_post
    message = update.message or update.channel_post or edited
    if message is None:
        return None
    later = edited is None and _album(message) != "" and _album(message) == last_album
    return _Reading(message, us, open_file, first_chat, update.update_id if edited else 0, later).heard()


def _checked(heard: Heard | None) -> Heard | None:
    """Raises: TypeError for what should be text, and was passed on by the SDK as it came."""
    if heard is not None and not all(
        isinstance(one, str) for one in (heard.arrived.text, heard.arrived.album, *heard.arrived.names)
    ):
        raise TypeError("what should be text is none")
    return heard


def moved(raw: Json) -> tuple[str, str] | None:
    """The old and the new chat, where an update says that a group became a supergroup."""
    message = raw.get("message") if isinstance(raw, dict) else None
    chat = message.get("chat") if isinstance(message, dict) else None
    if not isinstance(message, dict) or not isinstance(chat, dict):
        return None
    here, there, before = chat.get("id"), message.get("migrate_to_chat_id"), message.get("migrate_from_chat_id")
    if there:
        return str(here), str(there)
    return (str(before), str(here)) if before else None


def number_of(message: MessageId | None) -> int | None:
    """Telegram's number of a message of ours to answer or mark; None for what is none, as a press."""
    text = (message or "").rpartition(OTHER_CHAT)[2].partition("@")[0]
    return int(text) if text.isascii() and text.isdecimal() else None


def _press(query: tg.CallbackQuery, first_chat: Callable[[str], str]) -> Heard | None:
    message, says = query.message, query.data
    if message is None or not says:
        return None
    topic = _topic(message) if isinstance(message, tg.Message) else None
    chat = message.chat
    arrived = Arrived(
        MessageId(f"{PRESS}{query.id}"),
        first_chat(str(chat.id)),
        str(query.from_user.id),
        says,
        message.date.timestamp() if isinstance(message, tg.Message) else 0.0,
        topic=topic,
        direct=chat.type == tg.Chat.PRIVATE,
        mentioned=True,
        names=_names(query.from_user),
    )
    return Heard(arrived, press=query.id)


@attrs.frozen
class _Reading:
    """One message."""

    message: tg.Message
    us: Us
    open_file: OpenFile
    first_chat: Callable[[str], str]
    edit: int
    """The number of the update that edits it; 0: none does."""
    later: bool
    """Of an album, and not its first: what it answers was said with that."""

    def heard(self) -> Heard | None:
        sender, text, made = self._sender(), self._text(), self._made()
        command = text.startswith("/") and not made
        files = tuple(self._files(answered=not (self.edit or command or self.later)))
        if sender is None or not (text or files) or self._moves() or (command and self._for_another(text)):
            return None
        quoted, foreign = ("", False) if command else self._quoted(sender)
        before = (made if text else "",) if self.later else (quoted, made)
        edited = "[edited]" if self.edit and not command else ""
        arrived = Arrived(
            self._id(),
            self.first_chat(str(self.message.chat.id)),
            str(sender.id),
            "\n".join(filter(None, (*before, edited, text))),
            self.message.date.timestamp(),
            topic=_topic(self.message),
            direct=self.message.chat.type == tg.Chat.PRIVATE,
            mentioned=self._for_us(text),
            names=_names(sender),
            files=files,
            tainted=bool(made) or foreign,
            album="" if self.edit else _album(self.message),
            goes_on=not self.edit and utf16_units(text) >= LONG,
        )
        content = "\n".join((text, *(file.file_unique_id for file, _, _ in _given(self.message))))
        return Heard(arrived, edited=bool(self.edit), content=content)

    def _sender(self) -> tg.User | tg.Chat | None:
        """A channel, or a group whose administrator hides, speaks for itself; other bots, and copies, are nobody."""
        writer = self.message.sender_chat or self.message.from_user
        return None if self.message.is_automatic_forward or (isinstance(writer, tg.User) and writer.is_bot) else writer

    def _moves(self) -> bool:
        """A place that is told of as it changes."""
        return bool(self.edit) and self.message.location is not None

    def _id(self) -> MessageId:
        chat, number = str(self.message.chat.id), str(self.message.message_id)
        number = number if self.first_chat(chat) == chat else f"{chat}{OTHER_CHAT}{number}"
        return MessageId(f"{number}@{self.edit}" if self.edit else number)

    # --- what is said

    def _text(self) -> str:
        """As written, without our name before it, with the addresses that links hide; else a line for what it is. Our name
        alone is a message, too: it may answer one."""
        message = self.message
        written = message.text if message.text is not None else message.caption
        if written is None:
            return _line_for(message)
        text, entities = written, message.entities if message.text is not None else message.caption_entities
        for entity in sorted(entities, key=lambda one: one.offset, reverse=True):
            if entity.type == tg.MessageEntity.TEXT_LINK and entity.url:
                text = _insert(text, entity.offset + entity.length, f" ({entity.url})")
        ours = re.match(rf"@{self.us.username}\b[ ,:\n]*", text, re.IGNORECASE | re.ASCII)
        return (text[ours.end() :] or text) if ours else text

    def _quoted(self, sender: tg.User | tg.Chat) -> tuple[str, bool]:
        """What it answers, in a line, and whether somebody else but we and the sender wrote that."""
        answered = self.message.reply_to_message
        if answered is not None and answered.forum_topic_created is not None:
            return "", False
        said = self.message.quote.text if self.message.quote is not None else ""
        if answered is not None:
            said = said or answered.text or answered.caption or _line_for(answered)
        line = _BLANK.sub(" ", said).strip()
        line = line if len(line) <= LONGEST_QUOTE else f"{line[: LONGEST_QUOTE - 1]}…"
        return (f"[in reply to: {line}]" if line else ""), self._is_foreign(answered, said, sender)

    def _is_foreign(self, answered: tg.Message | None, said: str, sender: tg.User | tg.Chat) -> bool:
        if answered is None:
            return bool(said)  # quoted from another chat
        writer = answered.sender_chat or answered.from_user
        known = writer is not None and writer.id in (self.us.id, sender.id) and not _forwarded(answered)
        return not known and bool(said or any(_given(answered)))

    def _made(self) -> str:
        """A line where somebody else has written it: so it is no command either, whoever passes it on."""
        origin = self.message.forward_origin
        if origin is not None and not (isinstance(origin, tg.MessageOriginUser) and self.message.from_user == origin.sender_user):
            return "[forwarded]"
        return "[made by another bot]" if self.message.via_bot is not None else ""

    def _files(self, *, answered: bool) -> Iterator[Incoming]:
        """Those of the message that it answers, too, unless they are ours."""
        yield from _files_of(self.message, self.open_file)
        other = self.message.reply_to_message
        if answered and other is not None and not (other.from_user and other.from_user.id == self.us.id):
            yield from _files_of(other, self.open_file)

    # --- for whom it is

    def _for_us(self, text: str) -> bool:
        answered = self.message.reply_to_message
        if answered is not None and answered.forum_topic_created is None and answered.from_user is not None:
            return answered.from_user.id == self.us.id or self._named(text)
        return self._named(text)

    def _named(self, text: str) -> bool:
        message = self.message
        mentions: list[str | None] = [tg.MessageEntity.MENTION]
        names = (*message.parse_entities(mentions).values(), *message.parse_caption_entities(mentions).values())
        if any(name.lower() == f"@{self.us.username}".lower() for name in names):
            return True
        meant = (*message.entities, *message.caption_entities)
        if any(one.type == tg.MessageEntity.TEXT_MENTION and one.user and one.user.id == self.us.id for one in meant):
            return True
        command = _COMMAND.match(text)
        return command is not None and (command["bot"] is not None or f"/{command['name'].lower()}" in self.us.commands)

    def _for_another(self, text: str) -> bool:
        """A command with another bot's name: sessions know commands without looking at whose they are."""
        command = _COMMAND.match(text)
        return command is not None and (command["bot"] or self.us.username).lower() != self.us.username.lower()


def _topic(message: tg.Message) -> str | None:
    """Telegram gives a thread to answers in ordinary groups, too."""
    return str(message.message_thread_id) if message.is_topic_message and message.message_thread_id else None


def _album(message: tg.Message) -> str:
    return message.media_group_id or ""


def _names(sender: tg.User | tg.Chat) -> tuple[str, ...]:
    return (sender.username, f"@{sender.username}") if sender.username else ()


def _forwarded(message: tg.Message) -> bool:
    return message.forward_origin is not None or message.via_bot is not None


def _insert(text: str, place: int, what: str) -> str:
    """At a place that Telegram counts in UTF-16 units."""
    units = text.encode("utf-16-le", "surrogatepass")
    before, after = units[: 2 * place], units[2 * place :]
    return before.decode("utf-16-le", "surrogatepass") + what + after.decode("utf-16-le", "surrogatepass")


# --- what is no text


def _line_for(message: tg.Message) -> str:
    """What stands for a message without text; empty for files, which speak for themselves, and for what nobody said."""
    match message:
        case tg.Message(sticker=tg.Sticker(emoji=emoji)):
            return f"[sticker {emoji}]" if emoji else "[sticker]"
        case tg.Message(venue=tg.Venue(title=title, address=address, location=at)):
            return f"[place: {title}, {address} ({at.latitude}, {at.longitude})]"
        case tg.Message(location=tg.Location(latitude=latitude, longitude=longitude)):
            return f"[place: {latitude}, {longitude}]"
        case tg.Message(contact=tg.Contact() as contact):
            return f"[contact: {' '.join(filter(None, (contact.first_name, contact.last_name, contact.phone_number)))}]"
        case tg.Message(poll=tg.Poll(question=question, options=options)):
            return f"[poll: {question} {' / '.join(option.text for option in options)}]"
        case tg.Message(dice=tg.Dice(emoji=emoji, value=value)):
            return f"[{emoji} {value}]"
        case tg.Message(story=tg.Story()):
            return "[a story, which bots cannot see]"
        case tg.Message(paid_media=tg.PaidMediaInfo()) | tg.Message(game=tg.Game()) | tg.Message(invoice=tg.Invoice()):
            return "[something that can only be seen in Telegram]"
        case _:
            return ""


def _files_of(message: tg.Message, open_file: OpenFile) -> Iterator[Incoming]:
    for file, name, mime in _given(message):
        size = file.file_size if isinstance(file.file_size, int) else None
        yield Incoming(name, mime, size, partial(open_file, file.file_id))


def _given(message: tg.Message) -> Iterator[tuple[_File, str, str]]:
    """Its files, each with name and type; with names of ours where Telegram has none."""
    if message.photo:
        yield max(message.photo, key=lambda size: size.width * size.height), "photo.jpg", "image/jpeg"
    for kind, name, mime in _KINDS:
        file: _File | None = getattr(message, kind)
        if file is not None and not (kind == "document" and message.animation):  # Telegram gives an animation twice
            yield file, getattr(file, "file_name", None) or name, getattr(file, "mime_type", None) or mime
    sticker = message.sticker
    if sticker is not None and not sticker.is_animated and not sticker.is_video:
        yield sticker, "sticker.webp", "image/webp"
