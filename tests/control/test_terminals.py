"""Terminals at a real house with a scripted model; the connections are in memory, and the test is the terminal."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio

from nanobot.agent import post
from nanobot.config.load import load
from nanobot.control import feed
from nanobot.control.answers import last_said
from nanobot.control.frames import progress_of, session_of
from nanobot.control.port import BadRequest
from nanobot.control.terminals import MOST_OPENED, NOBODY, Inside, Terminals
from nanobot.gateway.house import House, open_house
from nanobot.messages import (
    CallId,
    Exchange,
    Inbound,
    MessageId,
    Outbound,
    OutboundId,
    Reply,
    Said,
    SessionKey,
    TurnEnd,
    TurnNumber,
)
from nanobot.session import events as ev
from nanobot.session.ports import Adopted, Progress, Shown, Waiting, Working
from nanobot.session.state import Pending, Session, Thinking, Turn
from nanobot.wire import Json, JsonObject
from tests.fakes.connection import PATIENCE, End, ends
from tests.fakes.llm import Answer, Script, ToolCall, echo, model_server
from tests.fakes.talk import KEY, configured

FOREIGN = "net"


@attrs.define(eq=False)
class Place:
    """A house, its terminals, and a way to sit down at them."""

    house: House
    terminals: Terminals
    media: Path
    nursery: trio.Nursery

    def attach(self, session: str = str(KEY)) -> End:
        mine, theirs = ends()
        request: JsonObject = {"do": "attach", "session": session}
        self.nursery.start_soon(partial(self.terminals.attach, request, mine))
        return theirs

    def ask(self, session: str = str(KEY)) -> End:
        mine, theirs = ends()
        request: JsonObject = {"do": "ask", "session": session}
        self.nursery.start_soon(partial(self.terminals.ask, request, mine))
        return theirs

    async def until(self, fact: str) -> Session:
        """Wait until the session's outbox is `empty`, or its first message is `waiting`."""
        with trio.fail_after(PATIENCE):
            while True:
                session = await self.house.registry.open(KEY)
                outbox = session.outbox
                if (fact == "empty" and not outbox and session.exchanges) or (fact == "waiting" and outbox and outbox[0].waiting):
                    return session
                await trio.sleep(0.01)


@asynccontextmanager
async def house_with(folder: Path, script: Script) -> AsyncIterator[Place]:
    async with model_server(script) as server:
        where = configured(folder, "openai", server.base)
        config = load(where.config, {}).config
        terminals = Terminals(time.time, lambda channel: channel == FOREIGN)
        environ = {"PATH": os.environ["PATH"]}
        async with open_house(config, where, environ, terminals, terminals.watch, resume_all=True, drain_s=1) as house:
            media = folder / "media"
            terminals.inside = Inside(
                house.registry, house.deliver, lambda model: model or "m", lambda key: media / key, folder, ("beware",)
            )
            async with trio.open_nursery() as nursery:
                yield Place(house, terminals, media, nursery)
                nursery.cancel_scope.cancel()


def say(message: str, text: str, *files: Json) -> JsonObject:
    return {"type": "say", "id": message, "text": text, "files": list(files)}


def sent(frame: JsonObject, *, ok: bool = True, error: str = "") -> JsonObject:
    return {"type": "sent", "id": frame["id"], "ok": ok, "error": error}


async def test_a_terminal_folds_the_session_that_the_house_has(tmp_path: Path) -> None:
    calls = Answer("I look.", calls=(ToolCall("list_dir", {"path": "."}),))
    async with house_with(tmp_path, [calls, Answer("done")]) as place:
        end = place.attach()
        hello = (await end.told("ok"))["ok"]
        assert isinstance(hello, dict)
        assert (hello["model"], hello["warnings"], hello["network"]) == ("m", ["beware"], False)
        session = session_of(hello["session"])
        seen: list[Progress] = []
        await end.send(say("a", "look"))
        with trio.fail_after(PATIENCE):
            while (frame := await end.receive()) is not None:
                progress = progress_of(frame, session)
                seen += [progress] if progress else []
                session = progress.session if isinstance(progress, Adopted) else session
                if frame["type"] == "send":
                    await end.send(sent(frame))
                if session.exchanges and not session.outbox:
                    break
        there = await place.house.registry.open(KEY)
        assert attrs.evolve(there, seen=session.seen) == attrs.evolve(session, seen=session.seen)
        assert "".join(p.text for p in seen if isinstance(p, Shown)) == "I look.done"


