"""Scheduled work in a session: a turn of its own after the one that runs, behind people, within bounds of its own."""

from __future__ import annotations

from itertools import permutations

import pytest

from nanobot.messages import MessageId, Origin, TurnEnd, TurnNumber
from nanobot.session import events as ev
from nanobot.session import records as r
from nanobot.session import sentences
from nanobot.session.state import Idle, StopReason, Thinking
from tests.session.strategies import ANN, AT, BOB, Driver, call, commanded, drive, said


def due(name: str, by: str = ANN) -> ev.Received:
    return said(name, by, "do it", Origin.JOB)


def turns(driver: Driver) -> list[list[str]]:
    """What each turn took."""
    return [list(record.inputs) for record in driver.journal if isinstance(record, r.TurnStarted)]


def all_answered(driver: Driver) -> list[list[str]]:
    while not isinstance(driver.session.state, Idle):
        driver.answer("Done.")
    return turns(driver)


def test_it_joins_no_turn_of_who_made_it() -> None:
    driver = drive(said("m1"))
    driver.tell(due("j1"), said("m2"))
    driver.answer("", call("c1"))
    driver.end("c1")
    assert driver.session.turn is not None
    assert driver.session.turn.inputs == ("m1", "m2")
    assert all_answered(driver) == [["m1"], ["j1"]]


def test_nobody_joins_its_turn_whoever_made_it() -> None:
    driver = drive(due("j1"))
    driver.tell(said("m1"), due("j2"))
    driver.answer("", call("c1"))
    driver.end("c1")
    assert driver.session.turn is not None
    assert driver.session.turn.inputs == ("j1",)
    assert all_answered(driver) == [["j1"], ["m1"], ["j2"]]


WAITING = {"a1": said("a1"), "a2": said("a2"), "b1": said("b1", BOB), "j1": due("j1"), "j2": due("j2", BOB)}


@pytest.mark.parametrize("order", list(permutations(WAITING)), ids=",".join)
def test_people_go_first_in_their_order_and_each_piece_of_work_is_alone(order: tuple[str, ...]) -> None:
    driver = drive(said("m0", "test:default:room:cid"))
    driver.tell(*(WAITING[name] for name in order))
    people = [name for name in order if name[0] != "j"]
    jobs = [name for name in order if name[0] == "j"]
    [[first], *others] = all_answered(driver)
    assert first == "m0"
    assert [name for turn in others for name in turn] == people + jobs
    assert all(len({name[0] for name in turn}) == 1 for turn in others)
    assert others[-2:] == [[name] for name in jobs]
    assert len(others) == 2 + (2 if people.index("b1") != 1 else 3)


def test_a_copy_of_it_does_nothing() -> None:
    driver = drive(due("j1"))
    driver.answer("Done.")
    assert driver.tell(due("j1")).records == ()


@pytest.mark.parametrize("why", [StopReason.DEADLINE, StopReason.RUN_DEADLINE, StopReason.TOKENS])
@pytest.mark.parametrize("crashed", [False, True])
def test_a_bound_ends_it_and_says_which(why: StopReason, *, crashed: bool) -> None:
    driver = drive(due("j1"))
    driver.answer("", call("c1"))
    driver.tell(ev.DeadlinePassed(TurnNumber(1), AT, why))
    driver.crash() if crashed else driver.emptied()
    assert driver.session.exchanges[0].end is TurnEnd.DEADLINE
    assert driver.texts == [sentences.OVER_BOUNDS[why]]
    assert driver.session.outbox[0].outbound.reply_to == MessageId("j1")


def test_a_bound_in_the_middle_of_a_consolidation_ends_it_too() -> None:
    driver = drive(said("m1"))
    driver.answer("Done.")
    driver.tell(due("j1"))
    driver.full(1, consolidate=True)
    driver.tell(ev.DeadlinePassed(TurnNumber(2), AT, StopReason.TOKENS))
    driver.emptied()
    assert driver.texts[-1] == sentences.OVER_BOUNDS[StopReason.TOKENS]


def test_a_person_stops_it_and_what_waits_with_it() -> None:
    driver = drive(due("j1"))
    driver.tell(due("j2"), commanded("c1", ev.Stop()))
    driver.emptied()
    assert isinstance(driver.session.state, Idle)
    assert driver.session.exchanges[0].end is TurnEnd.STOPPED
    assert driver.session.inbox == ()


def test_a_crash_takes_it_up_again_alone() -> None:
    driver = drive(due("j1"))
    driver.tell(said("m1"))
    driver.crash()
    assert isinstance(driver.session.state, Thinking)
    assert all_answered(driver) == [["j1"], ["m1"]]
