"""What an attached terminal and the gateway say to each other. Pure.

A terminal asks `attach {session}` and is told `{"ok": {...}}` with the session as it stands; then both send frames as they
come, told apart by `type`:

    gateway   shown working waiting    what session/ports.py calls so: may be lost, never waited for
              records                  a line that is on disk: the terminal folds it over its session
              send {id, part}          print that message of the outbox, and say so
              said {id}                the message is on disk
              refused {id, reason}     it is not, and why; `code` "stopping": say it again to the next gateway
              bye {code, reason}       the last one: `stopping`, `restarting`, `slow`
    terminal  say {id, text, files}    a message; the same id whenever it is said again
              sent {id, ok, error}     it is printed, or cannot be

`ask {session}` is for one message: the terminal says it and is told `said` or `refused`, `waiting`, `resuming`, `put_aside`,
`earlier {id, text}` (another reply that was owed), `meanwhile {id, text}` (no reply: said by the tool `message` while the turn
goes on, or a question to the owner) and `answer {id, text, failed, usage, tools}` (without an id if it was shown before). Those
three want `sent`, where they have an id.
"""

from __future__ import annotations

from typing import assert_never

import attrs

from nanobot.control.port import BadRequest
from nanobot.messages import Attachment, CallId, MessageId, TurnNumber
from nanobot.session.codec import decode, decode_session, encode, encode_session
from nanobot.session.fold import apply_all
from nanobot.session.ports import Adopted, Progress, Shown, Waiting, Working
from nanobot.session.state import SeenIds, Session
from nanobot.wire import Json, JsonObject

EXCHANGES_SHOWN = 20
"""Closed turns that a terminal is given: it looks up the last ones only."""


@attrs.frozen
class Say:
    """What a terminal wants said."""

    id: MessageId
    text: str
    files: tuple[Attachment, ...]


def frame_of(progress: Progress) -> JsonObject:
    match progress:
        case Shown(turn, text, thinking, void):
            return {"type": "shown", "turn": turn, "text": text, "thinking": thinking, "void": void}
        case Working(turn, call, line):
            return {"type": "working", "turn": turn, "call": call, "line": line}
        case Waiting(what, until):
            return {"type": "waiting", "what": what, "until": until}
        case Adopted(records):
            return {"type": "records", "records": encode(records)}
        case _ as never:
            assert_never(never)


def progress_of(frame: JsonObject, session: Session) -> Progress | None:
    """What `frame_of` was given, with `session` before it; None for a frame of another sort.

    Raises: UnknownFormat, BadRequest, ImpossibleEvent.
    """
    match frame:
        case {"type": "shown", "turn": int(turn), "text": str(text), "thinking": str(thinking), "void": str(void)}:
            return Shown(TurnNumber(turn), text, thinking, void)
        case {"type": "working", "turn": int(turn), "call": str(call), "line": str(line)}:
            return Working(TurnNumber(turn), CallId(call), line)
        case {"type": "waiting", "what": str(what), "until": float() | int() | None as until}:
            return Waiting(what, until)
        case {"type": "records", "records": list(rows)}:
            records = tuple(decode(rows))
            return Adopted(records, apply_all(session, records))
        case {"type": "shown" | "working" | "waiting" | "records"}:
            raise BadRequest(f"a frame that is not understood: {frame['type']}")
        case _:
            return None


def snapshot(session: Session) -> Json:
    """The session as a terminal needs it: without what it never looks at."""
    left_out = max(0, len(session.exchanges) - EXCHANGES_SHOWN)
    shown = attrs.evolve(session, exchanges=session.exchanges[left_out:], base=session.base + left_out, seen=SeenIds(), dead=())
    return encode_session(shown)


def session_of(row: Json) -> Session:
    """Raises: UnknownFormat."""
    return decode_session(row)


def say_frame(said: Say) -> JsonObject:
    files: list[Json] = [{"path": f.path, "mime": f.mime, "name": f.name, "size": f.size} for f in said.files]
    return {"type": "say", "id": said.id, "text": said.text, "files": files}


def say_of(frame: JsonObject) -> Say:
    """Raises: BadRequest."""
    match frame:
        case {"type": "say", "id": str(id_), "text": str(text), "files": list(rows)} if id_:
            return Say(MessageId(id_), text, tuple(map(_file, rows)))
        case _:
            raise BadRequest("a message needs id, text and files")


def _file(row: Json) -> Attachment:
    match row:
        case {"path": str(path), "mime": str(mime), "name": str(name), "size": int(size)}:
            return Attachment(path, mime, name, size)
        case _:
            raise BadRequest("a file needs path, mime, name and size")
