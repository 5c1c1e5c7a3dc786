"""One life of the house as the driver sees it: a forked child and two pipes. Blocks; the driver is a process of its own."""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import time
import traceback
from pathlib import Path

import attrs

from tests.crash import house
from tests.crash.plans import Kill, Message

PATIENCE_S = 20.0
"""Everything of a round takes a second or two; what takes so long is stuck."""


class Died(Exception):
    """The process is gone."""


class Stuck(Exception):
    """It lives and does not do what it must."""


@attrs.define
class Life:
    """`start` makes one; `ended` must be the last that is asked of it."""

    pid: int
    _orders: int
    _answers: int
    _buffer: bytes = b""

    @classmethod
    def start(cls, config: Path, kill: Kill | None, *, recovering: bool) -> Life:
        orders_read, orders_write = os.pipe()
        answers_read, answers_write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(orders_write)
            os.close(answers_read)
            _become(config, kill, recovering, orders_read, answers_write)
        os.close(orders_read)
        os.close(answers_write)
        return cls(pid, orders_write, answers_read)

    def deliver(self, message: Message) -> None:
        """Returns when it is acknowledged. Raises: Died, Stuck."""
        self._write({"id": message.id, "text": message.text})
        self._read("ack")

    def rest(self) -> None:
        """Returns when nothing is under way any more. Raises: Died, Stuck."""
        self._write({"rest": True})
        self._read("rest")

    def wait(self, seconds: float) -> None:
        """Raises: Died."""
        ready, _, _ = select.select([self._answers], [], [], seconds)
        if ready and not os.read(self._answers, 1 << 16):
            raise Died

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def ended(self) -> int:
        """Its exit status, minus the signal's number if one ended it. It is asked to end in order first.

        Raises: Stuck, after a kill.
        """
        os.close(self._orders)
        stuck = not self._gone(PATIENCE_S)
        if stuck:
            self.kill()
        os.close(self._answers)
        _, status = os.waitpid(self.pid, 0)
        if stuck:
            raise Stuck("it did not end")
        return os.waitstatus_to_exitcode(status)

    def _gone(self, within: float) -> bool:
        until = time.monotonic() + within
        while (left := until - time.monotonic()) > 0:
            ready, _, _ = select.select([self._answers], [], [], left)
            if ready and not os.read(self._answers, 1 << 16):
                return True
        return False

    def _write(self, order: dict[str, object]) -> None:
        try:
            os.write(self._orders, json.dumps(order).encode() + b"\n")
        except BrokenPipeError:
            raise Died from None

    def _read(self, what: str) -> None:
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], PATIENCE_S)
            if not ready:
                raise Stuck(f"no {what} within {PATIENCE_S:g} s")
            data = os.read(self._answers, 1 << 16)
            if not data:
                raise Died
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        assert what in json.loads(line), line


def _become(config: Path, kill: Kill | None, recovering: bool, read: int, write: int) -> None:
    gc.enable()
    log = os.open(config.with_name("stderr"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 2)
    try:
        house.live(config, kill, recovering=recovering, read=read, write=write)
    except BaseException:  # noqa: ASYNC103  # nothing of a forked child may return into the driver
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(1)
