"""The demo: what it understands, what it asks for, and that it never pretends."""

from __future__ import annotations

import json

import pytest

from nanobot.messages import Call, CallId, CallState, Reply
from nanobot.providers.demo import Demo, understand
from nanobot.providers.port import Completion, Delta, Finish, Request, TextDelta, ToolSpec
from tests.providers.support import said

TOOLS = tuple(ToolSpec(name, "", "{}") for name in ("list_dir", "read_file", "write_file", "exec"))


@pytest.mark.parametrize(
    ("text", "tool", "arguments"),
    [
        ("list files", "list_dir", {"path": "."}),
        ("List the files in src.", "list_dir", {"path": "src"}),
        ("please list my files", "list_dir", {"path": "."}),
        ("read notes.txt", "read_file", {"path": "notes.txt"}),
        ("read the file notes.txt", "read_file", {"path": "notes.txt"}),
        ("write notes.txt: buy milk", "write_file", {"path": "notes.txt", "content": "buy milk"}),
        ('write "buy milk" to notes.txt', "write_file", {"path": "notes.txt", "content": "buy milk"}),
        ("create a file notes.txt with buy milk", "write_file", {"path": "notes.txt", "content": "buy milk"}),
        ("create a file named n.txt containing 'A b.'", "write_file", {"path": "n.txt", "content": "A b."}),
        ("run echo hello", "exec", {"command": "echo hello"}),
        ("run `ls -la`", "exec", {"command": "ls -la"}),
    ],
)
def test_understands(text: str, tool: str, arguments: dict[str, str]) -> None:
    wish = understand(text)
    assert wish is not None
    assert (wish.tool, wish.arguments) == (tool, arguments)


@pytest.mark.parametrize("text", ["what is the meaning of life?", "book a flight", "", "remind me to run"])
def test_does_not_guess(text: str) -> None:
    assert understand(text) is None


async def answer(*entries: object, tools: tuple[ToolSpec, ...] = TOOLS) -> tuple[Completion, list[Delta]]:
    shown: list[Delta] = []
    completion = await Demo().complete(Request("demo", "", entries, tools), shown.append)  # type: ignore[arg-type]
    return completion, shown


async def test_first_line_says_that_it_is_a_demo_and_how_to_set_a_model() -> None:
    completion, shown = await answer(said("who are you?"))
    first = completion.text.splitlines()[0]
    assert "demo, not a language model" in first
    assert "nanobot onboard" in first
    assert "".join(one.text for one in shown if isinstance(one, TextDelta)) == completion.text


async def test_asks_for_a_tool_and_reports_its_result() -> None:
    completion, _ = await answer(said("list files"))
    (call,) = completion.calls
    assert (call.name, json.loads(call.arguments), completion.finish) == ("list_dir", {"path": "."}, Finish.CALLS)
    done = Call(CallId(call.id), call.name, call.arguments, state=CallState.DONE, result="a.txt\nb.txt")
    report, _ = await answer(said("list files"), Reply("", (done,)))
    assert "a.txt\nb.txt" in report.text
    assert report.calls == ()


async def test_is_honest_about_a_call_that_did_not_finish() -> None:
    cut = Call(CallId("x"), "exec", '{"command": "sleep 9"}', state=CallState.UNKNOWN_AFTER_CRASH)
    report, _ = await answer(said("run sleep 9"), Reply("", (cut,)))
    assert "did not finish (unknown after crash)" in report.text


async def test_asks_only_for_tools_that_are_there() -> None:
    completion, _ = await answer(said("run ls"), tools=TOOLS[:1])
    assert completion.calls == ()
    assert "not available" in completion.text


async def test_is_the_same_every_time() -> None:
    assert await answer(said("run ls")) == await answer(said("run ls"))
