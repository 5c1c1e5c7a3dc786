"""What the session machine decides, case by case. `test_row_N` keeps the rule of row N in the list of ways to break it.

Every step of every test is also checked against tests/session/rules.py by the driver.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from nanobot.messages import (
    Button,
    CallId,
    CallState,
    Effect,
    ErrandId,
    Exchange,
    MessageId,
    Note,
    OutboundId,
    Reply,
    Said,
    TurnEnd,
    TurnNumber,
    Usage,
)
from nanobot.session import calls, delivery, sentences
from nanobot.session import effects as ef
from nanobot.session import events as ev
from nanobot.session import machine as m
from nanobot.session import records as r
from nanobot.session.fold import apply_all
from nanobot.session.machine import step
from nanobot.session.plan import Limits
from nanobot.session.state import (
    AwaitingTool,
    Consolidating,
    ErrandKind,
    Idle,
    ImpossibleEvent,
    Owed,
    SeenIds,
    Session,
    Stopping,
    Thinking,
)
from nanobot.session.turns import MOST_PREEMPTIONS
from tests.session.strategies import ANN, AT, BOB, Driver, approval, asking, background, call, commanded, drive, reads, said

DAY = 24 * 3600.0


def outcomes(exchange: Exchange) -> dict[str, CallState]:
    return {c.id: c.state for entry in exchange.entries if isinstance(entry, Reply) for c in entry.calls}


def busy(*asked: str) -> Driver:
    """A turn of Ann's that runs `asked`, each call writing."""
    driver = drive(said("m1"))
    driver.answer("", *(call(one) for one in asked))
    return driver


def closed() -> Driver:
    """A turn of Ann's that wrote, was answered and shown."""
    driver = busy("c1")
    driver.end("c1")
    driver.answer("Done.")
    driver.delivered()
    return driver


# --- a line at a time


def test_a_message_is_accepted_and_begins_a_turn_in_one_line() -> None:
    plan = drive(said("m1")).last
    assert [type(record) for record in plan.records] == [r.Accepted, r.TurnStarted]
    assert plan.effects == (ef.CallModel(TurnNumber(1), 1),)


def test_row_3_the_answer_and_its_message_stand_in_one_line() -> None:
    plan = drive(said("m1")).answer("Hello!")
    assert [type(record) for record in plan.records] == [r.Answered, r.TurnEnded, r.Queued, r.Sending]
    assert plan.effects == (ef.Send(OutboundId("o1"), 0),)


def test_row_4_a_call_is_written_as_started_in_the_line_before_it_runs() -> None:
    plan = busy("c1", "c2").last
    (answer,) = plan.records
    assert isinstance(answer, r.Answered)
    assert [c.state for c in answer.reply.calls] == [CallState.STARTED, CallState.REQUESTED]
    assert plan.effects == (ef.RunCalls(TurnNumber(1), (CallId("c1"),)),)


COMMANDS = (ev.New(), ev.Undo(), ev.Retry(confirmed=True), ev.Tell("help"), ev.Ask("/status"), ev.Stop())


@pytest.mark.parametrize("command", COMMANDS)
def test_row_19_a_copy_of_a_command_does_nothing(command: ev.Command) -> None:
    driver = closed()
    driver.tell(commanded("x1", command))
    assert driver.tell(commanded("x1", command)).records == ()


def test_row_19_a_copy_of_an_approval_runs_nothing_twice() -> None:
    driver = waiting_for_approval()
    driver.tell(commanded("x1", ev.Approve(ErrandId("e1"))), commanded("x1", ev.Approve(ErrandId("e1"))))
    assert driver.effects.count(ef.RunErrand(ErrandId("e1"))) == 1


@pytest.mark.parametrize("answer", ["", "Done."])
def test_a_copy_of_a_message_does_nothing_in_the_turn_and_after_it(answer: str) -> None:
    driver = drive(said("m1"))
    if answer:
        driver.answer(answer)
    assert driver.tell(said("m1")).records == ()


def test_row_20_a_flood_is_refused_told_once_and_known_when_it_comes_again() -> None:
    driver = drive(said("m0"), *(said(f"b{n}", BOB) for n in range(m.MOST_WAITING)))
    assert len(driver.session.inbox) == m.MOST_WAITING
    plan = driver.tell(said("one more"), said("two more"))
    assert plan.records == (r.Noticed(MessageId("two more"), AT, "too many waiting"),)
    assert driver.texts == [sentences.TOO_MANY_WAITING]
    assert driver.tell(said("one more")).records == ()


# --- one line ends a turn and begins the next


def test_row_24_the_line_that_ends_a_turn_begins_the_next() -> None:
    driver = drive(said("m1"), said("m2", BOB))
    plan = driver.answer("Done.")
    assert [type(record) for record in plan.records] == [r.Answered, r.TurnEnded, r.Queued, r.Sending, r.TurnStarted]
    assert isinstance(driver.session.state, Thinking)
    assert driver.session.state.turn.inputs == ("m2",)


def test_row_25_a_stop_cancels_with_its_line_and_ends_when_nothing_runs() -> None:
    driver = busy("c1")
    assert driver.tell(commanded("s1", ev.Stop())).effects == (ef.CancelTurn(TurnNumber(1)),)
    assert isinstance(driver.session.state, Stopping)
    driver.emptied()
    assert outcomes(driver.session.exchanges[0]) == {"c1": CallState.CUT}
    assert "Cut while running: shell" in driver.texts[0]


def test_what_finished_before_the_cancel_reached_it_is_kept() -> None:
    driver = busy("c1", "c2")
    driver.tell(commanded("s1", ev.Stop()))
    driver.end("c1")
    driver.emptied()
    assert outcomes(driver.session.exchanges[0]) == {"c1": CallState.DONE, "c2": CallState.NOT_RUN}


