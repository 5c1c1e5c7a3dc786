"""What waits for a websocket's reader: what is joined, what gives way, what never does."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from nanobot.channels.port import DeltaSign, Sign, StateSign, ToolSign, VoidSign
from nanobot.channels.web.outgoing import PACE_S, ROOM_CHARS, SIGNS_CHARS, Outgoing


def told(batch: list[str]) -> list[Any]:
    """What was said, in short."""
    frames = [json.loads(text) for text in batch]
    return [frame.get("text") or frame.get("state") or frame.get("name") or frame["type"] for frame in frames]


D, S, T, V = DeltaSign, StateSign, ToolSign, VoidSign


@pytest.mark.parametrize(
    ("signs", "sent"),
    [
        ([("a", D(1, "x")), ("a", D(1, "y"))], ["xy"]),
        ([("a", D(1, "x")), ("b", D(1, "1")), ("a", D(1, "y")), ("b", D(1, "2"))], ["xy", "12"]),
        ([("a", D(1, "x")), ("a", D(2, "y"))], ["x", "y"]),
        ([("a", D(1, "x")), ("a", V(1)), ("a", D(1, "y"))], ["x", "void", "y"]),
        ([("a", D(1, "x")), ("a", T(1, "exec", "started")), ("a", D(1, "y"))], ["x", "exec", "y"]),
        ([("a", S("thinking")), ("a", S("working")), ("b", S("idle"))], ["working", "idle"]),
        ([("a", S("thinking")), ("a", D(1, "x")), ("a", S("idle"))], ["thinking", "x", "idle"]),
    ],
)
async def test_what_is_joined(signs: list[tuple[str, Sign]], sent: list[str]) -> None:
    out = Outgoing()
    for chat, sign in signs:
        out.sign(chat, sign)
    assert told(await out.batch()) == sent


async def test_what_comes_after_a_message_stays_after_it() -> None:
    out = Outgoing()
    out.sign("a", D(1, "x"))
    out.frame('{"type": "message"}', "a")
    out.sign("a", D(1, "y"))
    assert told(await out.batch()) == ["x", "message", "y"]


async def test_an_answer_that_does_not_fit_is_cut_short_and_never_holed() -> None:
    out = Outgoing()
    for _ in range(30):
        out.sign("a", D(1, "0123456789" * 1000))
    out.sign("a", D(1, "short"))
    out.sign("a", T(1, "exec", "started"))
    (text,) = told(await out.batch())[:1]
    assert 0.9 * SIGNS_CHARS < len(text) <= SIGNS_CHARS
    out.sign("a", D(1, "later"))
    out.sign("a", D(2, "the next"))
    assert told(await out.batch()) == ["the next"]


async def test_an_answer_that_begins_again_is_shown_again() -> None:
    out = Outgoing()
    out.sign("a", D(1, "x" * (SIGNS_CHARS + 1)))
    out.sign("a", V(1))
    out.sign("a", D(1, "again"))
    assert told(await out.batch()) == ["void", "again"]


async def test_a_message_never_gives_way() -> None:
    out = Outgoing()
    for n in range(100):
        out.frame(json.dumps({"text": f"{n}" + "x" * ROOM_CHARS}))
    assert len(await out.batch()) == 100


async def test_states_stay_true_when_nothing_fits() -> None:
    out = Outgoing()
    out.sign("a", D(1, "x" * SIGNS_CHARS))
    for n in range(1000):
        out.sign("a", T(1, f"tool {n}", "started"))
        out.sign("a", S(f"state {n}"))
    assert told(await out.batch())[1:] == ["state 999"]


async def test_pieces_are_paced_and_nothing_else_is(autojump_clock: MockClock) -> None:
    out = Outgoing()
    out.sign("a", D(1, "x"))
    assert told(await out.batch()) == ["x"]
    assert trio.current_time() == 0
    out.sign("a", D(1, "y"))
    assert told(await out.batch()) == ["y"]
    assert trio.current_time() == pytest.approx(PACE_S)
    out.sign("a", D(1, "z"))
    out.frame('{"type": "message"}', "a")
    assert told(await out.batch()) == ["z", "message"]
    assert trio.current_time() == pytest.approx(PACE_S)


async def test_there_is_room_when_the_reader_reads() -> None:
    out, done = Outgoing(), trio.Event()
    out.frame("x" * (ROOM_CHARS + 1))

    async def wait() -> None:
        await out.room()
        done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        assert not done.is_set()
        await out.batch()


@pytest.mark.parametrize("filled", [False, True])
async def test_closed_means_that_nothing_is_sent_and_nobody_waits(filled: bool) -> None:
    out = Outgoing()
    if filled:
        out.frame("x" * (ROOM_CHARS + 1))
    out.close()
    out.frame("late")
    out.sign("a", D(1, "late"))
    await out.room()
    assert await out.batch() == []
    assert await out.batch() == []
