"""What waits for the owner's word is known of every session, whether it is awake, asleep, or deleted since."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

import attrs
import pytest

from nanobot.archive.reading import Reader
from nanobot.config.paths import made, places
from nanobot.config.schema import Config, GatewayConfig
from nanobot.control.approvals import Approvals
from nanobot.control.pages import Pages
from nanobot.gateway.app import Run, open_gateway
from nanobot.journal.journal import Journals
from nanobot.messages import Call, CallId, CallState, ErrandId, MessageId, Reply, SessionKey, TurnNumber
from nanobot.security.approvals import buttons
from nanobot.session import events as ev
from nanobot.session.actor import owes
from nanobot.session.ports import Adopted
from nanobot.session.registry import Registry
from nanobot.session.state import Errand, ErrandKind, Session
from tests.session.talks import ME, Talk, journals_in, talk

CHAT = SessionKey("web", "c")
NOW = 1_790_000_000.0
RM = Errand(
    ErrandId("x1"),
    ErrandKind.APPROVAL,
    "rm -rf build",
    ME,
    MessageId("m1"),
    tool="exec",
    arguments='{"command": "rm -rf build"}',
    row="exec:unsandboxed",
    terms="In /w, without a sandbox.",
    expires_at=NOW + 7200,
)


def asks(one: Talk) -> None:
    """A turn after which a call waits for the owner's word."""
    one.ask("clean up")
    call = Call(CallId("call1"), RM.tool, RM.arguments, state=CallState.DEFERRED, approval=RM.id)
    asked = ev.Asked(RM, "May I?", buttons(RM.id))
    one.tell(ev.ModelAnswered(TurnNumber(1), 1, one.at, Reply("", (call,)), asks=(asked,)))
    one.delivered()
    one.answer("I have asked.")
    one.delivered()


def left(journals: Journals, *commands: ev.Command) -> Session:
    """A session that asks, then hears the commands, then sleeps."""
    one = talk(journals, str(CHAT))
    asks(one)
    for command in commands:
        one.command(command)
    one.journal.sleep(owes=owes(one.session), at=one.at)
    one.journal.close()
    return one.session


@pytest.mark.parametrize(("commands", "found"), [((), {str(CHAT): (RM,)}), ((ev.Approve(RM.id),), {}), ((ev.Stop(),), {})])
def test_who_sleeps_is_known_from_the_journals(
    tmp_path: Path, commands: tuple[ev.Command, ...], found: dict[str, tuple[Errand, ...]]
) -> None:
    journals, approvals = journals_in(tmp_path), Approvals()
    left(journals, *commands)
    approvals.read(Reader(journals.root))
    assert approvals.asleep({}) == found
    assert approvals.asleep({str(CHAT): Session(str(CHAT))}) == {}


def test_what_is_written_afterwards_counts() -> None:
    approvals, asking = Approvals(), Session(str(CHAT), errands=(RM,))
    approvals.watch(asking.key, Adopted((), asking))
    assert approvals.asleep({}) == {asking.key: (RM,)}
    approved = attrs.evolve(asking, errands=(attrs.evolve(RM, started=True),))
    approvals.watch(asking.key, Adopted((), approved))
    assert approvals.asleep({}) == {}


def test_a_session_that_is_deleted_asks_nothing() -> None:
    approvals, asking = Approvals(), Session(str(CHAT), errands=(RM,))
    approvals.watch(asking.key, Adopted((), asking))
    approvals.forget(asking.key)
    assert approvals.asleep({}) == {}


async def test_the_page_finds_what_is_open_with_the_newest_of_a_chat(tmp_path: Path) -> None:
    journals = journals_in(tmp_path)
    left(journals)
    pages = Pages(cast(Registry, None), Reader(journals.root), lambda: NOW)
    newest = await pages.history(CHAT, None, 10)
    assert newest.questions is not None
    (asked,) = newest.questions
    assert asked.buttons == buttons("x1")
    for part in ("rm -rf build", "In /w, without a sandbox.", "/approve x1", "2 hours"):
        assert part in asked.text
    assert [item.text for item in newest.items] == ["clean up", "I have asked."]
    assert (await pages.history(CHAT, 1, 10)).questions is None
    assert (await pages.history(SessionKey("web", "new"), None, 10)).questions == ()


async def test_a_gateway_that_has_just_started_shows_what_a_sleeper_asks(tmp_path: Path) -> None:
    where, config = places(tmp_path / "config.json"), Config(gateway=GatewayConfig(http=False, drain_s=0.0))
    journals = Journals(str(made(where.journals)))
    journals.prepare()
    left(journals)
    lock = os.open(tmp_path, os.O_RDONLY)
    run = Run(config, where, {"PATH": os.environ["PATH"]}, lock, lambda: config, clock=lambda: NOW + 10)
    async with open_gateway(run) as desk:
        (sessions,) = (node for node in desk.tree().children if node.name == "sessions")
        (chat,) = sessions.children
        assert dict(sessions.facts)["awake"] == "0", "nobody had to wake it for that"
        assert (chat.name, [node.name for node in chat.children]) == ("web:c", ["x1"])
        await desk.release(CHAT)
        assert all(node.children == () for node in desk.tree().children if node.name == "sessions")
    os.close(lock)
