"""Thinking and calls that a model writes into its text: told apart whatever the pieces, and nothing of the text is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanobot.messages import Reply
from nanobot.providers.inline import Inline
from nanobot.providers.port import Alive, CallDelta, Completion, Delta, Finish, Request, TextDelta, ThinkingDelta
from tests.fakes.llm import Answer, ToolCall
from tests.providers.support import ask, said, service

CALL = '<tool_call>\n{"name": "exec", "arguments": {"command": "ls"}}\n</tool_call>'
BROKEN = '<tool_call>{"name": "exec"</tool_call>'
LS = ("exec", '{"command": "ls"}')


def apart(pieces: list[str], *, calls: bool = True, called: bool = False) -> tuple[str, str, list[tuple[str, str]]]:
    text: list[str] = []
    thought: list[str] = []
    inline = Inline(text.append, thought.append, calls)
    for piece in pieces:
        inline.feed(piece)
    found = inline.finish(called=called)
    return "".join(text), "".join(thought), found


TEXTS: dict[str, tuple[str, str, str, list[tuple[str, str]]]] = {
    "plain": ("1 < 2 <b>", "1 < 2 <b>", "", []),
    "thinking first": ("<think>hm\n</think>\n\nYes.", "Yes.", "hm\n", []),
    "thinking amid": ("So <think>hm</think> it is", "So it is", "hm", []),
    "thinking twice": ("<think>a</think>b<think>c</think>d", "bd", "ac", []),
    "unclosed": ("Well.<think>hm", "Well.", "hm", []),
    "nothing but thinking": ("<think>hm</think>\n", "", "hm", []),
    "nothing thought": ("<think>\n\n</think>\n\nYes.", "Yes.", "\n\n", []),
    "half a tag at the end": ("a <thi", "a <thi", "", []),
    "spoken of": ("Write `<think>` or '<tool_call>'.", "Write `<think>` or '<tool_call>'.", "", []),
    "a call": (f"I look.\n{CALL}", "I look.\n", "", [LS]),
    "two calls": (f"{CALL}\n{CALL}", "", "", [LS, LS]),
    "text behind a call": (f"{CALL}\nSo.", "So.", "", [LS]),
    "a call in thinking": (f"<think>{CALL}</think>No.", "No.", CALL, []),
    "thinking, then a call": (f"<think>hm</think>\n{CALL}", "", "hm", [LS]),
    "a broken call": (f"{BROKEN} so", f"{BROKEN} so", "", []),
    "one of two is broken": (f"{BROKEN}{CALL}", BROKEN, "", [LS]),
    "an unclosed call": (CALL[:-1], CALL[:-1], "", []),
    "no arguments": ('<tool_call>{"name": "x"}</tool_call>', '<tool_call>{"name": "x"}</tool_call>', "", []),
}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("name", TEXTS)
def test_taken_apart_whatever_the_pieces(name: str, size: int) -> None:
    written, text, thought, calls = TEXTS[name]
    assert apart([written[at : at + size] for at in range(0, len(written), size)]) == (text, thought, calls)


def test_calls_stay_text_where_none_are_looked_for_or_proper_ones_came() -> None:
    assert apart([CALL], calls=False) == (CALL, "", [])
    assert apart([CALL], called=True) == (CALL, "", [])


@given(st.lists(st.sampled_from(["<", "think", ">", "</think>", "<tool_call>", "</tool_call>", "a", " ", "`"]), max_size=12))
def test_pieces_make_no_difference(parts: list[str]) -> None:
    assert apart(parts) == apart(["".join(parts)]) == apart(list("".join(parts)))


async def complete(answer: Answer, request: Request) -> tuple[Completion, list[Delta]]:
    shown: list[Delta] = []
    async with service("openai", [answer]) as (_, provider):
        return await provider.complete(request, shown.append), shown


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_an_answer_with_thinking_and_a_call_in_its_text(stream: bool) -> None:
    completion, shown = await complete(Answer(f"<think>They want a list.</think>\n{CALL}", pieces=40), ask(stream=stream))
    (call,) = completion.calls
    assert (completion.text, completion.finish, call.name, call.arguments) == ("", Finish.CALLS, *LS)
    assert [one.text for one in completion.thinking] == ["They want a list."]
    assert not any(isinstance(one, TextDelta) for one in shown)
    assert "".join(one.text for one in shown if isinstance(one, ThinkingDelta)) == "They want a list."
    assert [one for one in shown if isinstance(one, CallDelta)] == [CallDelta(0, *LS)]
    assert not stream or sum(isinstance(one, Alive) for one in shown) > 10, "what is held is progress too"


async def test_proper_calls_win_over_those_in_the_text() -> None:
    completion, _ = await complete(Answer(CALL, calls=(ToolCall("read_file", {"path": "a"}),)), ask())
    assert (completion.text, [call.name for call in completion.calls]) == (CALL, ["read_file"])


async def test_only_thinking_is_an_empty_answer() -> None:
    completion, _ = await complete(Answer("\n<think>hm</think>\n\n"), ask())
    assert completion.text == ""


async def test_thinking_from_the_text_is_not_replayed() -> None:
    async with service("openai", [Answer("<think>hm</think>Yes."), Answer("ok")]) as (server, provider):
        first = await provider.complete(ask(), lambda _delta: None)
        await provider.complete(ask(said("a"), Reply(first.text, thinking=first.thinking), said("b")), lambda _delta: None)
        assert server.requests[1].messages[2] == {"role": "assistant", "content": "Yes."}
