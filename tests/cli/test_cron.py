"""`nanobot cron`: with and without a gateway, for people and for programs."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from nanobot.cli.cron_jobs import NOT_RUNNING
from nanobot.cli.texts import when
from nanobot.errors import NanobotError
from nanobot.scheduler.jobs import At, Cron, Every, Job, JobId, Outcome, Run, Slot
from nanobot.scheduler.runs import Head, Runs
from nanobot.scheduler.shape import OWNER
from nanobot.scheduler.store import JobStore
from nanobot.wire import JsonObject
from tests.cli.command import CommandLine, Ended, process
from tests.cli.test_entry import HEAVY, imported
from tests.fakes.daemon import nanobot as daemon_command
from tests.fakes.daemon import running
from tests.fakes.gateway import FakeGateway, listening

DUE = 1_790_000_000_000
PLANTS = Job(
    JobId("11111111"),
    "Plants",
    "Water\nthem\x1b[2J",
    Cron("0 9 * * 1-5", "Europe/Berlin"),
    OWNER,
    "telegram:default:42",
    created_ms=1,
)
ROUND = Job(JobId("22222222"), "Round", "Look around", Every(60_000, 1_000), OWNER, created_ms=2)
LOOK = Run(JobId("22222222"), Slot(DUE), Outcome.OK, DUE, DUE, DUE + 12_000, 3412, session="cron:default:22222222")
RUNS = [
    attrs.evolve(
        LOOK, slot=Slot(DUE - 60_000), due_ms=DUE - 60_000, outcome=Outcome.MISSED, started_ms=None, ended_ms=None, tokens=0
    ),
    LOOK,
    attrs.evolve(LOOK, slot=Slot(DUE + 1), due_ms=DUE + 60_000, outcome=Outcome.FAILED, error="no\nkey", by_hand=True, tokens=0),
]


def data(nanobot: CommandLine) -> Path:
    return nanobot.home / ".nanobot"


def store(nanobot: CommandLine) -> JobStore:
    return JobStore(data(nanobot) / "cron" / "jobs.json")


def put(nanobot: CommandLine, *jobs: Job) -> None:
    store(nanobot).edit(lambda there: (*there, *jobs))


def ran(nanobot: CommandLine, runs: list[Run]) -> None:
    database = Runs(data(nanobot) / "cron" / "runs.db")
    database.settle({run.job: Head(Slot(0)) for run in runs}, (), 0)
    database.commit(runs, {})
    database.close()


def configured(nanobot: CommandLine, **sections: JsonObject) -> None:
    data(nanobot).mkdir(mode=0o700, exist_ok=True)
    (data(nanobot) / "config.json").write_text(json.dumps({"configVersion": 1, **sections}))


def only(nanobot: CommandLine) -> Job:
    (job,) = store(nanobot).read()
    return job


def files(nanobot: CommandLine) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in data(nanobot).rglob("*") if path.is_file()}


# --- add


@pytest.mark.parametrize(
    ("words", "schedule"),
    [
        (["every weekday at 9"], Cron("0 9 * * 1-5")),
        (["every", "weekday", "at", "9"], Cron("0 9 * * 1-5")),
        (["--cron", "0 9 * * 1-5", "--tz", "Asia/Tokyo"], Cron("0 9 * * 1-5", "Asia/Tokyo")),
        (["-c", "@daily"], Cron("@daily")),
        (["--at", "2099-01-01T09:00"], At(4_070_937_600_000)),
        (["2099-01-01 09:00", "--tz", "UTC"], At(4_070_941_200_000)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_when_is_said_in_one_of_several_ways(nanobot: CommandLine, words: list[str], schedule: Cron | At) -> None:
    configured(nanobot, agents={"defaults": {"timezone": "Europe/Berlin"}})
    ended = nanobot("cron", "add", *words, "-m", "Stand up.", "--to", "telegram:42")
    made = only(nanobot)
    assert (ended.code, ended.err) == (0, f"{NOT_RUNNING}\n")
    assert (made.schedule, made.message, made.session, made.principal) == (schedule, "Stand up.", "telegram:default:42", OWNER)
    head, *coming = ended.out.splitlines()
    assert head.startswith(f"{made.id}  Stand up.: ")
    assert coming[0].startswith("next ")
    assert len(coming) == (1 if isinstance(schedule, At) else 5)
    assert made.delete_after_run is isinstance(schedule, At)


def test_the_options_of_the_older_command(nanobot: CommandLine) -> None:
    ended = nanobot("cron", "add", "-n", "Round", "-m", "Look", "-e", "600", "-d", "--to", "42", "--channel", "telegram")
    made = only(nanobot)
    assert (ended.code, made.name, made.session) == (0, "Round", "telegram:default:42")
    assert isinstance(made.schedule, Every)
    assert made.schedule.every_ms == 600_000
    assert nanobot("cron", "enable", made.id, "--disable").code == 0
    assert not only(nanobot).enabled
    assert made.id in nanobot("cron", "list", "-a").out
    assert nanobot("cron", "remove", made.id).code == 0
    assert store(nanobot).read() == ()


@pytest.mark.parametrize(
    ("options", "session"),
    [([], "telegram:default:7"), (["-d"], "telegram:default:7"), (["--no-deliver"], ""), (["--to", "web:a"], "web:default:a")],
    ids=str,
)
def test_who_is_told(nanobot: CommandLine, options: list[str], session: str) -> None:
    configured(nanobot, gateway={"notify": "telegram:7"})
    ended = nanobot("cron", "add", "every day at 9", "-m", "x", *options)
    assert only(nanobot).session == session
    assert ("Its answers are told nowhere" in ended.out) is (session == "")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "say when: in words"),
        (["every day at 9", "--at", "2099-01-01T09:00"], "say when in one way, not in 2 (when, at)"),
        (["-c", "61 * * * *"], "'61 * * * *'"),
        (["-c", "0 9 * * *", "--tz", "Europe/Belrin"], "Europe/Berlin"),
        (["--at", "2001-01-01T09:00"], "2001"),
        (["now", "and", "then"], "now and then"),
        (["-e", "0"], "an interval has at least 1 s"),
        (["-e", "often"], '"often"'),
        (["every day at 9", "--channel", "telegram"], "--channel needs the chat, too"),
        (["every day at 9", "--to", "telegram"], "--to: "),
        (["every day at 9", "--to", "heartbeat:x"], "heartbeat:x is no chat"),
        (["every day at 9", "-d"], "--deliver where? Say --to CHANNEL:CHAT, or set gateway.notify"),
        (["every day at 9", "--no-deliver", "--to", "telegram:7"], "exclude each other"),
        (["every day at 9", "--horizon", "-1"], "0 or more"),
        (["every day at 9", "-m", " "], "a job needs a message"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_said_in_plain_words_and_nothing_is_made(nanobot: CommandLine, options: list[str], says: str) -> None:
    message = [] if "-m" in options else ["-m", "x"]
    ended = nanobot("cron", "add", *options, *message)
    assert (ended.code, ended.out) == (2, "")
    assert says in ended.err
    assert store(nanobot).read() == ()


def test_there_are_not_more_than_the_configuration_says(nanobot: CommandLine) -> None:
    configured(nanobot, gateway={"cron": {"mostJobs": 1}})
    put(nanobot, ROUND)
    ended = nanobot("cron", "add", "every day at 9", "-m", "x")
    assert (ended.code, "gateway.cron.mostJobs" in ended.err) == (1, True)


# --- for programs


def test_as_json(nanobot: CommandLine) -> None:
    configured(nanobot, agents={"defaults": {"timezone": "UTC"}})
    limits = ["--catch-up", "all", "--horizon", "60", "--deadline", "5.5", "--tokens", "0"]
    made = json.loads(nanobot("cron", "add", "every day at 9", "-m", "Stand up.", "--to", "telegram:42", *limits, "--json").out)
    assert len(made.pop("next")) == 5
    assert made.pop("createdAt") == made.pop("updatedAt") > 1_700_000_000
    assert made == {
        "id": only(nanobot).id,
        "name": "Stand up.",
        "message": "Stand up.",
        "enabled": True,
        "schedule": {"kind": "cron", "expr": "0 9 * * *", "tz": "UTC"},
        "words": made["words"],
        "last": None,
        "chat": "telegram:42",
        "principal": OWNER,
        "tainted": False,
        "deleteAfterRun": False,
        "catchUp": "all",
        "horizonS": 60,
        "deadlineS": 5.5,
        "tokens": 0,
    }
    edited = json.loads(nanobot("cron", "edit", made["id"], "--at", "2099-01-01T09:00", "--json").out)
    assert (edited["schedule"], edited["next"]) == ({"kind": "at", "at": 4_070_941_200.0}, [4_070_941_200.0])
    assert edited["deleteAfterRun"]


def test_what_became_of_runs_as_json(nanobot: CommandLine) -> None:
    put(nanobot, PLANTS, ROUND)
    ran(nanobot, RUNS)
    told = json.loads(nanobot("cron", "history", "--json").out)
    assert [(run["outcome"], run["seconds"], run["byHand"]) for run in told] == [
        ("failed", 12.0, True),
        ("ok", 12.0, False),
        ("skipped: missed", None, False),
    ]
    ok = {"at": DUE / 1000, "startedAt": DUE / 1000, "endedAt": DUE / 1000 + 12, "tokens": 3412, "error": ""}
    assert told[1] == {"job": ROUND.id, "session": "cron:22222222", "outcome": "ok", "seconds": 12.0, "byHand": False, **ok}
    plants, around = json.loads(nanobot("cron", "list", "--json").out)
    assert (plants["last"], around["last"]["outcome"]) == (None, "failed")
    assert json.loads(nanobot("cron", "show", "Round", "--json").out)["schedule"] == {
        "kind": "every",
        "everySeconds": 60.0,
        "from": 1.0,
    }


# --- looking


def test_before_there_is_anything(nanobot: CommandLine) -> None:
    assert nanobot("cron", "list").out.startswith("There are no jobs. To make one: nanobot cron add")
    assert json.loads(nanobot("cron", "list", "--json").out) == []
    assert nanobot("cron", "history").out == "Nothing has run yet.\n"
    assert not data(nanobot).exists()


def test_the_list(nanobot: CommandLine) -> None:
    once = attrs.evolve(ROUND, id=JobId("33333333"), schedule=At(1), created_ms=3)
    put(nanobot, attrs.evolve(ROUND, enabled=False), PLANTS, once, attrs.evolve(once, id=JobId("44444444"), created_ms=4))
    ran(nanobot, [*RUNS, attrs.evolve(LOOK, job=JobId("44444444"))])
    first, second, third, fourth = nanobot("cron", "list").out.splitlines()
    assert re.match(r"11111111  Plants  every weekday at 09:00 \(Europe/Berlin\) +next .*09:00 CES?T$", first)
    assert re.match(rf"22222222  Round +every minute +off +last failed, {when(DUE / 1000 + 60)}$", second)
    assert third.endswith("  was due, and has not run yet")
    assert re.match(rf"44444444 .*  never due again +last ok, {when(DUE / 1000)}$", fourth)


def test_all_of_a_job(nanobot: CommandLine) -> None:
    put(nanobot, attrs.evolve(PLANTS, tainted=True), attrs.evolve(ROUND, catch_up="skip", tokens=0))
    ran(nanobot, RUNS)
    lines = nanobot("cron", "show", "plants").out.splitlines()
    assert lines[0] == "11111111  Plants"
    assert lines[2:6] == [
        "chat      telegram:42",
        "made by   the terminal, while text of strangers stood in the conversation",
        "state     on",
        "missed    made up for once, if not more than 24 h ago",
    ]
    assert lines[6] == "limits    30 min, 500,000 tokens"
    assert [line[:10] for line in lines[7:12]] == ["next      ", *[" " * 10] * 4]
    assert lines[12:] == ["", "    Water", "    them\\x1b[2J"]
    around = nanobot("cron", "show", "22222222").out
    assert "none: it answers nowhere, see nanobot sessions show cron:22222222" in around
    assert "missed    skipped\nlimits    30 min, any number of tokens\n" in around
    assert f"run       {when(DUE / 1000)}  ok               12 s    3,412 tokens\n" in around


def test_what_became_of_runs(nanobot: CommandLine) -> None:
    put(nanobot, PLANTS, ROUND)
    ran(nanobot, RUNS)
    lines = nanobot("cron", "history", "round").out.splitlines()
    assert [re.sub(" +", " ", line) for line in lines] == [
        f"{when(DUE / 1000 + 60)} failed 12 s by hand no key",
        f"{when(DUE / 1000)} ok 12 s 3,412 tokens",
        f"{when(DUE / 1000 - 60)} skipped: missed",
    ]
    assert nanobot("cron", "history", "-n", "1").out == f"22222222  {lines[0]}\n"
    nanobot("cron", "remove", ROUND.id)
    assert nanobot("cron", "history", ROUND.id).out.splitlines() == lines, "its history stays"
    assert len(nanobot("cron", "history").out.splitlines()) == len(lines), "among those of all others, too"


def test_looking_changes_nothing(nanobot: CommandLine) -> None:
    put(nanobot, PLANTS, ROUND)
    ran(nanobot, RUNS)
    before = files(nanobot)
    for words in (["list"], ["show", "Round"], ["history"]):
        assert nanobot("cron", *words).code == 0
    assert files(nanobot) == before


# --- changing


def test_an_edit_changes_what_it_says_and_nothing_else(nanobot: CommandLine) -> None:
    put(nanobot, ROUND)
    made = only(nanobot)
    ended = nanobot("cron", "edit", "round", "--message", "Look well", "--to", "telegram:42")
    now = only(nanobot)
    assert ended.code == 0
    assert now == attrs.evolve(made, message="Look well", session="telegram:default:42", updated_ms=now.updated_ms)
    nanobot("cron", "edit", "round", "every", "day", "at", "9", "--no-deliver", "-n", "Daily")
    assert (only(nanobot).name, only(nanobot).session) == ("Daily", "")
    nothing = nanobot("cron", "edit", "daily")
    assert (nothing.code, nothing.err) == (2, "Change what? See: nanobot cron edit --help\n")


def test_a_name_that_two_have_is_not_guessed(nanobot: CommandLine) -> None:
    put(nanobot, ROUND, attrs.evolve(ROUND, id=JobId("33333333")))
    ended = nanobot("cron", "remove", "Round")
    assert (ended.code, "name one by its id: 22222222, 33333333" in ended.err) == (1, True)
    assert len(store(nanobot).read()) == 2


@pytest.mark.parametrize("command", ["show", "edit", "remove", "enable", "disable", "run", "history"])
def test_there_is_no_such_job(nanobot: CommandLine, command: str) -> None:
    ended = nanobot("cron", command, "ffffffff", *(["-m", "x"] if command == "edit" else []))
    assert (ended.code, ended.err) == (1, "there is no job 'ffffffff'\n")


def test_a_damaged_file_is_said_and_left_alone(nanobot: CommandLine) -> None:
    put(nanobot, ROUND)
    store(nanobot).path.write_text("{oops")
    for words in (["list"], ["add", "every day at 9", "-m", "x"], ["remove", "Round"]):
        ended = nanobot("cron", *words)
        assert (ended.code, "is damaged" in ended.err) == (1, True)
    assert store(nanobot).path.read_text() == "{oops"


def test_a_damaged_history_hides_no_jobs(nanobot: CommandLine) -> None:
    put(nanobot, PLANTS)
    ran(nanobot, [])
    (data(nanobot) / "cron" / "runs.db").write_text("no database at all" * 100)
    for words in (["list"], ["show", "Plants"]):
        said = nanobot("cron", *words)
        assert (said.code, "Plants" in said.out) == (0, True)
        assert "runs.db cannot be used" in said.err


def test_entries_that_are_no_jobs_are_said(nanobot: CommandLine) -> None:
    put(nanobot, ROUND)
    file = store(nanobot).path
    file.write_text(file.read_text().replace('"everyMs": 60000', '"everyMs": 0'))
    ended = nanobot("cron", "list")
    assert "warning: " in ended.err
    assert "entry 1 is left out" in ended.err


# --- the gateway


@pytest.mark.parametrize(
    "words",
    [
        ["add", "every day at 9", "-m", "x"],
        ["edit", "Round", "-n", "y"],
        ["enable", "Round"],
        ["disable", "Round"],
        ["remove", "Round"],
    ],
    ids=lambda words: str(words[0]),
)
def test_a_gateway_that_runs_is_told(nanobot: CommandLine, words: list[str]) -> None:
    put(nanobot, ROUND)
    with listening(data(nanobot), FakeGateway()) as gateway:
        ended = nanobot("cron", *words)
    assert (ended.code, ended.err, gateway.asked) == (0, "", ["jobs_changed"])


def test_a_job_is_run_by_the_gateway(nanobot: CommandLine) -> None:
    put(nanobot, ROUND, attrs.evolve(PLANTS, enabled=False))
    alone = nanobot("cron", "run", "Round")
    assert (alone.code, alone.err) == (1, "The gateway is not running. Start it: nanobot gateway\n")
    with listening(data(nanobot), FakeGateway()) as gateway:
        assert nanobot("cron", "run", "Round").code == 0
        off = nanobot("cron", "run", "Plants")
        forced = nanobot("cron", "run", "Plants", "-f")
    assert (off.code, "nanobot cron run 11111111 --force" in off.err, forced.code) == (1, True, 0)
    assert gateway.asked == ["run_job 22222222", "run_job 11111111"]


def test_what_the_gateway_refuses(nanobot: CommandLine) -> None:
    put(nanobot, ROUND)
    with listening(data(nanobot), FakeGateway(error=NanobotError("It runs already."))):
        ended = nanobot("cron", "run", "Round")
    assert (ended.code, ended.err) == (1, "It runs already.\n")


def test_as_a_process(tmp_path: Path) -> None:
    def run(*words: str) -> Ended:
        return process("cron", *words, home=tmp_path)

    made = run("add", "in", "20", "minutes", "-m", "Call the dentist", "--json")
    assert made.code == 0
    assert "Call the dentist" in run("list").out
    assert run("add", "-m", "x").code == 2


def test_with_a_gateway_that_runs(tmp_path: Path) -> None:
    """From the command to the service and back."""

    def until(fact: Callable[[str], bool], *words: str) -> str:
        ends = time.monotonic() + 20
        while not fact(out := daemon_command("cron", *words, folder=tmp_path).stdout):
            assert time.monotonic() < ends, out
        return out

    with running(tmp_path) as daemon:
        made = daemon_command("cron", "add", "every", "day", "at", "9", "-m", "hi", "-n", "Daily", folder=tmp_path)
        assert (made.returncode, made.stderr) == (0, "")
        assert daemon_command("cron", "run", "Daily", folder=tmp_path).returncode == 0
        (run,) = json.loads(until(lambda out: '"outcome": "ok"' in out, "history", "--json"))
        assert run["byHand"]
        daemon_command("cron", "add", "in 1 second", "-m", "hi", "-n", "Soon", folder=tmp_path)
        until(lambda out: "Soon" not in out, "list")
        assert daemon.status()["state"] == "up"


def test_looking_loads_nothing_heavy(tmp_path: Path) -> None:
    assert HEAVY.isdisjoint(imported("cron", "list", home=tmp_path))
