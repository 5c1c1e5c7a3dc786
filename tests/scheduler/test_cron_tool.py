"""The tool `cron` through the house: what it makes of a wish, whose a job is, and what strangers and jobs cannot do with it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest
import trio

from nanobot.agent import schedules
from nanobot.config.schema import PolicyRule, ToolsConfig
from nanobot.messages import MessageId, Origin, Principal, Said, SessionKey
from nanobot.scheduler import wishes
from nanobot.scheduler.jobs import At, Cron, Every, Job, JobId
from nanobot.scheduler.store import JobStore
from nanobot.session import events as ev
from nanobot.wire import JsonObject
from tests.agent.test_guard import FRIEND, FRIEND_AT, GROUP_AT, MEMBER, asked, from_outside, question, result, says, shown
from tests.agent.test_subagents import of_subagents, roles, spawn
from tests.fakes.daemon import nanobot, running
from tests.fakes.llm import model_server
from tests.fakes.llm_wire import Answer, Scripted, ToolCall
from tests.fakes.talk import KEY, ME, Talk, talking
from tests.tools.kit import make_kit

BERLIN = "Europe/Berlin"
LATER = "2099-01-01T09:00"
OTHER_AT, OTHER = SessionKey("telegram", "8"), Principal("telegram", "default", "8", "ann")


def cron(action: str, **more: object) -> Answer:
    return Answer("", calls=(ToolCall("cron", {"action": action, **more}),))


def add(message: str = "Stand up.", when: str = "every weekday at 9", **more: object) -> Answer:
    return cron("add", message=message, when=when, **more)


def store(tmp_path: Path) -> JobStore:
    return JobStore(tmp_path / "cron" / "jobs.json")


def only(tmp_path: Path) -> Job:
    (job,) = store(tmp_path).read()
    return job


def put(tmp_path: Path, *jobs: Job) -> None:
    store(tmp_path).edit(lambda there: (*there, *jobs))


def job(id: str, principal: Principal = ME, key: SessionKey = KEY, message: str = "Stand up.") -> Job:
    return Job(JobId(id), f"job of {principal.user}", message, Cron("0 9 * * 1-5"), str(principal), str(key))


MINE, THEIRS = job("11111111"), job("22222222", FRIEND, FRIEND_AT, "Obey Bob.")


async def done(talk: Talk, message: MessageId) -> str:
    """What the model was last shown as a result, when the turn of that message is over."""
    await talk.reply_to(message)
    return result(talk)


@attrs.define
class FakeService:
    """Remembers what it was told."""

    told: list[str] = attrs.field(factory=list)

    def changed(self) -> None:
        self.told.append("changed")

    async def run_now(self, job_id: str) -> int:
        self.told.append(f"run {job_id}")
        return 1


# --- what is made of a wish


def ms(*date: int) -> int:
    return round(datetime(*date, tzinfo=UTC).timestamp() * 1000)  # type: ignore[misc, arg-type]  # numbers, and no zone


@pytest.mark.parametrize(
    ("asked_for", "schedule"),
    [
        ({"cron_expr": "0 9 * * 1-5"}, Cron("0 9 * * 1-5")),
        ({"cron_expr": "0 9 * * 1-5", "tz": "Asia/Tokyo"}, Cron("0 9 * * 1-5", "Asia/Tokyo")),
        ({"at": LATER}, At(ms(2099, 1, 1, 8))),
        ({"at": LATER, "tz": "Asia/Tokyo"}, At(ms(2099, 1, 1, 0))),
        ({"at": "2099-01-01T09:00:00Z"}, At(ms(2099, 1, 1, 9))),
        ({"when": "2099-01-01 09:00"}, At(ms(2099, 1, 1, 8))),
    ],
    ids=str,
)
async def test_when_is_said_in_one_of_several_ways(tmp_path: Path, asked_for: dict[str, object], schedule: At | Cron) -> None:
    script: list[Scripted] = [cron("add", message="Stand up.", **asked_for), Answer("Done.")]
    async with talking(tmp_path, script, timezone=BERLIN) as talk:
        await talk.say("remind me")
    made = only(tmp_path)
    assert made.schedule == schedule
    assert made.delete_after_run is isinstance(schedule, At)


async def test_a_job_belongs_to_who_asked_and_to_the_chat(tmp_path: Path) -> None:
    script: list[Scripted] = [add(name="Standup", catch_up="all", tz=BERLIN), Answer("Done.")]
    async with talking(tmp_path, script) as talk:
        await talk.say("remind me")
        told = result(talk)
    made = only(tmp_path)
    assert (made.name, made.message, made.principal, made.session) == ("Standup", "Stand up.", str(ME), str(KEY))
    assert (made.catch_up, made.tainted, made.enabled) == ("all", False, True)
    assert told.startswith(f"Made: job {made.id} (Standup), ")
    assert len([line for line in told.splitlines() if line.startswith("- ") and "09:00" in line]) == 5
    assert schedules.NO_GATEWAY in told


async def test_an_interval_counts_from_now(tmp_path: Path) -> None:
    async with talking(tmp_path, [cron("add", message="x", every_seconds=600), Answer("Done.")]) as talk:
        before = time.time()
        await talk.say("remind me")
    match only(tmp_path).schedule:
        case Every(every_ms, anchor_ms):
            assert every_ms == 600_000
            assert before <= anchor_ms / 1000 <= time.time()
        case other:
            pytest.fail(str(other))


@pytest.mark.parametrize(
    ("call", "says_what"),
    [
        (cron("add", message="x"), "say when"),
        (cron("add", message="x", when="every day at 9", at=LATER), "in one way, not in 2 (when, at)"),
        (cron("add", message="x", tz=BERLIN), "a time zone alone"),
        (cron("add", when="every day at 9"), "needs a message"),
        (cron("add", message=" ", when="every day at 9"), "needs a message"),
        (cron("add", message="x" * 8001, when="every day at 9"), "1 to 8,000 characters"),
        (cron("add", message="x\u202e", when="every day at 9"), "a sign that does not show"),
        (cron("add", message="x", cron_expr="61 * * * *"), "'61 * * * *'"),
        (cron("add", message="x", cron_expr="0 0 31 2 *"), "no such day"),
        (cron("add", message="x", cron_expr="0 9 * * *", tz="Europe/Belrin"), "Europe/Berlin"),
        (cron("add", message="x", at="2001-01-01T09:00"), "2001"),
        (cron("add", message="x", at="every day at 9"), "is no time"),
        (cron("add", message="x", when="now and then"), "now and then"),
        (cron("add", message="x", every_seconds=0), "at least 1"),
        (cron("add", message="x", when="every day at 9", to="telegram"), "to: "),
        (cron("add", message="x", when="every day at 9", to="cron:1"), "cron:1 is no chat"),
        (cron("remove"), "remove needs job_id"),
        (cron("enable", job_id="ffffffff"), "there is no job 'ffffffff'"),
        (cron("fly"), "'action' must be one of add, list, update"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_cannot_be_is_said_in_plain_words_and_nothing_is_made(tmp_path: Path, call: Answer, says_what: str) -> None:
    async with talking(tmp_path, [call, Answer("I see.")]) as talk:
        await talk.say("do it")
        assert "Error: " in result(talk)
        assert says_what in result(talk)
    assert store(tmp_path).read() == ()


async def test_one_person_has_not_more_than_so_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wishes, "MOST_OF_ONE", 1)
    put(tmp_path, THEIRS)
    async with talking(tmp_path, [add(), Answer("one"), add(), Answer("no")]) as talk:
        await talk.say("one")
        await talk.say("two")
        assert "1 jobs are as many as one person may have" in result(talk)
    assert len(store(tmp_path).read()) == 2


async def test_a_damaged_file_is_said_and_left_alone(tmp_path: Path) -> None:
    file = store(tmp_path).path
    file.parent.mkdir()
    file.write_text("{oops")
    async with talking(tmp_path, [cron("list"), add(), Answer("I see.")]) as talk:
        await talk.say("do it")
        assert all("damaged" in result(talk, call) for call in (-2, -1))
    assert file.read_text() == "{oops"


async def test_where_there_is_no_way_to_it_that_is_said(tmp_path: Path) -> None:
    kit = make_kit(tmp_path)
    assert "nothing can be scheduled from here" in await kit.refused("cron", action="list")


# --- seen and changed


async def test_a_job_is_listed_changed_paused_and_removed(tmp_path: Path) -> None:
    put(tmp_path, MINE)
    calls = [
        cron("list"),
        cron("update", job_id=MINE.id, when="every day at 10", message="Sit down."),
        cron("update", job_id=MINE.id, name="Sitting"),
        cron("disable", job_id="sitting"),
        cron("list"),
        cron("enable", job_id=MINE.id),
        cron("remove", job_id=MINE.id),
        cron("list"),
    ]
    service = FakeService()
    async with talking(tmp_path, [*calls, Answer("Done.")]) as talk:
        talk.house.jobs.service = service
        await talk.say("do all that")
        results = [result(talk, at) for at in range(-len(calls), 0)]
    assert results[0].startswith(f"- job {MINE.id} (job of me), ")
    assert results[0].endswith("\n    Stand up.")
    assert "in this chat: next " in results[0]
    assert results[1].count("10:00") >= 5
    assert f"Changed: job {MINE.id} (Sitting), " in results[2]
    assert results[3].endswith("is off until it is enabled.")
    assert ": off" in results[4]
    assert "Sit down." in results[4]
    assert results[5].count("10:00") >= 5
    assert results[6].startswith(f"Removed: job {MINE.id}")
    assert results[7] == "There are no jobs."
    assert service.told == ["changed"] * 5
    assert all(schedules.NO_GATEWAY not in text for text in results)


async def test_a_change_of_other_things_leaves_when_it_is_due(tmp_path: Path) -> None:
    every = attrs.evolve(MINE, schedule=Every(60_000, 1_000))
    put(tmp_path, every)
    async with talking(tmp_path, [cron("update", job_id=MINE.id, message="Sit down."), Answer("Done.")]) as talk:
        await talk.say("change it")
    assert only(tmp_path).schedule == every.schedule


async def test_it_is_run_at_once_by_the_gateway_and_by_nobody_else(tmp_path: Path) -> None:
    put(tmp_path, MINE)
    service = FakeService()
    now = cron("run_now", job_id=MINE.id)
    async with talking(tmp_path, [now, Answer("no"), now, Answer("yes")]) as talk:
        await talk.say("now")
        assert schedules.NO_GATEWAY in result(talk)
        talk.house.jobs.service = service
        await talk.say("now")
        assert "runs as soon as its chat is free" in result(talk)
    assert service.told == [f"run {MINE.id}"]


async def test_a_list_ends_somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "MOST_LISTED", 1)
    put(tmp_path, attrs.evolve(MINE, message="x" * 1000), attrs.evolve(MINE, id=JobId("33333333"), created_ms=2**41))
    async with talking(tmp_path, [cron("list"), Answer("Done.")]) as talk:
        await talk.say("which?")
        assert "33333333" in result(talk)
        assert result(talk).endswith("1 older ones are not shown: nanobot cron list")


# --- whose it is


async def test_others_see_and_change_only_their_own(tmp_path: Path) -> None:
    put(tmp_path, MINE, THEIRS)
    calls = [cron("list"), *(cron(action, job_id=MINE.id) for action in ("remove", "disable", "run_now"))]
    calls += [cron("update", job_id=MINE.id, message="Obey."), cron("update", job_id=THEIRS.id, message="Good."), add("Mine.")]
    async with talking(tmp_path, [*calls, Answer("Done.")]) as talk:
        await done(talk, await says(talk, "do all that"))
        results = [result(talk, at) for at in range(-len(calls), 0)]
    assert (THEIRS.id in results[0], MINE.id in results[0]) == (True, False)
    assert all(f"there is no job '{MINE.id}'" in text for text in results[1:5])
    kept, changed, made = store(tmp_path).read()
    assert kept == attrs.evolve(MINE, created_ms=kept.created_ms, updated_ms=kept.updated_ms)
    assert (changed.message, changed.principal) == ("Good.", str(FRIEND))
    assert (made.principal, made.session) == (str(FRIEND), str(FRIEND_AT))


async def test_the_owner_sees_and_changes_all_and_what_others_worded_is_text_of_strangers(tmp_path: Path) -> None:
    put(tmp_path, THEIRS)
    script: list[Scripted] = [cron("list"), Answer("One, of Bob."), cron("remove", job_id=THEIRS.id), Answer("asked")]
    async with talking(tmp_path, script) as talk:
        await talk.say("which are there?")
        assert "Obey Bob." in result(talk)
        assert "made by telegram:bob" in result(talk)
        await talk.say("away with it")
        assert f"job {THEIRS.id} (job of bob)" in question(talk).text, "the conversation holds Bob's words now"
        assert "Text of strangers" in question(talk).text
    assert only(tmp_path).id == THEIRS.id


async def test_a_list_of_ones_own_leaves_the_conversation_clean(tmp_path: Path) -> None:
    put(tmp_path, MINE)
    async with talking(tmp_path, [cron("list"), cron("remove", job_id=MINE.id), Answer("Gone.")]) as talk:
        assert (await talk.say("away with it")).text == "Gone."
    assert store(tmp_path).read() == ()


async def test_a_change_of_the_owners_leaves_a_job_its_makers(tmp_path: Path) -> None:
    put(tmp_path, attrs.evolve(THEIRS, tainted=True))
    script: list[Scripted] = [cron("update", job_id=THEIRS.id, when="every day at 7", to=FRIEND_AT.short), Answer("Done.")]
    async with talking(tmp_path, script) as talk:
        await talk.say("earlier")
    now = only(tmp_path)
    assert (now.principal, now.tainted, now.message) == (str(FRIEND), True, THEIRS.message)


async def test_a_job_that_is_worded_anew_is_clean_again_with_its_name(tmp_path: Path) -> None:
    put(tmp_path, attrs.evolve(MINE, tainted=True, name="Obey me"))
    async with talking(tmp_path, [cron("update", job_id=MINE.id, message="Sit down."), Answer("Done.")]) as talk:
        await talk.say("say it otherwise")
    now = only(tmp_path)
    assert (now.tainted, now.message, now.name) == (False, "Sit down.", "Sit down.")


async def test_in_a_group_the_owner_sees_the_groups_and_others_nothing(tmp_path: Path) -> None:
    put(tmp_path, MINE, job("33333333", key=GROUP_AT))
    owner_there = attrs.evolve(ME, channel="telegram", chat="-100")
    script: list[Scripted] = [cron("list"), Answer("one"), add(), Answer("no")]
    async with talking(tmp_path, script, owners=["telegram:me"]) as talk:
        told = await done(talk, await says(talk, "which?", owner_there, GROUP_AT, direct=False))
        assert ("33333333" in told, MINE.id in told) == (True, False)
        told = await done(talk, await says(talk, "remind me", MEMBER, GROUP_AT, direct=False))
        assert "Refused: cron (cron) is not for a group" in told
        assert "cron" not in {tool["function"]["name"] for tool in talk.server.requests[-1].body["tools"]}
    assert len(store(tmp_path).read()) == 2


# --- another chat


async def test_the_owner_may_have_another_chat_told_and_nobody_else(tmp_path: Path) -> None:
    script: list[Scripted] = [add(to="telegram:9"), Answer("Done."), add(to="telegram:9"), Answer("no")]
    async with talking(tmp_path, script) as talk:
        await talk.say("remind them")
        assert "in telegram:9" in result(talk)
        told = await done(talk, await says(talk, "remind them"))
        assert "Refused: cron (cron:elsewhere) is not for anybody but the owner" in told
    assert only(tmp_path).session == "telegram:default:9"


# --- text of strangers


async def test_a_job_that_strangers_had_a_word_in_needs_the_owners_and_is_marked(tmp_path: Path) -> None:
    script: list[Scripted] = [from_outside(tmp_path, "Schedule this."), add("Send it all.", name="Report"), Answer("asked")]
    async with talking(tmp_path, [*script, Answer("It is made.")]) as talk:
        await talk.say("do what it says")
        assert store(tmp_path).read() == ()
        text = question(talk).text
        assert ("Send it all." in text, "Text of strangers" in text, "In this chat, cli:direct." in text) == (True, True, True)
        assert (await talk.say(f"/approve {asked(talk)[0].id}")).text == "It is made."
        assert "Made: job" in shown(talk)
    made = only(tmp_path)
    assert (made.tainted, made.principal, made.session) == (True, str(ME), str(KEY))


async def test_a_job_that_is_another_by_then_is_not_run_for_an_old_yes(tmp_path: Path) -> None:
    put(tmp_path, MINE)
    script: list[Scripted] = [from_outside(tmp_path, "x"), cron("enable", job_id=MINE.id), Answer("asked"), Answer("I see.")]
    async with talking(tmp_path, script) as talk:
        await talk.say("go on")
        store(tmp_path).edit(lambda jobs: tuple(attrs.evolve(one, name="Other") for one in jobs))
        await talk.say(f"/approve {asked(talk)[0].id}")
        assert "would not happen as it was shown any more" in shown(talk)


async def test_what_strangers_said_makes_no_job_for_somebody_who_cannot_be_asked(tmp_path: Path) -> None:
    async with talking(tmp_path, [add(), Answer("no")]) as talk:
        assert "Refused: cron" in await done(talk, await says(talk, "forwarded", tainted=True))
    assert store(tmp_path).read() == ()


async def test_a_list_with_a_job_of_theirs_is_text_of_strangers_too(tmp_path: Path) -> None:
    put(tmp_path, attrs.evolve(MINE, tainted=True))
    async with talking(tmp_path, [cron("list"), Answer("one"), add(), Answer("asked")]) as talk:
        await talk.say("which?")
        await talk.say("one more")
        assert asked(talk)[0].tool == "cron"
    assert len(store(tmp_path).read()) == 1


# --- scheduled work and subagents


async def due(talk: Talk, principal: Principal = ME, key: SessionKey = KEY) -> str:
    """A job is due; what its turn's last call came to."""
    message = MessageId(f"job:{MINE.id}:1")
    said = Said(message, "Do it.", time.time(), str(principal), origin=Origin.JOB)
    await talk.house.registry.deliver(key, ev.Received(said))
    return await done(talk, message)


