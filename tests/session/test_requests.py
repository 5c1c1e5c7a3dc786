"""What calls of `message` and other sessions ask for: taken once, answered once, told where it was asked for."""

from __future__ import annotations

import attrs
import pytest

from nanobot.messages import CallId, CallState, MessageId, Outbound, OutboundId, Reply, TurnEnd, TurnNumber
from nanobot.session import effects as ef
from nanobot.session import events as ev
from nanobot.session import records as r
from nanobot.session.starts import salvage
from nanobot.session.state import ImpossibleEvent, Owed
from tests.session.strategies import AT, BOB, Driver, call, commanded, drive, reads, said, speaks

HERE, THERE = "test:default:room", "test:default:other"
REQUEST = f"{HERE}/1.1.c1"


def speaking(*after: str) -> Driver:
    """A turn of Ann's in which `c1` is a call of `message`, and calls that write come after it."""
    driver = drive(said("m1"))
    driver.answer("", speaks("c1"), *(call(one) for one in after))
    return driver


def said_here(text: str = "by the way") -> Driver:
    """It has said something to its own chat, and it has arrived; the model is asked again."""
    driver = speaking()
    driver.message("c1", text)
    driver.delivered()
    driver.end("c1")
    return driver


def outcome(driver: Driver, call_id: str = "c1") -> CallState:
    turns = [driver.session.turn.entries] if driver.session.turn else [one.entries for one in driver.session.exchanges]
    return next(c.state for entries in turns for e in entries if isinstance(e, Reply) for c in e.calls if c.id == call_id)


# --- to its own chat


def test_a_message_is_queued_in_mid_turn_and_answers_what_was_asked_so_far() -> None:
    driver = speaking()
    plan = driver.message("c1")
    assert [type(record) for record in plan.records] == [r.Queued, r.Sending]
    (pending,) = driver.session.outbox
    assert (pending.outbound.text, pending.outbound.reply_to, pending.outbound.request) == ("by the way", "m1", REQUEST)
    assert driver.session.turn
    assert driver.session.turn.open_calls


@pytest.mark.parametrize("to", ["", THERE])
@pytest.mark.parametrize("crashes", [0, 1])
def test_what_is_asked_for_again_is_taken_once_also_after_a_crash(to: str, crashes: int) -> None:
    driver = speaking()
    driver.message("c1", to=to)
    for _ in range(crashes):
        assert ef.RunCalls(TurnNumber(1), (CallId("c1"),)) in driver.crash().effects
    assert driver.message("c1", to=to).records == ()
    assert len(driver.records(r.Queued)) + len(driver.records(r.Promised)) == 1


def test_a_call_that_comes_again_in_a_later_answer_is_another_request() -> None:
    driver = said_here("one")
    driver.answer("", speaks("c1"))
    driver.message("c1", "two")
    assert driver.texts == ["one", "two"]


@pytest.mark.parametrize(("asked", "state"), [(True, CallState.DONE), (False, CallState.NOT_RUN)])
@pytest.mark.parametrize("end", ["stop", "crashes"])
def test_a_turn_that_is_given_up_says_whether_the_message_was_queued(asked: bool, state: CallState, end: str) -> None:
    driver = speaking()
    if asked:
        driver.message("c1")
    if end == "stop":
        driver.tell(commanded("s1", ev.Stop()))
        driver.emptied()
    else:
        driver.crash()
        driver.crash()
    assert outcome(driver) is state


def test_after_a_crash_a_message_behind_a_call_of_unknown_outcome_is_for_the_model_to_decide() -> None:
    driver = drive(said("m1"))
    driver.answer("", call("c1"), speaks("c2"))
    driver.crash()
    assert outcome(driver, "c2") is CallState.NOT_RUN
    assert driver.ran() == ["c1"]


