"""One message, one answer, from the gateway that runs: this process hands over the one, prints the other, and ends.

It starts fast: neither trio nor cattrs nor the session package is imported (frames: control/frames.py). What is printed, and
the exit codes, are those of a chat without a gateway (answering.py), but that leaving stops nothing: the turn goes on in the
gateway, and an answer that nobody took waits for the next terminal.

SIGINT stops the turn and waits `STOP_S` for its end; a second one leaves at once, and so do SIGTERM and SIGHUP.
"""

from __future__ import annotations

import os
import select
import signal
import time

import attrs

from nanobot.cli.chatting import words
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
from nanobot.cli.chatting.meeting import LONGEST_SAY, TOO_LONG, Met
from nanobot.cli.chatting.request import ChatRequest
from nanobot.cli.chatting.signals import Signals
from nanobot.cli.chatting.stdio import write_all
from nanobot.config.paths import places
from nanobot.control.client import Line, NotAnswering, Refused, answered
from nanobot.control.lines import encode
from nanobot.errors import NanobotError
from nanobot.journal import names
from nanobot.wire import Json, JsonObject

LOGS = "The log is the gateway's: nanobot gateway logs -f"


class Lost(NanobotError):
    """The gateway is gone before the answer was there."""


@attrs.define(eq=False)
class Asking:
    """One message on its way. Signals come by a pipe, so that waiting for the gateway ends when one does."""

    request: ChatRequest
    line: Line
    signals: Signals
    draw: Draw
    network: bool
    """The session's replies go to a network."""
    id: str = attrs.field(factory=lambda: os.urandom(8).hex())
    taken: bool = False
    """The message is on disk."""
    interrupted: bool = False
    until: float | None = None
    """When to wait no longer, by the monotonic clock."""
    _pipe: tuple[int, int] = attrs.field(factory=os.pipe, init=False)

    def run(self) -> int:
        """Returns the exit code. Raises: NanobotError, OSError."""
        self.signals.attach(self._heard)
        self._say(self.id, self.request.message or "", _files(self.request))
        while (frame := self._next()) is not None:
            code = self._hear(frame)
            if code is not None:
                return code
        return INTERRUPTED

    # --- the gateway

    def _say(self, message: str, text: str, files: list[Json]) -> None:
        frame: JsonObject = {"type": "say", "id": message, "text": text, "files": files}
        if len(encode(frame)) > LONGEST_SAY:
            raise Lost(TOO_LONG.format("--attach FILE"))
        self.line.send(frame)

    def _next(self) -> JsonObject | None:
        """The next frame; None when an interrupted turn had its time. Raises: Lost, NotAnswering."""
        while not self.line.ready:
            left = None if self.until is None else max(0.0, self.until - time.monotonic())
            come, _, _ = select.select([self.line.fileno(), self._pipe[0]], [], [], left)
            if not come:
                return None
            if self._pipe[0] in come:
                os.read(self._pipe[0], 1)
                self._stop()
            if self.line.fileno() in come:
                break
        frame = self.line.receive()
        if frame is None:
            raise Lost(self._lost("The gateway is gone."))
        return frame

    def _hear(self, frame: JsonObject) -> int | None:
        """What a frame is to the person; the exit code, if it is the end. Raises: Lost, Refused, OSError."""
        match frame:
            case {"type": "said", "id": id_}:
                self.taken = self.taken or id_ == self.id
            case {"type": "refused", "id": id_, "reason": str(reason)} if id_ == self.id:
                raise Refused(reason, "refused")
            case {"type": "waiting", "what": str(what), "until": float() | int() | None as until}:
                aside(words.waiting(what, until, time.time()))
            case {"type": "resuming"}:
                aside(words.RESUMING)
            case {"type": "put_aside"}:
                aside(words.PUT_ASIDE_THERE)
            case {"type": "earlier", "text": str(text)}:
                aside(f"{words.EARLIER}\n{text}")
                self._sent(frame)
            case {"type": "meanwhile", "text": str(text)}:
                aside(text)
                self._sent(frame)
            case {"type": "answer"}:
                return self._answer(frame)
            case {"type": "bye", "reason": str(reason)}:
                raise Lost(self._lost(f"{reason[:1].upper()}{reason[1:]}."))
            case {"error": _}:
                answered(frame)
            case _:  # of a later version
                pass
        return None

    def _answer(self, frame: JsonObject) -> int:
        told: JsonObject = {name: frame.get(name) for name in ("text", "failed", "usage", "tools")}
        failed = bool(told["failed"]) or self.interrupted
        if failed:
            aside(str(told["text"]))
        try:
            write_all(1, on_stdout(self.request, told, self.draw, failed=failed))
        except BrokenPipeError:  # whoever read has read enough
            self._sent(frame)
            raise
        except OSError as exc:
            aside((words.NOT_WRITTEN if frame.get("id") else STANDS_ABOVE).format(exc.strerror))
            self._sent(frame, error=exc.strerror or "it cannot be written")
            return FAILED
        self._sent(frame)
        return INTERRUPTED if self.interrupted else FAILED if failed else ANSWERED

    def _sent(self, frame: JsonObject, *, error: str = "") -> None:
        try:
            self.line.send({"type": "sent", "id": frame.get("id"), "ok": not error, "error": error})
        except NotAnswering:
            pass  # it comes again to the next terminal: better twice than not at all

    def _lost(self, what: str) -> str:
        if not self.taken:
            return f"{what} Your message was not acknowledged; ask again."
        return f"{what} Your message was taken, and {self._whereto()}"

    def _whereto(self) -> str:
        return words.goes_on(self.request.key.short, network=self.network)

    # --- signals

    def _heard(self, number: int) -> None:
        """In the signal's handler."""
        if number != signal.SIGINT:
            if self.taken:
                os.write(2, f"Left; {self._whereto()}\n".encode())
            self.signals.now(128 + number)
        elif self.interrupted:
            self.signals.now(INTERRUPTED)
        else:
            self.interrupted = True
            os.write(self._pipe[1], b".")

    def _stop(self) -> None:
        self.until = time.monotonic() + STOP_S
        self._say(os.urandom(8).hex(), "/stop", [])


def run(request: ChatRequest, met: Met, signals: Signals, draw: Draw) -> int:
    """Ask the gateway and print its answer; returns the exit code. Raises: BrokenPipeError."""
    for warning in _texts(met.hello.get("warnings")):
        aside(f"warning: {warning}")
    if request.logs:
        aside(LOGS)
    try:
        with met.line as line:
            return Asking(request, line, signals, draw, bool(met.hello.get("network"))).run()
    except BrokenPipeError:
        raise
    except (NanobotError, OSError) as error:
        tell_failure(request, sentence_of(error))
        return FAILED


def _files(request: ChatRequest) -> list[Json]:
    """The files, copied to where the session may read them. Raises: NotAttached."""
    folder = places(request.config).media / names.encode(str(request.key))
    taken = [attach(file, folder) for file in request.files]
    return [{"path": file.path, "mime": file.mime, "name": file.name, "size": file.size} for file in taken]


def _texts(value: Json) -> list[str]:
    return [str(text) for text in value] if isinstance(value, list) else []
