"""What a model call is made of: the prefix that stays, the history that leaves in jumps."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanobot.agent.context import Budget, SystemPrompt, entries, history_room, keep_from, runtime_block
from nanobot.agent.scales import Room
from nanobot.messages import Call, CallId, Exchange, MessageId, Note, Reply, Said, TurnEnd, TurnNumber


def exchange(number: int, size: int, *, undone: bool = False, answer: str = "") -> Exchange:
    said = Said(MessageId(f"m{number}"), "q" * size, 0.0, "p")
    return Exchange(TurnNumber(number), "p", (said, Reply("a" * size)), TurnEnd.ANSWERED, answer, undone)


exchanges = st.lists(st.integers(1, 400), max_size=40).map(lambda sizes: tuple(exchange(n, s) for n, s in enumerate(sizes)))
budgets = st.builds(Budget, st.floats(10, 4000), st.integers(4, 60))


def sizes(history: tuple[Exchange, ...]) -> list[float]:
    return [one.bytes / 4 for one in history]


@given(exchanges, budgets)
def test_what_is_kept_fits_in_half_and_what_fits_is_left_alone(history: tuple[Exchange, ...], budget: Budget) -> None:
    leaving = keep_from(history, sizes(history), budget)
    fits = sum(sizes(history)) <= budget.tokens and sum(e.messages for e in history) <= budget.messages
    assert (leaving == 0) == fits or not history
    if leaving:
        kept = history[leaving:]
        assert sum(sizes(kept)) <= budget.tokens / 2
        assert sum(e.messages for e in kept) <= budget.messages / 2


@given(exchanges.filter(bool), budgets)
def test_a_refused_prompt_loses_half_whatever_we_think_of_its_size(history: tuple[Exchange, ...], budget: Budget) -> None:
    leaving = keep_from(history, sizes(history), budget, refused=True)
    assert sum(sizes(history[leaving:])) <= sum(sizes(history)) / 2


@pytest.mark.parametrize(
    ("room", "left"), [(Room(8192, 6000), 1000), (Room(8192, 6000, guessed=True), 2400), (Room(128_000, 100_000), 95_000)]
)
def test_what_stands_beside_history_takes_its_room_but_not_on_a_guess(room: Room, left: float) -> None:
    assert history_room(room, request=7000, history=2000) == left


def test_history_leaves_in_jumps() -> None:
    """Message by message would change the prefix with every turn, and no cache would ever be used."""
    budget, jumps = Budget(1e9, 20), []
    history: tuple[Exchange, ...] = ()
    for number in range(60):
        history = (*history, exchange(number, 10))
        if leaving := keep_from(history, sizes(history), budget):
            history = history[leaving:]
            jumps.append(number)
    assert [after - before for before, after in pairwise(jumps)] == [6] * (len(jumps) - 1)


def test_an_undone_exchange_is_not_shown_and_an_ending_of_ours_is() -> None:
    shown = entries([exchange(1, 1, undone=True), exchange(2, 1, answer="Stopped.")], [])
    assert [type(e) for e in shown] == [Said, Reply, Note]


def test_calls_and_pictures_count() -> None:
    call = Call(CallId("c"), "read_file", '{"path": "x"}', result="r" * 1000)
    long = Exchange(TurnNumber(1), "p", (Reply("", (call,)),), TurnEnd.ANSWERED)
    assert long.bytes >= 1013
    assert long.messages == 2


def test_the_system_prompt_changes_only_with_its_files(tmp_path: Path) -> None:
    prompt = SystemPrompt(tmp_path)
    bare = prompt.text()
    (tmp_path / "SOUL.md").write_text("Be brief.")
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "MEMORY.md").write_text("The user likes tea.")
    assert prompt.text().startswith(bare)
    assert prompt.text() is prompt.text()
    assert prompt.text().index("Be brief.") < prompt.text().index("The user likes tea.")


def test_the_runtime_block_says_when_where_and_who() -> None:
    block = runtime_block(0.0, "cli", "direct", "me")
    assert "1970-01-0" in block or "1969-12-31" in block
    assert block.endswith("Channel: cli\nChat: direct\nSender: me")
