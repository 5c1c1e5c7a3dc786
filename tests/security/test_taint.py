"""When text of strangers stands in a conversation, for whom, and when it has left."""

from __future__ import annotations

import attrs
import pytest

from nanobot.messages import Call, CallId, Entry, Exchange, MessageId, Note, Reply, Said, TurnEnd, TurnNumber
from nanobot.security.taint import tainted

OWNER, BOB, EVE = "cli:default:direct:me", "telegram:default:-1:bob", "telegram:default:-1:eve"
NONE = TurnNumber(0)


def said(by: str = OWNER, *, strange: bool = False) -> Said:
    return Said(MessageId("m1"), "hi", 1.0, by, tainted=strange)


def exchange(number: int, *entries: Entry) -> Exchange:
    return Exchange(TurnNumber(number), OWNER, entries, TurnEnd.ANSWERED)


def owns(principal: str) -> bool:
    return principal == OWNER


def is_tainted(*exchanges: Exchange, now: tuple[Entry, ...] = (), trusted: int = 0, by: str = OWNER) -> bool:
    return tainted(exchanges, now, TurnNumber(trusted), by, owns)


PAGE = Call(CallId("c1"), "web_fetch", "{}", tainted=True)
STRANGE: dict[str, Entry] = {
    "a message that somebody else wrote": said(strange=True),
    "an answer given after it": Reply("It says so.", tainted=True),
    "a result": Reply("", (PAGE,)),
    "a note": Note("It ended.", 1.0, tainted=True),
}


@pytest.mark.parametrize("entry", STRANGE.values(), ids=STRANGE)
def test_each_kind_of_record_carries_it(entry: Entry) -> None:
    assert is_tainted(exchange(1, said(), entry), now=(said(),))
    assert is_tainted(now=(said(), entry))


def test_a_clean_conversation_is_clean() -> None:
    clean = attrs.evolve(PAGE, tainted=False)
    assert not is_tainted(exchange(1, said(), Reply("", (clean,)), Note("", 1.0), Reply("Done.")), now=(said(),))


def test_what_was_undone_or_trusted_has_left() -> None:
    strange = exchange(1, said(), Reply("", (PAGE,)))
    assert not is_tainted(attrs.evolve(strange, undone=True))
    assert not is_tainted(strange, trusted=2)
    assert is_tainted(strange, trusted=1)
    assert is_tainted(strange, exchange(2, Reply("", (PAGE,))), trusted=2), "trust is for what was before it"
    assert is_tainted(strange, now=(Reply("", (PAGE,)),), trusted=2)


@pytest.mark.parametrize(
    ("by", "others", "strange"), [(OWNER, EVE, True), (OWNER, OWNER, False), (BOB, EVE, False), (BOB, OWNER, False)]
)
def test_what_others_say_is_strange_to_the_owner_alone(by: str, others: str, strange: bool) -> None:
    assert is_tainted(exchange(1, said(others)), now=(said(by),), by=by) is strange


def test_a_second_owner_is_no_stranger() -> None:
    both = (exchange(1, said(BOB)),)
    assert not tainted(both, (said(),), NONE, OWNER, {OWNER, BOB}.__contains__)
