"""What both wires need to turn our conversation into a legal one: texts, ids, names, arguments, and the outcome of calls.

A converted entry is kept as long as the entry lives (`Kept`), because a session shows the same history at every call: only
what is new is converted. Entries are frozen, so what was converted stays true; they are found by identity.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import weakref
from collections.abc import Iterable
from typing import Generic, TypeVar

import attrs

from nanobot.messages import Attachment, Call, CallState, Entry, Exchange
from nanobot.pictures import LARGEST
from nanobot.wire import Json, JsonObject

F = TypeVar("F")

EMPTY = "(empty)"
CONTINUED = "(conversation continued)"
GO_ON = "(continue)"
MAX_ID = 40  # characters of a call id that every service takes
MAX_NAME = 64  # characters of a tool's name that every service takes
_ILLEGAL = re.compile(r"[^A-Za-z0-9_-]")

OUTCOMES: dict[CallState, str] = {
    CallState.REQUESTED: "This call has no result yet.",
    CallState.STARTED: "This call has no result yet.",
    CallState.CUT: "Stopped before it finished. It may have had effects; check before repeating it.",
    CallState.NOT_RUN: "Not run.",
    CallState.UNKNOWN_AFTER_CRASH: (
        "It is not known whether this ran: the process died meanwhile. It may have had effects; check before repeating it."
    ),
}
"""What the model is told of a call that has no plain result. Those of `SPOKEN` speak for themselves."""
SPOKEN: dict[CallState, str] = {
    CallState.DONE: "(no output)",
    CallState.FAILED: "The call failed.",
    CallState.REFUSED: "The call was refused.",
    CallState.DEFERRED: "Not finished yet; its end will be told.",
}


class Kept(Generic[F]):
    """What was made of entries (or exchanges), by identity, each for as long as that lives."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[weakref.ref[Entry | Exchange], F]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, entry: Entry | Exchange) -> F | None:
        found = self._kept.get(id(entry))
        return found[1] if found is not None and found[0]() is entry else None

    def put(self, entry: Entry | Exchange, converted: F) -> None:
        key = id(entry)
        kept = self._kept

        def forget(dead: weakref.ref[Entry | Exchange]) -> None:
            if key in kept and kept[key][0] is dead:
                del kept[key]

        kept[key] = (weakref.ref(entry, forget), converted)


def clean(text: str) -> str:
    """Without lone surrogates, which no service takes; pairs of them become the character they mean."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "ignore")
    return text


def visible(text: str) -> str:
    """Clean, and empty if it is blank."""
    cleaned = clean(text)
    return "" if cleaned.isspace() else cleaned


def spoken(text: str) -> str:
    """Clean and not blank: services refuse blank blocks."""
    return visible(text) or EMPTY


def note(text: str) -> str:
    """How a line of ours is shown, so that the model does not take it for the user's."""
    return f"[system note, not written by the user: {spoken(text)}]"


def file_line(attachment: Attachment) -> str:
    """How a file that is not shown itself is told."""
    line = f"[file: {clean(attachment.path)}"
    if attachment.mime.startswith("image/") and attachment.size > LARGEST:
        return f"{line}, an image of {attachment.size / 1e6:.2f} MB: not shown, the limit is {LARGEST / 1e6:.2f} MB]"
    return f"{line}]"


def legal_name(name: str) -> str:
    return _ILLEGAL.sub("_", name)[:MAX_NAME] or "unnamed"


def legal_ids(calls: Iterable[Call], taken: Iterable[str] = (), *, nine_chars: bool = False) -> tuple[str, ...]:
    """Ids in characters that every service takes, each once, none of `taken`; always the same for the same calls."""
    seen = set(taken)
    ids: list[str] = []
    for call in calls:
        tries = (_nine_chars(call.id, n) if nine_chars else _any_length(call.id, n) for n in itertools.count(1))
        fresh = next(one for one in tries if one not in seen)
        seen.add(fresh)
        ids.append(fresh)
    return tuple(ids)


def _any_length(identity: str, n: int) -> str:
    wanted = _ILLEGAL.sub("_", identity)[:MAX_ID] or "call"
    return wanted if n == 1 else f"{wanted[: MAX_ID - len(str(n)) - 1]}_{n}"


def _nine_chars(identity: str, n: int) -> str:
    """Mistral's own ids as they are, others as a digest."""
    if n == 1 and len(identity) == 9 and identity.isascii() and identity.isalnum():
        return identity
    return hashlib.sha256(f"{n}:{identity}".encode(errors="replace")).hexdigest()[:9]


def arguments_object(text: str) -> JsonObject:
    """Arguments as the object that services want to see replayed. Never for running a call."""
    value = _parsed(text)
    if isinstance(value, str):  # some models write the object as a JSON string
        value = _parsed(value)
    return value if isinstance(value, dict) else {"arguments": value}


def arguments_text(text: str) -> str:
    """The same as JSON text: as the model wrote it where that is an object."""
    value = _parsed(text)
    as_written = isinstance(value, dict) and text.isascii() and "\\u" not in text
    return text if as_written and text else json.dumps(arguments_object(text), ensure_ascii=False)


def _parsed(text: str) -> Json:
    """What the text means, the text itself if it is no JSON. An escaped lone surrogate is legal in JSON text only."""
    try:
        value: Json = json.loads(text or "{}", parse_constant=str)
        if "\\u" in text or not text.isascii():
            value = json.loads(clean(json.dumps(value, ensure_ascii=False)))
    except (ValueError, RecursionError):
        return clean(text)
    return value


def is_error(call: Call) -> bool:
    return call.state not in (CallState.DONE, CallState.DEFERRED)


def result_text(call: Call) -> str:
    """What the model is told came of a call."""
    said = visible(call.result)
    if call.state in SPOKEN:
        return said or SPOKEN[call.state]
    return "\n".join(filter(None, (OUTCOMES[call.state], said)))


@attrs.frozen
class Origin:
    """Which row of the registry wrote something opaque: only that one gets it back."""

    row: str

    def seal(self, value: Json) -> str:
        return json.dumps({self.row: value}, separators=(",", ":"))

    def open(self, opaque: str) -> Json:
        """None for what another service wrote, or nobody."""
        if not opaque:
            return None
        try:
            value: Json = json.loads(opaque)
        except ValueError:
            return None
        return value.get(self.row) if isinstance(value, dict) else None
