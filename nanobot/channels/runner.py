"""One channel over all its lives: each with a new Channel object, and between them the answer that it is down.

`serve` is the supervisor's child: one life. `send` is the session's way to the chat: it splits at the network's limit before
anything is sent, sends under a deadline, and turns what came of it into the session's events. Only this channel's sends wait
for this channel. What the channel's code raises against its contract ends its life, and counts as unknown outcome.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs
import trio

from nanobot.channels import reactions, splitting
from nanobot.channels.edge import ChannelBug, guarded_sync
from nanobot.channels.intake import Intake
from nanobot.channels.life import Life
from nanobot.channels.port import (
    Channel,
    ChannelFailed,
    Part,
    SendLater,
    SendRefused,
    Unreachable,
    Watches,
)
from nanobot.channels.signs import Signs
from nanobot.channels.sketches import Sketches
from nanobot.config.paths import made
from nanobot.errors import NanobotError
from nanobot.messages import SessionKey
from nanobot.session import events as ev
from nanobot.session.commands import TABLE
from nanobot.session.ports import DeliveryEnd, Progress
from nanobot.session.state import Pending, Session
from nanobot.supervise.policy import Cause

SEND_S = 30.0
"""Seconds for a network's answer to a message."""
UPLOAD_BYTES_S = 100_000
"""What a file adds to that: 0.8 Mbit/s is a bad mobile connection."""


@attrs.define(eq=False)
class Runner:
    """See the module."""

    name: str
    make: Callable[[], Channel]
    intake: Intake
    sketches: Sketches
    _folder: Path
    _clock: Callable[[], float]
    _on_up: Callable[[str], None]
    _fail: Callable[[ChannelFailed], None]
    """The supervisor's, who ends the life."""
    load: Callable[[], object] | None = None
    """Imports what `make` needs; run in a thread before each life."""
    keyed: bool = False
    """Whether the network takes our ids, as its last life said."""
    _life: Life | None = attrs.field(default=None, init=False)
    _signs: dict[str, Signs] = attrs.field(factory=dict, init=False)
    """Of chats that do something, where the channel shows it."""

    @property
    def up(self) -> bool:
        return self._life is not None and self._life.up

    def facts(self) -> tuple[tuple[str, str], ...]:
        """What status shows beside its state."""
        life = self._life
        counts = (
            ("messages being taken", self.intake.taking),
            ("messages being sent", life.sending if life is not None else 0),
            ("chats being drawn", self.sketches.drawn),
        )
        return tuple((name, str(count)) for name, count in counts if count)

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """One life. Raises: what ended it, in a group or alone."""
        if self.load is not None:
            await trio.to_thread.run_sync(self.load, abandon_on_cancel=True)  # an import does no harm when it ends alone
        life = Life(self.name, self.make(), made(self._folder), self.intake.take, self._fail, TABLE)
        self._life, self.keyed = life, life.limits.keyed
        self._signs.clear()

        def when_up() -> None:
            self.sketches.connect(life)
            task_status.started()
            self._on_up(self.name)

        try:
            await life.run(when_up)
        finally:
            self._life = None

    # --- the session's side

    async def send(self, session: Session, pending: Pending, part: int) -> DeliveryEnd:
        out, life = pending.outbound, self._life
        if life is None or not life.up:
            return ev.ChannelDown(out.id, part, self._clock(), f"{self.name} is not connected")
        texts = pending.parts or splitting.split(out.text, life.limits.text, life.limits.length)
        if len(texts) > 1 and not pending.parts:
            return ev.SplitInto(out.id, texts)
        draft = await self.sketches.draft_for(session.key, out.id) if part == 0 else ""
        buttons = life.limits.fit(out.buttons) if part == len(texts) - 1 else ()
        message = Part(SessionKey.parse(session.key), out, texts[part], part, len(texts), draft, buttons)
        end = await self._attempt(life, message)
        if isinstance(end, ev.PartDelivered | ev.SendRefused):
            self.sketches.settle(session.key, out.id)
        if isinstance(end, ev.PartDelivered) and message.last:
            reactions.tell(life, message.key, (out.reply_to, *out.also_answers), answered=True)
        return end

    async def _attempt(self, life: Life, part: Part) -> DeliveryEnd:
        out, index = part.outbound.id, part.index
        seconds = SEND_S + (sum(file.size for file in part.outbound.attachments) / UPLOAD_BYTES_S if part.last else 0.0)
        try:
            receipt = await life.send(part, seconds)
        except SendLater as error:
            return ev.SendFailed(out, index, self._clock(), str(error), error.retry_after)
        except SendRefused as error:
            return ev.SendRefused(out, index, self._clock(), str(error))
        except Unreachable as error:
            return ev.ChannelDown(out, index, self._clock(), str(error))
        except NanobotError as error:
            self._blame(life, error)
            return ev.SendUnknown(out, index, self._clock(), str(error), life.limits.keyed)
        return ev.PartDelivered(out, index, self._clock(), receipt.id)

    def watch(self, key: str, progress: Progress) -> None:
        life = self._life
        if life is not None and isinstance(life.channel, Watches):
            self._show(life, life.channel, key, progress)
        else:
            self.sketches.watch(key, progress)

    def _show(self, life: Life, channel: Watches, key: str, progress: Progress) -> None:
        signs = self._signs.setdefault(key, Signs())
        session = SessionKey.parse(key)
        try:
            for sign in signs.read(progress):
                guarded_sync(self.name, lambda sign=sign: channel.show(session, sign))  # type: ignore[misc]
        except NanobotError as error:
            self._blame(life, error)
        if signs.at_rest:
            del self._signs[key]

    def _blame(self, life: Life, error: NanobotError) -> None:
        """What ends the life, where an error does: the channel's own word, or a bug."""
        match error:
            case ChannelFailed():
                life.fail(error)
            case ChannelBug() if life.up:
                life.fail(ChannelFailed(str(error), cause=Cause.BUG))
            case _:  # a send of unknown outcome, or one that the end of its life has broken
                pass
