from __future__ import annotations

import attrs
import pytest

from nanobot.control.tree import MOST_SESSIONS, session_node, sessions_node
from nanobot.messages import ErrandId, Exchange, MessageId, Outbound, OutboundId, Reply, Said, TurnEnd, TurnNumber
from nanobot.session.registry import Failing
from nanobot.session.state import Errand, ErrandKind, Idle, Pending, Session, State, Stopping, StopReason, Thinking, Turn
from nanobot.supervise.status import Node

SAID = Said(MessageId("m1"), "hello", 100.0, "cli:default:a:me")
ONE = TurnNumber(1)
TURN = Turn(ONE, "cli:default:a:me", (SAID.id,), (SAID,), 120.0)
RM = Errand(
    ErrandId("x1"),
    ErrandKind.APPROVAL,
    "rm -rf build\nrm " + 100 * "x",
    SAID.principal,
    SAID.id,
    tool="exec",
    expires_at=900.0,
)
ASKED = Node(
    "x1",
    "approval",
    "waiting",
    0.0,
    waiting="the owner's word: exec rm -rf build rm " + 58 * "x" + "…",
    until=900.0,
    facts=(("answer", "/approve x1 or /deny x1 in a chat of the owner"),),
)
CLOSED = Exchange(ONE, "cli:default:a:me", (SAID, Reply("hi")), TurnEnd.ANSWERED)


@pytest.mark.parametrize(
    ("state", "shown", "waiting", "since"),
    [
        (Idle(), "idle", "", 100.0),
        (Thinking(TURN), "working", "the model", 120.0),
        (Stopping(TURN, StopReason.STOP), "stopping", "its work to end", 120.0),
    ],
)
def test_what_a_session_does_and_since_when(state: State, shown: str, waiting: str, since: float) -> None:
    node = session_node(Session("cli:default:a", state, (CLOSED,)))
    assert (node.name, node.state, node.waiting, node.since) == ("cli:a", shown, waiting, since)


def test_what_it_waits_for_until_when() -> None:
    pending = Pending(Outbound(OutboundId("o1"), "hi", 90.0), error="rate limited", retry_at=200.0)
    node = session_node(Session("cli:default:a", outbox=(pending,)))
    assert (node.state, node.error, node.until) == ("working", "rate limited", 200.0)
    assert node.facts == (("to deliver", "1"),)


@pytest.mark.parametrize(
    ("errands", "below"),
    [((RM,), (ASKED,)), ((attrs.evolve(RM, started=True),), ()), ((attrs.evolve(RM, kind=ErrandKind.QUESTION),), ())],
    ids=["open", "approved", "a question"],
)
def test_what_waits_for_the_owner_stands_below_its_session(errands: tuple[Errand, ...], below: tuple[Node, ...]) -> None:
    node = session_node(Session("cli:default:a", errands=errands))
    assert (node.state, node.children) == ("idle", below)


def test_who_sleeps_or_fails_while_it_asks_is_shown_before_who_is_awake() -> None:
    live = {"cli:default:busy": Session("cli:default:busy", Thinking(TURN))}
    asking = {"cli:default:asleep": (RM,), "cli:default:broken": (RM,)}
    node = sessions_node(live, {"cli:default:broken": Failing("a bug", (1.0,), None)}, 0.0, asking)
    assert [(child.name, child.children) for child in node.children] == [
        ("cli:broken", (ASKED,)),
        ("cli:asleep", (ASKED,)),
        ("cli:busy", ()),
    ]
    assert node.children[1].state == "idle"
    assert dict(node.facts) == {"awake": "1", "at work": "1"}


def test_those_with_something_to_do_come_first_and_a_crowd_is_cut() -> None:
    crowd = {f"cli:default:{n}": Session(f"cli:default:{n}") for n in range(MOST_SESSIONS + 5)}
    crowd["cli:default:busy"] = Session("cli:default:busy", Thinking(TURN))
    node = sessions_node(crowd, {"cli:default:broken": Failing("a bug", (1.0, 2.0), 9.0)}, 0.0)
    assert [child.name for child in node.children[:2]] == ["cli:broken", "cli:busy"]
    assert dict(node.facts) == {"awake": str(MOST_SESSIONS + 6), "at work": "1", "not shown": "7"}
    broken = Node("cli:broken", "session", "waiting", 2.0, 2, "a bug", "to be opened again", 9.0)
    assert node.children[0] == broken
