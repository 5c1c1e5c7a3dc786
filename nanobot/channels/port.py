"""What a chat network is to the rest: `Channel` is what a network's module writes, `Port` what it is given.

A channel translates: it connects, says that it is ready, turns what arrives into `Arrived` and a `Part` into a message of its
network. All that networks have in common (who may speak, pairing, groups, files, splitting, waiting, retries, typing, drafts,
restarts) is done once, in runner.py. A channel knows this module and nothing of sessions.

Contract of a channel:
* `serve` connects, calls `task_status.started()` when it can send and receive, and receives until it is cancelled. It never
  returns: what ends it is raised, as `ChannelFailed` with its cause where that is known. It has no retry loop of its own.
* It acknowledges a message to its network only when it is told that it was taken: by `taken` of `port.take`, which keeps each
  chat in order, tries again and puts together what was sent as one, or as `port.deliver` returns; `NotTaken` of that means: do
  not acknowledge.
* `port.alive()` is called on proof of traffic (an answered heartbeat, a completed long poll), never on hope.
* Cancelled, it leaves nothing behind: no task, thread, socket or process.
* `send` may be called by many tasks at once, only while it is up; its deadline is the caller's scope.
* A pressed button (`Part.buttons`) arrives as a message like any other: `Arrived` with what it says as `text`, who pressed it as
  `user`, the id of the press, which stays the same when the network tells of it again, and `mentioned`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol, runtime_checkable

import attrs
import trio

from nanobot.channels.splitting import utf16_units
from nanobot.errors import NanobotError
from nanobot.messages import DEFAULT_ACCOUNT, Button, MessageId, Outbound, Receipt, SessionKey
from nanobot.supervise.policy import ChildFailed

# --- what goes wrong


class ChannelFailed(ChildFailed):
    """The channel cannot go on. Raised by `serve`, or handed to `port.fail`."""


class NotTaken(NanobotError):
    """A message could not be made durable (the disk is full, nanobot is stopping): it must not be acknowledged."""

    def __init__(self, text: str, *, code: str) -> None:
        self.code = code
        """`disk_full`, `stopping`, `not_written`."""
        super().__init__(text)


class SendError(NanobotError):
    """A message was not sent, as far as is known."""


class SendLater(SendError):
    """The network will take it later. `retry_after`: seconds it asked for."""

    def __init__(self, text: str, *, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(text)


class SendRefused(SendError):
    """The network will never take it (too long, no such chat, blocked by the user)."""


class SendUnknown(SendError):
    """No answer came after it was handed over: it may have arrived."""


class Unreachable(SendError):
    """The channel cannot send now, and will say when it can again."""


# --- values


@attrs.frozen
class Limits:
    """What a network can do."""

    text: int | None = None
    """Most of one message, in what `length` counts; None: no limit."""
    length: Callable[[str], int] = utf16_units
    """How long the network finds a text, as it will be rendered."""
    sends: int = 64
    """Messages that it takes at once; others wait without losing time of their deadline."""
    keyed: bool = False
    """It takes our ids, so that sending a message again cannot double it."""
    edit_every_s: float | None = None
    """Seconds between two edits of one message that it tolerates; None: messages cannot be edited."""
    typing_every_s: float | None = None
    """Seconds after which "is typing" must be said again; None: it has no such thing."""
    proof_s: float | None = None
    """Seconds without proof of traffic after which the connection counts as dead; None: it gives no proof."""
    media_bytes: int = 20_000_000
    """Of one file that arrives; larger ones are named in the text and not fetched."""
    buttons: int = 0
    """Most buttons of one message; 0: the network has none."""
    button_bytes: int = 64
    """Most that a button brings back when it is pressed; Telegram's, the least of those that are planned for."""

    def fit(self, buttons: tuple[Button, ...]) -> tuple[Button, ...]:
        """All of them or none: a choice that can only be made in part would be another one."""
        short = all(len(button.says.encode()) <= self.button_bytes for button in buttons)
        return buttons if short and len(buttons) <= self.buttons else ()


@attrs.frozen
class Incoming:
    """A file that came with a message, not fetched yet: that is done only for those who may speak."""

    name: str
    mime: str
    size: int | None
    """Bytes, where the network says so."""
    open: Callable[[], AbstractAsyncContextManager[AsyncIterator[bytes]]]
    """Raises, as the iterator does: OSError, SendError. The message is delivered without the file then."""


