"""The gateway's own journal: what was written is there after any end, and what is written twice counts once."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from nanobot.daemon import backlog as module
from nanobot.daemon.backlog import (
    AGAIN_S,
    MOST_CHARS,
    MOST_KEPT,
    Backlog,
    Kept,
    Noticed,
    OwnerSpoke,
    Record,
    State,
    Taken,
    Told,
    apply,
    decode,
    encode,
    encode_state,
    open_backlog,
    store_in,
)
from nanobot.errors import InUse, JournalTooNew, JournalUnwritable
from nanobot.journal.writers import open_writers
from nanobot.messages import Attachment
from nanobot.wire import Json
from tests.fakes.backlog import in_memory, message
from tests.session.house_fakes import MemoryLog

PICTURE = Attachment("/media/x.png", "image/png", "holiday.png", 12)
FULL = attrs.evolve(message(1, owner=True, direct=False), attachments=(PICTURE,), tainted=True)
RECORDS: tuple[Record, ...] = (
    Kept(2, message(2), "in use", 5.0),
    Kept(1, FULL, "damaged", 6.0),
    Kept(3, message(2, "7"), "in use", 6.5),
    Noticed("n1", "telegram is parked", "telegram", 7.0),
    Noticed("n2", "the disk is slow", "", 7.0),
    Told(("n1",), "web:default:c1", 8.0),
    Taken("telegram:default:42", message(2).id),
    OwnerSpoke("web:default:c1"),
    OwnerSpoke("telegram:default:42"),
    OwnerSpoke("web:default:c2"),
)


def folded(*records: Record) -> State:
    return decode(None, encode(records))


# --- the fold


def test_what_the_records_come_to() -> None:
    state = folded(*RECORDS)
    assert [(k.session, k.inbound.id) for k in state.kept] == [("telegram:default:42", "m1"), ("telegram:default:7", "m2")]
    assert state.kept[0].inbound == FULL
    assert [notice.id for notice in state.untold] == ["n2"]
    assert state.chats == ("web:default:c2", "telegram:default:42")


@pytest.mark.parametrize("record", RECORDS[:-2], ids=lambda record: type(record).__name__)
def test_a_record_that_is_booked_twice_counts_once(record: Record) -> None:
    state = folded(*RECORDS[: RECORDS.index(record) + 1])
    assert apply(state, record) == state


def test_every_place_for_a_cut_gives_the_same_state() -> None:
    for cut in range(len(RECORDS) + 1):
        assert decode(encode_state(folded(*RECORDS[:cut])), encode(RECORDS[cut:])) == folded(*RECORDS)


def test_told_notices_are_forgotten_in_time_and_others_never() -> None:
    state = folded(*RECORDS)
    assert state.pruned(8.0 + AGAIN_S - 1) == state
    assert [notice.id for notice in state.pruned(8.0 + AGAIN_S).notices] == ["n2"]


def spoiled(record: Record, **fields: Json) -> Json:
    (row,) = encode([record])
    assert isinstance(row, dict)
    return {**row, **fields}


@pytest.mark.parametrize(
    "row",
    [
        {"t": "fromthefuture"},
        {},
        "text",
        spoiled(RECORDS[0], later=1),
        spoiled(RECORDS[0], ticket="1"),
        spoiled(RECORDS[0], why=None),
        spoiled(RECORDS[3], text=5),
        spoiled(RECORDS[-1], session="nonsense"),
    ],
)
def test_what_is_unknown_is_not_guessed_at(row: Json) -> None:
    with pytest.raises(JournalTooNew, match="newer nanobot"):
        decode(None, [row])


# --- on disk


@asynccontextmanager
async def opened(data: Path) -> AsyncIterator[Backlog]:
    async with open_writers() as writers, open_backlog(store_in(data, writers), lambda: 10.0) as backlog:
        yield backlog


async def test_all_is_there_after_an_orderly_end(tmp_path: Path) -> None:
    async with opened(tmp_path) as backlog:
        for record in RECORDS:
            await backlog.write(record)
    async with opened(tmp_path) as backlog:
        assert backlog.state == folded(*RECORDS)
    assert len(list(tmp_path.glob("gateway/*/*.jsonl"))) == 1, "an orderly end was taken for a crash"


async def test_nobody_else_opens_it(tmp_path: Path) -> None:
    async with opened(tmp_path):
        with pytest.raises(InUse):
            async with opened(tmp_path):
                pass


KEEP_MANY = """
import itertools, sys, trio
from pathlib import Path
from nanobot.daemon.backlog import Kept, open_backlog, store_in
from nanobot.journal.writers import open_writers
from tests.fakes.backlog import message

async def main():
    async with open_writers() as writers, open_backlog(store_in(Path(sys.argv[1]), writers), lambda: 1.0) as backlog:
        for number in itertools.count():
            await backlog.write(Kept(number, message(number), "in use", 1.0))
            print(f"m{number}", flush=True)

