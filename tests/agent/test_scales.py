"""What models were seen to take: windows that nobody knows, and requests that were refused."""

from __future__ import annotations

from pathlib import Path

from nanobot.agent.estimate import of_text
from nanobot.agent.scales import Room, Scales
from nanobot.providers.port import Request
from tests.fakes.llm import Asked
from tests.fakes.llm_wire import CONTEXT_TOO_LONG, Answer, Scripted
from tests.fakes.talk import talking

LONG = "so it goes on and on. " * 400
MODEL = "openai/m"


def counted(asked: Asked) -> Answer:
    return Answer("fine", usage=(len(asked.raw) // 4, 5, 0))


def test_a_known_window_leaves_room_for_the_answer_and_the_error() -> None:
    assert Scales().room(MODEL, 100_000, 8192) == Room(100_000, 100_000 * 0.97 - 8192)
    assert Scales().room(MODEL, 8192, 8192) == Room(8192, 8192 * 0.97 - 2048)


def test_a_guessed_window_grows_with_what_the_service_has_read() -> None:
    scales = Scales()
    before = scales.room(MODEL, None, 8192)
    scales.learn("chat", MODEL, of_text("word " * 20_000), 20_000)
    after = scales.room(MODEL, None, 8192)
    assert (before.window, before.guessed) == (8192, True)
    assert after.limit == 25_000
    assert scales.room("another", None, 8192) == before


def test_what_was_refused_bounds_what_follows() -> None:
    scales = Scales()
    scales.refused(MODEL, 40_000)
    assert scales.room(MODEL, 128_000, 8192).limit == 38_000


def test_the_last_request_of_the_same_conversation_and_model_is_the_base() -> None:
    scales, measure = Scales(), of_text("word " * 1000)._replace(one=1.0)
    scales.learn("chat", MODEL, measure, 1111)
    same, other = scales.tokens("chat", MODEL, measure), scales.tokens("elsewhere", MODEL, measure)
    assert 1111 <= same < 1111 + 30
    assert other > same


def test_every_part_of_a_request_counts() -> None:
    measure = Scales().measure(Request("m", "abcd", (), (), runtime="efg"))
    assert (measure.one, measure.messages, measure.letters) == (1.0, 1.0, 7.0)


# --- through the house


async def test_a_window_that_nobody_knows_does_not_cost_the_conversation(tmp_path: Path) -> None:
    """60,000 tokens are far beyond the 8,192 that are assumed; the service reads them, so nothing of it leaves."""
    async with talking(tmp_path, counted) as talk:
        for number in range(20):
            await talk.say(f"{number}: {LONG}")
        assert talk.session.base == 0
        assert len(talk.server.requests) == 20
        assert "assumed" in (await talk.say("/status")).text


async def test_a_known_window_is_kept(tmp_path: Path) -> None:
    async with talking(tmp_path, counted, contextWindow=20_000) as talk:
        for number in range(20):
            await talk.say(f"{number}: {LONG}")
        assert talk.session.base > 0
        assert max(len(asked.raw) // 4 for asked in talk.server.requests) <= 20_000


async def test_a_service_that_reads_less_than_it_says_is_not_asked_in_vain_each_time(tmp_path: Path) -> None:
    refused: list[int] = []

    def small(asked: Asked) -> Scripted:
        if len(asked.raw) > 80_000:
            refused.append(asked.number)
            return CONTEXT_TOO_LONG
        return counted(asked)

    async with talking(tmp_path, small, contextWindow=200_000) as talk:
        for number in range(20):
            assert (await talk.say(f"{number}: {LONG}")).text == "fine"
        assert len(refused) == 1
