"""The ledger: booked twice it counts once, sums by time, what damage and other processes do to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from nanobot.errors import StoreUnusable
from nanobot.messages import Usage
from nanobot.usage.ledger import Ledger
from nanobot.usage.spent import Kind, Spent

CALL = Spent("cli:default:me", 1, 1, 1000.0, "m", Usage(100, 10, 50), principal="cli:default:me:me")


def booked(tmp_path: Path, *calls: Spent) -> Ledger:
    ledger = Ledger(tmp_path / "usage.db")
    ledger.book(calls)
    return ledger


def total(ledger: Ledger, since: float = 0.0, until: float = 1e12) -> Usage:
    return sum((one.usage for one in ledger.sums(since, until)), Usage())


def test_a_call_that_is_booked_twice_counts_once(tmp_path: Path) -> None:
    ledger = booked(tmp_path, CALL, CALL)
    ledger.book([CALL, attrs.evolve(CALL, usage=Usage(7, 7))])
    assert total(ledger) == CALL.usage


@pytest.mark.parametrize("other", [{"session": "b:c:d"}, {"turn": 2}, {"step": 2}, {"kind": Kind.SUBAGENT}], ids=str)
def test_another_name_is_another_call(tmp_path: Path, other: dict[str, object]) -> None:
    assert total(booked(tmp_path, CALL, attrs.evolve(CALL, **other))) == Usage(200, 20, 100)  # type: ignore[arg-type]


def test_sums_have_what_was_in_the_time_with_all_that_it_is_asked_by(tmp_path: Path) -> None:
    of_job = Spent("cron:default:a", 3, 1, 2000.0, "n", Usage(5, 1), principal="p:q:r:s", job="a")
    ledger = booked(tmp_path, CALL, attrs.evolve(CALL, step=2, at=1500.0), of_job)
    [first, second] = ledger.sums(1000.0, 2000.5)
    assert (first.session, first.calls, first.usage, first.background) == (CALL.session, 2, Usage(200, 20, 100), False)
    assert (second.model, second.principal, second.job, second.background) == ("n", "p:q:r:s", "a", True)
    assert total(ledger, 1000.0, 1500.0) == CALL.usage, "the end belongs to what comes"


def test_what_is_too_old_is_forgotten(tmp_path: Path) -> None:
    ledger = booked(tmp_path, CALL, attrs.evolve(CALL, turn=2, at=3000.0))
    assert (ledger.sweep(3000.0), total(ledger)) == (1, CALL.usage)


@pytest.mark.parametrize("damage", [b"no database at all" * 1000, None], ids=["another file", "a page"])
def test_a_damaged_file_is_put_aside_and_nothing_is_lost_of_it(tmp_path: Path, damage: bytes | None) -> None:
    ledger = booked(tmp_path, *(attrs.evolve(CALL, turn=n, model="m" * 900) for n in range(200)))
    ledger.close()
    file = tmp_path / "usage.db"
    data = file.read_bytes()
    broken = damage or data[:8192] + b"\xff" * 4096 + data[12288:]
    file.write_bytes(broken)
    again = Ledger(file)
    again.check()
    assert total(again) == Usage()
    [aside] = [path for path in tmp_path.iterdir() if "damaged" in path.name]
    assert aside.read_bytes() == broken


def test_one_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    ledger = booked(tmp_path, CALL)
    with ledger._database.transaction() as connection:
        connection.execute("PRAGMA user_version=99")
    ledger.close()
    with pytest.raises(StoreUnusable, match="later version"):
        Ledger(tmp_path / "usage.db").check()


KILLED = """
import sys
from pathlib import Path
from nanobot.messages import Usage
from nanobot.usage.ledger import Ledger
from nanobot.usage.spent import Spent
ledger = Ledger(Path(sys.argv[1]))
for turn in range(1, 10**6):
    ledger.book([Spent("s:t:u", turn, step, 1.0, "m", Usage(1, 1)) for step in range(10)], {"s:t:u": float(turn)})
    print(turn, flush=True)
"""


def test_what_was_booked_is_there_after_a_kill_and_whole(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "usage.db")], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        lines = [int(child.stdout.readline()) for _ in range(20)]
        os.kill(child.pid, signal.SIGKILL)
    ledger = Ledger(tmp_path / "usage.db")
    [one] = ledger.sums(0.0, 2.0)
    assert one.calls % 10 == 0
    assert one.calls >= 10 * lines[-1]
    assert ledger.read_to() == {"s:t:u": one.calls / 10}
