"""`message`: say something to this chat while the turn goes on, or to another chat. It is done by the line that records it.

Files are copied to a folder of ours first, so that what is sent later is what was there when it was asked for.
"""

from __future__ import annotations

import hashlib
import mimetypes
import secrets
from pathlib import Path
from typing import Annotated

import attrs
import trio

from nanobot.errors import ToolError
from nanobot.messages import Attachment, Button, Effect, SessionKey
from nanobot.security.workspace import open_file
from nanobot.tools.plain import hidden, one_line
from nanobot.tools.port import Intent, Letter, Result, Tool, ToolTurn
from nanobot.tools.results import write_private
from nanobot.tools.schema import Arg

MOST_FILES = 10
MOST_BUTTONS = 10
LONGEST_BUTTON = 64
"""Bytes: what Telegram brings back of a button that is pressed."""
LARGEST_FILE = 50 * 1024 * 1024
"""Bytes; few chat networks take more from a program."""


@attrs.frozen
class Message:
    text: Annotated[str, Arg("What to say.")]
    to: Annotated[str | None, Arg("Another chat, as channel:chat; without it, this chat.")] = None
    attachments: Annotated[tuple[str, ...], Arg("Paths of files to send along.")] = ()
    buttons: Annotated[
        tuple[str, ...], Arg("Short answers to choose from, where the network has buttons. Name them in text, too.")
    ] = ()


def intent(params: Message, turn: ToolTurn) -> Intent:
    """Raises: ToolError."""
    to = _chat(params.to, turn)
    if to is not None:
        terms = [f"To {to.short}.", *(_described(path, turn) for path in params.attachments)]
        return Intent("message:elsewhere", to.short, " ".join(terms))
    return Intent("message:files" if params.attachments else "message", turn.session.short)


async def run(params: Message, turn: ToolTurn) -> Result:
    to = _chat(params.to, turn)
    if turn.post is None:
        raise ToolError("messages cannot be sent from here")
    if not params.text.strip():
        raise ToolError("text is empty; say in it what the message is about")
    if len(params.attachments) > MOST_FILES:
        raise ToolError(f"at most {MOST_FILES} files go with one message")
    buttons = _buttons(params.buttons)
    files = await trio.to_thread.run_sync(_copied, params.attachments, turn) if params.attachments else ()
    return await turn.post(Letter(params.text, to, files, buttons))


def _buttons(labels: tuple[str, ...]) -> tuple[Button, ...]:
    """Raises: ToolError."""
    if len(labels) > MOST_BUTTONS:
        raise ToolError(f"at most {MOST_BUTTONS} buttons go with one message")
    for label in labels:
        if not label.strip() or len(label.encode("utf-8", "replace")) > LONGEST_BUTTON or hidden(label):
            raise ToolError(f"a button is a plain text of at most {LONGEST_BUTTON} bytes: {label[:80]!r} is none")
        if label.lstrip().startswith("/"):
            raise ToolError("a button says what it shows, and orders (/...) are only given by people themselves")
    return tuple(Button(label, label) for label in labels)


def _chat(text: str | None, turn: ToolTurn) -> SessionKey | None:
    """The other chat that is meant, None for this one. Raises: ToolError."""
    if not text:
        return None
    try:
        key = SessionKey.parse(text)
    except ValueError as error:
        raise ToolError(f"to: {error}") from error
    return None if key == turn.session else key


def _described(path: str, turn: ToolTurn) -> str:
    """A file as it is now, so that no other one is sent than was allowed. Raises: ToolError."""
    digest, size = hashlib.sha256(), 0
    with open_file(path, turn) as opened:
        while chunk := opened.file.read(2**20):
            digest.update(chunk)
            size += len(chunk)
            if size > LARGEST_FILE:
                raise ToolError(f"{path} is larger than {LARGEST_FILE // 2**20} MiB and is not sent")
    return f"{one_line(path)}: {size:,} bytes, {digest.hexdigest()[:16]}."


def _copied(paths: tuple[str, ...], turn: ToolTurn) -> tuple[Attachment, ...]:
    return tuple(_copy(path, turn) for path in paths)


def _copy(path: str, turn: ToolTurn) -> Attachment:
    """Raises: ToolError."""
    with open_file(path, turn) as opened:
        data = opened.file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise ToolError(f"{path} is larger than {LARGEST_FILE // 2**20} MiB and is not sent")
    folder, name = turn.media or turn.results, Path(path).name
    kept = folder / f"{secrets.token_hex(8)}{Path(name).suffix[:16]}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(kept, data)
    except OSError as error:
        raise ToolError(f"{path} cannot be kept for sending: {error.strerror}") from error
    return Attachment(str(kept), mimetypes.guess_type(name)[0] or "application/octet-stream", name, len(data))


MESSAGE_TOOL = Tool(
    "message",
    "Send a message now: to this chat while you go on working, with files, or to another chat. Your final answer is sent by "
    "itself; do not use this for it.",
    Message,
    run,
    Effect.RECORDS,
    intent=intent,
)
