"""Orders to the house: the owner's, answered, and done when the answer is on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanobot.agent.questions import Answer
from nanobot.messages import Inbound, MessageId, Principal, SessionKey
from tests.fakes.talk import ME, talking

GROUP = SessionKey("telegram", "group")
EVE = Principal("telegram", "default", "group", "eve")


async def pairing(rest: str, who: Principal) -> str:
    return f"{who.user} wants: {rest}"


@pytest.mark.parametrize(("line", "answer"), [("/pairing approve 42", "me wants: approve 42"), ("/PAIRING", "me wants: ")])
async def test_an_order_is_given_its_words_and_who_gave_it(tmp_path: Path, line: str, answer: str) -> None:
    async with talking(tmp_path, [], orders={"/pairing": pairing}) as talk:
        assert (await talk.say(line)).text == answer


async def test_only_the_owner_gives_orders(tmp_path: Path) -> None:
    async with talking(tmp_path, [], orders={"/pairing": pairing}) as talk:
        await talk.house.deliver(Inbound(MessageId("g1"), GROUP, EVE, "/pairing list", 0.0))
        assert (await talk.reply_to(MessageId("g1"))).text == "Only the owner can use /pairing."


async def test_without_a_gateway_it_is_said_where_the_order_belongs(tmp_path: Path) -> None:
    async with talking(tmp_path, []) as talk:
        assert (await talk.say("/restart")).text == (
            "/restart is for the gateway, which does not run here. Start it with: nanobot gateway"
        )


async def test_what_an_order_does_for_good_is_done_once_when_its_answer_is_on_disk(tmp_path: Path) -> None:
    """Done before, a crash in between would have it asked, and done, again: a gateway that restarts for ever."""
    done: list[bool] = []

    def on_disk() -> bool:
        journal = b"".join(file.read_bytes() for file in tmp_path.glob("journals/*/*.jsonl"))
        return b"errand_closed" in journal and b"Restarting." in journal

    async def restart(_rest: str, _who: Principal) -> Answer:
        return Answer("Restarting.", lambda: done.append(on_disk()))

    async with talking(tmp_path, [], orders={"/restart": restart}) as talk:
        assert (await talk.say("/restart")).text == "Restarting."
        message = MessageId("again")
        for _ in range(2):
            await talk.house.deliver(Inbound(message, SessionKey("cli", "direct"), ME, "/restart", 0.0))
        await talk.reply_to(message)
    assert done == [True, True]
