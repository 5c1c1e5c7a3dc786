"""What a session reports becomes signs: states when they change, tools with their outcomes, text as it grows."""

from __future__ import annotations

from nanobot.channels.port import DeltaSign, Sign, StateSign, ToolSign, VoidSign
from nanobot.channels.signs import Signs
from nanobot.messages import CallId, MessageId, TurnNumber
from nanobot.session import events as ev
from nanobot.session.ports import Progress, Shown, Waiting, Working
from tests.channels.kit import Story, call

ONE = TurnNumber(1)


def read(*progress: Progress) -> list[Sign]:
    signs = Signs()
    return [sign for one in progress for sign in signs.read(one)]


def test_a_turn_with_a_tool() -> None:
    story = Story()
    assert read(
        story.said(),
        Shown(ONE, thinking="hm"),
        Shown(ONE, text="Let me look."),
        story.answers("Let me look.", call()),
        Working(ONE, CallId("read_file1"), "half way"),
        story.ran(call()),
        Shown(ONE, text="Done."),
        story.answers("Done."),
        story.arrives(),
    ) == [
        StateSign("thinking"),
        DeltaSign(1, "Let me look."),
        ToolSign(1, "read_file", "started"),
        StateSign("working", "read_file"),
        ToolSign(1, "read_file", "done"),
        StateSign("thinking"),
        DeltaSign(1, "Done."),
        StateSign("delivering"),
        StateSign("idle"),
    ]


def test_a_wait_is_a_state_until_something_comes() -> None:
    story = Story()
    assert read(
        story.said(), Shown(ONE, text="a"), Shown(ONE, void="stalled"), Waiting("stalled", 3.0), Shown(ONE, text="b")
    ) == [
        StateSign("thinking"),
        DeltaSign(1, "a"),
        VoidSign(1),
        StateSign("waiting"),
        StateSign("thinking"),
        DeltaSign(1, "b"),
    ]


def test_a_reply_that_waits_for_its_channel() -> None:
    story = Story()
    begun = (story.said(), story.answers("Done."))
    down = story.tell(ev.ChannelDown(story.session.outbox[0].outbound.id, 0, 0.0, "nobody is there"))
    assert read(*begun, down)[-1] == StateSign("waiting")


def test_a_stop() -> None:
    story = Story()
    story.said()
    stop = ev.Commanded(MessageId("s1"), "net:default:c:ann", 0.0, ev.Stop())
    assert read(story.tell(stop)) == [StateSign("stopping")]


def test_a_chat_at_rest_need_not_be_remembered() -> None:
    story, signs = Story(), Signs()
    for progress in (story.said(), story.answers("Done.")):
        signs.read(progress)
        assert not signs.at_rest
    signs.read(story.arrives())
    assert signs.at_rest