@pytest.mark.parametrize("state", ["stopping", "ended", "settled"])
def test_a_message_that_comes_too_late_is_not_sent(state: str) -> None:
    driver = speaking("c2")
    if state == "settled":
        driver.end("c1")
    else:
        driver.tell(commanded("s1", ev.Stop()))
    if state == "ended":
        driver.emptied()
    assert driver.tell(ev.MessageAsked(TurnNumber(1), CallId("c1"), AT, "late")).records == ()


def test_nobody_can_ask_in_the_name_of_a_call_that_was_never_made() -> None:
    with pytest.raises(ImpossibleEvent):
        speaking().message("c9")


# --- the answer after it


@pytest.mark.parametrize("answer", ["by the way", " by  the\nway "])
def test_an_answer_in_the_words_of_the_message_is_not_said_again(answer: str) -> None:
    driver = said_here()
    driver.answer(answer)
    assert driver.texts == ["by the way"]
    assert driver.session.exchanges[0].end is TurnEnd.ANSWERED


@pytest.mark.parametrize("answer", ["by the way", ""])
def test_who_spoke_after_the_message_gets_the_answer_all_the_same(answer: str) -> None:
    driver = speaking()
    driver.message("c1")
    driver.tell(said("m2"))
    driver.end("c1")
    driver.answer(answer)
    if not answer:
        driver.answer("by the way")
    assert driver.texts == ["by the way"] * 2
    assert driver.records(r.Queued)[-1].outbound.also_answers == ("m2",)


@pytest.mark.parametrize("to", ["", THERE])
def test_an_empty_answer_ends_the_turn_quietly_only_if_its_own_chat_was_told(to: str) -> None:
    driver = speaking()
    driver.message("c1", to=to)
    driver.end("c1")
    driver.answer("")
    assert (driver.session.turn is None) == (to == "")
    assert driver.texts == ([] if to else ["by the way"])


def test_a_quiet_end_begins_the_next_turn() -> None:
    driver = said_here()
    driver.tell(said("m2", BOB))
    driver.answer("")
    assert driver.session.turn
    assert driver.session.turn.inputs == ("m2",)


def test_a_message_that_could_not_be_delivered_answers_nothing() -> None:
    driver = speaking()
    driver.message("c1")
    driver.refused()
    driver.end("c1")
    driver.answer("by the way")
    assert driver.texts == ["by the way"] * 2


# --- to another chat


def elsewhere() -> tuple[Driver, Driver]:
    """A message is owed to another session, and that session."""
    driver = speaking()
    driver.message("c1", "hello there", THERE)
    return driver, Driver(attrs.evolve(Driver().session, key=THERE))


def handed(owed: Owed) -> ev.Handed:
    return ev.Handed(owed.id, owed.text, owed.at, owed.attachments, owed.origin)


def test_row_42_a_message_to_another_chat_is_owed_taken_there_once_and_paid() -> None:
    driver, other = elsewhere()
    (owed,) = driver.session.owed
    assert owed == Owed(REQUEST, THERE, "hello there", AT, (), HERE)
    assert driver.last.effects == (ef.Pay(owed),)
    other.tell(handed(owed))
    assert ef.Pay(owed) in driver.crash().effects
    assert other.tell(handed(owed)).records == ()
    driver.tell(ev.PaidTo(owed.id))
    assert driver.session.owed == ()
    assert (driver.texts, other.texts) == ([], ["hello there"])


@pytest.mark.parametrize(("origin", "notices"), [(HERE, 1), ("", 0)])
def test_a_dead_letter_is_told_once_in_the_chat_that_asked_and_a_notice_makes_none(origin: str, notices: int) -> None:
    driver, other = elsewhere()
    other.tell(ev.Handed("x", "hello there", AT, origin=origin))
    other.refused()
    assert len(other.session.owed) == notices
    for owed in other.session.owed:
        assert owed.to == HERE
        driver.tell(handed(owed), handed(owed))
        driver.refused()
        assert len(driver.texts) == 1
        assert "no such chat" in driver.texts[0]
        assert [o.to for o in driver.session.owed] == [THERE]


# --- letters