@pytest.mark.parametrize("rules", [(), (PolicyRule("cron*", decision="allow"),)], ids=["table", "allowed by a rule"])
async def test_a_job_makes_no_jobs_whatever_the_policy_says(tmp_path: Path, rules: tuple[PolicyRule, ...]) -> None:
    put(tmp_path, MINE)
    calls = [add(), add(to="telegram:9"), cron("remove", job_id=MINE.id), cron("run_now", job_id=MINE.id)]
    async with talking(tmp_path, [*calls, Answer("no")]) as talk:
        await talk.house.reconfigure(attrs.evolve(talk.config, tools=ToolsConfig(policy=rules)))
        await due(talk)
        word = "scheduled work cannot make or change jobs" if rules else "is not for scheduled work"
        assert all(word in result(talk, at) for at in range(-len(calls), 0))
    assert only(tmp_path).id == MINE.id


async def test_a_job_may_look_at_jobs_so_that_its_tools_are_those_of_the_chat(tmp_path: Path) -> None:
    """Another list of tools would be another prompt, and nothing of it would come from the cache."""
    put(tmp_path, MINE)
    async with talking(tmp_path, [Answer("hello"), cron("list"), Answer("one")]) as talk:
        await talk.say("hi")
        assert MINE.id in await due(talk)
        by_hand, by_job = (asked.body["tools"] for asked in talk.server.requests[:2])
        assert by_hand == by_job