async def test_what_a_terminal_says_is_acknowledged_and_joins_once(tmp_path: Path) -> None:
    async with house_with(tmp_path, echo) as place:
        end = place.attach()
        for _ in range(2):
            await end.send(say("a", "say it"))
            assert (await end.told("said"))["id"] == "a"
        await end.send(sent(await end.told("send")))
        session = await place.until("empty")
        assert len(session.exchanges) == 1


@pytest.mark.parametrize(
    ("key", "why"), [("cli:default:other", NOBODY), ("telgram:default:7", f"no network is called telgram, and {NOBODY}")]
)
async def test_what_nobody_is_there_for_waits_and_says_so(key: str, why: str, tmp_path: Path) -> None:
    async with house_with(tmp_path, echo) as place:
        end = await place.terminals.send(Session(key), Pending(Outbound(OutboundId("o"), "hi", 0.0)), 0)
    assert isinstance(end, ev.ChannelDown)
    assert end.error == why


async def test_a_reply_is_delivered_when_a_terminal_has_printed_it_and_waits_for_one_that_does(tmp_path: Path) -> None:
    async with house_with(tmp_path, echo) as place:
        first = place.attach()
        await first.send(say("a", "say it"))
        await first.told("send")
        first.leave()  # in the middle of printing
        session = await place.until("waiting")
        assert session.outbox[0].error == NOBODY
        second = place.attach()
        await second.send(sent(await second.told("send"), ok=False, error="paper jam"))
        session = await place.until("waiting")
        assert session.outbox[0].error == "paper jam"
        third = place.attach()
        await third.send(sent(await third.told("send")))
        await place.until("empty")


async def test_one_of_several_terminals_settles_it_and_a_late_one_still_gets_it(tmp_path: Path) -> None:
    async with house_with(tmp_path, echo) as place:
        slow = place.attach()
        await slow.send(say("a", "say it"))
        offered = await slow.told("send")
        late = place.attach()
        assert (await late.told("send"))["id"] == offered["id"]
        await late.send(sent(offered))
        await place.until("empty")


async def test_a_question_gets_its_own_answer_and_only_that(tmp_path: Path) -> None:
    async with house_with(tmp_path, echo) as place:
        one, two = place.ask(), place.ask()
        await one.told("ok")
        await two.told("ok")
        await one.send(say("a", "say one"))
        answer = await one.told("answer")
        assert (answer["text"], answer["failed"], answer["tools"]) == ("one", False, [])
        await one.send(sent(answer))
        await two.send(say("b", "/status"))
        kinds = []
        while (frame := await two.receive()) is not None and frame["type"] != "answer":
            kinds.append(frame["type"])
        assert kinds == ["said"]


async def test_a_reply_that_nobody_took_is_told_before_the_answer(tmp_path: Path) -> None:
    async with house_with(tmp_path, echo) as place:
        gone = place.ask()
        await gone.send(say("a", "say one"))
        await gone.told("answer")
        gone.leave()
        await place.until("waiting")
        end = place.ask()
        await end.send(say("b", "say two"))
        earlier = await end.told("earlier")
        assert earlier["text"] == "one"
        await end.send(sent(earlier))
        assert (await end.told("answer"))["text"] == "two"