@pytest.mark.parametrize(("ended", "outcome"), [(["c1"], CallState.DONE), ([], CallState.CUT)])
def test_a_stop_settles_what_waits_while_a_call_runs(ended: list[str], outcome: CallState) -> None:
    driver = busy("c1")
    driver.tell(said("m2"), said("m3", BOB), commanded("s1", ev.Stop()))
    for one in ended:
        driver.end(one)
    driver.emptied()
    assert outcomes(driver.session.exchanges[0]) == {"c1": outcome}
    assert isinstance(driver.session.state, Idle)
    assert driver.session.outbox[0].outbound.also_answers == ("m1", "m2", "m3")
    assert "2 waiting messages were set aside" in driver.texts[0]


def test_row_26_a_stop_survives_a_crash_and_later_messages_open_the_next_turn() -> None:
    driver = busy("c1")
    driver.tell(commanded("s1", ev.Stop()), said("m2"))
    plan = driver.crash()
    assert driver.session.exchanges[0].end is TurnEnd.STOPPED
    assert ef.CallModel(TurnNumber(1), 2) not in plan.effects
    assert driver.session.turn
    assert driver.session.turn.inputs == ("m2",)


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        (ev.Stop(), ev.New(), sentences.NEW_CONVERSATION),
        (ev.New(), ev.Stop(), sentences.NEW_CONVERSATION),
        (ev.Stop(), ev.Stop(), "Stopped. 1 waiting message was set aside."),
    ],
)
def test_two_stops_settle_all_that_came_before_and_answer_both(first: ev.Command, second: ev.Command, text: str) -> None:
    driver = drive(said("m1"), commanded("s1", first), said("m2"), commanded("s2", second))
    driver.emptied()
    assert driver.texts == [text]
    outbound = driver.session.outbox[0].outbound
    assert (outbound.reply_to, *outbound.also_answers) == ("s1", "s2", "m1", "m2")
    assert isinstance(driver.session.state, Idle)


@pytest.mark.parametrize("command", [ev.Stop(), ev.New()])
def test_a_stop_settles_what_waits_where_no_turn_runs(command: ev.Command) -> None:
    driver = drive(ev.DrainAsked(AT), said("m1"), said("m2", BOB), commanded("s1", command))
    assert driver.session.inbox == ()
    assert ef.CallModel(TurnNumber(1), 1) not in driver.effects


def test_a_stop_with_nothing_to_stop_says_so() -> None:
    driver = drive(commanded("s1", ev.Stop()))
    assert driver.texts == [sentences.NOTHING_TO_STOP]


def test_new_begins_a_conversation_and_keeps_the_ids() -> None:
    driver = closed()
    plan = driver.tell(commanded("n1", ev.New()))
    assert ef.CutJournal() in plan.effects
    assert (driver.session.exchanges, driver.session.cursor) == ((), 1)
    assert driver.tell(said("m1")).records == ()


def test_a_deadline_stops_the_turn_and_says_so() -> None:
    driver = busy("c1")
    assert driver.tell(ev.DeadlinePassed(TurnNumber(1), AT)).effects == (ef.CancelTurn(TurnNumber(1)),)
    driver.emptied()
    assert driver.session.exchanges[0].end is TurnEnd.DEADLINE
    assert driver.texts == [sentences.DEADLINE]


def test_a_deadline_reaches_a_turn_that_waits_for_memory() -> None:
    driver = closed()
    driver.tell(said("m2"))
    driver.full(1, consolidate=True)
    plan = driver.tell(ev.DeadlinePassed(TurnNumber(2), AT))
    assert plan.effects == (ef.CancelConsolidation(), ef.CancelTurn(TurnNumber(2)))


# --- crashes


@pytest.mark.parametrize(
    ("effect", "state"),
    [(Effect.WRITES, CallState.UNKNOWN_AFTER_CRASH), (Effect.RECORDS, CallState.STARTED), (Effect.READS, CallState.STARTED)],
)
def test_row_27_after_a_crash_a_started_call_is_unknown_or_runs_again(effect: Effect, state: CallState) -> None:
    driver = drive(said("m1"))
    driver.answer("", call("c1", effect=effect))
    plan = driver.crash()
    assert driver.session.turn
    assert driver.session.turn.reply.calls[0].state is state
    again = ef.RunCalls(TurnNumber(1), (CallId("c1"),))
    assert plan.effects == ((ef.CallModel(TurnNumber(1), 2),) if effect is Effect.WRITES else (again,))


def test_row_27_after_a_crash_a_call_that_had_not_begun_is_not_run() -> None:
    driver = busy("c1", "c2")
    driver.crash()
    assert driver.session.turn
    assert [c.state for c in driver.session.turn.reply.calls] == [CallState.UNKNOWN_AFTER_CRASH, CallState.NOT_RUN]
    assert driver.ran() == ["c1"]


def test_row_28_the_second_crash_in_one_turn_ends_it_and_says_so() -> None:
    driver = drive(said("m1"))
    plan = driver.crash()
    assert plan.records[0] == r.Restarted(AT, crashed=True)
    assert plan.effects == (ef.CallModel(TurnNumber(1), 2),)
    plan = driver.crash()
    assert driver.session.exchanges[0].end is TurnEnd.CRASHED
    assert driver.texts == [sentences.CRASHED_TWICE]
    assert not any(isinstance(effect, ef.CallModel) for effect in plan.effects)


def test_row_35_a_drain_puts_the_turn_aside_and_is_not_counted() -> None:
    driver = drive(said("m1"))
    for _ in range(5):
        driver.tell(ev.DrainAsked(AT))
        driver.emptied()
        driver.tell(ev.Opened(AT, crashed=False))
    assert driver.session.turn
    assert (driver.session.turn.restarts, driver.session.turn.suspended) == (0, False)


