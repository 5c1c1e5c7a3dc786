"""The failures of e-mail: ten sorts, each so many times, while people write; half of them strike what comes in, half what goes.

    python -m tests.channels.email_failures [--times 10] [--sorts reset auth ...]

The house, the supervisor, the channel, imaplib and smtplib are the real ones; the servers are tests/fakes/imap.py and smtp.py.
After each infliction a mail is put into the mailbox: a row says how long it was until that one stood answered, or until the
channel was parked with its cause, was mended (`channels restart`) and had answered. At the end every mail stands answered and is
marked as read; what was answered twice is held against the lost answers. Waits that the channel asks for (grey lists, a server
that is busy, the renewal of IDLE) are shortened to `SHORT_S`, so that rows show what it does and not what it waits for.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from email import message_from_bytes
from functools import partial
from pathlib import Path
from unittest import mock

import attrs
import trio
from loguru import logger

from nanobot.channels.email.channel import EmailChannel
from nanobot.channels.outlet import Channels
from nanobot.config.schema import ChannelsConfig, RestartConfig
from nanobot.supervise.status import Node
from nanobot.supervise.supervisor import Supervisor
from tests.channels import mails
from tests.channels.housed import open_channels
from tests.fakes.imap import Imap, imap_server
from tests.fakes.smtp import Smtp, smtp_server

SHORT_S = 1.0
HEALTHY_S = 0.2
"""So that every failure is the first of its row."""
RESTARTS = RestartConfig(healthy_s=HEALTHY_S)
PATIENCE_S = 40.0
PAUSE_S = 0.3
PEOPLE = ("ann@friends.example", "bob@friends.example")
IN, OUT = "in", "out"
FAULTS: dict[str, dict[str, tuple[str, str]]] = {
    "reset": {IN: ("hurt", "reset"), OUT: ("RCPT", "reset")},
    "half-open": {IN: ("hurt", "half-open"), OUT: ("DATA", "half-open")},
    "garbage": {IN: ("hurt", "garbage"), OUT: ("MAIL", "garbage")},
    "auth": {IN: ("LOGIN", "no [AUTHENTICATIONFAILED] Invalid credentials"), OUT: ("AUTH", "535 5.7.8 bad credentials")},
    "too many": {IN: ("LOGIN", "no [LIMIT] Too many simultaneous connections"), OUT: ("RCPT", "450 4.2.0 greylisted")},
    "unavailable": {IN: ("SEARCH", "no [UNAVAILABLE] backend is down"), OUT: ("CONNECT", "421 4.3.2 going down")},
    "slow": {IN: ("BODY", "slow"), OUT: ("DATA-END", "slow")},
    "clean close": {IN: ("hurt", "close"), OUT: ("EHLO", "close")},
    "goodbye": {IN: ("hurt", "bye"), OUT: ("DATA-END", "451 4.3.0 queue is full")},
    "lost answer": {IN: ("STORE", "lost answer"), OUT: ("DATA-END", "lost answer")},
}
"""Where and what, for each way."""


@attrs.define(eq=False)
class Hall:
    """The house with its channel, and what was said."""

    imap: Imap
    smtp: Smtp
    supervisor: Supervisor
    channels: Channels
    said: list[str] = attrs.field(factory=list)
    """Message-IDs."""
    _read: Counter[str] = attrs.field(factory=Counter)

    @property
    def node(self) -> Node:
        return self.supervisor.nodes()[0]

    def say(self, person: str, **fields: str) -> str:
        id = f"m{len(self.said)}@friends.example"
        self.said.append(id)
        self.imap.put(mails.mail(f"hello {id}", sender=person, id=id, **fields))
        return id

    def answers(self) -> Counter[str]:
        """How many answers to each mail were taken."""
        for taken in self.smtp.taken[self._read.total() :]:
            self._read[(message_from_bytes(taken.raw)["In-Reply-To"] or "").strip("<> ")] += 1
        return self._read

    def has_answered(self, id: str) -> bool:
        return id in self.answers()

    async def until(self, fact: Callable[[], object]) -> float:
        """Seconds until it holds. Raises: trio.TooSlowError."""
        began = time.monotonic()
        with trio.fail_after(PATIENCE_S):
            while not fact():  # noqa: ASYNC110  # facts of servers, of threads and of a supervisor
                await trio.sleep(0.01)
        return time.monotonic() - began

    async def talk(self, person: str) -> None:
        while True:
            await self.until(partial(self.has_answered, self.say(person)))
            await trio.sleep(PAUSE_S)


@attrs.frozen
class Outcome:
    sort: str
    way: str
    state: str
    """`up`, `restarted`, `parked`."""
    seconds: float
    why: str


@contextmanager
def shortened() -> Iterator[None]:
    with (
        mock.patch("nanobot.channels.email.smtp.GREY_S", SHORT_S),
        mock.patch("nanobot.channels.email.smtp.BUSY_S", SHORT_S),
        mock.patch("nanobot.channels.email.reader.COMMAND_S", SHORT_S),
        mock.patch("nanobot.channels.runner.SEND_S", 2 * SHORT_S),
    ):
        yield


@asynccontextmanager
async def open_hall(place: Path, restarts: RestartConfig = RESTARTS) -> AsyncIterator[Hall]:
    async with imap_server() as imap, smtp_server() as smtp:
        section = mails.config(
            imap_host="127.0.0.1",
            smtp_host="127.0.0.1",
            imap_port=imap.port,
            smtp_port=smtp.port,
            imap_use_ssl=False,
            smtp_use_tls=False,
            allow_from=("*",),
            mails_per_hour=100_000,
        )
        async with open_channels(place, restarts, ChannelsConfig(email=section)) as (channels, supervisor):
            hall = Hall(imap, smtp, supervisor, channels)
            channels.add("email", lambda: EmailChannel(section, idle_s=SHORT_S), section)
            await hall.until(lambda: hall.node.state == "up" and smtp.served)
            yield hall


async def inflict(hall: Hall, sort: str, way: str) -> Outcome:
    """One failure, from there until a mail that was written after it stands answered."""
    where, what = FAULTS[sort][way]
    logins, began = hall.imap.logins, time.monotonic()
    faults = hall.imap.faults if way == IN else hall.smtp.faults
    if where == "hurt":
        await hall.imap.hurt(what)
    else:
        faults.append((where, what))
        if where == "LOGIN":
            await hall.imap.hurt("close")
    id = hall.say(PEOPLE[0])
    ends = way == IN and sort != "slow"

    def over() -> bool:
        return not faults and hall.has_answered(id) and (not ends or hall.imap.logins > logins)

    await hall.until(lambda: over() or hall.node.state == "parked")
    state, why = hall.node.state, hall.node.error
    if state == "parked":
        await hall.supervisor.restart("email")
        await hall.until(lambda: hall.has_answered(id))
    elif hall.imap.logins > logins:
        state = "restarted"
    return Outcome(sort, way, state, time.monotonic() - began, why)


async def settle(hall: Hall) -> None:
    """Until all stands answered and marked."""
    await hall.until(lambda: all(map(hall.has_answered, hall.said)) and not hall.imap.unseen)
    await trio.sleep(HEALTHY_S)


def balance(hall: Hall) -> tuple[int, int, int]:
    """Mails, those without an answer, and answers beyond the first of each."""
    answers = hall.answers()
    lost = [id for id in hall.said if id not in answers]
    return len(hall.said), len(lost), sum(count - 1 for id, count in answers.items() if id)


def row(outcomes: list[Outcome]) -> str:
    parts = []
    for way, state in dict.fromkeys((one.way, one.state) for one in outcomes):
        took = [one.seconds for one in outcomes if (one.way, one.state) == (way, state)]
        parts.append(f"{way}: {len(took)} {state} {statistics.median(took):.2f} (most {max(took):.2f})")
    return f"{outcomes[0].sort:12} {'; '.join(parts)}"


async def main(sorts: list[str], times: int) -> int:
    print(f"{'sort':12} outcome: times, median seconds (most)")
    every: list[Outcome] = []
    with tempfile.TemporaryDirectory() as place, shortened():
        async with open_hall(Path(place)) as hall:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hall.talk, PEOPLE[1])
                for sort in sorts:
                    outcomes = []
                    for n in range(times):
                        outcomes.append(await inflict(hall, sort, (IN, OUT)[n % 2]))
                        await trio.sleep(HEALTHY_S)
                    every += outcomes
                    print(row(outcomes), flush=True)
                nursery.cancel_scope.cancel()
            await settle(hall)
            total, lost, doubled = balance(hall)
            stored = hall.imap.stored
    unanswered = sum(one.sort == "lost answer" and one.way == OUT for one in every)
    print(f"\n{len(every)} failures; {total} mails, {stored} marked as read, lost {lost}")
    print(f"answered twice {doubled}, answers that the server lost {unanswered}")
    for sort, why in dict.fromkeys((one.sort, one.why) for one in every if one.state == "parked"):
        print(f"parked, {sort}: {why}")
    return int(bool(lost) or doubled > unanswered)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--sorts", nargs="*", default=list(FAULTS))
    arguments = parser.parse_args()
    logger.remove()
    sys.exit(trio.run(main, arguments.sorts, arguments.times))