async def test_a_question_whose_answer_was_said_in_mid_turn_is_answered_by_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if it is slow to say that it has printed it: `message` does not wait for that forever."""
    monkeypatch.setattr(post, "WAIT_S", 0.0)
    async with house_with(tmp_path, [Answer(calls=(ToolCall("message", {"text": "5"}),)), Answer("5")]) as place:
        end = place.ask()
        await end.send(say("a", "what is 2 + 3"))
        meanwhile = await end.told("meanwhile")
        assert meanwhile["text"] == "5"
        answer = await end.told("answer")
        assert (answer["id"], answer["text"], answer["failed"]) == ("", "5", False)
        await end.send(sent(meanwhile))
        await place.until("empty")
        await end.send(say("b", "/status"))
        kinds = []
        while (frame := await end.receive()) is not None and frame["type"] != "earlier":
            kinds.append(frame["type"])
        assert kinds == ["said"]


ASKED = MessageId("a")
A, B = (Outbound(OutboundId(text), text, 1.0, ASKED, request=f"call {text}") for text in "AB")
FINAL = Outbound(OutboundId("o8"), "final", 1.0, ASKED)
FOREIGN_REPLY = Outbound(OutboundId("o9"), "else", 1.0, MessageId("other"))


def closed(*replies: Reply) -> Session:
    return Session("k", exchanges=(Exchange(TurnNumber(1), "p", (Said(ASKED, "?", 1.0, "p"), *replies), TurnEnd.ANSWERED),))


@pytest.mark.parametrize(
    ("session", "outbox", "said", "answer"),
    [
        (Session("k", Thinking(Turn(TurnNumber(1), "p", (ASKED,), (), 1.0))), (), (A,), None),
        (Session("k", Thinking(Turn(TurnNumber(2), "p", (MessageId("b"),), (), 1.0))), (), (A,), A),
        (closed(), (), (), None),
        (closed(), (), (A, B), B),
        (closed(Reply("A")), (), (A, B), A),
        (closed(), (B,), (A,), None),
        (closed(), (FINAL,), (A,), None),
        (closed(), (A, FOREIGN_REPLY), (A,), A),
    ],
    ids=["turn runs", "next turn", "nothing said", "last", "repeated", "more to say", "a reply", "not delivered yet"],
)
def test_which_of_what_was_said_is_the_answer(
    session: Session, outbox: tuple[Outbound, ...], said: tuple[Outbound, ...], answer: Outbound | None
) -> None:
    owing = attrs.evolve(session, outbox=tuple(map(Pending, outbox)))
    assert last_said(owing, said, ASKED) == answer


@pytest.mark.parametrize(
    "request_",
    [{"session": "nonsense"}, {}, {"session": str(KEY), "workspace": "/elsewhere"}],
    ids=["no session key", "no session", "another workspace"],
)
async def test_what_cannot_be_attached_is_refused(request_: JsonObject, tmp_path: Path) -> None:
    async with house_with(tmp_path, echo) as place:
        mine, _ = ends()
        with pytest.raises(BadRequest):
            await place.terminals.attach(request_, mine)


# --- files


async def test_only_files_of_the_conversation_are_taken(tmp_path: Path) -> None:
    async with house_with(tmp_path, echo) as place:
        folder = place.media / str(KEY)
        folder.mkdir(parents=True)
        (folder / "mine.txt").write_text("heron")
        (tmp_path / "secret").write_text("x")
        (folder / "link").symlink_to(tmp_path / "secret")
        (folder / "below").mkdir()
        end = place.attach()
        for name in ("../../secret", "link", "below", "missing", f"{tmp_path}/secret"):
            await end.send(say(name, "look", {"path": str(folder / name), "mime": "text/plain", "name": name, "size": 1}))
            assert name in str((await end.told("refused"))["reason"])
        good: JsonObject = {"path": str(folder / "mine.txt"), "mime": "text/plain", "name": "mine.txt", "size": 1}
        await end.send(say("good", "say it", good))
        assert (await end.told("said"))["id"] == "good"


@pytest.mark.parametrize("frame", [{"type": "say"}, {"type": "say", "id": "", "text": "x", "files": []}, {"no": "type"}], ids=str)
async def test_a_frame_that_is_none_is_the_last(frame: JsonObject, tmp_path: Path) -> None:
    async with house_with(tmp_path, echo) as place:
        end = place.attach()
        await end.send(frame)
        assert (await end.told("error"))["code"] == "bad_request"


# --- ends


async def test_closing_tells_everyone_and_takes_nobody(tmp_path: Path) -> None:
    async with house_with(tmp_path, echo) as place:
        end = place.attach()
        await end.told("ok")
        await place.terminals.close(restarting=True)
        assert (await end.told("bye"))["code"] == "restarting"
        with pytest.raises(BadRequest) as refused:
            await place.terminals.ask({"session": str(KEY)}, ends()[0])
        assert refused.value.code == "stopping"


@attrs.define
class NeverAwake:
    """A registry whose sessions end at once."""

    opened: int = 0

    async def open(self, key: SessionKey) -> Session:
        self.opened += 1
        return Session(str(key))

    def wake(self, _key: SessionKey, _at: float) -> None:
        pass

    def live(self) -> dict[str, Session]:
        return {}


async def test_a_session_that_ends_while_somebody_waits_is_opened_again_and_at_last_said_to_fail(
    autojump_clock: trio.abc.Clock, tmp_path: Path
) -> None:
    async def deliver(_inbound: Inbound) -> None:
        pass

    registry = NeverAwake()
    terminals = Terminals(time.time)
    terminals.inside = Inside(registry, deliver, lambda _: "m", lambda _: tmp_path, tmp_path)  # type: ignore[arg-type]
    mine, theirs = ends()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(terminals.ask, {"session": str(KEY)}, mine))
        await theirs.send(say("a", "hello"))
        assert "fails again and again" in str((await theirs.told("error"))["error"])
        nursery.cancel_scope.cancel()
    assert registry.opened == 1 + MOST_OPENED


async def test_a_terminal_that_does_not_read_is_let_go_and_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "MOST", 5)
    monkeypatch.setattr(feed, "LINGER_S", 0.1)
    async with house_with(tmp_path, echo) as place:
        mine, _deaf = ends(room=0)
        good = place.attach()
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:  # left when the deaf one was let go
                nursery.start_soon(partial(place.terminals.attach, {"session": str(KEY)}, mine))
                for number in range(4):
                    await good.send(say(f"m{number}", f"say {number}"))
                    await good.send(sent(await good.told("send")))
        await place.until("empty")


async def test_whoever_reads_again_in_time_learns_why_it_was_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "MOST", 3)
    mine, theirs = ends()
    waiting = feed.Feed()
    for number in range(4):
        waiting.put({"type": "said", "id": str(number)})
    with trio.fail_after(PATIENCE):
        await waiting.pump(mine)
    assert (await theirs.receive()) == feed.SLOW


# --- the feed


SHOWN = [Shown(TurnNumber(1), text) for text in "abc"]
CALL, OTHER = CallId("c"), CallId("d")


@pytest.mark.parametrize(
    ("put", "frames"),
    [
        (SHOWN, [("shown", "abc")]),
        ([*SHOWN, Shown(TurnNumber(2), "d")], [("shown", "abc"), ("shown", "d")]),
        ([*SHOWN, Shown(TurnNumber(1), void="again"), *SHOWN], [("shown", "abc"), ("shown", ""), ("shown", "abc")]),
        ([Working(TurnNumber(1), CALL, "1"), Working(TurnNumber(1), CALL, "2")], [("working", "2")]),
        ([Working(TurnNumber(1), CALL, "1"), Working(TurnNumber(1), OTHER, "2")], [("working", "1"), ("working", "2")]),
        ([Waiting("a"), Waiting("b")], [("waiting", "b")]),
    ],
)
async def test_what_may_be_lost_is_merged_while_it_waits(put: list[Progress], frames: list[tuple[str, str]]) -> None:
    mine, theirs = ends()
    waiting = feed.Feed()
    for progress in put:
        waiting.put(progress)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiting.pump, mine)
        came = [await theirs.told("type") for _ in frames]
        nursery.cancel_scope.cancel()
    assert [(f["type"], f.get("text", f.get("line", f.get("what")))) for f in came] == frames
