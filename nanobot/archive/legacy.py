"""Conversations of HKUDS/nanobot: finds the session file of a key and reads it into exchanges. Changes nothing on disk.

Two generations wrote them: one JSON object per line, first the metadata, then messages. The older put them under
`<workspace>/sessions` (before that `~/.nanobot/sessions`) with a lossy name, the later under
`<data>/sessions/<workspace id>` with the base64url of the key. A line that cannot be read is skipped and counted; a call
whose result is missing is `unknown_after_crash`, for it may have run; a result without its call is skipped and counted.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import attrs

from nanobot.messages import (
    DEFAULT_ACCOUNT,
    Call,
    CallId,
    CallState,
    Entry,
    Exchange,
    MessageId,
    Note,
    Principal,
    Reply,
    Said,
    SessionKey,
    TurnEnd,
    TurnNumber,
)
from nanobot.wire import Json, JsonObject

_UNSAFE = re.compile(r'[<>:"/\\|?*]')
_WORKSPACE_ID = re.compile(r"[0-9a-f]{32}")
_ELSEWHERE = ("metadata", "provider_state")
"""Kinds of lines that are not messages."""


@attrs.frozen
class Imported:
    """A conversation that was. `cursor` counts the exchanges that are in its memory files already."""

    exchanges: tuple[Exchange, ...]
    cursor: int
    skipped_lines: int
    source: Path


@attrs.frozen
class _Message:
    """A line as it stood in the list of messages; `at` in seconds since the epoch, 0 if nothing tells."""

    index: int
    role: str
    body: JsonObject
    at: float


def find(key: SessionKey, *, workspace: Path, data: Path) -> Path | None:
    """The session file of `key`, the later generation first. Those knew no accounts: only the default one has files."""
    if key.account != DEFAULT_ACCOUNT:
        return None
    for folder in _folders(workspace, data):
        for old in _old_keys(key):
            for name in (_base64_name(old), _UNSAFE.sub("_", old)):
                path = folder / f"{name}.jsonl"
                if path.is_file() and _belongs(path, old):
                    return path
    return None


def load(path: Path, key: SessionKey) -> Imported:
    """Reads the file that `find` found.

    Raises: OSError.
    """
    return read(path.read_bytes().split(b"\n"), key, path)


def read(lines: Iterable[bytes], key: SessionKey, source: Path) -> Imported:
    """The conversation in `lines`. Pure; `source` is only passed on."""
    messages: list[_Message] = []
    cursor = skipped = index = 0
    at = 0.0
    for text in lines:
        if not text.strip():
            continue
        body = _object(text)
        kind = body.get("_type") if body is not None else None
        if body is not None and kind in _ELSEWHERE:
            cursor = _cursor(body, cursor)
            at = _time(body.get("created_at"), at)
            continue
        role = body.get("role") if body is not None else None
        if body is None or not isinstance(role, str):
            skipped += 1
        else:
            at = _time(body.get("timestamp"), at)
            messages.append(_Message(index, role, body, at))
        index += 1
    turns = tuple(_turns(message for message in messages if not message.body.get("_command")))
    exchanges, orphans = _exchanges(turns, key)
    done = sum(1 for turn in turns if turn[-1].index < cursor) if cursor <= index else 0
    return Imported(exchanges, done, skipped + orphans, source)


def _folders(workspace: Path, data: Path) -> Iterator[Path]:
    try:
        ids = [(workspace / ".nanobot" / "workspace-id").read_text().strip()]
    except OSError:
        ids = []
    known = sorted(path.name for path in (data / "sessions").glob("*") if _WORKSPACE_ID.fullmatch(path.name))
    ids += known if len(known) == 1 else []
    yield from (data / "sessions" / each for each in ids if _WORKSPACE_ID.fullmatch(each))
    yield workspace / "sessions"
    yield Path.home() / ".nanobot" / "sessions"


def _old_keys(key: SessionKey) -> tuple[str, ...]:
    if key.topic is None:
        return (f"{key.channel}:{key.chat}",)
    return (f"{key.channel}:{key.chat}:topic:{key.topic}", f"{key.channel}:{key.chat}:{key.topic}")


def _base64_name(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode("utf-8", "surrogatepass")).decode().rstrip("=")


def _belongs(path: Path, key: str) -> bool:
    """A lossy name may be another key's; where the metadata name one, it is the truth."""
    with path.open("rb") as file:
        head = _object(file.readline())
    owner = head.get("key") if head is not None else None
    return owner is None or owner == key


