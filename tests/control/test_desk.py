"""The desk and the outboxes: an order is carried out, or refused with the reason; nothing is said to be done that is not."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import attrs
import pytest

from nanobot.control.desk import Desk
from nanobot.control.letters import UnknownLetter
from nanobot.control.wish import Wish
from nanobot.journal.journal import Journals
from nanobot.journal.store import Store
from nanobot.journal.writers import Writers
from nanobot.messages import Outbound, OutboundId, SessionKey
from nanobot.session import events as ev
from nanobot.session.registry import Registry
from nanobot.session.state import DeadLetter, Pending, Session
from nanobot.supervise.supervisor import Supervisor


def outbound(name: str) -> Outbound:
    return Outbound(OutboundId(name), "hi", 1.0)


CHAT = Session(
    "telegram:default:42",
    dead=(DeadLetter(outbound("dead"), "blocked", 9.0),),
    doubled=(outbound("doubled"),),
    outbox=(Pending(outbound("waiting")),),
)


@attrs.define(eq=False)
class OneChat:
    """A registry in which it is awake."""

    heard: list[ev.Event] = attrs.field(factory=list)

    def live(self) -> dict[str, Session]:
        return {CHAT.key: CHAT}

    async def deliver(self, key: SessionKey, event: ev.Event) -> None:
        assert str(key) == CHAT.key
        self.heard.append(event)


@pytest.mark.parametrize(
    ("do", "letter", "refusal"),
    [
        ("retry", "dead", ""),
        ("drop", "dead", ""),
        ("drop", "doubled", ""),
        ("retry", "doubled", "was not given up: it was sent again"),
        ("retry", "waiting", "was not given up: it is on its way"),
        ("drop", "waiting", "was not given up: it is on its way"),
        ("drop", "nothing", "There is no message telegram:42/nothing"),
    ],
)
async def test_an_order_for_a_letter(tmp_path: Path, do: str, letter: str, refusal: str) -> None:
    registry, ids = OneChat(), [f"telegram:42/{letter}"]
    store = Store(Journals(str(tmp_path)), Writers())
    desk = Desk(cast(Registry, registry), store, Supervisor(lambda: 5.0), Wish(), lambda: 5.0, ())
    order = desk.retry if do == "retry" else desk.drop
    if refusal:
        with pytest.raises(UnknownLetter, match=refusal):
            await order(ids)
        assert registry.heard == []
    else:
        event = ev.LetterRetried(OutboundId(letter), 5.0) if do == "retry" else ev.LetterDropped(OutboundId(letter))
        assert (await order(ids), registry.heard) == (1, [event])
