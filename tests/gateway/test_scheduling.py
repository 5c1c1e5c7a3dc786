"""The scheduler inside a whole gateway: files, commands on the socket, sessions, the status tree."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest
import trio
from loguru import logger

from nanobot.archive.reading import Reader
from nanobot.config.paths import places
from nanobot.config.schema import AgentDefaults, AgentsConfig, Config, GatewayConfig, HeartbeatConfig
from nanobot.control.client import Refused, ask
from nanobot.control.desk import Desk
from nanobot.gateway.app import Run, open_gateway
from nanobot.messages import Origin, Principal, Said
from nanobot.scheduler.jobs import Every, Job, JobId, Outcome
from nanobot.scheduler.runs import Runs
from nanobot.scheduler.shape import OWNER
from nanobot.scheduler.store import JobStore
from nanobot.security.ledger import Ledger
from nanobot.security.pairing import Pairing
from nanobot.supervise.status import Node
from nanobot.wire import Json, JsonObject

PATIENCE_S = 20.0


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    gateway = GatewayConfig(http=False, drain_s=0.0, heartbeat=HeartbeatConfig(enabled=False))
    agents = AgentsConfig(AgentDefaults(workspace=str(tmp_path / "workspace")))
    config, lock = Config(agents=agents, gateway=gateway), os.open(tmp_path, os.O_RDONLY)
    yield Run(config, places(tmp_path / "config.json"), {}, lock, lambda: config)
    os.close(lock)


def job(run: Run, **more: str) -> Job:
    now = int(run.clock() * 1000)
    return Job(JobId("00000001"), "greet", "say hello", Every(1000, now), OWNER, created_ms=now, **more)  # type: ignore[arg-type]


def outcomes(run: Run) -> list[Outcome]:
    runs = Runs(run.places.runs)
    try:
        return [one.outcome for one in runs.of("00000001", 100)]
    finally:
        runs.close()


def node(desk: Desk) -> Node:
    [services] = [group for group in desk.tree().children if group.name == "services"]
    return next(child for child in services.children if child.name == "cron")


async def until(fact: Callable[[], bool]) -> None:
    with trio.fail_after(PATIENCE_S):
        while not await trio.to_thread.run_sync(fact):  # noqa: ASYNC110  # files tell nobody
            await trio.sleep(0.02)


async def asked(run: Run, **request: Json) -> Json:
    return await trio.to_thread.run_sync(ask, run.places.data, {"do": "cron", **request}, PATIENCE_S)


async def test_a_job_that_was_there_before_runs_and_its_conversation_is_kept(run: Run) -> None:
    JobStore(run.places.jobs).edit(lambda _: (job(run),))
    async with open_gateway(run) as desk:
        await until(lambda: Outcome.OK in outcomes(run))
        facts = dict(node(desk).facts)
        assert facts["jobs"] == "1"
        assert facts["next"]
    live = Reader(str(run.places.journals)).live("cron:default:00000001")
    assert live is not None
    said = live.session.exchanges[0].entries[0]
    assert isinstance(said, Said)
    assert said.origin is Origin.JOB
    assert live.session.outbox == (), "what such a conversation says counts as delivered"


async def test_commands_tell_it_of_edits_and_run_jobs_now(run: Run) -> None:
    async with open_gateway(run):
        await trio.to_thread.run_sync(JobStore(run.places.jobs).edit, lambda _: (attrs.evolve(job(run), enabled=False),))
        assert await asked(run, order="changed") is None
        slot = await asked(run, order="run", id="00000001")
        assert isinstance(slot, int)
        await until(lambda: outcomes(run) == [Outcome.OK])
        refused: list[tuple[JsonObject, str]] = [
            ({"order": "run", "id": "nobody"}, "no job nobody"),
            ({"order": "dance"}, "changed or run"),
        ]
        for wrong, why in refused:
            with pytest.raises(Refused, match=why):
                await asked(run, **wrong)


async def test_a_job_of_a_channel_that_is_not_enabled_fails_and_it_is_told(run: Run) -> None:
    JobStore(run.places.jobs).edit(lambda _: (job(run, session="telegram:42"),))
    async with open_gateway(run) as desk:
        await until(lambda: Outcome.FAILED in outcomes(run))
        [notices] = [one for one in desk.tree().children if one.name == "notices"]
        assert "the channel telegram is not enabled" in str(notices.facts)


async def test_work_of_who_was_shut_out_is_not_done_any_more(run: Run) -> None:
    ann = Principal("telegram", "default", "42", "42")
    pairing = Pairing(run.places.pairing, print)
    pairing.approve(pairing.code_for(ann, run.clock()).code, run.clock())  # type: ignore[union-attr]
    JobStore(run.places.jobs).edit(lambda _: (attrs.evolve(job(run), principal=str(ann)),))
    async with open_gateway(run) as desk:
        await until(lambda: Outcome.OK in outcomes(run))
        pairing.revoke("telegram", "42", run.clock())
        await until(lambda: outcomes(run)[:2] == [Outcome.BARRED] * 2)
        [notices] = [one for one in desk.tree().children if one.name == "notices"]
        assert len(notices.facts) == 1
        assert "42 on telegram, who made it, may not speak" in str(notices.facts)


async def test_jobs_of_a_workspace_that_is_no_friend_are_marked(run: Run) -> None:
    """The ledger knows which files were written while strangers had a word in it."""
    earlier = run.places.workspace(run.config) / "cron" / "jobs.json"
    earlier.parent.mkdir(parents=True)
    row = {"id": "a", "schedule": {"kind": "every", "everyMs": 86400000}, "payload": {"message": "m"}}
    with Ledger(run.places.tainted, earlier.parents[1]).writing(earlier, tainted=True, whole=True):
        earlier.write_text(json.dumps({"version": 1, "jobs": [row]}))
    async with open_gateway(run):
        await until(lambda: [taken.tainted for taken in JobStore(run.places.jobs).read()] == [True])


async def test_who_moves_a_damaged_file_away_as_told_gets_nothing_from_where_the_assistant_writes(run: Run) -> None:
    async with open_gateway(run) as desk:
        await until(lambda: node(desk).state == "up")
    run.places.jobs.unlink()
    planted = run.places.workspace(run.config) / "cron" / "jobs.json"
    planted.parent.mkdir(parents=True)
    planted.write_text(
        json.dumps({"jobs": [{"schedule": {"kind": "every", "everyMs": 1000}, "payload": {"message": "m"}, "id": "a"}]})
    )
    async with open_gateway(run):
        await until(run.places.jobs.exists)
        assert JobStore(run.places.jobs).read() == ()


async def test_a_database_that_cannot_be_used_is_a_visible_state_and_holds_nobody_up(run: Run) -> None:
    logger.remove()  # as it is unless log.py sets it up, it prints the whole house with the error, for half a minute
    run.places.runs.parent.mkdir(parents=True)
    run.places.runs.write_text("no database at all, and long enough to be looked at as one" * 10)
    async with open_gateway(run) as desk:
        with trio.fail_after(PATIENCE_S):
            while node(desk).state != "waiting":  # noqa: ASYNC110
                await trio.sleep(0.02)
        assert "runs.db cannot be used" in node(desk).error
        with pytest.raises(Refused, match="does not run just now"):
            await asked(run, order="run", id="00000001")
