"""The file of jobs: taken as HKUDS/nanobot wrote it, edited by several at once, never lost by a mistake in it."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from nanobot.errors import StoreUnusable
from nanobot.scheduler import store as store_module
from nanobot.scheduler.jobs import At, Cron, Every, Job, JobId, Outcome, Slot
from nanobot.scheduler.shape import OWNER, BadJob, State
from nanobot.scheduler.slots import BadSchedule
from nanobot.scheduler.store import JobsDamaged, JobStore
from nanobot.wire import Json, JsonObject
from tests.scheduler.scene import T0, T0_MS, job

THEIRS: JsonObject = {
    "version": 1,
    "jobs": [
        {
            "id": "1a2b3c4d",
            "name": "Morning news",
            "enabled": True,
            "schedule": {"kind": "cron", "atMs": None, "everyMs": None, "expr": "0 7 * * *", "tz": "Europe/Berlin"},
            "payload": {"kind": "agent_turn", "message": "read it", "deliver": True, "channel": "telegram", "to": "42"},
            "state": {"nextRunAtMs": 5, "lastRunAtMs": T0_MS - 1, "lastStatus": "ok", "lastError": None},
            "createdAtMs": 1_700_000_000_000,
            "updatedAtMs": 1_700_000_000_001,
            "deleteAfterRun": False,
        }
    ],
}
"""As the program of which ours takes the place writes it."""


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(tmp_path / "cron" / "jobs.json", clock=lambda: T0)


def write(store: JobStore, root: Json) -> None:
    store.path.parent.mkdir(exist_ok=True)
    store.path.write_text(root if isinstance(root, str) else json.dumps(root))


def entry(**more: Json) -> JsonObject:
    """A good one, but for what is said."""
    good: JsonObject = {"id": "a", "schedule": {"kind": "every", "everyMs": 60000}, "payload": {"message": "m"}}
    return {**good, **more}


def root_of(store: JobStore) -> JsonObject:
    root = json.loads(store.path.read_text())
    assert isinstance(root, dict)
    return root


def first(store: JobStore) -> JsonObject:
    jobs = root_of(store)["jobs"]
    assert isinstance(jobs, list)
    assert isinstance(jobs[0], dict)
    return jobs[0]


# --- reading


def test_a_file_of_theirs_is_read(store: JobStore) -> None:
    write(store, THEIRS)
    assert store.read() == (
        Job(
            JobId("1a2b3c4d"),
            "Morning news",
            "read it",
            Cron("0 7 * * *", "Europe/Berlin"),
            OWNER,
            "telegram:default:42",
            created_ms=1_700_000_000_000,
            updated_ms=1_700_000_000_001,
            ran_ms=T0_MS - 1,
        ),
    )
    assert store.trouble == ""


READ: list[tuple[JsonObject, dict[str, object]]] = [
    ({"schedule": {"kind": "at", "at_ms": "1790000000000"}}, {"schedule": At(T0_MS)}),
    ({"schedule": {"kind": "at", "atMs": 1790000000000.0}}, {"schedule": At(T0_MS)}),
    ({"schedule": {"kind": "every", "every_ms": "60000"}, "created_at_ms": 5}, {"schedule": Every(60000, 5), "created_ms": 5}),
    ({"schedule": {"kind": "every", "everyMs": 60000, "anchorMs": 7}}, {"schedule": Every(60000, 7)}),
    ({"payload": {"message": "m", "sessionKey": "telegram:-100:topic:7", "to": "9"}}, {"session": "telegram:-100:topic:7"}),
    ({"payload": {"message": "m", "session_key": "cron:a"}}, {"session": ""}),
    ({"payload": {"message": "m", "deliver": True, "channel": "telegram", "to": -100}}, {"session": "telegram:default:-100"}),
    ({"payload": {"message": "m", "deliver": False, "channel": "telegram", "to": "9"}}, {"session": ""}),
    ({"payload": {"message": "m", "deliver": True, "channel": "telegram", "to": None}}, {"session": ""}),
    ({"delete_after_run": True, "enabled": False, "name": "n"}, {"delete_after_run": True, "enabled": False, "name": "n"}),
    ({"catchUp": "all", "horizonS": 5, "deadlineS": 6, "tokens": 7}, {"catch_up": "all", "horizon_s": 5.0, "tokens": 7}),
]


@pytest.mark.parametrize(("said", "meant"), READ)
def test_what_an_entry_means(store: JobStore, said: JsonObject, meant: dict[str, object]) -> None:
    write(store, {"jobs": [entry(**said)]})
    [found] = store.read()
    assert {name: getattr(found, name) for name in meant} == meant


BAD: list[tuple[Json, str]] = [
    ("no object", "it is no object"),
    (entry(id="../../etc/passwd"), "other signs"),
    (entry(id=""), "other signs"),
    (entry(id="heartbeat"), "heartbeat's own"),
    (entry(id="x" * 65), "other signs"),
    (entry(id="good"), "another has the id good"),
    (entry(schedule=None), "no schedule"),
    (entry(schedule={"kind": "weekly"}), "no schedule"),
    (entry(schedule={"kind": "at"}), "needs atMs"),
    (entry(schedule={"kind": "at", "atMs": float("nan")}), "atMs is no number"),
    (entry(schedule={"kind": "at", "atMs": float("inf")}), "atMs is no number"),
    (entry(schedule={"kind": "at", "atMs": -5}), "atMs is no number"),
    (entry(schedule={"kind": "at", "atMs": 10**30}), "atMs is no number"),
    (entry(schedule={"kind": "at", "atMs": True}), "atMs is no number"),
    (entry(schedule={"kind": "every", "everyMs": 0}), "everyMs above 0"),
    (entry(schedule={"kind": "every", "everyMs": 10}), "an interval has at least"),
    (entry(schedule={"kind": "cron", "expr": "61 * * * *"}), "61"),
    (entry(schedule={"kind": "cron", "expr": "0 9 * * *", "tz": "Nowhere/Land"}), "no time zone"),
    (entry(payload={"message": "  "}), "message is empty"),
    (entry(payload={"message": {"a": 1}}), "message is no text"),
    (entry(payload={"message": "m" * 100_001}), "more than 100000"),
    (entry(payload={"kind": "system_event", "message": "m"}), "only HKUDS/nanobot has"),
    (entry(payload={"message": "m", "principal": "me"}), "principal is not"),
    (entry(enabled="yes"), "neither true nor false"),
    (entry(catchUp="twice"), "catchUp is none of"),
    (entry(createdAtMs=[]), "createdAtMs is no number"),
    (entry(tokens=-1), "tokens is no number"),
]


@pytest.mark.parametrize(("row", "why"), BAD)
def test_an_entry_that_is_no_job_is_left_out_and_stays_and_its_neighbour_goes_on(store: JobStore, row: Json, why: str) -> None:
    write(store, {"jobs": [entry(id="good"), row]})
    assert [found.id for found in store.read()] == ["good"]
    assert "entry 2 is left out" in store.trouble
    assert why in store.trouble
    store.edit(lambda jobs: (*jobs, job()))
    jobs = root_of(store)["jobs"]
    assert isinstance(jobs, list)
    assert len(jobs) == 3
    assert json.dumps(jobs[1]) == json.dumps(row).replace("NaN", '"NaN"').replace("Infinity", '"Infinity"')


def test_more_jobs_than_may_be_are_left_out(store: JobStore) -> None:
    store.most = 2
    write(store, {"jobs": [entry(id=str(number)) for number in range(9)]})
    assert [found.id for found in store.read()] == ["0", "1"]
    assert "entry 3" in store.trouble
    assert "4 more" in store.trouble


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"jobs": {}}', "\x00" * 50, "[" * 100_000, '{"jobs": [1' + "0" * 5000 + "]}", "\xff"]
)
def test_a_file_that_is_no_list_of_jobs_is_damaged_and_no_edit_touches_it(store: JobStore, text: str) -> None:
    write(store, {})
    store.path.write_bytes(text.encode("latin-1"))
    with pytest.raises(JobsDamaged, match="Put it right"):
        store.read()
    assert "is damaged" in store.trouble
    with pytest.raises(JobsDamaged):
        store.edit(lambda jobs: (*jobs, job()))
    assert store.path.read_bytes() == text.encode("latin-1")


def test_a_file_of_a_later_version_is_left_alone(store: JobStore) -> None:
    write(store, {"version": 2, "jobs": []})
    for look in (store.read, lambda: store.edit(lambda _: (job(),)), lambda: store.set_aside(())):
        with pytest.raises(StoreUnusable, match="later version"):
            look()
    assert root_of(store) == {"version": 2, "jobs": []}


def test_a_huge_file_is_not_read_into_memory(store: JobStore) -> None:
    write(store, {})
    os.truncate(store.path, store_module.MOST_BYTES + 1)
    with pytest.raises(StoreUnusable, match="more than 64 MiB"):
        store.read()


def test_reading_changes_nothing(store: JobStore) -> None:
    write(store, THEIRS)
    before = (store.path.read_bytes(), store.stamp(), sorted(store.path.parent.iterdir()))
    store.read()
    assert (store.path.read_bytes(), store.stamp(), sorted(store.path.parent.iterdir())) == before


# --- editing


def test_what_was_written_is_read(store: JobStore) -> None:
    jobs = (
        job(1, At(T0_MS), delete_after_run=True),
        job(2, Every(60_000, 5), session="telegram:default:42", tainted=True, enabled=False),
        job(3, Cron("0 9 * * 1-5", "Asia/Tokyo"), catch_up="skip", horizon_s=1.5, deadline_s=2.5, tokens=0, name="half \ud800"),
        job(4, principal="telegram:default:42:7", session="slack:work:C1:170%3A5"),
    )
    written = store.edit(lambda _: jobs)
    assert written == tuple(attrs.evolve(one, updated_ms=T0_MS) for one in jobs)
    expected = [attrs.evolve(one, name=one.name.replace("\ud800", "?")) for one in written]
    assert list(JobStore(store.path).read()) == expected
    assert store.path.stat().st_mode & 0o777 == 0o600


def test_what_we_do_not_know_stays_at_every_level(store: JobStore) -> None:
    more: JsonObject = {"originChannel": "telegram", "channel_meta": {"a": 1}}
    known = entry(extra=1, payload={"message": "m", **more}, state={"runHistory": [1], "lastStatus": "ok"})
    known["schedule"] = {"kind": "every", "every_ms": 60000, "jitter": 3}
    write(store, {"version": 1, "jobs": [known], "comment": "mine"})
    store.edit(lambda jobs: tuple(attrs.evolve(one, message="other", schedule=Cron("0 9 * * *")) for one in jobs))
    row = first(store)
    assert root_of(store)["comment"] == "mine"
    assert row["extra"] == 1
    assert row["state"] == {"runHistory": [1], "lastStatus": "ok"}
    assert row["payload"] == {
        **{"kind": "agent_turn", "message": "other", "deliver": False, "channel": None, "to": None, "principal": OWNER},
        **more,
    }
    assert row["schedule"] == {
        **{"kind": "cron", "atMs": None, "everyMs": None, "expr": "0 9 * * *", "tz": None, "jitter": 3},
    }


def test_an_edit_that_changes_nothing_writes_nothing(store: JobStore) -> None:
    write(store, THEIRS)
    before = store.stamp()
    store.edit(lambda jobs: jobs)
    assert store.stamp() == before


REFUSED: list[tuple[Job, type[Exception]]] = [
    (job(schedule=Cron("nonsense")), BadSchedule),
    (job(2), StoreUnusable),
    (attrs.evolve(job(), id=JobId("../x")), BadJob),
    (attrs.evolve(job(), message=""), BadJob),
]


@pytest.mark.parametrize(("wanted", "error"), REFUSED)
def test_an_edit_that_cannot_be_changes_nothing(store: JobStore, wanted: Job, error: type[Exception]) -> None:
    store.edit(lambda _: (job(2),))
    before = store.path.read_bytes()
    with pytest.raises(error):
        store.edit(lambda jobs: (*jobs, wanted))
    assert store.path.read_bytes() == before


def test_there_is_a_most_but_who_has_more_may_still_change_them(store: JobStore) -> None:
    store.edit(lambda _: tuple(job(number) for number in range(5)))
    store.most = 5
    store.edit(lambda jobs: tuple(attrs.evolve(one, name="n") for one in jobs))
    with pytest.raises(StoreUnusable, match="mostJobs"):
        store.edit(lambda jobs: (*jobs, job(9)))


def test_many_jobs_are_written_one_a_line_and_read_again(store: JobStore) -> None:
    jobs = tuple(attrs.evolve(job(number), updated_ms=T0_MS) for number in range(store_module.READABLE_JOBS + 1))
    assert store.edit(lambda _: jobs) == store.read() == jobs
    assert store.path.read_text().count("\n") == len(jobs) + 1


def test_two_writers_wait_for_each_other(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "LOCK_S", 0.05)
    store.edit(lambda _: (job(),))
    with open(store.path.with_name("jobs.lock")) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StoreUnusable, match="in use"):
            store.edit(lambda jobs: jobs)
    store.edit(lambda jobs: jobs)


def test_no_edit_of_many_processes_is_lost(store: JobStore) -> None:
    script = (
        "import sys; from pathlib import Path; from tests.scheduler.scene import job\n"
        "from nanobot.scheduler.store import JobStore\n"
        "for n in range(10): JobStore(Path(sys.argv[1])).edit(lambda jobs: (*jobs, job(int(sys.argv[2]) + n)))\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", script, store.path, str(100 * number)]) for number in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert sorted(int(found.id, 16) for found in store.read()) == sorted(100 * p + n for p in range(3) for n in range(10))


# --- what is told, what is kept, what is taken over


def test_what_is_told_stands_beside_what_is_theirs(store: JobStore) -> None:
    write(store, {**THEIRS, "jobs": [*THEIRS["jobs"], entry(), entry(id="gone"), "no job"]})  # type: ignore[misc]
    states = {JobId("1a2b3c4d"): State(Slot(9), Slot(8), Outcome.FAILED, "why"), JobId("x"): State()}
    before, after = store.tell(states, [JobId("gone")])
    assert (before != after, after) == (True, store.stamp())
    assert first(store)["state"] == {"nextRunAtMs": 9, "lastRunAtMs": 8, "lastStatus": "error", "lastError": "why"}
    assert [found.id for found in store.read()] == ["1a2b3c4d", "a"]
    assert len(root_of(store)["jobs"]) == 3  # type: ignore[arg-type]
    assert store.tell(states) == (after, after)


def test_a_damaged_file_is_kept_under_its_time(store: JobStore) -> None:
    for number in range(2):
        write(store, f"{{broken {number}")
        kept = store.set_aside((job(),))
        assert kept is not None
        assert kept.name == "jobs.json.corrupt-20260921-141320" + "+" * number
        assert kept.read_text() == f"{{broken {number}"
        assert store.read() == (job(),)
    assert len(store.look().kept) == 2
    assert store.set_aside(()) is None, "it is whole again"
    assert store.read() == (job(),)


def test_the_jobs_of_the_workspace_are_taken_over_once_and_the_original_stays(store: JobStore, tmp_path: Path) -> None:
    earlier = tmp_path / "workspace" / "cron" / "jobs.json"
    earlier.parent.mkdir(parents=True)
    earlier.write_text(json.dumps({**THEIRS, "comment": "theirs"}))
    assert f"taken over from {earlier}, 1 in number" in store.begin(earlier)
    assert [found.id for found in store.read()] == ["1a2b3c4d"]
    assert root_of(store)["comment"] == "theirs"
    assert json.loads(earlier.read_text())["comment"] == "theirs"
    store.edit(lambda _: ())
    store.begin(earlier)
    assert store.read() == ()


def test_jobs_that_come_up_in_the_workspace_later_are_nobodys(store: JobStore, tmp_path: Path) -> None:
    store.begin(tmp_path / "jobs.json")
    (tmp_path / "jobs.json").write_text(json.dumps(THEIRS))
    store.begin(tmp_path / "jobs.json")
    assert store.read() == ()


def test_jobs_of_a_file_with_text_of_strangers_are_marked(store: JobStore, tmp_path: Path) -> None:
    (tmp_path / "jobs.json").write_text(json.dumps(THEIRS))
    store.begin(tmp_path / "jobs.json", suspect=lambda _file: True)
    assert [found.tainted for found in store.read()] == [True]


def test_a_pipe_in_place_of_a_file_holds_nobody_up(store: JobStore, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "jobs.json")
    assert "is no file" in store.begin(tmp_path / "jobs.json")
    assert store.read() == ()


@pytest.mark.parametrize("text", ["{broken", '{"version": 7, "jobs": []}'])
def test_an_earlier_file_that_cannot_be_read_holds_nobody_up(store: JobStore, tmp_path: Path, text: str) -> None:
    (tmp_path / "jobs.json").write_text(text)
    assert str(tmp_path / "jobs.json") in store.begin(tmp_path / "jobs.json")
    assert store.read() == ()
    assert (tmp_path / "jobs.json").read_text() == text
