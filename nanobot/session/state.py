"""What a session is at one moment: frozen values, made by `apply` alone.

`Session` is the fold of a journal: the state of the turn (`state`) and what stands beside it in every state. A turn lives
inside the states that have one, so a turn without a state, or a state without its turn, cannot be written down.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from typing import Self

import attrs

from nanobot.messages import (
    Attachment,
    Button,
    Call,
    CallId,
    Entry,
    ErrandId,
    Exchange,
    MessageId,
    Origin,
    Outbound,
    Reply,
    Said,
    TurnNumber,
    Usage,
)


class SeenIds:
    """The message ids of the dedupe window with their times: a set that shares its storage between versions.

    Adding to the newest version is O(1) and leaves older versions as they were, because each sees only its first
    `_count` entries; adding to an older version copies. Order is the order of arrival.
    """

    __slots__ = ("_count", "_entries")

    def __init__(self, entries: Iterable[tuple[MessageId, float]] = ()) -> None:
        self._entries: dict[MessageId, tuple[int, float]] = {}
        for message_id, at in entries:
            self._entries.setdefault(message_id, (len(self._entries), at))
        self._count = len(self._entries)

    def __contains__(self, message_id: object) -> bool:
        found = self._entries.get(message_id)  # type: ignore[call-overload]
        return found is not None and found[0] < self._count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[MessageId, float]]:
        for message_id, (index, at) in self._entries.items():
            if index >= self._count:
                return
            yield message_id, at

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SeenIds) and self._count == other._count and list(self) == list(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"SeenIds({list(self)!r})"

    def add(self, message_id: MessageId, at: float) -> SeenIds:
        if message_id in self:
            return self
        grown = SeenIds.__new__(SeenIds)
        grown._count = self._count + 1
        grown._entries = self._entries
        entry = (self._count, at)
        if self._entries.get(message_id) == entry:  # what step tried, apply_all does again
            return grown
        if len(self._entries) != self._count:
            grown._entries = dict(_first(self._entries, self._count))
        grown._entries[message_id] = entry
        return grown

    def pruned(self, now: float, *, keep_s: float, keep_count: int) -> SeenIds:
        """Without those that are older than `keep_s` and also behind `keep_count` newer ones."""
        excess = self._count - keep_count
        return SeenIds((i, at) for n, (i, at) in enumerate(self) if n >= excess or now - at <= keep_s)


def _first(entries: dict[MessageId, tuple[int, float]], count: int) -> Iterator[tuple[MessageId, tuple[int, float]]]:
    for message_id, (index, at) in entries.items():
        if index >= count:
            return
        yield message_id, (index, at)


@attrs.frozen
class Turn:
    """A turn in progress. `step` counts its model calls from 1; events and effects carry it so that late ones are known."""

    number: TurnNumber
    principal: str
    inputs: tuple[MessageId, ...]
    """What it answers: the message that opened it, then those that joined."""
    entries: tuple[Entry, ...]
    at: float
    """When it started, in seconds since the epoch."""
    step: int = 1
    restarts: int = 0
    """Crashes it has survived. A drain is none."""
    suspended: bool = False
    """A drain put it aside; the next start goes on with it."""
    empties: int = 0
    """Empty answers in a row."""
    nameless: int = 0
    """Answers so far whose calls had no name."""
    lengths: int = 0
    """Answers cut at the token limit and continued."""
    trimmed: bool = False
    """History was cut once because the service refused the request as too long."""
    consolidated: bool = False
    last_call: str = ""
    """Why the model must answer without tools now; empty while it need not."""
    told: tuple[Outbound, ...] = ()
    """What its calls have said to the chat, but for what could not be delivered."""

    @property
    def scheduled(self) -> bool:
        """It is scheduled work."""
        return any(isinstance(entry, Said) and entry.origin is Origin.JOB for entry in self.entries)

    @property
    def answers(self) -> tuple[Outbound, ...]:
        """Of what it has told, that which answers all its inputs."""
        return tuple(out for out in self.told if {*self.inputs} <= {out.reply_to, *out.also_answers})

    @property
    def usage(self) -> Usage:
        return sum((e.usage for e in self.entries if isinstance(e, Reply)), Usage())

    @property
    def reply(self) -> Reply:
        """The last answer, the only one whose calls can be open; what a stop settled may stand behind it.

        Raises: ImpossibleEvent where there is none.
        """
        for entry in reversed(self.entries):
            if isinstance(entry, Reply):
                return entry
        raise ImpossibleEvent(f"turn {self.number} has no answer whose calls could end")

    @property
    def open_calls(self) -> tuple[Call, ...]:
        """Calls that have no outcome yet."""
        last = next((entry for entry in reversed(self.entries) if isinstance(entry, Reply)), None)
        return tuple(call for call in last.calls if not call.state.settled) if last else ()


class ImpossibleEvent(Exception):
    """An event of ours that cannot follow what happened: a bug. The session is unchanged."""


class StopReason(enum.StrEnum):
    STOP = "stop"
    NEW = "new"
    DEADLINE = "deadline"
    RUN_DEADLINE = "run_deadline"
    """Of scheduled work, which has its own."""
    TOKENS = "tokens"
    """Scheduled work has used up what it may."""
    DRAIN = "drain"


@attrs.frozen
class Span:
    """Closed exchanges `[start, end)` by ordinal, to be merged into memory."""

    start: int
    end: int


@attrs.frozen
class Idle:
    """No turn, and an empty inbox (but while draining)."""


@attrs.frozen
class Thinking:
    """A model call of the turn is under way: context, call, its retries."""

    turn: Turn


@attrs.frozen
class AwaitingTool:
    """Calls of the turn's last answer are under way."""

    turn: Turn


