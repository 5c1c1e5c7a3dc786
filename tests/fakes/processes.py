"""Facts about processes of this machine, for tests that nothing is left behind."""

from __future__ import annotations

import os
import time
from pathlib import Path

import trio

from nanobot.processes import lifeline


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
    """What our open descriptors are, by number and target."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
        except OSError:  # the listing's own
            continue
    return found


def children() -> set[int]:
    """Our child processes, zombies too."""
    return {int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


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
