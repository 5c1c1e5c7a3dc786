from __future__ import annotations

import pytest

from nanobot.control.tree import MOST_SESSIONS, session_node, sessions_node
from nanobot.messages import Exchange, MessageId, Outbound, OutboundId, Reply, Said, TurnEnd, TurnNumber
from nanobot.session.registry import Failing
from nanobot.session.state import Idle, Pending, Session, State, Stopping, StopReason, Thinking, Turn
from nanobot.supervise.status import Node

SAID = Said(MessageId("m1"), "hello", 100.0, "cli:default:a:me")
ONE = TurnNumber(1)
TURN = Turn(ONE, "cli:default:a:me", (SAID.id,), (SAID,), 120.0)
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


def test_those_with_something_to_do_come_first_and_a_crowd_is_cut() -> None:
    crowd = {f"cli:default:{n}": Session(f"cli:default:{n}") for n in range(MOST_SESSIONS + 5)}
    crowd["cli:default:busy"] = Session("cli:default:busy", Thinking(TURN))
    node = sessions_node(crowd, {"cli:default:broken": Failing("a bug", (1.0, 2.0), 9.0)}, 0.0)
    assert [child.name for child in node.children[:2]] == ["cli:broken", "cli:busy"]
    assert dict(node.facts) == {"awake": str(MOST_SESSIONS + 6), "at work": "1", "not shown": "7"}
    broken = Node("cli:broken", "session", "waiting", 2.0, 2, "a bug", "to be opened again", 9.0)
    assert node.children[0] == broken