def _object(text: bytes) -> JsonObject | None:
    try:
        value: Json = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _cursor(metadata: JsonObject, known: int) -> int:
    value = metadata.get("last_consolidated")
    return value if isinstance(value, int) and value >= 0 else known


def _time(value: Json | None, known: float) -> float:
    try:
        return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else known
    except (ValueError, OverflowError, OSError):
        return known


def _turns(messages: Iterable[_Message]) -> Iterator[tuple[_Message, ...]]:
    """Splits before each message of the user, but not before one that joined a turn which ran."""
    turn: list[_Message] = []
    for message in messages:
        if message.role == "user" and turn and not message.body.get("injected_event"):
            yield tuple(turn)
            turn = []
        turn.append(message)
    if turn:
        yield tuple(turn)


def _exchanges(turns: Sequence[Sequence[_Message]], key: SessionKey) -> tuple[tuple[Exchange, ...], int]:
    principal = str(Principal(key.channel, key.account, key.chat, ""))
    exchanges = []
    orphans = 0
    for number, turn in enumerate(turns, 1):
        results = {_text(each.body.get("tool_call_id")): _content(each.body) for each in turn if each.role == "tool"}
        entries = tuple(entry for each in turn if (entry := _entry(each, results, principal)) is not None)
        calls = {str(call.id) for entry in entries if isinstance(entry, Reply) for call in entry.calls}
        orphans += len(results.keys() - calls)
        last = entries[-1] if entries else None
        answered = isinstance(last, Reply) and not last.calls
        exchanges.append(Exchange(TurnNumber(number), principal, entries, TurnEnd.ANSWERED if answered else TurnEnd.FAILED))
    return tuple(exchanges), orphans


def _entry(message: _Message, results: dict[str, str], principal: str) -> Entry | None:
    text = _content(message.body)
    match message.role:
        case "user":
            return Said(MessageId(f"imported-{message.index}"), text, message.at, principal)
        case "assistant":
            calls = message.body.get("tool_calls")
            return Reply(text, tuple(_calls(calls if isinstance(calls, list) else [], results, principal)))
        case "tool":
            return None
        case _:
            return Note(text, message.at)


def _calls(calls: Iterable[Json], results: dict[str, str], principal: str) -> Iterator[Call]:
    for call in calls:
        match call:
            case {"id": str(id_), "function": {"name": str(name), **function}}:
                arguments = function.get("arguments")
                written = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
                state = CallState.DONE if id_ in results else CallState.UNKNOWN_AFTER_CRASH
                result = results.get(id_, "")  # it was not noted where that came from
                yield Call(CallId(id_), name, written, state=state, result=result, principal=principal, tainted=True)
            case _:
                continue


def _content(body: JsonObject) -> str:
    """The text of a message: a string, or the text blocks of a list; files that came with it by their names."""
    content = body.get("content")
    blocks = content if isinstance(content, list) else [content]
    parts = [_text(block.get("text")) if isinstance(block, dict) else _text(block) for block in blocks]
    media = body.get("media")
    parts += [f"[file: {Path(_text(path)).name}]" for path in (media if isinstance(media, list) else [])]
    return "\n".join(part for part in parts if part)


def _text(value: Json | None) -> str:
    return value if isinstance(value, str) else ""