def dead_letter(*, perhaps: bool = False) -> Driver:
    driver = drive(commanded("t1", ev.Tell("one")), commanded("t2", ev.Tell("two")))
    if perhaps:
        driver.tell(ev.SendUnknown(OutboundId("o1"), 0, AT, "?", keyed=False), ev.Woke(AT + 10.0))
    driver.refused()
    return driver


def test_a_dead_letter_is_tried_again_under_its_id_behind_what_waits() -> None:
    driver = dead_letter()
    driver.tell(ev.LetterRetried(OutboundId("o1"), AT))
    assert [p.outbound.id for p in driver.session.outbox] == ["o2", "o1"]
    assert driver.session.dead == ()
    assert driver.tell(ev.LetterRetried(OutboundId("o1"), AT)).records == ()
    assert driver.delivered().effects == (ef.Send(OutboundId("o1"), 0),)


def test_a_dead_letter_goes_at_once_where_nothing_waits() -> None:
    driver = dead_letter()
    driver.delivered()
    assert driver.tell(ev.LetterRetried(OutboundId("o1"), AT)).effects == (ef.Send(OutboundId("o1"), 0),)


def test_a_letter_that_perhaps_arrived_is_perhaps_doubled_when_it_is_tried_again() -> None:
    driver = dead_letter(perhaps=True)
    driver.delivered()
    driver.tell(ev.LetterRetried(OutboundId("o1"), AT))
    driver.delivered()
    assert [out.text for out in driver.session.doubled] == ["one"]


@pytest.mark.parametrize("parts", [(), ("o", "ne")])
def test_what_arrived_after_an_attempt_without_an_answer_is_listed_once(parts: tuple[str, ...]) -> None:
    driver = drive(commanded("t1", ev.Tell("one")))
    if parts:
        driver.tell(ev.SplitInto(OutboundId("o1"), parts))
    for part in range(len(parts) or 1):
        driver.tell(ev.SendUnknown(OutboundId("o1"), part, AT, "?", keyed=False), ev.Woke(AT + 10.0))
        driver.delivered()
    assert [out.id for out in driver.session.doubled] == ["o1"]


def test_what_arrived_in_part_before_it_was_refused_has_perhaps_arrived() -> None:
    driver = drive(commanded("t1", ev.Tell("one")))
    driver.tell(ev.SplitInto(OutboundId("o1"), ("o", "ne")))
    driver.delivered()
    driver.refused()
    assert driver.session.dead[0].perhaps_delivered


@pytest.mark.parametrize("doubled", [False, True])
def test_a_letter_that_was_seen_is_forgotten(doubled: bool) -> None:
    driver = dead_letter()
    if doubled:
        out = Outbound(OutboundId("o1"), "one", AT)
        driver.session = attrs.evolve(driver.session, dead=(), doubled=(out,))
    driver.tell(ev.LetterDropped(OutboundId("o1")))
    assert (driver.session.dead, driver.session.doubled) == ((), ())
    assert driver.tell(ev.LetterDropped(OutboundId("o1"))).records == ()


def test_a_cut_keeps_letters_within_bounds_and_requests_that_may_come_again() -> None:
    driver = said_here()
    out = Outbound(OutboundId("o9"), "one", AT)
    session = attrs.evolve(driver.session, doubled=(out,) * 500).pruned(AT)
    assert len(session.doubled) == 100
    assert MessageId(REQUEST) in session.seen


def test_of_a_damaged_journal_it_is_told_what_was_owed_and_nothing_is_sent() -> None:
    driver, _ = elsewhere()
    kept, told = salvage(driver.session, AT)
    assert kept.owed == ()
    assert "hello there" in told


def test_reading_goes_on_beside_a_message_that_runs_again() -> None:
    driver = drive(said("m1"))
    driver.answer("", speaks("c1"), reads("c2"))
    driver.message("c1")
    assert driver.crash().effects[0] == ef.RunCalls(TurnNumber(1), (CallId("c1"), CallId("c2")))
