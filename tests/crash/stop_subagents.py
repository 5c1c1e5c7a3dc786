"""Stops subagents in mid-work, again and again: how long until nothing of them is left.

    python -m tests.crash.stop_subagents [--rounds 200]

Each round starts one, waited for or beside the turn, lets it come to where it hangs (in mid-stream, or in a command that does not
end), says `/stop`, and measures until the house has as many tasks and processes as before and the session is idle. Threads are
kept by the house for its next file and are counted at the end. Exit code 1 if the 99th percentile is beyond a second.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import trio
from loguru import logger

from nanobot.processes import lifeline, spawning
from nanobot.session.state import Idle
from tests.fakes.llm import Asked
from tests.fakes.llm_wire import Answer, Scripted, ToolCall
from tests.fakes.talk import Talk, talking

PROMISED_S = 1.0
KINDS = tuple(itertools.product(("waited for", "beside"), ("in mid-stream", "in a command")))


def script(kind: Callable[[], tuple[str, str]]) -> Callable[[Asked], Scripted]:
    def answer(asked: Asked) -> Scripted:
        how, where = kind()
        if "You are a subagent" in asked.raw.decode():
            sleep = ToolCall("exec", {"command": "trap '' TERM; sleep 60; true"})
            return Answer("I think", stall="middle") if where == "in mid-stream" else Answer("", calls=(sleep,))
        if "hang\n\n[Runtime" in asked.texts[-1]:
            return Answer("", calls=(ToolCall("spawn", {"task": "hang", "wait": how == "waited for"}),))
        return Answer("fine")

    return answer


def alive() -> tuple[int, int]:
    """Tasks, without those of the model's server, and processes."""
    return sum("serve_listeners" not in task.name for task in tasks()), len(lifeline.descendants(os.getpid()))


def tasks() -> Iterator[trio.lowlevel.Task]:
    left = [trio.lowlevel.current_root_task()]
    while left:
        task = left.pop()
        if task is not None:
            yield task
            left += [child for nursery in task.child_nurseries for child in nursery.child_tasks]


async def until(fact: Callable[[], object]) -> None:
    with trio.fail_after(20):
        while not fact():  # noqa: ASYNC110  # of tasks, processes and a server
            await trio.sleep(0.002)


async def stopped(talk: Talk, where: str) -> float:
    """Seconds from the stop until nothing is left."""
    await trio.sleep(0.05)
    before, asked = alive(), len(talk.server.requests)
    await talk.tell("hang")
    await until(lambda: any("You are a subagent" in one.raw.decode() for one in talk.server.requests[asked:]))
    if where == "in a command":
        await until(lambda: alive()[1] > before[1])
    await trio.sleep(0.05)
    at = time.monotonic()
    await talk.tell("/stop")
    await until(lambda: isinstance(talk.session.state, Idle) and not talk.session.errands and not talk.session.outbox)
    await until(lambda: all(now <= then for now, then in zip(alive(), before, strict=True)))
    return time.monotonic() - at


async def main(rounds: int) -> int:
    kinds = itertools.cycle(KINDS)
    now = next(kinds)
    took: dict[tuple[str, str], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as place:
        async with talking(Path(place), script(lambda: now)) as talk:
            talk.server.check = False
            await spawning.ready()  # it stays, and is no part of a round
            await talk.say("hello")
            for _ in range(rounds):
                took[now].append(await stopped(talk, now[1]))
                now = next(kinds)
            threads = threading.active_count()
    every = sorted(itertools.chain(*took.values()))
    for name, times in [*((" ".join(kind), times) for kind, times in took.items()), ("all", every)]:
        at = sorted(times)
        middle, high, most = (
            f"{1e3 * one:5.0f} ms" for one in (at[len(at) // 2], at[min(len(at) - 1, len(at) * 99 // 100)], at[-1])
        )
        print(f"{name:<28}{len(at):>5} middle {middle}, p99 {high}, most {most}")
    print(f"threads at the end, of the house: {threads}")
    return int(every[min(len(every) - 1, len(every) * 99 // 100)] > PROMISED_S)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=200)
    logger.remove()
    sys.exit(trio.run(main, parser.parse_args().rounds))
