"""The failure table: ten sorts, each so many times, inflicted on one channel while two others of other builds keep talking.

    python -m tests.channels.failures [--times 10] [--sorts raise hang ...]

The house is the real one (journals on disk, the built-in demo for a model) with the real supervisor and access; the networks
are tests/fakes/channels.py. The victim's build changes with each infliction. A row says what became of the victim and how long
it was until it answered again, or until it stood as parked or stuck with its reason; how the others' p95 changed against
stretches without a failure, which alternate with them; and that every acknowledged message was answered, in order.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path

import attrs
import trio
from loguru import logger

from nanobot.config.schema import ChannelConfig, RestartConfig
from nanobot.supervise.status import Node
from nanobot.supervise.supervisor import Supervisor
from tests.channels.housed import open_channels
from tests.fakes.channels import BUILDS, Network, Sort, channel, hurt

CHATS = 2
"""Of each network."""
PAUSE_S = 0.15
"""Between two messages of a chat: three networks keep this machine about half busy."""
CALM_S = 1.5
"""A stretch without a failure."""
PATIENCE_S = 30.0
"""For anything: what takes longer is a defect."""
HEALTHY_S = 0.2
"""So that every failure is the first of its row."""
RESTARTS = RestartConfig(healthy_s=HEALTHY_S)
PASSING = (Sort.SLOW, Sort.RATE_LIMITED)


@attrs.define(eq=False)
class Talker:
    """One chat: says something, waits for the answer, pauses. `took`: seconds, with when."""

    network: Network
    chat: str
    took: list[tuple[float, float]] = attrs.field(factory=list)
    said: list[str] = attrs.field(factory=list)

    async def run(self) -> None:
        while True:
            began = time.monotonic()
            message = self.network.say(self.chat, "hello")
            self.said.append(message)
            await self.network.until(lambda message=message: message in self.network.answered)  # type: ignore[misc]
            self.took.append((began, time.monotonic() - began))
            await trio.sleep(PAUSE_S)


@attrs.define(eq=False)
class Hall:
    """The house with its channels, one of each build."""

    supervisor: Supervisor
    networks: dict[str, Network]
    talkers: list[Talker]

    def node(self, build: str) -> Node:
        return next(node for node in self.supervisor.nodes() if node.name == build)

    async def until(self, fact: Callable[[], bool]) -> float:
        """Seconds until it holds. Raises: trio.TooSlowError."""
        began = time.monotonic()
        with trio.fail_after(PATIENCE_S):
            while not fact():  # noqa: ASYNC110  # facts of threads, of the supervisor and of networks
                await trio.sleep(0.01)
        return time.monotonic() - began

    async def answers(self, build: str) -> float:
        """Seconds until a message that is said now is answered there."""
        network = self.networks[build]
        message = network.say("probe", "hello")
        return await self.until(lambda: message in network.answered)


@attrs.frozen
class Outcome:
    """What one infliction came to."""

    sort: Sort
    build: str
    state: str
    """`up`: it never was away; `restarted`, `parked`, `stuck`."""
    seconds: float
    """Until it answered again; of parked and stuck, until it was said."""
    why: str
    """The last error of its node."""
    others: tuple[float, ...]
    """Seconds that answers of the other channels took meanwhile."""
    calm: tuple[float, ...]
    """The same, before it."""


def lost(network: Network) -> list[str]:
    """What was acknowledged and not answered."""
    return [message for message in network.acknowledged if message not in network.answered]


def disordered(network: Network) -> list[str]:
    """Chats whose answers first came in another order than what they answer."""
    wrong = []
    for chat in {sent.chat for sent in network.sent}:
        replies = dict.fromkeys(sent.part.outbound.reply_to for sent in network.sent if sent.part and sent.chat == chat)
        numbers = [int(str(reply).rpartition("-")[2]) for reply in replies]
        wrong += [chat] if any(later < earlier for earlier, later in pairwise(numbers)) else []
    return wrong


def doubled(network: Network) -> int:
    """Messages that stand in a chat more than once."""
    times = Counter((sent.chat, sent.part.outbound.id, sent.part.index) for sent in network.sent if sent.part)
    return sum(count - 1 for count in times.values())


@asynccontextmanager
async def open_hall(place: Path, restarts: RestartConfig = RESTARTS) -> AsyncIterator[Hall]:
    networks = {build: Network(build) for build in BUILDS}
    async with open_channels(place, restarts) as (channels, supervisor):
        for build, network in networks.items():
            channels.add(build, partial(channel, build, network), ChannelConfig(enabled=True, allow_from=("*",)))
        talkers = [Talker(network, f"chat{n}") for network in networks.values() for n in range(CHATS)]
        hall = Hall(supervisor, networks, talkers)
        try:
            await hall.until(lambda: all(hall.node(build).state == "up" for build in BUILDS))
            yield hall
        finally:
            for network in networks.values():
                network.release()


def _of_others(hall: Hall, network: Network) -> list[tuple[float, float]]:
    return [took for talker in hall.talkers if talker.network is not network for took in talker.took]


async def inflict(hall: Hall, build: str, sort: Sort) -> Outcome:
    """One failure, from a calm stretch to the victim's return."""
    network, begun = hall.networks[build], hall.networks[build].connected
    calm_at = time.monotonic()
    await trio.sleep(CALM_S)
    hurt_at = time.monotonic()
    await hurt(network, sort)
    if sort in PASSING:
        await hall.answers(build)
        state = "up" if network.connected == begun else "restarted"
    else:
        await hall.until(lambda: network.connected > begun or hall.node(build).state in ("parked", "stuck"))
        state = hall.node(build).state if network.connected == begun else "restarted"
        state = state if state in ("parked", "stuck") else "restarted"
        if state == "restarted":
            await hall.answers(build)
    seconds, why = time.monotonic() - hurt_at, hall.node(build).error
    await hall.until(lambda: any(at >= hurt_at for at, _ in _of_others(hall, network)))  # it may be over sooner than a word
    end = time.monotonic()
    if state in ("parked", "stuck"):
        await _bring_back(hall, build)
    else:
        await trio.sleep(HEALTHY_S)
    others = _of_others(hall, network)
    during = tuple(took for at, took in others if hurt_at <= at < end)
    before = tuple(took for at, took in others if calm_at <= at < hurt_at)
    return Outcome(sort, build, state, seconds, why, during, before)