async def test_a_job_of_somebody_may_no_more_than_they_may(tmp_path: Path) -> None:
    """Scheduled work of the owner may write files. A friend cannot get that by waiting."""
    write = Answer("", calls=(ToolCall("write_file", {"path": "made", "content": ""}),))
    async with talking(tmp_path, [write, Answer("no"), write, Answer("yes")]) as talk:
        assert "Refused: write_file" in await due(talk, FRIEND, FRIEND_AT)
        assert "write_file" not in {tool["function"]["name"] for tool in talk.server.requests[0].body["tools"]}
        assert not (tmp_path / "workspace" / "made").exists()
        await due(talk)
    assert (tmp_path / "workspace" / "made").exists()


async def test_a_subagent_has_it_not(tmp_path: Path) -> None:
    script = roles([Answer("", calls=(spawn("schedule"),)), Answer("ok")], [add(), Answer("could not")])
    async with talking(tmp_path, script) as talk:
        await talk.say("go")
        assert "There is no tool 'cron'" in of_subagents(talk)[1].results[0]
    assert store(tmp_path).read() == ()


# --- with a gateway


async def test_from_a_wish_in_a_chat_to_its_answer_there(tmp_path: Path) -> None:
    """The whole daemon: the terminal asks, the tool makes a job, the scheduler says it, and the chat has the answer."""

    def speak() -> list[str]:
        with running(tmp_path, {"agents": agents, "providers": {"openai": {"apiKey": "k", "apiBase": server.base}}}):
            told = nanobot("chat", "-m", "remind me in a second", folder=tmp_path)
            assert told.stdout.strip() == "I will.", told.stderr
            until = time.monotonic() + 20
            while len(texts := list(read_back())) < 4 or store(tmp_path).read():  # a job for once is taken out
                assert time.monotonic() < until, texts
            return texts

    def read_back() -> Iterator[str]:
        shown = nanobot("sessions", "show", "cli:direct", "--json", folder=tmp_path).stdout
        for exchange in json.loads(shown)["exchanges"]:
            yield from (entry["text"] for entry in exchange["entries"] if entry.get("text"))

    agents: JsonObject = {"defaults": {"provider": "openai", "model": "m"}}
    async with model_server([add("Time to stand up!", "in 1 second"), Answer("I will."), Answer("Stand up.")]) as server:
        texts = await trio.to_thread.run_sync(speak)
        assert texts[0] == "remind me in a second"
        assert texts[1] == "I will."
        assert "Time to stand up!" in texts[2]
        assert texts[3] == "Stand up."
        results = server.requests[1].results
        assert schedules.NO_GATEWAY not in results[0]
