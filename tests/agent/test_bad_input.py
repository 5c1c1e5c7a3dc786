"""What a model service can do wrong, as the user meets it: a clear sentence, and a session whose next turn works.

Every fault x both wires x streamed and not: no cell is empty. What the adapters make of each is in tests/providers.
"""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from nanobot.messages import CallState, Reply, TurnEnd
from tests.fakes import llm_wire
from tests.fakes.llm import refused_port
from tests.fakes.llm_wire import Answer, Garbage, Scripted, ToolCall, rate_limited
from tests.fakes.talk import Talk, talking
from tests.providers.support import WIRES

WELL = Answer("well again")
CALL = ToolCall("list_dir", {"path": "."})


@attrs.frozen
class Case:
    """What the service answers, and what becomes of the turn."""

    script: tuple[Scripted, ...]
    says: str
    """Part of what the user reads."""
    end: TurnEnd = TurnEnd.FAILED
    call: CallState | None = None
    """What became of the call, where there was one."""


CASES = {
    "wrong key": Case((llm_wire.WRONG_KEY,), "key"),
    "429 with Retry-After": Case((rate_limited("0.01"), WELL), "well again", TurnEnd.ANSWERED),
    "429 that stays": Case((rate_limited("0.01"),) * 3, "slow down"),
    "429 for an hour": Case((rate_limited("3600"),), "60 minutes"),
    "500": Case((llm_wire.SERVER_ERROR, WELL), "well again", TurnEnd.ANSWERED),
    "500 that stays": Case((llm_wire.SERVER_ERROR,) * 3, "cannot serve now"),
    "stalled stream": Case((Answer("half", stall="middle"), WELL), "well again", TurnEnd.ANSWERED),
    "stall that stays": Case((Answer("half", stall="middle"),) * 3, "nothing for too long"),
    "stream cut in mid-call": Case((Answer("", calls=(CALL,), cut="call"), WELL), "well again", TurnEnd.ANSWERED),
    "cut that stays": Case((Answer("", calls=(CALL,), cut="call"),) * 3, "connection"),
    "garbage": Case((Garbage(),) * 3, "answer"),
    "truncated JSON argument": Case(
        (Answer("", calls=(ToolCall("list_dir", '{"path": "'),)), WELL), "well again", TurnEnd.ANSWERED, CallState.REFUSED
    ),
    "unknown tool": Case(
        (Answer("", calls=(ToolCall("teleport", {}),)), WELL), "well again", TurnEnd.ANSWERED, CallState.REFUSED
    ),
    "nameless call": Case((Answer("", calls=(ToolCall("", {}),)), WELL), "well again", TurnEnd.ANSWERED),
    "empty answer": Case((Answer(""), WELL), "well again", TurnEnd.ANSWERED),
    "empty to the end": Case((Answer(""),) * 3, "without an answer", TurnEnd.ANSWERED),
    "context too long": Case((llm_wire.CONTEXT_TOO_LONG,), "too long"),
    "refused": Case((llm_wire.REFUSED,), "refused"),
    "bad request": Case((llm_wire.BAD_REQUEST,), "temperature"),
}


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("name", CASES)
async def test_a_fault_ends_in_a_sentence_and_the_next_turn_works(tmp_path: Path, wire: str, stream: bool, name: str) -> None:
    case = CASES[name]
    deadlines = {"firstToken": 0.3, "betweenTokens": 0.3, "wholeAnswer": 0.3} if "stall" in name else {}
    async with talking(tmp_path, [*case.script, Answer("and on")], wire=wire, stream=stream, deadlines=deadlines) as talk:
        reply = await talk.say("hello")
        assert case.says.lower() in reply.text.lower()
        assert reply.failed == (case.says != "well again")
        assert "k-secret" not in reply.text
        assert talk.session.exchanges[-1].end is case.end
        assert calls(talk) == ([] if case.call is None else [case.call])
        assert (await talk.say("and now?")).text == "and on"


def calls(talk: Talk) -> list[CallState]:
    return [c.state for e in talk.session.exchanges[-1].entries if isinstance(e, Reply) for c in e.calls]


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_an_endpoint_that_nobody_serves(tmp_path: Path, wire: str, stream: bool) -> None:
    base = f"http://127.0.0.1:{await refused_port()}/v1"
    async with talking(tmp_path, [], wire=wire, base=base, stream=stream) as talk:
        reply = await talk.say("hello")
        assert reply.failed
        assert base.removeprefix("http://").removesuffix("/v1") in reply.text
        assert (await talk.say("/status")).text.startswith("Session: cli:direct")


@pytest.mark.parametrize("wire", WIRES)
async def test_history_that_is_too_long_is_shortened_once_and_the_turn_goes_on(tmp_path: Path, wire: str) -> None:
    script: list[Scripted] = [Answer("one"), Answer("two"), llm_wire.CONTEXT_TOO_LONG, Answer("three")]
    async with talking(tmp_path, script, wire=wire) as talk:
        assert [(await talk.say(text)).text for text in ("1", "2", "3")] == ["one", "two", "three"]
        assert talk.session.base > 0
    assert len(list(tmp_path.glob("journals/*/*.jsonl"))) == 2, "what left the prompt stays in the old segment"
