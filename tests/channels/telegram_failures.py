"""The failures of Telegram: ten sorts, each so many times, while people write; half strike what comes in, half what goes out.

    python -m tests.channels.telegram_failures [--times 10] [--sorts reset 401 ...]

The house, the supervisor, the channel and the SDK are the real ones; Telegram is tests/fakes/telegram.py. Each infliction
strikes a request of the kind that is named (a poll, a send), and a message is written: a row says how long it was until that one
stood answered, or until the channel was parked with its cause; then it is mended (`channels restart`). At the end every
message stands answered and is confirmed; what stands twice is held against the lost answers.
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
from pathlib import Path

import attrs
import trio
from loguru import logger

from nanobot.channels.outlet import Channels
from nanobot.channels.telegram.channel import TelegramChannel
from nanobot.config.schema import (
    ChannelsConfig,
    RestartConfig,
    Secret,
    TelegramConfig,
)
from nanobot.supervise.status import Node
from nanobot.supervise.supervisor import Supervisor
from tests.channels.housed import open_channels
from tests.fakes.telegram import FakeTelegram, Fault, fake_telegram

CHATS = (51, 52)
PROBE = 60
PAUSE_S = 0.3
HEALTHY_S = 0.2
"""So that every failure is the first of its row."""
POLL_S, ANSWER_S = 2.0, 1.0
PATIENCE_S = 40.0
"""The longest: a send whose answer never comes is given up after 30 s, and tried again after that."""
RESTARTS = RestartConfig(healthy_s=HEALTHY_S)
AGAIN_S = 10.0
"""In which a session tries again what it is in doubt about."""
WAYS = ("getUpdates", "sendMessage")


@attrs.define(eq=False)
class Hall:
    """The house with its channel, and what was said."""

    fake: FakeTelegram
    supervisor: Supervisor
    channels: Channels
    said: list[int] = attrs.field(factory=list)
    """Messages, by their numbers."""

    @property
    def node(self) -> Node:
        return self.supervisor.nodes()[0]

    def say(self, chat: int) -> int:
        self.said.append(self.fake.says("hello", user={"id": chat, "is_bot": False, "first_name": "Ann"}))
        return self.said[-1]

    def answers(self) -> Counter[int]:
        """How many answers to each message stand there: they quote it."""
        sent = self.fake.sent("sendMessage")
        return Counter(call.params["reply_parameters"]["message_id"] for call in sent if "reply_parameters" in call.params)

    def has_answered(self, message: int) -> bool:
        return message in self.answers()

    async def until(self, fact: Callable[[], object], seconds: float = PATIENCE_S) -> float:
        began = time.monotonic()
        with trio.fail_after(seconds):
            while not fact():  # noqa: ASYNC110  # facts of a server, of threads and of a supervisor
                await trio.sleep(0.01)
        return time.monotonic() - began

    async def talk(self, chat: int) -> None:
        while True:
            await self.until(partial(self.has_answered, self.say(chat)), 3 * PATIENCE_S)
            await trio.sleep(PAUSE_S)


@attrs.frozen
class Outcome:
    fault: Fault
    way: str
    state: str
    """`up`, `restarted`, `parked`."""
    seconds: float
    why: str


@asynccontextmanager
async def open_hall(place: Path, restarts: RestartConfig = RESTARTS, *, streaming: bool = False) -> AsyncIterator[Hall]:
    async with fake_telegram() as fake:
        section = TelegramConfig(
            enabled=True,
            token=Secret(fake.token),
            api_base=fake.url,
            allow_from=("*",),
            poll_s=POLL_S,
            streaming=streaming,
            react_emoji="",
            reply_to_message=True,
        )
        async with open_channels(place, restarts, ChannelsConfig(telegram=section)) as (channels, supervisor):
            hall = Hall(fake, supervisor, channels)
            channels.add("telegram", lambda: TelegramChannel(section, ANSWER_S), section)
            await hall.until(lambda: hall.node.state == "up")
            yield hall


async def inflict(hall: Hall, fault: Fault, way: str) -> Outcome:
    """One failure, from the stroke to the answer of a message that is written then."""
    restarts, began, struck = hall.node.restarts, time.monotonic(), len(hall.fake.hurt)
    hall.fake.strike(fault, way)
    probe = hall.say(PROBE)
    await hall.until(lambda: len(hall.fake.hurt) > struck)
    parks = fault is Fault.UNAUTHORIZED  # perhaps after this one was answered: it may be another's send that is struck
    await hall.until(lambda: hall.node.state == "parked" or (hall.has_answered(probe) and not parks), 3 * PATIENCE_S)
    seconds, state, why = time.monotonic() - began, "up", hall.node.error
    if hall.node.state == "parked":
        state = "parked"
        await hall.supervisor.restart("telegram")
        await hall.until(lambda: hall.has_answered(probe))
    elif hall.node.restarts > restarts:
        state = "restarted"
    await trio.sleep(HEALTHY_S)
    return Outcome(fault, way, state, seconds, why)


@attrs.frozen
class Balance:
    """What came of all that was said."""

    said: int
    unconfirmed: int
    lost: list[int]
    """Never answered."""
    doubled: list[int]
    """Answered more than once."""
    struck: Counter[Fault]

    @property
    def good(self) -> bool:
        may = self.struck[Fault.LOST]
        return not self.unconfirmed and not self.lost and len(self.doubled) <= may


def balance(hall: Hall) -> Balance:
    answers = hall.answers()
    lost = [message for message in hall.said if message not in answers]
    doubled = [message for message in hall.said for _ in range(answers[message] - 1)]
    struck = Counter(fault for way, fault in hall.fake.hurt if way == "sendMessage")
    return Balance(len(hall.said), len(hall.fake.updates), lost, doubled, struck)


async def settle(hall: Hall) -> None:
    """Until all is answered and confirmed, and what was sent into doubt has been sent once more."""
    await hall.until(lambda: balance(hall).lost == [] and not hall.fake.updates, 3 * PATIENCE_S)
    with trio.move_on_after(AGAIN_S):
        while len(balance(hall).doubled) < balance(hall).struck[Fault.LOST]:  # noqa: ASYNC110  # a fact of a session
            await trio.sleep(0.01)


async def main(faults: list[Fault], times: int) -> int:
    print(f"{'failure':14} {'of':12} outcome: times, median seconds (most)")
    every: list[Outcome] = []
    with tempfile.TemporaryDirectory() as place:
        async with open_hall(Path(place)) as hall:
            async with trio.open_nursery() as nursery:
                for chat in CHATS:
                    nursery.start_soon(hall.talk, chat)
                for fault in faults:
                    for way in WAYS:
                        outcomes = [await inflict(hall, fault, way) for _ in range((times + (way == WAYS[0])) // 2)]
                        every += outcomes
                        print(row(outcomes), flush=True)
                nursery.cancel_scope.cancel()
            await settle(hall)
            found = balance(hall)
    print(f"\n{len(every)} failures, {found.said} messages: lost {len(found.lost)}, not confirmed {found.unconfirmed}")
    print(f"answers shown twice: {len(found.doubled)}, after {found.struck[Fault.LOST]} lost answers")
    for why in dict.fromkeys((one.fault.value, one.way, one.state, one.why) for one in every if one.state != "up"):
        print(": ".join(why[:3]), "-", why[3])
    return 0 if found.good else 1


def row(outcomes: list[Outcome]) -> str:
    parts = []
    for state in dict.fromkeys(one.state for one in outcomes):
        took = [one.seconds for one in outcomes if one.state == state]
        parts.append(f"{len(took)} {state} {statistics.median(took):.2f} (most {max(took):.2f})")
    return f"{outcomes[0].fault:14} {outcomes[0].way:12} {'; '.join(parts)}" if outcomes else ""


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--sorts", nargs="*", default=[fault.value for fault in Fault])
    arguments = parser.parse_args()
    logger.remove()
    sys.exit(trio.run(main, [Fault(sort) for sort in arguments.sorts], arguments.times))
