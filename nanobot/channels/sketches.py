"""What a chat is shown while a turn runs: that we are typing, and the answer as it grows, or what is said between steps.

Best effort, beside the durable message that ends the turn, which waits for no more than the one operation under way:
* a network that can edit (`Drafts`) shows one message that grows, at most one edit in flight and one in `edit_every_s`, the
  newest text winning; at the network's limit it stops growing. The final message takes its place (`Part.draft`).
* others get what the model says between its steps (`sendProgress`), at most one message a second.
* a line for each tool (`sendToolHints`) is the draft's last line, or a message like the others.
* a network that has it (`Typing`) is told again and again that we are typing, until the turn ends.

A sketch is a chat's turn; its task runs only while there is a connection and something to draw, `MOST_DRAWN` at a time, and
ends with the turn. What a network refuses is not tried again; a bug of the channel ends the channel's life.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import partial

import attrs
import trio

from nanobot.channels import splitting
from nanobot.channels.edge import ChannelBug, guarded
from nanobot.channels.life import Life
from nanobot.channels.port import ChannelFailed, Drafts, Part, SendLater, SendRefused, Typing
from nanobot.channels.signs import begun_calls
from nanobot.errors import NanobotError
from nanobot.messages import Call, MessageId, Outbound, OutboundId, SessionKey, TurnNumber
from nanobot.session import records as r
from nanobot.session.ports import Adopted, Progress, Shown
from nanobot.session.state import Session
from nanobot.supervise.policy import Cause

DRAW_S = 5.0
"""Seconds for one operation: what takes longer is not worth showing, and a final message waits for it."""
MESSAGE_EVERY_S = 1.0
"""Seconds between two messages of progress: the rate that chat networks allow in one chat."""
MOST_DRAWN = 200
"""Chats of one channel that are drawn at a time, about 20 KiB each; the others get their final messages only."""
MOST_NOTES = 20
"""Messages of progress that wait; of more the newest count."""
STALE_S = 600.0
"""Seconds without any news after which a turn is not drawn any more: its session is gone."""
MOST_ENDED = 1000
"""Final messages whose draft is remembered while they wait for the network."""
EMPTIED = "…"
"""What is left of a draft whose text was withdrawn: networks do not take an empty message."""
LONGEST_HINT = 60
"""Characters of a call's arguments."""


@attrs.define(eq=False)
class Sketch:
    """One chat's turn."""

    key: SessionKey
    turn: TurnNumber
    answers: MessageId | None = None
    """The message that the turn answers."""
    text: str = ""
    """Of the answer that grows, or of the last one until the next begins."""
    over: bool = False
    """The answer in `text` is complete, and the turn goes on: the next delta begins a new one."""
    hint: str = ""
    notes: list[str] = attrs.field(factory=list)
    """What is to be said where the network cannot edit."""
    draft: str = ""
    shown: str = ""
    """What the draft shows."""
    count: int = 0
    """Messages of progress so far."""
    replaced: bool = False
    """A final message takes the draft's place."""
    given_up: bool = False
    """A draft may be there whose id we do not know: another one would double it."""
    drawing: bool = False
    ended: trio.Event = attrs.field(factory=trio.Event)
    """The turn has ended."""
    still: trio.Event = attrs.field(factory=trio.Event)
    """No operation is under way, if it was drawn."""
    changed: trio.Event = attrs.field(factory=trio.Event)

    def grow(self, text: str) -> None:
        self.text, self.hint, self.over = text if self.over else self.text + text, "", False
        self.changed.set()

    def withdraw(self) -> None:
        self.text, self.over = "", False
        self.changed.set()

    def body(self) -> str:
        """What a draft should show; empty: nothing yet."""
        return "\n\n".join(filter(None, (self.text.strip(), self.hint))) or (EMPTIED if self.draft else "")


