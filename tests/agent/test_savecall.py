"""Reading `save_memory`, however a model has written it."""

from __future__ import annotations

import json

import pytest

from nanobot.agent.savecall import TOOL, Remembered, Unread, read
from nanobot.providers.port import Completion, Finish, RequestedCall

ENTRY, MEMORY = "[2026-01-01 10:00] Tea.", "# Facts\n- tea"
BOTH = {"history_entry": ENTRY, "memory_update": MEMORY}
TEXT = json.dumps(BOTH)


def called(arguments: object, name: str = "save_memory") -> Completion:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return Completion("", (RequestedCall("c", name, text),))


@pytest.mark.parametrize(
    "completion",
    [
        called(BOTH),
        called(json.dumps(TEXT)),
        called([BOTH]),
        called([TEXT]),
        called({"arguments": BOTH}),
        called({"name": "save_memory", "arguments": TEXT}),
        called(BOTH, "saveMemory"),
        called(TEXT.replace("\\n", "\n")),
        Completion("", (RequestedCall("a", "think", "{}"), RequestedCall("c", "save_memory", TEXT))),
        Completion(f"Here it is:\n```json\n{TEXT}\n```\nDone."),
        Completion(f"```\n{TEXT}\n```"),
        Completion(TEXT),
        Completion(json.dumps({"name": "save_memory", "arguments": BOTH})),
        called({**BOTH, "memory_update": ["# Facts", "- tea"]}),
    ],
)
def test_it_is_read_in_every_way_that_models_write_it(completion: Completion) -> None:
    assert read(completion) == Remembered(ENTRY, MEMORY)


def test_what_is_no_text_is_dumped_and_what_is_missing_is_nothing() -> None:
    assert read(called({**BOTH, "memory_update": {"tea": 1}})).update == '{"tea": 1}'
    assert read(called({"history_entry": ENTRY})).update is None
    assert read(called({"history_entry": {"when": 1}, "memory_update": ""})) == Remembered('{"when": 1}', "")


@pytest.mark.parametrize(
    "completion",
    [
        Completion("I would rather talk."),
        Completion(""),
        called("{"),
        called("null"),
        called([]),
        called({"history_entry": " ", "memory_update": MEMORY}),
        called({"memory_update": MEMORY}),
        called("[" * 100_000),
        Completion("```json\n{broken\n```"),
    ],
)
def test_what_says_nothing_is_no_memory(completion: Completion) -> None:
    with pytest.raises(Unread, match="did not call save_memory"):
        read(completion)


def test_an_answer_that_was_cut_says_so() -> None:
    with pytest.raises(Unread, match="maxTokens"):
        read(Completion("", finish=Finish.LENGTH))


def test_the_tool_asks_for_both_fields() -> None:
    assert json.loads(TOOL.schema)["required"] == ["history_entry", "memory_update"]
