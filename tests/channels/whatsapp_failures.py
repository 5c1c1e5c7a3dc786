"""The failure table of WhatsApp: each sort so many times, with the real house, channel, bridge and Node, under traffic.

    python -m tests.channels.whatsapp_failures [--times 9] [--sorts reset killed ...]

`lost`: messages that WhatsApp was told we have, and that no session took. `extra`: answers that people see beyond one for each
message. `repeated`: messages that went out again under the id that they had, which people see once.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import attrs
import trio
from loguru import logger

from nanobot.channels import gathering
from nanobot.channels.whatsapp import channel as whatsapp
from nanobot.channels.whatsapp.channel import WhatsAppChannel
from nanobot.config.schema import RestartConfig, WhatsAppConfig
from nanobot.messages import Inbound
from nanobot.supervise.status import Node
from nanobot.supervise.supervisor import Supervisor
from tests.channels.housed import open_channels
from tests.fakes.whatsapp import Network, open_network, until

CHATS = 3
PAUSE_S = 0.1
RESTARTS = RestartConfig(first_s=0.1, healthy_s=0.2)
SORTS = ("reset", "clean close", "5xx", "401", "409", "429", "slow", "lost answer", "garbage", "half-open", "killed")
PARKED = ("401", "409")


class Impatient(WhatsAppChannel):
    """With a window that suits a test."""

    limits = attrs.evolve(WhatsAppChannel.limits, proof_s=1.0)


@attrs.define(eq=False)
class Talker:
    """One chat: says something, waits for the answer, pauses."""

    network: Network
    chat: str
    said: int = 0

    @property
    def answers(self) -> int:
        return sum(one["to"] == self.chat for one in self.network.shown.values())

    async def run(self) -> None:
        while True:
            await self.one()
            await trio.sleep(PAUSE_S)

    async def one(self) -> None:
        self.said += 1
        self.network.say("hello", self.chat)
        with trio.fail_after(90):
            while self.answers < self.said:  # noqa: ASYNC110  # each stanza is news to many
                await trio.sleep(0.01)


@attrs.define(eq=False)
class Hall:
    place: Path
    network: Network
    supervisor: Supervisor
    talkers: list[Talker]
    taken: dict[str, float] = attrs.field(factory=dict)
    """By id, when it was durable first, by time.perf_counter."""

    @property
    def node(self) -> Node:
        return next(node for node in self.supervisor.nodes() if node.name == "whatsapp")

    @property
    def lost(self) -> list[str]:
        return [id for id in self.network.confirmed if id not in self.taken]

    @property
    def extra(self) -> int:
        return sum(max(0, talker.answers - talker.said) for talker in self.talkers)

    def kill(self, number: signal.Signals) -> None:
        for pid in pids_of(str(self.place / "bridge.mjs")):
            os.kill(pid, number)


@attrs.frozen
class Outcome:
    sort: str
    state: str
    seconds: float
    why: str


def pids_of(program: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            command = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else [b""]
            if command[0].endswith(b"node") and program.encode() in command:
                found.append(int(entry.name))
    return found


@asynccontextmanager
async def open_hall(place: Path) -> AsyncIterator[Hall]:
    section = WhatsAppConfig(enabled=True, allow_from=("*",))
    before = whatsapp.PING_S, whatsapp.RETRY_S, gathering.RETRY_S
    whatsapp.PING_S, whatsapp.RETRY_S, gathering.RETRY_S = 0.2, 0.2, 0.2
    try:
        async with open_network() as network, open_channels(place, RESTARTS) as (channels, supervisor):
            talkers = [Talker(network, f"49151000{n}@s.whatsapp.net") for n in range(CHATS)]
            hall, take = Hall(place, network, supervisor, talkers), channels.deliver

            async def deliver(inbound: Inbound) -> None:
                await take(inbound)
                hall.taken.setdefault(inbound.id, time.perf_counter())

            channels.deliver = deliver
            program = network.program(place)
            channels.add("whatsapp", lambda: Impatient(section, program), section, keyed=True)
            await until(lambda: hall.node.state == "up")
            yield hall
            await until(lambda: not network.waiting and not hall.lost)
    finally:
        whatsapp.PING_S, whatsapp.RETRY_S, gathering.RETRY_S = before


async def hurt(hall: Hall, sort: str) -> None:
    """Inflict one failure; what passes by itself has passed when this returns."""
    network = hall.network
    match sort:
        case "reset":
            network.reset()
        case "clean close":
            await network.order("close", code=428)
        case "5xx":
            await network.order("close", code=503)
        case "401":
            network.linked = False
            await network.order("close", code=401)
        case "409":
            await network.order("close", code=440)
        case "429":
            await _for_a_while(network, lambda _id: {"error": "429"}, 1.0)
        case "lost answer":
            await _for_a_while(network, lambda _id: None, 0.5)
        case "slow":
            network.slow_s = 0.4
            await trio.sleep(1.0)
            network.slow_s = 0.0
        case "garbage":
            for n, junk in enumerate(({"imageMessage": None}, {"nothing": 1}, {})):
                await network.order(
                    "message", stanza={"tag": "message", "attrs": {"from": "no chat", "id": f"g{n}"}}, message=junk
                )
        case "half-open":
            hall.kill(signal.SIGSTOP)
        case "killed":
            hall.kill(signal.SIGKILL)
        case _:
            raise ValueError(sort)


async def _for_a_while(network: Network, confirms: Callable[[str], dict[str, str] | None], seconds: float) -> None:
    network.confirms = confirms
    await trio.sleep(seconds)
    network.confirms = lambda _id: {}


async def inflict(hall: Hall, sort: str) -> Outcome:
    restarts, began = hall.node.restarts, time.monotonic()
    await hurt(hall, sort)
    if sort in PARKED:
        await until(lambda: hall.node.state == "parked")
        seconds, why = time.monotonic() - began, hall.node.error
        hall.network.linked = True
        await hall.supervisor.restart("whatsapp")
        await until(lambda: hall.node.state == "up")
        return Outcome(sort, "parked", seconds, why)
    probe = Talker(hall.network, f"49151999{len(hall.talkers)}@s.whatsapp.net")
    hall.talkers.append(probe)
    await probe.one()
    if sort in ("half-open", "killed"):
        await until(lambda: hall.node.restarts > restarts or hall.node.state == "up")
    state = "restarted" if hall.node.restarts > restarts or sort in ("half-open", "killed") else "up"
    return Outcome(sort, state, time.monotonic() - began, hall.node.error)


async def campaign(hall: Hall, sorts: list[str], times: int, told: Callable[[list[Outcome]], None]) -> None:
    async with trio.open_nursery() as nursery:
        for talker in hall.talkers:
            nursery.start_soon(talker.run)
        for sort in sorts:
            outcomes = []
            for _ in range(times):
                outcomes.append(await inflict(hall, sort))
                await trio.sleep(random.uniform(0.3, 0.6))  # longer than healthy_s, so that each failure is the first of its row
            told(outcomes)
        nursery.cancel_scope.cancel()


def row(outcomes: list[Outcome]) -> str:
    took, states = [one.seconds for one in outcomes], [one.state for one in outcomes]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    times = f"median {statistics.median(took):5.2f} s, most {max(took):5.2f} s"
    return f"{outcomes[0].sort:12} {counts:16} {times}   {outcomes[-1].why[:70]}"


async def main(sorts: list[str], times: int) -> int:
    with tempfile.TemporaryDirectory() as place:
        async with open_hall(Path(place)) as hall:
            await campaign(hall, sorts, times, lambda outcomes: print(row(outcomes), flush=True))
            network = hall.network
            await until(lambda: not network.waiting)
        figures = (len(network.confirmed), len(hall.lost), hall.extra, network.doubled, len(network.stanzas))
        print("confirmed to WhatsApp {}, lost {}, extra answers {}, repeated under their id {} of {} sent".format(*figures))
        return int(bool(hall.lost or hall.extra))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=9)
    parser.add_argument("--sorts", nargs="*", default=list(SORTS))
    arguments = parser.parse_args()
    logger.remove()
    sys.exit(trio.run(main, arguments.sorts, arguments.times))
