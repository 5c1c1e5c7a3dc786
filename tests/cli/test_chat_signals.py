"""Leaving a chat ends, also where the program hangs: in a process of its own, with the bound made short."""

from __future__ import annotations

import subprocess
import sys

HANGS = """
import os, signal, time
from nanobot.cli.chatting import signals
signals.LAST_RESORT_S = 0.3
def hang():
    time.sleep(60)
with signals.caught() as caught:
    {first}
    hang()
"""


def ended(first: str) -> subprocess.CompletedProcess[str]:
    source = HANGS.format(first=first)
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=30, check=False)


def test_what_hangs_is_ended_and_says_where_it_hung() -> None:
    done = ended("caught.leaving()")
    assert done.returncode == 70
    assert "in hang" in done.stderr


def test_a_signal_to_leave_has_the_same_bound() -> None:
    assert ended("os.kill(os.getpid(), signal.SIGTERM)").returncode == 70


def test_a_second_signal_ends_at_once() -> None:
    twice = "os.kill(os.getpid(), signal.SIGTERM); os.kill(os.getpid(), signal.SIGTERM)"
    assert ended(twice).returncode == 143


def test_what_came_before_anybody_listened_is_told_then() -> None:
    early = "os.kill(os.getpid(), signal.SIGINT); caught.attach(lambda number: os._exit(number))"
    assert ended(early).returncode == 2
