"""The index over real journals and a real HISTORY.md: what is found, what is found no more, and that it is never the truth."""

from __future__ import annotations

import random
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC
from functools import partial
from itertools import count
from pathlib import Path

import attrs
import pytest

from nanobot.errors import StoreUnusable
from nanobot.journal.journal import Journals
from nanobot.memory import tables
from nanobot.memory.index import Found, Index, Query, Scope
from nanobot.memory.passages import MOST_CHARS, Role
from nanobot.memory.sources import Sources
from nanobot.messages import MessageId, Said, TurnEnd
from nanobot.session import records as r
from tests.fakes.pages import AT, Chat, begun, result

ME = "cli:default:direct"
BOB = "telegram:default:7"
GROUP = "telegram:default:-100"
HISTORY = """\
[2026-01-02 10:00] Planned the trip to Lisbon.

[2026-01-03 09:30] [from telegram:-100, 2026-01-03] Eve wants to sell a carpet.
She insisted.

[2026-02-01 08:00] 去北京旅行的计划。
"""


@attrs.define
class Place:
    """A data directory with a workspace."""

    root: Path
    index: Index
    open: ExitStack

    def chat(self, key: str = ME) -> Chat:
        """Open until the end of the test."""
        chat = begun(self.root / "journals", key)
        self.open.callback(chat.close)
        return chat

    def history(self, text: str) -> None:
        file = self.root / "workspace" / "memory" / "HISTORY.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def find(self, words: str, session: str | None = None, **more: object) -> list[str]:
        return [hit.id for hit in self.search(words, session, **more).hits]

    def search(self, words: str, session: str | None = None, **more: object) -> Found:
        return self.index.search(Query(words, **more), Scope(session))  # type: ignore[arg-type]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "workspace").mkdir()
    Journals(str(tmp_path / "journals")).prepare()
    index = Index(tmp_path / "search.db", Sources(tmp_path / "journals", tmp_path / "workspace"), UTC)
    with ExitStack() as stack:
        yield Place(tmp_path, index, stack)


# --- what is found


@pytest.mark.parametrize(
    ("said", "answer", "query"),
    [
        ("Which hotel did we book in Berlin?", "The Adlon.", "hotel adlon"),
        ("Wo wohnt Frau Müller?", "In der Königstraße.", "muller konigstrasse"),
        ("我们明天去北京旅行", "好的，祝你旅途愉快。", "北京 旅途"),
        ("東京都庁に行きました", "楽しかったですか。", "都庁"),
        ("서울에서 만나요", "네, 알겠습니다.", "서울 만나"),
    ],
)
def test_an_exchange_is_found_in_the_language_that_it_was_in(place: Place, said: str, answer: str, query: str) -> None:
    place.chat().exchange(said, answer)
    place.chat(BOB).exchange("something else", "entirely")
    assert place.find(query) == ["cli:direct#0"]


def test_a_hit_says_when_where_who_and_shows_the_place(place: Place) -> None:
    place.chat(BOB).exchange("Do you know a good baker?", "Yes: the one at the corner.", who="telegram:default:7:bob")
    (hit,) = place.search("corner").hits
    assert (hit.at, hit.chat, hit.role, hit.speakers) == (AT, BOB, Role.ASSISTANT, ("telegram:default:7:bob",))
    assert hit.excerpt == "Yes: the one at the **corner**."
    whole = place.index.read(hit.id)
    assert whole is not None
    assert whole.passage.texts == {Role.PERSON: "Do you know a good baker?", Role.ASSISTANT: "Yes: the one at the corner."}


def test_what_has_left_the_prompt_is_found(place: Place) -> None:
    chat = place.chat()
    chat.exchange("the first walrus")
    chat.new()
    chat.exchange("the second walrus")
    chat.write(r.CursorMoved(2, "memory"))
    chat.cut()
    chat.exchange("the third walrus")
    assert place.find("walrus") == ["cli:direct#2", "cli:direct#1", "cli:direct#0"]


def test_tools_are_found_by_what_they_were_asked_and_brought(place: Place) -> None:
    fetched = result("web_fetch", "Opening hours: nine to five", arguments='{"url": "https://example.org/caf\\u00e9"}')
    told = result("message", "Delivered.", arguments='{"text": "A moment please"}')
    place.chat().exchange("When?", "At nine.", fetched, told, result("search_history", "an echo"))
    assert place.find("hours") == place.find("cafe", role=Role.TOOL) == ["cli:direct#0"]
    assert place.find("moment", role=Role.ASSISTANT) == ["cli:direct#0"]
    assert place.find("echo") == []


