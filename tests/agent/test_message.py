"""The tool `message` through the house: what the model is told, what reaches which chat, and that nothing is said twice."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock

from nanobot.agent import post
from nanobot.agent.post import Post
from nanobot.errors import InUse
from nanobot.messages import Button, CallId, Inbound, MessageId, Outbound, Principal, SessionKey
from nanobot.session import events as ev
from nanobot.session.ports import DeliveryEnd
from nanobot.session.state import Idle, Owed, Pending, Session
from nanobot.tools.port import Letter
from tests.fakes.llm_wire import Answer, Scripted, ToolCall
from tests.fakes.talk import KEY, Network, Talk, talking
from tests.session.strategies import Driver, said, speaks

OTHER = SessionKey("telegram", "7")
GUEST = Principal("telegram", "default", "7", "eve")
End = Callable[[Pending, int], DeliveryEnd]


def message(text: str, **more: object) -> Answer:
    return Answer("", calls=(ToolCall("message", {"text": text, **more}),))


def result(talk: Talk, request: int = 1) -> str:
    return talk.server.requests[request].results[0]


def at(key: SessionKey, *ends: End) -> Network:
    """A network on which the first attempts of one chat end so, and all others well."""
    left = list(ends)

    async def network(session: Session, pending: Pending, part: int) -> DeliveryEnd | None:
        return left.pop(0)(pending, part) if left and session.key == str(key) else None

    return network


def refused(pending: Pending, part: int) -> DeliveryEnd:
    return ev.SendRefused(pending.outbound.id, part, 0.0, "chat not found")


def down(pending: Pending, part: int) -> DeliveryEnd:
    return ev.ChannelDown(pending.outbound.id, part, 0.0, "telegram is parked")


def busy(pending: Pending, part: int) -> DeliveryEnd:
    return ev.SendFailed(pending.outbound.id, part, time.time(), "too many requests")


async def test_a_message_reaches_its_own_chat_while_the_turn_goes_on(tmp_path: Path) -> None:
    async with talking(tmp_path, [message("half way"), Answer("done")]) as talk:
        asked = await talk.tell("go")
        await talk.until(lambda: len(talk.replies) == 2)
        assert [(reply.text, reply.reply_to) for reply in talk.replies] == [("half way", asked), ("done", asked)]
        assert result(talk) == "Delivered."


@pytest.mark.parametrize("answer", ["here you are", " here  you are\n", ""])
async def test_the_answer_is_not_said_twice(tmp_path: Path, answer: str) -> None:
    async with talking(tmp_path, [message("here you are"), Answer(answer), Answer("and on")]) as talk:
        await talk.tell("go")
        await talk.until(lambda: bool(talk.session.exchanges) and isinstance(talk.session.state, Idle))
        assert (await talk.say("next")).text == "and on"
        assert [reply.text for reply in talk.replies] == ["here you are", "and on"]


@pytest.mark.parametrize("to", [None, OTHER.short])
async def test_answers_to_choose_from_go_with_it(tmp_path: Path, to: str | None) -> None:
    async with talking(tmp_path, [message("tea or coffee?", buttons=["tea", "coffee"], to=to), Answer("done")]) as talk:
        await talk.tell("go")
        await talk.until(lambda: len(talk.replies) == 2)
        [asked] = [reply for reply in talk.replies if reply.text == "tea or coffee?"]
        assert asked.buttons == (Button("tea", "tea"), Button("coffee", "coffee"))


@pytest.mark.parametrize(
    ("buttons", "word"),
    [
        (["/approve e1"], "orders"),
        ([" /stop"], "orders"),
        (["x" * 65], "64 bytes"),
        (["ä" * 33], "64 bytes"),
        ([" "], "64 bytes"),
        (["yes\u202e"], "is none"),
        (["a"] * 11, "at most 10"),
    ],
)
async def test_no_button_gives_an_order_or_hides_what_it_says(tmp_path: Path, buttons: list[str], word: str) -> None:
    async with talking(tmp_path, [message("press", buttons=buttons), Answer("done")]) as talk:
        assert (await talk.say("go")).text == "done"
        assert word in result(talk)
        assert len(talk.replies) == 1


async def test_files_of_the_workspace_go_with_it_as_they_were_when_it_was_asked_for(tmp_path: Path) -> None:
    async with talking(tmp_path, [message("look", attachments=["a.txt"]), Answer("done")]) as talk:
        (tmp_path / "workspace" / "a.txt").write_text("then")
        await talk.say("go")
        (tmp_path / "workspace" / "a.txt").write_text("now")
        (file,) = talk.replies[0].attachments
        assert (file.name, file.mime, file.size) == ("a.txt", "text/plain", 4)
        assert Path(file.path).read_text() == "then"


async def test_a_message_reaches_another_chat_and_what_became_of_it_is_said(tmp_path: Path) -> None:
    async with talking(tmp_path, [message("dinner?", to="telegram:7"), Answer("asked")]) as talk:
        assert (await talk.say("ask them")).text == "asked"
        assert [(reply.text, reply.origin) for reply in talk.replies] == [("dinner?", str(KEY)), ("asked", "")]
        assert result(talk) == "Delivered."
        await talk.until(lambda: not talk.house.registry.live()[str(KEY)].owed)


@pytest.mark.parametrize(
    ("end", "says"),
    [
        (down, "Queued, not delivered yet: telegram is parked. It is sent when the chat can be reached again."),
        (busy, "Queued, not delivered yet: too many requests. It is tried again in"),
        (refused, "Not delivered, and given up: chat not found"),
    ],
)
async def test_the_result_says_why_it_is_not_there_yet(tmp_path: Path, end: End, says: str) -> None:
    async with talking(tmp_path, [message("dinner?", to="telegram:7"), Answer("done")]) as talk:
        talk.network = at(OTHER, end)
        await talk.say("ask them")
        assert result(talk).startswith(says)


async def test_a_network_that_takes_its_time_holds_no_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(post, "WAIT_S", 0.05)

    done = trio.Event()

    async def slow(session: Session, _pending: Pending, _part: int) -> None:
        if session.key == str(OTHER):
            await done.wait()

    async with talking(tmp_path, [message("dinner?", to="telegram:7"), Answer("done")]) as talk:
        talk.network = slow
        assert (await talk.say("ask them")).text == "done"
        assert result(talk) == post.ON_ITS_WAY
        done.set()


async def test_a_later_dead_letter_is_told_in_the_chat_that_asked(tmp_path: Path) -> None:
    async with talking(tmp_path, [message("dinner?", to="telegram:7"), Answer("asked")]) as talk:
        talk.network = at(OTHER, busy, refused)
        await talk.say("ask them")
        await talk.until(lambda: len(talk.replies) == 2)
        assert talk.replies[1].text.startswith("A message to telegram:7 could not be delivered (chat not found).")
        assert talk.replies[1].text.endswith("dinner?")
        await talk.until(lambda: not talk.house.registry.live()[str(OTHER)].owed)


# --- who may what


async def says(talk: Talk, text: str, *, owner: bool = False) -> Outbound:
    number = len(talk.replies)
    who = attrs.evolve(GUEST, owner=owner)
    await talk.house.deliver(Inbound(MessageId(f"g{number}"), OTHER, who, text, 0.0))
    await talk.until(lambda: len(talk.replies) > number)
    return talk.replies[-1]


async def test_others_than_the_owner_are_offered_what_they_may_have(tmp_path: Path) -> None:
    async with talking(tmp_path, [Answer("hi"), Answer("hello")]) as talk:
        await says(talk, "hi")
        await talk.say("hello")
        guest, owner = ([tool["function"]["name"] for tool in asked.body["tools"]] for asked in talk.server.requests)
    assert set(owner) - set(guest) == {"write_file", "edit_file", "apply_patch", "propose_change"}
    assert {"read_file", "exec", "message"} <= set(guest)


@pytest.mark.parametrize(
    ("call", "says_what"),
    [
        (ToolCall("exec", {"command": "touch made"}), "Not run yet: it waits for the owner's word"),
        (ToolCall("write_file", {"path": "made", "content": ""}), "Refused: write_file (write_file) is not for anybody but"),
        (ToolCall("message", {"text": "hi", "to": "cli:direct"}), "Refused: message (message:elsewhere) is not for anybody but"),
        (ToolCall("message", {"text": "hi", "to": "telegram:7"}), "Delivered."),
        (ToolCall("fly", {}), "There is no tool 'fly'. There are: "),
    ],
)
async def test_what_a_model_makes_up_for_somebody_else_is_refused(tmp_path: Path, call: ToolCall, says_what: str) -> None:
    script: list[Scripted] = [Answer("", calls=(call,)), Answer("done")]
    async with talking(tmp_path, script) as talk:
        await says(talk, "do it")
        await talk.until(lambda: talk.replies[-1].text == "done")
        assert result(talk).startswith(says_what)
    assert not (tmp_path / "workspace" / "made").exists()


# --- another session that cannot be opened


@attrs.define(eq=False)
class Taken:
    """Sessions of which the other is in use elsewhere, a few times."""

    times: int
    here: Session = Session(str(KEY))
    told: list[ev.Event] = attrs.field(factory=list)

    async def deliver(self, key: SessionKey, event: ev.Event) -> None:
        await self.open(key)
        self.told.append(event)

    async def open(self, key: SessionKey) -> Session:
        await trio.lowlevel.checkpoint()
        if key == OTHER and self.times:
            self.times -= 1
            raise InUse("session telegram:7", 1)
        return self.here if key == KEY else Session(str(key))


def posting(times: int) -> tuple[Post, Taken]:
    one, sessions = Post(trio.current_time), Taken(times)
    one.sessions = sessions
    return one, sessions


async def test_what_is_owed_is_brought_as_soon_as_the_other_session_can_be_opened(autojump_clock: MockClock) -> None:
    one, sessions = posting(3)
    owed = Owed("r1", str(OTHER), "hi", 1.0, (), str(KEY))
    assert await one.pay(Session(str(KEY)), owed) == ev.PaidTo("r1")
    assert trio.current_time() == pytest.approx(36.0)
    assert sessions.told == [ev.Handed("r1", "hi", 1.0, (), str(KEY))]


def speaking() -> Driver:
    """A session in whose turn `message` is under way as `c1`."""
    driver = Driver(Session(str(KEY)))
    driver.tell(said("m1"))
    driver.answer("", speaks("c1"))
    return driver


async def test_a_call_that_runs_again_after_a_crash_says_what_has_long_happened(autojump_clock: MockClock) -> None:
    one, sessions = posting(0)
    driver = speaking()
    driver.message("c1", "hi")
    driver.delivered()
    sessions.here = driver.session
    assert driver.session.turn
    assert (await one.send(driver.session, driver.session.turn, CallId("c1"), Letter("hi"))).text == "Delivered."
    assert trio.current_time() == 0.0


async def test_a_session_in_use_elsewhere_is_said_at_once(autojump_clock: MockClock) -> None:
    one, _ = posting(1)
    driver = speaking()
    assert driver.session.turn
    told = await one.send(driver.session, driver.session.turn, CallId("c1"), Letter("hi", OTHER))
    assert told.text == "Queued, not delivered yet: session telegram:7 is in use by process 1. It is tried again by itself."
