"""The page's chat without a network: what `/ws` promises, a test for each sentence."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from nanobot.channels.port import DeltaSign, NotTaken, Part, Sign, StateSign, ToolSign, Unreachable, VoidSign
from nanobot.channels.web import frames
from nanobot.channels.web.channel import ACK_S, AUTH_S, RESTARTING, TRY_AGAIN, UNAUTHORIZED
from nanobot.channels.web.talk import PENDING
from nanobot.errors import NanobotError
from nanobot.messages import Attachment, Button, MessageId, Outbound, OutboundId, SessionKey
from tests.fakes.web import TOKEN, House, Tab, house, tab
from tests.fakes.ws import Gone

NAMING: list[dict[str, str]] = [
    {"type": "message", "id": "m1", "chat": "c", "text": "hi"},
    {"type": "open", "chat": "c"},
    {"type": "stop", "chat": "c"},
]


@pytest.fixture(name="home")
async def _home() -> AsyncIterator[House]:
    async with house() as built:
        yield built


# --- coming in


@pytest.mark.parametrize(
    "first",
    [
        '{"type": "auth", "token": "wrong"}',
        '{"type": "auth"}',
        '{"type": "message", "id": "1", "chat": "c", "text": "x"}',
        "{",
        b"{}",
    ],
)
async def test_who_does_not_bring_the_token_first_is_told_so_and_closed(home: House, first: str | bytes) -> None:
    stranger = await tab(home, token=None)
    await stranger.send_raw(first)
    assert (await stranger.next())["code"] == "unauthorized"
    assert await stranger.closed() == UNAUTHORIZED
    assert not home.arrived


async def test_who_says_nothing_is_closed(home: House, autojump_clock: MockClock) -> None:
    silent = await tab(home, token=None)
    assert await silent.closed() == UNAUTHORIZED
    assert trio.current_time() == pytest.approx(AUTH_S)


async def test_a_stranger_gets_no_message(home: House) -> None:
    stranger = await tab(home, token=None)
    home.say("c", "for the owner")
    await stranger.nothing_more()


# --- messages of the client


async def test_accepted_comes_after_the_message_is_durable(home: House) -> None:
    home.gates["c"] = trio.Event()
    page = await tab(home)
    await page.send("message", id="m1", chat="c", text="hello")
    await page.nothing_more()
    home.gates["c"].set()
    await page.expect("accepted", id="m1")
    (arrived,) = home.arrived
    assert (arrived.id, arrived.chat, arrived.user, arrived.text, arrived.at) == ("m1", "c", "owner", "hello", 1000.0)


async def test_a_message_that_was_accepted_before_is_accepted_again(home: House) -> None:
    page = await tab(home)
    for _ in range(2):
        await page.send("message", id="m1", chat="c", text="hello")
        await page.expect("accepted", id="m1")
    assert [arrived.id for arrived in home.arrived] == ["m1", "m1"]  # the session knows the id


async def test_a_message_that_is_not_taken_is_no_accepted_one(home: House) -> None:
    home.refusal = NotTaken("The disk is full.", code="disk_full")
    page = await tab(home)
    await page.send("message", id="m1", chat="c", text="hello")
    assert await page.next() == {"type": "error", "id": "m1", "code": "disk_full", "reason": "The disk is full."}
    await page.send("stop", chat="c")
    assert await page.next() == {"type": "error", "code": "disk_full", "reason": "The disk is full."}


async def test_stop_is_a_message_of_its_own(home: House) -> None:
    page = await tab(home)
    await page.send("stop", chat="c")
    await page.send("stop", chat="c")
    await wait_all_tasks_blocked()
    assert [arrived.text for arrived in home.arrived] == ["/stop", "/stop"]
    assert len({arrived.id for arrived in home.arrived}) == 2


async def test_messages_of_a_chat_keep_their_order_and_a_slow_chat_delays_no_other(home: House) -> None:
    home.gates["slow"] = trio.Event()
    page = await tab(home)
    for n in range(3):
        await page.send("message", id=f"s{n}", chat="slow", text="x")
    await page.send("message", id="q", chat="quick", text="x")
    assert (await page.next())["id"] == "q"
    wire = home.say("quick", "an answer")
    assert (await page.next())["id"] == wire
    await page.send("ack", id=wire)
    await wait_all_tasks_blocked()
    assert home.settled == [wire]
    home.gates["slow"].set()
    assert [(await page.next())["id"] for _ in range(3)] == ["s0", "s1", "s2"]


async def test_a_client_can_have_so_much_under_way(home: House) -> None:
    home.gates["c"] = trio.Event()
    page = await tab(home)
    for n in range(PENDING + 5):
        await page.send("message", id=str(n), chat="c", text="x")
    await wait_all_tasks_blocked()
    assert page.connection.unread == 4  # one more is in the reader's hand
    home.gates["c"].set()
    assert [(await page.next())["id"] for _ in range(PENDING + 5)] == [str(n) for n in range(PENDING + 5)]


async def test_what_was_read_of_a_client_that_leaves_is_delivered(home: House) -> None:
    home.gates["c"] = trio.Event()
    page = await tab(home)
    for n in range(2):
        await page.send("message", id=f"m{n}", chat="c", text="and away")
    await wait_all_tasks_blocked()
    page.connection.leave()
    await wait_all_tasks_blocked()
    home.gates["c"].set()
    await page.left.wait()
    assert [arrived.id for arrived in home.arrived] == ["m0", "m1"]
    assert home.channel.remembered == 0


@pytest.mark.parametrize(
    ("frame", "code", "id"),
    [
        ('{"type": "message", "id": "m", "chat": "c", "text": ""}', "empty", "m"),
        ('{"type": "shout"}', "unknown_type", None),
        ("no json", "not_json", None),
        (b"\x00\xff", "not_json", None),
        ('{"type": "auth", "token": "again"}', "bad_field", None),
    ],
)
async def test_a_bad_frame_is_answered_and_ends_nothing(home: House, frame: str | bytes, code: str, id: str | None) -> None:
    page = await tab(home)
    await page.send_raw(frame)
    error = await page.next()
    assert (error["type"], error["code"], error.get("id")) == ("error", code, id)
    await page.send("message", id="m1", chat="c", text="hello")
    await page.expect("accepted", id="m1")


# --- the past


async def test_open_is_answered_by_the_history(home: House) -> None:
    home.pasts["c"] = frames.History(
        (frames.Item(3, "you", "hi", 5.0, "m1"), frames.Item(3, "bot", "no", 6.0, "c/o1", "m1", failed=True))
    )
    page = await tab(home)
    await page.send("open", chat="c")
    assert (await page.next())["items"] == [
        {"n": 3, "role": "you", "text": "hi", "at": 5.0, "id": "m1"},
        {"n": 3, "role": "bot", "text": "no", "at": 6.0, "id": "c/o1", "replyTo": "m1", "failed": True},
    ]
    assert await page.next() == {"type": "state", "chat": "c", "state": "idle"}
    await page.send("open", chat="c", before=3)
    await page.expect("history", chat="c")
    await page.nothing_more()
    assert home.asked == [("c", None), ("c", 3)]


async def test_a_history_that_cannot_be_read(home: House) -> None:
    home.trouble = NanobotError("it is damaged")
    page = await tab(home)
    await page.send("open", chat="c")
    assert await page.next() == {"type": "error", "code": "unreadable", "reason": "it is damaged"}


SIGNS: list[tuple[Sign, dict[str, Any]]] = [
    (StateSign("working", "exec"), {"type": "state", "chat": "c", "state": "working", "tool": "exec"}),
    (ToolSign(4, "exec", "started"), {"type": "tool", "chat": "c", "turn": 4, "name": "exec", "phase": "started"}),
    (DeltaSign(4, "Hel"), {"type": "delta", "chat": "c", "turn": 4, "text": "Hel"}),
    (VoidSign(4), {"type": "void", "chat": "c", "turn": 4}),
]


@pytest.mark.parametrize("naming", NAMING, ids=lambda frame: frame["type"])
async def test_live_frames_go_to_the_connections_that_named_the_chat(home: House, naming: dict[str, str]) -> None:
    page, other = await tab(home), await tab(home)
    await page.send(**naming)
    await other.send("open", chat="another")
    await wait_all_tasks_blocked()
    for sign, _ in SIGNS:
        home.channel.show(SessionKey("web", "c"), sign)
    wire = home.say("c", "done")
    await page.expect("message", id=wire)
    assert page.heard[-5:-1] == [frame for _, frame in SIGNS]
    await other.send("message", id="m", chat="another", text="x")
    await other.expect("accepted")  # with it comes whatever waited
    assert {frame.get("chat") for frame in other.heard} == {None, "another"}


async def test_who_opens_a_chat_in_the_middle_of_an_answer_sees_it_from_its_beginning(home: House) -> None:
    key = SessionKey("web", "c")
    for sign in (DeltaSign(1, "old"), StateSign("thinking"), DeltaSign(2, "I look."), ToolSign(2, "grep", "done")):
        home.channel.show(key, sign)
    home.channel.show(key, DeltaSign(2, "It is "))
    page = await tab(home)
    await page.send("open", chat="c")
    await page.expect("history")
    assert await page.next() == {"type": "state", "chat": "c", "state": "thinking"}
    assert await page.next() == {"type": "void", "chat": "c", "turn": 2}
    assert await page.next() == {"type": "delta", "chat": "c", "turn": 2, "text": "It is "}
    home.channel.show(key, DeltaSign(2, "there."))
    assert await page.next() == {"type": "delta", "chat": "c", "turn": 2, "text": "there."}


# --- final messages


async def reader(home: House, chat: str = "c") -> Tab:
    """A client that has opened a chat, and heard what there is to hear of it."""
    page = await tab(home)
    await page.send("open", chat=chat)
    await page.expect("state", chat=chat)
    return page


async def test_what_a_message_says(home: House) -> None:
    page = await reader(home)
    files = (Attachment("/data/media/x1", "text/csv", "table.csv", 12),)
    home.say("c", "It failed", "m1", also_answers=(MessageId("m2"),), failed=True, attachments=files)
    assert await page.next() == {
        "type": "message",
        "id": "c/o1",
        "chat": "c",
        "replyTo": "m1",
        "alsoAnswers": ["m2"],
        "text": "It failed",
        "failed": True,
        "media": [{"name": "table.csv", "mime": "text/csv", "size": 12}],
    }
    await page.send("open", chat="d")
    await page.expect("state", chat="d")
    home.say("d", "A reminder")
    plain = await page.next()
    assert plain == {"type": "message", "id": "d/o2", "chat": "d", "replyTo": None, "alsoAnswers": [], "text": "A reminder"}


async def test_buttons_go_with_their_message_and_with_the_newest_history(home: House) -> None:
    page = await reader(home)
    home.say("c", "May I?", buttons=(Button("Yes", "/approve 1"), Button("No", "/deny 1")))
    offered = [{"label": "Yes", "says": "/approve 1"}, {"label": "No", "says": "/deny 1"}]
    assert (await page.next())["buttons"] == offered
    home.pasts["c"] = frames.History(questions=(frames.Question("May I?", (Button("Yes", "/approve 1"),)),))
    await page.send("open", chat="c")
    assert (await page.next())["questions"] == [{"text": "May I?", "buttons": offered[:1]}]
    home.pasts["c"] = frames.History()
    await page.send("open", chat="c", before=3)
    assert "questions" not in await page.expect("history")


async def test_a_message_is_delivered_when_it_is_acknowledged(home: House) -> None:
    page = await reader(home)
    wire = home.say("c", "hello")
    await page.expect("message", id=wire)
    await page.nothing_more()
    assert home.settled == []
    await page.send("ack", id=wire)
    await wait_all_tasks_blocked()
    assert home.settled == [wire]


async def test_after_ready_everything_unacknowledged_of_the_channel_comes_oldest_first_with_the_same_ids(home: House) -> None:
    wires = [home.say(chat, "x") for chat in ("a", "b", "a", "c")]
    await wait_all_tasks_blocked()
    for _ in range(2):
        page = await tab(home)
        assert [(await page.next())["id"] for _ in wires] == wires
        await page.nothing_more()
        await page.leave()
    assert home.settled == []


async def test_what_is_acknowledged_while_the_house_looks_for_what_waits_does_not_come_again(home: House) -> None:
    one, two = home.say("c", "one"), home.say("c", "two")
    home.looked = trio.Event()
    page = await tab(home)
    await page.send("open", chat="c")
    await page.expect("message", id=one)
    await page.send("ack", id=one)
    await page.expect("message", id=two)
    home.looked.set()
    await page.nothing_more()
    await page.send("ack", id=two)
    await page.nothing_more()
    assert home.settled == [one, two]
    assert home.channel.remembered == 1, "the chat that it named"


async def test_what_was_acknowledged_is_not_forgotten_by_an_older_look_at_what_waits(home: House) -> None:
    one = home.say("c", "one")
    home.looked = older = trio.Event()
    other = await tab(home)
    await other.nothing_more()
    home.looked = trio.Event()
    home.looked.set()
    two = home.say("c", "two")
    page = await tab(home)
    for id in (one, two):
        await page.expect("message", id=id)
    await page.send("ack", id=two)
    await page.nothing_more()
    older.set()
    await other.expect("message", id=one)
    await page.send("ack", id=one)
    await page.nothing_more()
    assert home.settled == [one, two]


async def test_with_nobody_there_a_message_waits_without_limit(home: House, autojump_clock: MockClock) -> None:
    wire = home.say("c", "x")
    await trio.sleep(365 * 86400)
    page = await tab(home)
    await page.expect("message", id=wire)
    await page.send("ack", id=wire)
    await wait_all_tasks_blocked()
    assert home.settled == [wire]


async def test_of_two_tabs_the_first_acknowledgement_settles(home: House) -> None:
    one, two = await reader(home), await reader(home)
    wire = home.say("c", "x")
    for page in (one, two):
        await page.expect("message", id=wire)
    for page in (two, one, two):
        await page.send("ack", id=wire)
        await wait_all_tasks_blocked()
    assert (home.settled, home.woken) == ([wire], [])
    three = await reader(home)
    await three.nothing_more()


async def test_messages_of_several_chats_may_be_acknowledged_in_any_order(home: House) -> None:
    wires = [home.say("a", "x"), home.say("a", "y"), home.say("b", "z")]
    await wait_all_tasks_blocked()
    page = await tab(home)
    for wire in wires:
        await page.expect("message", id=wire)
    for wire in reversed(wires):
        await page.send("ack", id=wire)
    await wait_all_tasks_blocked()
    assert sorted(home.settled) == sorted(wires)
    assert home.settled.index(wires[0]) < home.settled.index(wires[1])


async def test_a_message_goes_once_to_a_connection_however_often_it_is_tried(home: House) -> None:
    wire = home.say("c", "x")
    await wait_all_tasks_blocked()
    page = await tab(home)
    await page.expect("message", id=wire)
    await page.send("open", chat="c")
    await page.expect("state", chat="c")
    await page.nothing_more()
    assert home.woken == [SessionKey("web", "c")]
    await page.send("ack", id=wire)
    await wait_all_tasks_blocked()
    assert home.settled == [wire]


async def test_who_never_acknowledges_holds_up_no_session_and_may_do_so_later(home: House, autojump_clock: MockClock) -> None:
    page = await reader(home)
    outbound = Outbound(OutboundId("o9"), "x", 1.0)
    part = Part(SessionKey("web", "c"), outbound, "x")
    with pytest.raises(Unreachable, match="not acknowledged"):
        await home.channel.send(part)
    assert trio.current_time() == pytest.approx(ACK_S)
    for _ in range(2):
        await page.send("ack", id="c/o9")
    await wait_all_tasks_blocked()
    assert home.woken == [SessionKey("web", "c")]
    assert (await home.channel.send(part)).id == "c/o9"
    assert trio.current_time() == pytest.approx(ACK_S)


async def test_a_session_that_missed_an_acknowledgement_hears_of_it_with_the_next_connection(home: House) -> None:
    wire = home.say("c", "x")
    await wait_all_tasks_blocked()
    page = await tab(home)
    await page.expect("message", id=wire)
    home.sleepy = True
    await page.send("ack", id=wire)
    await wait_all_tasks_blocked()
    home.sleepy = False
    other = await tab(home)
    await other.nothing_more()
    assert home.settled == [wire]


async def test_a_session_does_not_wait_for_a_client_that_left(home: House) -> None:
    page = await reader(home)
    wire = home.say("c", "x")
    await page.expect("message", id=wire)
    await page.leave()
    await wait_all_tasks_blocked()
    assert not home.sending
    other = await tab(home)
    await other.expect("message", id=wire)


@pytest.mark.parametrize("wire", ["c/o1", "c/o99", "nonsense"])
async def test_an_acknowledgement_for_nothing_is_nothing(home: House, wire: str) -> None:
    page = await reader(home)
    await page.send("ack", id=wire)
    await page.nothing_more()
    home.say("c", "x")
    await page.expect("message", id="c/o1")
    await wait_all_tasks_blocked()
    assert (home.settled, home.woken) == ([], [])


async def test_a_message_that_was_given_up_is_forgotten(home: House, autojump_clock: MockClock) -> None:
    page = await reader(home)
    wire = home.say("c", "x")
    await page.expect("message", id=wire)
    await trio.sleep(ACK_S + 1)
    home.drop()
    await page.send("ack", id=wire)
    await page.send("open", chat="c")
    await page.expect("state")
    other = await tab(home)
    await other.nothing_more()
    for client in (page, other):
        await client.leave()
    assert home.channel.remembered == 0


# --- slow readers, and the end


async def test_a_reader_who_stalls_loses_no_message(home: House) -> None:
    page = await tab(home)
    for chat in ("c", "d", "e"):
        await page.send("open", chat=chat)
        await page.expect("state", chat=chat)
    page.connection.reads = trio.Event()
    key = SessionKey("web", "c")
    for _ in range(20_000):
        home.channel.show(key, DeltaSign(1, "y" * 50))
    wires = {home.say(chat, "x") for chat in ("c", "d", "e")}
    await wait_all_tasks_blocked()
    page.connection.reads.set()
    assert {(await page.expect("message"))["id"] for _ in wires} == wires
    assert sum(len(frame["text"]) for frame in page.of("delta")) <= 300_000


async def test_the_end_of_the_channel_ends_its_connections_and_what_waits(home: House) -> None:
    page, stranger = await reader(home), await tab(home, token=None)
    home.say("c", "x")
    await page.expect("message")
    home.life.cancel()
    assert await page.closed() == RESTARTING
    await wait_all_tasks_blocked()
    assert not home.sending
    late = await tab(home, token=None)
    assert await late.closed() == TRY_AGAIN
    await stranger.send("auth", token=TOKEN)
    assert await stranger.closed() == RESTARTING
    assert home.channel.connections == 0


async def test_it_forgets_what_is_over(home: House) -> None:
    for n in range(20):
        page = await tab(home)
        await page.send("message", id="m", chat=f"c{n}", text="x")
        home.channel.show(SessionKey("web", f"c{n}"), DeltaSign(1, "x"))
        wire = home.say(f"c{n}", "x")
        await page.expect("message", id=wire)
        await page.send("ack", id=wire)
        await wait_all_tasks_blocked()
        home.channel.show(SessionKey("web", f"c{n}"), StateSign("idle"))
        await page.leave()
    assert home.channel.remembered == 0


# --- in any order


MOVES = st.lists(
    st.tuples(st.sampled_from(["say", "come", "leave", "ack", "open", "wait", "restart"]), st.integers(0, 2), st.integers(0, 5)),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(moves=MOVES)
def test_in_any_order_of_what_may_happen_each_message_is_settled_once_and_in_order(moves: list[tuple[str, int, int]]) -> None:
    trio.run(_play, moves, clock=MockClock(autojump_threshold=0))


async def _play(moves: list[tuple[str, int, int]]) -> None:
    async with house() as home:
        said: list[str] = []
        tabs: dict[int, Tab] = {}
        for move, who, which in moves:
            page = tabs.get(who)
            match move:
                case "say":
                    said.append(home.say(f"c{which % 3}", "x"))
                case "come" if page is None:
                    tabs[who] = await tab(home)
                case "leave" if page is not None:
                    await tabs.pop(who).leave()
                case "ack" if page is not None and said:
                    await _drain(page)
                    await page.send("ack", id=said[which % len(said)])
                case "open" if page is not None:
                    await page.send("open", chat=f"c{which % 3}")
                case "wait":
                    await trio.sleep(ACK_S / 2)
                case "restart":
                    tabs.clear()
                    await home.restart()
                case _:  # there is nobody to do it
                    pass
            await wait_all_tasks_blocked()
            assert len(set(home.settled)) == len(home.settled)
        for page in tabs.values():
            await page.leave()
        last = await tab(home)
        await _ack_all(last)
        assert sorted(home.settled) == sorted(said)
        for chat in ("c0/", "c1/", "c2/"):
            assert [wire for wire in home.settled if wire.startswith(chat)] == [wire for wire in said if wire.startswith(chat)]
        await last.leave()
        assert home.channel.remembered == 0


async def _drain(page: Tab) -> None:
    while page.connection.waiting:
        await page.next()


async def _ack_all(page: Tab) -> None:
    await wait_all_tasks_blocked()
    while page.connection.waiting:
        frame = await page.next()
        if frame["type"] == "message":
            await page.send("ack", id=frame["id"])
        await wait_all_tasks_blocked()


async def test_the_fake_client_notices_the_end(home: House) -> None:
    page = await tab(home)
    home.life.cancel()
    with pytest.raises(Gone):
        await page.expect("message")