def test_a_drain_accepts_messages_and_begins_no_turn() -> None:
    driver = drive(ev.DrainAsked(AT), said("m1"))
    assert isinstance(driver.session.state, Idle)
    plan = driver.tell(ev.Opened(AT, crashed=False))
    assert ef.CallModel(TurnNumber(1), 1) in plan.effects


OPEN_ENDS: dict[str, tuple[ev.Event, ...]] = {
    "turn": (said("m1"), said("m2", BOB)),
    "stopping": (said("m1"), commanded("s1", ev.Stop()), said("m2", BOB)),
    "waiting": (ev.DrainAsked(AT), said("m1"), said("m2", BOB)),
    "question": (commanded("q1", ev.Ask("/status")),),
}


@pytest.mark.parametrize("events", OPEN_ENDS.values(), ids=OPEN_ENDS.keys())
def test_without_leave_to_resume_everything_is_told_and_nothing_begins(events: tuple[ev.Event, ...]) -> None:
    driver = drive(*events)
    before = driver.session.next_turn
    plan = driver.tell(ev.Opened(AT, crashed=True, resume=False))
    assert {type(effect) for effect in plan.effects} == {ef.Send}
    assert isinstance(driver.session.state, Idle)
    assert driver.session.next_turn - before <= 1


def test_row_33_after_a_start_work_and_sending_start_anew_however_long_it_was() -> None:
    driver = drive(said("m1"))
    driver.answer("Done.")
    driver.tell(said("m2"), ev.Opened(AT + 2 * DAY, crashed=True))
    assert isinstance(driver.session.state, Thinking)
    head = driver.session.outbox[0]
    assert (head.sending, driver.session.dead) == (True, ())
    assert driver.last.effects == (ef.CallModel(TurnNumber(2), 2), ef.Send(OutboundId("o1"), 0))


def test_row_33_a_message_at_its_end_is_tried_once_after_a_start() -> None:
    driver = sending(waited_s=DAY)
    assert ef.Send(OutboundId("o1"), 0) in driver.tell(ev.Opened(AT, crashed=True)).effects
    driver.tell(ev.SendFailed(OutboundId("o1"), 0, AT, "busy"))
    assert [letter.reason for letter in driver.session.dead] == ["busy"]


# --- who steers


def test_row_31_only_the_turns_principal_joins_it() -> None:
    driver = busy("c1")
    driver.tell(said("m2", BOB), said("m3"))
    plan = driver.end("c1")
    assert r.Joined(TurnNumber(1), (MessageId("m3"),)) in plan.records
    assert [one.id for one in driver.session.inbox] == ["m2"]
    driver.answer("Done.")
    assert driver.session.turn
    assert (driver.session.turn.principal, driver.session.turn.inputs) == (BOB, ("m2",))


def test_a_turn_begins_with_all_that_its_principal_said_in_a_row() -> None:
    driver = drive(said("m1", BOB), *(said(i, by) for i, by in [("m2", ANN), ("m3", ANN), ("m4", BOB), ("m5", ANN)]))
    driver.tell(ev.ModelFailed(TurnNumber(1), 1, AT, "server", "It failed."))
    assert driver.session.turn
    assert driver.session.turn.inputs == ("m2", "m3")


# --- errands


def waiting_for_approval() -> Driver:
    driver = busy("c1")
    driver.end("c1", CallState.DEFERRED, "asked", approval("e1"))
    driver.answer("I have asked for it.")
    driver.delivered()
    return driver


def test_a_call_that_must_be_allowed_is_asked_for_and_the_turn_goes_on() -> None:
    driver = drive(said("m1"))
    driver.tell(asking(TurnNumber(1), 1, AT, ErrandId("e1"), "c1"))
    assert driver.session.errand("e1") == approval("e1")
    assert [pending.outbound.buttons for pending in driver.session.outbox] == [(Button("Yes", "/approve e1"),)]
    assert driver.effects[-1] == ef.CallModel(TurnNumber(1), 2)
    driver.answer("I have asked for it.")
    assert driver.texts == ["May I?", "I have asked for it."]


def test_its_end_answers_the_message_that_approved_it() -> None:
    driver = waiting_for_approval()
    driver.tell(commanded("x1", ev.Approve(ErrandId("e1"))), ev.ErrandEnded(ErrandId("e1"), AT, "removed"))
    driver.answer("It is gone.")
    assert driver.session.outbox[-1].outbound.reply_to == "x1"


def test_an_approval_of_another_chat_is_looked_for_there() -> None:
    driver = drive(commanded("x1", ev.Approve(ErrandId("e9"))))
    assert [errand.text for errand in driver.session.errands] == ["/approve e9"]


def test_a_drain_begins_nothing_that_waits_for_a_word() -> None:
    driver = waiting_for_approval()
    driver.tell(ev.DrainAsked(AT), commanded("x1", ev.Approve(ErrandId("e1"))))
    assert driver.session.errand("e1") == approval("e1")
    assert driver.texts[-1] == sentences.APPROVE_LATER


@pytest.mark.parametrize("kind", [ErrandKind.APPROVAL, ErrandKind.BACKGROUND])
def test_a_drain_cuts_what_runs_beside_turns_and_the_next_start_tells(kind: ErrandKind) -> None:
    if kind is ErrandKind.APPROVAL:
        driver = waiting_for_approval()
        driver.tell(commanded("x1", ev.Approve(ErrandId("e1"))))
    else:
        driver = busy("c1")
        driver.end("c1", CallState.DEFERRED, "spawned", background("e1"))
        driver.answer("It runs.")
    plan = driver.tell(ev.DrainAsked(AT))
    assert ef.CancelErrand(ErrandId("e1")) in plan.effects
    assert driver.session.errands == ()
    driver.tell(ev.Opened(AT, crashed=False))
    assert driver.session.turn
    assert "nanobot was stopped" in "".join(e.text for e in driver.session.turn.entries if isinstance(e, Said))