@attrs.frozen
class Arrived:
    """One message as the network brought it, before anybody asked whether its sender may speak."""

    id: MessageId
    """The identity of the message, not of the delivery; an edit adds its version."""
    chat: str
    user: str
    text: str
    at: float
    """Seconds since the epoch, by the network's clock."""
    account: str = DEFAULT_ACCOUNT
    topic: str | None = None
    direct: bool = True
    """A private chat; else a group."""
    mentioned: bool = False
    """In a group: addressed to us, or an answer to us."""
    names: tuple[str, ...] = ()
    """Other identities of the sender that `allowFrom` may name (user name, telephone number)."""
    files: tuple[Incoming, ...] = ()
    tainted: bool = False
    """The text was not written by the sender (forwarded)."""
    album: str = ""
    """The same for messages of a chat that follow one another and were sent as one."""
    goes_on: bool = False
    """More of its text may follow: the sender's program may have cut it."""


@attrs.frozen
class Part:
    """A message to send, or one of the parts it was split into."""

    key: SessionKey
    outbound: Outbound
    text: str
    index: int = 0
    count: int = 1
    draft: str = ""
    """The network's id of the draft that streamed this answer: the first part takes its place. Empty: none."""
    buttons: tuple[Button, ...] = ()
    """To be shown below the last part, if the network has any; the text says what to write instead."""

    @property
    def last(self) -> bool:
        """Files and buttons go with the last part."""
        return self.index == self.count - 1


# --- what may be watched while a turn runs: never stored, never waited for


@attrs.frozen
class StateSign:
    """What the session does: `idle`, `thinking`, `working`, `stopping`, `waiting`, `delivering`."""

    state: str
    tool: str = ""


@attrs.frozen
class ToolSign:
    turn: int
    name: str
    phase: str
    """`started`, or the call's outcome (messages.CallState)."""


@attrs.frozen
class DeltaSign:
    turn: int
    text: str


@attrs.frozen
class VoidSign:
    """What was streamed of this turn's answer so far is withdrawn."""

    turn: int


Sign = StateSign | ToolSign | DeltaSign | VoidSign


# --- the two sides


class Port(Protocol):
    """What a channel is given for one life. For Trio's loop only: a worker's thread hands things over first."""

    @property
    def folder(self) -> Path:
        """A folder of its own in the data directory (0700), for cursors and the like."""
        ...

    @property
    def commands(self) -> Mapping[str, str]:
        """The slash commands with a line of help each, for networks that show them in a menu."""
        ...

    async def deliver(self, arrived: Arrived) -> None:
        """Take a message: it is on disk, or nobody is to answer it, when this returns. Raises: NotTaken."""
        ...

    def take(self, arrived: Arrived, taken: Callable[[], None]) -> None:
        """As `deliver`, in the background: in the order of its chat, tried again while it is not taken, and with what belongs to
        it (gathering.py). `taken` is called once, when it is on disk or nobody is to answer it; it must not raise."""
        ...

    def alive(self) -> None:
        """There was proof of traffic just now."""
        ...

    def fail(self, error: ChannelFailed) -> None:
        """End this life: for what is noticed outside `serve`, such as a token that was revoked in mid-send."""
        ...


class Channel(Protocol):
    @property
    def limits(self) -> Limits: ...

    async def serve(self, port: Port, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See the module. Raises: ChannelFailed."""
        ...

    async def send(self, part: Part) -> Receipt:
        """Returns when the network has taken it. Raises: SendLater, SendRefused, SendUnknown, Unreachable."""
        ...


@runtime_checkable
class Typing(Protocol):
    """A channel whose network shows that somebody is typing."""

    async def typing(self, key: SessionKey) -> None:
        """Raises: SendError, which ends nothing."""
        ...


@runtime_checkable
class Drafts(Protocol):
    """A channel that can show an answer while it grows, by editing one message."""

    async def draft(self, key: SessionKey, text: str, draft: str, answers: MessageId | None) -> str:
        """Send a draft (`draft` empty) or edit it; returns its id. Raises: SendError, which ends nothing.

        answers: as `reply_to` of the message that will take its place.
        """
        ...


@runtime_checkable
class Reacts(Protocol):
    """A channel that can mark somebody's message: it was taken, it was answered."""

    async def react(self, key: SessionKey, message: MessageId, *, answered: bool) -> None:
        """Told when a message is on disk, and when what answers it has arrived. Raises: SendError, which ends nothing."""
        ...


@runtime_checkable
class Probes(Protocol):
    """A channel that can look at its network beside a gateway that runs: `nanobot channels test`."""

    async def probe(self, folder: Path, to: str) -> tuple[str, ...]:
        """Connect, and say who we are there and what people get wrong, a line each; takes nothing that arrives.

        Sends one message to the chat `to`, and none if that is empty. `folder`: as the port's. Raises: ChannelFailed, SendError.
        """
        ...


@runtime_checkable
class Watches(Protocol):
    """A channel that shows what happens as it happens (the page)."""

    def show(self, key: SessionKey, sign: Sign) -> None:
        """Must not block or raise."""
        ...
