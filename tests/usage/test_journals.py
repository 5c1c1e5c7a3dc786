"""What the journals tell of calls: turns and their steps, jobs, consolidation, over segments, once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nanobot.archive.reading import Reader
from nanobot.journal import names
from nanobot.messages import MessageId, Origin, Said, Usage
from nanobot.session import events as ev
from nanobot.session.fold import apply_all
from nanobot.session.machine import step
from nanobot.usage.journals import calls_of, catch_up, of_memory
from nanobot.usage.ledger import Ledger
from nanobot.usage.spent import Kind
from tests.session.talks import KEY, ME, Talk, journals_in, listing, talk

MEMORY = Usage(300, 30, 5)


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Talk]:
    found = talk(journals_in(tmp_path))
    yield found
    found.journal.close()


def reader(tmp_path: Path) -> Reader:
    return Reader(str(tmp_path / ".nanobot" / "journals"))


def consolidated(one: Talk) -> None:
    one.tell(ev.ConsolidationDue(one.at, one.session.end))
    one.tell(ev.Consolidated(one.at, one.session.end, MEMORY, "memory-model"))


def test_each_step_of_each_turn_with_its_account(tmp_path: Path, one: Talk) -> None:
    one.ask("look")
    one.answer("", listing())
    one.cut()  # in the middle of the turn
    one.call_ends("call1", "nothing")
    one.answer("There is nothing.")
    one.delivered()
    one.tell(ev.Received(Said(MessageId("job:a1b2:5"), "due", one.at, ME, origin=Origin.JOB)))
    one.answer("done")
    calls = list(calls_of(KEY, reader(tmp_path), 0.0))
    assert [(call.turn, call.step, call.job) for call in calls] == [(1, 1, ""), (1, 2, ""), (2, 1, "a1b2")]
    assert {(call.principal, call.usage) for call in calls} == {(ME, Usage(10, 2))}


def test_only_what_is_new_is_told_and_old_segments_are_not_read(tmp_path: Path, one: Talk) -> None:
    one.exchange("one", "1")
    one.cut()
    since = one.at
    one.exchange("two", "2")
    assert [Path(file).name for file in reader(tmp_path).segments(KEY, since + 0.5)] == ["00000002.jsonl"]
    assert [call.turn for call in calls_of(KEY, reader(tmp_path), since + 0.5)] == [2]


def test_consolidation_has_the_same_name_live_and_from_the_journal(tmp_path: Path, one: Talk) -> None:
    one.exchange("one", "1")
    one.tell(ev.ConsolidationDue(one.at, one.session.end))
    plan = step(one.session, ended := ev.Consolidated(one.at, one.session.end, MEMORY, "memory-model"))
    live = of_memory(plan.records, apply_all(one.session, plan.records), one.at)
    one.tell(ended)
    one.exchange("two", "2")
    consolidated(one)
    assert live is not None
    first, second = (call for call in calls_of(KEY, reader(tmp_path), 0.0) if call.kind is Kind.MEMORY)
    assert (first.turn, first.step, first.usage, first.model) == (live.turn, live.step, MEMORY, "memory-model")
    assert (second.turn, second.step) != (first.turn, first.step), "another of the same size is another call"


def test_a_journal_that_is_damaged_tells_what_can_be_read(tmp_path: Path, one: Talk) -> None:
    one.exchange("one", "1")
    one.exchange("two", "2")
    file = tmp_path / ".nanobot" / "journals" / names.encode(KEY) / "00000001.jsonl"
    lines = file.read_bytes().split(b"\n")
    where = next(place for place, line in enumerate(lines) if b'"two"' in line)
    file.write_bytes(b"\n".join([*lines[:where], b"x" * 40, *lines[where + 1 :]]))
    ledger = Ledger(tmp_path / "usage.db")
    catch_up(ledger, reader(tmp_path))
    assert sum(found.calls for found in ledger.sums(0.0, 1e12)) == 1
