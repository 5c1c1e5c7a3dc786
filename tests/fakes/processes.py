"""Facts about processes of this machine, for tests that nothing is left behind."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

import trio

from nanobot.processes import lifeline, spawning


def with_tag(tag: str) -> list[int]:
    """Living processes that have `tag` in their environment; what they start inherits it."""
    found = []
    for pid in lifeline.processes():
        try:
            if tag.encode() in Path(f"/proc/{pid}/environ").read_bytes():
                found.append(pid)
        except OSError:
            continue
    return found


def descriptors() -> set[str]:
    """What our open descriptors are, by number and target; those that tie us to the spawner of children are not counted."""
    found = set()
    for name in set(os.listdir("/proc/self/fd")) - _ties():
        try:
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
        except OSError:  # the listing's own
            continue
    return found


def children(of: int | None = None) -> set[int]:
    """Child processes of ours, or of `of`, zombies too. The spawner of children, which ends with the Trio run, is not counted."""
    tasks = Path(f"/proc/{of or 'self'}/task").iterdir()
    found = {int(pid) for task in tasks for pid in (task / "children").read_text().split()}
    return found if (own := _spawner()) is None else found - {own.pid}


def _spawner() -> spawning.Spawner | None:
    try:
        return spawning.current()
    except RuntimeError:  # no Trio run, no spawner
        return None


def _ties() -> set[str]:
    if (found := _spawner()) is None:
        return set()
    handle = found._process._pidfd
    return {str(found._socket.fileno())} | (set() if handle is None else {str(handle.fileno())})


async def until_ended(pids: Iterable[int], within: float) -> float:
    """Wait until these processes have ended; returns the seconds it took. Fails when some live after `within` seconds."""
    start = time.monotonic()
    while left := set(pids) & set(lifeline.processes()):
        assert time.monotonic() - start < within, f"still there: {left}"
        await trio.sleep(0.005)
    return time.monotonic() - start


async def until_gone(tag: str, within: float) -> float:
    """Wait until no process has `tag`; returns the seconds it took. Fails when some are left after `within` seconds."""
    start = time.monotonic()
    while left := with_tag(tag):
        assert time.monotonic() - start < within, f"still there: {left}"
        await trio.sleep(0.005)
    return time.monotonic() - start


async def until_some(tag: str, number: int) -> None:
    """Wait until `number` processes have `tag`."""
    with trio.fail_after(20):
        while len(with_tag(tag)) < number:  # noqa: ASYNC110  # other processes set no event of ours
            await trio.sleep(0.005)
