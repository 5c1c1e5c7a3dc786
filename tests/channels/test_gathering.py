"""What arrives chat by chat: its order, what is tried again, what is put together, and that after a crash it is the same."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from nanobot.channels import gathering
from nanobot.channels.gathering import Lanes
from nanobot.channels.port import Arrived, Incoming, NotTaken
from tests.channels.kit import arrived


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GATHER_S", "AGAIN_S", "RETRY_S"):
        monkeypatch.setattr(gathering, name, 0.05)


@attrs.define(eq=False)
class House:
    lanes: Lanes
    delivered: list[Arrived] = attrs.field(factory=list)
    taken: list[str] = attrs.field(factory=list)
    refusals: int = 0
    held: set[str] = attrs.field(factory=set)
    """Chats in which nothing becomes durable until `released`."""
    released: trio.Event = attrs.field(factory=trio.Event)
    _news: trio.Event = attrs.field(factory=trio.Event)

    async def deliver(self, one: Arrived) -> None:
        await trio.lowlevel.checkpoint()
        if one.chat in self.held:
            await self.released.wait()
        if self.refusals:
            self.refusals -= 1
            raise NotTaken("the disk is full", code="disk_full")
        self.delivered.append(one)

    def tell(self, *messages: Arrived) -> None:
        for one in messages:
            self.lanes.take(one, partial(self._took, one))

    def _took(self, one: Arrived) -> None:
        self.taken.append(one.id)
        self._news.set()
        self._news = trio.Event()

    async def until(self, count: int) -> list[tuple[str, str]]:
        """What was delivered, when all is quiet after so many messages were taken."""
        with trio.fail_after(10):
            while len(self.taken) < count:
                await self._news.wait()
        await wait_all_tasks_blocked()
        return [(one.id, one.text) for one in self.delivered]


@asynccontextmanager
async def house(place: Path) -> AsyncIterator[House]:
    async with trio.open_nursery() as nursery:

        def start(work: Callable[[], object], *, name: str) -> None:
            nursery.start_soon(work, name=name)  # type: ignore[arg-type]

        async def deliver(one: Arrived) -> None:
            await made.deliver(one)

        made = House(Lanes(place, deliver, start))
        yield made
        nursery.cancel_scope.cancel()


def files(count: int) -> tuple[Incoming, ...]:
    return tuple(Incoming(f"{n}.jpg", "image/jpeg", 1, lambda: None) for n in range(count))  # type: ignore[arg-type,return-value]


def album(*numbers: int) -> list[Arrived]:
    return [arrived(n, "look" if n == numbers[0] else "", album="a", files=files(1)) for n in numbers]


async def test_a_chat_keeps_its_order_and_waits_for_no_other(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        home.held.add("slow")
        home.tell(*(arrived(n, str(n), chat="slow") for n in range(3)), *(arrived(n, str(n)) for n in range(3, 6)))
        assert await home.until(3) == [("m3", "3"), ("m4", "4"), ("m5", "5")]
        home.released.set()
        assert [text for _, text in await home.until(6)] == ["3", "4", "5", "0", "1", "2"]
    assert home.taken == ["m3", "m4", "m5", "m0", "m1", "m2"]


async def test_what_is_not_taken_is_tried_again_and_nothing_overtakes_it(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        home.refusals = 2
        home.tell(arrived(1, "one"), arrived(2, "two"))
        assert await home.until(2) == [("m1", "one"), ("m2", "two")]


async def test_an_album_is_one_message_with_all_its_files(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        home.tell(*album(1, 2, 3), arrived(4, "and?"))
        assert await home.until(4) == [("m1", "look"), ("m4", "and?")]
    assert [len(one.files) for one in home.delivered] == [3, 0]


@pytest.mark.parametrize(
    ("second", "together"),
    [
        (arrived(2, "end"), True),
        (arrived(2, "/stop"), False),
        (arrived(2, "end", user="bob"), False),
        (arrived(2, "end", files=files(1)), False),
        (arrived(2, "end", topic="t"), False),
        (arrived(2, "end", album="a"), False),
    ],
)
async def test_what_continues_a_text_that_was_cut(tmp_path: Path, second: Arrived, *, together: bool) -> None:
    async with house(tmp_path) as home:
        home.tell(arrived(1, "begin", goes_on=True), second)
        found = await home.until(2)
    assert sorted(found) == ([("m1", "begin\nend")] if together else [("m1", "begin"), ("m2", second.text)])


async def test_behind_the_end_of_a_text_nothing_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "GATHER_S", 60.0)
    async with house(tmp_path) as home:
        home.tell(arrived(1, "begin", goes_on=True), arrived(2, "end"))
        assert await home.until(2) == [("m1", "begin\nend")]


async def test_what_others_wrote_marks_the_whole_and_so_does_our_name(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        first, second = album(1, 2)
        home.tell(first, attrs.evolve(second, tainted=True, mentioned=True))
        await home.until(2)
    [one] = home.delivered
    assert (one.tainted, one.mentioned) == (True, True)


async def test_no_more_files_are_put_together_than_a_message_may_bring(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        home.tell(*album(*range(1, 26)))
        await home.until(25)
    assert [len(one.files) for one in home.delivered] == [10, 10, 5]


async def test_nor_more_pieces_than_are_waited_for(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        home.tell(*(arrived(n, "x", goes_on=True) for n in range(120)))
        await home.until(120)
    assert [one.text.count("x") for one in home.delivered] == [50, 50, 20]


async def test_told_again_after_a_crash_it_is_the_same_message(tmp_path: Path) -> None:
    """What came late, and was a message of its own, stays one."""
    async with house(tmp_path) as home:
        home.held.add("c")
        home.tell(*album(1, 2))
        await trio.sleep(0.3)
    assert home.delivered == []
    async with house(tmp_path) as home:
        home.tell(*album(1, 2, 3))
        assert [one for one, _ in await home.until(3)] == ["m1", "m3"]
    assert [len(one.files) for one in home.delivered] == [2, 1]


async def test_the_rest_of_a_message_whose_head_was_acknowledged_is_no_message(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        home.tell(*album(1, 2))
        await home.until(2)
    async with house(tmp_path) as home:
        home.tell(album(1, 2)[1], arrived(3, "new"))
        assert await home.until(2) == [("m3", "new")]
    assert home.taken == ["m2", "m3"]


async def test_a_piece_that_comes_only_after_it_was_given_up_is_not_lost(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        home.held.add("c")
        home.tell(*album(1, 2))
        await trio.sleep(0.3)
    async with house(tmp_path) as home:
        home.tell(*album(1))
        await home.until(1)
        home.tell(album(1, 2)[1])
        await home.until(2)
    assert [(one.id, len(one.files)) for one in home.delivered] == [("m1", 1), ("m2", 1)]


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}', "[" * 100_000])
async def test_a_damaged_memory_holds_up_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / gathering.FILE).write_text(content)
    async with house(tmp_path) as home:
        home.tell(*album(1, 2))
        await home.until(2)
    assert json.loads((tmp_path / gathering.FILE).read_text()) == {"default:c:m1": "default:c:m1", "default:c:m2": "default:c:m1"}


async def test_a_disk_that_refuses_the_memory_holds_up_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gathering, "replace", refuse)
    async with house(tmp_path) as home:
        home.tell(*album(1, 2))
        assert await home.until(2) == [("m1", "look")]


async def test_what_is_remembered_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "MOST_REMEMBERED", 4)
    async with house(tmp_path) as home:
        for n in range(0, 10, 2):
            home.tell(*(attrs.evolve(one, album=f"a{n}") for one in album(n, n + 1)))
        await home.until(10)
    assert len(json.loads((tmp_path / gathering.FILE).read_text())) == 4
