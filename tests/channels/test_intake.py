"""What arrives: who may speak, what strangers cost, how much is taken at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from nanobot.channels.intake import MOST_ANSWERS, MOST_AT_ONCE, STRANGER_EVERY_S
from nanobot.channels.port import Arrived, NotTaken, SendRefused
from nanobot.messages import Inbound, MessageId, Principal, SessionKey
from tests.channels.kit import Kit, Scripted, arrived, running
from tests.channels.test_runner import hangs, raises


def in_group(number: int = 1, **more: Any) -> Arrived:
    """Judged on the loop and not in a thread, so that a virtual clock does not jump."""
    return arrived(number, direct=False, **more)


async def started(kit: Kit, channel: Scripted) -> None:
    await kit.start(channel)
    kit.access.strange, kit.access.ignored = {"eve"}, {"mallory"}


async def test_an_allowed_message_is_delivered_as_whose_it_is(tmp_path: Path) -> None:
    async with running(tmp_path) as kit:
        channel = Scripted()
        await started(kit, channel)
        await channel.port.deliver(in_group(account="a2", topic="t", tainted=True))
        assert kit.taken == [
            Inbound(
                MessageId("m1"),
                SessionKey("net", "c", "a2", "t"),
                Principal("net", "a2", "c", "ann"),
                "hi",
                kit.taken[0].at,
                tainted=True,
                direct=False,
            )
        ]


async def test_a_stranger_is_answered_and_not_delivered(tmp_path: Path) -> None:
    async with running(tmp_path) as kit:
        channel = Scripted()
        await started(kit, channel)
        await channel.port.deliver(arrived(user="eve"))
        await wait_all_tasks_blocked()
        [answer] = channel.sent
        assert (answer.text, answer.key.chat, answer.outbound.reply_to) == ("Your code is ABCD-EFGH", "c", "m1")
        await channel.port.deliver(arrived(2, user="mallory"))
        assert (kit.taken, len(channel.sent)) == ([], 1)


async def test_a_stranger_is_answered_once_a_minute(tmp_path: Path, autojump_clock: object) -> None:
    async with running(tmp_path) as kit:
        channel = Scripted()
        await started(kit, channel)
        for number in range(200):
            await channel.port.deliver(in_group(number, user="eve"))
            await trio.sleep(1)
        assert len(channel.sent) == pytest.approx(200 / STRANGER_EVERY_S, abs=1)


async def test_a_flood_of_strangers_waits_for_nothing_and_is_bounded(tmp_path: Path, autojump_clock: object) -> None:
    """With a network that hangs: 5,000 chats, a few answers, and no time at all."""
    async with running(tmp_path) as kit:
        channel = Scripted(sends=hangs)
        await started(kit, channel)
        for number in range(5000):
            await channel.port.deliver(in_group(number, user="eve", chat=f"c{number}"))
        await wait_all_tasks_blocked()
        assert (len(channel.sent), trio.current_time()) == (MOST_ANSWERS, 0.0)


async def test_an_answer_to_a_stranger_that_fails_ends_nothing(tmp_path: Path, autojump_clock: object) -> None:
    async with running(tmp_path) as kit:
        channel = Scripted(sends=raises(SendRefused("blocked")))
        await started(kit, channel)
        await channel.port.deliver(in_group(user="eve"))
        await channel.port.deliver(in_group(2))
        assert len(kit.taken) == 1


async def test_what_could_not_be_written_is_not_acknowledged(tmp_path: Path) -> None:
    async with running(tmp_path) as kit:

        async def full(_inbound: Inbound) -> None:
            raise NotTaken("the disk is full", code="disk_full")

        kit.channels.deliver = full
        channel = Scripted()
        await started(kit, channel)
        with pytest.raises(NotTaken):
            await channel.port.deliver(arrived())


async def test_only_so_many_messages_are_taken_at_once(tmp_path: Path, autojump_clock: object) -> None:
    """And of another channel as many: a flood on one holds up itself."""
    now, most = [0], [0]

    async def slow(_inbound: Inbound) -> None:
        now[0] += 1
        most[0] = max(most[0], now[0])
        await trio.sleep(1)
        now[0] -= 1

    async with running(tmp_path) as kit:
        kit.channels.deliver = slow
        flooded, other = Scripted(), Scripted()
        await kit.start(flooded)
        await kit.start(other, name="other")
        async with trio.open_nursery() as nursery:
            for number in range(10 * MOST_AT_ONCE):
                nursery.start_soon(flooded.port.deliver, in_group(number))
            await wait_all_tasks_blocked()
            assert most == [MOST_AT_ONCE]
            began = trio.current_time()
            await other.port.deliver(in_group())
            assert trio.current_time() - began == 1.0
