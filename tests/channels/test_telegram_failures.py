"""A slice of the failures of Telegram (telegram_failures.py), with the real house: each is got over, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from nanobot.config.schema import RestartConfig
from tests.channels.telegram_failures import CHATS, HEALTHY_S, WAYS, Hall, balance, inflict, open_hall, settle
from tests.fakes.telegram import Fault

QUICK = RestartConfig(first_s=0.1, healthy_s=HEALTHY_S)
IN, OUT = WAYS


async def test_an_answer_that_grew_stands_once(tmp_path: Path) -> None:
    async with open_hall(tmp_path, QUICK, streaming=True) as hall:
        hall.say(CHATS[0])
        await hall.until(lambda: hall.node.state == "up" and hall.fake.sent("editMessageText"))
        await settled(hall)
        assert (len(hall.fake.chat(CHATS[0])), len(hall.fake.sent("sendMessage"))) == (1, 1)


async def settled(hall: Hall) -> None:
    """Nothing changes any more in the chat."""
    shown = ""
    while shown != (shown := "".join(hall.fake.chat(CHATS[0]))):  # noqa: ASYNC110  # that nothing comes has no event
        await trio.sleep(1.5)


@pytest.mark.parametrize(
    ("fault", "way", "state", "why"),
    [
        (Fault.RESET, IN, "restarted", "the connection to Telegram broke"),
        (Fault.CLOSE, OUT, "up", ""),
        (Fault.LOST, IN, "restarted", "the connection to Telegram broke"),
        (Fault.LOST, OUT, "up", ""),
        (Fault.HALF_OPEN, IN, "restarted", "no answer from Telegram for"),
        (Fault.GARBAGE, IN, "restarted", "no answer of Telegram"),
        (Fault.UNAUTHORIZED, IN, "parked", "does not know the bot"),
        (Fault.UNAUTHORIZED, OUT, "parked", "does not know the bot"),
        (Fault.CONFLICT, IN, "restarted", "another program receives"),
        (Fault.FLOOD, IN, "restarted", "left alone for 1 s"),
        (Fault.UNAVAILABLE, OUT, "up", ""),
        (Fault.SLOW, OUT, "up", ""),
    ],
)
async def test_a_failure(tmp_path: Path, fault: Fault, way: str, state: str, why: str) -> None:
    async with open_hall(tmp_path, QUICK) as hall:
        before = hall.say(CHATS[0])
        outcome = await inflict(hall, fault, way)
        await settle(hall)
        found = balance(hall)
    assert (outcome.state, why in outcome.why, hall.has_answered(before)) == (state, True, True)
    assert (found.lost, found.unconfirmed, len(found.doubled)) == ([], 0, int((fault, way) == (Fault.LOST, OUT)))