def test_a_yes_that_comes_too_late_runs_nothing() -> None:
    """The message that says so may be the one that opens the session: nobody has looked at the time before."""
    driver = waiting_for_approval()
    plan = driver.tell(attrs.evolve(commanded("x1", ev.Approve(ErrandId("e1"))), at=AT + 3600.0))
    assert r.ErrandClosed(ErrandId("e1"), "expired") in plan.records
    assert ef.RunErrand(ErrandId("e1")) not in plan.effects


def test_what_a_stopped_call_left_running_is_stopped_too() -> None:
    driver = waiting_for_approval()
    driver.tell(commanded("x1", ev.Approve(ErrandId("e1"))), commanded("s1", ev.Stop()))
    plan = driver.tell(ev.ErrandEnded(ErrandId("e1"), AT, "it runs", goes_on=background("c9")))
    assert [type(record).__name__ for record in plan.records] == ["ErrandOpened", "ErrandClosed"]


def test_what_only_waits_for_a_word_was_not_done() -> None:
    driver = drive(said("m1"))
    driver.tell(asking(TurnNumber(1), 1, AT, ErrandId("e1"), "c1"))
    driver.answer("I have asked.")
    driver.tell(commanded("u1", ev.Undo()))
    assert driver.texts[-1] == sentences.undone([])


def test_an_end_that_the_model_knows_already_is_no_input() -> None:
    driver = busy("c1")
    driver.end("c1", CallState.DEFERRED, "spawned", background("e1"))
    driver.answer("It runs.")
    driver.tell(ev.ErrandEnded(ErrandId("e1"), AT, "ended", told=True))
    assert (driver.session.errands, driver.session.turn) == ((), None)


def test_what_an_errand_owes_is_paid() -> None:
    driver = waiting_for_approval()
    owed = Owed("p1", "test:default:other", "hello", AT)
    driver.tell(commanded("x1", ev.Approve(ErrandId("e1"))))
    assert ef.Pay(owed) in driver.tell(ev.ErrandEnded(ErrandId("e1"), AT, "told", promises=(owed,))).effects


@pytest.mark.parametrize(("owner", "idle", "trusted"), [(True, True, 2), (False, True, 0), (True, False, 0)])
def test_trust_is_the_owners_and_for_what_is_over(owner: bool, idle: bool, trusted: int) -> None:
    driver = drive(said("m1"))
    driver.answer("Hello.")
    driver.tell(*([] if idle else [said("m2")]), commanded("x1", ev.Trust(), owner=owner))
    assert driver.session.trusted == trusted


def test_row_32_an_approval_holds_no_turn() -> None:
    driver = waiting_for_approval()
    assert outcomes(driver.session.exchanges[0]) == {"c1": CallState.DEFERRED}
    assert isinstance(driver.session.state, Idle)
    assert driver.session.wake_at == AT + 3600.0


def test_an_approved_call_runs_once_and_its_end_is_an_input() -> None:
    driver = waiting_for_approval()
    approve = commanded("x1", ev.Approve(ErrandId("e1")))
    assert ef.RunErrand(ErrandId("e1")) in driver.tell(approve).effects
    driver.tell(attrs.evolve(approve, id=MessageId("x2")))
    assert driver.texts[-1] == sentences.NO_SUCH_REQUEST
    driver.tell(ev.ErrandEnded(ErrandId("e1"), AT, "removed", tainted=True))
    assert driver.session.turn
    assert driver.session.turn.entries == (Said(MessageId("x1"), "removed", AT, ANN, tainted=True, ours=True),)
    assert driver.effects.count(ef.RunErrand(ErrandId("e1"))) == 1


@pytest.mark.parametrize(
    ("event", "how", "text"),
    [
        (commanded("x1", ev.Deny(ErrandId("e1"))), "denied", sentences.DENIED),
        (ev.Woke(AT + 3600.0), "expired", sentences.EXPIRED),
    ],
)
def test_a_call_that_is_denied_or_expires_is_an_input(event: ev.Event, how: str, text: str) -> None:
    driver = waiting_for_approval()
    driver.tell(ev.Woke(AT + 3599.0), event)
    assert r.ErrandClosed(ErrandId("e1"), how) in driver.last.records
    assert driver.session.turn
    assert [e.text for e in driver.session.turn.entries if isinstance(e, Said)] == [text.format("shell: rm -r old")]
    assert driver.session.errands == ()


@pytest.mark.parametrize("command", [ev.Approve(ErrandId("e1")), ev.Deny(ErrandId("e1"))])
def test_only_the_owner_answers_for_a_call(command: ev.Command) -> None:
    driver = waiting_for_approval()
    driver.tell(commanded("x1", command, BOB, owner=False))
    assert driver.texts[-1] == sentences.NOT_YOURS
    assert driver.session.errand("e1") == approval("e1")


def test_an_open_approval_survives_a_crash_and_a_running_one_is_unknown_then() -> None:
    driver = waiting_for_approval()
    driver.crash()
    assert driver.session.errand("e1") == approval("e1")
    driver.tell(commanded("x1", ev.Approve(ErrandId("e1"))))
    plan = driver.crash()
    assert r.ErrandClosed(ErrandId("e1"), "unknown_after_crash") in plan.records
    assert ef.RunErrand(ErrandId("e1")) not in plan.effects
    assert driver.session.turn


