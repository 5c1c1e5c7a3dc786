"""The whole conversation from its segments: nothing missing, nothing twice, whatever was cut, undone or torn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nanobot.archive import conversation as archive
from nanobot.archive.conversation import Archive
from nanobot.archive.reading import Reader
from nanobot.journal.journal import Journals
from nanobot.journal.segment import Line, encode
from nanobot.messages import Reply, Said
from nanobot.session import events as ev
from tests.session.talks import KEY, Talk, journals_in, listing, talk, written


@pytest.fixture
def journals(tmp_path: Path) -> Journals:
    return journals_in(tmp_path)


def segments(journals: Journals) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path(journals.root).glob("*/*.jsonl"))}


def whole(journals: Journals) -> Archive:
    return archive.whole(KEY, segments(journals))


def questions(found: Archive) -> list[str]:
    return [entry.text for past in found.past for entry in past.exchange.entries if isinstance(entry, Said)]


def moved(to: int) -> Callable[[Talk], None]:
    return lambda one: one.tell(ev.Consolidated(one.at, to))


HISTORIES: dict[str, tuple[list[Callable[[Talk], None]], int]] = {
    "nothing cut": ([], 4),
    "cut, all kept": ([Talk.cut], 4),
    "cut many times": ([Talk.cut] * 3, 4),
    "memory took two": ([moved(2)], 2),
    "memory took all, one by one": ([moved(1), moved(2), moved(4)], 0),
    "/new": ([lambda one: one.command(ev.New())], 0),
    "/new twice": ([lambda one: one.command(ev.New()), lambda one: one.command(ev.New())], 0),
    "memory, then /new": ([moved(3), lambda one: one.command(ev.New())], 0),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_each_exchange_once_and_in_order(journals: Journals, name: str) -> None:
    """Four exchanges, then what cuts, then four more."""
    cuts, kept = HISTORIES[name]

    def tell(one: Talk) -> None:
        for number in range(4):
            one.exchange(f"q{number}", f"a{number}")
        for cut in cuts:
            cut(one)
        for number in range(4, 8):
            one.exchange(f"q{number}", f"a{number}")

    written(journals, KEY, tell)
    found = whole(journals)
    assert questions(found) == [f"q{number}" for number in range(8)]
    assert [past.ordinal for past in found.past] == list(range(8))
    assert sum(past.in_prompt for past in found.past) == kept + 4
    assert found.troubles == ()


def test_it_says_where_a_new_conversation_began(journals: Journals) -> None:
    def tell(one: Talk) -> None:
        one.exchange("one", "1")
        one.command(ev.New())
        one.exchange("two", "2")
        one.exchange("three", "3")

    written(journals, KEY, tell)
    assert [past.opens for past in whole(journals).past] == [False, True, False]


def test_what_was_said_before_a_new_conversation_is_there_while_that_is_empty(journals: Journals) -> None:
    def tell(one: Talk) -> None:
        one.exchange("one", "1")
        one.command(ev.New())

    written(journals, KEY, tell)
    reader = Reader(journals.root)
    everything, prompt = (reader.conversation(KEY, everything=every) for every in (True, False))
    assert everything is not None
    assert prompt is not None
    assert (questions(everything), prompt.past) == (["one"], ())


@pytest.mark.parametrize("cut_first", [False, True])
def test_what_was_undone_later_is_undone(journals: Journals, *, cut_first: bool) -> None:
    def tell(one: Talk) -> None:
        one.exchange("right", "yes")
        one.exchange("wrong", "no")
        if cut_first:
            one.cut()
        one.command(ev.Undo())

    written(journals, KEY, tell)
    assert [past.exchange.undone for past in whole(journals).past] == [False, True]


def test_calls_have_their_last_state(journals: Journals) -> None:
    def tell(one: Talk) -> None:
        one.ask("list files")
        one.answer("", listing())
        one.cut()
        one.call_ends("call1", "a.txt")
        one.answer("There is a.txt.")
        one.delivered()

    written(journals, KEY, tell)
    (past,) = whole(journals).past
    assert [call.result for e in past.exchange.entries if isinstance(e, Reply) for call in e.calls] == ["a.txt"]


def test_a_ghost_in_an_older_segment_is_left_out(journals: Journals) -> None:
    """An append that failed and could not be taken back: its number is the next segment's first."""
    one = talk(journals)
    one.exchange("one", "1")
    last = one.journal.n
    older = max(Path(journals.root).glob("*/*.jsonl"))
    one.cut()
    one.exchange("two", "2")
    one.journal.close()
    with older.open("ab") as file:
        file.write(encode(Line(last + 1, 0.0, None, [{"t": "cleared", "at": 1.0}])))
    assert questions(whole(journals)) == ["one", "two"]
    assert not any(past.opens for past in whole(journals).past)


def test_a_torn_end_is_no_trouble_at_any_byte(journals: Journals) -> None:
    def tell(one: Talk) -> None:
        one.exchange("one", "1")
        one.exchange("two", "2")

    written(journals, KEY, tell)
    ((file, data),) = segments(journals).items()
    for end in range(data.index(b"\n") + 1, len(data)):
        found = archive.whole(KEY, {file: data[:end]})
        assert questions(found) == ["one", "two"][: len(found.past)]
        assert found.troubles == ()


def test_damage_is_told_and_the_rest_is_there(journals: Journals) -> None:
    def tell(one: Talk) -> None:
        for number in range(3):
            one.exchange(f"q{number}", "yes")
        one.cut()
        one.exchange("q3", "yes")

    written(journals, KEY, tell)
    older, live = sorted(Path(journals.root).glob("*/*.jsonl"))[-2:]
    older.write_bytes(older.read_bytes().replace(b'"q0"', b'"Q0"'))
    found = whole(journals)
    assert questions(found) == ["q0", "q1", "q2", "q3"], "the snapshot of the next segment has them"
    assert [str(older) in trouble for trouble in found.troubles] == [True]
    live.write_bytes(b"{}\n")
    assert len(whole(journals).troubles) == 2


def test_a_segment_of_a_later_version_is_told(journals: Journals) -> None:
    written(journals, KEY, lambda one: one.exchange("one", "1"))
    ((file, data),) = segments(journals).items()
    assert archive.whole(KEY, {file: data.replace(b'"t":"', b'"t":"x', 1)}).troubles
    newer = b'{"crc":"00000000","format":9,"least":9}\n'
    found = archive.whole(KEY, {file: data, "later": newer})
    assert (questions(found), ["newer nanobot" in t for t in found.troubles]) == (["one"], [True])


def test_reading_changes_nothing_and_needs_no_lock(journals: Journals) -> None:
    """While another writes, and in the middle of its line."""
    one = talk(journals)
    one.exchange("one", "1")
    one.ask("two")
    path = max(Path(journals.root).glob("*/*.jsonl"))
    with path.open("ab") as file:
        file.write(b'{"crc":"00000000","n":99')
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in Path(journals.root).rglob("*") if p.is_file()}
    reader = Reader(journals.root)
    found = reader.conversation(KEY, everything=True)
    live = reader.live(KEY)
    (seen,) = reader.sessions()
    assert found is not None
    assert questions(found) == ["one"]
    assert live is not None
    assert live.session.turn is not None
    assert (seen.key, seen.owes) == (KEY, "now")
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in Path(journals.root).rglob("*") if p.is_file()} == before
    one.journal.close()
