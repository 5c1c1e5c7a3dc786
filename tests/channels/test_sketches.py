"""What a chat is shown while a turn runs: edits at the network's rate, typing, progress, and nothing left when it ends."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from nanobot.channels.port import Limits, Part, SendLater, SendUnknown
from nanobot.channels.sketches import DRAW_S, EMPTIED, MOST_DRAWN, STALE_S, hint_of
from nanobot.config.schema import ChannelConfig
from nanobot.messages import Call, CallId, Receipt, TurnNumber
from nanobot.session import events as ev
from nanobot.session.ports import Progress, Shown
from nanobot.session.state import Session
from tests.channels.kit import KEY, Drawing, Kit, Scripted, Story, call, running

ONE = TurnNumber(1)


def show(kit: Kit, *progress: Progress, key: str = KEY) -> None:
    for one in progress:
        kit.channels.watch(key, one)


def grown(text: str) -> Shown:
    return Shown(ONE, text=text)


def texts(channel: Drawing) -> list[str]:
    return [text for _, _, text in channel.drawn]


async def deliver(kit: Kit, story: Story) -> ev.Event:
    """Send the head of the story's outbox, as the session would."""
    return await kit.channels.send(story.session, story.session.outbox[0], 0)


# --- drafts


async def test_an_answer_grows_in_one_message_whose_place_the_final_one_takes(tmp_path: Path, autojump_clock: object) -> None:
    async with running(tmp_path) as kit:
        channel, story = Drawing(), Story()
        await kit.start(channel)
        show(kit, story.said(), grown("One"))
        await trio.sleep(0.5)
        show(kit, grown(" two"), grown(" three"))
        await trio.sleep(2.5)
        show(kit, story.answers("One two three."))
        assert await deliver(kit, story) == ev.PartDelivered(story.session.outbox[0].outbound.id, 0, 3.0, "r1")
        assert channel.drawn == [(0.0, "", "One"), (1.0, "d1", "One two three")]
        assert [part.draft for part in channel.sent] == ["d1"]
        await trio.sleep(10)
        assert len(channel.drawn) == 2


async def test_a_draft_is_told_what_its_turn_answers(tmp_path: Path, autojump_clock: object) -> None:
    """And not what is asked while it runs."""
    async with running(tmp_path) as kit:
        channel, story = Drawing(), Story()
        await kit.start(channel)
        show(kit, story.said("one"), story.said("two"), grown("One"))
        await trio.sleep(0.5)
        assert channel.answered == ["m1"]


async def test_edits_keep_to_the_rate_and_the_newest_text_wins(tmp_path: Path, autojump_clock: object) -> None:
    async with running(tmp_path) as kit:
        channel, story = Drawing(draft_s=0.7, limits=Limits(edit_every_s=1.0)), Story()
        await kit.start(channel)
        show(kit, story.said())
        for number in range(100):
            show(kit, grown(f"{number} "))
            await trio.sleep(0.1)
        await trio.sleep(3)
        times = [at for at, _, _ in channel.drawn]
        assert all(later - earlier >= 1.0 for earlier, later in pairwise(times))
        assert texts(channel)[-1].endswith("98 99")
        assert len(times) <= 9


async def test_a_final_message_waits_for_the_edit_under_way(tmp_path: Path, autojump_clock: object) -> None:
    """Else an edit that comes late would show the half answer again."""
    async with running(tmp_path) as kit:
        channel, story = Drawing(draft_s=2.0), Story()
        await kit.start(channel)
        show(kit, story.said(), grown("half"))
        await trio.sleep(0.5)
        show(kit, story.answers("half and whole"))
        await deliver(kit, story)
        assert trio.current_time() == pytest.approx(2.0)
        assert [part.draft for part in channel.sent] == ["d1"]


async def test_a_draft_stops_growing_at_the_limit_with_its_code_closed(tmp_path: Path, autojump_clock: object) -> None:
    async with running(tmp_path) as kit:
        channel, story = Drawing(), Story()
        await kit.start(channel)
        show(kit, story.said())
        for _ in range(20):
            show(kit, grown("```\ncode\n" if not channel.drawn else "more code\n"))
            await trio.sleep(1.1)
        assert all(len(text) <= 50 and text.count("```") == 2 for text in texts(channel))
        assert len(channel.drawn) <= 5


async def test_a_withdrawn_answer_leaves_an_empty_draft(tmp_path: Path, autojump_clock: object) -> None:
    async with running(tmp_path) as kit:
        channel, story = Drawing(), Story()
        await kit.start(channel)
        show(kit, story.said(), grown("wrong"))
        await trio.sleep(2)
        show(kit, Shown(ONE, void="stalled"))
        await trio.sleep(2)
        show(kit, grown("right"))
        await trio.sleep(2)
        assert texts(channel) == ["wrong", EMPTIED, "right"]