@pytest.mark.parametrize("during", ["idle", "turn"])
def test_a_stop_reaches_errands_and_says_so(during: str) -> None:
    driver = waiting_for_approval()
    driver.tell(commanded("q1", ev.Ask("/status")), *([said("m2")] if during == "turn" else []))
    plan = driver.tell(commanded("s1", ev.Stop()))
    assert driver.session.errands == ()
    assert ef.CancelErrand(ErrandId("q:q1")) in plan.effects
    assert driver.texts[-1] == "Stopped: shell: rm -r old, /status."
    assert driver.tell(ev.ErrandEnded(ErrandId("q:q1"), AT, "late")).records == ()


@pytest.mark.parametrize(("started", "effects"), [(False, ()), (True, (ef.CancelErrand(ErrandId("e1")),))])
def test_a_stop_reaches_an_errand_that_was_born_meanwhile(started: bool, effects: tuple[ef.Effect, ...]) -> None:
    driver = busy("c1")
    driver.tell(commanded("s1", ev.Stop()))
    plan = driver.end("c1", CallState.DEFERRED, "spawned", background("e1", started=started))
    assert (driver.session.errands, plan.effects) == ((), effects)


@pytest.mark.parametrize(("started", "effects"), [(False, (ef.RunErrand(ErrandId("e1")),)), (True, ())])
def test_work_in_the_background_begins_when_it_is_on_disk(started: bool, effects: tuple[ef.Effect, ...]) -> None:
    plan = busy("c1").end("c1", CallState.DEFERRED, "spawned", background("e1", started=started))
    assert plan.effects == (*effects, ef.CallModel(TurnNumber(1), 2))


def test_a_question_is_an_errand_asked_again_after_a_crash_and_answered_to_who_asked() -> None:
    driver = drive(commanded("q1", ev.Ask("/status")))
    assert driver.crash().effects == (ef.RunErrand(ErrandId("q:q1")),)
    driver.tell(ev.ErrandEnded(ErrandId("q:q1"), AT, "All is well."))
    assert [(p.outbound.text, p.outbound.reply_to) for p in driver.session.outbox] == [("All is well.", "q1")]


# --- what is owed


def test_row_42_what_is_owed_stands_with_the_outcome_and_is_paid_again_after_a_crash() -> None:
    owed = Owed("w1", "test:default:bob", "hello", AT)
    driver = busy("c1")
    plan = driver.tell(ev.CallEnded(TurnNumber(1), CallId("c1"), AT, CallState.DONE, "sent", promises=(owed,)))
    assert [type(record) for record in plan.records] == [r.CallSettled, r.Promised, r.StepBegun]
    assert ef.Pay(owed) in driver.crash().effects
    driver.tell(ev.PaidTo("w1"))
    assert driver.tell(ev.PaidTo("w1")).records == ()
    assert ef.Pay(owed) not in driver.crash().effects


# --- bounds of a turn


def asks(driver: Driver, count: int, *, same: bool = False) -> None:
    for number in range(count):
        driver.answer("", call(f"c{number}", arguments="{}" if same else None))
        if isinstance(driver.session.state, AwaitingTool):
            driver.end(f"c{number}")


def note(driver: Driver) -> str:
    assert driver.session.turn
    last = driver.session.turn.entries[-1]
    return last.text if isinstance(last, Note) else ""


def test_at_the_limit_of_steps_the_model_answers_without_tools() -> None:
    driver = Driver(limits=Limits(iterations=3))
    driver.tell(said("m1"))
    asks(driver, 3)
    assert note(driver) == sentences.LAST_CALL_NOTES["limit"]
    assert driver.ran() == ["c0", "c1"]
    driver.answer("", call("c9"))
    assert driver.texts == [sentences.NO_TOOLS_FAILED["limit"]]
    assert driver.ran() == ["c0", "c1"]


def test_an_empty_answer_is_asked_for_once_more_then_without_tools_then_given_up() -> None:
    driver = drive(said("m1"))
    driver.answer("  ")
    assert driver.session.turn
    assert driver.session.turn.last_call == ""
    driver.answer("")
    assert driver.session.turn.last_call == "empty"
    driver.answer("")
    assert (driver.texts, driver.session.exchanges[0].answer) == ([sentences.EMPTY_ANSWER], sentences.EMPTY_ANSWER)


def test_an_answer_that_is_cut_is_continued_three_times_and_joined() -> None:
    driver = drive(said("m1"))
    for text in ("One ", "two", " three"):
        driver.answer(text, length=True)
        assert text.strip() in note(driver)
    driver.answer(" four", length=True)
    assert driver.texts == ["One two three four" + sentences.LENGTH_MARK]


def test_a_continued_answer_keeps_the_space_between_its_halves() -> None:
    driver = drive(said("m1"))
    driver.answer("Hello", length=True)
    driver.answer(" world\n")
    assert driver.texts == ["Hello world"]


def test_the_same_call_is_refused_the_third_time_and_ends_the_tools_after_the_fifth() -> None:
    driver = drive(said("m1"))
    asks(driver, 4, same=True)
    assert driver.ran() == ["c0", "c1"]
    assert driver.session.turn
    assert driver.session.turn.reply.calls[0].result == sentences.REPEATED_CALL
    assert driver.session.turn.last_call == ""
    asks(driver, 1, same=True)
    assert driver.session.turn.last_call == "repeat"


def test_a_call_without_a_name_is_asked_for_once_more_then_without_tools() -> None:
    driver = drive(said("m1"))
    driver.answer("", nameless=1)
    assert note(driver) == sentences.NAMELESS
    driver.answer("", nameless=1)
    assert driver.session.turn
    assert driver.session.turn.last_call == "nameless"


def test_of_too_many_calls_the_first_ones_run() -> None:
    driver = drive(said("m1"))
    plan = driver.answer("", *(reads(f"c{n}") for n in range(calls.MOST_CALLS + 3)))
    assert plan.effects == (ef.RunCalls(TurnNumber(1), tuple(CallId(f"c{n}") for n in range(calls.MOST_CALLS))),)
    assert driver.session.turn
    assert [c.result for c in driver.session.turn.reply.calls[calls.MOST_CALLS :]] == [sentences.TOO_MANY_CALLS] * 3


