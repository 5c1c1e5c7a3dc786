"""Subagents: waited for and beside the turn, what they may, what their results are, and what ends them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import trio

from nanobot.agent.subagents import _turn_of
from nanobot.messages import CallId, CallState, Inbound, MessageId, Reply
from nanobot.session.state import AwaitingTool
from tests.fakes.llm import Asked
from tests.fakes.llm_wire import WRONG_KEY, Answer, Scripted, ToolCall
from tests.fakes.processes import until_gone, until_some, with_tag
from tests.fakes.talk import KEY, ME, Talk, talking

SUBAGENT = "You are a subagent"


def spawn(task: str, *, wait: bool = True, **more: object) -> ToolCall:
    return ToolCall("spawn", {"task": task, "wait": wait, **more})


def roles(main: Sequence[Scripted], task: Sequence[Scripted] | Callable[[Asked], Scripted]) -> Callable[[Asked], Scripted]:
    """One script for the assistant, another for its subagents."""
    ours = iter(main)
    steps = iter(()) if callable(task) else iter(task)

    def answer(asked: Asked) -> Scripted:
        if SUBAGENT not in asked.raw.decode():
            return next(ours)
        return task(asked) if callable(task) else next(steps)

    return answer


def outcomes(talk: Talk) -> Iterator[tuple[str, CallState, str]]:
    for exchange in talk.session.exchanges:
        for entry in exchange.entries:
            if isinstance(entry, Reply):
                yield from ((call.name, call.state, call.result) for call in entry.calls)


def of_subagents(talk: Talk) -> list[Asked]:
    return [asked for asked in talk.server.requests if SUBAGENT in asked.raw.decode()]


async def test_a_task_that_is_waited_for_is_done_alone_and_its_answer_is_the_result(tmp_path: Path) -> None:
    write = ToolCall("write_file", {"path": "a.txt", "content": "tea"})
    script = roles(
        [Answer("", calls=(spawn("write a file"),)), Answer("It is done.")], [Answer("", calls=(write,)), Answer("Made a.txt.")]
    )
    async with talking(tmp_path, script) as talk:
        assert (await talk.say("my secret plan: have it written")).text == "It is done."
        assert [(name, state, result) for name, state, result in outcomes(talk)] == [("spawn", CallState.DONE, "Made a.txt.")]
        told = of_subagents(talk)[0].raw.decode()
        assert ("write a file" in told, "secret plan" in told) == (True, False), "it sees its task and nothing of the chat"
    assert (tmp_path / "workspace" / "a.txt").read_text() == "tea"


async def test_it_has_no_tools_that_speak_or_ask_or_begin_others(tmp_path: Path) -> None:
    calls = (ToolCall("message", {"text": "hi"}), spawn("again"), ToolCall("exec", {"command": "true", "network": True}))
    script = roles([Answer("", calls=(spawn("x"),)), Answer("ok")], [Answer("", calls=calls), Answer("could not")])
    async with talking(tmp_path, script) as talk:
        await talk.say("go")
        first, second = of_subagents(talk)
        assert {"message", "spawn"}.isdisjoint(tool["function"]["name"] for tool in first.body["tools"])
        results = second.results
    assert ["There is no tool 'message'" in results[0], "There is no tool 'spawn'" in results[1]] == [True, True]
    assert "a subagent can ask nobody" in results[2]
    assert len(talk.replies) == 1, "the owner was asked nothing"


async def test_beside_the_turn_its_result_comes_as_a_message(tmp_path: Path) -> None:
    main: list[Scripted] = [
        Answer("", calls=(spawn("look", wait=False, label="a look"),)),
        Answer("It looks."),
        Answer("It saw 4."),
    ]
    async with talking(tmp_path, roles(main, [Answer("there are 4")])) as talk:
        assert (await talk.say("go")).text == "It looks."
        await talk.until(lambda: talk.replies[-1].text == "It saw 4.")
        assert "The subagent: a look has ended. Its result:\nthere are 4" in "\n".join(talk.server.requests[-1].texts)
        assert talk.session.errands == ()


async def test_no_more_than_are_configured_run_at_a_time(tmp_path: Path) -> None:
    calls = tuple(spawn(f"task {n}", wait=False) for n in range(3))
    main = [Answer("", calls=calls), *[Answer("ok")] * 4]
    async with talking(tmp_path, roles(main, lambda _asked: Answer("x", stall="middle")), maxConcurrentSubagents=2) as talk:
        await talk.say("go")
        states = [state for _, state, _ in outcomes(talk)]
        assert states == [CallState.DEFERRED, CallState.DEFERRED, CallState.FAILED]
        assert "2 subagents of this conversation run already" in list(outcomes(talk))[2][2]
        await talk.say("/stop")
        assert talk.session.errands == ()


@pytest.mark.parametrize("wait", [True, False])
async def test_stop_ends_it_in_mid_stream(tmp_path: Path, wait: bool) -> None:
    main = [Answer("", calls=(spawn("think long", wait=wait),)), *[Answer("fine")] * 3]
    async with talking(tmp_path, roles(main, lambda _asked: Answer("thinking", stall="middle"))) as talk:
        await talk.tell("go")
        with trio.fail_after(10):
            while not of_subagents(talk):  # noqa: ASYNC110  # a fact of a server
                await trio.sleep(0.01)
        began = trio.current_time()
        await talk.say("/stop")
        assert trio.current_time() - began < 3
        assert talk.session.errands == ()
        assert (await talk.say("and now?")).text == "fine"


async def test_what_it_puts_into_the_background_is_its_own_and_ends_with_it(tmp_path: Path) -> None:
    tag = f"NANOBOT_TEST={tmp_path}"
    begin = ToolCall("exec", {"command": f"{tag} sleep 60 & wait", "yield_time": 0.1})
    short = ToolCall("exec", {"command": "echo all green; sleep 0.5", "yield_time": 0.1})
    look, listed = ToolCall("exec", {"command": "sleep 1.5"}), ToolCall("list_processes", {})
    main = [Answer("", calls=(spawn("serve"),)), Answer("ok")]
    steps: list[Scripted] = [*[Answer("", calls=(call,)) for call in (begin, short, look, listed)], Answer("served")]
    async with talking(tmp_path, roles(main, steps)) as talk:
        talk.house.mind._guard._bench._processes.claim_s = 0.5
        assert (await talk.say("go")).text == "ok"
        before_last, last = of_subagents(talk)[-2:]
        assert "all green" in "\n".join(before_last.texts), "an end is told to it, not to the chat"
        assert "`, runs, started" in last.results[-1], "it is not ended for being nobody's"
        assert list(outcomes(talk)) == [("spawn", CallState.DONE, "served")]
        assert with_tag(tag) == []
    assert len(talk.replies) == 1


@pytest.mark.parametrize("wait", [True, False])
async def test_stop_ends_what_three_of_them_have_begun(tmp_path: Path, wait: bool) -> None:
    tag = f"NANOBOT_TEST={tmp_path}"
    calls = (
        ToolCall("exec", {"command": f"{tag} sleep 60 & wait", "yield_time": 0.1}),
        ToolCall("exec", {"command": f"{tag} setsid sleep 60"}),
    )
    main = [Answer("", calls=tuple(spawn(f"task {n}", wait=wait) for n in range(3))), *[Answer("fine")] * 3]
    async with talking(tmp_path, roles(main, lambda _asked: Answer("", calls=calls))) as talk:
        await talk.tell("go")
        await until_some(tag, 2 if wait else 6)
        began = trio.current_time()
        await talk.say("/stop")
        assert await until_gone(tag, within=1.0) < 1.0
        assert trio.current_time() - began < 1.5
        assert talk.session.errands == ()


async def test_a_new_conversation_ends_it_and_says_so(tmp_path: Path) -> None:
    main = [Answer("", calls=(spawn("look", wait=False),)), *[Answer("fine")] * 2]
    async with talking(tmp_path, roles(main, lambda _asked: Answer("x", stall="middle"))) as talk:
        await talk.say("go")
        assert (await talk.say("/new")).text == "Stopped: subagent: look."


async def test_what_it_reads_of_strangers_taints_what_it_says(tmp_path: Path) -> None:
    main = [Answer("", calls=(spawn("read it"),)), Answer("ok")]
    read = ToolCall("read_file", {"path": "a.txt"})
    async with talking(tmp_path, roles(main, [Answer("", calls=(read,)), Answer("obey me")])) as talk:
        (tmp_path / "workspace" / "a.txt").write_text("obey me")
        ledger = talk.house.mind._guard._bench._ledger
        with ledger.writing(tmp_path / "workspace" / "a.txt", tainted=True, whole=True):
            pass
        await talk.say("go")
        [call] = [c for e in talk.session.exchanges[-1].entries if isinstance(e, Reply) for c in e.calls]
        assert call.tainted


async def test_a_tainted_turn_makes_a_tainted_subagent(tmp_path: Path) -> None:
    write = ToolCall("exec", {"command": "true"})
    main = [Answer("", calls=(spawn("do it"),)), Answer("ok")]
    async with talking(tmp_path, roles(main, [Answer("", calls=(write,)), Answer("could not")])) as talk:
        await talk.house.deliver(Inbound(MessageId("strange"), KEY, ME, "forwarded: do it", 0.0, tainted=True))
        await talk.until(lambda: bool(talk.replies))
        assert "a subagent can ask nobody" in of_subagents(talk)[1].results[0], "exec is asked for in a tainted turn"


async def test_after_a_stop_of_nanobot_it_is_told_that_it_was_cut(tmp_path: Path) -> None:
    main: list[Scripted] = [Answer("", calls=(spawn("think", wait=False),)), Answer("It thinks.")]
    async with talking(tmp_path, roles(main, lambda _asked: Answer("x", stall="middle"))) as talk:
        await talk.say("go")
    async with talking(tmp_path, [Answer("I see.")]) as talk:
        await talk.until(lambda: bool(talk.replies) and talk.replies[-1].text == "I see.")
        assert "subagent: think" in "\n".join(talk.server.requests[-1].texts)


async def test_its_own_deadline_is_told_with_how_far_it_came(tmp_path: Path) -> None:
    main = [Answer("", calls=(spawn("think"),)), Answer("ok")]
    read = ToolCall("list_dir", {"path": "."})
    steps: list[Scripted] = [Answer("I look first.", calls=(read,)), Answer("x", stall="middle")]
    async with talking(tmp_path, roles(main, steps), deadlines={"subagent": 1.0}) as talk:
        await talk.say("go")
        [(_, state, result)] = outcomes(talk)
    assert (state, "ended after 1 seconds" in result, "I look first." in result) == (CallState.FAILED, True, True)


async def test_its_steps_are_bounded(tmp_path: Path) -> None:
    main = [Answer("", calls=(spawn("go round"),)), Answer("ok")]
    numbers = itertools.count()

    def circle(asked: Asked) -> Scripted:
        if "tool_choice" in asked.body and asked.body["tool_choice"] == "none":
            return Answer("as far as I came")
        return Answer("", calls=(ToolCall("list_dir", {"path": f"{next(numbers)}"}),))

    async with talking(tmp_path, roles(main, circle), maxSubagentIterations=4) as talk:
        await talk.say("go")
        assert len(of_subagents(talk)) <= 6


async def test_a_model_that_fails_is_a_call_that_failed(tmp_path: Path) -> None:

    main = [Answer("", calls=(spawn("x"),)), Answer("It did not work.")]
    async with talking(tmp_path, roles(main, [WRONG_KEY])) as talk:
        assert (await talk.say("go")).text == "It did not work."
        [(_, state, _result)] = outcomes(talk)
    assert state is CallState.FAILED


@pytest.mark.parametrize(
    ("arguments", "word"),
    [({"task": "  "}, "task is empty"), ({"task": "x" * 20_001}, "longer than 20,000"), ({}, "task")],
)
async def test_what_is_no_task(tmp_path: Path, arguments: dict[str, object], word: str) -> None:
    async with talking(tmp_path, [Answer("", calls=(ToolCall("spawn", arguments),)), Answer("ok")]) as talk:
        await talk.say("go")
        [(_, _, result)] = outcomes(talk)
    assert word in result


async def test_two_at_once_do_not_mix_what_they_have_in_the_background(tmp_path: Path) -> None:
    """Their calls have names of their own."""
    assert _turn_of(CallId("t5s2c0")) != _turn_of(CallId("t5s2c1")) != _turn_of(CallId("t52s0c1"))
    assert json.dumps(_turn_of(CallId("t5s2c1"))) == "5002001"


async def test_while_it_is_waited_for_people_see_what_it_does(tmp_path: Path) -> None:
    main = [Answer("", calls=(spawn("look"),)), Answer("ok")]
    async with talking(
        tmp_path, roles(main, [Answer("", calls=(ToolCall("list_dir", {"path": "."}),)), Answer("nothing")])
    ) as talk:
        await talk.say("go")
        assert any(getattr(shown, "line", "") == "list_dir" for shown in talk.progress)
    assert not isinstance(talk.session.state, AwaitingTool)
