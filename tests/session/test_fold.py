"""The fold of records is the state, wherever it is begun; and booking knows no policy."""

from __future__ import annotations

import json
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanobot.messages import CallId, CallState, ErrandId, MessageId, OutboundId, Reply, TurnEnd, TurnNumber
from nanobot.session import events as ev
from nanobot.session import records as r
from nanobot.session.codec import decode, decode_session, encode, encode_session
from nanobot.session.fold import apply, apply_all
from nanobot.session.state import ImpossibleEvent, SeenIds, Session
from tests.session.strategies import AT, BOB, Driver, approval, background, call, commanded, reads, said


def a_life() -> Driver:
    """A session in which nearly everything happens."""
    driver = Driver()
    driver.tell(said("m1"), said("m2", BOB))
    driver.answer("", call("c1"), reads("c2"))
    driver.end("c1", CallState.DEFERRED, "asked", approval("e1"))
    driver.crash()
    driver.end("c2")
    driver.answer("Half", length=True)
    driver.answer(" done.")
    driver.tell(ev.ChannelDown(OutboundId("o1"), 0, AT, "down"), ev.ChannelUp(AT), ev.SplitInto(OutboundId("o1"), ("a", "b")))
    driver.delivered()
    driver.answer("", call("c3"))
    driver.end("c3", CallState.DEFERRED, "spawned", background("e2"))
    driver.tell(commanded("s1", ev.Stop()), said("m3"))
    driver.emptied()
    driver.tell(ev.DrainAsked(AT))
    driver.emptied()
    driver.tell(ev.Opened(AT, crashed=False))
    driver.answer("Yes.")
    driver.tell(ev.ConsolidationDue(AT, 1), said("m4"))
    driver.answer("Yes.")
    driver.tell(ev.ConsolidationDue(AT, 2), ev.Consolidated(AT, 2), commanded("u1", ev.Undo()))
    driver.tell(commanded("x1", ev.ChooseModel("fast")), commanded("q1", ev.Ask("/status")))
    driver.tell(ev.SendRefused(OutboundId("o1"), 1, AT, "no"), commanded("n1", ev.New()))
    return driver


def through_json(session: Session, records: list[r.Record]) -> tuple[Session, list[r.Record]]:
    snapshot, rows = json.loads(json.dumps([encode_session(session), encode(records)]))
    return decode_session(snapshot), decode(rows)


def test_the_journal_folds_to_the_state() -> None:
    driver = a_life()
    assert apply_all(Session(driver.session.key), driver.journal) == driver.session


def test_a_snapshot_anywhere_and_the_rest_fold_to_the_same_state() -> None:
    driver = a_life()
    for place in range(len(driver.journal) + 1):
        before = apply_all(Session(driver.session.key), driver.journal[:place])
        snapshot, rest = through_json(before, driver.journal[place:])
        assert apply_all(snapshot, rest) == driver.session


def test_apply_all_is_apply_one_by_one() -> None:
    driver = a_life()
    assert reduce(apply, driver.journal, Session(driver.session.key)) == driver.session


TURN = TurnNumber(1)


@pytest.mark.parametrize(
    "record",
    [
        r.TurnStarted(TURN, BOB, (MessageId("nobody"),), AT),
        r.Joined(TURN, (MessageId("nobody"),)),
        r.Answered(TURN, Reply("hello")),
        r.CallsStarted(TURN, (CallId("c1"),)),
        r.CallSettled(TURN, CallId("c1"), CallState.DONE, ""),
        r.StepBegun(TURN, 2),
        r.TurnEnded(TURN, TurnEnd.ANSWERED, AT),
        r.Suspended(TURN),
        r.Sending(OutboundId("o1"), 0, 1),
        r.Delivered(OutboundId("o1"), 0, AT),
        r.SendDeferred(OutboundId("o1"), AT, "busy", 1.0),
        r.PartsFixed(OutboundId("o1"), ("a", "b")),
        r.ConsolidationEnded("done"),
    ],
    ids=lambda record: type(record).__name__,
)
def test_a_record_that_does_not_fit_is_not_booked(record: r.Record) -> None:
    with pytest.raises(ImpossibleEvent):
        apply(Session("test:default:room"), record)


def test_a_record_of_another_turn_is_not_booked() -> None:
    driver = Driver()
    driver.tell(said("m1"))
    with pytest.raises(ImpossibleEvent):
        apply(driver.session, r.Answered(TurnNumber(7), Reply("hello")))


def test_closing_and_paying_twice_is_harmless() -> None:
    session = Session("test:default:room")
    late: list[r.Record] = [r.ErrandClosed(ErrandId("e1"), "ended"), r.Paid("w1"), r.DeadLettered(OutboundId("o1"), "", AT)]
    assert apply_all(session, late) == session


# --- the dedupe window

ids = st.sampled_from("abcdef").map(MessageId)


@given(st.lists(st.tuples(st.integers(0, 9), ids)))
def test_versions_of_the_window_are_independent_though_they_share(adds: list[tuple[int, MessageId]]) -> None:
    versions: list[tuple[SeenIds, tuple[MessageId, ...]]] = [(SeenIds(), ())]
    for place, message_id in adds:
        seen, listed = versions[place % len(versions)]
        versions.append((seen.add(message_id, AT), listed if message_id in listed else (*listed, message_id)))
    for seen, listed in versions:
        assert [message_id for message_id, _ in seen] == list(listed)
        assert (len(seen), all(one in seen for one in listed)) == (len(listed), True)
        assert not any(one in seen for one in map(MessageId, "abcdef") if one not in listed)
        assert seen == SeenIds((one, AT) for one in listed)


def test_an_id_leaves_the_window_when_it_is_old_and_behind_enough_newer_ones() -> None:
    seen = SeenIds([(MessageId("old"), 0.0), (MessageId("older but few behind"), 1.0), (MessageId("new"), 90.0)])
    assert [one for one, _ in seen.pruned(100.0, keep_s=50.0, keep_count=2)] == ["older but few behind", "new"]
    assert seen.pruned(100.0, keep_s=200.0, keep_count=0) == seen


def test_a_cut_keeps_what_may_come_again() -> None:
    driver = Driver()
    driver.tell(said("m1"))
    assert "m1" in driver.session.pruned(AT + 10 * 24 * 3600.0).seen