def test_calls_without_effect_run_beside_each_other_and_others_alone_in_order() -> None:
    driver = drive(said("m1"))
    driver.answer("", reads("c1"), reads("c2"), call("c3"), call("c4"), reads("c5"))
    batches = [["c1", "c2"], ["c3"], ["c4"], ["c5"]]
    for batch in batches:
        assert driver.effects[-1] == ef.RunCalls(TurnNumber(1), tuple(CallId(one) for one in batch))
        for one in reversed(batch):
            driver.end(one)
    assert isinstance(driver.session.state, Thinking)


def test_ids_of_calls_may_come_again_in_a_later_answer_but_not_in_the_same() -> None:
    driver = drive(said("m1"))
    for number in range(2):
        driver.answer("", call("call_0", arguments=f"[{number}]"))
        driver.end("call_0", result=str(number))
    assert driver.session.turn
    assert driver.session.turn.step == 3
    with pytest.raises(ImpossibleEvent):
        driver.answer("", call("call_0", arguments="[2]"), call("call_0", arguments="[3]"))


def test_what_is_too_long_is_shortened_once_then_said() -> None:
    driver = closed()
    driver.tell(said("m2"))
    driver.answer("More.")
    driver.tell(said("m3"))
    assert driver.full(1, refused=True).effects == (ef.CutJournal(), ef.CallModel(TurnNumber(3), 2))
    assert driver.session.cursor == 1
    driver.full(2, refused=True)
    assert driver.texts[-1] == sentences.TOO_LONG
    assert driver.session.cursor == 1


def test_what_cannot_be_shortened_is_said() -> None:
    driver = drive(said("m1"))
    driver.full(0)
    assert driver.texts == [sentences.TOO_LONG]


def test_a_malformed_request_is_taken_out_and_can_be_tried_again() -> None:
    driver = closed()
    driver.tell(said("m2", text="again?"))
    driver.fail("bad_request", "The service refused this.")
    assert [e.undone for e in driver.session.exchanges] == [False, True]
    driver.tell(commanded("y1", ev.Retry()))
    assert driver.session.turn
    assert [e.text for e in driver.session.turn.entries if isinstance(e, Said)] == ["again?"]


# --- commands


def test_undo_takes_the_exchange_out_and_lists_what_stays_done() -> None:
    driver = closed()
    driver.tell(commanded("u1", ev.Undo()))
    assert [e.undone for e in driver.session.exchanges] == [True]
    assert 'What it did stays done: shell {"of": "c1"}.' in driver.texts[-1]
    driver.tell(commanded("u2", ev.Undo()))
    assert driver.texts[-1] == sentences.NOTHING_TO_UNDO


def test_retry_asks_before_it_does_things_again_and_runs_under_its_own_id() -> None:
    driver = closed()
    driver.tell(commanded("y1", ev.Retry()))
    assert driver.texts[-1] == sentences.confirm_retry(sentences.effects_of(driver.session.exchanges[0].entries))
    assert isinstance(driver.session.state, Idle)
    driver.tell(commanded("y2", ev.Retry(confirmed=True)))
    assert driver.session.turn
    assert driver.session.turn.inputs == ("y2",)
    assert driver.session.exchanges[0].undone


@pytest.mark.parametrize("command", [ev.Undo(), ev.Retry(confirmed=True)])
@pytest.mark.parametrize(("memory", "text"), [(True, sentences.BEING_REMEMBERED), (False, sentences.BUSY)])
def test_what_is_under_way_cannot_be_taken_out(command: ev.Command, memory: bool, text: str) -> None:
    driver = closed()
    driver.tell(ev.ConsolidationDue(AT, 1) if memory else said("m2"), commanded("u1", command))
    assert driver.texts[-1] == text
    assert not driver.session.exchanges[0].undone


def test_a_model_is_chosen_for_the_session_unless_it_cannot_be_used() -> None:
    driver = drive(commanded("x1", ev.ChooseModel("fast")), commanded("x2", ev.ChooseModel("none", "There is no such model.")))
    assert driver.session.model == "fast"
    assert driver.texts[-1] == "There is no such model."


# --- memory


def test_an_input_cuts_a_consolidation_short_three_times_then_waits_for_it() -> None:
    driver = closed()
    for number in range(MOST_PREEMPTIONS):
        driver.tell(ev.ConsolidationDue(AT, 1))
        assert ef.CancelConsolidation() in driver.tell(said(f"p{number}")).effects
        driver.answer("Yes?")
    driver.tell(ev.ConsolidationDue(AT, 1), said("p9"))
    assert isinstance(driver.session.state, Consolidating)
    driver.tell(ev.Consolidated(AT, 1))
    assert driver.session.turn
    assert (driver.session.turn.inputs, driver.session.preempted) == (("p9",), 0)


STATES: dict[type, tuple[ev.Event, ...]] = {
    Idle: (),
    Thinking: (said("m2"),),
    AwaitingTool: (said("m2"), ev.ModelAnswered(TurnNumber(2), 1, AT, Reply("", (call("c1"),)))),
    Stopping: (said("m2"), commanded("s1", ev.Stop())),
    Consolidating: (ev.ConsolidationDue(AT, 1),),
}


