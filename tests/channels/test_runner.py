"""One channel: what comes of a send, and when a life ends."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from nanobot.channels.life import CONNECT_S
from nanobot.channels.port import ChannelFailed, Limits, Part, Port, SendLater, SendRefused, SendUnknown, Unreachable
from nanobot.channels.runner import SEND_S
from nanobot.messages import Attachment, Button, OutboundId, Receipt
from nanobot.session import events as ev
from nanobot.session.state import Session
from nanobot.supervise.asyncio_worker import WorkerClosed
from nanobot.supervise.policy import Cause
from tests.channels.kit import KEY, Scripted, Send, pending, running

OUT = OutboundId("o1")


def raises(error: Exception) -> Send:
    async def send(_part: Part) -> Receipt:
        raise error

    return send


async def hangs(_part: Part) -> Receipt:
    await trio.sleep_forever()
    raise AssertionError


# --- sends


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (SendLater("busy", retry_after=3.0), ev.SendFailed(OUT, 0, 0.0, "busy", 3.0)),
        (SendRefused("no such chat"), ev.SendRefused(OUT, 0, 0.0, "no such chat")),
        (SendUnknown("no answer"), ev.SendUnknown(OUT, 0, 0.0, "no answer", False)),
        (Unreachable("nobody is there"), ev.ChannelDown(OUT, 0, 0.0, "nobody is there")),
        (WorkerClosed("it was stopped"), ev.SendUnknown(OUT, 0, 0.0, "it was stopped", False)),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_what_a_network_says_is_told_to_the_session(
    tmp_path: Path, autojump_clock: object, error: Exception, end: ev.Event
) -> None:
    async with running(tmp_path) as kit:
        await kit.start(Scripted(sends=raises(error)))
        assert await kit.send() == end
        assert not kit.supervisor.ended.is_set()


async def test_a_receipt_is_delivery(tmp_path: Path, autojump_clock: object) -> None:
    async with running(tmp_path) as kit:
        await kit.start(Scripted())
        assert await kit.send() == ev.PartDelivered(OUT, 0, 0.0, "r1")


async def test_a_bug_in_a_send_ends_the_channel_and_not_the_session(tmp_path: Path, claimed_errors: list[str]) -> None:
    async with running(tmp_path) as kit:
        await kit.start(Scripted(Limits(keyed=True), raises(KeyError("ts"))))
        end = await kit.send()
        assert isinstance(end, ev.SendUnknown)
        assert end.keyed
        failed = await kit.end()
        assert isinstance(failed, ChannelFailed)
        assert failed.cause is Cause.BUG
        assert "KeyError" in str(failed)
    assert claimed_errors == ["channel net has a bug"]


async def test_a_channel_that_says_in_a_send_that_it_cannot_go_on_ends_so(tmp_path: Path) -> None:
    revoked = ChannelFailed("the token is not valid", cause=Cause.AUTH)
    async with running(tmp_path) as kit:
        await kit.start(Scripted(sends=raises(revoked)))
        assert isinstance(await kit.send(), ev.SendUnknown)
        assert await kit.end() is revoked


@pytest.mark.parametrize(("files", "seconds"), [((), SEND_S), ((Attachment("/f", "", "f", 2_000_000),), SEND_S + 20.0)])
async def test_no_answer_in_time_is_an_unknown_outcome(
    tmp_path: Path, autojump_clock: object, files: tuple[Attachment, ...], seconds: float
) -> None:
    async with running(tmp_path) as kit:
        await kit.start(Scripted(sends=hangs))
        began = trio.current_time()
        end = await kit.send(attachments=files)
        assert end == ev.SendUnknown(OUT, 0, seconds, f"no answer within {seconds:g} s", False)
        assert trio.current_time() - began == pytest.approx(seconds)


async def test_waiting_for_room_costs_no_time_of_the_deadline(tmp_path: Path, autojump_clock: object) -> None:
    """Of three messages to a network that takes one at a time and needs 20 s for each, the last is there after 60 s."""

    async def slow(_part: Part) -> Receipt:
        await trio.sleep(20)
        return Receipt("r")

    async with running(tmp_path) as kit:
        await kit.start(Scripted(Limits(sends=1), slow))
        ends: list[ev.Event] = []

        async def send() -> None:
            ends.append(await kit.send())

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(send)
        assert [type(end) for end in ends] == [ev.PartDelivered] * 3
        assert trio.current_time() == pytest.approx(60)


async def test_a_cancelled_send_stays_cancelled(tmp_path: Path, autojump_clock: object) -> None:
    async with running(tmp_path) as kit:
        await kit.start(Scripted(sends=hangs))
        with trio.move_on_after(1) as scope:
            await kit.send()
        assert scope.cancelled_caught


async def test_a_long_message_is_split_before_anything_is_sent(tmp_path: Path, autojump_clock: object) -> None:
    async with running(tmp_path) as kit:
        channel = Scripted(Limits(text=12))
        await kit.start(channel)
        split = await kit.send("first words and more")
        assert split == ev.SplitInto(OUT, ("first words", "and more"))
        assert channel.sent == []
        assert isinstance(split, ev.SplitInto)
        for part in range(2):
            await kit.send("first words and more", part, split.parts)
        assert [(part.text, part.index, part.count, part.last) for part in channel.sent] == [
            ("first words", 0, 2, False),
            ("and more", 1, 2, True),
        ]


YES_AND_NO = (Button("Yes", "/approve 1"), Button("No", "/deny 1"))


@pytest.mark.parametrize(
    ("limits", "buttons"),
    [
        (Limits(text=12, buttons=2), YES_AND_NO),
        (Limits(text=12), ()),
        (Limits(text=12, buttons=1), ()),
        (Limits(text=12, buttons=2, button_bytes=9), ()),
    ],
    ids=["fit", "the network has none", "too many", "one is too long"],
)
async def test_buttons_go_with_the_last_part_all_or_none(
    tmp_path: Path, autojump_clock: object, limits: Limits, buttons: tuple[Button, ...]
) -> None:
    async with running(tmp_path) as kit:
        channel = Scripted(limits)
        await kit.start(channel)
        for part in range(2):
            await kit.send("first words and more", part, ("first words", "and more"), buttons=YES_AND_NO)
        assert [part.buttons for part in channel.sent] == [(), buttons]


# --- up and down


async def test_what_is_not_up_says_so_at_once(tmp_path: Path, autojump_clock: object) -> None:
    async with running(tmp_path) as kit:
        kit.channels.add("net", lambda: Scripted(connect_s=1.0), kit.channels._config.web)
        assert await kit.send() == ev.ChannelDown(OUT, 0, 0.0, "net is not connected")
        unknown = await kit.channels.send(Session("other:default:c"), pending(), 0)
        assert unknown == ev.ChannelDown(OUT, 0, 0.0, "other is not enabled")
        await trio.sleep(2)
        assert kit.up == ["net"]
        assert isinstance(await kit.send(), ev.PartDelivered)
        await kit.channels.remove("net")
        await kit.supervisor.ended.wait()
        assert isinstance(await kit.send(), ev.ChannelDown)


async def test_what_is_being_sent_when_the_channel_ends_has_an_unknown_outcome(tmp_path: Path, autojump_clock: object) -> None:
    """And nothing of it runs any more when the life has ended."""
    here = [0]

    async def send(_part: Part) -> Receipt:
        here[0] += 1
        try:
            await trio.sleep_forever()
        finally:
            with trio.move_on_after(1, shield=True):
                await trio.sleep(0.5)
            here[0] -= 1
        raise AssertionError

    async with running(tmp_path) as kit, trio.open_nursery() as nursery:
        channel = Scripted(sends=send)
        await kit.start(channel)
        ends: list[ev.Event] = []

        async def attempt() -> None:
            ends.append(await kit.send())

        nursery.start_soon(attempt)
        await trio.testing.wait_all_tasks_blocked()
        assert here == [1]
        channel.port.fail(ChannelFailed("lost"))
        await kit.supervisor.ended.wait()
        assert here == [0]
        await trio.testing.wait_all_tasks_blocked()
        assert ends == [ev.SendUnknown(OUT, 0, 0.5, "the connection ended while it was being sent", False)]


@pytest.mark.parametrize(
    ("channel", "end", "after"),
    [
        (Scripted(fails=ChannelFailed("revoked", cause=Cause.AUTH)), (Cause.AUTH, "revoked"), 0.0),
        (Scripted(returns=True), (Cause.RETURNED, "it stopped without saying why"), 0.0),
        (Scripted(connect_s=1e9), (Cause.TRANSIENT, "not connected within 60 s"), CONNECT_S),
        (Scripted(Limits(proof_s=30.0)), (Cause.TRANSIENT, "no sign of life for 30 s"), 30.0),
    ],
    ids=["raises", "returns", "does not connect", "gives no proof"],
)
async def test_what_ends_a_life(
    tmp_path: Path, autojump_clock: object, channel: Scripted, end: tuple[Cause, str], after: float
) -> None:
    async with running(tmp_path) as kit:
        kit.channels.add("net", lambda: channel, kit.channels._config.web)
        failed = await kit.end()
        assert isinstance(failed, ChannelFailed)
        assert (failed.cause, str(failed)) == end
        assert channel.ended
        assert trio.current_time() == pytest.approx(after)


async def test_a_channel_that_does_not_end_is_failed_all_the_same(tmp_path: Path, autojump_clock: object) -> None:
    """Else a supervisor would wait for its end, and show it as up."""

    class Stubborn(Scripted):
        async def serve(self, port: Port, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            task_status.started()
            with trio.CancelScope(shield=True):
                await released.wait()

    released = trio.Event()
    async with running(tmp_path) as kit:
        await kit.start(Stubborn(Limits(proof_s=30.0)))
        await trio.sleep(31)
        assert list(map(str, kit.supervisor.ends)) == ["no sign of life for 30 s"]
        assert isinstance(await kit.send(), ev.ChannelDown)
        assert not kit.supervisor.ended.is_set()
        released.set()


async def test_proof_of_traffic_keeps_a_channel_alive(tmp_path: Path, autojump_clock: object) -> None:
    async with running(tmp_path) as kit:
        channel = Scripted(Limits(proof_s=30.0))
        await kit.start(channel)
        for _ in range(10):
            await trio.sleep(25)
            channel.port.alive()
        await kit.supervisor.ended.wait()
        assert trio.current_time() == pytest.approx(280)


async def test_time_in_which_the_loop_stood_still_is_no_silence(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with running(tmp_path) as kit:
        channel = Scripted(Limits(proof_s=30.0))
        await kit.start(channel)

        async def heartbeat() -> None:
            for _ in range(10):
                await trio.sleep(10)
                await trio.sleep(0.1)  # the answer comes
                channel.port.alive()

        kit.supervisor.nursery.start_soon(heartbeat)
        await trio.sleep(5)
        autojump_clock.jump(40)
        await trio.sleep(60)
        assert kit.supervisor.ends == []


async def test_each_life_has_a_new_channel(tmp_path: Path, autojump_clock: object) -> None:
    made: list[Scripted] = []

    def make() -> Scripted:
        made.append(Scripted(Limits(keyed=bool(made))))
        return made[-1]

    async with running(tmp_path) as kit:
        kit.channels.add("net", make, kit.channels._config.web)
        for life in (1, 2):
            while len(kit.up) < life:
                await trio.lowlevel.checkpoint()
            assert kit.channels.keyed(KEY) == (life == 2)
            made[-1].port.fail(ChannelFailed("lost"))
            await kit.supervisor.ended.wait()
            if life == 1:
                kit.supervisor.again("net")
        assert len(made) == 2