async def _bring_back(hall: Hall, build: str) -> None:
    """As a person would: mend the cause, then `nanobot channels restart`."""
    network = hall.networks[build]
    network.revoked = False
    network.release()
    await hall.until(lambda: hall.node(build).state != "stuck")
    await hall.supervisor.restart(build)
    await hall.until(lambda: hall.node(build).state == "up")
    network.released.clear()
    await hall.answers(build)
    await trio.sleep(HEALTHY_S)


async def campaign(hall: Hall, sorts: list[Sort], times: int, told: Callable[[list[Outcome]], None]) -> None:
    async with trio.open_nursery() as nursery:
        for talker in hall.talkers:
            nursery.start_soon(talker.run)
        await trio.sleep(1.0)
        for sort in sorts:
            outcomes = []
            for n in range(times):
                build = list(BUILDS)[n % len(BUILDS)]
                outcomes.append(await inflict(hall, build, sort))
            told(outcomes)
        nursery.cancel_scope.cancel()
    await hall.until(lambda: not any(map(lost, hall.networks.values())))


def row(outcomes: list[Outcome]) -> str:
    """One sort."""
    parts = []
    for state in dict.fromkeys(one.state for one in outcomes):
        took = [one.seconds for one in outcomes if one.state == state]
        parts.append(f"{len(took)} {state} {statistics.median(took):.2f} (most {max(took):.2f})")
    return f"{outcomes[0].sort:16} {'; '.join(parts):62} {change(outcomes)}"


def change(outcomes: list[Outcome]) -> str:
    """How the others' median and 95th percentile changed, in milliseconds."""
    calm, others = (sorted(took for one in outcomes for took in some(one)) for some in (_calm, _others))
    parts = []
    for share in (0.5, 0.95):
        before, after = (values[int(share * len(values))] * 1000 for values in (calm, others))
        parts.append(f"{before:6.1f} -> {after:6.1f} {(after / before - 1) * 100:+6.1f} %")
    return "   ".join(parts)


def _calm(one: Outcome) -> tuple[float, ...]:
    return one.calm


def _others(one: Outcome) -> tuple[float, ...]:
    return one.others


async def main(sorts: list[Sort], times: int) -> int:
    print(f"{'sort':16} {'outcome: times, median seconds (most)':62} {'the others, ms: median':27}   95th percentile")
    every: list[Outcome] = []

    def told(outcomes: list[Outcome]) -> None:
        every.extend(outcomes)
        print(row(outcomes), flush=True)

    with tempfile.TemporaryDirectory() as place:
        async with open_hall(Path(place)) as hall:
            await campaign(hall, sorts, times, told)
            print(f"{'all':79} {change(every)}\n")
            for build, network in hall.networks.items():
                counts = (len(network.acknowledged), len(lost(network)), len(disordered(network)), doubled(network))
                print("{:9} acknowledged {}, lost {}, chats out of order {}, shown twice {}".format(build, *counts))
            bad = any(lost(network) or disordered(network) for network in hall.networks.values())
    for state in ("parked", "stuck"):
        for sort, build, why in dict.fromkeys((one.sort, one.build, one.why) for one in every if one.state == state):
            print(f"\n{state}, {sort}, {build}:\n{why}")
    return int(bad)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--sorts", nargs="*", default=[sort.value for sort in Sort])
    arguments = parser.parse_args()
    logger.remove()
    sys.exit(trio.run(main, [Sort(sort) for sort in arguments.sorts], arguments.times))