def test_entries_of_the_history_are_found(place: Place) -> None:
    place.history(HISTORY)
    lisbon, carpet, beijing = (place.search(words).hits[0] for words in ("lisbon", "carpet insisted", "北京"))
    assert [hit.id for hit in (lisbon, carpet, beijing)] == ["history#0", "history#1", "history#2"]
    assert (lisbon.at, lisbon.chat, lisbon.strange) == (1767348000.0, "", False)
    assert (carpet.chat, carpet.strange) == (GROUP, True)


def test_the_better_hit_comes_first_and_of_equals_the_newer(place: Place) -> None:
    chat = place.chat()
    chat.exchange("an umbrella, and a great many words about other things that are of no interest at all " * 3)
    chat.exchange("umbrella")
    chat.exchange("umbrella")
    assert place.find("umbrella") == ["cli:direct#2", "cli:direct#1", "cli:direct#0"]


def test_filters(place: Place) -> None:
    place.history(HISTORY)
    mine, bobs = place.chat(), place.chat(BOB)
    mine.exchange("tea", "coffee")
    mine.exchange("coffee", "tea")
    bobs.at = AT + 3600
    bobs.exchange("tea", "tea")
    assert place.find("tea", role=Role.ASSISTANT) == ["telegram:7#0", "cli:direct#1"]
    assert place.find("tea", chat=ME) == ["cli:direct#1", "cli:direct#0"]
    assert place.find("tea", before=AT + 60) == ["cli:direct#0"]
    assert place.find("tea", after=AT + 60, before=AT + 3600) == ["cli:direct#1"]
    assert place.find("tea -coffee") == ["telegram:7#0"]
    assert place.find("", before=AT + 60) == ["cli:direct#0"]
    assert place.find("-coffee", after=AT, before=AT + 7200) == ["telegram:7#0"]
    assert place.find("", role=Role.HISTORY) == ["history#2", "history#1", "history#0"]


def test_more_than_is_shown_is_said(place: Place) -> None:
    chat = place.chat()
    for _ in range(3):
        chat.exchange("again")
    found = place.search("again", most=2)
    assert (len(found.hits), found.more) == (2, True)
    assert not place.search("again", most=3).more


def test_of_a_long_exchange_the_first_part_is_kept(place: Place) -> None:
    place.chat().exchange(f"begin {'x ' * MOST_CHARS[Role.PERSON]} end", "answered")
    assert place.find("begin answered") == ["cli:direct#0"]
    assert place.find("end") == []


def test_text_that_no_database_takes_is_found_all_the_same(place: Place) -> None:
    place.chat().exchange("half a pair \ud83d and a \0 nul", "fine")
    assert place.find("pair nul") == ["cli:direct#0"]


# --- what is found no more


def test_what_was_undone_is_not_found(place: Place) -> None:
    chat = place.chat()
    chat.exchange("keep the pelican")
    chat.exchange("forget the pelican")
    assert place.find("pelican") == ["cli:direct#1", "cli:direct#0"]
    chat.undo()
    assert place.find("pelican") == ["cli:direct#0"]
    assert place.index.read("cli:direct#1") is None
    chat.new()
    assert place.find("pelican") == ["cli:direct#0"]


@pytest.mark.parametrize("by_hand", [False, True])
def test_what_was_deleted_is_not_found_and_not_in_the_file(place: Place, by_hand: bool) -> None:
    chat = place.chat()
    for number in range(200):
        chat.exchange(f"zanzibar {number} of many", "quagga")
    chat.new()
    chat.exchange("zanzibar again")
    place.chat(BOB).exchange("zanzibar of Bob")
    assert len(place.find("zanzibar", most=50)) == 50
    assert b"quagga" in place.index.path.read_bytes()
    if by_hand:
        for file in (place.root / "journals" / "cli+default+direct").iterdir():
            file.unlink()
    else:
        chat.delete()
    assert place.find("zanzibar") == ["telegram:7#0"]
    assert b"quagga" not in place.index.path.read_bytes()
    assert sorted(file.name for file in place.root.iterdir() if file.is_file()) == ["search.db"]