@pytest.mark.parametrize(("state", "events"), STATES.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_the_memorys_word_counts_in_every_state_and_a_second_time_does_nothing(state: type, events: tuple[ev.Event, ...]) -> None:
    driver = closed()
    driver.tell(*events)
    assert isinstance(driver.session.state, state)
    assert ef.CutJournal() in driver.tell(ev.Consolidated(AT, 1)).effects
    assert (driver.session.cursor, driver.session.exchanges) == (1, ())
    assert driver.tell(ev.Consolidated(AT, 1)).records == ()
    with pytest.raises(ImpossibleEvent):
        driver.tell(ev.Consolidated(AT, 2))


def test_a_full_prompt_goes_to_memory_first_and_is_cut_if_that_fails() -> None:
    driver = closed()
    driver.tell(said("m2"))
    driver.full(1, consolidate=True)
    assert isinstance(driver.session.state, Consolidating)
    assert driver.tell(ev.ConsolidationFailed(AT, "no answer")).effects == (ef.CallModel(TurnNumber(2), 2),)
    assert ef.CutJournal() in driver.full(1, consolidate=True).effects


MEMORY = ErrandId("memory:1")


@pytest.mark.parametrize(
    ("leaves", "remembered"),
    [
        (lambda d: d.tell(commanded("n1", ev.New())), True),
        (lambda d: (d.tell(said("m2")), d.full(1, refused=True, consolidate=True)), True),
        (lambda d: (d.tell(said("m2")), d.full(1, refused=True)), False),
    ],
    ids=["/new", "a cut", "a cut with memory off"],
)
def test_what_leaves_the_prompt_goes_to_memory_beside_the_turns(leaves: Callable[[Driver], object], remembered: bool) -> None:
    driver = closed()
    leaves(driver)
    assert driver.session.base == 1
    assert (ef.RunErrand(MEMORY) in driver.effects) is remembered
    assert [e.arguments for e in driver.session.errands] == (["1"] if remembered else [])


def test_what_goes_to_memory_survives_stops_drains_and_crashes_and_says_nothing() -> None:
    driver = closed()
    driver.tell(commanded("n1", ev.New()))
    driver.tell(commanded("s1", ev.Stop()))
    assert driver.texts[-2:] == [sentences.NEW_CONVERSATION, sentences.NOTHING_TO_STOP]
    assert driver.tell(ev.DrainAsked(AT)).effects == (ef.CancelErrand(MEMORY),)
    assert ef.RunErrand(MEMORY) not in driver.crash(resume=False).effects
    assert ef.RunErrand(MEMORY) in driver.crash().effects
    said_before = driver.texts
    used = Usage(1000, 50, 0)
    driver.tell(ev.ErrandEnded(MEMORY, AT, "", usage=used, model="m"))
    assert (driver.session.errands, driver.texts, driver.session.turn) == ((), said_before, None)
    assert driver.session.usage == used


def test_a_conversation_without_anything_leaves_nothing_to_remember() -> None:
    assert drive(commanded("n1", ev.New())).session.errands == ()


USED = Usage(9, 1, 0)


@pytest.mark.parametrize("event", [ev.Consolidated(AT, 1, USED, "m"), ev.ConsolidationFailed(AT, "no", USED, "m")])
def test_what_a_consolidation_used_is_on_the_account(event: ev.Event) -> None:
    driver = closed()
    driver.tell(ev.ConsolidationDue(AT, 1), event)
    assert driver.session.usage == USED
    assert driver.records(r.ConsolidationEnded)[-1].model == "m"


# --- delivery


def sending(waited_s: float = 0.0) -> Driver:
    driver = drive(commanded("t1", ev.Tell("one")), commanded("t2", ev.Tell("two")))
    head, *others = driver.session.outbox
    driver.session = attrs.evolve(driver.session, outbox=(attrs.evolve(head, waited_s=waited_s), *others))
    return driver


ONE, TWO = OutboundId("o1"), OutboundId("o2")


def fail(driver: Driver, at: float = AT, retry_after: float | None = None) -> float:
    """Fails the attempt, comes back when it is due, and says how long that was."""
    driver.tell(ev.SendFailed(ONE, 0, at, "busy", retry_after))
    due = driver.session.wake_at
    assert due is not None
    assert driver.tell(ev.Woke(due - 0.001)).effects == ()
    assert driver.tell(ev.Woke(due)).effects == (ef.Send(ONE, 0),)
    return due - at


def test_row_40_only_the_session_records_a_delivery_and_then_sends_the_next() -> None:
    driver = sending()
    plan = driver.delivered()
    assert plan.records == (r.Delivered(ONE, 0, AT), r.Sending(TWO, 0, 1))
    assert driver.tell(ev.PartDelivered(ONE, 0, AT)).records == ()


def test_waits_between_attempts_grow_to_five_minutes_and_never_overflow() -> None:
    driver = sending()
    waits = [fail(driver) for _ in range(12)]
    assert waits[:4] == [1.0, 2.0, 4.0, 8.0]
    assert waits[-1] == delivery.LONGEST_WAIT_S
    for _ in range(1100):
        driver.tell(ev.ChannelDown(ONE, 0, AT, "down"), ev.ChannelUp(AT))
    assert fail(driver) == delivery.LONGEST_WAIT_S


def test_the_network_may_ask_for_a_longer_wait() -> None:
    driver = sending()
    assert fail(driver, retry_after=700.0) == 700.0


def test_a_day_of_trying_is_the_end_and_the_next_goes() -> None:
    driver = sending()
    waited = 0.0
    for _ in range(500):
        if driver.session.outbox[0].outbound.id == TWO:
            break
        driver.tell(ev.SendFailed(ONE, 0, AT, "busy"))
        waited += (driver.session.wake_at or AT) - AT
        driver.tell(ev.Woke(driver.session.wake_at or AT))
    assert DAY <= waited <= DAY + delivery.LONGEST_WAIT_S
    assert [(letter.outbound.id, letter.perhaps_delivered) for letter in driver.session.dead] == [(ONE, False)]


def test_a_refused_message_is_a_dead_letter_at_once_and_the_next_goes() -> None:
    driver = sending()
    assert driver.tell(ev.SendRefused(ONE, 0, AT, "chat not found")).effects == (ef.Send(TWO, 0),)
    assert [letter.reason for letter in driver.session.dead] == ["chat not found"]


def test_row_41_a_channel_that_is_down_is_waited_for_without_counting() -> None:
    driver = sending()
    driver.tell(ev.ChannelDown(ONE, 0, AT, "no network"))
    assert (driver.session.wake_at, driver.session.outbox[0].waited_s) == (None, 0.0)
    assert driver.tell(ev.Woke(AT + 9 * DAY)).effects == ()
    assert driver.tell(ev.ChannelUp(AT + 9 * DAY)).effects == (ef.Send(ONE, 0),)


def test_parts_are_fixed_once_and_delivered_each_in_order() -> None:
    driver = sending()
    assert driver.tell(ev.SplitInto(ONE, ("o", "ne"))).effects == (ef.Send(ONE, 0),)
    assert driver.delivered().effects == (ef.Send(ONE, 1),)
    assert driver.tell(ev.PartDelivered(ONE, 0, AT)).records == ()
    assert driver.crash().effects == (ef.Send(ONE, 1),)
    assert driver.delivered().effects == (ef.Send(TWO, 0),)


@pytest.mark.parametrize("parts", [("o", "n", "e"), ()])
def test_a_message_cannot_be_split_twice_or_into_nothing(parts: tuple[str, ...]) -> None:
    driver = sending()
    if parts:
        driver.tell(ev.SplitInto(ONE, ("o", "ne")))
    with pytest.raises(ImpossibleEvent):
        driver.tell(ev.SplitInto(ONE, parts))


def unknown(driver: Driver, *, keyed: bool) -> None:
    driver.tell(ev.SendUnknown(ONE, 0, AT, "no answer", keyed), ev.Woke(AT + DAY))


def test_an_unknown_outcome_is_tried_once_more_then_perhaps_delivered() -> None:
    driver = sending()
    unknown(driver, keyed=False)
    assert driver.session.outbox[0].doubted
    unknown(driver, keyed=False)
    assert [(letter.outbound.id, letter.perhaps_delivered) for letter in driver.session.dead] == [(ONE, True)]


def test_an_unknown_outcome_is_tried_on_where_the_network_takes_our_ids() -> None:
    driver = sending()
    for _ in range(4):
        unknown(driver, keyed=True)
    assert (driver.session.dead, driver.session.outbox[0].doubted) == ((), False)


@pytest.mark.parametrize(("keyed", "doubted", "dead"), [(False, True, 1), (True, False, 0)])
def test_a_crash_in_the_middle_of_sending_is_an_unknown_outcome(keyed: bool, doubted: bool, dead: int) -> None:
    driver = sending()
    driver.tell(ev.Opened(AT, crashed=True, keyed=keyed))
    assert driver.session.outbox[0].doubted is doubted
    driver.tell(ev.Opened(AT, crashed=True, keyed=keyed))
    assert len(driver.session.dead) == dead


def test_a_message_that_was_doubted_is_perhaps_delivered_however_it_ends() -> None:
    driver = sending()
    unknown(driver, keyed=False)
    driver.tell(ev.SendRefused(ONE, 0, AT, "duplicate"))
    assert driver.session.dead[0].perhaps_delivered


# --- what cannot be


@pytest.mark.parametrize(
    "event",
    [
        ev.ModelAnswered(TurnNumber(2), 1, AT, Reply("early")),
        ev.ModelAnswered(TurnNumber(1), 9, AT, Reply("early")),
        ev.TurnEmptied(TurnNumber(7), AT),
        ev.CallEnded(TurnNumber(1), CallId("unknown"), AT, CallState.DONE, ""),
        ev.CallEnded(TurnNumber(1), CallId("c2"), AT, CallState.DONE, ""),
        ev.CallEnded(TurnNumber(1), CallId("c1"), AT, CallState.STARTED, ""),
    ],
)
def test_what_cannot_follow_raises_and_changes_nothing(event: ev.Event) -> None:
    driver = busy("c1", "c2")
    before = driver.session
    with pytest.raises(ImpossibleEvent):
        driver.tell(event)
    assert driver.session == before


def test_what_comes_late_does_nothing() -> None:
    driver = drive(said("m1"))
    driver.crash()
    late: list[ev.Event] = [
        ev.ModelAnswered(TurnNumber(1), 1, AT, Reply("late")),
        ev.ModelFailed(TurnNumber(1), 1, AT, "server", "It failed."),
        ev.ContextFull(TurnNumber(1), 1, AT, 0),
        ev.CallEnded(TurnNumber(1), CallId("c1"), AT, CallState.DONE, "late"),
        ev.TurnEmptied(TurnNumber(1), AT),
    ]
    driver.answer("", call("c1"))
    driver.end("c1")
    assert [driver.tell(event).records for event in late] == [()] * len(late)
    driver.answer("Done.")
    late.append(ev.DeadlinePassed(TurnNumber(1), AT))
    assert [driver.tell(event).records for event in late] == [()] * len(late)


def test_trying_a_step_costs_the_next_nothing() -> None:
    """Ids are shared between versions: a step that was decided and not yet booked must not make the next one copy them."""
    session = Session("test:default:room", seen=SeenIds((MessageId(f"x{n}"), AT) for n in range(10)))
    tried = apply_all(session, step(session, said("m1")).records)
    booked = apply_all(session, step(session, said("m1")).records)
    assert booked == tried
    assert booked.seen._entries is session.seen._entries
    other = apply_all(session, step(session, said("m2")).records)
    assert ("m1" in other.seen, "m2" in other.seen, "m2" in booked.seen) == (False, True, False)
