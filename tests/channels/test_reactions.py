"""Marks on messages: set when a message is on disk, changed when it is answered, and never in anybody's way."""

from __future__ import annotations

from pathlib import Path

import attrs
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from nanobot.channels import reactions
from nanobot.channels.port import SendLater
from nanobot.messages import MessageId
from tests.channels.kit import Scripted, arrived, running


@attrs.define(eq=False)
class Marking(Scripted):
    marks: list[tuple[str, bool]] = attrs.field(factory=list)
    slow: trio.Event | None = None
    trouble: Exception | None = None

    async def react(self, _key: object, message: MessageId, *, answered: bool) -> None:
        self.marks.append((message, answered))
        if self.slow is not None:
            await self.slow.wait()
        if self.trouble is not None:
            raise self.trouble


async def test_taken_then_answered(tmp_path: Path) -> None:
    async with running(tmp_path) as kit:
        channel = Marking()
        await kit.start(channel)
        await channel.port.deliver(arrived(1))
        await kit.send("a", parts=("a", "b"), reply_to=MessageId("m1"), also_answers=(MessageId("m0"),))
        await wait_all_tasks_blocked()
        assert channel.marks == [("m1", False)]
        await kit.send("a", part=1, parts=("a", "b"), reply_to=MessageId("m1"), also_answers=(MessageId("m0"),))
        await wait_all_tasks_blocked()
        assert sorted(channel.marks[1:]) == [("m0", True), ("m1", True)]


async def test_who_may_not_speak_gets_no_mark(tmp_path: Path) -> None:
    async with running(tmp_path) as kit:
        channel = Marking()
        kit.access.ignored.add("bob")
        await kit.start(channel)
        await channel.port.deliver(arrived(1, user="bob"))
        await wait_all_tasks_blocked()
        assert channel.marks == []


async def test_a_burst_is_marked_in_part_and_waits_for_no_mark(tmp_path: Path) -> None:
    async with running(tmp_path) as kit:
        channel = Marking(slow=trio.Event())
        await kit.start(channel)
        for n in range(reactions.MOST + 5):
            await channel.port.deliver(arrived(n))
        await wait_all_tasks_blocked()
        assert (len(kit.taken), len(channel.marks)) == (reactions.MOST + 5, reactions.MOST)


async def test_a_network_that_wants_to_be_left_alone_is(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with running(tmp_path) as kit:
        channel = Marking(trouble=SendLater("too many", retry_after=30.0))
        await kit.start(channel)
        for pause in (1.0, 28.0, 2.0):
            await channel.port.deliver(arrived(1))
            await trio.sleep(pause)
        assert len(channel.marks) == 1
        await channel.port.deliver(arrived(1))
        await wait_all_tasks_blocked()
        assert len(channel.marks) == 2


async def test_a_bug_in_it_ends_the_channel(tmp_path: Path, claimed_errors: list[str]) -> None:
    async with running(tmp_path) as kit:
        channel = Marking(trouble=KeyError("x"))
        await kit.start(channel)
        await channel.port.deliver(arrived(1))
        assert "KeyError" in str(await kit.end())
    assert claimed_errors == ["channel net has a bug"]
