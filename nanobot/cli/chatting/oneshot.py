"""One message, one answer on stdout, and the end.

The answer counts as delivered when stdout has taken it. Everything else (other replies that were still owed to this session,
failures, interruptions) goes to stderr. With `--json` stdout gets one object instead, also for a failure:

    session   the session's key                      usage    tokens of the turn: {input, output, cached}
    text      the answer, empty if there is none     tools    [{name, state}], in the order of the calls
    failed    whether there is no answer             error    why, only if failed

SIGINT stops the turn and waits `STOP_S` for its end; a second one leaves at once. SIGTERM and SIGHUP put the turn aside.
"""

from __future__ import annotations

import errno
import json
import signal
from collections.abc import Callable
from contextlib import suppress

import attrs
import trio

from nanobot.cli.chatting import calls
from nanobot.cli.chatting.attaching import attach
from nanobot.cli.chatting.failures import sentence_of
from nanobot.cli.chatting.request import ChatRequest
from nanobot.cli.chatting.signals import Signals
from nanobot.cli.chatting.sitting import Sitting, configured, on_loop, sit_down
from nanobot.cli.chatting.status import PUT_ASIDE, RESUMING, waiting
from nanobot.cli.chatting.stdio import printable, write_all
from nanobot.cli.chatting.watchman import keep_alive
from nanobot.cli.terminal import Opened, tell, tell_warnings
from nanobot.errors import NanobotError
from nanobot.messages import MessageId, Outbound, Usage
from nanobot.session import events as ev
from nanobot.session.ports import Adopted, DeliveryEnd, Progress, Shown, Waiting, Working
from nanobot.session.records import Record, Restarted, Suspended
from nanobot.session.state import Pending, Session
from nanobot.wire import JsonObject

STOP_S = 1.0
"""Seconds that an interrupted turn gets to say what was cut."""
ANSWERED, FAILED, INTERRUPTED = 0, 1, 130


@attrs.define(eq=False)
class OneShot:
    """The outlet and the watcher of a chat of one message. `ended` is set when the message has its reply."""

    request: ChatRequest
    draw: Callable[[str], str]
    """How an answer looks on stdout."""
    clock: Callable[[], float]
    asked: MessageId | None = None
    interrupted: bool = False
    code: int = FAILED
    pipe_broken: bool = False
    ended: trio.Event = attrs.field(factory=trio.Event)

    def watch(self, _key: str, progress: Progress) -> None:
        match progress:
            case Waiting():
                _aside(waiting(progress, self.clock()))
            case Adopted(records, session):
                self._book(records, session)
            case Shown() | Working():  # one-shot shows the end, not the way
                pass

    def _book(self, records: tuple[Record, ...], session: Session) -> None:
        for record in records:
            if isinstance(record, Restarted) and session.turn is not None:
                _aside(RESUMING)
            elif isinstance(record, Suspended):
                _aside(PUT_ASIDE)

    async def send(self, session: Session, pending: Pending, part: int) -> DeliveryEnd:
        reply = pending.outbound
        if self.asked is None or self.asked not in (reply.reply_to, *reply.also_answers):
            _aside(f"(an earlier reply, only delivered now)\n{reply.text}")
            return ev.PartDelivered(reply.id, part, self.clock())
        try:
            await self._answer(session, reply)
        except BrokenPipeError:
            self.pipe_broken = True  # whoever read has read enough
        except OSError as exc:
            _aside(f"The answer cannot be written to standard output: {exc.strerror}. It is kept for the next nanobot chat.")
            self.code = FAILED
            self.ended.set()
            return ev.ChannelDown(reply.id, part, self.clock(), exc.strerror or errno.errorcode.get(exc.errno or 0, ""))
        self.ended.set()
        return ev.PartDelivered(reply.id, part, self.clock())

    async def _answer(self, session: Session, reply: Outbound) -> None:
        """Raises: OSError."""
        failed = reply.failed or self.interrupted
        if failed:
            _aside(reply.text)
        if self.request.as_json:
            await _write(json.dumps(self._object(session, reply, failed=failed), ensure_ascii=False) + "\n")
        elif not failed:
            await _write(self.draw(reply.text) + "\n")
        self.code = FAILED if failed else ANSWERED

    def _object(self, session: Session, reply: Outbound, *, failed: bool) -> JsonObject:
        exchange = calls.exchange_of(session, self.asked)
        usage = calls.usage_of(exchange) if exchange else Usage()
        made = calls.calls_of(exchange) if exchange else ()
        return {
            "session": self.request.key.short,
            "text": "" if failed else reply.text,
            "failed": failed,
            "usage": {"input": usage.input, "output": usage.output, "cached": usage.cached},
            "tools": [{"name": call.name, "state": call.state.value} for call in made],
            **({"error": reply.text} if failed else {}),
        }


def failure_object(request: ChatRequest, sentence: str) -> JsonObject:
    """What `--json` prints when there is not even a reply."""
    usage: JsonObject = {"input": 0, "output": 0, "cached": 0}
    return {"session": request.key.short, "text": "", "failed": True, "usage": usage, "tools": [], "error": sentence}


def run(request: ChatRequest, signals: Signals, draw: Callable[[str], str], clock: Callable[[], float]) -> int:
    """Ask and answer; returns the exit code. Raises: ConfigError, BrokenPipeError."""
    instance = configured(request)
    tell_warnings(instance.warnings)
    shot = OneShot(request, draw, clock)
    try:
        trio.run(_main, shot, instance, signals)
    except* (NanobotError, OSError) as group:
        shot.code = FAILED
        _tell_failure(request, sentence_of(group))
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


async def _ask(sitting: Sitting, shot: OneShot) -> None:
    """Hand over the message and wait for its reply."""
    files = [await trio.to_thread.run_sync(attach, file, sitting.media) for file in shot.request.files]
    shot.asked = sitting.next_id()
    await sitting.say(shot.request.message or "", tuple(files), shot.asked)
    await shot.ended.wait()


async def _stop_after(interrupt: trio.Event, sitting: Sitting, scope: trio.CancelScope) -> None:
    """Stop the turn, give it a moment to say what was cut, and leave."""
    await interrupt.wait()
    with trio.move_on_after(STOP_S):
        await sitting.say("/stop")
        await trio.sleep_forever()  # the reply ends the chat
    scope.cancel()


def _tell_failure(request: ChatRequest, sentence: str) -> None:
    _aside(sentence)
    if request.as_json:
        write_all(1, json.dumps(failure_object(request, sentence), ensure_ascii=False) + "\n")


def _aside(text: str) -> None:
    """To stderr, and nothing in it steers a terminal. That nobody reads there must not end the session."""
    with suppress(OSError):
        tell(printable(text))


async def _write(text: str) -> None:
    await trio.to_thread.run_sync(write_all, 1, text, abandon_on_cancel=True)
