"""The words that all parts share: who speaks, where, what was said, and what came of it.

Everything here is a frozen value without I/O and without policy. Two families:

* *transport*: `Principal`, `SessionKey`, `Attachment`, `Inbound`, `Outbound`, `Receipt`: what crosses between a
  channel and a session;
* *conversation*: `Said`, `Reply`, `Call`, `Note`, `Exchange`: what a session remembers and a provider is shown.

A tool call and its outcome are one value (`Call`), so that a call without a result, which every provider refuses,
cannot be written down. This module imports nobody of ours.
"""

from __future__ import annotations

import enum
from functools import cached_property
from typing import NewType

import attrs

MessageId = NewType("MessageId", str)
"""The network's identity of a message (an edit adds a version: `123@2`), unique within its chat."""
CallId = NewType("CallId", str)
OutboundId = NewType("OutboundId", str)
"""Unique within its session; the same whenever the message is sent again."""
ErrandId = NewType("ErrandId", str)
TurnNumber = NewType("TurnNumber", int)

DEFAULT_ACCOUNT = "default"
INTERNAL = frozenset({"cron", "heartbeat"})
"""Channels of sessions that nobody is behind: what is said there stands in the conversation and is sent nowhere."""


@attrs.frozen
class Principal:
    """Somebody who may ask for things. A right never crosses from one principal to another."""

    channel: str
    account: str
    chat: str
    user: str
    owner: bool = False

    def __str__(self) -> str:
        return ":".join(map(_escape, (self.channel, self.account, self.chat, self.user)))

    @classmethod
    def parse(cls, text: str, *, owner: bool = False) -> Principal:
        """The principal that `str()` wrote. Raises: ValueError."""
        channel, account, chat, user = map(_unescape, text.split(":"))
        return cls(channel, account, chat, user, owner)


@attrs.frozen
class SessionKey:
    """`channel:account:chat[:topic]`; `channel:chat` means the account `default`."""

    channel: str
    chat: str
    account: str = DEFAULT_ACCOUNT
    topic: str | None = None

    def __str__(self) -> str:
        tail = "" if self.topic is None else f":{_escape(self.topic)}"
        return f"{_escape(self.channel)}:{_escape(self.account)}:{_escape(self.chat)}{tail}"

    @property
    def short(self) -> str:
        """How people write it: without the account when it is the only one."""
        if self.account == DEFAULT_ACCOUNT and self.topic is None:
            return f"{_escape(self.channel)}:{_escape(self.chat)}"
        return str(self)

    @classmethod
    def parse(cls, text: str) -> SessionKey:
        """Raises: ValueError for a text that is not a session key."""
        parts = [_unescape(part) for part in text.split(":")]
        match parts:
            case [channel, chat] if channel and chat:
                return cls(channel, chat)
            case [channel, account, chat] if channel and account and chat:
                return cls(channel, chat, account)
            case [channel, account, chat, topic] if channel and account and chat and topic:
                return cls(channel, chat, account, topic)
            case _:
                raise ValueError(f"{text!r} is not a session key: expected channel:chat or channel:account:chat[:topic]")


def _escape(part: str) -> str:
    return part.replace("%", "%25").replace(":", "%3A")


def _unescape(part: str) -> str:
    return part.replace("%3A", ":").replace("%3a", ":").replace("%25", "%")


@attrs.frozen
class Attachment:
    """A file that came with a message or goes out with one. `path` is a name of ours; `name` is what the sender called it."""

    path: str
    mime: str
    name: str
    size: int
    """Bytes."""


@attrs.frozen
class Inbound:
    """One message as a channel received it. `at` is the time of receipt in seconds since the epoch."""

    id: MessageId
    key: SessionKey
    principal: Principal
    text: str
    at: float
    attachments: tuple[Attachment, ...] = ()
    tainted: bool = False
    """The text was not written by the principal (forwarded mail, a page, a stranger's file)."""
    direct: bool = True
    """From a private chat; else from a group, where others read what is answered."""


class Origin(enum.StrEnum):
    """Where an order came from, as far as rights hang on it beside who gave it."""

    DIRECT = "direct"
    """A private chat."""
    GROUP = "group"
    """A chat where others read and write, too."""
    JOB = "job"
    """Scheduled work: nobody is there."""


@attrs.frozen
class Button:
    """A choice that a message offers: pressed, it is as if `says` had been written by who pressed it."""

    label: str
    says: str


