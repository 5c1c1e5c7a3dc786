"""What the page is shown of the sessions."""

from __future__ import annotations

from typing import cast

import attrs
import trio

from nanobot.archive.reading import Reader
from nanobot.control.pages import Pages
from nanobot.messages import Outbound, OutboundId, SessionKey
from nanobot.session.registry import Registry
from nanobot.session.state import Pending

A, B = SessionKey("web", "a"), SessionKey("web", "b")


@attrs.frozen
class Outboxes:
    """What is asked of a registry here: ids and times of what waits, by chat."""

    waiting: dict[SessionKey, list[tuple[str, float]]]

    async def outboxes(self, _channel: str) -> tuple[tuple[SessionKey, tuple[Pending, ...]], ...]:
        await trio.lowlevel.checkpoint()
        return tuple(
            (key, tuple(Pending(Outbound(OutboundId(id), "text", at)) for id, at in box)) for key, box in self.waiting.items()
        )


async def test_what_waits_comes_oldest_first_and_each_chat_in_the_order_of_its_outbox() -> None:
    """An order's answer has the time at which the order came, which may be before that of the answer it waited for."""
    outboxes = Outboxes({A: [("a1", 2.0), ("a2", 1.0), ("a3", 5.0)], B: [("b1", 1.5), ("b2", 3.0)]})
    pages = Pages(cast(Registry, outboxes), Reader("/nowhere"), lambda: 0.0)
    assert [out.id for _, out in await pages.unsettled()] == ["b1", "a1", "a2", "b2", "a3"]
