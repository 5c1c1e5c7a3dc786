"""One message, one answer on stdout, and the end, where no gateway runs: the house is opened in this process.

The answer counts as delivered when stdout has taken it. Everything else (other replies that were still owed to this session,
failures, interruptions) goes to stderr; see answering.py.

SIGINT stops the turn and waits `STOP_S` for its end; a second one leaves at once. SIGTERM and SIGHUP put the turn aside.
"""

from __future__ import annotations

import errno
import signal
from collections.abc import Callable

import attrs
import trio

from nanobot.cli.chatting import words
from nanobot.cli.chatting.alone import Alone, configured, keep_alive, sit_down
from nanobot.cli.chatting.answering import (
    ANSWERED,
    FAILED,
    INTERRUPTED,
    STANDS_ABOVE,
    STOP_S,
    Draw,
    aside,
    on_stdout,
    tell_failure,
)
from nanobot.cli.chatting.attaching import attach
from nanobot.cli.chatting.failures import sentence_of
from nanobot.cli.chatting.request import ChatRequest
from nanobot.cli.chatting.signals import Signals
from nanobot.cli.chatting.sitting import next_id, on_loop
from nanobot.cli.chatting.stdio import write_all
from nanobot.cli.terminal import Opened, tell_warnings
from nanobot.control.answers import answers, last_said, told, with_files
from nanobot.errors import NanobotError
from nanobot.messages import MessageId, Outbound
from nanobot.session import events as ev
from nanobot.session.ports import Adopted, DeliveryEnd, Progress, Shown, Waiting, Working
from nanobot.session.records import Record, Restarted, Suspended
from nanobot.session.state import Pending, Session


@attrs.define(eq=False)
class OneShot:
    """The outlet and the watcher of a chat of one message. `ended` is set when it is answered, or `settled` is."""

    request: ChatRequest
    draw: Draw
    clock: Callable[[], float]
    asked: MessageId | None = None
    said: tuple[Outbound, ...] = ()
    """What the tool `message` has said in mid-turn."""
    settled: tuple[Session, Outbound] | None = None
    """Which of it is the answer, where the turn ended without one of its own."""
    interrupted: bool = False
    code: int = FAILED
    pipe_broken: bool = False
    ended: trio.Event = attrs.field(factory=trio.Event)

    def watch(self, _key: str, progress: Progress) -> None:
        match progress:
            case Waiting(what, until):
                aside(words.waiting(what, until, self.clock()))
            case Adopted(records, session):
                self._book(records, session)
                self._settle(session)
            case Shown() | Working():  # one-shot shows the end, not the way
                pass

    def _book(self, records: tuple[Record, ...], session: Session) -> None:
        for record in records:
            if isinstance(record, Restarted) and session.turn is not None:
                aside(words.RESUMING)
            elif isinstance(record, Suspended):
                aside(words.PUT_ASIDE)

    def _settle(self, session: Session) -> None:
        last = last_said(session, self.said, self.asked)
        if last is not None and not self.ended.is_set():
            self.settled = session, last
            self.ended.set()

    async def send(self, session: Session, pending: Pending, part: int) -> DeliveryEnd:
        reply = pending.outbound
        if not answers(reply, self.asked):
            aside(f"{words.EARLIER}\n{with_files(reply)}" if reply.reply_to else with_files(reply))
        elif reply.request:
            aside(with_files(reply))
            self.said += (reply,)
        else:
            error = await self.answer(session, reply, words.NOT_WRITTEN)
            self.ended.set()
            if error:
                return ev.ChannelDown(reply.id, part, self.clock(), error)
        return ev.PartDelivered(reply.id, part, self.clock())

    async def answer(self, session: Session, reply: Outbound, not_written: str) -> str:
        """Write it to stdout; returns why it cannot be, which is said by the sentence `not_written`."""
        failed = reply.failed or self.interrupted
        if failed:
            aside(reply.text)
        text = on_stdout(self.request, told(session, reply, self.asked), self.draw, failed=failed)
        try:
            await trio.to_thread.run_sync(write_all, 1, text, abandon_on_cancel=True)
        except BrokenPipeError:
            self.pipe_broken = True  # whoever read has read enough
        except OSError as exc:
            aside(not_written.format(exc.strerror))
            self.code = FAILED
            return exc.strerror or errno.errorcode.get(exc.errno or 0, "")
        else:
            self.code = FAILED if failed else ANSWERED
        return ""


def run(request: ChatRequest, signals: Signals, draw: Draw, clock: Callable[[], float]) -> int:
    """Ask and answer; returns the exit code. Raises: ConfigError, BrokenPipeError."""
    instance = configured(request)
    tell_warnings(instance.warnings)
    shot = OneShot(request, draw, clock)
    try:
        trio.run(_main, shot, instance, signals)
    except* (NanobotError, OSError) as group:
        shot.code = FAILED
        tell_failure(request, sentence_of(group))
    if shot.pipe_broken:
        raise BrokenPipeError
    return signals.code or (INTERRUPTED if shot.interrupted else shot.code)


async def _main(shot: OneShot, instance: Opened, signals: Signals) -> None:
    interrupt = trio.Event()

    def heard(number: int) -> None:
        if number != signal.SIGINT:
            scope.cancel()
        elif shot.interrupted:
            signals.now(INTERRUPTED)
        else:
            shot.interrupted = True
            signals.leaving()
            interrupt.set()
            if shot.asked is None:
                scope.cancel()

    scope = trio.CancelScope()  # of the waiting, not of the house: that ends in order
    signals.attach(on_loop(heard))
    async with sit_down(shot.request, instance, shot, shot.watch) as sitting:
        with scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(keep_alive, sitting, lambda: True)
                nursery.start_soon(_stop_after, interrupt, sitting, scope)
                await _ask(sitting, shot)
                nursery.cancel_scope.cancel()
        signals.leaving()


async def _ask(sitting: Alone, shot: OneShot) -> None:
    """Hand over the message and wait for its answer."""
    files = [await trio.to_thread.run_sync(attach, file, sitting.media) for file in shot.request.files]
    shot.asked = next_id()
    await sitting.say(shot.request.message or "", tuple(files), shot.asked)
    await shot.ended.wait()
    if shot.settled is not None:
        await shot.answer(*shot.settled, STANDS_ABOVE)


async def _stop_after(interrupt: trio.Event, sitting: Alone, scope: trio.CancelScope) -> None:
    """Stop the turn, give it a moment to say what was cut, and leave."""
    await interrupt.wait()
    with trio.move_on_after(STOP_S):
        await sitting.say("/stop")
        await trio.sleep_forever()  # the reply ends the chat
    scope.cancel()