trio.run(main)
"""


def killed(data: Path, after: int) -> list[str]:
    """What a process said that it had kept, which was killed soon after the first `after` of them."""
    with subprocess.Popen([sys.executable, "-c", KEEP_MANY, str(data)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        kept = [process.stdout.readline().strip() for _ in range(after)]
        process.send_signal(signal.SIGKILL)
        return kept + process.stdout.read().split()


@pytest.mark.parametrize("after", [1, 2, 30])
async def test_what_was_kept_is_there_after_a_kill(tmp_path: Path, after: int) -> None:
    kept = killed(tmp_path, after)
    async with opened(tmp_path) as backlog:
        assert [k.inbound.id for k in backlog.state.kept][: len(kept)] == kept
        assert len(backlog.state.kept) <= len(kept) + 1
        await backlog.write(Taken("telegram:default:42", message(0).id))
    assert len(list(tmp_path.glob("gateway/*/*.jsonl"))) == 2, "what a crash left was believed without a cut"


async def test_of_a_damaged_journal_what_can_be_read_is_taken_up(tmp_path: Path) -> None:
    async with opened(tmp_path) as backlog:
        for record in RECORDS[:3]:
            await backlog.write(record)
    (file,) = tmp_path.glob("gateway/*/*.jsonl")
    lines = file.read_bytes().split(b"\n")
    file.write_bytes(b"\n".join([*lines[:2], b"x" * 40, *lines[3:]]))
    async with opened(tmp_path) as backlog:
        assert backlog.damaged is not None
        assert [k.inbound.id for k in backlog.state.kept] == ["m1", "m2"]
    async with opened(tmp_path) as backlog:
        assert backlog.damaged is None
        assert [k.inbound.id for k in backlog.state.kept] == ["m1", "m2"]


async def test_what_a_newer_version_wrote_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, "encode", lambda _records: [{"t": "fromthefuture"}])
        async with opened(tmp_path) as backlog:
            await backlog.write(RECORDS[0])
            await backlog.write(RECORDS[1])
    before = {file: file.read_bytes() for file in tmp_path.glob("gateway/*/*.jsonl")}
    with pytest.raises(JournalTooNew):
        async with opened(tmp_path):
            pass
    assert {file: file.read_bytes() for file in tmp_path.glob("gateway/*/*.jsonl")} == before


# --- in memory


async def test_a_record_that_the_disk_refuses_is_not_booked() -> None:
    log = MemoryLog(failures=1)
    backlog = in_memory(log)
    with pytest.raises(JournalUnwritable):
        await backlog.write(RECORDS[0])
    assert (backlog.state, log.lines) == (State(), [])


async def test_writers_take_turns_and_each_sees_what_the_last_booked() -> None:
    gate = trio.Event()
    log = MemoryLog(gate=gate)
    backlog = in_memory(log)
    async with trio.open_nursery() as nursery:
        for record in RECORDS[:3]:
            nursery.start_soon(backlog.write, record)
        await wait_all_tasks_blocked()
        assert log.lines == []
        gate.set()
    assert len(backlog.state.kept) == 3
    assert decode(log.state, []) == backlog.state


async def test_a_large_journal_is_cut() -> None:
    log = MemoryLog(oversize=True)
    backlog = in_memory(log, folded(*RECORDS))
    await backlog.write(OwnerSpoke("web:default:c9"))
    assert [decode(snapshot, []).chats[0] for snapshot in log.cuts] == ["web:default:c9"]


async def test_where_the_owner_spoke_is_written_when_it_is_news() -> None:
    log = MemoryLog()
    backlog = in_memory(log)
    for session in ("web:default:a", "web:default:a", "telegram:default:42", "web:default:a"):
        await backlog.note_owner(session)
    assert (len(log.lines), backlog.state.chats) == (3, ("web:default:a", "telegram:default:42"))
    log.failures = 1
    await backlog.note_owner("slack:default:x")
    assert backlog.state.chats[0] == "web:default:a"


@pytest.mark.parametrize(
    ("kept", "text", "room"),
    [(MOST_KEPT - 1, "x", True), (MOST_KEPT, "x", False), (1, "x" * (MOST_CHARS - 5), True), (1, "x" * MOST_CHARS, False)],
)
async def test_there_is_a_bound(kept: int, text: str, *, room: bool) -> None:
    backlog = in_memory(MemoryLog(), State(tuple(Kept(n, message(n), "in use", 1.0) for n in range(kept))))
    assert backlog.room_for(message(-1, text=text)) is room


async def test_the_status_says_what_waits_where_and_why() -> None:
    assert in_memory(MemoryLog()).nodes()[0].state == "idle"
    (node,) = in_memory(MemoryLog(), folded(*RECORDS[:3])).nodes()
    assert (node.state, node.since) == ("waiting", 6.0)
    assert node.facts == (("telegram:42", "2 kept: damaged"), ("telegram:7", "1 kept: in use"))