@attrs.frozen
class Outbound:
    """One message on its way to a chat. `parts` are fixed at the first attempt, when the channel's limit is known."""

    id: OutboundId
    text: str
    at: float
    reply_to: MessageId | None = None
    also_answers: tuple[MessageId, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    failed: bool = False
    """The turn ended without an answer of the model; the text says why."""
    origin: str = ""
    """The session, if another, whose turn sent it here by `message`: what becomes of it is told there."""
    request: str = ""
    """Id under which it was asked for, by `message` or from another session: it is taken once. Empty for a reply."""
    buttons: tuple[Button, ...] = ()
    """Shown where the network has them; the text says what to write instead."""


@attrs.frozen
class Receipt:
    """What the network said about a message it took. `id` is the network's, empty where it gives none."""

    id: str = ""


class CallState(enum.StrEnum):
    """Where a tool call stands. All but the first three are outcomes, and a call has exactly one."""

    REQUESTED = "requested"
    STARTED = "started"
    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"
    CUT = "cut"
    """Cancelled after it started: its effects may have happened."""
    NOT_RUN = "not_run"
    DEFERRED = "deferred"
    """Goes on outside the turn, as an errand; its end is an input."""
    UNKNOWN_AFTER_CRASH = "unknown_after_crash"

    settled: bool
    """An outcome. An attribute and no property: it is asked for every call of every step."""

    def __init__(self, value: str) -> None:
        self.settled = value not in ("requested", "started")


class Effect(enum.StrEnum):
    """What running a call may do to the world. By our own word or the owner's, never a server's."""

    READS = "reads"
    """No effect: may run beside others and may run again."""
    WRITES = "writes"
    RECORDS = "records"
    """Its effect is a record of the session, done by the line that says so."""


@attrs.frozen
class Call:
    """A tool call and its outcome, one value."""

    id: CallId
    name: str
    arguments: str
    """JSON text exactly as the model wrote it; `{}` where it wrote nothing."""
    effect: Effect = Effect.WRITES
    state: CallState = CallState.REQUESTED
    result: str = ""
    """What the model is shown, capped; the full text is in the file `full`."""
    full: str | None = None
    attachments: tuple[Attachment, ...] = ()
    principal: str = ""
    """Whose right it runs under: `str(Principal)` of the turn."""
    tainted: bool = False
    """The result holds text of strangers."""
    approval: str | None = None
    """Id of the errand that asked for approval, if one did."""
    extra: str = ""
    """Opaque JSON of the provider that must be replayed with the call (thought signatures), empty if none."""


@attrs.frozen
class Thinking:
    """Reasoning as the model gave it, kept to be replayed to the provider that wrote it."""

    provider: str
    """The wire it came by: `openai_chat`, `anthropic`. Replayed there, dropped elsewhere."""
    text: str
    opaque: str = ""
    """JSON of what must go back unchanged (signatures, encrypted blocks), empty if none."""


@attrs.frozen
class Usage:
    """Tokens of one model call. `input` counts everything that was read, cached or not."""

    input: int = 0
    output: int = 0
    cached: int = 0
    """Of `input`, read from the provider's cache."""

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.input + other.input, self.output + other.output, self.cached + other.cached)


@attrs.frozen
class Said:
    """A message of a person (or a job) that joined the conversation."""

    id: MessageId
    text: str
    at: float
    principal: str
    attachments: tuple[Attachment, ...] = ()
    tainted: bool = False
    """It holds text that the principal did not write."""
    origin: Origin = Origin.DIRECT
    ours: bool = False
    """A word of ours in their name: how an errand of theirs has ended."""


@attrs.frozen
class Reply:
    """One answer of the model: text, reasoning, and the calls it asked for with their outcomes."""

    text: str
    calls: tuple[Call, ...] = ()
    thinking: tuple[Thinking, ...] = ()
    usage: Usage = Usage()
    model: str = ""
    tainted: bool = False
    """Text of strangers stood in the prompt that it answers."""


@attrs.frozen
class Note:
    """A line of ours in the conversation, shown to the model as such: the end of an errand, a cut, a limit."""

    text: str
    at: float
    tainted: bool = False


Entry = Said | Reply | Note


class TurnEnd(enum.StrEnum):
    """How a turn ended."""

    ANSWERED = "answered"
    FAILED = "failed"
    STOPPED = "stopped"
    DEADLINE = "deadline"
    CRASHED = "crashed"
    SUPERSEDED = "superseded"
    """Ended by `/new` in mid-turn."""


@attrs.frozen
class Exchange:
    """A closed turn: what was said, done and answered. History is cut between exchanges, never inside one."""

    turn: TurnNumber
    principal: str
    entries: tuple[Entry, ...]
    end: TurnEnd
    answer: str = ""
    """The text of ours that ended it where the last entry is not the model's answer (a failure, a stop)."""
    undone: bool = False
    """Taken out of the prompt by `/undo`; kept on record."""

    @cached_property
    def shown(self) -> tuple[Entry, ...]:
        """What the model is shown of it: nothing that was undone; where it ended otherwise than by an answer, how."""
        if self.undone:
            return ()
        return (*self.entries, Note(self.answer, 0.0)) if self.answer else self.entries

    @cached_property
    def messages(self) -> int:
        """How many messages a prompt has for it."""
        return sum(1 + (len(e.calls) if isinstance(e, Reply) else 0) for e in self.shown)

    @cached_property
    def bytes(self) -> int:
        """UTF-8 bytes of its text, as a measure of what it costs in a prompt; pictures are counted by `weight_of`."""
        return sum(map(weight_of, self.shown))


PICTURE_BYTES = 6000
"""What a picture counts for: vendors charge about 1,500 tokens for one, at about 4 bytes a token."""


def weight_of(entry: Entry) -> int:
    """UTF-8 bytes that an entry brings into a prompt, pictures as `PICTURE_BYTES`."""
    match entry:
        case Said(text=text, attachments=attachments):
            return len(text.encode("utf-8", "replace")) + PICTURE_BYTES * len(attachments)
        case Note(text):
            return len(text.encode("utf-8", "replace"))
        case Reply(text, calls, thinking):
            said = len(text) + sum(len(t.text) for t in thinking)
            return said + sum(len(c.arguments) + len(c.result) + PICTURE_BYTES * len(c.attachments) for c in calls)