@pytest.mark.parametrize(("progress", "seen"), [(True, ["Let me look.", "Done"]), (False, ["Let me look.", EMPTIED, "Done"])])
async def test_what_is_said_between_steps_stays_until_the_next_answer(
    tmp_path: Path, autojump_clock: object, progress: bool, seen: list[str]
) -> None:
    async with running(tmp_path) as kit:
        channel, story = Drawing(), Story()
        await kit.start(channel, ChannelConfig(send_progress=progress))
        show(kit, story.said(), grown("Let me look."))
        await trio.sleep(2)
        show(kit, story.answers("Let me look.", call()))
        await trio.sleep(2)
        show(kit, story.ran(call()), grown("Done"))
        await trio.sleep(2)
        assert texts(channel) == seen


async def test_a_turn_that_is_put_aside_leaves_no_half_answer(tmp_path: Path, autojump_clock: object) -> None:
    async with running(tmp_path) as kit:
        channel, story = Drawing(), Story()
        await kit.start(channel)
        show(kit, story.said(), grown("half"))
        await trio.sleep(2)
        show(kit, story.tell(ev.DrainAsked(0.0)), story.tell(ev.TurnEmptied(ONE, 0.0)))
        await trio.sleep(2)
        assert texts(channel) == ["half", EMPTIED]


async def test_a_draft_outlives_the_connection(tmp_path: Path, autojump_clock: object) -> None:
    async with running(tmp_path) as kit:
        channel, story = Drawing(), Story()
        await kit.start(channel)
        show(kit, story.said(), grown("One"))
        await trio.sleep(2)
        await kit.channels._supervisor.remove("net")
        await kit.supervisor.ended.wait()
        show(kit, grown(" two"), story.answers("One two."))
        kit.supervisor.again("net")
        await wait_all_tasks_blocked()
        await deliver(kit, story)
        assert [part.draft for part in channel.sent] == ["d1"]


@pytest.mark.parametrize(
    ("fails", "drawn"),
    [
        (SendLater("busy", retry_after=7.0), [0.0, 7.0]),  # the newest text is tried again
        (SendUnknown("no answer"), [0.0]),  # another draft might double it
    ],
    ids=["later", "unknown"],
)
async def test_what_goes_wrong_with_a_draft_ends_nothing(
    tmp_path: Path, autojump_clock: object, fails: Exception, drawn: list[float]
) -> None:
    async with running(tmp_path) as kit:
        channel, story = Drawing(draft_fails=[fails]), Story()
        await kit.start(channel)
        show(kit, story.said(), grown("One"))
        await trio.sleep(3)
        show(kit, grown(" two"))
        await trio.sleep(10)
        assert [at for at, _, _ in channel.drawn] == drawn
        show(kit, story.answers("One two."))
        assert isinstance(await deliver(kit, story), ev.PartDelivered)


async def test_a_draft_that_hangs_holds_the_final_message_no_longer_than_its_deadline(
    tmp_path: Path, autojump_clock: object
) -> None:
    async with running(tmp_path) as kit:
        channel, story = Drawing(draft_s=1e9), Story()
        await kit.start(channel)
        show(kit, story.said(), grown("One"))
        await wait_all_tasks_blocked()
        show(kit, story.answers("One."))
        assert isinstance(await deliver(kit, story), ev.PartDelivered)
        assert trio.current_time() == pytest.approx(DRAW_S)


async def test_a_bug_in_drawing_ends_the_channel(tmp_path: Path, claimed_errors: list[str]) -> None:
    async with running(tmp_path) as kit:
        await kit.start(Drawing(draft_fails=[KeyError("x")]))
        show(kit, Story().said(), grown("One"))
        assert "KeyError" in str(await kit.end())
    assert claimed_errors == ["channel net has a bug"]


# --- typing


async def test_typing_is_renewed_while_the_turn_runs_and_stops_with_it(tmp_path: Path, autojump_clock: object) -> None:
    async with running(tmp_path) as kit:
        channel, story = Drawing(limits=Limits(typing_every_s=4.0)), Story()
        await kit.start(channel)
        show(kit, story.said(), grown("Let me look."))
        await trio.sleep(6)
        show(kit, story.answers("Let me look.", call()))
        await trio.sleep(3)
        show(kit, story.ran(call()), story.answers("Done."))
        await trio.sleep(100)
        assert channel.typed == [0.0, 4.0, 8.0]
        assert channel.drawn == []  # it may type, and must not edit
        assert [part.text for part in channel.sent] == ["Let me look."]


async def test_a_turn_that_nobody_hears_of_any_more_is_not_drawn_for_ever(tmp_path: Path, autojump_clock: object) -> None:
    async with running(tmp_path) as kit:
        channel = Drawing()
        await kit.start(channel)
        show(kit, Story().said())
        await trio.sleep(3 * STALE_S)
        assert channel.typed[-1] <= STALE_S