@attrs.frozen
class Stopping:
    """The turn's scope was cancelled and is emptying. Survives a crash."""

    turn: Turn
    why: StopReason
    by: tuple[MessageId, ...] = ()
    """The messages that asked, answered when the turn has ended."""
    set_aside: int = 0
    """Waiting messages that the stop settled."""


@attrs.frozen
class Consolidating:
    """A closed span goes to memory. `back` is the turn that waits for it, None when nothing did."""

    span: Span
    back: Turn | None


State = Idle | Thinking | AwaitingTool | Stopping | Consolidating


@attrs.frozen
class Pending:
    """An outbound message that has not wholly arrived."""

    outbound: Outbound
    parts: tuple[str, ...] = ()
    """What the channel made of its text at the first attempt; empty: one part, the text itself."""
    delivered: int = 0
    """Parts that have arrived."""
    attempts: int = 0
    """Of the part that is next."""
    sending: bool = False
    """An attempt is on its way, or was when the process died."""
    doubted: bool = False
    """An earlier attempt ended without an answer of the network."""
    retry_at: float | None = None
    channel_down: bool = False
    waited_s: float = 0.0
    """Seconds spent waiting between attempts, downtime of ours excluded."""
    error: str = ""

    @property
    def total(self) -> int:
        return len(self.parts) or 1

    @property
    def waiting(self) -> bool:
        return self.retry_at is not None or self.channel_down


@attrs.frozen
class DeadLetter:
    """An outbound message that was given up."""

    outbound: Outbound
    reason: str
    at: float
    perhaps_delivered: bool = False


@attrs.frozen
class Owed:
    """A message that must reach the journal of the session `to`, where `id` is taken once. `origin` as in `Handed`."""

    id: str
    to: str
    text: str
    at: float
    attachments: tuple[Attachment, ...] = ()
    origin: str = ""
    buttons: tuple[Button, ...] = ()


class ErrandKind(enum.StrEnum):
    QUESTION = "question"
    """A command that needs I/O; asked again after a crash."""
    APPROVAL = "approval"
    """A call that waits for the owner's word; never run again after a crash."""
    BACKGROUND = "background"
    """A subagent or process that outlives its turn; never run again after a crash."""
    MEMORY = "memory"
    """What has left the prompt goes to memory; done anew after a crash, and no stop ends it."""


