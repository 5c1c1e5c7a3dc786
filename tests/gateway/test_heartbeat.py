"""The heartbeat in the whole gateway, with a model service on this machine that counts what it is asked."""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from nanobot.config.load import load
from nanobot.control.desk import Desk
from nanobot.gateway.app import Run, open_gateway
from nanobot.messages import SessionKey
from nanobot.scheduler.heartbeat import KEY
from nanobot.supervise.status import Node
from nanobot.usage.ledger import Ledger
from nanobot.usage.spent import Kind
from tests.fakes.llm import Asked, ModelServer, Script, model_server
from tests.fakes.llm_wire import Answer, Scripted, ToolCall
from tests.fakes.talk import configured

NOON = 1_795_435_200.0  # 2026-11-23 12:00 UTC
CHAT = SessionKey("cli", "direct")
PATIENCE_S = 20.0


@attrs.define(eq=False)
class Alive:
    desk: Desk
    server: ModelServer
    place: Path

    @property
    def node(self) -> Node:
        services = next(node for node in self.desk.tree().children if node.name == "services")
        return next(node for node in services.children if node.name == "heartbeat")

    @property
    def facts(self) -> dict[str, str]:
        return dict(self.node.facts)

    async def until(self, fact: Callable[[], bool]) -> None:
        with trio.fail_after(PATIENCE_S):
            while not fact():  # noqa: ASYNC110  # a fact of several parts
                await trio.sleep(0.02)

    async def outbox(self) -> list[str]:
        return [pending.outbound.text for pending in (await self.desk._registry.open(CHAT)).outbox]


@asynccontextmanager
async def alive(place: Path, script: Script, file: str, clock: Callable[[], float], **heartbeat: Any) -> AsyncIterator[Alive]:
    async with model_server(script) as server:
        where = configured(place, "openai", server.base, timezone="UTC")
        root = json.loads(where.config.read_text())
        root["gateway"] = {"http": False, "drainS": 0.0, "heartbeat": {"chat": str(CHAT), **heartbeat}}
        where.config.write_text(json.dumps(root))
        (place / "workspace").mkdir(exist_ok=True)
        (place / "workspace" / "HEARTBEAT.md").write_text(file)
        config, lock = load(where.config, {}).config, os.open(place, os.O_RDONLY)
        try:
            run = Run(config, where, {"PATH": os.environ["PATH"]}, lock, lambda: config, clock=clock)
            async with open_gateway(run) as desk:
                yield Alive(desk, server, place)
        finally:
            os.close(lock)


def decides(**arguments: object) -> Answer:
    return Answer("", calls=(ToolCall("heartbeat", arguments),))


def roles(decision: Scripted, *work: Scripted) -> Callable[[Asked], Scripted]:
    """What decides is answered once, then that there is nothing to do."""
    decisions, steps = iter([decision]), iter(work)

    def answer(asked: Asked) -> Scripted:
        if asked.body.get("tools", [{}])[0].get("function", {}).get("name") == "heartbeat":
            return next(decisions, decides(action="skip"))
        return next(steps)

    return answer


@pytest.mark.parametrize("file", ["", "# Work\n\n## Active\n\n- [ ]\n\n## Done\n\n- x\n"], ids=["empty", "empty boxes"])
async def test_an_idle_day_costs_no_model_call(tmp_path: Path, mock_clock: MockClock, file: str) -> None:
    mock_clock.rate = 1.0
    async with alive(tmp_path, [], file, lambda: NOON + mock_clock.current_time()) as here:
        looks = set()
        for _ in range(48):
            mock_clock.jump(1800.0)
            before = here.facts.get("next look")
            await here.until(lambda before=before: here.facts.get("next look") != before)  # type: ignore[misc]
            looks.add(here.facts["next look"])
        assert (len(looks), len(here.server.requests)) == (48, 0)
        assert here.facts["state"] == "nothing is active in HEARTBEAT.md"
    assert Ledger(tmp_path / "usage.db").sums(0.0, 1e12) == ()


async def test_what_is_due_is_done_and_told(tmp_path: Path) -> None:
    look = ToolCall("list_dir", {"path": "."})
    script = roles(decides(action="run", tasks="look at the disk"), Answer("", calls=(look,)), Answer("TELL\nThe disk is full."))
    async with alive(tmp_path, script, "- look at the disk", time.time, intervalS=1) as here:
        await here.until(lambda: here.facts["state"] == "nothing to do")
        assert await here.outbox() == ["The disk is full."]
        decision, work = here.server.requests[0], here.server.requests[1]
        assert "look at the disk" in decision.texts[0]
        assert len(decision.messages) == 2, "a context of its own"
        assert "Nobody is there" in work.texts[0]
    sums = Ledger(tmp_path / "usage.db").sums(0.0, 1e12)
    assert {(one.kind, one.session, one.job) for one in sums} == {
        (Kind.TURN, str(KEY), "heartbeat"),
        (Kind.HEARTBEAT, str(KEY), "heartbeat"),
    }
    assert sum(one.calls for one in sums) == len(here.server.requests)


async def test_what_is_not_worth_telling_is_told_nobody(tmp_path: Path) -> None:
    script = roles(decides(action="run", tasks="look"), Answer("All is well."))
    async with alive(tmp_path, script, "- look", lambda: NOON, intervalS=1) as here:
        await here.until(lambda: here.facts["state"] == "nothing to do")
        assert await here.outbox() == []


@pytest.mark.parametrize("calls", [1, 2], ids=["spent by the decision", "spent in the middle of the work"])
async def test_the_days_tokens_are_a_hard_limit(tmp_path: Path, calls: int) -> None:
    """Each call costs 110."""
    look = Answer("", calls=(ToolCall("list_dir", {"path": "."}),))
    script = roles(decides(action="run", tasks="look"), look, look, look)
    async with alive(tmp_path, script, "- look", lambda: NOON, intervalS=1, dailyTokens=calls * 110) as here:
        await here.until(lambda: "trouble" in here.facts)
        assert "budget" in here.facts["trouble"]
        await here.until(lambda: "budget" in here.facts["state"])
        assert (len(here.server.requests), here.facts["tokens today"]) == (calls, f"{calls * 110} of {calls * 110}")
    async with alive(tmp_path, script, "- look", lambda: NOON + 60, intervalS=1, dailyTokens=calls * 110) as here:
        await here.until(lambda: "budget" in here.facts["state"])
        assert here.server.requests == [], "it is counted over restarts"


async def test_a_decision_that_is_no_call_is_a_skip(tmp_path: Path) -> None:
    async with alive(tmp_path, roles(Answer("I would run it all.")), "- look", lambda: NOON, intervalS=1) as here:
        await here.until(lambda: here.facts["state"] == "nothing to do")
        assert len(here.server.requests) == 1