# --- messages of progress


async def test_where_nothing_can_be_edited_progress_and_hints_are_messages(tmp_path: Path, autojump_clock: object) -> None:
    async with running(tmp_path) as kit:
        channel, story = Scripted(), Story()
        await kit.start(channel, ChannelConfig(send_tool_hints=True))
        show(kit, story.said(), story.answers("Let me look.", call()), story.ran(call()))
        await trio.sleep(3)
        show(kit, story.answers("", call("grep", '{"pattern": "x"}')))
        await trio.sleep(3)
        show(kit, story.ran(call("grep")), story.answers("Done."))
        await deliver(kit, story)
        await trio.sleep(3)
        assert [part.text for part in channel.sent] == ['Let me look.\n\nread_file "a.txt"', 'grep "x"', "Done."]


@pytest.mark.parametrize("config", [ChannelConfig(send_progress=False), ChannelConfig()], ids=["off", "on"])
async def test_progress_may_be_turned_off(tmp_path: Path, autojump_clock: object, config: ChannelConfig) -> None:
    async with running(tmp_path) as kit:
        channel, story = Scripted(), Story()
        await kit.start(channel, config)
        show(kit, story.said(), story.answers("Let me look.", call()))
        await trio.sleep(3)
        assert [part.text for part in channel.sent] == ([] if config.send_progress is False else ["Let me look."])


async def test_progress_comes_at_most_once_a_second_and_never_after_the_answer(tmp_path: Path, autojump_clock: object) -> None:
    async with running(tmp_path) as kit:
        channel, story = Scripted(), Story()
        sent: list[float] = []

        async def send(_part: Part) -> Receipt:
            sent.append(trio.current_time())
            return Receipt("r")

        channel.sends = send
        await kit.start(channel)
        show(kit, story.said())
        for number in range(30):
            one = call(arguments=f'{{"path": "{number}"}}')
            show(kit, story.answers(f"step {number}", one), story.ran(one, f"{number}"))
            await trio.sleep(0.1)
        show(kit, story.answers("Done."))
        await deliver(kit, story)
        await trio.sleep(10)
        assert all(later - earlier >= 1.0 for earlier, later in pairwise(sent[:-1]))
        assert channel.sent[-1].text == "Done."
        assert len({part.outbound.id for part in channel.sent}) == len(channel.sent) <= 5


async def test_progress_is_dropped_while_the_channel_is_down(tmp_path: Path, autojump_clock: object) -> None:
    async with running(tmp_path) as kit:
        channel, story = Scripted(), Story()
        await kit.start(channel)
        await kit.channels._supervisor.remove("net")
        await kit.supervisor.ended.wait()
        show(kit, story.said(), story.answers("Let me look.", call()))
        kit.supervisor.again("net")
        await wait_all_tasks_blocked()
        show(kit, story.ran(call()))
        await trio.sleep(3)
        assert channel.sent == []


# --- what it costs


async def test_a_thousand_chats_that_draw_nothing_cost_no_task(tmp_path: Path, autojump_clock: object) -> None:
    async with running(tmp_path) as kit:
        await kit.start(Scripted())
        await wait_all_tasks_blocked()
        before = trio.lowlevel.current_statistics().tasks_living
        for number in range(1000):
            key = f"net:default:c{number}"
            show(kit, Story(Session(key)).said(), grown("text"), key=key)
        assert trio.lowlevel.current_statistics().tasks_living == before


async def test_drawn_chats_are_bounded_and_gone_when_their_turns_end(tmp_path: Path, autojump_clock: object) -> None:
    async with running(tmp_path) as kit:
        channel = Drawing()
        await kit.start(channel)
        await wait_all_tasks_blocked()
        before = trio.lowlevel.current_statistics().tasks_living
        stories = [Story(Session(f"net:default:c{number}")) for number in range(MOST_DRAWN + 50)]
        for story in stories:
            show(kit, story.said(), grown("text"), key=story.session.key)
        await trio.sleep(2)
        assert len(channel.drawn) == MOST_DRAWN
        for story in stories:
            show(kit, story.answers("text"), key=story.session.key)
        await trio.sleep(2)
        assert trio.lowlevel.current_statistics().tasks_living == before
        assert kit.channels._runners["net"].sketches._live == {}


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ('{"path": "notes.txt"}', 'exec "notes.txt"'),
        ("{}", "exec"),
        ("not json", 'exec "not json"'),
        ('{"n": 3, "all": true}', "exec 3 true"),
        ('{"x": "' + "y" * 100 + '"}', 'exec "' + "y" * 58 + "…"),
    ],
)
def test_a_hint_is_one_short_line(arguments: str, hint: str) -> None:
    assert hint_of(Call(CallId("c"), "exec", arguments)) == hint
