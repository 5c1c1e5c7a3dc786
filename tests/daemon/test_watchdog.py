from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from nanobot.daemon.watchdog import STUCK, watching

HELD = """
import signal, time, trio
from nanobot.daemon.signals import caught
from nanobot.daemon.watchdog import watching

async def beat(watchdog):
    while True:
        watchdog.beat()
        await trio.sleep(0.01)

async def main(watchdog):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(beat, watchdog)
        await trio.sleep(0.1)
        print("up", flush=True)
        hold_the_loop()

def hold_the_loop():
    while True:
        time.sleep(0.01)

with watching(look_s=0.05, most_missed=MOST) as watchdog, caught(lambda: watchdog.leave(0.2)):
    trio.run(main, watchdog)
"""


@pytest.mark.parametrize(("most_missed", "signalled"), [(5, False), (10_000, True)])
def test_a_loop_that_is_held_ends_the_process_and_says_where(most_missed: int, signalled: bool) -> None:
    code = HELD.replace("MOST", str(most_missed))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        if signalled:
            process.terminate()
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == STUCK
    assert "hold_the_loop" in said
    assert ("did not end in time" if signalled else "has not turned") in said


def test_a_loop_that_turns_is_left_alone() -> None:
    ended: list[int] = []
    with watching(end=ended.append, look_s=0.02, most_missed=10) as watchdog:
        until = time.monotonic() + 0.6
        while time.monotonic() < until:
            watchdog.beat()
            time.sleep(0.005)
    assert ended == []
    assert "watchdog" not in [thread.name for thread in threading.enumerate()]


def test_leaving_in_time_ends_nothing() -> None:
    ended: list[int] = []
    with watching(end=ended.append, look_s=0.02) as watchdog:
        watchdog.leave(10)
    assert ended == []
