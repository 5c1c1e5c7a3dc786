"""What the model service answers in benchmarks. It runs in a process of its own, so that only our side is measured."""

from __future__ import annotations

from tests.fakes.llm import Asked
from tests.fakes.llm_wire import Answer, Scripted, ToolCall

TWENTY = "one two three four five six seven eight nine ten " * 2


def twenty(asked: Asked) -> Scripted:
    """Twenty tokens, one an event. A question with "look" in it is answered with one call first."""
    if not asked.results and any("look" in text for text in asked.texts[-2:]):
        return Answer("", calls=(ToolCall("list_dir", {"path": "."}),), burst=True)
    return Answer(TWENTY, pieces=20)


def slow(asked: Asked) -> Scripted:
    """Twenty tokens after 200 ms."""
    return Answer(TWENTY, pieces=1, delay=0.2)
