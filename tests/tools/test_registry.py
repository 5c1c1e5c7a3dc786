"""The one place that runs calls: it never raises, and caps what comes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
import trio

from nanobot.config.schema import Config, ExecConfig, FileConfig, ToolsConfig
from nanobot.errors import ToolError
from nanobot.messages import Effect
from nanobot.tools.port import Intent, Result, Tool, ToolTurn
from nanobot.tools.registry import Tools, bound, build_tools
from tests.tools.kit import NO_SANDBOX, Kit, make_turn


@attrs.frozen
class Nothing:
    pass


def tool_that(outcome: Result | Exception, name: str = "it") -> Tools:
    async def run(_params: Nothing, _turn: ToolTurn) -> Result:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return Tools([bound(Tool(name, "", Nothing, run, Effect.WRITES, 7.0))], cap=1000)


@pytest.fixture
def turn(tmp_path: Path) -> ToolTurn:
    return make_turn(tmp_path)


@pytest.fixture
def errors(claimed_errors: list[str]) -> list[str]:
    return claimed_errors


async def test_an_unknown_tool_is_answered_with_the_nearest_first(kit: Kit) -> None:
    text = await kit.refused("reed_file")
    assert "There is no tool 'reed_file'. There are: read_file, " in text
    assert kit.tools.effect_of("reed_file") is Effect.READS
    assert kit.tools.timeout_of("reed_file") is None


async def test_arguments_that_do_not_fit_run_nothing(kit: Kit) -> None:
    result = await kit.tools.run("write_file", '{"path": "a", "content": "text', kit.turn)
    assert result.failed
    assert "not valid JSON" in result.text
    assert list(kit.workspace.iterdir()) == []


async def test_a_tool_error_is_told_with_a_hint(turn: ToolTurn, errors: list[str]) -> None:
    result = await tool_that(ToolError("no such thing")).run("it", "{}", turn)
    assert result == Result("Error: no such thing\nChange the call accordingly, do not repeat it as it was.", failed=True)
    assert errors == []


async def test_a_bug_is_told_and_reported(turn: ToolTurn, errors: list[str]) -> None:
    result = await tool_that(ZeroDivisionError("secret")).run("it", "{}", turn)
    assert result.failed
    assert "it failed because of a fault in it (ZeroDivisionError)" in result.text
    assert "secret" not in result.text
    assert len(errors) == 1
    assert "tool it failed in a way it should not" in errors[0]


async def test_cancellation_passes_and_leaves_no_file(kit: Kit) -> None:
    def cancel_once_there_is_a_file(_line: str) -> None:
        if any(kit.turn.results.iterdir()):
            scope.cancel()

    watching = attrs.evolve(kit, turn=attrs.evolve(kit.turn, progress=cancel_once_there_is_a_file))
    with trio.fail_after(20), trio.CancelScope() as scope:
        await watching.call("exec", command="seq 1 200000; sleep 1000")
    assert scope.cancelled_caught
    assert list(kit.turn.results.iterdir()) == []


async def test_a_long_result_keeps_its_ends_and_all_of_it_in_a_file(turn: ToolTurn) -> None:
    whole = "".join(f"line {number}\n" for number in range(1000))
    result = await tool_that(Result(whole), "../odd name").run("../odd name", "{}", turn)
    assert len(result.text) <= 1000
    assert result.text.startswith("line 0\n")
    assert result.text.endswith("line 999\n")
    (file,) = turn.results.iterdir()
    assert result.full == str(file)
    assert result.full in result.text
    assert file.read_text() == whole
    assert file.stat().st_mode & 0o777 == 0o600


async def test_the_file_of_a_long_result_can_be_read_with_read_file(kit: Kit) -> None:
    result = await kit.call("exec", command="seq 1 20000")
    assert result.full is not None
    assert await kit.text("read_file", path=result.full, offset=15000, limit=1) == (
        "15000| 15000\n(lines 15000-15000 of 20000; go on with offset=15001)"
    )


async def test_a_result_that_cannot_be_kept_is_shown_all_the_same(turn: ToolTurn, errors: list[str]) -> None:
    broken = attrs.evolve(turn, results=turn.data / "config.json" if turn.data else turn.results)
    result = await tool_that(Result("x" * 5000)).run("it", "{}", broken)
    assert result.text.startswith("xxx")
    assert "it could not be kept in a file" in result.text
    assert len(errors) == 1


def test_effects_and_deadlines(kit: Kit) -> None:
    reading = {spec.name for spec in kit.tools.specs() if kit.tools.effect_of(spec.name) is Effect.READS}
    assert reading == {"read_file", "list_dir", "find_files", "grep", "list_processes", "search_history"}
    assert (kit.tools.timeout_of("exec") or 0) > 600
    assert kit.tools.timeout_of("grep") is None


def test_what_is_offered_keeps_its_order(kit: Kit) -> None:
    names = [spec.name for spec in kit.tools.specs(lambda name, effect: name == "message" or effect is Effect.READS)]
    assert names == ["read_file", "list_dir", "find_files", "grep", "list_processes", "search_history", "message"]


@pytest.mark.parametrize(
    ("name", "arguments", "intent"),
    [
        ("list_dir", {"path": "a"}, Intent("list_dir", '{"path": "a"}')),
        ("write_file", {"path": "a/../b.txt", "content": ""}, Intent("write_file", "b.txt", "Writes b.txt.")),
        (
            "edit_file",
            {"path": "memory/x", "old_text": "a", "new_text": "b"},
            Intent("edit_file:instructions", "memory/x", "Writes memory/x, which becomes part of my instructions."),
        ),
        ("message", {"text": "hi"}, Intent("message", "test:1")),
        ("message", {"text": "hi", "attachments": ["a"]}, Intent("message:files", "test:1")),
        ("message", {"text": "hi", "to": "telegram:7"}, Intent("message:elsewhere", "telegram:7", "To telegram:7.")),
    ],
)
def test_what_a_call_would_do(kit: Kit, name: str, arguments: dict[str, object], intent: Intent) -> None:
    kit.put("memory/x", "a")
    assert kit.tools.intent(name, json.dumps(arguments), kit.turn) == intent


def test_what_a_call_with_wrong_arguments_would_do_is_not_guessed(kit: Kit) -> None:
    with pytest.raises(ToolError):
        kit.tools.intent("write_file", '{"path": 1}', kit.turn)


def test_what_is_disabled_is_not_there() -> None:
    config = Config(tools=ToolsConfig(exec=ExecConfig(enable=False), file=FileConfig(enable=False)))
    assert [spec.name for spec in build_tools(config, NO_SANDBOX, environ={}).specs()] == [
        "search_history",
        "message",
        "spawn",
        "cron",
    ]


def test_importing_the_tools_is_light() -> None:
    code = "import sys, nanobot.tools.registry; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pydantic", "cattrs", "openai", "anthropic", "httpx2", "prompt_toolkit", "rich"} & set(loaded)
