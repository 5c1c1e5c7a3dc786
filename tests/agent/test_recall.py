"""`search_history` in a whole house: what the model is shown, whose words stay closed to whom, and what is tainted by it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import attrs
import pytest
import trio

from nanobot.agent import recall
from nanobot.agent.recall import NOTHING, ONLY_HERE, library
from nanobot.archive.conversation import Piece
from nanobot.config.load import load
from nanobot.config.paths import Places
from nanobot.memory.index import Index, Query
from nanobot.memory.sources import Sources
from nanobot.messages import Call, Inbound, MessageId, Origin, Principal, Reply, Said, SessionKey
from nanobot.security.ledger import Ledger
from nanobot.session import events as ev
from tests.fakes.llm_wire import Answer, Scripted, ToolCall
from tests.fakes.talk import KEY, ME, Talk, configured, talking

FRIEND_AT = SessionKey("telegram", "7")
FRIEND = Principal("telegram", "default", "7", "bob")
GROUP_AT = SessionKey("telegram", "-100")
MEMBER = Principal("telegram", "default", "-100", "eve")
ME_THERE = Principal("telegram", "default", "-100", "me", owner=True)
OWNERS = ["cli:default:direct:me", "telegram:default:-100:me"]


def search(**arguments: object) -> Answer:
    return Answer("", calls=(ToolCall("search_history", arguments),))


async def says(
    talk: Talk, text: str, who: Principal = ME, key: SessionKey = KEY, *, tainted: bool = False, origin: Origin = Origin.DIRECT
) -> str:
    """The reply."""
    message = MessageId(f"{text}-{len(talk.progress)}")
    if origin is Origin.JOB:
        said = Said(message, text, time.time(), str(who), origin=origin)
        await talk.house.registry.deliver(key, ev.Received(said))
    else:
        direct = origin is Origin.DIRECT
        await talk.house.deliver(Inbound(message, key, who, text, time.time(), tainted=tainted, direct=direct))
    return (await talk.reply_to(message)).text


def calls(talk: Talk) -> list[Call]:
    """Of the session that spoke last."""
    entries = [entry for exchange in talk.session.exchanges for entry in exchange.entries]
    return [call for entry in entries if isinstance(entry, Reply) for call in entry.calls]


def write_history(place: Path, text: str) -> None:
    (place / "workspace" / "memory").mkdir(parents=True, exist_ok=True)
    (place / "workspace" / "memory" / "HISTORY.md").write_text(text)


async def test_what_was_said_before_is_found_and_read(tmp_path: Path) -> None:
    write_history(tmp_path, "[2026-01-02 10:00] Chose the walrus as a mascot.\n")
    script: list[Scripted] = [
        Answer("A fine animal."),
        search(query="walrus", role="history"),
        search(query="walrus", limit=1),
        search(query="walrus", role="person", since="today", until="today", chat="cli:direct"),
        search(read="cli:direct#0"),
        Answer("found"),
    ]
    async with talking(tmp_path, script, owners=OWNERS) as talk:
        await says(talk, "I saw a walrus")
        assert await says(talk, "what was that animal?") == "found"
        history, first, second, third = calls(talk)
    assert history.result.startswith(
        "[history#0] 2026-01-02 10:00, history\n[2026-01-02 10:00] Chose the **walrus** as a mascot."
    )
    assert "There are more" in first.result
    assert "There are more" not in history.result
    assert "[cli:direct#0]" in second.result
    assert ", person; with the owner\nI saw a **walrus**\n" in second.result
    assert third.result.endswith("person:\nI saw a walrus\n\nassistant:\nA fine animal.")
    assert not any(call.tainted for call in (history, first, second, third))


async def test_what_was_undone_is_not_found(tmp_path: Path) -> None:
    async with talking(tmp_path, [Answer("so"), search(query="walrus"), Answer("no")], owners=OWNERS) as talk:
        await says(talk, "a walrus")
        await says(talk, "/undo")
        await says(talk, "and now?")
        (found,) = calls(talk)
    assert found.result.startswith(NOTHING)


@pytest.mark.parametrize(
    ("who", "key", "origin"),
    [
        (FRIEND, FRIEND_AT, Origin.DIRECT),
        (MEMBER, GROUP_AT, Origin.GROUP),
        (ME_THERE, GROUP_AT, Origin.GROUP),
        (ME, SessionKey("cron", "job"), Origin.JOB),
        (ME, FRIEND_AT, Origin.JOB),
    ],
)
async def test_others_and_where_others_read_find_only_their_own_conversation(
    tmp_path: Path, who: Principal, key: SessionKey, origin: Origin
) -> None:
    write_history(tmp_path, f"[2026-01-02 10:00] [from {key.short}, 2026-01-02] The walrus is called Xaver.\n")
    tries = [
        {"query": "walrus"},
        {"query": "Xaver*"},
        {"query": ""},
        {"query": "-nothing", "role": "history"},
        {"query": "walrus", "role": "tool"},
        {"query": "walrus", "chat": "cli:direct"},
        {"query": 'walrus" OR person:"walrus'},
        {"read": "cli:direct#0"},
        {"read": "history#0"},
    ]
    script: list[Scripted] = [search(query="none"), Answer("Xaver it is"), Answer("hello"), *(search(**one) for one in tries)]
    async with talking(tmp_path, [*script, Answer("nothing")], owners=OWNERS) as talk:
        await says(talk, "my walrus is called Xaver")
        await says(talk, "own words", who, key, origin=origin)
        await says(talk, "tell me", who, key, origin=origin)
        results = {str(one): call.result for one, call in zip(tries, calls(talk), strict=True)}
    assert [one for one, text in results.items() if "Xaver" in text.replace("Xaver*", "")] == []
    assert "own words" in results[str({"query": ""})]
    assert ONLY_HERE in results[str({"query": "walrus", "chat": "cli:direct"})]
    assert ONLY_HERE in results[str({"read": "history#0"})]


@pytest.mark.parametrize(
    ("query", "tainted"), [("walrus", False), ("forwarded", True), ("carpet", True), ("friend", True), ("unlikely", False)]
)
async def test_a_result_is_tainted_where_what_it_shows_is(tmp_path: Path, query: str, tainted: bool) -> None:
    history = "[2026-01-02 10:00] A walrus.\n\n[2026-01-02 11:00] [from telegram:-100, 2026-01-02] A carpet."
    write_history(tmp_path, history)
    script: list[Scripted] = [Answer("a"), Answer("b"), search(query=query), Answer("c")]
    async with talking(tmp_path, script, owners=OWNERS) as talk:
        await says(talk, "forwarded text", tainted=True, key=SessionKey("cli", "other"))
        await says(talk, "friend", FRIEND, FRIEND_AT)
        await says(talk, "look")
        (found,) = calls(talk)
    assert found.tainted is tainted


async def test_a_history_that_strangers_wrote_is_tainted_whole(tmp_path: Path) -> None:
    write_history(tmp_path, "[2026-01-02 10:00] A walrus.\n")
    async with talking(tmp_path, [search(query="walrus"), Answer("c")], owners=OWNERS) as talk:
        with Ledger(tmp_path / "tainted.json", tmp_path / "workspace").writing(
            tmp_path / "workspace" / "memory" / "HISTORY.md", tainted=True, whole=False
        ):
            pass
        await says(talk, "look")
        (found,) = calls(talk)
    assert found.tainted


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"query": "x", "since": "soon"}, "'soon' is no time that is understood"),
        ({"query": "x", "chat": "nowhere"}, "'nowhere' is not a session key"),
        ({"query": "x" * 1001}, "a few words find more"),
        ({"read": "nothing"}, "there is nothing 'nothing' to be read"),
    ],
)
async def test_what_cannot_be_searched_is_told(tmp_path: Path, arguments: dict[str, object], words: str) -> None:
    async with talking(tmp_path, [search(**arguments), Answer("so")], owners=OWNERS) as talk:
        await says(talk, "look")
        (found,) = calls(talk)
    assert words in found.result


async def test_a_search_that_is_stopped_reads_no_further(tmp_path: Path) -> None:
    """A first search over years of conversations goes on for seconds; who stops it waits for one file of them."""

    @attrs.frozen
    class Slow(Sources):
        begun: trio.Event = attrs.field(factory=trio.Event)
        go: threading.Event = attrs.field(factory=threading.Event)
        read: list[str] = attrs.field(factory=list)

        def segment(self, name: str, number: int) -> Piece | None:
            self.read.append(name)
            trio.from_thread.run_sync(self.begun.set)
            self.go.wait(10)
            return super().segment(name, number)

    async with talking(tmp_path, [Answer("a"), Answer("b")], owners=OWNERS) as talk:
        await says(talk, "one")
        await says(talk, "two", key=SessionKey("cli", "other"))
    where = Places(tmp_path / "config.json", named=True)
    slow = Slow(where.journals, tmp_path / "workspace")
    index = attrs.evolve(recall._cancellable(Index(where.search, slow)))
    shelf = library(load(where.config, {}).config, where, Ledger(where.tainted, tmp_path), time.time, lambda _: True)
    shelf._index = index
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shelf.ask, lambda found: found.search(Query("one")))
        await slow.begun.wait()
        nursery.cancel_scope.cancel()
        slow.go.set()
    assert len(slow.read) == 1


def test_places_of_an_instance(tmp_path: Path) -> None:
    """The index is in the data directory, and the agent's workspace is elsewhere."""
    where = configured(tmp_path, "openai", "http://127.0.0.1:9")
    assert where.search == tmp_path / "search.db"
