"""The meter in a house: what is booked on whose account, what caps do to turns, and what a crash costs."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from nanobot.archive.reading import Reader
from nanobot.config.load import load
from nanobot.config.paths import Places, places
from nanobot.gateway.house import open_house
from nanobot.messages import Inbound, MessageId, Origin, Principal, Said, SessionKey, Usage
from nanobot.session import events as ev
from nanobot.usage.journals import catch_up
from nanobot.usage.ledger import Ledger, Sum
from nanobot.usage.spent import Kind, Spent
from tests.fakes.llm import Script, model_server
from tests.fakes.llm_wire import Answer, ToolCall
from tests.fakes.talk import KEY, ME, Talk, configured, working

CALL = Usage(100, 10, 40)
"""Of each answer of the scripted service."""
ANN = Principal("telegram", "default", "1", "ann")
ANNS = SessionKey("telegram", "1")
_ids = count(1)


class Clock:
    """Seconds since the epoch, as the test wants them."""

    def __init__(self) -> None:
        self.now = 1_795_435_200.0  # 2026-11-23 12:00 UTC

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def metered(
    place: Path, script: Script, usage: dict[str, Any] | None = None, clock: Clock | None = None, told: list[str] | None = None
) -> AsyncIterator[Talk]:
    """A house whose owner is told into `told`."""
    async with model_server(script) as server:
        where = configured(place, "openai", server.base, timezone="UTC")
        root = json.loads(where.config.read_text())
        where.config.write_text(json.dumps(root | {"usage": usage or {}}))
        config = load(where.config, {}).config
        talk = Talk(None, server, place, config, network=working)  # type: ignore[arg-type]
        more: dict[str, Any] = {"clock": clock} if clock else {}
        more |= {"tell_owner": None if told is None else told.append, "owns": lambda who: who == str(ME)}
        async with open_house(config, where, {}, talk, talk.watch, resume_all=True, drain_s=1, **more) as talk.house:
            yield talk


def place_of(place: Path) -> Places:
    return places(place / "config.json")


def booked(place: Path) -> tuple[Sum, ...]:
    return Ledger(place_of(place).usage).sums(0.0, 1e12)


async def say_as(talk: Talk, who: Principal, key: SessionKey, text: str, *, job: str = "") -> str:
    """What is answered."""
    name = MessageId(f"job:{job}:{next(_ids)}" if job else f"u{next(_ids)}")
    if job:
        await talk.house.registry.deliver(key, ev.Received(Said(name, text, 0.0, str(who), origin=Origin.JOB)))
    else:
        await talk.house.deliver(Inbound(name, key, who, text, 0.0))
    return (await talk.reply_to(name)).text


# --- booking


async def test_each_call_of_a_turn_is_booked_once_with_all_that_it_is_asked_by(tmp_path: Path) -> None:
    calls = (ToolCall("list_dir", {"path": "."}),)
    async with metered(tmp_path, [Answer("", calls=calls), Answer("done"), Answer("again")]) as talk:
        await say_as(talk, ME, KEY, "look")
        await say_as(talk, ANN, ANNS, "and me?", job="a1b2c3d4")
    anns, mine = sorted(booked(tmp_path), key=lambda one: one.calls)
    assert (mine.session, mine.principal, mine.calls, mine.usage) == (str(KEY), str(ME), 2, CALL + CALL)
    assert (anns.session, anns.principal, anns.job, anns.usage) == (str(ANNS), str(ANN), "a1b2c3d4", CALL)
    assert mine.model == "m"


async def test_an_empty_answer_is_paid_for_too(tmp_path: Path) -> None:
    async with metered(tmp_path, [Answer(""), Answer("now")]) as talk:
        await say_as(talk, ME, KEY, "go")
    assert [one.calls for one in booked(tmp_path)] == [2]


@pytest.mark.parametrize("wait", [True, False])
async def test_subagents_are_booked_on_the_account_of_who_asked(tmp_path: Path, wait: bool) -> None:
    def answer(asked: Any) -> Answer:
        if "You are a subagent" in asked.raw.decode():
            return Answer("looked")
        spawned = "spawn" in json.dumps(asked.messages[1:])
        return Answer("fine") if spawned else Answer("", calls=(ToolCall("spawn", {"task": "look", "wait": wait}),))

    async with metered(tmp_path, answer) as talk:
        await say_as(talk, ME, KEY, "have it done", job="a1b2c3d4")
        await talk.until(lambda: any("You are a subagent" in asked.raw.decode() for asked in talk.server.requests))
        await talk.until(lambda: not talk.session.errands)
    [subagent] = [one for one in booked(tmp_path) if one.kind is Kind.SUBAGENT]
    assert (subagent.session, subagent.principal, subagent.job, subagent.calls) == (str(KEY), str(ME), "a1b2c3d4", 1)
    assert subagent.background


# --- journals


async def test_a_ledger_that_is_lost_comes_back_from_the_journals(tmp_path: Path) -> None:
    calls = (ToolCall("list_dir", {"path": "."}),)
    async with metered(tmp_path, [Answer("", calls=calls), Answer("done"), *[Answer("ok")] * 3]) as talk:
        await say_as(talk, ME, KEY, "look")
        await say_as(talk, ME, KEY, "/new")
        await say_as(talk, ME, KEY, "more")
        await say_as(talk, ANN, ANNS, "and me?", job="a1b2c3d4")
    before = booked(tmp_path)
    place_of(tmp_path).usage.unlink()
    async with metered(tmp_path, [Answer("ok")]) as talk:
        await say_as(talk, ME, SessionKey("cli", "other"), "hi")  # by then the journals were read
        assert "5" in await say_as(talk, ME, KEY, "/usage")
    assert [one for one in booked(tmp_path) if one.session != "cli:default:other"] == list(before)


async def test_what_a_crash_took_is_read_and_what_was_booked_is_not_doubled(tmp_path: Path) -> None:
    async with metered(tmp_path, [Answer("ok")] * 3) as talk:
        for text in ("one", "two", "three"):
            await say_as(talk, ME, KEY, text)
    whole = booked(tmp_path)
    ledger = Ledger(place_of(tmp_path).usage)
    with ledger._database.transaction() as connection:  # as if the last two had not been written
        [at] = connection.execute("SELECT MIN(at) FROM spent").fetchone()
        connection.execute("DELETE FROM spent WHERE at > ?", (at,))
        connection.execute("UPDATE read_to SET at = ?", (at,))
    reader = Reader(str(place_of(tmp_path).journals))
    assert [one.calls for one in ledger.sums(0.0, 1e12)] == [1]
    assert (catch_up(ledger, reader), catch_up(ledger, reader)) == (1, 0)
    assert ledger.sums(0.0, 1e12) == whole


# --- caps


def cap(of: str, tokens: int, action: str = "stop", **more: object) -> dict[str, Any]:
    return {"caps": [{"of": of, "tokens": tokens, "action": action, **more}]}


async def test_who_is_capped_is_told_so_instead_of_an_answer_and_others_go_on(tmp_path: Path) -> None:
    told: list[str] = []
    async with metered(tmp_path, [Answer("ok")] * 4, cap("principal", 110, who="telegram:*"), told=told) as talk:
        assert await say_as(talk, ANN, ANNS, "first") == "ok"
        assert (await say_as(talk, ANN, ANNS, "second")).startswith("Your limit of 110 tokens a day is used up")
        assert await say_as(talk, ME, KEY, "and I?") == "ok"
        assert len(talk.server.requests) == 2, "no call was made for what is refused"
    assert [text.partition(" a day for ")[2].partition(".")[0] for text in told] == ["ann on telegram"]


async def test_a_turn_that_runs_goes_on_over_the_limit(tmp_path: Path) -> None:
    calls = (ToolCall("list_dir", {"path": "."}),)
    script = [Answer("", calls=calls), Answer("done")]
    async with metered(tmp_path, script, cap("everything", 50), told=[]) as talk:
        assert await say_as(talk, ME, KEY, "look") == "done"
        assert "The limit for all of us of 50 tokens a day is used up" in await say_as(talk, ME, KEY, "more")


async def test_background_work_is_stopped_and_people_are_not(tmp_path: Path) -> None:
    async with metered(tmp_path, [Answer("ok")] * 4, cap("background", 100), told=[]) as talk:
        assert await say_as(talk, ME, KEY, "hello") == "ok"
        assert talk.house.meter.background_refusal(str(ME)) == "", "what people use is not background"
        assert await say_as(talk, ME, KEY, "due", job="a1b2c3d4") == "ok"
        assert "The limit for background work of 100 tokens a day" in talk.house.meter.background_refusal(str(ME))
        assert "background work" in await say_as(talk, ME, KEY, "due again", job="a1b2c3d4")
        assert await say_as(talk, ME, KEY, "and I?") == "ok"


async def test_a_warning_stops_nobody_and_is_told_once_over_restarts(tmp_path: Path) -> None:
    told: list[str] = []
    clock = Clock()
    for _ in range(2):
        async with metered(tmp_path, [Answer("ok")] * 2, cap("everything", 100, "warn"), clock, told) as talk:
            assert [await say_as(talk, ME, KEY, text) for text in "ab"] == ["ok", "ok"]
    assert len(told) == 1
    assert "That is only a warning" in told[0]
    clock.now += 86400
    async with metered(tmp_path, [Answer("ok")], cap("everything", 100, "warn"), clock, told) as talk:
        await say_as(talk, ME, KEY, "c")
    assert len(told) == 2, "another day is told of again"


async def test_a_limit_of_money_that_cannot_count_a_model_says_so_once(tmp_path: Path) -> None:
    told: list[str] = []
    usage = {"prices": {"another": {"input": 1.0, "output": 1.0}}, "caps": [{"of": "everything", "money": 1.0}]}
    for _ in range(2):
        async with metered(tmp_path, [Answer("ok")] * 2, usage, told=told) as talk:
            assert [await say_as(talk, ME, KEY, text) for text in "ab"] == ["ok", "ok"]
    [text] = told
    assert "there is no price in usage.prices" in text


async def test_a_cap_is_kept_over_a_restart_and_over_with_its_day(tmp_path: Path) -> None:
    clock, told = Clock(), list[str]()
    async with metered(tmp_path, [Answer("ok")], cap("everything", 100), clock, told) as talk:
        assert await say_as(talk, ME, KEY, "a") == "ok"
    async with metered(tmp_path, [Answer("ok")], cap("everything", 100), clock, told) as talk:
        assert "is used up" in await say_as(talk, ME, KEY, "b")
        clock.now += 12 * 3600 - 1
        assert "is used up" in await say_as(talk, ME, KEY, "c")
        clock.now += 1
        assert await say_as(talk, ME, KEY, "d") == "ok"
        clock.now -= 3600
        await talk.house.meter.flush()
        assert "is used up" in await say_as(talk, ME, KEY, "e"), "a clock that was put back does not free it"


async def test_where_nobody_can_be_told_it_is_told_by_who_can(tmp_path: Path) -> None:
    clock, told = Clock(), list[str]()
    async with metered(tmp_path, [Answer("ok")], cap("everything", 100), clock) as talk:
        await say_as(talk, ME, KEY, "a")
    async with metered(tmp_path, [], cap("everything", 100), clock, told):
        pass
    assert len(told) == 1


async def test_status_shows_the_day_and_the_cap_that_is_reached(tmp_path: Path) -> None:
    usage = {"prices": {"m": {"input": 10000.0, "output": 0.0}}, **cap("everything", 100)}
    async with metered(tmp_path, [Answer("ok")], usage, told=[]) as talk:
        await say_as(talk, ME, KEY, "a")
        [node] = talk.house.meter.nodes()
    assert (node.state, dict(node.facts)) == (
        "up",
        {
            "day": "110 tokens, 1.00 USD",
            "month": "110 tokens, 1.00 USD",
            "caps": "a limit of everything is reached (stop)",
        },
    )


async def test_a_disk_that_refuses_is_seen_and_costs_nobody_an_answer(tmp_path: Path) -> None:
    place_of(tmp_path).usage.mkdir()
    async with metered(tmp_path, [Answer("ok")] * 2, told=[]) as talk:
        assert await say_as(talk, ME, KEY, "a") == "ok"
        [node] = talk.house.meter.nodes()
        assert (node.state, "usage.db" in node.error) == ("waiting", True)
        assert "It cannot be read now" in await say_as(talk, ME, KEY, "/usage")
        assert "cannot be read" in talk.house.meter.heartbeat_refusal()
        place_of(tmp_path).usage.rmdir()
        await talk.house.meter.flush()
        assert talk.house.meter.nodes()[0].state == "up"
    assert [one.calls for one in booked(tmp_path)] == [1]


# --- the command in chat


async def test_others_see_their_own_chat(tmp_path: Path) -> None:
    async with metered(tmp_path, [Answer("ok")] * 2, told=[]) as talk:
        await say_as(talk, ME, KEY, "a")
        await say_as(talk, ANN, ANNS, "b")
        mine, anns = [await say_as(talk, who, key, "/usage") for who, key in ((ME, KEY), (ANN, ANNS))]
    assert ("telegram:1" in mine, "cli:direct" in mine, "telegram:1" in anns, "cli:direct" in anns) == (True, True, False, False)
    assert _figures(mine) == ["2", "200", "80", "20"]
    assert _figures(anns) == ["1", "100", "40", "10"]


def _figures(text: str) -> Sequence[str]:
    return next(line for line in text.splitlines() if line.startswith("month")).split()[2:]


async def test_many_calls_are_written_in_one_go(tmp_path: Path) -> None:
    async with metered(tmp_path, [], cap("principal", 10**9), told=[]) as talk:
        for step in range(500):
            talk.house.meter.spent(Spent("s:t:u", 1, step, time.time(), "m", CALL, principal=str(ME)))
        await talk.house.meter.flush()
        assert booked(tmp_path)[0].calls == 500