@attrs.define(eq=False)
class Sketches:
    """See the module. One for each channel, for all its lives: a turn outlives a connection, and so does its draft."""

    progress: bool
    hints: bool
    _clock: Callable[[], float]
    _life: Life | None = attrs.field(default=None, init=False)
    _edits: bool = attrs.field(default=False, init=False)
    _types: bool = attrs.field(default=False, init=False)
    _live: dict[str, Sketch] = attrs.field(factory=dict, init=False)
    _ended: dict[tuple[str, OutboundId], Sketch] = attrs.field(factory=dict, init=False)
    """By the final message that takes its place."""
    _drawn: int = attrs.field(default=0, init=False)

    def connect(self, life: Life) -> None:
        """A life is up: draw on it from now on."""
        self._life = life
        self._edits = isinstance(life.channel, Drafts) and life.limits.edit_every_s is not None
        self._types = isinstance(life.channel, Typing) and life.limits.typing_every_s is not None

    def watch(self, key: str, progress: Progress) -> None:
        match progress:
            case Shown(turn, text=text, void=void) if self._edits and (text or void):
                sketch = self._of(key, turn)
                sketch.withdraw() if void else sketch.grow(text)
            case Adopted(records, session):
                self._book(key, records, session)
            case _:  # waiting, and what a tool says, are not seen in a chat
                pass
        live = self._live.get(key)
        if live is not None and self._life is not None and self._life.up:
            self._draw(self._life, live)

    async def draft_for(self, key: str, outbound: OutboundId) -> str:
        """The draft whose place a final message takes, when nothing is under way there any more; empty if there is none."""
        sketch = self._ended.get((key, outbound))
        if sketch is None:
            return ""
        await sketch.still.wait()
        return sketch.draft

    def settle(self, key: str, outbound: OutboundId) -> None:
        """The final message has arrived, or never will."""
        self._ended.pop((key, outbound), None)

    @property
    def drawn(self) -> int:
        """Chats that are drawn now."""
        return self._drawn

    # --- what the session says

    def _of(self, key: str, turn: TurnNumber) -> Sketch:
        sketch = self._live.get(key)
        if sketch is None or sketch.turn != turn:
            self._end(key)
            sketch = self._live[key] = Sketch(SessionKey.parse(key), turn)
        return sketch

    def _book(self, key: str, records: tuple[r.Record, ...], session: Session) -> None:
        ended: Sketch | None = None
        for record in records:
            match record:
                case r.Answered(turn, reply) if reply.calls:
                    self._step_ended(key, turn, reply.text)
                case r.TurnEnded():
                    ended = self._end(key)
                case r.Queued(outbound) if ended is not None:
                    self._remember(key, outbound.id, ended)
                    ended = None
                case _:  # no other record is seen in a chat
                    pass
        running = session.turn
        if running is None or running.suspended:
            self._end(key)
            return
        if self.hints and (calls := list(begun_calls(records, session))):
            self._hint(key, running.number, "\n".join(map(hint_of, calls)))
        if self._types or self._edits:
            self._of(key, running.number).answers = running.inputs[0] if running.inputs else None

    def _step_ended(self, key: str, turn: TurnNumber, text: str) -> None:
        if not self._edits:
            if self.progress and text.strip():
                self._note(key, turn, text.strip())
        elif (sketch := self._live.get(key)) is not None:
            sketch.over = True
            if not self.progress:
                sketch.withdraw()

    def _hint(self, key: str, turn: TurnNumber, line: str) -> None:
        if not self._edits:
            self._note(key, turn, line)
            return
        sketch = self._of(key, turn)
        sketch.hint, sketch.over = line, True
        sketch.changed.set()

    def _note(self, key: str, turn: TurnNumber, text: str) -> None:
        if self._life is not None and self._life.up:
            sketch = self._of(key, turn)
            sketch.notes = [*sketch.notes, text][-MOST_NOTES:]
            sketch.changed.set()

    def _end(self, key: str) -> Sketch | None:
        sketch = self._live.pop(key, None)
        if sketch is not None:
            sketch.ended.set()
            sketch.changed.set()
        return sketch

    def _remember(self, key: str, outbound: OutboundId, sketch: Sketch) -> None:
        sketch.replaced = True
        if sketch.draft or sketch.drawing:
            self._ended[key, outbound] = sketch
            while len(self._ended) > MOST_ENDED:
                del self._ended[next(iter(self._ended))]

    # --- what the chat sees

    def _draw(self, life: Life, sketch: Sketch) -> None:
        wanted = self._types or sketch.notes or sketch.body()
        if wanted and not sketch.drawing and self._drawn < MOST_DRAWN:
            sketch.drawing, sketch.still = True, trio.Event()
            self._drawn += 1
            life.nursery.start_soon(self._serve, life, sketch, name=f"drawing {sketch.key} {sketch.turn}")

    async def _serve(self, life: Life, sketch: Sketch) -> None:
        channel = life.channel
        try:
            async with trio.open_nursery() as nursery:
                if isinstance(channel, Typing) and (every := life.limits.typing_every_s) is not None:
                    nursery.start_soon(self._type, life, channel, sketch, every)
                drafts = channel if isinstance(channel, Drafts) and life.limits.edit_every_s is not None else None
                await self._follow(life, drafts, sketch)
                nursery.cancel_scope.cancel()
        finally:
            self._drawn -= 1
            sketch.drawing = False
            sketch.still.set()

    async def _follow(self, life: Life, drafts: Drafts | None, sketch: Sketch) -> None:
        """Until the turn ends, or nothing is heard of it any more."""
        while not sketch.ended.is_set():
            sketch.changed = trio.Event()
            pause: float | None = None
            if drafts is not None:
                pause = await self._edit(life, drafts, sketch, sketch.body())
            elif sketch.notes:
                pause = await self._say(life, sketch)
            with trio.move_on_after(STALE_S if pause is None else pause) as scope:
                await (sketch.changed if pause is None else sketch.ended).wait()
            if pause is None and scope.cancelled_caught:
                return
        if drafts is not None and sketch.draft and not sketch.replaced:
            await self._edit(life, drafts, sketch, EMPTIED)

    async def _edit(self, life: Life, channel: Drafts, sketch: Sketch, body: str) -> float | None:
        """Bring the draft up to date. Returns the seconds before the next edit; None: it is up to date."""
        if not body or sketch.given_up:
            return None
        text = splitting.first(body, life.limits.text, life.limits.length)
        if text == sketch.shown:
            return None

        async def draw() -> None:
            sketch.draft = await channel.draft(sketch.key, text, sketch.draft, sketch.answers)

        asked = await self._try(life, draw, sketch)
        if asked is None:
            sketch.shown = text
        return max(life.limits.edit_every_s or 0.0, asked or 0.0)

    async def _say(self, life: Life, sketch: Sketch) -> float:
        text = splitting.first("\n\n".join(sketch.notes), life.limits.text, life.limits.length)
        sketch.notes, sketch.count = [], sketch.count + 1
        outbound = Outbound(OutboundId(f"p{sketch.turn}.{sketch.count}"), text, self._clock())

        async def say() -> None:
            await life.send(Part(sketch.key, outbound, text), DRAW_S)

        return max(MESSAGE_EVERY_S, await self._try(life, say, sketch) or 0.0)

    async def _type(self, life: Life, channel: Typing, sketch: Sketch, every: float) -> None:
        while not sketch.ended.is_set():
            asked = await self._try(life, partial(channel.typing, sketch.key))
            with trio.move_on_after(max(every, asked or 0.0)):
                await sketch.ended.wait()

    async def _try(self, life: Life, draw: Callable[[], Awaitable[None]], sketch: Sketch | None = None) -> float | None:
        """One operation, under its deadline. Returns the seconds that the network wants to be left alone; None: none."""
        try:
            with trio.move_on_after(DRAW_S) as scope:
                await guarded(life.name, draw)
            lost = scope.cancelled_caught
        except SendLater as error:
            return error.retry_after or 0.0
        except SendRefused:
            lost = False
        except ChannelBug as bug:
            life.fail(ChannelFailed(str(bug), cause=Cause.BUG))
            lost = True
        except NanobotError:
            lost = True
        if lost and sketch is not None and not sketch.draft:
            sketch.given_up = True
        return None


def hint_of(call: Call) -> str:
    """`read_file "notes.txt"`: the tool and what its arguments hold, shortened."""
    try:
        parsed = json.loads(call.arguments)
    except ValueError:
        parsed = call.arguments
    values = list(parsed.values()) if isinstance(parsed, dict) else [parsed]
    said = " ".join(json.dumps(value, ensure_ascii=False) for value in values)
    return f"{call.name} {said if len(said) <= LONGEST_HINT else said[: LONGEST_HINT - 1] + '…'}".rstrip()
