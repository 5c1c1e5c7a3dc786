"""The standard streams as they may be: closed, non-blocking, a terminal that is gone or somebody else's."""

from __future__ import annotations

import fcntl
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from nanobot.cli.chatting.stdio import write_all

IN_BACKGROUND = """
import os, sys
from nanobot.cli.chatting import stdio
saved = stdio.Saved()
saved.restore()
"""
TERMINAL_GONE = """
import os
from nanobot.cli.chatting import stdio
master, slave = os.openpty()
os.dup2(slave, 0)
os.close(slave)
saved = stdio.Saved()
os.close(master)
saved.restore()
"""
INTO_TTY = "import fcntl,os,sys,termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); {then}\n"
CLOSED = """
import os, sys
for number in (0, 1, 2):
    os.close(number)
sys.stdin = sys.stdout = sys.stderr = None
from nanobot.cli.chatting import stdio
stdio.claim()
file = os.open(os.devnull, os.O_WRONLY)
print("lost"), print("lost", file=sys.stderr)
try:
    stdio.write_all(1, "answer")
except OSError:
    os._exit(min(file, 3))
"""


@pytest.fixture
def tty() -> Iterator[int]:
    master, slave = pty.openpty()
    yield slave
    os.close(slave)
    os.close(master)


def in_terminal(tty: int, source: str, *, then: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", INTO_TTY.format(then=then) + source]
    return subprocess.Popen(command, stdin=tty, stdout=tty, stderr=subprocess.DEVNULL, start_new_session=True)


def test_in_the_background_the_terminal_is_left_alone(tty: int) -> None:
    fork = "pid = os.fork(); pid and os._exit(os.waitpid(pid, os.WUNTRACED)[1] != 0); os.setpgid(0, 0)"
    assert in_terminal(tty, IN_BACKGROUND, then=fork).wait(20) == 0


def test_a_terminal_that_is_gone_stops_no_last_resort() -> None:
    assert subprocess.run([sys.executable, "-c", TERMINAL_GONE], check=False, timeout=20).returncode == 0


def test_closed_streams_are_not_taken_by_the_next_file() -> None:
    assert subprocess.run([sys.executable, "-c", CLOSED], check=False, timeout=20).returncode == 3


def test_a_non_blocking_descriptor_gets_all_of_it() -> None:
    reading, writing = os.pipe()
    flags = fcntl.fcntl(writing, fcntl.F_GETFL)
    fcntl.fcntl(writing, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    text, got = "x" * 1_000_000, bytearray()

    def read() -> None:
        while data := os.read(reading, 65536):
            got.extend(data)

    reader = threading.Thread(target=read)
    reader.start()
    write_all(writing, text)
    os.close(writing)
    reader.join()
    os.close(reading)
    assert got == text.encode()
