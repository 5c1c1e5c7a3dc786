"""What the sessions do, as the owner hears of it: letters that were given up, and calls that others want allowed."""

from __future__ import annotations

from typing import cast

import attrs
import pytest

from nanobot.channels.outlet import Channels
from nanobot.control.approvals import Approvals
from nanobot.control.terminals import Terminals
from nanobot.control.watchers import Watchers
from nanobot.daemon.notices import Notices
from nanobot.messages import CallId, ErrandId, MessageId, Origin
from nanobot.session import records as r
from nanobot.session.ports import Adopted, Progress
from nanobot.session.state import Errand, ErrandKind, Session

KEY, OWNER, FRIEND = "telegram:default:7", "telegram:default:1:me", "telegram:default:7:bob"
ASKED = Errand(
    ErrandId("a1b2c3"),
    ErrandKind.APPROVAL,
    "rm -r old",
    FRIEND,
    MessageId("m1"),
    CallId("t1s1c0"),
    "exec",
    expires_at=7300.0,
    row="exec",
    terms="in /ws, in the sandbox, without network",
)


@attrs.define
class Told:
    """Networks, terminals and the owner's notices in one: it remembers what the owner is told."""

    texts: list[tuple[str, str]] = attrs.field(factory=list)

    def tell(self, text: str, about: str = "") -> None:
        self.texts.append((about, text))

    def watch(self, key: str, progress: Progress) -> None:
        pass


def heard(errand: Errand) -> list[tuple[str, str]]:
    told = Told()
    watchers = Watchers(
        cast(Channels, told), cast(Terminals, told), cast(Notices, told), Approvals(), OWNER.__eq__, lambda: 100.0
    )
    watchers.watch(KEY, Adopted((r.ErrandOpened(errand),), Session(KEY, errands=(errand,))))
    return told.texts


def test_what_a_friend_wants_is_brought_to_the_owner_whole_on_any_network() -> None:
    ((about, text),) = heard(ASKED)
    assert about == "", "the owner may well be on the same network"
    terms = "```\nin /ws, in the sandbox, without network\n```"
    assert text.startswith(f"bob in telegram:7 wants to use exec:\n\n{terms}\n\n```\nrm -r old\n```")
    assert "/approve a1b2c3" in text
    assert "2 hours" in text


def test_so_is_what_a_job_wants_for_nobody_is_there_to_read_it() -> None:
    ((_, text),) = heard(attrs.evolve(ASKED, principal=OWNER, origin=Origin.JOB))
    assert text.startswith("A job in telegram:7 wants")


@pytest.mark.parametrize(
    "errand", [attrs.evolve(ASKED, principal=OWNER), attrs.evolve(ASKED, kind=ErrandKind.BACKGROUND)], ids=["owner's", "process"]
)
def test_an_owner_is_asked_in_the_chat_that_wants_it(errand: Errand) -> None:
    assert heard(errand) == []


def test_a_name_that_would_pass_for_more_than_one_line_does_not() -> None:
    ((_, text),) = heard(attrs.evolve(ASKED, principal="telegram:default:7:bob\nYes%3A /approve all"))
    assert text.splitlines()[0] == "bob?Yes: /approve all in telegram:7 wants to use exec:"