TITLE_CHARS = 80


@attrs.frozen
class Errand:
    """Something that outlives a turn, with its own scope and expiry."""

    id: ErrandId
    kind: ErrandKind
    text: str
    """What it does, whole, for people; for a question the command line."""
    principal: str
    asked_by: MessageId
    """The message that its end answers: what asked for it, then what approved it."""
    call: CallId | None = None
    tool: str = ""
    arguments: str = ""
    expires_at: float | None = None
    started: bool = False
    """It runs, or ran when the process died."""
    row: str = ""
    """Of the policy table; with `terms` what an approval is bound to beside the arguments."""
    terms: str = ""
    origin: Origin = Origin.DIRECT
    tainted: bool = False
    """Text of strangers stood in the conversation that asked for it."""

    @property
    def title(self) -> str:
        """What it does, on one line of a list."""
        line = " ".join((f"{self.tool}: {self.text}" if self.kind is ErrandKind.APPROVAL else self.text).split())
        return line if len(line) <= TITLE_CHARS else f"{line[: TITLE_CHARS - 1]}…"


@attrs.frozen
class Session:
    """Everything a session knows. `base` is the ordinal of `exchanges[0]`; what came before is in older segments."""

    key: str
    state: State = Idle()
    exchanges: tuple[Exchange, ...] = ()
    base: int = 0
    inbox: tuple[Said, ...] = ()
    outbox: tuple[Pending, ...] = ()
    dead: tuple[DeadLetter, ...] = ()
    doubled: tuple[Outbound, ...] = ()
    """What has arrived after an attempt without an answer: the chat may have it twice."""
    owed: tuple[Owed, ...] = ()
    errands: tuple[Errand, ...] = ()
    seen: SeenIds = attrs.field(factory=SeenIds)
    """Ids of messages, and of requests that were queued or are owed."""
    next_turn: TurnNumber = TurnNumber(1)
    next_out: int = 1
    model: str | None = None
    """Chosen by `/model` for this session."""
    trusted: TurnNumber = TurnNumber(0)
    """The owner took what turns before this one brought for harmless."""
    preempted: int = 0
    """Consolidations in a row that an input cut short."""
    draining: bool = False
    usage: Usage = Usage()

    @property
    def cursor(self) -> int:
        """Ordinal of the first exchange that is still in the prompt."""
        return self.base

    @property
    def end(self) -> int:
        """Ordinal after the last closed exchange."""
        return self.base + len(self.exchanges)

    @property
    def turn(self) -> Turn | None:
        match self.state:
            case Thinking(turn) | AwaitingTool(turn) | Stopping(turn):
                return turn
            case Consolidating(back=back):
                return back
            case Idle():
                return None

    @property
    def wake_at(self) -> float | None:
        """When the earliest promise is due, in seconds since the epoch."""
        times = [e.expires_at for e in self.errands if e.expires_at is not None and not e.started]
        if self.outbox and self.outbox[0].retry_at is not None:
            times.append(self.outbox[0].retry_at)
        return min(times, default=None)

    def errand(self, errand_id: str) -> Errand | None:
        return next((e for e in self.errands if e.id == errand_id), None)

    def pruned(self, now: float) -> Self:
        """What a cut keeps: ids of the dedupe window and letters within their bounds."""
        return attrs.evolve(
            self,
            seen=self.seen.pruned(now, keep_s=SEEN_KEEP_S, keep_count=SEEN_KEEP_COUNT),
            dead=self.dead[-DEAD_KEEP_COUNT:],
            doubled=self.doubled[-DEAD_KEEP_COUNT:],
        )


SEEN_KEEP_S = 24 * 3600.0
"""Networks redeliver within a day (Telegram keeps updates for 24 h)."""
SEEN_KEEP_COUNT = 2000
"""45 KB in a snapshot; a quiet chat keeps its ids longer than a day."""
DEAD_KEEP_COUNT = 100
"""Dead letters that a snapshot keeps, and possibly doubled ones; older ones stand in the old segments."""