def test_a_deleted_session_may_go_on(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    purges: list[sqlite3.Connection] = []
    monkeypatch.setattr(tables, "purge", purges.append)
    chat = place.chat()
    chat.exchange("old pigeon")
    assert place.find("pigeon") == ["cli:direct#0"]
    chat.delete()
    for number in range(1, 4):
        chat.exchange("new pigeon")
        assert place.find("pigeon") == [f"cli:direct#{n}" for n in range(number, 0, -1)]
    assert len(purges) == 1  # it costs a second in a large index


def test_a_line_that_was_never_believed_is_not_found(place: Place) -> None:
    chat = place.chat()
    chat.exchange("real")
    number = chat.session.next_turn
    said = Said(MessageId("ghost"), "a ghost", AT, ME)
    started, ended = r.TurnStarted(number, ME, (said.id,), AT), r.TurnEnded(number, TurnEnd.ANSWERED, AT)
    chat.write_ghost(r.Accepted(said), started, ended)
    assert place.find("ghost") == ["cli:direct#1"]
    chat.cut()
    assert place.find("ghost") == []
    assert place.find("real") == ["cli:direct#0"]


def test_edits_of_the_history_are_seen(place: Place) -> None:
    place.history(HISTORY)
    assert place.find("lisbon") == ["history#0"]
    place.history(f"{HISTORY}\n[2026-03-01 10:00] Bought a kayak.\n")
    assert place.find("kayak") == ["history#3"]
    place.history(HISTORY.replace("Lisbon", "Porto"))
    assert place.find("lisbon") == place.find("kayak") == []
    assert place.find("porto") == ["history#0"]
    (place.root / "workspace" / "memory" / "HISTORY.md").unlink()
    assert place.find("porto") == []


def test_an_entry_that_grows_is_found_by_its_new_words(place: Place) -> None:
    place.history("[2026-01-02 10:00] One.\n\n[2026-01-02 11:00] Two")
    assert place.find("two") == ["history#1"]
    place.history("[2026-01-02 10:00] One.\n\n[2026-01-02 11:00] Two and a half\n\nwith more.\n")
    assert place.find("half more") == ["history#1"]


def test_a_history_that_leads_out_of_the_workspace_is_not_read(place: Place) -> None:
    (place.root / "config.json").write_text("[2026-01-02 10:00] apiKey: quetzal")
    (place.root / "workspace" / "memory").mkdir()
    (place.root / "workspace" / "memory" / "HISTORY.md").symlink_to(place.root / "config.json")
    found = place.search("quetzal")
    assert found.hits == ()
    assert "HISTORY.md cannot be read" in found.troubles[0]


# --- rights


@pytest.mark.parametrize("words", ["secret", "", "-nothing", "secret*", 'secret" OR "x', "sec*"])
@pytest.mark.parametrize("more", [{}, {"chat": ME}, {"role": Role.HISTORY}, {"role": Role.TOOL}])
def test_a_session_finds_only_what_was_said_in_it(place: Place, words: str, more: dict[str, object]) -> None:
    place.history("[2026-01-01 10:00] [from telegram:7, 2026-01-01] the secret plan")
    place.chat().exchange("secret of mine", "secret", result("read_file", "secret"))
    bobs = place.chat(BOB)
    bobs.exchange("my secret", "your secret", result("read_file", "secret of a file"))
    found = place.search(words, BOB, **more)
    assert {(hit.id, hit.role is Role.TOOL) for hit in found.hits} <= {("telegram:7#0", False)}
    if more.get("role") is Role.TOOL:
        assert found.hits == ()


@pytest.mark.parametrize(
    "id", ["cli:direct#0", "cli:default:direct#0", "history#0", "memory/HISTORY.md#0", "#0", "' OR 1=1 --#0"]
)
def test_nor_does_it_read_more(place: Place, id: str) -> None:
    place.history(HISTORY)
    place.chat().exchange("secret")
    place.chat(BOB).exchange("mine", "yours", result("read_file", "a file"))
    assert place.index.read(id, Scope(BOB)) is None
    own = place.index.read("telegram:7#0", Scope(BOB))
    assert own is not None
    assert set(own.passage.texts) == {Role.PERSON, Role.ASSISTANT}


@pytest.mark.parametrize(
    ("words", "strange"), [("question", False), ("answer", False), ("page", True), ("forwarded", True), ("repeated", True)]
)
def test_what_came_from_strangers_is_told(place: Place, words: str, strange: bool) -> None:
    chat = place.chat()
    chat.exchange("question", "answer", result("web_fetch", "page", tainted=True))
    chat.exchange("forwarded", tainted=True)
    chat.exchange("x", "repeated", strange=True)
    (hit,) = place.search(words).hits
    assert hit.strange is strange


# --- never the truth


def everything(place: Place) -> tuple[Found, ...]:
    return tuple(place.search(words, most=50) for words in ("", "walrus", "lisbon", "北京", "tea -walrus"))


def filled(place: Place) -> list[Chat]:
    place.history(HISTORY)
    chats = [place.chat(key) for key in (ME, BOB, GROUP)]
    for chat in chats:
        for number in range(5):
            chat.exchange(f"walrus {number}", "tea 北京", result("exec", f"output {number}"))
        chat.new()
        chat.exchange("lisbon", "tea")
        chat.undo()
        chat.exchange("北京 again")
    return chats


def cut_short(data: bytes) -> bytes:
    return data[: len(data) // 2 + 100]


def overwritten(data: bytes) -> bytes:
    return data[:2048] + b"\xff" * (len(data) - 2048)


@pytest.mark.parametrize("damage", [None, cut_short, overwritten, lambda _: b"", lambda _: b"no database" * 1000])
def test_a_file_that_is_lost_or_damaged_is_made_anew(place: Place, damage: Callable[[bytes], bytes] | None) -> None:
    filled(place)
    before = everything(place)
    if damage is None:
        place.index.path.unlink()
    else:
        place.index.path.write_bytes(damage(place.index.path.read_bytes()))
    assert everything(place) == before
    assert sorted(file.name for file in place.root.iterdir() if file.is_file()) == ["search.db"]


@pytest.mark.parametrize("seed", range(12))
def test_whatever_a_damaged_file_holds_a_search_is_answered(place: Place, seed: int) -> None:
    filled(place)
    everything(place)
    data, chance = bytearray(place.index.path.read_bytes()), random.Random(seed)
    for _ in range(10):
        at = chance.randrange(len(data) - 100)
        data[at : at + 100] = chance.choice([bytes(100), chance.randbytes(100)])
    place.index.path.write_bytes(data)
    everything(place)


def test_two_that_begin_at_once_agree(place: Place) -> None:
    filled(place)
    found: list[Found] = []
    threads = [threading.Thread(target=lambda: found.append(place.search("walrus", most=50))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(one == found[0] for one in found)
    assert len(found[0].hits) == 15


def test_it_is_the_same_read_at_once_or_bit_by_bit(place: Place) -> None:
    chance = random.Random(7)
    chats = filled(place)
    for step in range(60):
        chat = chance.choice(chats)
        acts: list[Callable[[], object]] = [partial(chat.exchange, f"walrus {step}", "tea"), chat.cut, chat.new]
        acts += [chat.undo] if chat.session.exchanges else []
        chance.choices(acts, [6, 1, 1, 1][: len(acts)])[0]()
        if chance.random() < 0.5:
            place.find("walrus")
    bit_by_bit = everything(place)
    place.index.path.unlink()
    assert everything(place) == bit_by_bit


def test_where_no_file_can_be_made_it_says_so(place: Place) -> None:
    place.history(HISTORY)
    place.index.path.mkdir()
    with pytest.raises(StoreUnusable):
        place.find("lisbon")
    place.index.path.rmdir()
    assert place.find("lisbon") == ["history#0"]


def test_without_time_what_is_not_read_is_left_out_and_said(place: Place) -> None:
    filled(place)
    rounds: list[tuple[int, int]] = []
    while not rounds or rounds[-1][0]:
        found = hurried(place).search(Query("walrus", most=50), refresh_s=1.0)
        rounds.append((found.unread, len({hit.chat for hit in found.hits})))
    assert rounds == [(3, 0), (2, 1), (2, 1), (1, 2), (1, 2), (0, 3)]


def hurried(place: Place) -> Index:
    """It has time for one step."""
    ticks = count(0, 1000)
    return attrs.evolve(place.index, clock=lambda: float(next(ticks)))


def test_what_was_undone_is_not_found_without_time_either(place: Place) -> None:
    chat = place.chat()
    chat.exchange("pelican")
    chat.cut()
    chat.exchange("heron")
    assert place.find("pelican") == ["cli:direct#0"]
    chat.write(r.Undone(chat.session.exchanges[0].turn))
    chat.cut()
    chat.cut()
    found = hurried(place).search(Query("pelican"), refresh_s=1.0)
    assert (found.hits, found.unread) == ((), 1)


def test_of_a_damaged_session_the_rest_is_found_and_it_is_told(place: Place) -> None:
    chat = place.chat()
    chat.exchange("before the flamingo")
    chat.cut()
    chat.exchange("behind the flamingo")
    first = place.root / "journals" / "cli+default+direct" / "00000001.jsonl"
    first.write_bytes(first.read_bytes().replace(b'"key"', b'"kex"', 1))
    found = place.search("flamingo")
    assert [hit.id for hit in found.hits] == ["cli:direct#1", "cli:direct#0"]
    assert "00000001.jsonl" in found.troubles[0]


def test_two_indexes_at_once_agree(place: Place) -> None:
    chat = place.chat()
    other = attrs.evolve(place.index)
    for number in range(10):
        chat.exchange(f"penguin {number}")
        ours, theirs = place.search("penguin", most=50), other.search(Query("penguin", most=50))
        assert ours == theirs
        assert len(ours.hits) == number + 1
